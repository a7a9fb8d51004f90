//! What the object of an entry holds: the value or a tombstone, and what tells one write from another.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | XXH3 over all that follows, seeded with the XXH3 of the key (A12) |
//! | 1 | the format: 1 |
//! | 1 | how many writes are named |
//! | 8 | the sequence number: the predecessor's plus one |
//! | 240 | this write, and the last one of each other instance, the latest first, 15 in all; zeros where there are less |
//! | 16 | the first write of the object; zeros where it is not known, since there was rot |
//! | 1 and the value | of a live entry; a tombstone ends before |
//!
//! So a tombstone has the size of no live frame, and a listing tells them apart. A write is named by its instance and a
//! nonce, 8 random bytes each. They make every write's bytes, and so its `ETag`, its own, where an `ETag` is a hash:
//! A, B, A does not look unchanged. Numbers are little-endian.
//!
//! An instance writes a key one write at a time. So the last one of each instance says as much as all of them, however
//! many writes of few others follow. The first write is named for ever: who creates an entry knows whether it did.

use std::{
    hash::Hasher,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use object_store::PutPayload;
use store_api::{Error, ErrorKind, Key, MAX_VALUE_LEN, Result};
use twox_hash::XxHash3_64;

/// How many writes a frame names.
const WRITES: usize = 15;
const FORMAT: u8 = 1;
const LIVE: u8 = 1;
const CHECKSUM_LEN: usize = 8;
const NAME_LEN: usize = 16;
/// The checksum, the format and the count, the sequence number, the writes and the first one: all that a tombstone is.
pub(crate) const TOMBSTONE_LEN: usize = CHECKSUM_LEN + 2 + 8 + NAME_LEN * (WRITES + 1);
const VALUE_AT: usize = TOMBSTONE_LEN + 1;
/// No frame has a later number: neither a count nor a clock comes near, and the next one can always be told.
const MAX_SEQ: u64 = 1 << 62;
/// No frame is longer.
pub(crate) const MAX_LEN: u64 = (VALUE_AT + MAX_VALUE_LEN) as u64;

/// Who writes: an instance, by a number that no other one has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Writer([u8; 8]);

impl Writer {
    /// Another one.
    pub(crate) fn unique() -> Result<Self> {
        random().map(Self)
    }
}

/// A write, by its instance and its nonce.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Name {
    writer: Writer,
    nonce: [u8; 8],
}

impl Name {
    const NONE: Self = Self { writer: Writer([0; 8]), nonce: [0; 8] };
}

/// One write of an entry.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) seq: u64,
    /// This write, and the last one of each other instance, the latest first.
    writes: Vec<Name>,
    /// The object's first write; `None` when rot came between, so that writes before it may be named nowhere.
    first: Option<Name>,
    /// `None` is a tombstone.
    pub(crate) value: Option<Bytes>,
}

impl Frame {
    /// The first write of an entry.
    pub(crate) fn first(writer: Writer, value: Option<Bytes>) -> Result<Self> {
        let name = Name { writer, nonce: random()? };
        Ok(Self { seq: 1, writes: vec![name], first: Some(name), value })
    }

    /// The write that follows this one.
    pub(crate) fn next(&self, writer: Writer, value: Option<Bytes>) -> Result<Self> {
        let own = Name { writer, nonce: random()? };
        let others = self.writes.iter().copied().filter(|write| write.writer != writer).take(WRITES - 1);
        Ok(Self { seq: self.seq + 1, writes: [own].into_iter().chain(others).collect(), first: self.first, value })
    }

    /// The write over a frame that rotted, whose sequence number cannot be read: the time in microseconds is beyond any
    /// that was counted up to, and beyond that of a rot before unless a clock is behind.
    pub(crate) fn over_rot(writer: Writer, value: Option<Bytes>) -> Result<Self> {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seq = u64::try_from(time.as_micros()).unwrap_or(MAX_SEQ).min(MAX_SEQ);
        Ok(Self { seq, first: None, ..Self::first(writer, value)? })
    }

