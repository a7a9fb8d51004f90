//! What an instance knows about the packs of a store, and how much of them that is.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use store_api::ContentHash;

use super::{
    format::Index,
    name::PackName,
    place::Place,
    root::Root,
    run::{Record, place_in},
};
use crate::client::Version;

/// How many epochs an acknowledged pack may lie behind the latest one that there was when it was looked for beyond it.
///
/// A pack is acknowledged once it was written and, after that, no pack of an epoch later than its own plus this one was
/// found. So whoever listed the packs while one of epoch `m` was there has seen every acknowledged pack of an epoch
/// before `m - WINDOW`: one that he has not seen was written after his listing, and the look beyond it, later still,
/// found `m` within its window. No clock has a part in this. It rests on listings that show every object whose PUT was
/// answered before they began, in the order of the names where they have several pages.
pub(crate) const WINDOW: u32 = 6;

/// A pack begins another epoch once in as many, so that what a listing shows of the window fits a page of 1,000.
const PACKS_PER_EPOCH: u32 = 128;

/// How many rotten frames are remembered: 3 MiB.
const ROTTEN_LIMIT: usize = 1 << 16;

/// What is remembered of indexed packs: 1,048,576 places, about 100 bytes each.
const KNOWN_LIMIT: usize = 1 << 20;

#[derive(Debug, Default)]
pub(crate) struct View {
    root: Option<(Version, Option<Arc<Root>>)>,
    /// Every acknowledged pack of an earlier epoch is known, or covered by the root.
    floor: u32,
    /// The latest epoch of any pack that is known to be there. `None` before the first listing.
    top: Option<u32>,
    known: BTreeMap<ContentHash, Place>,
    /// How many of them were left when a surplus was forgotten last, unless there is another root since.
    kept: usize,
    /// The packs that the root does not cover, and whose footers were read or written here.
    uncovered: BTreeMap<PackName, Index>,
    uncovered_records: usize,
    /// Their footers are to be read. Of objects of this size.
    unread: BTreeMap<PackName, u64>,
    /// Those of them whose footers were found damaged.
    damaged: BTreeSet<PackName>,
    /// Whether a root was given up, and what it covered is not known yet.
    incomplete: bool,
    /// Places that were read and where the value is damaged, or gone with its pack.
    rotten: HashSet<Place>,
    /// Packs that may never have been acknowledged, and that others need not find.
    unshared: HashSet<PackName>,
}

impl View {
    /// Whether the packs were listed.
    pub(crate) fn is_listed(&self) -> bool {
        self.top.is_some()
    }

    pub(crate) fn floor(&self) -> u32 {
        self.floor
    }

    pub(crate) fn top(&self) -> Option<u32> {
        self.top
    }

