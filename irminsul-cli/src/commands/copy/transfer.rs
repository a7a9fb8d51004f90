//! Moving the halves of a store: content in batches, entries many at a time, each half bounded in memory.

use std::{fmt, pin::pin};

use futures_util::{StreamExt, TryStreamExt, stream};
use indicatif::HumanCount;
use irminsul::{
    AtomicWrite, Bytes, ContentKey, ContentRead, EntryRead, EntryStream, Indexable, Key, Result, TestAndSet,
};
use serde::Serialize;

use super::super::finding::{Findings, Item};
use crate::{
    batch_writer::{BatchWriter, is_present},
    checked_read::{READS, find_checked},
    failure::Failure,
    progress::{Progress, Tally},
};

/// Entries are read until they have this many bytes, then written together.
const CHUNK_BYTES: usize = 8 * 1024 * 1024;
/// So many entries are written at a time: they share the syncs of the store.
const CHUNK_ENTRIES: usize = 256;

/// What became of one half.
#[derive(Default, Serialize)]
pub(super) struct Moved {
    pub(super) copied: Tally,
    /// What DST had already.
    pub(super) present: u64,
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} copied, {} already there", self.copied, HumanCount(self.present))
    }
}

/// Copies the content that `target` does not have. What is corrupt is a finding, and is left out.
pub(super) async fn copy_content(
    source: &dyn ContentRead,
    target: &dyn Indexable,
    findings: &mut Findings<'_>,
) -> Result<Moved, Failure> {
    let mut progress = Progress::start("copying content");
    let mut writer = BatchWriter::new(target);
    let mut present = 0;
    let fetch = async |key: Result<ContentKey>| {
        let key = key?;
        if is_present(target, &key.to_hash()).await? {
            return Ok(None);
        }
        find_checked(source, &key).await.map(|value| Some((key.to_hash(), value)))
    };
    let mut fetched = pin!(source.keys().map(fetch).buffer_unordered(READS));
    while let Some(fetched) = fetched.next().await {
        match findings.sound(Item::Content, fetched, &progress)? {
            Some(Some((hash, value))) => {
                progress.add(value.len());
                writer.add(hash, value).await?;
            }
            Some(None) => present += 1,
            None => {}
        }
        if writer.is_due() {
            writer.commit().await?;
        }
    }
    writer.commit().await?;
    Ok(Moved { copied: progress.done(), present })
}

/// Copies the entries. One that `target` has with another value stays, unless it is to be overwritten.
pub(super) async fn copy_entries(
    source: &dyn EntryRead,
    target: &dyn AtomicWrite,
    overwrite: bool,
    findings: &mut Findings<'_>,
) -> Result<Moved, Failure> {
    let mut progress = Progress::start("copying entries");
    let mut entries = source.entries(&Key::root());
    let mut present = 0;
    loop {
        let chunk = read_chunk(&mut entries, findings, &progress).await?;
        if chunk.is_empty() {
            return Ok(Moved { copied: progress.done(), present });
        }
        let write = async |(key, value): (Key, Bytes)| copy_entry(target, &key, value, overwrite).await;
        let mut written = pin!(stream::iter(chunk).map(write).buffer_unordered(CHUNK_ENTRIES));
        while let Some(written) = written.try_next().await? {
            match written {
                Some(bytes) => progress.add(bytes),
                None => present += 1,
            }
        }
    }
}

/// The next entries, none at the end. Those that are corrupt are findings, and are left out.
async fn read_chunk(
    entries: &mut EntryStream,
    findings: &mut Findings<'_>,
    progress: &Progress,
) -> Result<Vec<(Key, Bytes)>, Failure> {
    let (mut chunk, mut bytes) = (Vec::new(), 0);
    while chunk.len() < CHUNK_ENTRIES && bytes < CHUNK_BYTES {
        let Some(entry) = entries.next().await else { break };
        if let Some((key, value)) = findings.sound(Item::Entry, entry, progress)? {
            bytes += value.len();
            chunk.push((key, value));
        }
    }
    Ok(chunk)
}

/// The size of what was written, or `None` where `target` keeps what it has: the same value, or, unless it is to be
/// overwritten, another one, which the comparison at the end tells.
async fn copy_entry(target: &dyn AtomicWrite, key: &Key, value: Bytes, overwrite: bool) -> Result<Option<usize>> {
    let len = value.len();
    match target.test_and_set(key, None, Some(value.clone())).await? {
        TestAndSet::Applied => Ok(Some(len)),
        TestAndSet::Mismatch { current: Some(current) } if overwrite && current != value => {
            target.set(key, value).await?;
            Ok(Some(len))
        }
        TestAndSet::Mismatch { .. } => Ok(None),
    }
}
