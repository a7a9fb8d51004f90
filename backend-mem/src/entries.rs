//! The entries: a map sharded by the hash of the key, with the keys of each shard in order.
//!
//! The lock of a shard is where the writes of its keys are put in order, and where the watches are told: so they hear in
//! that order (W4). It is held for moments: values are compared under it only while they are small.

use std::{
    collections::BTreeSet,
    hash::BuildHasher,
    ops::Bound,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use backend_kit::{Change, Decision, Hub, OFFLOAD_LEN, Page, Scope, Test, Wakers, range_below};
use bytes::Bytes;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use store_api::{Key, TestAndSet};

const SHARDS: usize = 64;
const PAGE: usize = 1024;

pub(crate) struct Entries {
    shards: Box<[RwLock<Shard>]>,
    hasher: RandomState,
    hub: Arc<Hub>,
}

#[derive(Default)]
struct Shard {
    entries: HashTable<Entry>,
    order: BTreeSet<Key>,
    /// The sequence number of the last change in this shard; each entry has that of its own.
    seq: u64,
}

#[derive(Clone)]
struct Entry {
    key: Key,
    value: Bytes,
    seq: u64,
}

impl Entries {
    pub(crate) fn new(hub: Arc<Hub>) -> Self {
        let shards = std::iter::repeat_with(RwLock::default).take(SHARDS).collect();
        Self { shards, hasher: RandomState::default(), hub }
    }

    pub(crate) fn find(&self, key: &Key) -> Option<Bytes> {
        let hash = self.hash(key);
        self.read(hash).get(hash, key).map(|entry| entry.value.clone())
    }

    pub(crate) fn mem(&self, key: &Key) -> bool {
        let hash = self.hash(key);
        self.read(hash).get(hash, key).is_some()
    }

    /// Sets or removes an entry if it is what `test` says. Long values are compared without a lock: call it off the
    /// async worker if there are such.
    pub(crate) fn write(&self, key: &Key, test: &Test, set: Option<Bytes>) -> TestAndSet {
        let hash = self.hash(key);
        let mut shard = self.write_shard(hash);
        loop {
            let decision = match shard.get(hash, key) {
                Some(entry) if entry.value.len() > OFFLOAD_LEN => {
                    let seen = entry.clone();
                    drop(shard);
                    let decision = Decision::of(test, Some(&seen.value), set.as_deref());
                    if matches!(decision, Decision::Mismatch) {
                        // It need not be there any longer: it was the answer a moment ago.
                        return TestAndSet::Mismatch { current: Some(seen.value) };
                    }
                    shard = self.write_shard(hash);
                    // What was compared must still be there.
                    if shard.get(hash, key).is_none_or(|entry| entry.seq != seen.seq) {
                        continue;
                    }
                    decision
                }
                entry => {
                    let current = entry.map(|entry| &entry.value);
                    let decision = Decision::of(test, current.map(|value| &**value), set.as_deref());
                    if matches!(decision, Decision::Mismatch) {
                        return TestAndSet::Mismatch { current: current.cloned() };
                    }
                    decision
                }
            };
            if matches!(decision, Decision::Unchanged) {
                return TestAndSet::Applied;
            }
            let (old, wakers) = self.replace(&mut shard, hash, key, set);
            drop(shard);
            // A long value is freed, and tasks are woken, with no lock held.
            drop(old);
            wakers.wake();
            return TestAndSet::Applied;
        }
    }

    /// Changes an entry and tells the watches.
    fn replace(&self, shard: &mut Shard, hash: u64, key: &Key, new: Option<Bytes>) -> (Option<Bytes>, Wakers) {
        let rehash = |entry: &Entry| self.hash(&entry.key);
        shard.seq += 1;
        let seq = shard.seq;
        let old = match (shard.entries.find_entry(hash, |entry| entry.key == *key), new) {
            (Ok(mut found), Some(value)) => {
                let entry = found.get_mut();
                entry.seq = seq;
                Some(std::mem::replace(&mut entry.value, value))
            }
            (Ok(found), None) => {
                shard.order.remove(key);
                Some(found.remove().0.value)
            }
            (Err(_), Some(value)) => {
                shard.order.insert(key.clone());
                shard.entries.insert_unique(hash, Entry { key: key.clone(), value, seq }, rehash);
                None
            }
            (Err(_), None) => None,
        };
        let wakers = if self.hub.is_watched() {
            let new = shard.get(hash, key).map(|entry| entry.value.clone());
            self.hub.publish(&Change { key: key.clone(), seq, old: old.clone().into(), new })
        } else {
            Wakers::default()
        };
        (old, wakers)
    }

    /// Removes what is there, a page at a time: in between, others have their turn.
    pub(crate) fn clear(&self) {
        for lock in &self.shards {
            let mut last: Option<Key> = None;
            loop {
                let mut shard = write(lock);
                let keys: Vec<Key> = shard.keys_after(last.as_ref()).take(PAGE).cloned().collect();
                let removed: Vec<_> =
                    keys.iter().map(|key| self.replace(&mut shard, self.hash(key), key, None)).collect();
                drop(shard);
                for (value, wakers) in removed {
                    drop(value);
                    wakers.wake();
                }
                match keys.into_iter().next_back() {
                    Some(key) => last = Some(key),
                    None => break,
                }
            }
        }
    }

    /// Whether there are so many that going through all of them does not belong on an async worker.
    pub(crate) fn are_many(&self) -> bool {
        self.shards.iter().map(|shard| read(shard).order.len()).sum::<usize>() > 4 * PAGE
    }

    /// Each entry in the scope with the sequence number of its last change, as it is when its page is read.
    pub(crate) fn visit(&self, scope: &Scope, mut visit: impl FnMut(&Key, u64, &Bytes)) {
        match scope {
            Scope::Key(key) => {
                let hash = self.hash(key);
                if let Some(entry) = self.read(hash).get(hash, key) {
                    visit(&entry.key, entry.seq, &entry.value);
                }
            }
            Scope::Under(under) => {
                let mut cursor = Some(Cursor::default());
                while let Some(from) = cursor {
                    let page = self.page(under, from, Entry::clone);
                    page.items.iter().flatten().for_each(|entry| visit(&entry.key, entry.seq, &entry.value));
                    cursor = page.next;
                }
            }
        }
    }

    pub(crate) fn page_of_keys(&self, under: &Key, from: Cursor) -> Page<Key, Cursor> {
        self.page(under, from, |entry| entry.key.clone())
    }

    pub(crate) fn page_of_entries(&self, under: &Key, from: Cursor) -> Page<(Key, Bytes), Cursor> {
        self.page(under, from, |entry| (entry.key.clone(), entry.value.clone()))
    }

    fn page<T>(&self, under: &Key, from: Cursor, item: impl Fn(&Entry) -> T) -> Page<T, Cursor> {
        let mut items = Vec::new();
        let Cursor { mut shard, mut last } = from;
        while shard < SHARDS && items.len() < PAGE {
            let locked = read(&self.shards[shard]);
            let room = PAGE - items.len();
            let mut taken = 0;
            for key in locked.keys_in(under, last.as_ref()).take(room) {
                taken += 1;
                if let Some(entry) = locked.get(self.hash(key), key) {
                    items.push(Ok(item(entry)));
                }
                if taken == room {
                    last = Some(key.clone());
                }
            }
            if taken < room {
                shard += 1;
                last = None;
            }
        }
        Page { items, next: (shard < SHARDS).then_some(Cursor { shard, last }) }
    }

    fn hash(&self, key: &Key) -> u64 {
        self.hasher.hash_one(key.as_str())
    }

    fn read(&self, hash: u64) -> RwLockReadGuard<'_, Shard> {
        read(&self.shards[shard_of(hash)])
    }

    fn write_shard(&self, hash: u64) -> RwLockWriteGuard<'_, Shard> {
        write(&self.shards[shard_of(hash)])
    }
}

