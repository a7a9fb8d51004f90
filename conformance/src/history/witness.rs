//! What a violation is shown by: a few operations that are impossible together, as data and as a drawing.

use std::{collections::BTreeMap, fmt};

use bytes::Bytes;
use serde::Serialize;
use store_api::Key;

use super::{Action, Event, History, Operation, Outcome, interval::Interval, timeline};

/// Operations on one key that no order explains, a small part of the history that they were found in.
///
/// Its `Display` is a timeline: a row per process, time from left to right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Witness {
    /// The key, which was absent before.
    pub key: String,
    /// The operations, in the order of their calls.
    pub bars: Vec<Bar>,
    /// How many operations the key had seen until then, these included.
    pub of: usize,
    /// What is impossible, in one sentence.
    pub sentence: String,
    #[serde(skip)]
    history: History,
}

/// An operation of a [`Witness`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Bar {
    /// Who did it.
    pub process: u64,
    /// When it was called: the events of the witness are numbered from 0 in the order in which they happened.
    pub start: usize,
    /// When it returned, in the same numbers; `None` if its outcome is unknown, or came later.
    pub end: Option<usize>,
    /// What it did and what came of it, in ASCII with `→`, such as `find → "2"`.
    pub label: String,
    /// Whether it is the one whose outcome is impossible.
    pub impossible: bool,
}

impl Witness {
    /// A witness of intervals of one key, of which the one that returned last is impossible.
    pub(super) fn new(key: &Key, intervals: &[Interval], of: usize) -> Self {
        let mut instants: Vec<_> = intervals.iter().flat_map(|i| [Some(i.call), ended(i)]).flatten().collect();
        instants.sort_unstable();
        let rank = |at: usize| instants.partition_point(|&other| other < at);
        let impossible = intervals.iter().max_by_key(|interval| ended(interval));
        let names = Names::of(intervals);
        let bar = |interval: &Interval| Bar {
            process: interval.process,
            start: rank(interval.call),
            end: ended(interval).map(rank),
            label: names.label(interval),
            impossible: Some(interval) == impossible,
        };
        Self {
            key: key.to_string(),
            bars: intervals.iter().map(bar).collect(),
            of,
            sentence: impossible.map_or_else(String::new, |interval| names.sentence(interval)),
            history: history(key, intervals),
        }
    }

    /// The operations as a history of their own, which is not linearizable. A `test_and_set` whose test plays no part is the
    /// plain write that it implies.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        timeline::draw(self, f)
    }
}

fn ended(interval: &Interval) -> Option<usize> {
    interval.end.as_ref().map(|(end, _)| *end)
}

fn history(key: &Key, intervals: &[Interval]) -> History {
    let mut events = BTreeMap::new();
    for interval in intervals {
        let (operation, outcome) = on_this_key(interval);
        let call = Action::Call { key: key.clone(), operation };
        events.insert(interval.call, Event { process: interval.process, action: call });
        if let (Some(end), Some(outcome)) = (ended(interval), outcome) {
            events.insert(end, Event { process: interval.process, action: Action::Return(outcome) });
        }
    }
    match History::try_from(events.into_values().collect::<Vec<_>>()) {
        Ok(history) => history,
        Err(misplaced) => unreachable!("a part of a history is one: {misplaced}"),
    }
}

/// What an interval comes to, if there is no other key and it compares only where it has to.
fn on_this_key(interval: &Interval) -> (Operation, Option<Outcome>) {
    let written = |value: &Option<Bytes>| value.clone().map_or(Operation::Remove, Operation::Set);
    match &interval.operation {
        Operation::Clear => (Operation::Remove, interval.outcome().cloned()),
        Operation::TestAndSet { set, .. } if !interval.compares => (written(set), Some(Outcome::Done)),
        operation => (operation.clone(), interval.outcome().cloned()),
    }
}

/// How the values of a witness are told: in ASCII, and so short that they fit beside each other.
struct Names<'w>(BTreeMap<&'w [u8], String>);

/// The longest name, in characters, and what is left of a longer one at its beginning and its end.
const LONGEST_NAME: usize = 16;
const ENDS: usize = 5;

