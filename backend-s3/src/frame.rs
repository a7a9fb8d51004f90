//! What the object of an entry holds: the value or a tombstone, and what tells one write from another.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | XXH3 over all that follows, seeded with the XXH3 of the key (A12) |
//! | 1 | the format: 1 |
//! | 1 | how many predecessors are named |
//! | 8 | the sequence number: the predecessor's plus one |
//! | 16 | the nonce of this write |
//! | 256 | the nonces of the last 16 predecessors, the latest first; zeros where there are less |
//! | 1 and the value | of a live entry; a tombstone ends before |
//!
//! So a tombstone has the size of no live frame, and a listing tells them apart. The nonce makes every write's bytes,
//! and so its `ETag`, its own, where an `ETag` is a hash: A, B, A does not look unchanged. Numbers are little-endian.

use std::{
    hash::Hasher,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use object_store::PutPayload;
use store_api::{Error, ErrorKind, Key, Result};
use twox_hash::XxHash3_64;

/// How many predecessors a frame names.
const PREDECESSORS: usize = 16;
const FORMAT: u8 = 1;
const LIVE: u8 = 1;
const CHECKSUM_LEN: usize = 8;
/// The checksum, the format and the count, the sequence number, the nonces: all that a tombstone is.
pub(crate) const TOMBSTONE_LEN: usize = CHECKSUM_LEN + 2 + 8 + 16 + 16 * PREDECESSORS;
const VALUE_AT: usize = TOMBSTONE_LEN + 1;

pub(crate) type Nonce = [u8; 16];

/// One write of an entry.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) seq: u64,
    nonce: Nonce,
    /// The latest first.
    predecessors: Vec<Nonce>,
    /// `None` is a tombstone.
    pub(crate) value: Option<Bytes>,
}

impl Frame {
    /// The first write of an entry.
    pub(crate) fn first(value: Option<Bytes>) -> Result<Self> {
        Ok(Self { seq: 1, nonce: nonce()?, predecessors: Vec::new(), value })
    }

    /// The write that follows this one.
    pub(crate) fn next(&self, value: Option<Bytes>) -> Result<Self> {
        let predecessors = [&self.nonce].into_iter().chain(&self.predecessors).take(PREDECESSORS);
        Ok(Self { seq: self.seq + 1, nonce: nonce()?, predecessors: predecessors.copied().collect(), value })
    }

    /// The write over a frame that rotted, whose sequence number cannot be read: the time in microseconds is beyond any
    /// that was counted up to, and beyond that of a rot before.
    pub(crate) fn over_rot(value: Option<Bytes>) -> Result<Self> {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seq = u64::try_from(time.as_micros()).unwrap_or(u64::MAX / 2);
        Ok(Self { seq, ..Self::first(value)? })
    }

    /// Whether this is that write, or came after it.
    pub(crate) fn descends_from(&self, write: &Self) -> bool {
        self.nonce == write.nonce || self.predecessors.contains(&write.nonce)
    }

    /// Whether it names every write since the object was made, or was written over rot.
    pub(crate) fn names_all_before(&self) -> bool {
        self.predecessors.len() < PREDECESSORS
    }

    /// The bytes of the object. The value is not copied.
    pub(crate) fn seal(&self, key: &Key) -> PutPayload {
        let mut head = Vec::with_capacity(VALUE_AT);
        head.extend([0; CHECKSUM_LEN]);
        head.push(FORMAT);
        // At most 16.
        head.push(u8::try_from(self.predecessors.len()).unwrap_or(u8::MAX));
        head.extend(self.seq.to_le_bytes());
        head.extend(self.nonce);
        head.extend(self.predecessors.iter().flatten());
        head.resize(TOMBSTONE_LEN, 0);
        if self.value.is_some() {
            head.push(LIVE);
        }
        let value = self.value.clone().unwrap_or_default();
        let sum = checksum(key, &head[CHECKSUM_LEN..], &value);
        head[..CHECKSUM_LEN].copy_from_slice(&sum);
        [Bytes::from(head), value].into_iter().collect()
    }

    /// The write that these bytes are, which the value shares.
    ///
    /// # Errors
    ///
    /// `Corrupt` when they are not a frame of that key.
    pub(crate) fn open(key: &Key, bytes: &Bytes) -> Result<Self> {
        Self::parse(key, bytes).ok_or_else(rotten)
    }

    fn parse(key: &Key, bytes: &Bytes) -> Option<Self> {
        let (sum, rest) = bytes.split_first_chunk::<CHECKSUM_LEN>()?;
        if *sum != checksum(key, rest, &[]) {
            return None;
        }
        let ([format, count], rest) = rest.split_first_chunk()?;
        let (seq, rest) = rest.split_first_chunk()?;
        let (nonce, rest) = rest.split_first_chunk()?;
        let (nonces, _) = rest.split_at_checked(16 * PREDECESSORS)?;
        let count = usize::from(*count);
        let value = match bytes.get(TOMBSTONE_LEN) {
            None => None,
            Some(&LIVE) => Some(bytes.slice(VALUE_AT..)),
            Some(_) => return None,
        };
        let predecessors = nonces.as_chunks().0.get(..count)?.to_vec();
        (*format == FORMAT).then_some(Self { seq: u64::from_le_bytes(*seq), nonce: *nonce, predecessors, value })
    }

