//! The long values that RocksDB may still hold in its memory for writes. A read copies a value whole from there, so that
//! no async worker asks for them.

use std::{
    collections::HashSet,
    hash::BuildHasher,
    mem,
    sync::{
        PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use backend_kit::OFFLOAD_LEN;
use foldhash::fast::RandomState;

use crate::database::Space;

/// The rows with a long value that were written last, by the hashes of their keys: who is taken for another is read by way
/// of another thread, as that one is. One writer at a time announces a group, writes it, and settles it.
pub(crate) struct LongRows {
    hasher: RandomState,
    /// Behind so many bytes, what was written before them is in its place.
    memory: usize,
    /// Whether there is one: most stores have none.
    any: AtomicBool,
    written: RwLock<Written>,
}

#[derive(Default)]
struct Written {
    /// Those of the group that is being written: a read may find them before that is settled.
    coming: HashSet<u64>,
    last: HashSet<u64>,
    before: HashSet<u64>,
    /// How many bytes were written since the first of `last`.
    bytes: usize,
}

/// The rows of a group that is being written, as far as they matter.
pub(crate) struct Announced {
    long: Vec<u64>,
    short: Vec<u64>,
}

impl LongRows {
    pub(crate) fn new(memory: usize) -> Self {
        Self { hasher: RandomState::default(), memory, any: AtomicBool::default(), written: RwLock::default() }
    }

    /// Notes the rows of a group before it is written, each with the length of its value, or with none where it is
    /// removed.
    pub(crate) fn announce<'k>(&self, rows: impl Iterator<Item = (Space, &'k [u8], usize)>) -> Announced {
        let any = self.any.load(Ordering::Relaxed);
        let mut announced = Announced { long: Vec::new(), short: Vec::new() };
        for (space, key, len) in rows {
            if len > OFFLOAD_LEN {
                announced.long.push(self.row(space, key));
            } else if any {
                announced.short.push(self.row(space, key));
            }
        }
        if !announced.long.is_empty() {
            self.change().coming.extend(&announced.long);
            self.any.store(true, Ordering::Relaxed);
        }
        announced
    }

    /// Notes how many bytes the group had, or, with `None`, that it was refused, and what was there still is.
    pub(crate) fn settle(&self, announced: Announced, written: Option<usize>) {
        if !self.any.load(Ordering::Relaxed) {
            return;
        }
        let mut rows = self.change();
        rows.coming.clear();
        if let Some(bytes) = written {
            rows.pass(bytes, self.memory);
            announced.short.iter().for_each(|row| rows.forget(*row));
            rows.last.extend(announced.long);
        }
        self.any.store(!rows.is_empty(), Ordering::Relaxed);
    }

    /// Whether a row may have a long value that is in RocksDB's memory for writes.
    pub(crate) fn may_hold(&self, space: Space, key: &[u8]) -> bool {
        self.any.load(Ordering::Relaxed) && self.look().holds(self.row(space, key))
    }

    fn row(&self, space: Space, key: &[u8]) -> u64 {
        self.hasher.hash_one((space, key))
    }

    fn look(&self) -> RwLockReadGuard<'_, Written> {
        self.written.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> RwLockWriteGuard<'_, Written> {
        self.written.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Written {
    /// So many bytes were written.
    fn pass(&mut self, bytes: usize, memory: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > memory {
            self.before = mem::take(&mut self.last);
            self.bytes = bytes;
        }
    }

    fn forget(&mut self, row: u64) {
        self.last.remove(&row);
        self.before.remove(&row);
    }

    fn holds(&self, row: u64) -> bool {
        [&self.coming, &self.last, &self.before].iter().any(|rows| rows.contains(&row))
    }

    fn is_empty(&self) -> bool {
        [&self.coming, &self.last, &self.before].iter().all(|rows| rows.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: usize = OFFLOAD_LEN + 1;

    fn announce(rows: &LongRows, number: u8, len: usize) -> Announced {
        rows.announce([(Space::Entries, &[number][..], len)].into_iter())
    }

    /// Writes a row in a group of so many bytes.
    fn write(rows: &LongRows, number: u8, len: usize, bytes: usize) {
        rows.settle(announce(rows, number, len), Some(bytes));
    }

    fn held<const N: usize>(rows: &LongRows, numbers: [u8; N]) -> [bool; N] {
        numbers.map(|number| rows.may_hold(Space::Entries, &[number]))
    }

    #[test]
    fn a_row_is_held_until_so_much_was_written_behind_it_or_it_is_short() {
        let rows = LongRows::new(2 * LEN);
        write(&rows, 0, OFFLOAD_LEN, OFFLOAD_LEN);
        assert_eq!(held(&rows, [0, 1, 2, 3, 4, 5]), [false; 6]);
        for number in 0..6 {
            write(&rows, number, LEN, LEN);
        }
        assert_eq!(held(&rows, [0, 1, 2, 3, 4, 5]), [false, false, true, true, true, true]);
        write(&rows, 3, 0, 0);
        write(&rows, 5, 1, 0);
        assert_eq!(held(&rows, [0, 1, 2, 3, 4, 5]), [false, false, true, false, true, false]);
        assert!(!rows.may_hold(Space::Content, &[2]));
    }

    #[test]
    fn a_row_is_held_while_it_is_written_and_not_once_that_was_refused() {
        let rows = LongRows::new(LEN);
        let announced = announce(&rows, 0, LEN);
        assert_eq!(held(&rows, [0]), [true]);
        rows.settle(announced, None);
        assert_eq!(held(&rows, [0]), [false]);
    }

    #[test]
    fn what_was_refused_forgets_nothing() {
        let rows = LongRows::new(LEN);
        write(&rows, 0, LEN, LEN);
        for _ in 0..3 {
            rows.settle(announce(&rows, 0, 1), None);
            rows.settle(announce(&rows, 1, LEN), None);
        }
        assert_eq!(held(&rows, [0, 1]), [true, false]);
    }

    #[test]
    fn short_rows_let_the_last_long_one_pass() {
        let rows = LongRows::new(2 * LEN);
        write(&rows, 0, LEN, LEN);
        write(&rows, 1, 1, 2 * LEN);
        assert_eq!(held(&rows, [0]), [true]);
        write(&rows, 1, 1, LEN);
        assert_eq!(held(&rows, [0]), [false]);
        assert!(!rows.any.load(Ordering::Relaxed));
    }
}
