//! What is done when a store is opened: its log is read into maps, and written anew where that is needed.
//!
//! Needed it is where less than half of the log is live, and where it was not closed. In that case a crash may have torn
//! its end, and a sync may have failed: what is read back of it then comes from the page cache, and a second sync would
//! pass without writing it (E3). A log that was closed had been synced before it was marked, without a failure.
//!
//! Writing anew is safe at each step. The new log is written beside the old one and synced, then takes its name, then the
//! folder is synced, all before anything is acknowledged. A crash on the way leaves the old log under its name, or the
//! new one, and both say the same; what else it leaves is overwritten by the next that is written anew.

use bytes::Bytes;
use store_api::{ContentHash, HashFunction, Key, Result};

use crate::{
    folder::Folder,
    group::{Group, Kind, malformed},
    log::Log,
    state::Maps,
};

/// How many bytes of records a group has that is written anew, at least: what is copied at once is in memory.
const GROUP_LEN: usize = 1024 * 1024;

/// What was found.
pub(crate) struct Recovered {
    pub(crate) log: Log,
    pub(crate) hash: HashFunction,
    pub(crate) maps: Maps,
}

/// Reads the log of a folder, or creates it.
pub(crate) fn recover(folder: &Folder, wanted: Option<HashFunction>) -> Result<Recovered> {
    let mut maps = Maps::default();
    let Some(file) = folder.log()? else {
        let hash = wanted.unwrap_or_default();
        return Ok(Recovered { log: write_anew(folder, hash, |_| Ok(()))?, hash, maps });
    };
    let (mut log, hash) = Log::open(file, wanted)?;
    while let Some(group) = log.read()? {
        replay(&group, &mut maps)?;
    }
    if !log.was_closed()? || maps.len_in_log() < log.len() / 2 {
        log = write_anew(folder, hash, |anew| copy(&log, &mut maps, anew))?;
    }
    Ok(Recovered { log, hash, maps })
}

fn replay(group: &Group, maps: &mut Maps) -> Result<()> {
    for record in group.iter() {
        let record = record?;
        match record.kind {
            Kind::Content => {
                let hash = ContentHash::try_from(record.name).map_err(|_| malformed())?;
                maps.content.insert(hash, record.place);
            }
            Kind::Set => {
                maps.replace(entry_key(record.name)?, Some(Bytes::copy_from_slice(record.value)));
            }
            Kind::Remove => {
                maps.replace(entry_key(record.name)?, None);
            }
        }
    }
    Ok(())
}

fn entry_key(name: &[u8]) -> Result<Key> {
    let path = std::str::from_utf8(name).map_err(|_| malformed())?;
    Key::new(path).map_err(|_| malformed())
}

/// A new log with what `fill` puts into it, synced and in its place.
fn write_anew(folder: &Folder, hash: HashFunction, fill: impl FnOnce(&mut Log) -> Result<()>) -> Result<Log> {
    let mut log = Log::create(folder.new_log()?, hash)?;
    fill(&mut log)?;
    log.sync()?;
    folder.put_in_place()?;
    Ok(log)
}

/// Copies what is live, content before the entries that may name it (X1). The maps then say where it lies in the copy.
fn copy(log: &Log, maps: &mut Maps, anew: &mut Log) -> Result<()> {
    let values = log.values();
    let mut group = anew.begin();
    for (hash, place) in &mut maps.content {
        *place = group.put(Kind::Content, hash.as_bytes(), &values.read(*place)?);
        group = append_if_long(group, anew)?;
    }
    for (key, entry) in &maps.entries {
        group.put(Kind::Set, key.as_str().as_bytes(), &entry.value);
        group = append_if_long(group, anew)?;
    }
    if group.is_empty() { Ok(()) } else { anew.append(group) }
}

fn append_if_long(group: Group, log: &mut Log) -> Result<Group> {
    if group.len() < GROUP_LEN {
        return Ok(group);
    }
    log.append(group)?;
    Ok(log.begin())
}
