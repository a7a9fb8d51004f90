//! The cases, by area. Each file lists its own in `CASES`, and what its children do in `ROLES`.

use crate::{case::Case, roles::Role};

mod batch_end;
mod batch_instant;
mod batches;
mod clearing;
mod closing;
mod concurrent;
mod content_model;
mod dropped;
mod errors;
mod failing_disk;
mod faults;
mod handles;
mod index;
mod kept;
mod keys;
mod killed;
mod listing;
mod load;
mod locators;
mod model;
mod names;
mod opening;
mod power;
mod processes;
mod rot;
mod rot_of_files;
mod small_disk;
mod syncs;
mod unchecked;
mod values;
mod watch_beside;
mod watch_end;
mod watch_fold;
mod watch_lag;
mod watch_memory;
mod watch_model;
mod watch_order;
mod watch_processes;
mod watch_scope;
mod watch_slow;
mod watch_start;
mod writes;

/// Every case of the suite.
pub(crate) fn all() -> impl Iterator<Item = &'static Case> {
    [
        keys::CASES,
        values::CASES,
        writes::CASES,
        concurrent::CASES,
        model::CASES,
        listing::CASES,
        clearing::CASES,
        dropped::CASES,
        names::CASES,
        watch_start::CASES,
        watch_beside::CASES,
        watch_fold::CASES,
        watch_order::CASES,
        watch_model::CASES,
        watch_lag::CASES,
        watch_slow::CASES,
        watch_memory::CASES,
        watch_end::CASES,
        watch_scope::CASES,
        watch_processes::CASES,
        index::CASES,
        content_model::CASES,
        unchecked::CASES,
        locators::CASES,
        batches::CASES,
        batch_instant::CASES,
        batch_end::CASES,
        handles::CASES,
        closing::CASES,
        kept::CASES,
        load::CASES,
        opening::CASES,
        errors::CASES,
        killed::CASES,
        processes::CASES,
        power::CASES,
        syncs::CASES,
        failing_disk::CASES,
        small_disk::CASES,
        faults::CASES,
        rot::CASES,
        rot_of_files::CASES,
    ]
    .into_iter()
    .flatten()
}

/// The ids of the cases that a [pattern](crate::Options::case) asks for; of all for an empty one.
pub fn case_ids(pattern: &str) -> impl Iterator<Item = &'static str> {
    all().filter(move |case| case.matches(pattern)).map(|case| case.id)
}

/// Every role that a case gives to a child.
pub(crate) fn roles() -> impl Iterator<Item = &'static Role> {
    [
        load::ROLES,
        killed::ROLES,
        processes::ROLES,
        watch_memory::ROLES,
        watch_processes::ROLES,
        power::ROLES,
        syncs::ROLES,
        failing_disk::ROLES,
        small_disk::ROLES,
        rot::ROLES,
        rot_of_files::ROLES,
    ]
    .into_iter()
    .flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::Clause;

    #[test]
    fn every_clause_has_a_case() {
        let tested: BTreeSet<&str> = all().map(Case::clause).collect();
        let missing: Vec<&str> =
            Clause::all().iter().map(|clause| clause.id).filter(|id| !tested.contains(id)).collect();
        assert!(missing.is_empty(), "no case names {missing:?}");
    }

    #[test]
    fn every_case_names_a_clause_and_is_named_once() {
        let mut seen = BTreeSet::new();
        for case in all() {
            assert!(Clause::by_id(case.clause()).is_some(), "{} names no clause", case.id);
            assert!(seen.insert(case.id), "{} is there twice", case.id);
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '/');
            assert!(case.id.chars().all(plain), "{} has other characters than letters, digits, `-` and `/`", case.id);
        }
    }

    #[test]
    fn every_role_is_named_once() {
        let mut seen = BTreeSet::new();
        assert!(roles().all(|(name, _)| seen.insert(name)));
    }
}
