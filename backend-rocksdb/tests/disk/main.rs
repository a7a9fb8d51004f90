//! What a store does on a disk that is full, or whose quota is used up. Where FUSE is missing the trials show as ignored,
//! with the reason.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::ExitCode,
};

use backend_rocksdb::{Rocksdb, RocksdbOptions};
use bytes::Bytes;
use fastrand::Rng;
use faulty_fs::{Control, Failure, Fault, Loss, Op};
use futures_util::future::{join, join_all};
use store_api::{Append, AtomicWrite, Backend, Effect, Error, ErrorKind, Indexable, Key};
use tokio::runtime::Runtime;

type Claim = fn(Disk);

const CLAIMS: [(&str, Claim); 9] = [
    ("a10_a_sync_on_a_full_disk_is_no_space_until_there_is_room", |disk| run(sync_when_full(disk))),
    ("a_store_is_closed_on_a_full_disk_and_loses_nothing", |disk| run(close_when_full(disk))),
    ("a_close_writes_a_little_into_its_place_where_a_little_is_free", |disk| run(close_with_little_room(disk))),
    ("a3_what_needs_no_write_succeeds_on_a_full_disk", |disk| run(change_nothing_when_full(disk))),
    ("e1_a_full_disk_refuses_an_open_until_there_is_room", |disk| run(open_when_full(disk))),
    ("a10_writes_that_queue_share_their_syncs", |disk| run(write_at_once(disk))),
    ("a12_a_log_that_is_missing_between_others_is_corrupt", |disk| run(miss_a_log(disk))),
    ("a10_a_creation_that_was_killed_before_it_was_synced_is_synced_by_the_next_open", |disk| run(take_up(disk))),
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

    fn options(&self) -> RocksdbOptions {
        RocksdbOptions::new(self.path.join("store"))
    }

    async fn open(&self, sync: bool) -> Rocksdb {
        self.options().sync(sync).open().await.unwrap()
    }

    /// RocksDB's write-ahead logs.
    fn logs(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.path.join("store/irminsul.data")).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|file| file.extension().is_some_and(|extension| extension == "log")).collect()
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
    let logs = disk.logs();
    assert_ne!(logs, Vec::<PathBuf>::new());
    for log in &logs {
        fs::remove_file(log).unwrap();
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

async fn open_when_full(disk: Disk) {
    let store = disk.open(true).await;
    store.atomic_write().unwrap().set(&key(0), value(0)).await.unwrap();
    store.close().await.unwrap();
    let other = RocksdbOptions::new(disk.path.join("other"));
    let used = disk.control.stats(&disk.name).unwrap().used;
    disk.control.full(&disk.name, Some(used)).unwrap();
    for options in [disk.options(), other.clone()] {
        assert_no_space(&options.open().await.unwrap_err());
    }
    disk.mend();
    check(&disk.open(true).await, 1).await;
    other.open().await.unwrap();
}

async fn write_at_once(disk: Disk) {
    let store = disk.options().cache(256 * 1024 * 1024).open().await.unwrap();
    let entries = store.atomic_write().unwrap();
    let syncs = || disk.control.stats(&disk.name).unwrap().operations.get(&Op::Fsync).copied().unwrap_or_default();
    let before = syncs();
    // While a long one is written, the others queue.
    let long = key(64);
    let first = entries.set(&long, vec![7; 16 * 1024 * 1024].into());
    let others = join_all((0..64).map(|number| {
        let entries = &entries;
        async move { entries.set(&key(number), value(number)).await }
    }));
    let (first, others) = join(first, others).await;
    first.unwrap();
    for written in others {
        written.unwrap();
    }
    let synced = syncs() - before;
    // How many of them queue in time is the machine's affair.
    assert!((1..65).contains(&synced), "{synced} syncs of 65 writes");
}

async fn miss_a_log(disk: Disk) {
    let store = disk.options().sync(false).cache(0).open().await.unwrap();
    // What fills the memory is not put into its place.
    disk.control.inject(&disk.name, Fault::new(Op::Create, Failure::Enospc).path(".sst")).unwrap();
    let (acknowledged, error) = write_until_refused(&store).await;
    assert_no_space(&error);
    drop(store);
    disk.mend();
    let mut logs = disk.logs();
    logs.sort_unstable();
    let [first, .., _] = &logs[..] else { panic!("{logs:?}") };
    let aside = disk.path.join("aside");
    fs::rename(first, &aside).unwrap();
    let refused = disk.options().open().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused:?}");
    fs::rename(aside, first).unwrap();
    check(&disk.open(false).await, acknowledged).await;
}

/// It had given the store its name, and no folder was synced.
async fn take_up(disk: Disk) {
    let inside = disk.path.join("store/irminsul.data");
    fs::create_dir_all(&inside).unwrap();
    let marker = backend_kit::frame::seal(b"irminsul", b"irminsul-rocksdb 1 blake3\n");
    fs::write(inside.join("irminsul"), marker).unwrap();
    for name in ["irminsul", ""] {
        File::open(inside.join(name)).unwrap().sync_all().unwrap();
    }
    let store = disk.open(true).await;
    store.atomic_write().unwrap().set(&key(0), value(0)).await.unwrap();
    store.close().await.unwrap();
    disk.control.lose(&disk.name, Loss::default()).unwrap();
    check(&disk.open(true).await, 1).await;
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
