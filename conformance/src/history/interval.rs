//! Operations as intervals between two events, which is how time enters the check.

use std::collections::{BTreeMap, HashMap};

use store_api::Key;

use super::{Action, History, Operation, Outcome};

/// An operation between its call and its end, both counted in events of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) process: u64,
    pub(super) operation: Operation,
    pub(super) call: usize,
    /// When it returned and with what; `None` for an outcome that is not known.
    pub(super) end: Option<(usize, Outcome)>,
    /// Whether a compare that applied is one, or taken for the plain write that it implies.
    pub(super) compares: bool,
}

impl Interval {
    /// The event before which it must have taken effect.
    pub(super) fn deadline(&self) -> usize {
        self.end.as_ref().map_or(usize::MAX, |(end, _)| *end)
    }

    pub(super) fn outcome(&self) -> Option<&Outcome> {
        self.end.as_ref().map(|(_, outcome)| outcome)
    }

    /// Whether it is known to have changed nothing.
    pub(super) fn is_read(&self) -> bool {
        matches!(self.operation, Operation::Mem | Operation::Find)
            || matches!(self.outcome(), Some(Outcome::Mismatch { .. }))
    }
}

/// The operations of a history by their key, in the order of their calls; a `clear` is one of every key's.
pub(super) fn by_key(history: &History) -> BTreeMap<Key, Vec<Interval>> {
    let mut keys: BTreeMap<Key, Vec<Interval>> = BTreeMap::new();
    let mut clears = Vec::new();
    for (key, interval) in intervals(history) {
        if interval.operation == Operation::Clear {
            clears.push(interval);
        } else {
            keys.entry(key.clone()).or_default().push(interval);
        }
    }
    if !clears.is_empty() {
        for intervals in keys.values_mut() {
            intervals.extend(clears.iter().cloned());
            intervals.sort_by_key(|interval| interval.call);
        }
    }
    keys
}

fn intervals(history: &History) -> Vec<(&Key, Interval)> {
    let mut intervals = Vec::new();
    let mut open = HashMap::new();
    for (at, event) in history.events().iter().enumerate() {
        match &event.action {
            Action::Call { key, operation } => {
                open.insert(event.process, intervals.len());
                let (process, operation) = (event.process, operation.clone());
                intervals.push((key, Interval { process, operation, call: at, end: None, compares: true }));
            }
            Action::Return(outcome) => {
                if let Some(interval) = open.remove(&event.process).and_then(|open| intervals.get_mut(open)) {
                    interval.1.end = Some((at, outcome.clone()));
                }
            }
            Action::Unknown => {}
        }
    }
    intervals
}
