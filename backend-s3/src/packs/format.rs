//! A pack: the frames of its values, the footer that says where each lies, and a trailer that says how long the footer
//! is. One PUT writes all of it, and is the commit (I7).
//!
//! | part | bytes |
//! |---|---|
//! | frames | checksum (8) over the hash and the value, the value; one after the other |
//! | footer | for each value: hash (32), offset (8), length (4), soundness (1) |
//! | trailer | checksum (8) over the footer and the name, count (4), `irmpack1` (8) |
//!
//! Numbers are big-endian.

use std::{collections::BTreeMap, sync::Arc};

use backend_kit::{Addition, frame};
use bytes::{Buf, BufMut, Bytes};
use object_store::PutPayload;
use store_api::ContentHash;

use super::{
    name::PackName,
    place::{Place, frame_key},
    run::Record,
};

const MAGIC: &[u8] = b"irmpack1";
pub(super) const ENTRY_LEN: usize = ContentHash::LEN + Place::LEN_IN_PACK;
const TRAILER_LEN: usize = frame::CHECKSUM_LEN + 4 + MAGIC.len();

/// What is read of the end of a pack at first: the footer of 1,400 values.
pub(crate) const TAIL_LEN: u64 = 64 * 1024;

/// No pack has more values, so that its footer has 180 MiB at the most.
pub(crate) const MAX_VALUES: usize = 1 << 22;

/// A pack of nothing, which nobody writes, would be as long.
pub(crate) const MIN_LEN: u64 = TRAILER_LEN as u64;

/// The values of a pack in the order of their hashes, and where each lies in it.
pub(crate) type Index = Arc<[Record]>;

/// The object of a pack, whose additions are trusted if their values have their hashes.
pub(crate) fn seal(name: PackName, additions: &BTreeMap<ContentHash, Addition>) -> (PutPayload, Index) {
    let mut parts = Vec::with_capacity(2 * additions.len() + 1);
    let mut footer = Vec::with_capacity(additions.len() * ENTRY_LEN + TRAILER_LEN);
    let mut index = Vec::with_capacity(additions.len());
    let mut offset = 0;
    for (hash, addition) in additions {
        let value = &addition.value;
        let len = u32::try_from(value.len()).expect("a value is at most 64 MiB long");
        let place = Place { pack: name, offset, len, sound: addition.trusted };
        let checksum = frame::checksum(&frame_key(hash, place.sound), value);
        parts.extend([Bytes::copy_from_slice(&checksum), value.clone()]);
        footer.extend_from_slice(hash.as_bytes());
        place.put_in_pack(&mut footer);
        offset = place.range().end;
        index.push((*hash, place));
    }
    parts.push(seal_footer(name, footer).into());
    (parts.into_iter().collect(), index.into())
}

/// The end of a pack: its footer, and the trailer.
pub(super) fn seal_footer(name: PackName, mut footer: Vec<u8>) -> Vec<u8> {
    let count = footer.len() / ENTRY_LEN;
    let checksum = footer_checksum(name, &footer);
    footer.extend_from_slice(&checksum);
    footer.put_u32(u32::try_from(count).expect("a pack has fewer values than bytes"));
    footer.extend_from_slice(MAGIC);
    footer
}

/// What the end of a pack says.
pub(crate) enum Tail {
    Index(Index),
    /// As many of the last bytes are needed.
    Longer(u64),
    Damaged,
}

/// Reads the end of a pack of `size` bytes.
pub(crate) fn open(name: PackName, size: u64, tail: &[u8]) -> Tail {
    let Some((before, mut trailer)) = tail.split_last_chunk::<TRAILER_LEN>().map(|(before, last)| (before, &last[..]))
    else {
        return Tail::Damaged;
    };
    let checksum = trailer.get_u64().to_be_bytes();
    let count = trailer.get_u32() as usize;
    let footer_len = count * ENTRY_LEN;
    if trailer != MAGIC || count > MAX_VALUES || (footer_len + TRAILER_LEN) as u64 > size {
        return Tail::Damaged;
    }
    let Some(footer) = before.len().checked_sub(footer_len).map(|start| &before[start..]) else {
        return Tail::Longer((footer_len + TRAILER_LEN) as u64);
    };
    if footer_checksum(name, footer) != checksum {
        return Tail::Damaged;
    }
    let entries: Option<Index> = footer.chunks(ENTRY_LEN).map(|entry| parse_entry(name, entry)).collect();
    entries.map_or(Tail::Damaged, Tail::Index)
}

