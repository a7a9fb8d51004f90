//! A group of records: what is appended to the log as one, and how a record is written.
//!
//! A record is its kind (1 byte), the length of its name (1), the length of its value (4, little-endian), the name, and
//! the value. It has no checksum: the group has one, in the [`frame`] around its records.

use std::iter;

use backend_kit::frame;
use store_api::{Error, ErrorKind, Result};

/// How long the head of a group is: three numbers, sealed.
pub(crate) const HEAD_LEN: usize = frame::len(3 * 8);

/// Where the records of a group lie, seen from its beginning.
pub(crate) const RECORDS_AT: u64 = (HEAD_LEN + frame::len(0)) as u64;

const RECORD_HEAD_LEN: usize = 6;

/// What a record does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An entry is set.
    Set = 1,
    /// An entry is removed.
    Remove = 2,
    /// A value is stored under its hash.
    Content = 3,
}

/// Where a value lies in the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    position: u64,
    len: u32,
}

impl Place {
    pub(crate) fn position(self) -> u64 {
        self.position
    }

    pub(crate) fn len(self) -> usize {
        self.len as usize
    }
}

/// A record as it is read.
pub(crate) struct Record<'g> {
    pub(crate) kind: Kind,
    pub(crate) name: &'g [u8],
    pub(crate) value: &'g [u8],
    pub(crate) place: Place,
}

/// How many bytes a record has.
pub(crate) fn record_len(name: &[u8], value_len: usize) -> u64 {
    (RECORD_HEAD_LEN + name.len() + value_len) as u64
}

/// Records that belong together.
pub(crate) struct Group {
    at: u64,
    /// The records, behind room for their checksum.
    body: Vec<u8>,
}

impl Group {
    /// An empty one, which is to lie at `at`.
    pub(crate) fn begin(at: u64) -> Self {
        Self { at, body: vec![0; frame::len(0)] }
    }

    /// The one with this head and body, if the body is whole.
    pub(crate) fn open(at: u64, head: &[u8], body: Vec<u8>) -> Option<Self> {
        let whole = frame::open(head, &body).is_ok();
        whole.then_some(Self { at, body })
    }

    /// Its body, to be written behind the head.
    pub(crate) fn seal(&mut self, head: &[u8]) -> &[u8] {
        frame::seal_in_place(head, &mut self.body);
        &self.body
    }

    fn records(&self) -> &[u8] {
        &self.body[frame::len(0)..]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records().is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.records().len()
    }

    /// Where the next group lies.
    pub(crate) fn end(&self) -> u64 {
        self.at + RECORDS_AT + self.records().len() as u64
    }

    /// Adds a record. Names have at most 255 bytes, and values at most 64 MiB (K1, V1).
    pub(crate) fn put(&mut self, kind: Kind, name: &[u8], value: &[u8]) -> Place {
        let len = u32::try_from(value.len()).expect("a value has at most 64 MiB");
        self.body.extend([kind as u8, u8::try_from(name.len()).expect("a name has at most 255 bytes")]);
        self.body.extend(len.to_le_bytes());
        self.body.extend_from_slice(name);
        self.body.extend_from_slice(value);
        Place { position: self.end() - u64::from(len), len }
    }

    /// The records, in the order in which they were put.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Result<Record<'_>>> {
        let mut rest = self.records();
        iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let record = self.split_record(&mut rest);
            if record.is_none() {
                rest = &[];
            }
            Some(record.ok_or_else(malformed))
        })
    }

    fn split_record<'g>(&self, rest: &mut &'g [u8]) -> Option<Record<'g>> {
        let (&[kind, name_len, a, b, c, d], behind) = rest.split_first_chunk()?;
        let kind = [Kind::Set, Kind::Remove, Kind::Content].into_iter().find(|known| *known as u8 == kind)?;
        let len = u32::from_le_bytes([a, b, c, d]);
        let (name, behind) = behind.split_at_checked(name_len.into())?;
        let (value, behind) = behind.split_at_checked(len.try_into().ok()?)?;
        *rest = behind;
        let position = self.end() - (behind.len() + value.len()) as u64;
        Some(Record { kind, name, value, place: Place { position, len } })
    }
}

/// `Corrupt`: a record that no version of this library wrote.
pub(crate) fn malformed() -> Error {
    Error::new(ErrorKind::Corrupt, "the log has a malformed record; restore it from a copy")
}
