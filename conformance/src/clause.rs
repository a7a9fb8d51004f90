//! The clauses of the contract, as the contract itself lists them, with a title for each, and the cases that test it.

use std::{sync::LazyLock, time::Duration};

use store_api::Backend;

use crate::{
    Settings,
    case::{Case, Claims},
    cases,
};

/// A title for each clause, in the contract's order.
const TITLES: [(&str, &str); 45] = [
    ("K1", "Keys have up to 255 bytes"),
    ("K2", "Every valid key works"),
    ("K3", "The empty path is no entry"),
    ("V1", "Values from nothing to 64 MiB"),
    ("A1", "Operations are linearizable"),
    ("A2", "Compare-and-set, byte for byte"),
    ("A3", "Setting the same changes nothing"),
    ("A4", "A mismatch tells the current value"),
    ("A5", "Errors tell whether it happened"),
    ("A6", "Contention is not a mismatch"),
    ("A7", "Lists are complete, each key once"),
    ("A8", "Clear removes all, watches stay"),
    ("A9", "Dropped writes apply whole, or never"),
    ("A10", "Acknowledged writes survive"),
    ("A11", "An I/O error is never \"absent\""),
    ("A12", "Rotten entries are told"),
    ("X1", "A name comes after its content"),
    ("W1", "The baseline first, then changes"),
    ("W2", "No change is missed"),
    ("W3", "Changes chain from the baseline"),
    ("W4", "True values, in their order"),
    ("W5", "Watches converge in the end"),
    ("W6", "Silence where nothing changed"),
    ("W7", "Slow watchers delay no writer"),
    ("W8", "Watchers do not disturb others"),
    ("W9", "Nothing comes after unwatch"),
    ("W10", "Close ends its own watches"),
    ("W11", "Changes by other instances arrive"),
    ("W12", "A scope goes by steps"),
    ("I1", "Equal values are one value"),
    ("I2", "What was added is found"),
    ("I3", "The index tells the truth"),
    ("I4", "A false hash hurts only itself"),
    ("I5", "Foreign keys do not mislead"),
    ("I6", "Reads are checked against hashes"),
    ("I7", "Batches apply whole, at once"),
    ("I8", "Concurrent adds stay readable"),
    ("L1", "A closed handle answers Closed"),
    ("L2", "Closing disturbs nobody else"),
    ("L3", "Close settles what is in flight"),
    ("L4", "Opened again, all is there"),
    ("L5", "Incompatible stores are refused"),
    ("E1", "Errors have kinds, nothing panics"),
    ("E2", "Errors are short and keep secrets"),
    ("E3", "A failed sync poisons the store"),
];

/// What the clauses of a letter are about.
const GROUPS: [(char, &str); 8] = [
    ('K', "Keys"),
    ('V', "Values"),
    ('A', "Atomic writes"),
    ('X', "Names and content"),
    ('W', "Watches"),
    ('I', "Content"),
    ('L', "Handles"),
    ('E', "Errors"),
];

/// A promise of the contract.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Clause {
    /// Its stable id, such as `A2`.
    pub id: &'static str,
    /// What it is about, in three to six words.
    pub title: &'static str,
    /// What it promises, in the words of the contract.
    pub text: String,
}

impl Clause {
    /// Every clause, in the contract's order.
    #[must_use]
    pub fn all() -> &'static [Self] {
        static ALL: LazyLock<Vec<Clause>> = LazyLock::new(|| parse(store_api::contract::TEXT));
        &ALL
    }

    /// The clause of an id.
    #[must_use]
    pub fn by_id(id: &str) -> Option<&'static Self> {
        Self::all().iter().find(|clause| clause.id == id)
    }

    /// What the clauses of its letter are about, such as `Watches`.
    #[must_use]
    pub fn group(&self) -> &'static str {
        let of_letter = GROUPS.iter().find(|(letter, _)| self.id.starts_with(*letter));
        of_letter.map_or("Others", |(_, name)| name)
    }

    /// The ids of the cases that test it.
    pub fn case_ids(&self) -> impl Iterator<Item = &'static str> {
        self.cases().map(|case| case.id)
    }

    /// What a backend that is opened with these settings lacks for any of its cases to apply, in a few words such as
    /// "it declares `Volatile`"; `None` where one does.
    #[must_use]
    pub fn lack(&self, backend: &dyn Backend, settings: &Settings) -> Option<&'static str> {
        let claims = Claims::of(backend, settings, Duration::ZERO);
        let lacks: Option<Vec<&str>> = self.cases().map(|case| claims.lack(case)).collect();
        lacks?.first().copied()
    }

    fn cases(&self) -> impl Iterator<Item = &'static Case> {
        let id = self.id;
        cases::all().filter(move |case| case.clause() == id)
    }
}