    /// Whether `write` was ever the content of this object. `write` is the last one that its instance tried, and it was
    /// tried over `base`. `None`: so many other instances have written since that this frame no longer names it or its base.
    pub(crate) fn tells_of(&self, write: &Self, base: Option<&Self>) -> Option<bool> {
        let name = write.writes.first()?;
        if let Some(last) = self.writes.iter().find(|last| last.writer == name.writer) {
            return Some(last == name);
        }
        // The latest are named first: while one is that the base names, all are that came behind the base.
        if base.is_some_and(|base| base.writes.iter().any(|before| self.writes.contains(before))) {
            return Some(false);
        }
        let first = self.first.as_ref()?;
        // All that ever wrote are named, or the one that this can have been is.
        let is_told = self.writes.len() < WRITES || write.first.as_ref() == Some(name);
        is_told.then_some(first == name)
    }

    /// The bytes of the object. The value is not copied.
    pub(crate) fn seal(&self, key: &Key) -> PutPayload {
        let mut head = Vec::with_capacity(VALUE_AT);
        head.extend([0; CHECKSUM_LEN]);
        head.push(FORMAT);
        // At most 15.
        head.push(u8::try_from(self.writes.len()).unwrap_or(u8::MAX));
        head.extend(self.seq.to_le_bytes());
        self.writes.iter().for_each(|write| head.extend([write.writer.0, write.nonce].as_flattened()));
        head.resize(TOMBSTONE_LEN - NAME_LEN, 0);
        let first = self.first.unwrap_or(Name::NONE);
        head.extend([first.writer.0, first.nonce].as_flattened());
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
        let (names, rest) = rest.split_at_checked(NAME_LEN * WRITES)?;
        let (first, _) = rest.split_at_checked(NAME_LEN)?;
        let value = match bytes.get(TOMBSTONE_LEN) {
            None => None,
            Some(&LIVE) => Some(bytes.slice(VALUE_AT..)),
            Some(_) => return None,
        };
        let (seq, count) = (u64::from_le_bytes(*seq), usize::from(*count));
        let writes = names_in(names).take(count).collect();
        let first = names_in(first).find(|name| *name != Name::NONE);
        (*format == FORMAT && count <= WRITES && seq <= MAX_SEQ).then_some(Self { seq, writes, first, value })
    }

    /// How much memory it takes.
    pub(crate) fn weight(&self) -> usize {
        TOMBSTONE_LEN + self.value.as_ref().map_or(0, Bytes::len)
    }
}

fn names_in(bytes: &[u8]) -> impl Iterator<Item = Name> {
    let numbers = bytes.as_chunks::<8>().0.as_chunks::<2>().0;
    numbers.iter().map(|&[writer, nonce]| Name { writer: Writer(writer), nonce })
}

/// What a frame is that is none of its key.
pub(crate) fn rotten() -> Error {
    Error::new(ErrorKind::Corrupt, "the entry does not match its checksum; set it again, or restore it from a copy")
}

pub(crate) fn checksum(key: &Key, head: &[u8], value: &[u8]) -> [u8; CHECKSUM_LEN] {
    let mut hasher = XxHash3_64::with_seed(XxHash3_64::oneshot(key.as_str().as_bytes()));
    hasher.write(head);
    hasher.write(value);
    hasher.finish().to_le_bytes()
}

