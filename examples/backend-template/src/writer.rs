//! How a group of writes becomes a group in the log: decided, appended, synced, then shown.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use backend_kit::{Addition, Decision, Engine, Failure, Patience, ROW_BYTES, Test, Wakers};
use bytes::Bytes;
use store_api::{ContentHash, HashFunction, Key, Result, TestAndSet};

use crate::{
    folder::Folder,
    group::Kind,
    log::Log,
    state::{Changes, State},
};

/// What the committer writes.
pub(crate) enum Write {
    Entry { key: Key, test: Test, set: Option<Bytes> },
    Clear,
    Content(Vec<Addition>),
    Sync,
}

/// The one that appends. Its answer to a write that tests nothing is `Applied`.
pub(crate) struct Writer {
    log: Log,
    state: Arc<State>,
    hash: HashFunction,
    /// Whether each group is synced.
    syncs: bool,
    // Behind the log: it is let go of when the log is closed.
    folder: Folder,
}

impl Writer {
    pub(crate) fn new(log: Log, state: Arc<State>, hash: HashFunction, syncs: bool, folder: Folder) -> Self {
        Self { log, state, hash, syncs, folder }
    }

    fn decide<'w>(&self, write: &'w Write, decided: &mut Decided<'w>) -> Result<TestAndSet> {
        match write {
            Write::Entry { key, test, set } => return Ok(self.decide_entry(key, test, set.as_ref(), decided)),
            Write::Content(additions) => self.decide_content(additions, decided)?,
            Write::Clear => {
                decided.entries.extend(self.state.keys().into_iter().map(|key| (key, None)));
                decided.entries.values_mut().for_each(|value| *value = None);
            }
            Write::Sync => {}
        }
        Ok(TestAndSet::Applied)
    }

    /// What was decided before in this group counts: it takes effect before this.
    fn decide_entry(&self, key: &Key, test: &Test, set: Option<&Bytes>, decided: &mut Decided<'_>) -> TestAndSet {
        let current = decided.entries.get(key).cloned().unwrap_or_else(|| self.state.find(key));
        match Decision::of(test, current.as_deref(), set.map(|set| &**set)) {
            Decision::Mismatch => return TestAndSet::Mismatch { current },
            Decision::Unchanged => {}
            Decision::Replace => {
                decided.entries.insert(key.clone(), set.cloned());
            }
        }
        TestAndSet::Applied
    }

    /// All of them are looked at before any is taken: if one cannot be, none is (I7).
    fn decide_content<'w>(&self, additions: &'w [Addition], decided: &mut Decided<'w>) -> Result<()> {
        let mut taken = Vec::new();
        for addition in additions {
            if self.takes(addition, decided)? {
                taken.push((addition.hash, addition));
            }
        }
        decided.content.extend(taken);
        Ok(())
    }

    fn takes(&self, addition: &Addition, decided: &Decided<'_>) -> Result<bool> {
        if let Some(present) = decided.content.get(&addition.hash) {
            return Ok(addition.replaces(self.hash, present.trusted, &present.value));
        }
        // What is there is compared, not trusted: it may have been added under a false hash, or have rotted (I2, I4).
        let Some(place) = self.state.place(&addition.hash) else { return Ok(true) };
        Ok(addition.replaces(self.hash, false, &self.log.values().read(place)?))
    }

    fn append(&mut self, decided: Decided<'_>) -> Result<Changes> {
        let mut group = self.log.begin();
        let mut content = Vec::with_capacity(decided.content.len());
        for (hash, addition) in decided.content {
            content.push((hash, group.put(Kind::Content, hash.as_bytes(), &addition.value)));
        }
        for (key, value) in &decided.entries {
            let kind = if value.is_some() { Kind::Set } else { Kind::Remove };
            group.put(kind, key.as_str().as_bytes(), value.as_deref().unwrap_or_default());
        }
        if !group.is_empty() {
            self.log.append(group)?;
        }
        Ok(Changes { entries: decided.entries, content })
    }
}

/// What the writes of a group come to.
#[derive(Default)]
struct Decided<'w> {
    entries: BTreeMap<Key, Option<Bytes>>,
    content: HashMap<ContentHash, &'w Addition>,
}

impl Engine for Writer {
    type Write = Write;
    type Outcome = TestAndSet;

    fn bytes_of(write: &Write) -> usize {
        match write {
            Write::Entry { key, test, set } => key.as_str().len() + test.bytes(set.as_ref()) + ROW_BYTES,
            Write::Content(additions) => additions.iter().map(Addition::bytes).sum(),
            Write::Clear | Write::Sync => 0,
        }
    }

    /// What runs in place neither syncs nor reads the file, so that it needs no patience.
    fn commit(&mut self, group: &[&Write], _: Patience, told: &mut Wakers) -> Result<Vec<Result<TestAndSet>>, Failure> {
        self.folder.check_in_place().map_err(Failure::Failed)?;
        let mut decided = Decided::default();
        let answers = group.iter().map(|write| self.decide(write, &mut decided)).collect();
        let changes = self.append(decided).map_err(Failure::Failed)?;
        if self.syncs || group.iter().any(|write| matches!(write, Write::Sync)) {
            self.log.sync().map_err(Failure::SyncFailed)?;
        }
        told.extend([self.state.apply(changes)]);
        Ok(answers)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // A log that could not be closed is one that was not: the next open writes it anew. Nothing that was
        // acknowledged depends on it.
        let _ = self.log.close();
    }
}
