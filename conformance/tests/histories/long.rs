//! Histories of 10,000 operations on a few keys.

use std::time::Duration;

use conformance::history::{Action, Event, History, Limits, Operation, Outcome, Verdict, check};
use store_api::Key;

use super::simulation::ten_thousand_operations;

/// It takes seconds; this, on a machine that does much else.
fn patient() -> Limits {
    Limits::default().time(Duration::from_mins(1))
}

/// The history, after which a process sets a key, and then finds another value there.
fn with_a_wrong_read(mut history: History, found: &'static str) -> History {
    let key = Key::new("a").unwrap();
    let call = |operation| Action::Call { key: key.clone(), operation };
    for action in [
        call(Operation::Set("1".into())),
        Action::Return(Outcome::Done),
        call(Operation::Find),
        Action::Return(Outcome::Found(Some(found.into()))),
    ] {
        history.push(Event { process: u64::MAX, action }).unwrap();
    }
    history
}

#[track_caller]
fn is_accused(history: &History, longest: usize) {
    let Verdict::NotLinearizable(violation) = check(history, patient()) else { panic!("not accused") };
    let witness = violation.witness(patient());
    assert!(witness.bars.len() <= longest, "{witness}");
    assert!(matches!(check(witness.history(), patient()), Verdict::NotLinearizable(_)), "{witness}");
}

#[test]
fn a_long_history_of_a_real_register_is_linearizable() {
    for (loss, seed) in [(0, 1), (1, 2), (4, 3), (8, 4)] {
        let history = ten_thousand_operations(loss, seed);
        assert!(history.operations() > 9_000, "{}", history.operations());
        assert_eq!(check(&history, patient()), Verdict::Linearizable, "loss {loss}, seed {seed}");
    }
}

#[test]
fn a_stale_read_at_the_end_of_a_long_history_is_found() {
    is_accused(&with_a_wrong_read(ten_thousand_operations(0, 1), "2"), 20);
}

#[test]
fn a_value_that_was_never_written_is_found_among_many_unknown_outcomes() {
    is_accused(&with_a_wrong_read(ten_thousand_operations(8, 2), "never"), 2);
}

#[test]
fn a_compare_that_cannot_have_applied_explains_nothing_among_many_unknown_outcomes() {
    let mut history = ten_thousand_operations(8, 5);
    let never = Operation::TestAndSet { test: Some("never".into()), set: Some("gone".into()) };
    let key = Key::new("a").unwrap();
    for action in [Action::Call { key, operation: never }, Action::Unknown] {
        history.push(Event { process: u64::MAX - 1, action }).unwrap();
    }
    is_accused(&with_a_wrong_read(history, "gone"), 3);
}

#[test]
fn without_time_or_memory_there_is_no_verdict() {
    let history = with_a_wrong_read(ten_thousand_operations(8, 3), "2");
    assert!(matches!(check(&history, Limits::default().time(Duration::ZERO)), Verdict::Inconclusive(_)));
    let verdict = check(&history, patient().memory(0));
    assert!(matches!(verdict, Verdict::Inconclusive(_)), "{verdict:?}");
}
