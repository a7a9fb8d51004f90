//! The mirror: what was told of the watched keys, and what is told next, so that the hub gets an unbroken chain of each.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    ops::Bound::Excluded,
};

use backend_kit::{Change, Hub, Old, Scope, Wakers, range_below};
use bytes::Bytes;
use store_api::{Error, Key};

use super::looks::Hint;
use crate::{
    client::Version,
    entries::State,
    frame::{Frame, rotten},
};

/// How many keys are forgotten at a time.
const FORGOTTEN: usize = 512;

/// What was told of the watched keys. All that is told keeps one rule: a read tells something only if the record is still
/// the one that it began from (`follows`), or if both have a sequence number to compare. Everything else is read again.
#[derive(Default)]
pub(super) struct Mirror {
    covers: Covers,
    /// The keys in these scopes that have an object.
    keys: BTreeMap<Key, Record>,
    /// What others seem to have written, and what this instance wrote where it is not known whether the record is of
    /// before or after.
    unclear: Vec<Hint>,
    /// The entries that could not be read, and the paths that could not be listed, since the watches were told so.
    unread: BTreeSet<Key>,
    unlisted: HashSet<Key>,
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

    fn include(&self, key: &Key) -> bool {
        self.of(key).next().is_some()
    }

    /// Keeps those that are watched or begin; gives the others.
    fn retain(&mut self, watched: &[Scope]) -> Vec<Scope> {
        let watched: HashSet<&Scope> = watched.iter().collect();
        let is_over = |scope: &Scope, cover: &Cover| cover.beginning == 0 && !watched.contains(scope);
        let keys = self.keys.extract_if(|key, cover| is_over(&Scope::Key(key.clone()), cover));
        let paths = self.paths.extract_if(|path, cover| is_over(&Scope::Under(path.clone()), cover));
        keys.map(|(key, _)| Scope::Key(key)).chain(paths.map(|(path, _)| Scope::Under(path))).collect()
    }
}

/// Moves when records are forgotten: what was read before says nothing about the records that are made then.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Epoch(u64);

/// What the mirror had of a key when a read began.
pub(super) struct Base {
    /// Whether there was a record, and its version.
    is_recorded: bool,
    told: Option<Version>,
    rotten: Option<Version>,
    epoch: Epoch,
}

impl Base {
    /// The version whose body says nothing that is not known.
    pub(super) fn known(&self) -> Option<&Version> {
        self.rotten.as_ref().or(self.told.as_ref())
    }
}

#[derive(Default)]
struct Cover {
    /// How many watches of it are beginning.
    beginning: usize,
    /// All of it was looked at: a key in it without a record has no object.
    is_known: bool,
}

struct Record {
    version: Option<Version>,
    /// The sequence number of `version`; `None` when it is known from a listing only.
    seq: Option<u64>,
    /// What the hub was told it by. It is the sequence number, unless a repair took that back.
    number: u64,
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
    /// What a read of the key begins from.
    pub(super) fn base(&self, key: &Key) -> Base {
        let record = self.keys.get(key);
        Base {
            is_recorded: record.is_some(),
            told: record.and_then(|record| record.version.clone()),
            rotten: record.and_then(|record| record.rotten.clone()),
            epoch: self.epoch,
        }
    }

    /// What the hub was told this version by; `None` when it has been told of a later one.
    pub(super) fn number(&self, key: &Key, version: &Version) -> Option<u64> {
        let record = self.keys.get(key)?;
        (record.version.as_ref() == Some(version)).then_some(record.number)
    }

    /// A watch of this scope begins.
    pub(super) fn begin(&mut self, scope: &Scope) {
        self.covers.get_or_insert(scope).beginning += 1;
    }

    /// It has begun, or failed to.
    pub(super) fn end(&mut self, scope: &Scope) {
        self.covers.get_or_insert(scope).beginning -= 1;
    }

    /// All of the scope was looked at, and a watch of it is registered. What cannot be looked at there from here on is
    /// told once more: the watch has not heard of it.
    pub(super) fn is_known(&mut self, scope: &Scope) {
        self.covers.get_or_insert(scope).is_known = true;
        self.unread.retain(|key| !scope.covers(key));
        self.unlisted.retain(|path| !path.covers(scope.path()));
    }

    /// Forgets the scopes that are neither watched nor about to be, and gives them: [their keys](Self::forget_keys) are
    /// to follow. Watches are registered under the mirror's lock: one that came behind the hub's answer would be
    /// forgotten with its scope, and hear of nothing.
    pub(super) fn forget_unwatched(&mut self, hub: &Hub) -> Vec<Scope> {
        let over = self.covers.retain(&hub.scopes());
        if !over.is_empty() {
            self.unread.retain(|key| self.covers.include(key));
            self.unlisted.retain(|path| self.covers.include(path));
            self.epoch.0 += 1;
        }
        over
    }

