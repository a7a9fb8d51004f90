//! Generated histories: of a real register, and broken ones, judged by the checker and by the reference.

use conformance::history::{Action, History, Limits, Operation, Outcome, Verdict, check};
use proptest::{collection::vec, prelude::*};

use super::{
    reference,
    simulation::{Move, Simulation, value_or_absent},
};

/// One operation in eight is lost.
const LOSS: u8 = 32;

/// Any outcome that an operation can have.
fn outcome(operation: &Operation, first: u8, second: u8) -> Outcome {
    match operation {
        Operation::Mem => Outcome::Mem(first.is_multiple_of(2)),
        Operation::Find => Outcome::Found(value_or_absent(first)),
        Operation::Set(_) | Operation::Remove | Operation::Clear => Outcome::Done,
        Operation::TestAndSet { .. } => match second % 4 {
            0 | 1 => Outcome::Applied,
            2 => Outcome::Mismatch { current: None },
            _ => Outcome::Mismatch { current: Some(value_or_absent(first)) },
        },
    }
}

/// The history with the outcome of one of its operations replaced.
fn with_another_outcome(history: &History, (at, _, first, second): Move) -> History {
    let mut events = history.events().to_vec();
    let returns: Vec<_> = (0..events.len()).filter(|&at| matches!(events[at].action, Action::Return(_))).collect();
    if let Some(&at) = returns.get(usize::from(at) % returns.len().max(1)) {
        let process = events[at].process;
        let called = events[..at].iter().rev().find_map(|event| match &event.action {
            Action::Call { operation, .. } if event.process == process => Some(operation),
            _ => None,
        });
        events[at].action = Action::Return(outcome(called.unwrap(), first, second));
    }
    History::try_from(events).unwrap()
}

fn moves(count: usize) -> impl Strategy<Value = Vec<Move>> {
    vec(any::<Move>(), 0..count)
}

fn text(history: &History) -> String {
    let mut text = Vec::new();
    history.write(&mut text).unwrap();
    String::from_utf8(text).unwrap()
}

/// Checks that the checker and the reference agree, and that a witness is impossible by itself. With no memory to speak of
/// the checker may give up, and nothing else.
fn agrees_with_the_reference(history: &History) -> Result<(), TestCaseError> {
    match check(history, Limits::default().memory(0)) {
        Verdict::Linearizable => prop_assert!(reference::is_linearizable(history), "missed:\n{}", text(history)),
        Verdict::NotLinearizable(_) => {
            prop_assert!(!reference::is_linearizable(history), "accused:\n{}", text(history));
        }
        Verdict::Inconclusive(_) => {}
    }
    match check(history, Limits::default()) {
        Verdict::Linearizable => prop_assert!(reference::is_linearizable(history), "missed:\n{}", text(history)),
        Verdict::NotLinearizable(violation) => {
            let witness = violation.witness(Limits::default());
            prop_assert!(!reference::is_linearizable(history), "accused:\n{}\n{witness}", text(history));
            prop_assert!(!reference::is_linearizable(witness.history()), "{}\n{witness}", text(history));
            prop_assert!(matches!(check(witness.history(), Limits::default()), Verdict::NotLinearizable(_)));
        }
        Verdict::Inconclusive(limit) => prop_assert!(false, "{limit}:\n{}", text(history)),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(3000)
    ))]

    #[test]
    fn a_real_register_is_never_accused(clients in 1usize..12, moves in moves(400)) {
        let history = Simulation::run(clients, LOSS, moves);
        prop_assert_eq!(check(&history, Limits::default()), Verdict::Linearizable, "{}", text(&history));
        let narrow = check(&history, Limits::default().memory(0));
        prop_assert!(!matches!(narrow, Verdict::NotLinearizable(_)), "{}", text(&history));
    }

    #[test]
    fn with_one_outcome_replaced_it_is_judged_as_by_the_reference(
        clients in 1usize..6,
        moves in moves(22),
        replaced in any::<Move>(),
    ) {
        agrees_with_the_reference(&with_another_outcome(&Simulation::run(clients, LOSS, moves), replaced))?;
    }

    #[test]
    fn any_outcomes_are_judged_as_by_the_reference(clients in 1usize..6, moves in moves(20), outcomes in vec(any::<Move>(), 8)) {
        let history = outcomes.into_iter().fold(Simulation::run(clients, LOSS, moves), |history, replaced| {
            with_another_outcome(&history, replaced)
        });
        agrees_with_the_reference(&history)?;
    }

    #[test]
    fn a_history_is_read_back_as_it_was_written(clients in 1usize..6, moves in moves(60)) {
        let history = Simulation::run(clients, LOSS, moves);
        prop_assert_eq!(History::read(text(&history).as_bytes()).unwrap(), history);
    }
}
