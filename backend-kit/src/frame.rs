//! Checked frames: an entry's bytes with a checksum over its key and value, so that bytes that rotted are found (A12).
//!
//! A frame is 8 bytes, little-endian, of XXH3 over the value, seeded with the XXH3 of the key; then the value.

use store_api::{Error, ErrorKind, Result};
use twox_hash::XxHash3_64;

/// The length of a checksum.
pub const CHECKSUM_LEN: usize = 8;

/// The frame of a value under a key.
#[must_use]
pub fn seal(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(CHECKSUM_LEN + value.len());
    frame.extend_from_slice(&checksum(key, value));
    frame.extend_from_slice(value);
    frame
}

/// Makes a frame of bytes whose value is in its place already, behind room for the checksum: `len(0)` bytes.
///
/// # Panics
///
/// When there is no room for the checksum.
pub fn seal_in_place(key: &[u8], frame: &mut [u8]) {
    let (room, value) = frame.split_at_mut(CHECKSUM_LEN);
    room.copy_from_slice(&checksum(key, value));
}

/// The value in a frame, borrowed.
///
/// # Errors
///
/// `Corrupt` when it is not a frame of that key.
pub fn open<'f>(key: &[u8], frame: &'f [u8]) -> Result<&'f [u8]> {
    frame
        .split_first_chunk()
        .and_then(|(sum, value)| (*sum == checksum(key, value)).then_some(value))
        .ok_or_else(|| Error::new(ErrorKind::Corrupt, "the entry does not match its checksum; restore it from a copy"))
}

/// The length of the frame of a value that is this long.
#[must_use]
pub const fn len(value_len: usize) -> usize {
    CHECKSUM_LEN + value_len
}

/// The first bytes of a frame, for a caller that writes them and the value as two parts, without copying the value.
#[must_use]
pub fn checksum(key: &[u8], value: &[u8]) -> [u8; CHECKSUM_LEN] {
    XxHash3_64::oneshot_with_seed(XxHash3_64::oneshot(key), value).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a12_a_flipped_bit_is_found(key: Vec<u8>, value: Vec<u8>, bit: proptest::sample::Index) {
            let frame = seal(&key, &value);
            prop_assert_eq!(open(&key, &frame).unwrap(), &value[..]);
            let mut in_place = [&[0; len(0)][..], &value].concat();
            seal_in_place(&key, &mut in_place);
            prop_assert_eq!(&in_place, &frame);
            let bit = bit.index(frame.len() * 8);
            let mut rotten = frame.clone();
            rotten[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(open(&key, &rotten).unwrap_err().kind(), ErrorKind::Corrupt);
        }

        #[test]
        fn a12_a_frame_belongs_to_its_key(key: Vec<u8>, other: Vec<u8>, value: Vec<u8>) {
            prop_assume!(key != other);
            prop_assert!(open(&other, &seal(&key, &value)).is_err());
        }
    }

    #[test]
    fn a12_a_truncated_frame_is_found() {
        let frame = seal(b"key", b"value");
        for len in 0..frame.len() {
            assert!(open(b"key", &frame[..len]).is_err(), "{len}");
        }
    }
}
