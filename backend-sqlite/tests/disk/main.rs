//! What a store does on a disk that forgets what a failed sync left in the system's cache, and on one whose quota is used
//! up. Where FUSE is missing the trials show as ignored, with the reason.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use backend_sqlite::{Sqlite, SqliteOptions};
use bytes::Bytes;
use faulty_fs::{Control, Failure, Fault, Loss, Op};
use rusqlite::{Connection, config::DbConfig};
use store_api::{Append, AtomicWrite, Backend, Effect, ErrorKind, Key};
use tokio::runtime::Runtime;

type Claim = fn(Disk);

const CLAIMS: [(&str, Claim); 5] = [
    ("e3_a_write_behind_what_a_failed_sync_left_survives_while_another_process_reads", |disk| {
        run(write_behind_unsynced(disk, Obstacle::Reader));
    }),
    ("e3_a_write_behind_what_a_failed_sync_left_survives_where_the_file_cannot_grow", |disk| {
        run(write_behind_unsynced(disk, Obstacle::FullFile));
    }),
    ("e3_nothing_is_acknowledged_behind_a_log_that_cannot_be_written_again", |disk| run(refuse_behind_unsynced(disk))),
    ("e3_a_folder_that_cannot_be_synced_lets_nothing_be_acknowledged", |disk| run(open_in_an_unsynced_folder(disk))),
    ("e1_a_quota_that_is_used_up_is_no_space_until_there_is_room", |disk| run(write_beyond_quota(disk))),
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

    fn file(&self) -> PathBuf {
        self.path.join("store.db")
    }

    async fn open(&self, sync: bool) -> Sqlite {
        SqliteOptions::new(self.file()).sync(sync).open().await.unwrap()
    }

    fn fail(&self, fault: Fault) {
        self.control.inject(&self.name, fault).unwrap();
    }

    fn mend(&self) {
        self.control.clear(&self.name).unwrap();
    }

    /// Leaves a log whose end a failed sync left in the system's cache alone, as a killed process does: the next one
    /// takes it for written.
    async fn leave_unsynced(&self, value: &Bytes) {
        let store = self.open(true).await;
        let entries = store.atomic_write().unwrap();
        entries.set(&key("before"), value.clone()).await.unwrap();
        // The last connection neither copies the log nor removes it.
        let last = Connection::open(self.file()).unwrap();
        last.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
        let _: i64 = last.query_row("SELECT count(*) FROM entries", [], |row| row.get(0)).unwrap();
        self.fail(Fault::new(Op::Fsync, Failure::Eio).path("-wal"));
        assert_eq!(entries.set(&key("unsynced"), value.clone()).await.unwrap_err().kind(), ErrorKind::Poisoned);
        store.close().await.unwrap();
        drop(last);
        self.mend();
    }

    /// Forgets what was not synced. Nobody writes any more.
    async fn lose_power(&self, store: Sqlite) {
        self.control.lose(&self.name, Loss::default()).unwrap();
        store.close().await.unwrap();
    }
}

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

/// A value for each kind of store, longer than a page.
fn value(sync: bool) -> Bytes {
    format!("{sync} ").repeat(2_000).into()
}

/// What keeps the log from being started anew.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Obstacle {
    Reader,
    FullFile,
}

/// Somebody who reads the log as it is, until dropped.
fn read(disk: &Disk) -> Connection {
    let reader = Connection::open(disk.file()).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    let _: i64 = reader.query_row("SELECT count(*) FROM entries", [], |row| row.get(0)).unwrap();
    reader
}

async fn write_behind_unsynced(disk: Disk, obstacle: Obstacle) {
    for sync in [true, false] {
        let value = value(sync);
        disk.leave_unsynced(&value).await;
        let reader = (obstacle == Obstacle::Reader).then(|| read(&disk));
        if obstacle == Obstacle::FullFile {
            disk.fail(Fault::new(Op::Write, Failure::Enospc).file("store.db"));
        }
        let store = disk.open(sync).await;
        store.atomic_write().unwrap().set(&key("behind"), value.clone()).await.unwrap();
        store.sync().await.unwrap();
        disk.lose_power(store).await;
        drop(reader);
        disk.mend();
        let store = disk.open(true).await;
        let found = store.atomic_write().unwrap().find(&key("behind")).await.unwrap();
        assert_eq!(found, Some(value), "E3: acknowledged behind what was not on the disk");
        store.close().await.unwrap();
    }
}

async fn refuse_behind_unsynced(disk: Disk) {
    let value = value(true);
    disk.leave_unsynced(&value).await;
    let reader = read(&disk);
    disk.fail(Fault::new(Op::Write, Failure::Enospc).path("-wal"));
    let store = disk.open(true).await;
    let entries = store.atomic_write().unwrap();
    for refused in [entries.set(&key("behind"), value.clone()).await, store.sync().await] {
        let error = refused.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::NoSpace, Effect::NotApplied), "{error}");
    }
    disk.mend();
    entries.set(&key("behind"), value.clone()).await.unwrap();
    disk.lose_power(store).await;
    drop(reader);
    let store = disk.open(true).await;
    assert_eq!(store.atomic_write().unwrap().find(&key("behind")).await.unwrap(), Some(value));
}

/// SQLite itself does not look whether the name of its log is on the disk.
async fn open_in_an_unsynced_folder(disk: Disk) {
    disk.open(true).await.close().await.unwrap();
    for failure in [Failure::Eio, Failure::Eacces, Failure::Enospc] {
        disk.fail(Fault::new(Op::SyncDir, failure));
        let opened = SqliteOptions::new(disk.file()).open().await;
        assert!(opened.is_err(), "the sync of the folder fails with {failure:?}");
        disk.mend();
        disk.open(true).await.close().await.unwrap();
    }
}

async fn write_beyond_quota(disk: Disk) {
    for sync in [true, false] {
        let (store, value) = (disk.open(sync).await, value(sync));
        let entries = store.atomic_write().unwrap();
        entries.set(&key("before"), value.clone()).await.unwrap();
        for op in [Op::Write, Op::Allocate, Op::Create] {
            disk.fail(Fault::new(op, Failure::Edquot));
        }
        let content = store.indexable().unwrap();
        for refused in [entries.set(&key("beyond"), value.clone()).await, content.add(value.clone()).await.map(drop)] {
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::NoSpace);
        }
        assert_eq!(entries.find(&key("before")).await.unwrap(), Some(value.clone()));
        disk.mend();
        entries.set(&key("beyond"), value.clone()).await.unwrap();
        store.close().await.unwrap();
    }
}
