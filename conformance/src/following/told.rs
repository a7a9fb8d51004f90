//! What a watch told, for the message of a failure.

use std::{collections::VecDeque, fmt::Write};

use bytes::Bytes;
use store_api::{Error, Event, Key};

use super::State;
use crate::show::{Show, shown};

/// How many of the last items a failure shows.
pub(super) const SHOWN: usize = 12;

/// The part of a key's course around a state, for a message.
pub(super) fn course_around(course: &[Option<Bytes>], state: Option<&Bytes>) -> String {
    let at = course.iter().position(|was| was.as_ref() == state).unwrap_or(course.len());
    let (from, to) = (at.saturating_sub(SHOWN / 2), (at + SHOWN / 2).min(course.len()));
    let part = course[from..to].iter().map(Show::show).collect::<Vec<_>>().join(", ");
    format!("in truth it was, from change {from} of {} on: {part}", course.len())
}

/// Where what was told and what is due differ, for a message.
pub(super) fn differences(told: &State, due: &State) -> String {
    let keys = told.keys().chain(due.keys().filter(|key| !told.contains_key(*key)));
    let differing: Vec<&Key> = keys.filter(|key| told.get(*key) != due.get(*key)).collect();
    let mut text = format!("  {} keys differ from the store:", differing.len());
    for key in differing.into_iter().take(SHOWN) {
        let (told, due) = (shown(&told.get(key)), shown(&due.get(key)));
        let _ = write!(text, "\n    {}: told {told}, in the store {due}", shown(key));
    }
    text
}

/// The last items of a watch.
#[derive(Default)]
pub(super) struct Log {
    /// How many there were.
    count: usize,
    last: VecDeque<Option<Result<Event, Error>>>,
}

impl Log {
    pub(super) fn keep(&mut self, item: Option<&Result<Event, Error>>) {
        self.count += 1;
        if self.last.len() == SHOWN {
            self.last.pop_front();
        }
        self.last.push_back(item.cloned());
    }

    /// How many items there were.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The last item, where it is an error.
    pub(super) fn last_error(&self) -> Option<&Error> {
        self.last.back()?.as_ref()?.as_ref().err()
    }
}

impl std::fmt::Display for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let first = self.count - self.last.len();
        match (self.count, first) {
            (0, _) => return f.write_str("it told nothing"),
            (_, 0) => f.write_str("all that it told:")?,
            (count, _) => write!(f, "of {count} things that it told, the last:")?,
        }
        for (number, item) in (first + 1..).zip(&self.last) {
            let text = match item {
                Some(Ok(event)) => shown(event),
                Some(Err(error)) => format!("error: {error}"),
                None => "the end".into(),
            };
            write!(f, "\n  {number}. {text}")?;
        }
        Ok(())
    }
}