    /// The epoch of the next pack, which has values of these hashes. One that repairs begins another, so that it is later
    /// than what it repairs.
    pub(crate) fn next_epoch<'h>(&self, mut hashes: impl Iterator<Item = &'h ContentHash>) -> u32 {
        let is_rotten = |hash| self.find(hash).is_some_and(|place| self.is_rotten(&place));
        let repairs = !self.rotten.is_empty() && hashes.any(is_rotten);
        let begins = repairs || fastrand::u32(..PACKS_PER_EPOCH) == 0;
        let step = u32::from(begins);
        self.top.unwrap_or_default().saturating_add(step)
    }

    /// Learns that there is a pack of this epoch.
    pub(crate) fn raise_top(&mut self, epoch: u32) {
        self.top = self.top.max(Some(epoch));
    }

    pub(crate) fn root_version(&self) -> Option<&Version> {
        self.root.as_ref().map(|(version, _)| version)
    }

    pub(crate) fn root(&self) -> Option<Arc<Root>> {
        self.root.as_ref().and_then(|(_, root)| root.clone())
    }

    /// Whether the root of this version is the one that is read.
    pub(crate) fn relies_on(&self, version: &Version) -> bool {
        self.root.as_ref().is_some_and(|(known, root)| root.is_some() && known == version)
    }

    /// The root, if there is one. `None` while what it leaves to the packs is not all known.
    #[expect(clippy::option_option, reason = "not to be told, and not there")]
    pub(crate) fn complete_root(&self) -> Option<Option<(Version, Arc<Root>)>> {
        let root = || Some((self.root_version()?.clone(), self.root()?));
        (!self.incomplete).then(root)
    }

    /// Learns the root, or that its bytes are damaged.
    pub(crate) fn set_root(&mut self, version: Version, root: Option<Arc<Root>>) {
        let Some(root) = root else { return self.distrust_root(version) };
        if self.root().is_some_and(|known| !root.covers_all_of(&known)) {
            // It was made again, without a pack that is damaged.
            self.floor = root.floor;
            self.incomplete = true;
        }
        self.floor = self.floor.max(root.floor);
        if let Some(last) = root.recent.last() {
            self.raise_top(last.epoch);
        }
        self.unread.retain(|pack, _| !root.covers(*pack));
        self.damaged.retain(|pack| !root.covers(*pack));
        self.uncovered.retain(|pack, _| !root.covers(*pack));
        self.uncovered_records = self.uncovered.values().map(|index| index.len()).sum();
        self.root = Some((version, Some(root)));
        self.kept = 0;
        self.forget_surplus();
    }

    /// Learns that there is no root, so that all packs have to be listed again.
    pub(crate) fn lose_root(&mut self) {
        if self.root.take().is_some() {
            self.floor = 0;
            self.incomplete = true;
        }
    }

    /// Does without the root of this version, which is damaged or names a run that is.
    pub(crate) fn distrust_root(&mut self, version: Version) {
        self.root = Some((version, None));
        self.floor = 0;
        self.incomplete = true;
    }

    /// Whether what is known lacks what was acknowledged long ago.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.incomplete
    }

    /// Learns that all footers were read behind a listing, but those that are damaged.
    pub(crate) fn set_read(&mut self, damaged: BTreeSet<PackName>) {
        self.damaged = damaged;
        self.incomplete = false;
    }

    /// The packs that may hold what is not found.
    pub(crate) fn damaged(&self) -> &BTreeSet<PackName> {
        &self.damaged
    }

    /// What was learned of the indexed packs can be looked up again. It goes all at once, since that takes a look at all:
    /// so there is room for as many as the limit says behind it, whatever has to stay.
    fn forget_surplus(&mut self) {
        if self.known.len() <= self.kept + KNOWN_LIMIT {
            return;
        }
        let Some(root) = self.root() else { return };
        self.known.retain(|_, place| !root.covers(place.pack));
        self.kept = self.known.len();
    }

    /// Learns what a listing from the floor showed, which began when `top` was the latest known epoch.
    pub(crate) fn set_listed(&mut self, packs: Vec<(PackName, u64)>, top: Option<u32>) {
        self.raise_top(packs.iter().map(|(pack, _)| pack.epoch).max().unwrap_or_default());
        let latest = self.top.unwrap_or_default();
        let root = self.root();
        for (pack, size) in packs {
            let covered = root.as_ref().is_some_and(|root| root.covers(pack));
            if covered || self.uncovered.contains_key(&pack) {
                continue;
            }
            if pack.epoch < latest.saturating_sub(WINDOW) {
                self.unshared.insert(pack);
            }
            self.unread.insert(pack, size);
        }
        self.floor = self.floor.max(top.unwrap_or_default().saturating_sub(WINDOW));
    }

    /// The packs whose footers are to be read, with their sizes.
    pub(crate) fn unread(&self) -> Vec<(PackName, u64)> {
        self.unread.iter().map(|(pack, size)| (*pack, *size)).collect()
    }

    /// Learns the footer of a pack, all of which is [remembered](Self::remember).
    pub(crate) fn insert(&mut self, pack: PackName, index: Index) {
        self.raise_top(pack.epoch);
        self.unread.remove(&pack);
        self.damaged.remove(&pack);
        self.uncovered_records += index.len();
        if let Some(replaced) = self.uncovered.insert(pack, index) {
            self.uncovered_records -= replaced.len();
        }
    }

    /// Learns where a value lies. Of two places the better one stays.
    pub(crate) fn remember(&mut self, hash: ContentHash, place: Place) {
        let known = self.find(&hash);
        if known.is_none_or(|known| self.rank(&place) > self.rank(&known)) {
            self.forget_surplus();
            self.known.insert(hash, place);
        }
    }

    /// Of two true places the one that everyone finds is better.
    pub(crate) fn rank(&self, place: &Place) -> (bool, bool, bool, PackName) {
        let (sound, pack) = place.rank();
        (!self.is_rotten(place), sound, !self.unshared.contains(&pack), pack)
    }

    pub(crate) fn is_rotten(&self, place: &Place) -> bool {
        self.rotten.contains(place)
    }

    /// Learns that a value cannot be read at a place, and goes on to the next best. Whether that is new.
    pub(crate) fn set_rotten(&mut self, hash: &ContentHash, place: Place) -> bool {
        if self.rotten.len() >= ROTTEN_LIMIT {
            self.rotten.clear();
        }
        let is_new = self.rotten.insert(place);
        let others: Vec<Place> = self.uncovered.values().filter_map(|index| place_in(index, hash)).collect();
        for other in others {
            self.remember(*hash, other);
        }
        is_new
    }

    /// Learns that a value was read at a place.
    pub(crate) fn set_readable(&mut self, place: &Place) {
        self.rotten.remove(place);
    }

    /// Where a value lies.
    pub(crate) fn find(&self, hash: &ContentHash) -> Option<Place> {
        self.known.get(hash).copied()
    }

    /// Where a value lies that is there, and is the true one, as far as is known.
    pub(crate) fn find_whole(&self, hash: &ContentHash) -> Option<Place> {
        self.find(hash).filter(|place| place.sound && !self.is_rotten(place))
    }

    /// Where a value lies that everyone finds there, and that can be read.
    pub(crate) fn find_shared(&self, hash: &ContentHash) -> Option<Place> {
        self.find(hash).filter(|place| !self.unshared.contains(&place.pack) && !self.is_rotten(place))
    }

    /// The first known places behind a hash.
    pub(crate) fn behind(&self, hash: Option<ContentHash>, limit: usize) -> Vec<Record> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = hash.map_or(Unbounded, Excluded);
        self.known.range((from, Unbounded)).take(limit).map(|(hash, place)| (*hash, *place)).collect()
    }

    pub(crate) fn uncovered(&self) -> &BTreeMap<PackName, Index> {
        &self.uncovered
    }

    pub(crate) fn uncovered_records(&self) -> usize {
        self.uncovered_records
    }

    /// Learns that runs have these packs, so that everyone finds them.
    pub(crate) fn share<'p>(&mut self, packs: impl IntoIterator<Item = &'p PackName>) {
        for pack in packs {
            self.unshared.remove(pack);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(pack: PackName) -> Place {
        Place { pack, offset: 0, len: 1, sound: true }
    }

    #[test]
    fn what_was_looked_up_in_the_index_is_forgotten_when_it_is_much_and_what_is_not_indexed_is_not() {
        let (indexed, unindexed) = (PackName::new(1).unwrap(), PackName::new(9).unwrap());
        let hash = |i: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&i.to_be_bytes());
            ContentHash::new(bytes)
        };
        let mut view = View::default();
        let root = Root { floor: 5, ..Root::default() };
        view.set_root(Version::new("root".into()).unwrap(), Some(Arc::new(root)));
        view.remember(hash(usize::MAX), place(unindexed));
        for i in 0..5 * KNOWN_LIMIT / 2 {
            view.remember(hash(i), place(indexed));
            // Besides, the one that has to stay, and the last.
            assert!(view.known.len() <= KNOWN_LIMIT + 2);
        }
        assert!(view.known.len() > KNOWN_LIMIT / 4, "it is forgotten all at once, and not at each step");
        assert!(view.find(&hash(usize::MAX)).is_some());
    }

    #[test]
    fn the_floor_follows_what_was_known_before_a_listing() {
        let mut view = View::default();
        view.set_listed(vec![(PackName::new(40).unwrap(), 100)], None);
        assert_eq!((view.floor(), view.top()), (0, Some(40)));
        view.set_listed(vec![(PackName::new(50).unwrap(), 100)], view.top());
        assert_eq!((view.floor(), view.top()), (40 - WINDOW, Some(50)));
    }

    #[test]
    fn a_pack_behind_the_window_is_not_relied_on() {
        let mut view = View::default();
        let (late, latest) = (PackName::new(3).unwrap(), PackName::new(4 + WINDOW).unwrap());
        view.set_listed(vec![(late, 100), (latest, 100)], None);
        let (one, other) = (ContentHash::new([1; 32]), ContentHash::new([2; 32]));
        for (hash, pack) in [(one, late), (other, latest)] {
            view.remember(hash, place(pack));
            view.insert(pack, [(hash, place(pack))].into());
        }
        assert!(view.find(&one).is_some() && view.find_shared(&one).is_none());
        assert!(view.find_shared(&other).is_some());
    }
}
