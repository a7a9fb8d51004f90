//! Where a value lies: in which pack, and where in it. A content key's locator is a place.

use std::ops::Range;

use backend_kit::frame;
use bytes::{Buf, BufMut};
use store_api::{ContentHash, ContentKey, MAX_VALUE_LEN};

use super::name::PackName;

/// A frame in a pack: the checksum, then the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) pack: PackName,
    pub(crate) offset: u64,
    /// The value's length.
    pub(crate) len: u32,
    /// Whether who wrote it saw that the value has the hash that it is stored under (I4).
    pub(crate) sound: bool,
}

impl Place {
    pub(crate) const LEN: usize = PackName::LEN + Self::LEN_IN_PACK;
    /// Without the name of the pack.
    pub(crate) const LEN_IN_PACK: usize = 8 + 4 + 1;

    /// Which of two places of a value is the better one: that of a true value (I4), and then the later one, since a value
    /// that rotted is written again in a later epoch.
    pub(crate) fn rank(&self) -> (bool, PackName) {
        (self.sound, self.pack)
    }

    /// The key of the value that lies here.
    pub(crate) fn to_key(self, hash: &ContentHash) -> ContentKey {
        let mut locator = Vec::with_capacity(ContentKey::MAX_LOCATOR_LEN);
        self.put(&mut locator);
        let check = frame::checksum(hash.as_bytes(), &locator);
        locator.extend_from_slice(&check);
        ContentKey::with_locator(*hash, &locator).expect("a place and its checksum fit a locator")
    }

    /// The place that a key's locator names, or `None` where it was not made for this hash: it costs no request then.
    pub(crate) fn of_key(key: &ContentKey) -> Option<Self> {
        let (mut place, check) = key.locator().split_at_checked(Self::LEN)?;
        if check != frame::checksum(key.to_hash().as_bytes(), place) {
            return None;
        }
        Self::get(&mut place)
    }

    /// The bytes of the frame in the pack's object.
    pub(crate) fn range(&self) -> Range<u64> {
        self.offset..self.offset.saturating_add(frame::len(self.len as usize) as u64)
    }

    pub(crate) fn put(&self, to: &mut impl BufMut) {
        self.pack.put(to);
        self.put_in_pack(to);
    }

    pub(crate) fn put_in_pack(&self, to: &mut impl BufMut) {
        to.put_u64(self.offset);
        to.put_u32(self.len);
        to.put_u8(self.sound.into());
    }

    pub(crate) fn get(from: &mut &[u8]) -> Option<Self> {
        let pack = PackName::get(from)?;
        Self::get_in_pack(pack, from)
    }

    pub(crate) fn get_in_pack(pack: PackName, from: &mut &[u8]) -> Option<Self> {
        let (offset, len) = (from.try_get_u64().ok()?, from.try_get_u32().ok()?);
        // Nobody writes a longer one (V1), and whoever trusts it would read as much.
        if len as usize > MAX_VALUE_LEN {
            return None;
        }
        let sound = match from.try_get_u8().ok()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        Some(Self { pack, offset, len, sound })
    }
}

/// What a frame's checksum is over, besides the value: a frame stands for nothing under another hash.
pub(crate) fn frame_key(hash: &ContentHash, sound: bool) -> [u8; ContentHash::LEN + 1] {
    let mut key = [u8::from(sound); ContentHash::LEN + 1];
    key[..ContentHash::LEN].copy_from_slice(hash.as_bytes());
    key
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX_LEN: u32 = 64 * 1024 * 1024;

    proptest! {
        #[test]
        fn i5_a_locator_is_its_values_alone(
            hash: [u8; 32], other: [u8; 32], offset: u64, len in 0..=MAX_LEN, sound: bool,
            bit: proptest::sample::Index,
        ) {
            let place = Place { pack: PackName::new(7).unwrap(), offset, len, sound };
            let key = place.to_key(&hash.into());
            prop_assert_eq!(Place::of_key(&key), Some(place));
            prop_assume!(hash != other);
            let foreign = ContentKey::with_locator(other.into(), key.locator()).unwrap();
            prop_assert_eq!(Place::of_key(&foreign), None);
            let mut locator = key.locator().to_vec();
            let bit = bit.index(locator.len() * 8);
            locator[bit / 8] ^= 1 << (bit % 8);
            let forged = ContentKey::with_locator(hash.into(), &locator).unwrap();
            prop_assert_eq!(Place::of_key(&forged), None);
        }

        #[test]
        fn v1_a_place_of_more_than_a_value_is_none(hash: [u8; 32], offset: u64, len in MAX_LEN + 1..) {
            let place = Place { pack: PackName::new(7).unwrap(), offset, len, sound: true };
            prop_assert_eq!(Place::of_key(&place.to_key(&hash.into())), None);
        }
    }
}
