//! Generated histories: of a real register, and broken ones, judged by the checker and by the reference.

use bytes::Bytes;
use conformance::history::{Action, Event, History, Limits, Operation, Outcome, Verdict, check};
use proptest::{collection::vec, prelude::*};
use store_api::Key;

use super::reference;

/// What happens next: who moves, and how. What a number means depends on where the client is.
type Move = (u8, u8, u8, u8);

fn key(number: u8) -> Key {
    Key::new(["a", "b"][usize::from(number % 2)]).unwrap()
}

fn value(number: u8) -> Bytes {
    Bytes::from(["1", "2", "3"][usize::from(number % 3)])
}

fn value_or_absent(number: u8) -> Option<Bytes> {
    (number % 4 != 3).then(|| value(number % 4))
}

fn operation(kind: u8, first: u8, second: u8) -> Operation {
    match kind % 12 {
        0 => Operation::Mem,
        1..=4 => Operation::Find,
        5..=6 => Operation::Set(value(first)),
        7..=9 => Operation::TestAndSet { test: value_or_absent(first), set: value_or_absent(second) },
        10 => Operation::Remove,
        _ => Operation::Clear,
    }
}

/// Any outcome that an operation can have.
fn outcome(operation: &Operation, first: u8, second: u8) -> Outcome {
    match operation {
        Operation::Mem => Outcome::Mem(first % 2 == 0),
        Operation::Find => Outcome::Found(value_or_absent(first)),
        Operation::Set(_) | Operation::Remove | Operation::Clear => Outcome::Done,
        Operation::TestAndSet { .. } => match second % 4 {
            0 | 1 => Outcome::Applied,
            2 => Outcome::Mismatch { current: None },
            _ => Outcome::Mismatch { current: Some(value_or_absent(first)) },
        },
    }
}

/// A client of a real register, between two events.
#[derive(Clone)]
enum Client {
    Idle,
    Called(Key, Operation),
    Done(Outcome),
}

/// Two real registers, and clients whose operations take effect somewhere between call and return, or later.
#[derive(Default)]
struct Simulation {
    entries: [Option<Bytes>; 2],
    clients: Vec<(u64, Option<Client>)>,
    processes: u64,
    /// Operations whose clients have given up, which may take effect yet.
    lost: Vec<(Key, Operation)>,
    history: History,
}

impl Simulation {
    fn run(clients: usize, moves: &[Move]) -> History {
        let mut simulation = Self { processes: clients as u64, ..Self::default() };
        simulation.clients = (0..clients as u64).map(|process| (process, Some(Client::Idle))).collect();
        moves.iter().for_each(|&next| simulation.go_on(next));
        simulation.history
    }

    fn go_on(&mut self, (who, kind, first, second): Move) {
        let at = usize::from(who) % self.clients.len();
        let (process, client) = (self.clients[at].0, self.clients[at].1.take().unwrap());
        let next = match client {
            Client::Idle => {
                let operation = operation(kind, first, second);
                let key = if operation == Operation::Clear { Key::root() } else { key(second / 16) };
                self.happens(process, Action::Call { key: key.clone(), operation: operation.clone() });
                Client::Called(key, operation)
            }
            Client::Called(key, operation) if kind % 8 == 0 => {
                self.lost.push((key, operation));
                self.give_up(at)
            }
            Client::Called(key, operation) => Client::Done(self.take_effect(&key, &operation)),
            Client::Done(_) if kind % 8 == 0 => self.give_up(at),
            Client::Done(Outcome::Mismatch { .. }) if kind % 2 == 0 => {
                self.happens(process, Action::Return(Outcome::Mismatch { current: None }));
                Client::Idle
            }
            Client::Done(outcome) => {
                self.happens(process, Action::Return(outcome));
                Client::Idle
            }
        };
        self.clients[at].1 = Some(next);
        if kind % 5 == 0 && !self.lost.is_empty() {
            let (key, operation) = self.lost.swap_remove(usize::from(first) % self.lost.len());
            self.take_effect(&key, &operation);
        }
    }

    fn give_up(&mut self, client: usize) -> Client {
        self.happens(self.clients[client].0, Action::Unknown);
        self.clients[client].0 = self.processes;
        self.processes += 1;
        Client::Idle
    }

    fn happens(&mut self, process: u64, action: Action) {
        self.history.push(Event { process, action }).unwrap();
    }

    fn take_effect(&mut self, key: &Key, operation: &Operation) -> Outcome {
        if *operation == Operation::Clear {
            self.entries = [None, None];
            return Outcome::Done;
        }
        let entry = &mut self.entries[usize::from(key.as_str() == "b")];
        match operation {
            Operation::Mem => return Outcome::Mem(entry.is_some()),
            Operation::Find => return Outcome::Found(entry.clone()),
            Operation::Set(value) => *entry = Some(value.clone()),
            Operation::Remove | Operation::Clear => *entry = None,
            Operation::TestAndSet { test, set } if entry == test => {
                entry.clone_from(set);
                return Outcome::Applied;
            }
            Operation::TestAndSet { .. } => return Outcome::Mismatch { current: Some(entry.clone()) },
        }
        Outcome::Done
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

/// Checks that the checker and the reference agree, and that a witness is impossible by itself.
fn agrees_with_the_reference(history: &History) -> Result<(), TestCaseError> {
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
        let history = Simulation::run(clients, &moves);
        prop_assert_eq!(check(&history, Limits::default()), Verdict::Linearizable, "{}", text(&history));
    }

    #[test]
    fn with_one_outcome_replaced_it_is_judged_as_by_the_reference(
        clients in 1usize..6,
        moves in moves(22),
        replaced in any::<Move>(),
    ) {
        agrees_with_the_reference(&with_another_outcome(&Simulation::run(clients, &moves), replaced))?;
    }

    #[test]
    fn any_outcomes_are_judged_as_by_the_reference(clients in 1usize..6, moves in moves(20), outcomes in vec(any::<Move>(), 8)) {
        let history = outcomes.into_iter().fold(Simulation::run(clients, &moves), |history, replaced| {
            with_another_outcome(&history, replaced)
        });
        agrees_with_the_reference(&history)?;
    }

    #[test]
    fn a_history_is_read_back_as_it_was_written(clients in 1usize..6, moves in moves(60)) {
        let history = Simulation::run(clients, &moves);
        prop_assert_eq!(History::read(text(&history).as_bytes()).unwrap(), history);
    }
}
