//! A disk that is full: what does not fit is refused without effect, and nothing that was acknowledged is lost (A5, E1).

use std::{
    fmt::Display,
    fs,
    path::{Path, PathBuf},
    pin::pin,
};

use backend_sqlite::{Sqlite, SqliteOptions};
use bytes::Bytes;
use futures_util::{
    FutureExt, TryStreamExt,
    future::{join_all, join3},
};
use rusqlite::Connection;
use store_api::{AtomicWrite, Backend, ContentKey, ErrorKind, Key};

use crate::{
    another::mount,
    refusal::{refused, value},
};

const SIZE: usize = 2 * 1024 * 1024;

/// How much the ballast frees when it is thrown off.
const BALLAST: usize = 512 * 1024;

/// A small disk, with a file on it that can be removed to make space.
struct Disk(PathBuf);

impl Disk {
    fn new(directory: PathBuf) -> Self {
        mount(["-t", "tmpfs", "-o", &format!("size={SIZE}"), "tmpfs"], &directory);
        fs::write(directory.join("ballast"), vec![0; BALLAST]).unwrap();
        Self(directory)
    }

    fn make_space(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }

    /// Takes what is left, but for so many bytes.
    fn fill(&self, but: usize) {
        let filling = self.0.join("filling");
        let mut len = SIZE;
        while fs::write(&filling, vec![0; len]).is_err() {
            len -= 4096;
        }
        fs::write(&filling, vec![0; len.saturating_sub(but)]).unwrap();
    }

    fn options(&self) -> SqliteOptions {
        SqliteOptions::new(self.file())
    }

    fn file(&self) -> PathBuf {
        self.0.join("store.db")
    }

    async fn open(&self, sync: bool) -> Sqlite {
        self.options().sync(sync).open().await.unwrap()
    }
}

/// One disk for each way to write.
fn disks(directory: &Path) -> impl Iterator<Item = (Disk, bool)> {
    [true, false].into_iter().map(|sync| {
        let directory = directory.join(if sync { "synced" } else { "unsynced" });
        fs::create_dir(&directory).unwrap();
        (Disk::new(directory), sync)
    })
}

fn key(name: impl Display) -> Key {
    Key::new(format!("{name}")).unwrap()
}

/// A value of this many bytes, and some.
fn long(len: usize) -> Bytes {
    value("x".repeat(len))
}

/// Sets entries until one does not fit; gives its number.
async fn set_until_full(entries: &dyn AtomicWrite) -> usize {
    for i in 0.. {
        assert!(i < SIZE, "the disk takes everything");
        if let Err(error) = entries.set(&key(i), long(20_000)).await {
            refused::<()>(ErrorKind::NoSpace, Err(error));
            return i;
        }
    }
    unreachable!("one does not fit")
}

/// Exactly the entries before this one are there.
async fn expect_entries(entries: &dyn AtomicWrite, count: usize) {
    for i in 0..count {
        assert_eq!(entries.find(&key(i)).await.unwrap(), Some(long(20_000)), "acknowledged, and lost: {i}");
    }
    let listed: Vec<Key> = entries.list(&Key::root()).try_collect().await.unwrap();
    assert_eq!(listed.len(), count);
}

pub(crate) async fn e1_a_full_disk_refuses_writes_and_loses_nothing(directory: PathBuf) {
    for (disk, sync) in disks(&directory) {
        let store = disk.open(sync).await;
        let entries = store.atomic_write().unwrap();
        let written = set_until_full(&*entries).await;
        expect_entries(&*entries, written).await;
        let verdict = entries.test_and_set(&key(0), Some(long(20_000)), Some(long(SIZE / 4))).await;
        refused(ErrorKind::NoSpace, verdict);
        expect_entries(&*entries, written).await;
        disk.make_space();
        entries.set(&key(written), long(20_000)).await.unwrap();
        expect_entries(&*entries, written + 1).await;
        store.sync().await.unwrap();
        store.close().await.unwrap();
        let store = disk.open(sync).await;
        expect_entries(&*store.atomic_write().unwrap(), written + 1).await;
    }
}

pub(crate) async fn a5_a_write_that_does_not_fit_fails_no_neighbour(directory: PathBuf) {
    for (disk, sync) in disks(&directory) {
        let store = disk.open(sync).await;
        let entries = store.atomic_write().unwrap();
        entries.set(&key("first"), value("first")).await.unwrap();
        disk.fill(300_000);
        let large_key = key("large");
        let small: Vec<Key> = (0..20).map(key).collect();
        let before = join_all(small[..10].iter().map(|key| entries.set(key, value(key))));
        let behind = join_all(small[10..].iter().map(|key| entries.set(key, value(key))));
        let mut writing = pin!(join3(before, entries.set(&large_key, long(1_000_000)), behind));
        // While somebody else has the lock they all queue, and become one group.
        let other = Connection::open(disk.file()).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        assert!(writing.as_mut().now_or_never().is_none());
        drop(other);
        let (before, large, behind) = writing.await;
        refused(ErrorKind::NoSpace, large);
        before.into_iter().chain(behind).for_each(|written| written.unwrap());
        for key in &small {
            assert_eq!(entries.find(key).await.unwrap(), Some(value(key)));
        }
        assert_eq!(entries.find(&large_key).await.unwrap(), None);
    }
}

pub(crate) async fn i7_a_batch_that_does_not_fit_leaves_nothing(directory: PathBuf) {
    for (disk, sync) in disks(&directory) {
        let store = disk.open(sync).await;
        let content = store.indexable().unwrap();
        let kept = content.add(value("kept")).await.unwrap();
        let batch = content.begin().await.unwrap();
        let mut added = Vec::new();
        for i in 0..40 {
            added.push(batch.add(long(100_000 + i)).await.unwrap());
        }
        refused(ErrorKind::NoSpace, batch.commit().await);
        for key in &added {
            assert_eq!(content.find(key).await.unwrap(), None);
            assert_eq!(content.index(&key.to_hash()).await.unwrap(), None);
        }
        disk.make_space();
        let last = content.add(long(100_000)).await.unwrap();
        store.close().await.unwrap();
        let content = disk.open(sync).await.indexable().unwrap();
        let keys: Vec<ContentKey> = content.keys().try_collect().await.unwrap();
        assert_eq!(keys, [kept, last]);
        assert_eq!(content.find(&kept).await.unwrap(), Some(value("kept")));
    }
}

pub(crate) async fn e1_a_full_disk_refuses_a_store_until_there_is_space(directory: PathBuf) {
    for left in [0, 4096, 8192, 16384, 40960] {
        let directory = directory.join(left.to_string());
        fs::create_dir(&directory).unwrap();
        let disk = Disk::new(directory);
        disk.fill(left);
        refused(ErrorKind::NoSpace, disk.options().open().await);
        disk.make_space();
        let store = disk.open(true).await;
        let entries = store.atomic_write().unwrap();
        entries.set(&key(0), long(20_000)).await.unwrap();
        expect_entries(&*entries, 1).await;
    }
}

pub(crate) async fn l4_a_close_on_a_full_disk_loses_nothing(directory: PathBuf) {
    for (disk, sync) in disks(&directory) {
        let store = disk.open(sync).await;
        let written = set_until_full(&*store.atomic_write().unwrap()).await;
        disk.fill(0);
        store.close().await.unwrap();
        disk.make_space();
        let store = disk.open(sync).await;
        expect_entries(&*store.atomic_write().unwrap(), written).await;
    }
}
