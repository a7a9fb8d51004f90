//! The names of snapshots: `snapshots/NAME` holds the content key of the latest one.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use indicatif::{HumanBytes, HumanCount, HumanDuration};
use irminsul::{Bytes, ContentKey, ContentRead, EntryRead, ErrorKind, Event, Init, Key, prelude::*};

use crate::{
    format::{Hash, Snapshot},
    shown,
};

const NAMES: &str = "snapshots";

/// The entry of a name.
pub(crate) fn key(name: &str) -> Result<Key> {
    ensure!(!name.is_empty(), "a snapshot needs a name");
    Ok(Key::new(NAMES)?.join(name)?)
}

/// The content key that a name holds. What it holds instead may be anybody's: an error does not show it.
fn target(key: &Key, value: &Bytes) -> Result<ContentKey> {
    let text = std::str::from_utf8(value).ok();
    text.and_then(|text| text.parse().ok())
        .with_context(|| format!("the entry {} does not hold the hash of a snapshot", shown(key.as_str())))
}

/// The snapshot that a name means, as the parent of the next one.
pub(crate) fn parent(key: &Key, current: Option<&Bytes>) -> Result<Option<Hash>> {
    let target = current.map(|value| target(key, value)).transpose();
    Ok(target.context("save under another name")?.map(|target| Hash(target.to_hash())))
}

/// The snapshot of a name.
pub(crate) async fn find(names: &dyn EntryRead, content: &dyn ContentRead, name: &str) -> Result<Snapshot> {
    let key = key(name)?;
    let snapshot = latest(names, content, &key).await?;
    snapshot.with_context(|| format!("there is no snapshot \"{}\"; `list` shows those that there are", shown(name)))
}

/// Prints every snapshot. One that cannot be read is told, and does not hide the others.
pub(crate) async fn list(names: &dyn EntryRead, content: &dyn ContentRead) -> Result<()> {
    let all = Key::new(NAMES)?;
    let mut unreadable = 0;
    for key in names.list_sorted(&all).await? {
        let name = key.strip_prefix(&all).unwrap_or_else(|| key.clone());
        let name = shown(name.as_str());
        match latest(names, content, &key).await {
            Ok(Some(snapshot)) => println!("{name}\t{}", describe(&snapshot)),
            // Somebody removed it since it was listed.
            Ok(None) => {}
            Err(error) => {
                unreadable += 1;
                eprintln!("{name}: {}", shown(format!("{error:#}")));
            }
        }
    }
    ensure!(unreadable == 0, "of the names, {unreadable} cannot be read as snapshots");
    Ok(())
}

async fn latest(names: &dyn EntryRead, content: &dyn ContentRead, key: &Key) -> Result<Option<Snapshot>> {
    let Some(value) = names.find(key).await? else { return Ok(None) };
    read(content, key, &value).await.map(|(_, snapshot)| Some(snapshot))
}

/// The snapshot that the value of a name means, and its content key.
async fn read(content: &dyn ContentRead, key: &Key, value: &Bytes) -> Result<(ContentKey, Snapshot)> {
    let target = target(key, value)?;
    let snapshot = Snapshot::read(content, &target).await;
    Ok((target, snapshot.with_context(|| shown(key.as_str()))?))
}

/// Prints the snapshot of a name, and each one that it moves to. One that cannot be read is told, and the next awaited.
pub(crate) async fn follow(names: &dyn EntryRead, content: &dyn ContentRead, name: &str) -> Result<()> {
    let key = key(name)?;
    let name = shown(name);
    // Knowing nothing, the watch tells first what the name is; after that it misses no move for good, though of many
    // in a hurry it may tell the last only.
    let mut watch = names.watch_key(&key, Init::Known(None)).await?;
    while let Some(event) = watch.next().await {
        match event {
            Ok(Event::Changed { diff, .. }) => match diff.new_value() {
                Some(value) => match read(content, &key, value).await {
                    Ok((target, snapshot)) => println!("{name}\t{}\t{}", describe(&snapshot), target.to_hash()),
                    Err(error) => eprintln!("{}; the watch goes on", shown(format!("{error:#}"))),
                },
                None => println!("{name}\tremoved"),
            },
            Ok(_) => eprintln!("following {name}"),
            Err(error) if error.kind() == ErrorKind::Closed => return Err(error.into()),
            Err(error) => eprintln!("{}; the watch goes on", shown(error.to_string())),
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
