//! One file's data: what a reader sees, what is on the platter, and the changes between the two, in order.

use std::ops::Range;

use crate::{
    content::{Content, PAGE},
    loss::{Keep, Luck},
};

/// The data of a file.
#[derive(Clone, Default, Debug)]
pub(crate) struct File {
    current: Content,
    durable: Content,
    /// What turns the cache as it was after the last sync into `current`.
    unsynced: Vec<Change>,
    /// The cache after the last sync, where a failed one left it different from what is durable.
    given_up: Option<Content>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: u64, bytes: Box<[u8]> },
    Cut { size: u64 },
    Grow { size: u64 },
}

impl File {
    pub(crate) fn content(&self) -> &Content {
        &self.current
    }

    /// How many bytes were written and not synced, however often the same ones.
    pub(crate) fn unsynced(&self) -> u64 {
        self.unsynced.iter().map(Change::written).sum()
    }

    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.change(Change::Write { offset, bytes: bytes.into() });
    }

    pub(crate) fn resize(&mut self, size: u64) {
        match size.cmp(&self.current.size()) {
            std::cmp::Ordering::Less => self.change(Change::Cut { size }),
            std::cmp::Ordering::Equal => {}
            std::cmp::Ordering::Greater => self.change(Change::Grow { size }),
        }
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.current);
        self.unsynced.push(change);
    }

    /// Puts the dirty pages and the size on the platter. A page that a failed sync gave up is clean: it stays off the
    /// platter until it is written again.
    pub(crate) fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            if let Change::Cut { size } = change {
                cut(&mut self.durable, size);
            }
            self.durable.share_pages(&self.current, &change.dirties());
        }
        self.durable.resize(self.current.size());
        if self.given_up.is_some() {
            self.given_up = (self.durable != self.current).then(|| self.current.clone());
        }
    }

    /// What Linux does when writing back fails: the pages are clean, keep their bytes in the cache, and are not on the
    /// platter, so that the next sync finds nothing to do. Cuts of the file are metadata, and go on.
    pub(crate) fn give_up(&mut self) {
        for change in self.unsynced.drain(..) {
            if let Change::Cut { size } = change {
                cut(&mut self.durable, size);
            }
        }
        self.given_up = Some(self.current.clone());
    }

    /// What is found after a loss; nothing in it is unsynced.
    pub(crate) fn survivor(mut self, keep: Keep, luck: &mut Luck) -> Self {
        let content = match keep {
            Keep::None => self.durable,
            Keep::Random => self.mixed(luck),
            Keep::All => {
                self.sync();
                self.durable
            }
        };
        Self { current: content.clone(), durable: content, ..Self::default() }
    }

    /// Each grain as it was synced, or as it was after one of its unsynced writes, each chosen on its own. Cuts survive
    /// in order, and nothing survives that was written after a cut that did not: a file system journals its metadata.
    fn mixed(&self, luck: &mut Luck) -> Content {
        let mut kept = self.durable.clone();
        let mut size = kept.size();
        let mut cached = self.given_up.as_ref().unwrap_or(&self.durable).clone();
        for change in self.surviving_changes(luck) {
            change.apply(&mut cached);
            match change {
                Change::Write { offset, bytes } => {
                    for grain in grains(&span(*offset, bytes), luck.grain) {
                        if luck.was_written_back() {
                            kept.write(grain.start, &cached.read(grain));
                        }
                    }
                    if luck.was_written_back() {
                        size = cached.size();
                    }
                }
                Change::Cut { size: to } => {
                    cut(&mut kept, *to);
                    size = *to;
                }
                Change::Grow { size: to } if luck.was_written_back() => size = *to,
                Change::Grow { .. } => {}
            }
        }
        kept.resize(size);
        kept
    }

    /// The changes before a random one of the cuts, or all of them.
    fn surviving_changes(&self, luck: &mut Luck) -> &[Change] {
        let is_cut = |change: &Change| matches!(change, Change::Cut { .. });
        let cuts: Vec<_> = self.unsynced.iter().enumerate().filter(|(_, change)| is_cut(change)).collect();
        match cuts.get(luck.prefix(cuts.len())) {
            Some((first_lost, _)) => &self.unsynced[..*first_lost],
            None => &self.unsynced,
        }
    }
}

impl Change {
    fn apply(&self, content: &mut Content) {
        match self {
            Self::Write { offset, bytes } => content.write(*offset, bytes),
            Self::Cut { size } | Self::Grow { size } => content.resize(*size),
        }
    }

    /// The range whose pages are to be written back: with a cut the last one, since its end was zeroed.
    fn dirties(&self) -> Range<u64> {
        match self {
            Self::Write { offset, bytes } => span(*offset, bytes),
            Self::Cut { size } if !size.is_multiple_of(PAGE) => *size..*size + 1,
            Self::Cut { size } | Self::Grow { size } => *size..*size,
        }
    }

    fn written(&self) -> u64 {
        match self {
            Self::Write { bytes, .. } => bytes.len() as u64,
            Self::Cut { .. } | Self::Grow { .. } => 0,
        }
    }
}

fn cut(content: &mut Content, size: u64) {
    content.resize(content.size().min(size));
}

fn span(offset: u64, bytes: &[u8]) -> Range<u64> {
    offset..offset + bytes.len() as u64
}

/// The whole grains that a range touches.
fn grains(range: &Range<u64>, grain: u64) -> impl Iterator<Item = Range<u64>> + use<> {
    (range.start / grain..range.end.div_ceil(grain)).map(move |number| number * grain..(number + 1) * grain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::Loss;

    const PAGE_LEN: usize = 4096;

    /// Two pages that are synced, and then written and given up.
    fn given_up() -> File {
        let mut file = File::default();
        file.write(0, &[1; 2 * PAGE_LEN]);
        file.sync();
        file.write(0, &[2; 2 * PAGE_LEN]);
        file.give_up();
        file
    }

    fn after(file: &File, loss: Loss) -> Vec<u8> {
        file.clone().survivor(loss.keep, &mut Luck::new(&loss)).content().read(0..u64::MAX)
    }

    #[test]
    fn a_page_that_was_given_up_is_synced_when_it_is_written_again() {
        let mut file = given_up();
        file.write(10, &[3]);
        file.sync();
        let found = after(&file, Loss::default());
        assert_eq!(found[..10], [2; 10], "the whole page is written, with what the failed sync left in it");
        assert_eq!(found[10], 3);
        assert_eq!(found[PAGE_LEN..], [1; PAGE_LEN], "the other page stays given up");
    }

    #[test]
    fn no_luck_brings_back_what_was_given_up() {
        let file = given_up();
        for seed in 0..50 {
            assert_eq!(after(&file, Loss { keep: Keep::Random, seed, torn: true }), [1; 2 * PAGE_LEN]);
        }
        assert_eq!(after(&file, Loss { keep: Keep::All, ..Loss::default() }), [1; 2 * PAGE_LEN]);
        assert_eq!(file.content().read(0..1), [2], "the cache has it");
    }

    #[test]
    fn a_cut_that_survives_takes_what_it_cut() {
        let mut file = File::default();
        file.write(0, &[1; 100]);
        file.sync();
        file.resize(0);
        file.write(0, &[2; 100]);
        let found = (0..200).map(|seed| after(&file, Loss { keep: Keep::Random, seed, torn: false }));
        let mut kinds: Vec<_> = found.map(|bytes| (bytes.len(), bytes.iter().max().copied())).collect();
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(kinds, [(0, None), (100, Some(0)), (100, Some(1)), (100, Some(2))]);
    }
}
