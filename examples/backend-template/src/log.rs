//! The log: a file of groups of records, appended, each group whole or not at all.
//!
//! ```text
//! file   = header group*
//! header = magic, then sealed with it: format, salt, hash function
//! group  = head body
//! head   = sealed with the salt: where it lies, the length of its records, up to where the log was synced
//! body   = sealed with the head: record*
//! ```
//!
//! Integers are little-endian; what is sealed is a [`frame`] of the kit, a checksum before the bytes. The salt is drawn
//! when the file is created, so that no value that somebody stores can pass for a group. A group without records is the
//! mark of a log that was closed: everything before it had been synced.
//!
//! # What a crash left behind, and what has rotted
//!
//! A group that is not whole was torn by a crash if it had not been synced, and then never acknowledged (or, where
//! writes are not synced, acknowledged for less than that): it is dropped, with what is behind it. If it had been synced
//! it has rotted: that is `Corrupt`. Each head says up to where the log was synced when it was written, so a later group
//! tells the one from the other. What no later group vouches for, the last group of a log that was not closed, passes
//! for torn.

use std::{
    borrow::Cow,
    fs::File,
    hash::{BuildHasher, Hasher, RandomState},
    io,
    os::unix::fs::FileExt,
    sync::Arc,
};

use backend_kit::{check_hash, frame, io_error};
use bytes::Bytes;
use store_api::{Error, ErrorKind, HashFunction, Result};

use crate::group::{Group, HEAD_LEN, Place, RECORDS_AT, malformed};

const MAGIC: [u8; 16] = *b"irminsul log\r\n\x1a\n";
const FORMAT: u64 = 1;
const HEADER_LEN: usize = MAGIC.len() + frame::len(3 * 8);

/// How much of a damaged log is searched at once.
const SEARCHED: usize = 1024 * 1024;

/// A log that is read to its end, then appended to.
pub(crate) struct Log {
    values: Values,
    salt: [u8; 8],
    /// Up to where its groups are whole.
    end: u64,
    /// Up to where it is known to be synced.
    synced: u64,
    /// Whether the last group is the mark of a log that was closed.
    closed: bool,
    /// After a failed sync nobody knows what is on the disk, whatever the next one says (E3).
    sync_failed: bool,
}

impl Log {
    /// An empty log in an empty file.
    pub(crate) fn create(file: File, hash: HashFunction) -> Result<Self> {
        let log = Self::new(file, RandomState::new().build_hasher().finish().to_le_bytes());
        let mut fields = FORMAT.to_le_bytes().to_vec();
        fields.extend(log.salt);
        fields.extend(hash_field(hash));
        log.write(0, &[&MAGIC[..], &frame::seal(&MAGIC, &fields)].concat())?;
        Ok(log)
    }

    /// The log in a file, to be read from its beginning. What it is not is refused (L5).
    pub(crate) fn open(file: File, wanted: Option<HashFunction>) -> Result<(Self, HashFunction)> {
        let mut header = [0; HEADER_LEN];
        match file.read_exact_at(&mut header, 0) {
            Ok(()) if header.starts_with(&MAGIC) => {}
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(unreadable(error)),
            _ => return Err(incompatible("the file `log` is not one of this kind; name another folder")),
        }
        let [format, salt, hash] = three(frame::open(&MAGIC, &header[MAGIC.len()..])?);
        let format = u64::from_le_bytes(format);
        if format != FORMAT {
            return Err(incompatible(format!(
                "the log has format {format}, and this library reads format {FORMAT}; open it with the one that wrote it"
            )));
        }
        let hash = HashFunction::ALL.iter().copied().find(|function| hash_field(*function) == hash);
        let hash =
            hash.ok_or_else(|| incompatible("the log hashes with a function that this library does not have"))?;
        Ok((Self::new(file, salt), check_hash(wanted, hash)?))
    }

    fn new(file: File, salt: [u8; 8]) -> Self {
        let values = Values(Arc::new(file));
        Self { values, salt, end: HEADER_LEN as u64, synced: 0, closed: false, sync_failed: false }
    }

    /// The values in this log, to be read beside it.
    pub(crate) fn values(&self) -> Values {
        self.values.clone()
    }

    /// How many bytes its groups have.
    pub(crate) fn len(&self) -> u64 {
        self.end - HEADER_LEN as u64
    }

    /// Reads the next group, or none behind the last whole one.
    pub(crate) fn read(&mut self) -> Result<Option<Group>> {
        let len = self.values.file_len()?;
        let Some((group, synced)) = self.group_at(self.end, len)? else {
            if self.end < len && self.was_synced(self.end, len)? {
                let message = "the log is damaged before its end; restore it from a copy";
                return Err(Error::new(ErrorKind::Corrupt, message));
            }
            return Ok(None);
        };
        self.end = group.end();
        self.synced = synced;
        self.closed = group.is_empty();
        Ok(Some(group))
    }

