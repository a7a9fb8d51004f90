//! The content: maps sharded by the hash of the value. Content only grows, so the order of arrival is its cursor.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use backend_kit::{Addition, OFFLOAD_LEN, Page};
use bytes::Bytes;
use foldhash::fast::RandomState;
use store_api::{ContentHash, ContentKey, HashFunction};

const SHARDS: usize = 64;
const PAGE: usize = 1024;

pub(crate) struct Content {
    function: HashFunction,
    shards: Box<[RwLock<Shard>]>,
}

#[derive(Default)]
struct Shard {
    values: HashMap<ContentHash, Stored, RandomState>,
    arrivals: Vec<ContentHash>,
}

/// A value as it was added.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) value: Bytes,
    /// Whether its hash was computed here: then it need not be verified, since memory does not rot unnoticed.
    pub(crate) trusted: bool,
}

impl Content {
    pub(crate) fn new(function: HashFunction) -> Self {
        Self { function, shards: std::iter::repeat_with(RwLock::default).take(SHARDS).collect() }
    }

    pub(crate) fn hash_function(&self) -> HashFunction {
        self.function
    }

    pub(crate) fn find(&self, hash: &ContentHash) -> Option<Stored> {
        self.read(shard_of(hash)).values.get(hash).cloned()
    }

    pub(crate) fn mem(&self, hash: &ContentHash) -> bool {
        self.read(shard_of(hash)).values.contains_key(hash)
    }

    /// Whether to add these takes long: values that were given with their hashes may have to be compared with what is
    /// there, and hashed.
    pub(crate) fn takes_long(&self, additions: &[Addition]) -> bool {
        let is_compared = |addition: &&Addition| !addition.trusted && self.mem(&addition.hash);
        additions.iter().filter(is_compared).map(|addition| addition.value.len()).sum::<usize>() > OFFLOAD_LEN
    }

    pub(crate) fn add(&self, addition: Addition) {
        if let Some(addition) = self.checked(addition) {
            self.write(shard_of(&addition.hash)).add(self.function, addition);
        }
    }

    /// An addition that may change something. Whether one that was given with its hash may take the place of what is
    /// there is found out here, without a lock: it is trusted then.
    fn checked(&self, addition: Addition) -> Option<Addition> {
        let present = if addition.trusted { None } else { self.find(&addition.hash) };
        let Some(present) = present else { return Some(addition) };
        let replaces = addition.replaces(self.function, present.trusted, &present.value);
        replaces.then_some(Addition { trusted: true, ..addition })
    }

    /// Adds all of it at one instant: whoever reads one of the values before it, reads none after another (I7). The
    /// locks of all the shards concerned are held together, taken in their order, so that two batches do not wait for
    /// each other.
    pub(crate) fn add_all(&self, additions: Vec<Addition>) {
        let mut additions: Vec<_> = additions.into_iter().filter_map(|addition| self.checked(addition)).collect();
        additions.sort_unstable_by_key(|addition| shard_of(&addition.hash));
        let mut locked: Vec<(usize, RwLockWriteGuard<'_, Shard>)> = Vec::new();
        for addition in &additions {
            let shard = shard_of(&addition.hash);
            if locked.last().is_none_or(|(last, _)| *last != shard) {
                locked.push((shard, self.write(shard)));
            }
        }
        let mut guards = locked.iter_mut().peekable();
        for addition in additions {
            while guards.next_if(|(shard, _)| *shard < shard_of(&addition.hash)).is_some() {}
            if let Some((_, shard)) = guards.peek_mut() {
                shard.add(self.function, addition);
            }
        }
    }

    /// The keys behind a cursor: how many of which shard are done.
    pub(crate) fn page_of_keys(&self, (mut shard, mut done): (usize, usize)) -> Page<ContentKey, (usize, usize)> {
        let mut items = Vec::new();
        while shard < SHARDS && items.len() < PAGE {
            let locked = self.read(shard);
            let rest = &locked.arrivals[done..];
            let taken = rest.len().min(PAGE - items.len());
            items.extend(rest[..taken].iter().map(|hash| Ok(ContentKey::from(*hash))));
            (shard, done) = if taken == rest.len() { (shard + 1, 0) } else { (shard, done + taken) };
        }
        Page { items, next: (shard < SHARDS).then_some((shard, done)) }
    }

    fn read(&self, shard: usize) -> RwLockReadGuard<'_, Shard> {
        self.shards[shard].read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, shard: usize) -> RwLockWriteGuard<'_, Shard> {
        self.shards[shard].write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    fn add(&mut self, function: HashFunction, addition: Addition) {
        let Addition { hash, trusted, .. } = addition;
        match self.values.get_mut(&hash) {
            None => {
                self.arrivals.push(hash);
                self.values.insert(hash, Stored { value: addition.value, trusted });
            }
            Some(present) if addition.replaces(function, present.trusted, &present.value) => {
                *present = Stored { value: addition.value, trusted: true };
            }
            Some(present) => present.trusted |= trusted,
        }
    }
}

fn shard_of(hash: &ContentHash) -> usize {
    usize::from(hash.as_bytes()[0]) % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;

    const FUNCTION: HashFunction = HashFunction::Blake3;

    /// What is there after these, each of which is given with the hash of `true`.
    fn after(additions: &[(&'static str, bool)]) -> Bytes {
        let content = Content::new(FUNCTION);
        let hash = FUNCTION.hash(b"true");
        for &(value, trusted) in additions {
            let addition = Addition { hash, value: value.into(), trusted };
            content.add_all(vec![addition]);
        }
        content.find(&hash).unwrap().value
    }

    #[test]
    fn i4_the_value_that_has_the_hash_stays() {
        assert_eq!(after(&[("false", false), ("other", false)]), "false");
        for given in [("true", true), ("true", false)] {
            assert_eq!(after(&[("false", false), given]), "true");
            assert_eq!(after(&[given, ("false", false)]), "true");
            assert_eq!(after(&[("false", false), given, ("other", false)]), "true");
        }
    }

    #[test]
    fn what_is_compared_with_nothing_takes_no_time() {
        let content = Content::new(FUNCTION);
        let value = Bytes::from(vec![7; OFFLOAD_LEN + 1]);
        let own = Addition { hash: FUNCTION.hash(&value), value: value.clone(), trusted: true };
        let given = Addition { trusted: false, ..own.clone() };
        assert!(!content.takes_long(&[own.clone(), given.clone()]));
        content.add(own.clone());
        assert!(!content.takes_long(&[own]) && content.takes_long(&[given]));
    }
}