/// Random bytes that nobody else draws.
pub(crate) fn random<const LEN: usize>() -> Result<[u8; LEN]> {
    let mut bytes = [0; LEN];
    getrandom::fill(&mut bytes).map_err(|error| {
        Error::new(ErrorKind::Other, "the system gives no random bytes").with_source(error.to_string())
    })?;
    Ok(bytes)
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

    fn writers(count: usize) -> Vec<Writer> {
        (0..count).map(|_| Writer::unique().unwrap()).collect()
    }

    /// The last of so many writes, each of another instance.
    fn write_after(writes: usize, value: Option<Bytes>) -> Frame {
        let first = Frame::first(Writer::unique().unwrap(), None).unwrap();
        let last = writers(writes).into_iter().fold(first, |frame, writer| frame.next(writer, None).unwrap());
        Frame { value, ..last }
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
        let writer = Writer::unique().unwrap();
        let first = Frame::first(writer, Some("value".into())).unwrap();
        let again = Frame::first(writer, Some("value".into())).unwrap();
        assert_ne!(bytes_of(&first, &key()), bytes_of(&again, &key()));
    }

    /// A write upon another's.
    fn second() -> Frame {
        write_after(0, None).next(Writer::unique().unwrap(), None).unwrap()
    }

    #[test]
    fn a5_a_frame_tells_of_a_write_until_fifteen_other_instances_wrote() {
        let others = writers(15);
        let mine = second();
        let never = Frame { writes: vec![Name { nonce: [7; 8], ..mine.writes[0] }], ..mine.clone() };
        let mut last = mine.clone();
        for writer in &others[..14] {
            for _ in 0..3 {
                last = last.next(*writer, None).unwrap();
                assert_eq!((last.tells_of(&mine, None), last.tells_of(&never, None)), (Some(true), Some(false)));
            }
        }
        last = last.next(others[14], None).unwrap();
        assert_eq!((last.tells_of(&mine, None), last.seq), (None, 45));
    }

    #[test]
    fn a5_a_frame_tells_of_a_lost_race_however_many_wrote_before_it() {
        let base = write_after(40, None);
        let mine = base.next(Writer::unique().unwrap(), None).unwrap();
        let mut last = base.clone();
        for writer in writers(14) {
            last = last.next(writer, None).unwrap();
            assert_eq!(last.tells_of(&mine, Some(&base)), Some(false));
        }
        last = last.next(Writer::unique().unwrap(), None).unwrap();
        assert_eq!(last.tells_of(&mine, Some(&base)), None);
    }

    #[test]
    fn a5_a_frame_tells_of_a_write_that_landed_among_many_others() {
        let base = write_after(40, None);
        let mine = base.next(Writer::unique().unwrap(), None).unwrap();
        let mut last = mine.clone();
        for writer in writers(14) {
            last = last.next(writer, None).unwrap();
            assert_eq!(last.tells_of(&mine, Some(&base)), Some(true));
        }
    }

    #[test]
    fn a5_a_frame_that_names_all_tells_what_was_never_there() {
        assert_eq!(write_after(13, None).tells_of(&second(), None), Some(false));
        assert_eq!(write_after(14, None).tells_of(&second(), None), None);
    }

    #[test]
    fn a5_a_frame_tells_of_its_creation_for_ever() {
        let [mine, never] = [0; 2].map(|_| Frame::first(Writer::unique().unwrap(), None).unwrap());
        let last = writers(40).into_iter().fold(mine.clone(), |frame, writer| frame.next(writer, None).unwrap());
        assert_eq!((last.tells_of(&mine, None), last.tells_of(&never, None)), (Some(true), Some(false)));
    }

    #[test]
    fn a5_what_was_written_before_rot_is_not_told_of() {
        let over = Frame::over_rot(Writer::unique().unwrap(), None).unwrap();
        let heir = over.next(Writer::unique().unwrap(), None).unwrap();
        let heir = Frame::open(&key(), &bytes_of(&heir, &key())).ok().unwrap();
        for before in [second(), write_after(0, None)] {
            assert_eq!((over.tells_of(&before, None), heir.tells_of(&before, None)), (None, None));
        }
        assert_eq!(heir.tells_of(&over, None), Some(true));
    }

    #[test]
    fn a12_a_number_that_nothing_can_follow_is_no_frames() {
        let frame = Frame { seq: u64::MAX, ..write_after(1, Some("value".into())) };
        assert!(Frame::open(&key(), &bytes_of(&frame, &key())).is_err());
    }

    #[test]
    fn a_write_over_rot_is_beyond_any_that_was_counted() {
        let over = Frame::over_rot(Writer::unique().unwrap(), None).unwrap();
        assert!(over.seq > 1 << 40);
    }
}