fn parse_entry(name: PackName, entry: &[u8]) -> Option<Record> {
    let (hash, mut place) = entry.split_first_chunk()?;
    Some((ContentHash::new(*hash), Place::get_in_pack(name, &mut place)?))
}

fn footer_checksum(name: PackName, footer: &[u8]) -> [u8; frame::CHECKSUM_LEN] {
    frame::checksum(name.to_string().as_bytes(), footer)
}

#[cfg(test)]
mod tests {
    use proptest::{collection, prelude::*, sample};
    use store_api::HashFunction;

    use super::*;

    fn additions(values: Vec<Vec<u8>>) -> BTreeMap<ContentHash, Addition> {
        let addition = |(i, value): (usize, Vec<u8>)| {
            let hash = HashFunction::Blake3.hash(&value);
            (hash, Addition { hash, value: value.into(), trusted: i % 3 > 0 })
        };
        values.into_iter().enumerate().map(addition).collect()
    }

    fn bytes(payload: &PutPayload) -> Vec<u8> {
        payload.iter().flat_map(|part| part.iter().copied()).collect()
    }

    fn index(tail: Tail) -> Option<Index> {
        match tail {
            Tail::Index(index) => Some(index),
            Tail::Longer(_) | Tail::Damaged => None,
        }
    }

    proptest! {
        #[test]
        fn a_pack_gives_back_what_was_put_in(values in collection::vec(collection::vec(any::<u8>(), 0..40), 0..40)) {
            let (name, additions) = (PackName::new(3).unwrap(), additions(values));
            let (payload, sealed) = seal(name, &additions);
            let pack = bytes(&payload);
            let opened = index(open(name, pack.len() as u64, &pack)).unwrap();
            prop_assert_eq!(&opened, &sealed);
            prop_assert_eq!(opened.len(), additions.len());
            for &(hash, place) in &*opened {
                let range = place.range();
                let found = &pack[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
                let value = frame::open(&frame_key(&hash, place.sound), found).unwrap();
                prop_assert_eq!(value, &additions[&hash].value[..]);
                prop_assert_eq!(place.sound, additions[&hash].trusted);
            }
        }

        #[test]
        fn a_flipped_bit_is_found(
            values in collection::vec(collection::vec(any::<u8>(), 0..20), 1..10), bit: sample::Index,
        ) {
            let name = PackName::new(3).unwrap();
            let (payload, sealed) = seal(name, &additions(values));
            let mut pack = bytes(&payload);
            let bit = bit.index(pack.len() * 8);
            pack[bit / 8] ^= 1 << (bit % 8);
            if let Some(opened) = index(open(name, pack.len() as u64, &pack)) {
                prop_assert_eq!(opened, sealed.clone());
                let damaged = sealed.iter().filter(|(hash, place)| {
                    let range = place.range();
                    let found = &pack[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
                    frame::open(&frame_key(hash, place.sound), found).is_err()
                });
                prop_assert_eq!(damaged.count(), 1);
            }
        }

        #[test]
        fn a_truncated_pack_is_found(values in collection::vec(collection::vec(any::<u8>(), 0..20), 1..10), cut: sample::Index) {
            let name = PackName::new(3).unwrap();
            let pack = bytes(&seal(name, &additions(values)).0);
            let cut = &pack[..cut.index(pack.len())];
            prop_assert!(matches!(open(name, cut.len() as u64, cut), Tail::Damaged));
        }

        #[test]
        fn a_short_tail_asks_for_the_rest(count in 1_usize..60, tail: sample::Index) {
            let name = PackName::new(3).unwrap();
            let pack = bytes(&seal(name, &additions((0..count).map(|i| i.to_string().into()).collect())).0);
            let tail = &pack[pack.len() - TRAILER_LEN - tail.index(pack.len() - TRAILER_LEN)..];
            let needed = match open(name, pack.len() as u64, tail) {
                Tail::Longer(len) => usize::try_from(len).unwrap(),
                Tail::Index(index) => {
                    prop_assert_eq!(index.len(), count);
                    return Ok(());
                }
                Tail::Damaged => return Err(TestCaseError::fail("it is whole")),
            };
            prop_assert!(needed > tail.len());
            let tail = &pack[pack.len() - needed..];
            prop_assert_eq!(index(open(name, pack.len() as u64, tail)).unwrap().len(), count);
        }
    }

    #[test]
    fn a_pack_under_another_name_is_damaged() {
        let pack = bytes(&seal(PackName::new(3).unwrap(), &additions(vec![b"value".to_vec()])).0);
        assert!(matches!(open(PackName::new(3).unwrap(), pack.len() as u64, &pack), Tail::Damaged));
    }
}