impl Shard {
    fn get(&self, hash: u64, key: &Key) -> Option<&Entry> {
        self.entries.find(hash, |entry| entry.key == *key)
    }

    fn keys_after<'s>(&'s self, last: Option<&Key>) -> impl Iterator<Item = &'s Key> + use<'s> {
        let start = last.map_or(Bound::Unbounded, Bound::Excluded);
        self.order.range::<Key, _>((start, Bound::Unbounded))
    }

    /// The keys at and below a path, in order, behind the last one seen.
    fn keys_in<'s>(&'s self, under: &Key, last: Option<&Key>) -> impl Iterator<Item = &'s Key> + use<'s> {
        let own = if last.is_none() { self.order.get(under) } else { None };
        let (start, end) = range_below(under);
        let start = match last {
            Some(last) if last != under => Bound::Excluded(last.as_str().to_owned()),
            _ => start,
        };
        let below = (start.as_ref().map(String::as_str), end.as_ref().map(String::as_str));
        own.into_iter().chain(self.order.range::<str, _>(below))
    }
}

/// How far a stream has come: the shards before are done, and in this one the keys up to the last.
#[derive(Default)]
pub(crate) struct Cursor {
    shard: usize,
    last: Option<Key>,
}

fn shard_of(hash: u64) -> usize {
    // The table takes the low bits, and seven of the highest: these are from between.
    (hash >> 32) as usize % SHARDS
}

// What is under the locks is changed in steps that do not panic, so a poisoned one is entered all the same.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
