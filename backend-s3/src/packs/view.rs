//! What an instance knows about the packs of a store, and how much of them that is.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use store_api::ContentHash;

use super::{format::Index, name::PackName, place::Place, root::Root, run::Record};
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
        let begins = hashes.any(is_rotten) || fastrand::u32(..PACKS_PER_EPOCH) == 0;
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
    pub(crate) fn set_root(&mut self, version: Version, root: Option<Root>) {
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
        self.uncovered_records = self.uncovered.values().map(Vec::len).sum();
        self.root = Some((version, Some(Arc::new(root))));
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

    /// What was learned of the indexed packs can be looked up again.
    fn forget_surplus(&mut self) {
        if self.known.len() > KNOWN_LIMIT {
            self.known.retain(|_, place| self.uncovered.contains_key(&place.pack));
        }
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

    /// Learns the footer of a pack.
    pub(crate) fn insert(&mut self, pack: PackName, index: Index) {
        self.raise_top(pack.epoch);
        self.unread.remove(&pack);
        self.damaged.remove(&pack);
        for (hash, place) in &index {
            self.remember(*hash, *place);
        }
        self.uncovered_records += index.len();
        if let Some(replaced) = self.uncovered.insert(pack, index) {
            self.uncovered_records -= replaced.len();
        }
    }

    /// Learns where a value lies. Of two places the better one stays.
    pub(crate) fn remember(&mut self, hash: ContentHash, place: Place) {
        let known = self.find(&hash);
        if known.is_none_or(|known| self.rank(&place) > self.rank(&known)) {
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
        let in_pack = |index: &Index| index.binary_search_by_key(hash, |(hash, _)| *hash).ok().map(|at| index[at].1);
        let others: Vec<Place> = self.uncovered.values().filter_map(in_pack).collect();
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
        let place = |pack| Place { pack, offset: 0, len: 1, sound: true };
        let (one, other) = (ContentHash::new([1; 32]), ContentHash::new([2; 32]));
        view.insert(late, vec![(one, place(late))]);
        view.insert(latest, vec![(other, place(latest))]);
        assert!(view.find(&one).is_some() && view.find_shared(&one).is_none());
        assert!(view.find_shared(&other).is_some());
    }
}
