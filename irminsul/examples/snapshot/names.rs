//! The names of snapshots: `snapshots/NAME` holds the content key of the latest one.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use indicatif::{HumanBytes, HumanCount, HumanDuration};
use irminsul::{Bytes, ContentKey, ContentRead, EntryRead, ErrorKind, Event, Init, Key, prelude::*};

use crate::format::Snapshot;

const NAMES: &str = "snapshots";

/// The entry of a name.
pub(crate) fn key(name: &str) -> Result<Key> {
    ensure!(!name.is_empty(), "a snapshot needs a name");
    Ok(Key::new(NAMES)?.join(name)?)
}

/// The content key that a name holds.
pub(crate) fn target(value: &Bytes) -> Result<ContentKey> {
    Ok(std::str::from_utf8(value).context("this entry is not the name of a snapshot")?.parse()?)
}

/// The snapshot of a name.
pub(crate) async fn find(names: &dyn EntryRead, content: &dyn ContentRead, name: &str) -> Result<Snapshot> {
    let value = names.find(&key(name)?).await?;
    let value = value.with_context(|| format!("there is no snapshot {name:?}; `list` shows those that there are"))?;
    Snapshot::read(content, &target(&value)?).await
}

/// Prints every snapshot.
pub(crate) async fn list(names: &dyn EntryRead, content: &dyn ContentRead) -> Result<()> {
    let all = Key::new(NAMES)?;
    for key in names.list_sorted(&all).await? {
        // Somebody may have removed it since it was listed.
        let Some(value) = names.find(&key).await? else { continue };
        let snapshot = Snapshot::read(content, &target(&value)?).await.with_context(|| key.to_string())?;
        let name = key.strip_prefix(&all).unwrap_or(key);
        println!("{}\t{}", name.as_str().escape_debug(), describe(&snapshot));
    }
    Ok(())
}

/// Prints the snapshot of a name, and each one that it moves to.
pub(crate) async fn follow(names: &dyn EntryRead, content: &dyn ContentRead, name: &str) -> Result<()> {
    // Knowing nothing, the watch tells first what the name is; after that it misses no move for good, though of many
    // in a hurry it may tell the last only.
    let mut watch = names.watch_key(&key(name)?, Init::Known(None)).await?;
    while let Some(event) = watch.next().await {
        match event {
            Ok(Event::Changed { diff, .. }) => match diff.new_value() {
                Some(value) => {
                    let target = target(value)?;
                    let snapshot = Snapshot::read(content, &target).await?;
                    println!("{name}\t{}\t{}", describe(&snapshot), target.to_hash());
                }
                None => println!("{name}\tremoved"),
            },
            Ok(_) => eprintln!("following {name}"),
            Err(error) if error.kind() == ErrorKind::Closed => return Err(error.into()),
            Err(error) => eprintln!("{error}; the watch goes on"),
        }
    }
    Ok(())
}

/// When it was saved, its files, its bytes.
pub(crate) fn describe(snapshot: &Snapshot) -> String {
    let saved = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(snapshot.saved));
    // A time to come, by this clock, is no time ago.
    let ago = saved.and_then(|saved| saved.elapsed().ok()).unwrap_or_default();
    let (files, bytes) = (HumanCount(snapshot.files), HumanBytes(snapshot.bytes));
    format!("saved {} ago\t{files} files\t{bytes}", HumanDuration(ago))
}