    /// Forgets the next keys of a scope behind one, unless another scope covers them; gives the last that was looked at,
    /// if there are more.
    pub(super) fn forget_keys(&mut self, scope: &Scope, behind: Option<&Key>) -> Option<Key> {
        let next: Vec<Key> = self.within(scope, behind).take(FORGOTTEN).map(|(key, _)| key.clone()).collect();
        for key in &next {
            if !self.is_covered(key) {
                self.keys.remove(key);
                self.epoch.0 += 1;
            }
        }
        next.into_iter().nth(FORGOTTEN - 1)
    }

    /// The keys in a scope that are there, be it in bytes that rotted.
    pub(super) fn there(&self, scope: &Scope) -> Vec<Key> {
        let there = self.within(scope, None).filter(|(_, record)| record.is_there || record.rotten.is_some());
        there.map(|(key, _)| key.clone()).collect()
    }

    /// Those of them that appeared as rot, so that the watches were told of none.
    pub(super) fn there_untold(&self, scope: &Scope) -> Vec<Key> {
        let untold = self.within(scope, None).filter(|(_, record)| !record.is_there && record.rotten.is_some());
        untold.map(|(key, _)| key.clone()).collect()
    }

    /// The records of a scope, behind a key.
    fn within<'m>(&'m self, scope: &Scope, behind: Option<&Key>) -> impl Iterator<Item = (&'m Key, &'m Record)> {
        let own = if behind.is_none() { self.keys.get_key_value(scope.path()) } else { None };
        let below = match scope {
            Scope::Key(_) => None,
            Scope::Under(path) => {
                let (first, end) = range_below(path);
                // The path's own key is looked at first, and may lie before the others.
                let first = behind.filter(|key| *key != path).map_or(first, |key| Excluded(key.as_str().to_owned()));
                Some(self.keys.range::<str, _>((first.as_ref().map(String::as_str), end.as_ref().map(String::as_str))))
            }
        };
        own.into_iter().chain(below.into_iter().flatten())
    }

    fn is_covered(&self, key: &Key) -> bool {
        self.covers.include(key)
    }

    /// Whether a key without a record has no object.
    fn is_known_absent(&self, key: &Key) -> bool {
        self.covers.of(key).any(|cover| cover.is_known)
    }

    /// Whether what a listing shows is what the mirror has, or is what it takes up as a beginning. If not, it is a hint.
    pub(super) fn listed(&mut self, key: &Key, version: Option<&Version>, is_there: bool) -> bool {
        if let Some(record) = self.keys.get(key) {
            // What rotted may be back in the bytes that were told.
            let is_told = version.is_some() && record.rotten.as_ref().or(record.version.as_ref()) == version;
            if is_told {
                self.unread.remove(key);
            }
            return is_told;
        }
        // A listing may go on when its watch is over.
        if !self.is_covered(key) {
            return true;
        }
        if self.is_known_absent(key) {
            return false;
        }
        let record = Record { version: version.cloned(), seq: None, number: 0, is_there, rotten: None };
        self.keys.insert(key.clone(), record);
        true
    }

    /// Tells what a read found that began from this base, if that is news; `None` when it must be read again, since it
    /// may be older than what is known by then.
    pub(super) fn read(&mut self, hub: &Hub, key: &Key, state: &State, base: &Base) -> Option<Wakers> {
        if base.epoch != self.epoch {
            return None;
        }
        let record = self.keys.get(key);
        let version = record.and_then(|record| record.version.as_ref());
        let follows = record.is_some() == base.is_recorded && version == base.told.as_ref();
        let can_tell = follows || record.is_some_and(|record| record.seq.is_some());
        match state {
            _ if !self.is_covered(key) => Some(Wakers::default()),
            // Objects are not deleted: if there is none, there never was.
            State::Nothing => Some(Wakers::default()),
            State::Kept { version, frame } => can_tell.then(|| self.tell(hub, key, version, frame, follows)),
            State::Rotten { version } => follows.then(|| self.tell_of_rot(hub, key, version)),
        }
    }

    /// Tells what this instance wrote over a version.
    pub(super) fn wrote(&mut self, hub: &Hub, key: &Key, state: &State, replaced: Option<&Version>) -> Told {
        let State::Kept { version, frame } = state else { return Told::Wakers(Wakers::default()) };
        if !self.is_covered(key) {
            return Told::Wakers(Wakers::default());
        }
        let record = self.keys.get(key);
        let follows = replaced.is_some()
            && record.is_some_and(|record| [&record.version, &record.rotten].map(Option::as_ref).contains(&replaced));
        let can_tell = record.is_none_or(|record| record.seq.is_some() || record.version.as_ref() == Some(version));
        if follows || can_tell {
            return Told::Wakers(self.tell(hub, key, version, frame, follows));
        }
        self.unclear.push(Hint::of_own(key.clone()));
        Told::Unclear
    }

    /// Tells a state that `follows` upon the record whatever its number, or is not older than it by its number.
    fn tell(&mut self, hub: &Hub, key: &Key, version: &Version, frame: &Frame, follows: bool) -> Wakers {
        self.unread.remove(key);
        let (seq, is_there) = (frame.seq, frame.value.is_some());
        let mut now = Record { version: Some(version.clone()), seq: Some(seq), number: seq, is_there, rotten: None };
        let Some(record) = self.keys.get_mut(key) else {
            let was_absent = self.is_known_absent(key);
            self.keys.insert(key.clone(), now);
            return if was_absent { publish(hub, key, seq, false, frame.value.clone()) } else { Wakers::default() };
        };
        let is_itself = record.version.as_ref() == Some(version);
        if !follows && record.seq.is_some_and(|told| told >= seq) {
            return Wakers::default();
        }
        now.number = if is_itself { seq.max(record.number) } else { seq.max(record.number + 1) };
        let number = now.number;
        let before = std::mem::replace(record, now);
        if is_itself { Wakers::default() } else { publish(hub, key, number, before.is_there, frame.value.clone()) }
    }

    /// Tells of rot once. What the watches were told before stays the record.
    fn tell_of_rot(&mut self, hub: &Hub, key: &Key, version: &Version) -> Wakers {
        let is_there = !self.is_known_absent(key);
        let unread = Record { version: None, seq: None, number: 0, is_there, rotten: None };
        let record = self.keys.entry(key.clone()).or_insert(unread);
        if record.rotten.replace(version.clone()).as_ref() == Some(version) {
            return Wakers::default();
        }
        hub.fault_of(key, &rotten().with_key(key))
    }

    /// Tells of what could not be looked at those whom it concerns, once until it has passed (W10).
    pub(super) fn failed(&mut self, hub: &Hub, what: &Scope, error: &Error) -> Wakers {
        match what {
            _ if !self.is_covered(what.path()) => Wakers::default(),
            Scope::Key(key) if self.unread.insert(key.clone()) => hub.fault_of(key, error),
            Scope::Under(path) if self.unlisted.insert(path.clone()) => hub.fault_within(what, error),
            Scope::Key(_) | Scope::Under(_) => Wakers::default(),
        }
    }

    /// It was looked at. A listing of a path is one of all paths inside.
    pub(super) fn passed(&mut self, what: &Scope) {
        match what {
            Scope::Key(key) => {
                self.unread.remove(key);
            }
            Scope::Under(path) => self.unlisted.retain(|inside| !path.covers(inside)),
        }
    }

    /// Keys that must be read to be told.
    pub(super) fn take_unclear(&mut self) -> Vec<Hint> {
        std::mem::take(&mut self.unclear)
    }

    pub(super) fn is_unclear(&mut self, hint: Hint) {
        self.unclear.push(hint);
    }
}

