//! What a store does on a disk that is full, or whose quota is used up. Where FUSE is missing the trials show as ignored,
//! with the reason.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use backend_rocksdb::{Rocksdb, RocksdbOptions};
use bytes::Bytes;
use fastrand::Rng;
use faulty_fs::{Control, Failure, Fault, Op};
use store_api::{Append, AtomicWrite, Backend, Effect, Error, ErrorKind, Indexable, Key};
use tokio::runtime::Runtime;

type Claim = fn(Disk);

const CLAIMS: [(&str, Claim); 5] = [
    ("a10_a_sync_on_a_full_disk_is_no_space_until_there_is_room", |disk| run(sync_when_full(disk))),
    ("a_store_is_closed_on_a_full_disk_and_loses_nothing", |disk| run(close_when_full(disk))),
    ("a_close_writes_a_little_into_its_place_where_a_little_is_free", |disk| run(close_with_little_room(disk))),
    ("a3_what_needs_no_write_succeeds_on_a_full_disk", |disk| run(change_nothing_when_full(disk))),
    ("a_quota_that_is_used_up_is_no_space_until_the_store_is_opened_again", |disk| run(write_beyond_quota(disk))),
];

fn main() -> ExitCode {
    faulty_fs::run_trials(
        CLAIMS.map(|(name, claim)| (name, move |mount: &Path, disk: &str| claim(Disk::new(mount, disk)))),
    )
}

fn run(claim: impl Future<Output = ()>) {
    Runtime::new().unwrap().block_on(claim);
}

/// A disk for one trial.
struct Disk {
    control: Control,
    name: String,
    path: PathBuf,
}

impl Disk {
    fn new(mount: &Path, name: &str) -> Self {
        let path = mount.join(name);
        fs::create_dir(&path).unwrap();
        Self { control: Control::at(mount), name: name.to_owned(), path }
    }

    async fn open(&self, sync: bool) -> Rocksdb {
        RocksdbOptions::new(self.path.join("store")).sync(sync).open().await.unwrap()
    }

    /// Leaves room for some writes.
    fn fill(&self) {
        self.control.full(&self.name, Some(2 * 1024 * 1024)).unwrap();
    }

    fn mend(&self) {
        self.control.clear(&self.name).unwrap();
    }
}

fn key(number: usize) -> Key {
    Key::new(format!("key/{number}")).unwrap()
}

fn value(number: usize) -> Bytes {
    vec![u8::try_from(number % 251).unwrap(); 64 * 1024].into()
}

/// Writes one key after another until one is refused: how many were acknowledged, and why it was refused.
async fn write_until_refused(store: &Rocksdb) -> (usize, Error) {
    let entries = store.atomic_write().unwrap();
    for number in 0..1_000 {
        if let Err(error) = entries.set(&key(number), value(number)).await {
            return (number, error);
        }
    }
    panic!("nothing was refused")
}

/// Adds values that are not there until one is refused.
async fn add_until_refused(content: &dyn Indexable) -> Error {
    let mut random = Rng::new();
    for _ in 0..1_000 {
        let mut value = vec![0; 64 * 1024];
        random.fill(&mut value);
        if let Err(error) = content.add(value.into()).await {
            return error;
        }
    }
    panic!("nothing was refused")
}

async fn check(store: &Rocksdb, acknowledged: usize) {
    let entries = store.atomic_write().unwrap();
    for number in 0..acknowledged {
        assert_eq!(entries.find(&key(number)).await.unwrap(), Some(value(number)), "{number} of {acknowledged}");
    }
}

fn assert_no_space(error: &Error) {
    assert_eq!((error.kind(), error.effect()), (ErrorKind::NoSpace, Effect::NotApplied), "{error:?}");
}

async fn sync_when_full(disk: Disk) {
    for sync in [false, true] {
        let store = disk.open(sync).await;
        disk.fill();
        let (acknowledged, error) = write_until_refused(&store).await;
        assert_no_space(&error);
        let synced = store.sync().await.map_err(|error| error.kind());
        // What is acknowledged is synced where each write is.
        assert_eq!(synced, if sync { Ok(()) } else { Err(ErrorKind::NoSpace) });
        disk.mend();
        store.sync().await.unwrap();
        let entries = store.atomic_write().unwrap();
        entries.set(&key(acknowledged), value(acknowledged)).await.unwrap();
        check(&store, acknowledged + 1).await;
        entries.clear().await.unwrap();
        store.close().await.unwrap();
    }
}

async fn close_when_full(disk: Disk) {
    let store = disk.open(true).await;
    disk.fill();
    let (acknowledged, error) = write_until_refused(&store).await;
    assert_no_space(&error);
    store.close().await.unwrap();
    disk.mend();
    check(&disk.open(true).await, acknowledged).await;
}

async fn close_with_little_room(disk: Disk) {
    let store = disk.open(false).await;
    store.atomic_write().unwrap().set(&key(0), value(0)).await.unwrap();
    let used = disk.control.stats(&disk.name).unwrap().used;
    disk.control.full(&disk.name, Some(used + 16 * 1024 * 1024)).unwrap();
    store.close().await.unwrap();
    for file in fs::read_dir(disk.path.join("store")).unwrap() {
        let file = file.unwrap().path();
        if file.extension().is_some_and(|extension| extension == "log") {
            fs::remove_file(file).unwrap();
        }
    }
    check(&disk.open(false).await, 1).await;
}

async fn change_nothing_when_full(disk: Disk) {
    for sync in [false, true] {
        let store = disk.open(sync).await;
        let (entries, content) = (store.atomic_write().unwrap(), store.indexable().unwrap());
        let (short, long) = (Bytes::from_static(b"short"), value(1_000));
        for value in [&short, &long] {
            content.add(value.clone()).await.unwrap();
        }
        entries.clear().await.unwrap();
        disk.fill();
        assert_no_space(&add_until_refused(&*content).await);

        entries.clear().await.unwrap();
        assert!(entries.test_and_set(&key(0), None, None).await.unwrap().is_applied());
        assert!(!entries.test_and_set(&key(0), Some(short.clone()), None).await.unwrap().is_applied());
        let batch = content.begin().await.unwrap();
        for value in [&short, &long] {
            content.add(value.clone()).await.unwrap();
            batch.add(value.clone()).await.unwrap();
        }
        batch.commit().await.unwrap();

        disk.mend();
        entries.set(&key(0), short.clone()).await.unwrap();
        disk.fill();
        assert_no_space(&add_until_refused(&*content).await);
        assert!(entries.test_and_set(&key(0), Some(short.clone()), Some(short)).await.unwrap().is_applied());
        disk.mend();
        store.close().await.unwrap();
    }
}

async fn write_beyond_quota(disk: Disk) {
    let store = disk.open(true).await;
    let entries = store.atomic_write().unwrap();
    entries.set(&key(0), value(0)).await.unwrap();
    disk.control.inject(&disk.name, Fault::new(Op::Write, Failure::Edquot)).unwrap();
    for _ in 0..2 {
        assert_no_space(&entries.set(&key(1), value(1)).await.unwrap_err());
    }
    assert_eq!(entries.find(&key(0)).await.unwrap(), Some(value(0)));
    disk.mend();
    let error = entries.set(&key(1), value(1)).await.unwrap_err();
    assert_no_space(&error);
    assert!(error.to_string().contains("open the store again"), "{error}");
    store.close().await.unwrap();
    let store = disk.open(true).await;
    check(&store, 1).await;
    let entries = store.atomic_write().unwrap();
    assert_eq!(entries.find(&key(1)).await.unwrap(), None);
    entries.set(&key(1), value(1)).await.unwrap();
}
