//! The root of the index: which runs there are, and which packs they cover. It is one object, replaced as a whole and on
//! condition; whoever finds none, or a damaged one, does with the packs alone.

use std::{collections::BTreeSet, sync::Arc};

use backend_kit::frame;
use bytes::{Buf, BufMut, Bytes};

use super::{name::PackName, run::Run};

/// What tells of the most records that 32 bits count is shorter, by far.
pub(crate) const MAX_LEN: u64 = 256 * 1024 * 1024;
/// The name of its object.
pub(crate) const OBJECT: &str = "index/root";
pub(super) const KEY: &[u8] = b"irmroot1";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Root {
    /// Every acknowledged pack of an earlier epoch is covered.
    pub(crate) floor: u32,
    /// The packs of the floor's epoch and later ones that are covered.
    pub(crate) recent: BTreeSet<PackName>,
    /// Each at least [`RATIO`](super::merge::RATIO) times as long as the next, unless the two are more than a run may have.
    pub(crate) runs: Vec<Arc<Run>>,
}

impl Root {
    pub(crate) fn covers(&self, pack: PackName) -> bool {
        pack.epoch < self.floor || self.recent.contains(&pack)
    }

    pub(crate) fn covers_all_of(&self, other: &Self) -> bool {
        other.floor <= self.floor && other.recent.iter().all(|pack| self.covers(*pack))
    }

    /// Whether it has the run.
    pub(crate) fn names(&self, run: &Run) -> bool {
        self.runs.iter().any(|named| **named == *run)
    }

    pub(crate) fn seal(&self) -> Bytes {
        let mut body = Vec::new();
        body.put_u32(self.floor);
        put_len(&mut body, self.recent.len());
        self.recent.iter().for_each(|pack| pack.put(&mut body));
        put_len(&mut body, self.runs.len());
        self.runs.iter().for_each(|run| run.put(&mut body));
        frame::seal(KEY, &body).into()
    }

    pub(crate) fn open(bytes: &[u8]) -> Option<Self> {
        let mut body = frame::open(KEY, bytes).ok()?;
        let from = &mut body;
        let floor = from.try_get_u32().ok()?;
        let recent = (0..from.try_get_u32().ok()?).map(|_| PackName::get(from)).collect::<Option<_>>()?;
        let runs = (0..from.try_get_u32().ok()?).map(|_| Run::get(from).map(Arc::new)).collect::<Option<_>>()?;
        from.is_empty().then_some(Self { floor, recent, runs })
    }
}

fn put_len(to: &mut Vec<u8>, len: usize) {
    to.put_u32(u32::try_from(len).expect("it fits into memory many times"));
}

#[cfg(test)]
mod tests {
    use proptest::{collection, prelude::*, sample};
    use store_api::ContentHash;

    use super::*;
    use crate::packs::{
        place::Place,
        run::{Record, best_of_each},
    };

    fn records() -> impl Strategy<Value = Vec<Record>> {
        let record = |(hash, offset, len, sound): ([u8; 2], u64, u32, bool)| {
            let mut bytes = [0; 32];
            bytes[..2].copy_from_slice(&hash);
            (ContentHash::new(bytes), Place { pack: PackName::new(1).unwrap(), offset, len, sound })
        };
        let fields = (any::<[u8; 2]>(), any::<u64>(), 0..1_u32 << 26, any::<bool>());
        collection::vec(fields.prop_map(record), 0..2500)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn a_run_gives_each_hash_its_best_place(records in records()) {
            let (run, bytes) = Run::seal(7, &best_of_each(records.clone()));
            let all = run.open(&bytes).unwrap();
            prop_assert!(all.is_sorted_by_key(|(hash, _)| *hash));
            for (hash, place) in &records {
                let block = run.block_of(hash).unwrap();
                let range = run.range(block);
                let found = &bytes[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
                let block = run.open_block(block, found).unwrap();
                let (_, found) = block.iter().find(|(found, _)| found == hash).unwrap();
                prop_assert!(found.sound || !place.sound);
                prop_assert!(records.contains(&(*hash, *found)));
            }
        }

        #[test]
        fn a_root_round_trips_and_a_flipped_bit_is_found(
            records in records(), floor: u32, packs in 0..5, bit: sample::Index,
        ) {
            let runs = vec![Arc::new(Run::seal(7, &best_of_each(records)).0), Arc::new(Run::seal(8, &[]).0)];
            let root = Root { floor, recent: (0..packs).map(|_| PackName::new(floor).unwrap()).collect(), runs };
            let sealed = root.seal();
            prop_assert_eq!(Root::open(&sealed), Some(root));
            let mut damaged = sealed.to_vec();
            let bit = bit.index(damaged.len() * 8);
            damaged[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Root::open(&damaged), None);
            prop_assert_eq!(Root::open(&sealed[1..]), None);
        }

        #[test]
        fn a_flipped_bit_of_a_run_is_found(records in records(), bit: sample::Index) {
            prop_assume!(!records.is_empty());
            let (run, bytes) = Run::seal(7, &best_of_each(records));
            let mut damaged = bytes.to_vec();
            let bit = bit.index(damaged.len() * 8);
            damaged[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(run.open(&damaged), None);
            prop_assert_eq!(run.open(&bytes[1..]), None);
        }
    }
}