fn publish(hub: &Hub, key: &Key, seq: u64, was_there: bool, new: Option<Bytes>) -> Wakers {
    // Also where there was none and is none: some watches began with what rotted since.
    let old = if was_there { Old::Present(None) } else { Old::Absent };
    hub.publish(&Change { key: key.clone(), seq, old, new })
}

#[cfg(test)]
mod tests {
    use std::{future::ready, sync::Arc};

    use backend_kit::Gate;
    use futures_util::{FutureExt, StreamExt};
    use store_api::{Event, Init};

    use super::*;
    use crate::frame::Writer;

    fn key(path: &str) -> Key {
        Key::new(path).unwrap()
    }

    #[test]
    fn w10_a_fault_is_told_once_and_again_where_a_listing_or_a_write_has_shown_the_entry_meanwhile() {
        let (hub, mut mirror) = (Arc::new(Hub::new()), Mirror::default());
        let handle = Gate::new();
        let scope = Scope::Under(key("a"));
        let watch = hub.register(&handle, scope.clone(), Init::Current).unwrap().finish(Arc::new(()));
        let mut faults = watch.filter_map(|told| ready(told.err()));
        let mut is_told = |wakers: Wakers| {
            wakers.wake();
            faults.next().now_or_never().is_some()
        };
        mirror.begin(&scope);
        let version = Version::new("1".to_owned());
        assert!(mirror.listed(&key("a/1"), version.as_ref(), true));
        let (entry, error) = (Scope::Key(key("a/1")), Error::closed());
        assert!(is_told(mirror.failed(&hub, &entry, &error)));
        assert!(!is_told(mirror.failed(&hub, &entry, &error)));
        assert!(mirror.listed(&key("a/1"), version.as_ref(), true));
        assert!(is_told(mirror.failed(&hub, &entry, &error)));
        let frame = Frame::first(Writer::unique().unwrap(), None).unwrap();
        let written = State::Kept { version: Version::new("2".to_owned()).unwrap(), frame };
        assert!(matches!(mirror.wrote(&hub, &key("a/1"), &written, version.as_ref()), Told::Wakers(_)));
        assert!(is_told(mirror.failed(&hub, &entry, &error)));
        // Another watch has not heard of it.
        mirror.is_known(&entry);
        assert!(is_told(mirror.failed(&hub, &entry, &error)));
    }