    /// How much memory it takes.
    pub(crate) fn weight(&self) -> usize {
        TOMBSTONE_LEN + self.value.as_ref().map_or(0, Bytes::len)
    }
}

/// What a frame is that is none of its key.
pub(crate) fn rotten() -> Error {
    Error::new(ErrorKind::Corrupt, "the entry does not match its checksum; set it again, or restore it from a copy")
}

fn checksum(key: &Key, head: &[u8], value: &[u8]) -> [u8; CHECKSUM_LEN] {
    let mut hasher = XxHash3_64::with_seed(XxHash3_64::oneshot(key.as_str().as_bytes()));
    hasher.write(head);
    hasher.write(value);
    hasher.finish().to_le_bytes()
}

/// Random bytes that nobody else draws.
pub(crate) fn nonce() -> Result<Nonce> {
    let mut nonce = Nonce::default();
    getrandom::fill(&mut nonce).map_err(|error| {
        Error::new(ErrorKind::Other, "the system gives no random bytes").with_source(error.to_string())
    })?;
    Ok(nonce)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> Key {
        Key::new("a/b").unwrap()
    }

    fn bytes_of(frame: &Frame, key: &Key) -> Bytes {
        frame.seal(key).into()
    }

    /// The last of so many writes.
    fn write_after(writes: usize, value: Option<Bytes>) -> Frame {
        let mut frame = Frame::first(None).unwrap();
        for _ in 0..writes {
            frame = frame.next(None).unwrap();
        }
        Frame { value, ..frame }
    }

    fn value() -> impl Strategy<Value = Option<Bytes>> {
        proptest::option::of(proptest::collection::vec(any::<u8>(), 0..600).prop_map(Bytes::from))
    }

    proptest! {
        #[test]
        fn a_frame_round_trips(value in value(), writes in 0_usize..40) {
            let frame = write_after(writes, value);
            let bytes = bytes_of(&frame, &key());
            prop_assert_eq!(bytes.len() == TOMBSTONE_LEN, frame.value.is_none());
            prop_assert!(Frame::open(&key(), &bytes).unwrap() == frame);
        }

        #[test]
        fn a12_a_flipped_bit_is_found(value in value(), writes in 0_usize..20, bit: proptest::sample::Index) {
            let mut rotten = bytes_of(&write_after(writes, value), &key()).to_vec();
            let bit = bit.index(rotten.len() * 8);
            rotten[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Frame::open(&key(), &rotten.into()).err().unwrap().kind(), ErrorKind::Corrupt);
        }

        #[test]
        fn a12_a_cut_or_longer_frame_is_found(value in value(), len: proptest::sample::Index, more in proptest::collection::vec(any::<u8>(), 1..9)) {
            let bytes = bytes_of(&write_after(3, value), &key());
            let cut = bytes.slice(..len.index(bytes.len()));
            prop_assert!(Frame::open(&key(), &cut).is_err());
            prop_assert!(Frame::open(&key(), &[&bytes[..], &more].concat().into()).is_err());
        }

        #[test]
        fn any_bytes_are_a_frame_or_corrupt(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(Frame::open(&key(), &bytes.into()).is_err());
        }
    }

    #[test]
    fn a12_a_frame_belongs_to_its_key() {
        let bytes = bytes_of(&write_after(2, Some("value".into())), &key());
        assert!(Frame::open(&Key::new("a/c").unwrap(), &bytes).is_err());
    }

    #[test]
    fn equal_values_make_different_frames() {
        let first = Frame::first(Some("value".into())).unwrap();
        assert_ne!(bytes_of(&first, &key()), bytes_of(&Frame::first(Some("value".into())).unwrap(), &key()));
    }

    #[test]
    fn a5_a_frame_knows_its_last_sixteen_predecessors_and_whether_they_are_all() {
        let first = Frame::first(None).unwrap();
        let mut last = first.clone();
        for writes in 1..=16 {
            last = last.next(None).unwrap();
            assert_eq!(last.seq, writes + 1);
            assert!(last.descends_from(&first) && !first.descends_from(&last));
        }
        assert!(!last.names_all_before());
        let beyond = last.next(None).unwrap();
        assert!(!beyond.descends_from(&first) && beyond.descends_from(&last));
    }

    #[test]
    fn a_write_over_rot_is_beyond_any_that_was_counted() {
        let over = Frame::over_rot(None).unwrap();
        assert!(over.seq > 1 << 40 && over.names_all_before());
    }
}