impl<'w> Names<'w> {
    fn of(intervals: &'w [Interval]) -> Self {
        let mut names = BTreeMap::new();
        let mut told: BTreeMap<String, usize> = BTreeMap::new();
        for value in intervals.iter().flat_map(values) {
            names.entry(value).or_insert_with(|| {
                let name = short(value);
                let count = told.entry(name.clone()).or_default();
                *count += 1;
                if *count == 1 { name } else { format!("{name}#{count}") }
            });
        }
        Self(names)
    }

    fn name(&self, value: Option<&Bytes>) -> &str {
        value.map_or("absent", |value| self.0.get(&**value).map_or("", String::as_str))
    }

    fn label(&self, interval: &Interval) -> String {
        let call = match &interval.operation {
            Operation::Set(value) => format!("set {}", self.name(Some(value))),
            Operation::TestAndSet { set, .. } if !interval.compares => {
                format!("test .. set {}", self.name(set.as_ref()))
            }
            Operation::TestAndSet { test, set } => {
                format!("test {} set {}", self.name(test.as_ref()), self.name(set.as_ref()))
            }
            operation => operation.name().to_owned(),
        };
        match interval.outcome() {
            None => format!("{call} → ?"),
            Some(Outcome::Done) => call,
            Some(Outcome::Mem(present)) => format!("{call} → {present}"),
            Some(Outcome::Found(value)) => format!("{call} → {}", self.name(value.as_ref())),
            Some(Outcome::Applied) => format!("{call} → applied"),
            Some(Outcome::Mismatch { current: None }) => format!("{call} → mismatch"),
            Some(Outcome::Mismatch { current: Some(current) }) => {
                format!("{call} → found {}", self.name(current.as_ref()))
            }
        }
    }

    fn found(&self, value: Option<&Bytes>) -> String {
        value.map_or_else(|| "found the key absent".to_owned(), |value| format!("found {}", self.name(Some(value))))
    }

    fn sentence(&self, interval: &Interval) -> String {
        let Interval { process, operation, .. } = interval;
        let what = match (operation, interval.outcome()) {
            (_, Some(Outcome::Mem(true))) => "found the key present".to_owned(),
            (_, Some(Outcome::Mem(false))) => self.found(None),
            (_, Some(Outcome::Found(value))) => self.found(value.as_ref()),
            (Operation::TestAndSet { test, .. }, Some(Outcome::Applied)) => {
                format!("{} and replaced it", self.found(test.as_ref()))
            }
            (Operation::TestAndSet { test, .. }, Some(Outcome::Mismatch { current: None })) => {
                format!("found something other than {}", self.name(test.as_ref()))
            }
            (Operation::TestAndSet { test, .. }, Some(Outcome::Mismatch { current: Some(current) }))
                if test == current =>
            {
                let name = self.name(test.as_ref());
                return format!("Process {process} tested for {name} and was told that it was not there, but {name}.");
            }
            (_, Some(Outcome::Mismatch { current: Some(current) })) => self.found(current.as_ref()),
            (operation, _) => format!("returned from {}", operation.name()),
        };
        format!("No order of these operations explains why process {process} {what}.")
    }
}

/// The values that an interval names.
fn values(interval: &Interval) -> impl Iterator<Item = &[u8]> {
    let (first, second) = match &interval.operation {
        Operation::Set(value) => (Some(value), None),
        Operation::TestAndSet { test, set } => (test.as_ref(), set.as_ref()),
        _ => (None, None),
    };
    let third = match interval.outcome() {
        Some(Outcome::Found(value) | Outcome::Mismatch { current: Some(value) }) => value.as_ref(),
        _ => None,
    };
    [first, second, third].into_iter().flatten().map(|value| &**value)
}

fn short(value: &[u8]) -> String {
    let beginning = value[..value.len().min(LONGEST_NAME + 1)].escape_ascii().to_string();
    if beginning.len() <= LONGEST_NAME {
        return format!("\"{beginning}\"");
    }
    let end = value[value.len().saturating_sub(ENDS)..].escape_ascii().to_string();
    format!("\"{}..{}\"", &beginning[..ENDS], &end[end.len().saturating_sub(ENDS)..])
}