    #[test]
    fn a12_rot_that_is_restored_is_a_hint_and_then_gone() {
        let (hub, mut mirror) = (Hub::new(), Mirror::default());
        mirror.begin(&Scope::Under(Key::root()));
        let [told, rot] = ["told", "rot"].map(|tag| Version::new(tag.to_owned()).unwrap());
        assert!(mirror.listed(&key("k"), Some(&told), false));
        let base = mirror.base(&key("k"));
        assert!(mirror.read(&hub, &key("k"), &State::Rotten { version: rot.clone() }, &base).is_some());
        assert!(mirror.listed(&key("k"), Some(&rot), true));
        assert!(!mirror.listed(&key("k"), Some(&told), false));
        let (base, frame) = (mirror.base(&key("k")), Frame::first(Writer::unique().unwrap(), None).unwrap());
        let restored = State::Kept { version: told.clone(), frame };
        assert!(mirror.read(&hub, &key("k"), &restored, &base).is_some());
        assert!(mirror.listed(&key("k"), Some(&told), false));
        assert!(mirror.there(&Scope::Under(Key::root())).is_empty());
    }

    #[test]
    fn w10_a_listing_that_passes_is_one_of_all_paths_inside() {
        let (hub, mut mirror) = (Arc::new(Hub::new()), Mirror::default());
        let [above, inside] = ["a", "a/b"].map(|path| Scope::Under(key(path)));
        let mut watch = hub.register(&Gate::new(), inside.clone(), Init::Current).unwrap().finish(Arc::new(()));
        assert_eq!(watch.next().now_or_never().unwrap().unwrap().unwrap(), Event::CaughtUp);
        mirror.begin(&inside);
        for _ in 0..2 {
            mirror.failed(&hub, &inside, &Error::closed()).wake();
            assert!(watch.next().now_or_never().unwrap().unwrap().is_err());
            mirror.passed(&above);
        }
    }

    #[test]
    fn what_a_listing_shows_behind_the_end_of_its_watch_is_not_kept() {
        let (hub, mut mirror) = (Hub::new(), Mirror::default());
        let scope = Scope::Under(key("a"));
        mirror.begin(&scope);
        assert!(mirror.listed(&key("a/1"), None, true));
        mirror.end(&scope);
        assert_eq!(mirror.forget_unwatched(&hub), std::slice::from_ref(&scope));
        assert_eq!(mirror.forget_keys(&scope, None), None);
        assert!(mirror.listed(&key("a/2"), None, true));
        assert!(mirror.keys.is_empty());
    }

    #[test]
    fn what_no_scope_covers_any_more_is_forgotten_some_at_a_time() {
        let (hub, mut mirror) = (Hub::new(), Mirror::default());
        let (over, inside, beside) = (Scope::Under(key("a")), Scope::Key(key("a/7")), Scope::Under(key("b")));
        let neighbours = ["a!", "a0"].map(|path| Scope::Key(key(path)));
        for scope in [&over, &inside, &beside].into_iter().chain(&neighbours) {
            mirror.begin(scope);
        }
        let others = ["a", "a!", "a0", "b", "b/c"].map(str::to_owned);
        for path in (0..3 * FORGOTTEN).map(|i| format!("a/{i}")).chain(others) {
            assert!(mirror.listed(&key(&path), None, true));
        }
        mirror.end(&over);
        assert_eq!(mirror.forget_unwatched(&hub), std::slice::from_ref(&over));
        let mut steps = 1;
        let mut last = mirror.forget_keys(&over, None);
        while let Some(key) = last {
            last = mirror.forget_keys(&over, Some(&key));
            steps += 1;
        }
        assert_eq!(steps, 4);
        let left: Vec<&str> = mirror.keys.keys().map(Key::as_str).collect();
        assert_eq!(left, ["a!", "a/7", "a0", "b", "b/c"]);
        assert_eq!(mirror.there(&beside), [key("b"), key("b/c")]);
    }
}