    /// The group at `position`, if it is whole, and up to where the log had been synced before it.
    fn group_at(&self, position: u64, file_len: u64) -> Result<Option<(Group, u64)>> {
        let Some(room) = file_len.checked_sub(position + RECORDS_AT) else { return Ok(None) };
        let head = self.values.bytes_at(position, HEAD_LEN)?;
        let Some((len, synced)) = self.open_head(position, &head).filter(|(len, _)| *len <= room) else {
            return Ok(None);
        };
        let body_len = frame::len(usize::try_from(len).map_err(|_| malformed())?);
        let body = self.values.bytes_at(position + HEAD_LEN as u64, body_len)?;
        Ok(Group::open(position, &head, body).map(|group| (group, synced)))
    }

    /// Whether any group behind `position` says that what is there had been synced before it was written.
    fn was_synced(&self, position: u64, file_len: u64) -> Result<bool> {
        let mut from = position + 1;
        while from < file_len {
            let len = usize::try_from(file_len - from).map_or(SEARCHED, |left| left.min(SEARCHED + HEAD_LEN - 1));
            let bytes = self.values.bytes_at(from, len)?;
            let mut heads = bytes.windows(HEAD_LEN).zip(from..).filter_map(|(head, at)| self.open_head(at, head));
            if heads.any(|(_, synced)| synced > position) {
                return Ok(true);
            }
            from += SEARCHED as u64;
        }
        Ok(false)
    }

    /// Whether the log ends with the mark of one that was closed: what it says then is on the disk.
    pub(crate) fn was_closed(&self) -> Result<bool> {
        Ok(self.closed && self.end == self.values.file_len()?)
    }

    /// A group that is to be the next one.
    pub(crate) fn begin(&self) -> Group {
        Group::begin(self.end)
    }

    /// Appends a group. Where it fails, the next one takes its place.
    pub(crate) fn append(&mut self, mut group: Group) -> Result<()> {
        let head = self.seal_head(self.end, group.len() as u64);
        self.write(self.end, &head)?;
        self.write(self.end + HEAD_LEN as u64, group.seal(&head))?;
        self.end = group.end();
        self.closed = group.is_empty();
        Ok(())
    }

    /// Syncs what was appended.
    pub(crate) fn sync(&mut self) -> Result<()> {
        if self.synced < self.end {
            let synced = self.values.0.sync_data();
            self.sync_failed |= synced.is_err();
            synced.map_err(|error| io_error("the log cannot be synced", error))?;
            self.synced = self.end;
        }
        Ok(())
    }

    /// Syncs it, and marks it as closed, so that the next open need not write it anew. The mark itself need not last.
    pub(crate) fn close(&mut self) -> Result<()> {
        if self.closed || self.sync_failed {
            return Ok(());
        }
        self.sync()?;
        self.append(self.begin())
    }

    fn seal_head(&self, position: u64, len: u64) -> Vec<u8> {
        frame::seal(&self.salt, &[position, len, self.synced].map(u64::to_le_bytes).concat())
    }

    /// The length of the records, and up to where the log was synced, in a head that lies at `position`.
    fn open_head(&self, position: u64, head: &[u8]) -> Option<(u64, u64)> {
        // Told apart without its checksum, since a search tries every byte.
        if head[frame::len(0)..][..8] != position.to_le_bytes() {
            return None;
        }
        let [_, len, synced] = three(frame::open(&self.salt, head).ok()?).map(u64::from_le_bytes);
        Some((len, synced))
    }

    fn write(&self, position: u64, bytes: &[u8]) -> Result<()> {
        let written = self.values.0.write_all_at(bytes, position);
        written.map_err(|error| io_error("the log cannot be written", error))
    }
}

/// The values in a log, read by their place. Nothing of it is kept in memory.
#[derive(Clone)]
pub(crate) struct Values(Arc<File>);

impl Values {
    pub(crate) fn read(&self, place: Place) -> Result<Bytes> {
        self.bytes_at(place.position(), place.len()).map(Bytes::from)
    }

    fn bytes_at(&self, position: u64, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.0.read_exact_at(&mut bytes, position).map_err(unreadable)?;
        Ok(bytes)
    }

    fn file_len(&self) -> Result<u64> {
        self.0.metadata().map(|file| file.len()).map_err(unreadable)
    }
}

fn hash_field(hash: HashFunction) -> [u8; 8] {
    let mut field = [0; 8];
    field[..hash.name().len()].copy_from_slice(hash.name().as_bytes());
    field
}

/// The fields of a header or a head, which are sealed, so that there are as many as there should be.
fn three(fields: &[u8]) -> [[u8; 8]; 3] {
    let (fields, _) = fields.as_chunks();
    [fields[0], fields[1], fields[2]]
}

fn incompatible(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Incompatible, message)
}

fn unreadable(error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return Error::new(ErrorKind::Corrupt, "the log was cut short; restore it from a copy").with_source(error);
    }
    io_error("the log cannot be read", error)
}
