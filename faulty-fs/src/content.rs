//! The bytes of one file as one observer sees them: sparse pages, shared between versions until one of them is written.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

/// The unit of caching and of writing back, in bytes.
pub(crate) const PAGE: u64 = 4096;

const PAGE_LEN: usize = 4096;

type Page = Arc<[u8; PAGE_LEN]>;

/// Sparse bytes. What was never written reads as zeros; no page holds anything but zeros beyond the size.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    size: u64,
    pages: BTreeMap<u64, Page>,
}

impl Content {
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// How many pages are allocated.
    pub(crate) fn allocated(&self) -> u64 {
        self.pages.len() as u64
    }

    /// How many pages a write of this range would allocate.
    pub(crate) fn missing(&self, range: &Range<u64>) -> u64 {
        let touched = pages(range);
        let present = self.pages.range(touched.clone()).count() as u64;
        (touched.end - touched.start) - present
    }

    /// The bytes of a range, cut at the size.
    pub(crate) fn read(&self, range: Range<u64>) -> Vec<u8> {
        let end = range.end.min(self.size);
        if range.start >= end {
            return Vec::new();
        }
        let range = range.start..end;
        let mut bytes = vec![0; length(&range)];
        for (number, page) in self.pages.range(pages(&range)) {
            let part = overlap(&range, *number);
            bytes[within(&part, range.start)].copy_from_slice(&page[within(&part, number * PAGE)]);
        }
        bytes
    }

    /// Writes bytes, growing where they reach beyond the size.
    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let range = offset..offset + bytes.len() as u64;
        for number in pages(&range) {
            let part = overlap(&range, number);
            let page = self.pages.entry(number).or_insert_with(|| Arc::new([0; PAGE_LEN]));
            Arc::make_mut(page)[within(&part, number * PAGE)].copy_from_slice(&bytes[within(&part, offset)]);
        }
        self.size = self.size.max(range.end);
    }

    /// Cuts or grows to a size; what is grown reads as zeros.
    pub(crate) fn resize(&mut self, size: u64) {
        if size < self.size {
            self.pages.split_off(&size.div_ceil(PAGE));
            if let Some(page) = self.pages.get_mut(&(size / PAGE)) {
                Arc::make_mut(page)[within(&(0..size % PAGE), 0).end..].fill(0);
            }
        }
        self.size = size;
    }

    /// Takes the pages of a range over from another version, sharing them. The size stays: whoever calls sets it.
    pub(crate) fn share_pages(&mut self, from: &Self, range: &Range<u64>) {
        for number in pages(range) {
            match from.pages.get(&number) {
                Some(page) => self.pages.insert(number, Arc::clone(page)),
                None => self.pages.remove(&number),
            };
        }
    }
}

/// The pages that a range touches.
fn pages(range: &Range<u64>) -> Range<u64> {
    let first = range.start / PAGE;
    first..if range.is_empty() { first } else { range.end.div_ceil(PAGE) }
}

/// The part of a range that lies in a page.
fn overlap(range: &Range<u64>, page: u64) -> Range<u64> {
    range.start.max(page * PAGE)..range.end.min((page + 1) * PAGE)
}

/// A range as indices into bytes that begin at `start`.
fn within(range: &Range<u64>, start: u64) -> Range<usize> {
    let index = |position: u64| usize::try_from(position - start).expect("a piece of a file in memory");
    index(range.start)..index(range.end)
}

fn length(range: &Range<u64>) -> usize {
    within(range, range.start).end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_read_as_zeros() {
        let mut content = Content::default();
        content.write(3 * PAGE + 5, b"end");
        assert_eq!(content.size(), 3 * PAGE + 8);
        assert_eq!(content.allocated(), 1);
        assert_eq!(content.read(3 * PAGE + 3..3 * PAGE + 100), b"\0\0end");
        assert_eq!(content.read(PAGE..PAGE + 2), b"\0\0");
        assert_eq!(content.read(4 * PAGE..5 * PAGE), b"");
    }

    #[test]
    fn what_was_cut_does_not_come_back() {
        let mut content = Content::default();
        content.write(0, &[7; 10_000]);
        content.resize(100);
        content.resize(10_000);
        assert_eq!(content.read(0..100), [7; 100]);
        assert_eq!(content.read(100..10_000), [0; 9_900]);
        assert_eq!(content.allocated(), 1);
    }

    #[test]
    fn a_version_keeps_its_bytes_when_another_is_written() {
        let mut one = Content::default();
        one.write(0, b"one");
        let mut two = one.clone();
        two.write(0, b"two");
        assert_eq!(one.read(0..3), b"one");
        one.share_pages(&two, &(0..1));
        assert_eq!(one.read(0..3), b"two");
    }

    #[test]
    fn missing_pages_are_those_without_bytes() {
        let mut content = Content::default();
        content.write(PAGE, b"x");
        assert_eq!(content.missing(&(0..3 * PAGE)), 2);
        assert_eq!(content.missing(&(PAGE..PAGE + 1)), 0);
        assert_eq!(content.missing(&(PAGE..PAGE)), 0);
    }
}
