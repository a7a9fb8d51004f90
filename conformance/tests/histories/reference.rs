//! Linearizability by its definition: every order of the operations is tried, on all keys at once, with no memo.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use conformance::history::{Action, History, Operation, Outcome};
use store_api::Key;

#[derive(Clone)]
struct Interval {
    key: Key,
    operation: Operation,
    outcome: Option<Outcome>,
    call: usize,
    end: usize,
}

type Entries = BTreeMap<Key, Bytes>;

/// Whether some order of the operations explains every outcome.
pub(crate) fn is_linearizable(history: &History) -> bool {
    explains(&Entries::new(), &intervals(history))
}

fn explains(entries: &Entries, left: &[Interval]) -> bool {
    if left.iter().all(|interval| interval.outcome.is_none()) {
        return true;
    }
    let first_end = left.iter().map(|interval| interval.end).min().unwrap_or(usize::MAX);
    (0..left.len()).filter(|&next| left[next].call < first_end).any(|next| {
        let mut rest = left.to_vec();
        let interval = rest.remove(next);
        let mut entries = entries.clone();
        let outcome = take_effect(&mut entries, &interval);
        interval.outcome.is_none_or(|told| agrees(&told, &outcome)) && explains(&entries, &rest)
    })
}

fn take_effect(entries: &mut Entries, interval: &Interval) -> Outcome {
    let current = entries.get(&interval.key).cloned();
    let mut become_ = |value: Option<Bytes>| match value {
        Some(value) => drop(entries.insert(interval.key.clone(), value)),
        None => drop(entries.remove(&interval.key)),
    };
    match &interval.operation {
        Operation::Mem => return Outcome::Mem(current.is_some()),
        Operation::Find => return Outcome::Found(current),
        Operation::Set(value) => become_(Some(value.clone())),
        Operation::Remove | Operation::Clear => become_(None),
        Operation::TestAndSet { test, set } if *test == current => {
            become_(set.clone());
            return Outcome::Applied;
        }
        Operation::TestAndSet { .. } => return Outcome::Mismatch { current: Some(current) },
    }
    Outcome::Done
}

fn agrees(told: &Outcome, outcome: &Outcome) -> bool {
    match (told, outcome) {
        (Outcome::Mismatch { current: None }, Outcome::Mismatch { .. }) => true,
        (told, outcome) => told == outcome,
    }
}

/// The operations with their times; a `clear` is one for each key that others are on.
fn intervals(history: &History) -> Vec<Interval> {
    let mut intervals: Vec<Interval> = Vec::new();
    let mut keys: Vec<Key> = Vec::new();
    let mut open = HashMap::new();
    for event in history.events() {
        if let Action::Call { key, .. } = &event.action
            && !key.is_root()
            && !keys.contains(key)
        {
            keys.push(key.clone());
        }
    }
    for (at, event) in history.events().iter().enumerate() {
        match &event.action {
            Action::Call { key, operation } => {
                let from = intervals.len();
                let on = if key.is_root() { &keys[..] } else { std::slice::from_ref(key) };
                intervals.extend(on.iter().map(|key| Interval {
                    key: key.clone(),
                    operation: operation.clone(),
                    outcome: None,
                    call: at,
                    end: usize::MAX,
                }));
                open.insert(event.process, from..intervals.len());
            }
            Action::Return(outcome) => {
                for interval in &mut intervals[open.remove(&event.process).unwrap()] {
                    interval.outcome = Some(outcome.clone());
                    interval.end = at;
                }
            }
            Action::Unknown => {}
        }
    }
    intervals
}
