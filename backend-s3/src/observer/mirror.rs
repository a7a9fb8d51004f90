//! The mirror: what was told of the watched keys, and what is told next, so that the hub gets an unbroken chain of each.

use std::collections::{HashMap, HashSet};

use backend_kit::{Change, Hub, Old, Scope, Wakers};
use bytes::Bytes;
use store_api::Key;

use crate::{
    client::Version,
    entries::State,
    frame::{Frame, rotten},
};

#[derive(Default)]
pub(super) struct Mirror {
    covers: Covers,
    /// Of the keys in these scopes, those that have an object.
    keys: HashMap<Key, Record>,
    /// What this instance wrote where it is not known whether the record is of before or after.
    unclear: Vec<Key>,
    epoch: Epoch,
}

/// The scopes that are watched, or about to be.
#[derive(Default)]
struct Covers {
    keys: HashMap<Key, Cover>,
    paths: HashMap<Key, Cover>,
}

impl Covers {
    fn get_or_insert(&mut self, scope: &Scope) -> &mut Cover {
        match scope {
            Scope::Key(key) => self.keys.entry(key.clone()).or_default(),
            Scope::Under(path) => self.paths.entry(path.clone()).or_default(),
        }
    }

    fn of<'c>(&'c self, key: &'c Key) -> impl Iterator<Item = &'c Cover> {
        let paths = key.ancestors().filter_map(|path| self.paths.get(path));
        self.keys.get(key).into_iter().chain(paths)
    }

    /// Keeps those that are watched or begin; says whether there were others.
    fn retain(&mut self, watched: &[Scope]) -> bool {
        let count = self.keys.len() + self.paths.len();
        let watched: HashSet<&Scope> = watched.iter().collect();
        self.keys.retain(|key, cover| cover.beginning > 0 || watched.contains(&Scope::Key(key.clone())));
        self.paths.retain(|path, cover| cover.beginning > 0 || watched.contains(&Scope::Under(path.clone())));
        self.keys.len() + self.paths.len() < count
    }
}

/// Moves when records are forgotten: what was read before says nothing about the records that are made then.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Epoch(u64);

#[derive(Default)]
struct Cover {
    /// How many watches of it are beginning.
    beginning: usize,
    /// All of it was looked at: a key in it without a record has no object.
    is_known: bool,
}

struct Record {
    version: Option<Version>,
    /// Of the version; a listing does not tell it.
    seq: Option<u64>,
    /// Whether the entry is there, as the watches were told or began with.
    is_there: bool,
    /// The version that was told to be rotten.
    rotten: Option<Version>,
}

pub(super) enum Told {
    Wakers(Wakers),
    /// It must be read.
    Unclear,
}

impl Mirror {
    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The version that the mirror has of a key.
    pub(super) fn version(&self, key: &Key) -> Option<Version> {
        self.keys.get(key)?.version.clone()
    }

    /// A watch of this scope begins.
    pub(super) fn begin(&mut self, scope: &Scope) {
        self.covers.get_or_insert(scope).beginning += 1;
    }

    /// It has begun, or failed to.
    pub(super) fn end(&mut self, scope: &Scope) {
        self.covers.get_or_insert(scope).beginning -= 1;
    }

    /// All of the scope was looked at.
    pub(super) fn is_known(&mut self, scope: &Scope) {
        self.covers.get_or_insert(scope).is_known = true;
    }

    /// Forgets what is not watched any more.
    pub(super) fn forget(&mut self, watched: &[Scope]) {
        if !self.covers.retain(watched) {
            return;
        }
        let mut keys = std::mem::take(&mut self.keys);
        keys.retain(|key, _| self.is_covered(key));
        keys.shrink_to_fit();
        self.keys = keys;
        self.epoch.0 += 1;
    }

    /// The keys in a scope that are there.
    pub(super) fn there(&self, scope: &Scope) -> Vec<Key> {
        let there = self.keys.iter().filter(|(key, record)| record.is_there && scope.covers(key));
        there.map(|(key, _)| key.clone()).collect()
    }

    fn is_covered(&self, key: &Key) -> bool {
        self.covers.of(key).next().is_some()
    }