fn title_of(id: &str) -> &'static str {
    TITLES.iter().find(|(known, _)| *known == id).map_or("", |(_, title)| title)
}

/// A clause is an item of a list, `- **A2** ..`, that may go on in indented lines.
fn parse(contract: &'static str) -> Vec<Clause> {
    let mut clauses: Vec<Clause> = Vec::new();
    let mut open = false;
    for line in contract.lines() {
        if let Some((id, text)) = line.strip_prefix("- **").and_then(|item| item.split_once("** ")) {
            clauses.push(Clause { id, title: title_of(id), text: text.to_owned() });
            open = true;
        } else if let Some(more) = line.strip_prefix("  ").filter(|_| open) {
            let clause = clauses.last_mut().expect("an item was opened");
            clause.text.push(' ');
            clause.text.push_str(more.trim());
        } else {
            open = false;
        }
    }
    clauses
}

#[cfg(test)]
mod tests {
    use backend_mem::MemOptions;

    use super::*;

    #[tokio::test]
    async fn a_backend_lacks_what_none_of_the_cases_can_do_without() {
        let store = MemOptions::new().open().await.unwrap();
        let mut settings = Settings::default();
        let lack = |id: &str, settings: &Settings| Clause::by_id(id).unwrap().lack(&store, settings);
        assert_eq!(lack("A1", &settings), None, "some of its cases need no other instance");
        assert_eq!(lack("A10", &settings), Some("it declares `Volatile`"));
        assert_eq!(lack("W11", &settings), Some("its instances do not share a store"));
        assert_eq!(lack("I6", &settings), None);
        settings.verify = Some(false);
        assert_eq!(lack("I6", &settings), Some("it is opened without verification"));
    }

    #[test]
    fn a_clause_has_the_cases_that_are_named_for_it() {
        let of_a1: Vec<&str> = Clause::by_id("A1").unwrap().case_ids().collect();
        assert!(of_a1.contains(&"atomic/A1-reads-never-go-back"), "{of_a1:?}");
        assert!(of_a1.iter().all(|id| id.starts_with("atomic/A1-")), "{of_a1:?}");
    }

    #[test]
    fn every_letter_of_the_contract_is_there_and_each_id_once() {
        let mut ids: Vec<&str> = Clause::all().iter().map(|clause| clause.id).collect();
        let letters: String = ids.iter().map(|id| &id[..1]).collect();
        assert_eq!(letters, "KKKVAAAAAAAAAAAAXWWWWWWWWWWWWIIIIIIIILLLLLEEE");
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), Clause::all().len());
    }

    #[test]
    fn every_clause_has_a_title_of_a_few_words_and_a_group() {
        let ids: Vec<&str> = Clause::all().iter().map(|clause| clause.id).collect();
        assert_eq!(TITLES.map(|(id, _)| id).to_vec(), ids);
        for clause in Clause::all() {
            let words = clause.title.split_whitespace().count();
            assert!((3..=6).contains(&words) && clause.title.len() <= 36, "{}: {}", clause.id, clause.title);
            assert_ne!(clause.group(), "Others", "{}", clause.id);
        }
    }

    #[test]
    fn a_text_that_goes_on_is_whole() {
        let a8 = &Clause::by_id("A8").unwrap().text;
        assert!(a8.starts_with("`clear` removes each key") && a8.ends_with("are told."), "{a8}");
        let k2 = &Clause::by_id("K2").unwrap().text;
        assert!(k2.contains("letter case, `a` beside"), "{k2}");
    }
}
