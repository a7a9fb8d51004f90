//! Writes that may fail, each of an entry of its own: what each of them was told, and what may be there for that (A5).

use bytes::Bytes;
use store_api::{AtomicWrite, Effect, EntryRead, Error, Key};

use crate::{
    context::key,
    failure::{Outcome, ensure},
    work::{Round, random_bytes},
};

/// What a write was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Applied,
    NotApplied,
    /// It failed, and may have happened; or nobody heard what it was told.
    Unknown,
}

impl Told {
    fn of(written: &store_api::Result<()>) -> Self {
        match written.as_ref().map_err(Error::effect) {
            Ok(()) => Self::Applied,
            Err(Effect::NotApplied) => Self::NotApplied,
            Err(Effect::Unknown) => Self::Unknown,
        }
    }
}

/// The writes of a round, numbered from zero, and what each was told.
#[derive(Clone, Debug)]
pub(crate) struct Attempts {
    round: Round,
    told: Vec<Told>,
}

impl Attempts {
    pub(crate) fn new(round: Round) -> Self {
        Self { round, told: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.told.len()
    }

    /// The key of one of them.
    pub(crate) fn key(&self, number: usize) -> Key {
        key(format!("attempts/{}/{number}", self.round.number))
    }

    fn value(&self, number: usize) -> Bytes {
        let mut random = self.round.random(0, number);
        // A few are so long that an engine soon has much to tidy up.
        let len = if random.u32(..6) == 0 { random.usize(..100_000) } else { random.usize(..2_000) };
        random_bytes(&mut random, len)
    }

    /// Writes the next one.
    pub(crate) async fn write(&mut self, entries: &dyn AtomicWrite) -> store_api::Result<()> {
        let number = self.len();
        let written = entries.set(&self.key(number), self.value(number)).await;
        self.told.push(Told::of(&written));
        written
    }

    /// What those behind the first so many were told.
    pub(crate) fn told_behind(&self, first: usize) -> &[Told] {
        &self.told[first.min(self.told.len())..]
    }

    /// What the last one was told, as a line that a child says.
    pub(crate) fn last_line(&self) -> String {
        format!("{:?}", self.told.last().unwrap_or(&Told::Unknown))
    }

    /// Takes in such a line of a child that makes these attempts; any other line is passed over.
    pub(crate) fn hear(&mut self, line: &str) {
        self.told.extend(Told::from_line(line));
    }

    /// Demands that what was acknowledged is there, and what was not applied is not. The write behind the last is one
    /// that may have been under way.
    pub(crate) async fn check(&self, entries: &dyn EntryRead) -> Outcome {
        for number in 0..self.len() {
            let found = entries.find(&self.key(number)).await?;
            self.may_be(number, found.as_ref())?;
        }
        self.may_be(self.len(), entries.find(&self.key(self.len())).await?.as_ref())
    }

    /// [`check`](Self::check) of what can be read; an error is a good answer.
    pub(crate) async fn check_readable(&self, entries: &dyn EntryRead) -> Outcome {
        for number in 0..self.len() {
            if let Ok(found) = entries.find(&self.key(number)).await {
                self.may_be(number, found.as_ref())?;
            }
        }
        Ok(())
    }

    fn may_be(&self, number: usize, found: Option<&Bytes>) -> Outcome {
        let told = self.told.get(number).copied().unwrap_or(Told::Unknown);
        let key = self.key(number);
        match found {
            Some(found) => {
                ensure!(*found == self.value(number), "A10: {key} has a value that was never set");
                ensure!(told != Told::NotApplied, "A5: {key} is there, though its write failed as `NotApplied`");
            }
            None => ensure!(told != Told::Applied, "A10: {key} is not there, though its write was acknowledged"),
        }
        Ok(())
    }
}

impl Told {
    /// What [`Attempts::last_line`] says.
    fn from_line(line: &str) -> Option<Self> {
        [Self::Applied, Self::NotApplied, Self::Unknown].into_iter().find(|told| format!("{told:?}") == line)
    }
}