    /// Whether a key without a record has no object.
    fn is_known_absent(&self, key: &Key) -> bool {
        self.covers.of(key).any(|cover| cover.is_known)
    }

    /// Whether what a listing shows is what the mirror has, or is what it takes up as a beginning. If not, it is a hint.
    pub(super) fn listed(&mut self, key: &Key, version: Option<&Version>, is_there: bool) -> bool {
        if let Some(record) = self.keys.get(key) {
            return version.is_some() && record.version.as_ref() == version;
        }
        if self.is_known_absent(key) {
            return false;
        }
        self.keys.insert(key.clone(), Record { version: version.cloned(), seq: None, is_there, rotten: None });
        true
    }

    /// Tells what a read found that began in this epoch, if that is news; `None` when the epoch is over. It began behind
    /// any listing that a record without a sequence number is from.
    pub(super) fn read(&mut self, hub: &Hub, key: &Key, state: &State, epoch: Epoch) -> Option<Wakers> {
        if epoch != self.epoch {
            return None;
        }
        Some(match state {
            _ if !self.is_covered(key) => Wakers::default(),
            // Objects are not deleted: if there is none, there never was.
            State::Nothing => Wakers::default(),
            State::Kept { version, frame } => self.tell(hub, key, version, frame),
            State::Rotten { version } => self.tell_of_rot(hub, key, version),
        })
    }

    /// Tells what this instance wrote over a version.
    pub(super) fn wrote(&mut self, hub: &Hub, key: &Key, state: &State, replaced: Option<&Version>) -> Told {
        let State::Kept { version, frame } = state else { return Told::Wakers(Wakers::default()) };
        if !self.is_covered(key) {
            return Told::Wakers(Wakers::default());
        }
        let follows = self.keys.get(key).is_none_or(|record| {
            let is_itself = record.version.as_ref() == Some(version);
            record.seq.is_some() || is_itself || (replaced.is_some() && record.version.as_ref() == replaced)
        });
        if follows {
            return Told::Wakers(self.tell(hub, key, version, frame));
        }
        self.unclear.push(key.clone());
        Told::Unclear
    }

    /// Tells a state that is not older than the record, unless its sequence number says so.
    fn tell(&mut self, hub: &Hub, key: &Key, version: &Version, frame: &Frame) -> Wakers {
        let (seq, is_there) = (frame.seq, frame.value.is_some());
        let now = Record { version: Some(version.clone()), seq: Some(seq), is_there, rotten: None };
        let was_there = match self.keys.get_mut(key) {
            Some(record) if record.seq.is_some_and(|told| told >= seq) => return Wakers::default(),
            Some(record) => {
                let is_itself = record.version.as_ref() == Some(version);
                let before = std::mem::replace(record, now);
                if is_itself {
                    return Wakers::default();
                }
                before.is_there
            }
            None => {
                let was_absent = self.is_known_absent(key);
                self.keys.insert(key.clone(), now);
                if !was_absent {
                    return Wakers::default();
                }
                false
            }
        };
        publish(hub, key, seq, was_there, frame.value.clone())
    }

    /// Tells of rot once. What the watches were told before stays the record.
    fn tell_of_rot(&mut self, hub: &Hub, key: &Key, version: &Version) -> Wakers {
        let is_there = !self.is_known_absent(key);
        let unread = Record { version: None, seq: None, is_there, rotten: None };
        let record = self.keys.entry(key.clone()).or_insert(unread);
        if record.rotten.replace(version.clone()).as_ref() == Some(version) {
            return Wakers::default();
        }
        hub.fault_of(key, &rotten().with_key(key))
    }

    /// Keys that must be read to be told.
    pub(super) fn take_unclear(&mut self) -> Vec<Key> {
        std::mem::take(&mut self.unclear)
    }

    pub(super) fn is_unclear(&mut self, keys: Vec<Key>) {
        self.unclear.extend(keys);
    }
}

fn publish(hub: &Hub, key: &Key, seq: u64, was_there: bool, new: Option<Bytes>) -> Wakers {
    let old = match (was_there, &new) {
        (false, None) => return Wakers::default(),
        (false, Some(_)) => Old::Absent,
        (true, _) => Old::Present(None),
    };
    hub.publish(&Change { key: key.clone(), seq, old, new })
}
