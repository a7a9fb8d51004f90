//! Writes of each kind that may fail: what each of them was told, and what may be there for that (A5).

use bytes::Bytes;
use store_api::{Effect, Error, ErrorKind, IndexedExt, Key, TestAndSet};

use crate::{
    context::{Instance, key},
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

/// What an attempt does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// Sets an entry of its own.
    Set,
    /// The same by a compare.
    Compare,
    /// Removes the entry of the attempt before it.
    Remove,
    /// Commits a batch of one value.
    Commit,
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

    /// The value that one of them commits.
    fn content(&self, number: usize) -> Bytes {
        [self.key(number).as_str().as_bytes(), &self.value(number)].concat().into()
    }

    /// What one of them does; where it depends on those before it, on what they were told.
    fn act(&self, number: usize, has_content: bool) -> Act {
        match number % 5 {
            1 => Act::Compare,
            // A removal of what is not there changes nothing, and need not be refused.
            3 if self.told.get(number - 1) == Some(&Told::Applied) => Act::Remove,
            4 if has_content => Act::Commit,
            _ => Act::Set,
        }
    }

    /// Writes the next one.
    pub(crate) async fn write(&mut self, instance: &Instance) -> store_api::Result<()> {
        let written = self.write_number(self.len(), instance).await;
        self.told.push(Told::of(&written));
        written
    }

    async fn write_number(&self, number: usize, instance: &Instance) -> store_api::Result<()> {
        let (entries, content) = (instance.entries(), instance.indexable());
        match (self.act(number, content.is_some()), content) {
            (Act::Commit, Some(content)) => {
                let value = self.content(number);
                content.batch(|batch| async move { batch.add(value).await }).await.map(drop)
            }
            (Act::Compare, _) => match entries.test_and_set(&self.key(number), None, Some(self.value(number))).await? {
                TestAndSet::Applied => Ok(()),
                TestAndSet::Mismatch { .. } => Err(Error::new(ErrorKind::Other, "a mismatch on a key that nobody set")),
            },
            (Act::Remove, _) => entries.remove(&self.key(number - 1)).await,
            _ => entries.set(&self.key(number), self.value(number)).await,
        }
    }

    /// Takes it for unknown whether the last one happened, since what it did may not have been synced.
    pub(crate) fn doubt_the_last(&mut self) {
        if let Some(last) = self.told.last_mut() {
            *last = Told::Unknown;
        }
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
    pub(crate) async fn check(&self, instance: &Instance) -> Outcome {
        for number in 0..=self.len() {
            self.check_number(number, instance).await??;
        }
        Ok(())
    }

    /// [`check`](Self::check) of what can be read; an error is a good answer.
    pub(crate) async fn check_readable(&self, instance: &Instance) -> Outcome {
        for number in 0..self.len() {
            if let Ok(checked) = self.check_number(number, instance).await {
                checked?;
            }
        }
        Ok(())
    }

    /// The error of a read, or what is to be said of what was read.
    async fn check_number(&self, number: usize, instance: &Instance) -> store_api::Result<Outcome> {
        let (content, value) = (instance.indexable(), self.value(number));
        Ok(match (self.act(number, content.is_some()), content) {
            // It is looked at with the entry that it removes.
            (Act::Remove, _) => Ok(()),
            (Act::Commit, Some(content)) => {
                let value = self.content(number);
                let found = content.find(&content.hash_function().hash(&value).into()).await?;
                self.may_be(number, None, &value, found.as_ref())
            }
            (_, content) => {
                let removed = self.act(number + 1, content.is_some()) == Act::Remove;
                let removed = removed.then(|| self.told_of(number + 1));
                self.may_be(number, removed, &value, instance.entries().find(&self.key(number)).await?.as_ref())
            }
        })
    }

    fn told_of(&self, number: usize) -> Told {
        self.told.get(number).copied().unwrap_or(Told::Unknown)
    }

    /// Of what one of them wrote: what its removal was told, where there was one.
    fn may_be(&self, number: usize, removed: Option<Told>, value: &Bytes, found: Option<&Bytes>) -> Outcome {
        let (told, key) = (self.told_of(number), self.key(number));
        if let Some(found) = found {
            ensure!(found == value, "A10: {key} has a value that was never set");
            ensure!(told != Told::NotApplied, "A5: {key} is there, though its write failed as `NotApplied`");
            ensure!(removed != Some(Told::Applied), "A10: {key} is there, though its removal was acknowledged");
            return Ok(());
        }
        let is_due = told == Told::Applied;
        ensure!(!is_due || removed.is_some(), "A10: {key} is not there, though its write was acknowledged");
        let stays = is_due && removed == Some(Told::NotApplied);
        ensure!(!stays, "A5: {key} is not there, though its removal failed as `NotApplied`");
        Ok(())
    }
}

impl Told {
    /// What [`Attempts::last_line`] says.
    fn from_line(line: &str) -> Option<Self> {
        [Self::Applied, Self::NotApplied, Self::Unknown].into_iter().find(|told| format!("{told:?}") == line)
    }
}
