//! The maps in memory: what is read, and where the watches are told.
//!
//! Only the writer changes them, a group at a time and once it is in the log: so they show nothing that is not synced
//! where the store syncs (A10).

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use backend_kit::{Change, Hub, Page, Scope, Wakers, range_below};
use bytes::Bytes;
use store_api::{ContentHash, ContentKey, Key};

use crate::group::{Place, record_len};

/// How many keys a page of a stream has.
const PAGE: usize = 1024;

/// Entries, and where content lies.
#[derive(Default)]
pub(crate) struct Maps {
    pub(crate) entries: BTreeMap<Key, Entry>,
    pub(crate) content: BTreeMap<ContentHash, Place>,
    /// Of the last change of an entry.
    seq: u64,
}

pub(crate) struct Entry {
    pub(crate) value: Bytes,
    seq: u64,
}

/// What a group changes.
#[derive(Default)]
pub(crate) struct Changes {
    pub(crate) entries: BTreeMap<Key, Option<Bytes>>,
    pub(crate) content: Vec<(ContentHash, Place)>,
}

impl Maps {
    /// Sets or removes an entry.
    pub(crate) fn replace(&mut self, key: Key, new: Option<Bytes>) -> Change {
        self.seq += 1;
        let seq = self.seq;
        let old = match new.clone() {
            Some(value) => self.entries.insert(key.clone(), Entry { value, seq }),
            None => self.entries.remove(&key),
        };
        Change { key, seq, old: old.map(|entry| entry.value).into(), new }
    }

    /// How many bytes a log has that holds this and nothing else.
    pub(crate) fn len_in_log(&self) -> u64 {
        let entries = self.entries.iter().map(|(key, entry)| record_len(key.as_str().as_bytes(), entry.value.len()));
        let content = self.content.iter().map(|(hash, place)| record_len(hash.as_bytes(), place.len()));
        entries.chain(content).sum()
    }

    /// The entries at and below a path, in order, behind the last one seen.
    fn entries_in<'m>(&'m self, under: &Key, last: Option<&Key>) -> impl Iterator<Item = (&'m Key, &'m Entry)> {
        let own = if last.is_none() { self.entries.get_key_value(under) } else { None };
        let (start, end) = range_below(under);
        let start = match last {
            Some(last) if last != under => Bound::Excluded(last.as_str().to_owned()),
            _ => start,
        };
        own.into_iter().chain(self.entries.range::<str, _>((start.as_ref().map(|s| &**s), end.as_ref().map(|s| &**s))))
    }
}

/// The maps, shared by the handles and the writer.
pub(crate) struct State {
    maps: RwLock<Maps>,
    hub: Arc<Hub>,
}

impl State {
    pub(crate) fn new(maps: Maps, hub: Arc<Hub>) -> Self {
        Self { maps: RwLock::new(maps), hub }
    }

    /// Applies a group at one instant (I7), and tells the watches: who is to be woken.
    pub(crate) fn apply(&self, group: Changes) -> Wakers {
        let mut maps = self.maps.write().unwrap_or_else(PoisonError::into_inner);
        maps.content.extend(group.content);
        let changes: Vec<Change> = group.entries.into_iter().map(|(key, new)| maps.replace(key, new)).collect();
        let mut wakers = Wakers::default();
        if self.hub.is_watched() {
            // Under the lock, so that watches hear of a key in the order of its changes (W4).
            wakers.extend(changes.iter().map(|change| self.hub.publish(change)));
        }
        drop(maps);
        // Long values are freed with no lock held.
        drop(changes);
        wakers
    }

    pub(crate) fn find(&self, key: &Key) -> Option<Bytes> {
        self.maps().entries.get(key).map(|entry| entry.value.clone())
    }

    pub(crate) fn mem(&self, key: &Key) -> bool {
        self.maps().entries.contains_key(key)
    }

    pub(crate) fn keys(&self) -> Vec<Key> {
        self.maps().entries.keys().cloned().collect()
    }

    pub(crate) fn place(&self, hash: &ContentHash) -> Option<Place> {
        self.maps().content.get(hash).copied()
    }

    /// Shows each entry of a scope, with the number of its last change; in between, the writer has its turn.
    pub(crate) fn visit(&self, scope: &Scope, mut visit: impl FnMut(&Key, u64, Bytes)) {
        let under = match scope {
            Scope::Key(key) => {
                let found = self.maps().entries.get(key).map(|entry| (entry.seq, entry.value.clone()));
                return found.into_iter().for_each(|(seq, value)| visit(key, seq, value));
            }
            Scope::Under(under) => under,
        };
        let mut from = Some(None::<Key>);
        while let Some(last) = from {
            let page = self.page(under, last.as_ref(), |key, entry| (key.clone(), entry.seq, entry.value.clone()));
            page.items.into_iter().flatten().for_each(|(key, seq, value)| visit(&key, seq, value));
            from = page.next;
        }
    }

    /// The items of some entries in a scope, behind the last one seen.
    pub(crate) fn page<T>(
        &self,
        under: &Key,
        last: Option<&Key>,
        item: impl Fn(&Key, &Entry) -> T,
    ) -> Page<T, Option<Key>> {
        let maps = self.maps();
        let mut entries = maps.entries_in(under, last).peekable();
        let mut page = Page { items: Vec::new(), next: None };
        while let Some((key, entry)) = entries.next() {
            page.items.push(Ok(item(key, entry)));
            if page.items.len() == PAGE {
                page.next = entries.peek().map(|_| Some(key.clone()));
                break;
            }
        }
        page
    }

    /// Some keys of content, behind the last one seen.
    pub(crate) fn page_of_content(&self, last: Option<ContentHash>) -> Page<ContentKey, Option<ContentHash>> {
        let start = last.map_or(Bound::Unbounded, Bound::Excluded);
        let maps = self.maps();
        let hashes: Vec<ContentHash> =
            maps.content.range((start, Bound::Unbounded)).take(PAGE).map(|(hash, _)| *hash).collect();
        let next = if hashes.len() == PAGE { hashes.last().copied().map(Some) } else { None };
        Page { items: hashes.into_iter().map(|hash| Ok(hash.into())).collect(), next }
    }

    fn maps(&self) -> RwLockReadGuard<'_, Maps> {
        // What is under the lock is changed in steps that do not panic, so a poisoned one is entered all the same.
        self.maps.read().unwrap_or_else(PoisonError::into_inner)
    }
}
