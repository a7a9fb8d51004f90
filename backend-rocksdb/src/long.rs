//! The long values that RocksDB may still hold in its memory for writes. A read copies a value whole from there, so that
//! no async worker asks for them.

use std::{
    collections::HashSet,
    hash::BuildHasher,
    sync::{
        PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use backend_kit::OFFLOAD_LEN;
use foldhash::fast::RandomState;

use crate::database::Space;

/// The rows with a long value that were written last, by the hashes of their keys: who is taken for another is read by way
/// of another thread, as that one is.
pub(crate) struct LongRows {
    hasher: RandomState,
    /// Behind so many bytes, what was written before them is in its place.
    memory: usize,
    /// Whether there was one: most stores have none.
    any: AtomicBool,
    written: RwLock<Written>,
}

#[derive(Default)]
struct Written {
    last: HashSet<u64>,
    before: HashSet<u64>,
    /// How many bytes the values of `last` have.
    bytes: usize,
}

impl LongRows {
    pub(crate) fn new(memory: usize) -> Self {
        Self { hasher: RandomState::default(), memory, any: AtomicBool::default(), written: RwLock::default() }
    }

    /// Notes that a value of this length is written, or, with none, that a row is removed.
    pub(crate) fn note(&self, space: Space, key: &[u8], len: usize) {
        let is_long = len > OFFLOAD_LEN;
        if !is_long && !self.any.load(Ordering::Relaxed) {
            return;
        }
        let row = self.hasher.hash_one((space, key));
        let mut written = self.change();
        written.forget(row);
        if is_long {
            written.insert(row, len, self.memory);
            self.any.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a row may have a long value that is in RocksDB's memory for writes.
    pub(crate) fn may_hold(&self, space: Space, key: &[u8]) -> bool {
        self.any.load(Ordering::Relaxed) && self.look().holds(self.hasher.hash_one((space, key)))
    }

    fn look(&self) -> RwLockReadGuard<'_, Written> {
        self.written.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> RwLockWriteGuard<'_, Written> {
        self.written.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Written {
    fn insert(&mut self, row: u64, len: usize, memory: usize) {
        self.bytes = self.bytes.saturating_add(len);
        if self.bytes > memory {
            self.before = std::mem::take(&mut self.last);
            self.bytes = len;
        }
        self.last.insert(row);
    }

    fn forget(&mut self, row: u64) {
        self.last.remove(&row);
        self.before.remove(&row);
    }

    fn holds(&self, row: u64) -> bool {
        self.last.contains(&row) || self.before.contains(&row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: usize = OFFLOAD_LEN + 1;

    #[test]
    fn a_row_is_held_until_so_much_was_written_behind_it_or_it_is_short() {
        let rows = LongRows::new(2 * LEN);
        let held = |numbers: [u8; 6]| numbers.map(|number| rows.may_hold(Space::Entries, &[number]));
        rows.note(Space::Entries, &[0], OFFLOAD_LEN);
        assert_eq!(held([0, 1, 2, 3, 4, 5]), [false; 6]);
        for number in 0..6 {
            rows.note(Space::Entries, &[number], LEN);
        }
        assert_eq!(held([0, 1, 2, 3, 4, 5]), [false, false, true, true, true, true]);
        rows.note(Space::Entries, &[3], 0);
        rows.note(Space::Entries, &[5], 1);
        assert_eq!(held([0, 1, 2, 3, 4, 5]), [false, false, true, false, true, false]);
        assert!(!rows.may_hold(Space::Content, &[2]));
    }
}
