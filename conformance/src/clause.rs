//! The clauses of the contract, as the contract itself lists them.

use std::sync::LazyLock;

/// A promise of the contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clause {
    /// Its stable id, such as `A2`.
    pub id: &'static str,
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
}

/// A clause is an item of a list, `- **A2** ..`, that may go on in indented lines.
fn parse(contract: &'static str) -> Vec<Clause> {
    let mut clauses: Vec<Clause> = Vec::new();
    let mut open = false;
    for line in contract.lines() {
        if let Some((id, text)) = line.strip_prefix("- **").and_then(|item| item.split_once("** ")) {
            clauses.push(Clause { id, text: text.to_owned() });
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
    use super::*;

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
    fn a_text_that_goes_on_is_whole() {
        let a8 = &Clause::by_id("A8").unwrap().text;
        assert!(a8.starts_with("`clear` removes each key") && a8.ends_with("are told."), "{a8}");
        let k2 = &Clause::by_id("K2").unwrap().text;
        assert!(k2.contains("letter case, `a` beside"), "{k2}");
    }
}
