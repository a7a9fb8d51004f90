//! Histories of a real register, of which each choice is given: by a property's generator, or by a seed.

use bytes::Bytes;
use conformance::history::{Action, Event, History, Operation, Outcome};
use store_api::Key;

/// What happens next: who moves, and how. What a number means depends on where the client is.
pub(crate) type Move = (u8, u8, u8, u8);

fn key(number: u8) -> Key {
    Key::new(["a", "b"][usize::from(number % 2)]).unwrap()
}

fn value(number: u8) -> Bytes {
    Bytes::from(["1", "2", "3"][usize::from(number % 3)])
}

pub(crate) fn value_or_absent(number: u8) -> Option<Bytes> {
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

/// A client of a real register, between two events.
#[derive(Clone)]
enum Client {
    Idle,
    Called(Key, Operation),
    Done(Outcome),
}

/// Two real registers, and clients whose operations take effect somewhere between call and return, or later.
#[derive(Default)]
pub(crate) struct Simulation {
    entries: [Option<Bytes>; 2],
    clients: Vec<(u64, Option<Client>)>,
    processes: u64,
    loss: u8,
    /// Operations whose clients have given up, which may take effect yet.
    lost: Vec<(Key, Operation)>,
    history: History,
}

impl Simulation {
    /// The history of clients that make moves. Of 256 times that one could give up, it does `loss` times.
    pub(crate) fn run(clients: usize, loss: u8, moves: impl IntoIterator<Item = Move>) -> History {
        let mut simulation = Self { loss, processes: clients as u64, ..Self::default() };
        simulation.clients = (0..clients as u64).map(|process| (process, Some(Client::Idle))).collect();
        for next in moves {
            simulation.go_on(next);
        }
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
            Client::Called(key, operation) if second < self.loss => {
                self.lost.push((key, operation));
                self.give_up(at)
            }
            Client::Called(key, operation) => Client::Done(self.take_effect(&key, &operation)),
            Client::Done(_) if second < self.loss => self.give_up(at),
            Client::Done(Outcome::Mismatch { .. }) if kind.is_multiple_of(2) => {
                self.happens(process, Action::Return(Outcome::Mismatch { current: None }));
                Client::Idle
            }
            Client::Done(outcome) => {
                self.happens(process, Action::Return(outcome));
                Client::Idle
            }
        };
        self.clients[at].1 = Some(next);
        if kind.is_multiple_of(5) && !self.lost.is_empty() {
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

/// A history of about 10,000 operations by 16 clients, of which `loss` in 128 have an unknown outcome.
pub(crate) fn ten_thousand_operations(loss: u8, seed: u64) -> History {
    let mut random = fastrand::Rng::with_seed(seed);
    let moves = std::iter::repeat_with(move || (random.u8(..), random.u8(..), random.u8(..), random.u8(..)));
    // A call, an effect and a return.
    Simulation::run(16, loss, moves.take(30_000))
}
