//! What is compared: which subjects there are, and which belong into one table.

use benches::{DynSubject, Feeds, NullStore, Role, Watched};
use store_api::{Durability, Result};

use crate::{
    engines::{
        map::{self, Map},
        ours::Ours,
        rocksdb::RawRocksdb,
        sqlite::RawSqlite,
    },
    missing,
    peers::{broadcast::Broadcast, etcd::Etcd, fjall::Fjall, opendal::OpenDal, redb::Redb, sled::Sled},
};

/// The names that figures are looked up by.
pub(crate) mod name {
    pub(crate) const SQLITE: &str = "irminsul sqlite";
    pub(crate) const ROCKSDB: &str = "irminsul rocksdb";
    pub(crate) const MEM: &str = "irminsul mem";
    pub(crate) const SQLITE_RELAXED: &str = "irminsul sqlite, sync=off";
    pub(crate) const ROCKSDB_RELAXED: &str = "irminsul rocksdb, sync=off";
    pub(crate) const RAW_SQLITE: &str = "raw SQLite";
    pub(crate) const RAW_ROCKSDB: &str = "raw RocksDB";
    pub(crate) const RAW_SQLITE_RELAXED: &str = "raw SQLite, synchronous=normal";
    pub(crate) const RAW_ROCKSDB_RELAXED: &str = "raw RocksDB, not synced";
    pub(crate) const REDB: &str = "redb";
    pub(crate) const FJALL: &str = "fjall";
    pub(crate) const FJALL_RELAXED: &str = "fjall, not synced";
    pub(crate) const SLED: &str = "sled";
    pub(crate) const SLED_UNFLUSHED: &str = "sled, not flushed";
}

/// Every subject.
pub(crate) struct Subjects {
    pub(crate) all: Vec<Box<dyn DynSubject>>,
}

impl Subjects {
    pub(crate) fn all(value_len: usize) -> Result<Self> {
        let etcd = Etcd::find();
        if etcd.is_none() {
            missing("no etcd is here: install etcd-server to have its rows")?;
        }
        let mut all = durable();
        all.extend(etcd.map(|etcd| Box::new(etcd) as Box<dyn DynSubject>));
        all.extend(relaxed());
        all.extend(volatile(value_len));
        Ok(Self { all })
    }

    /// Our backends.
    pub(crate) fn ours(&self) -> Vec<&dyn DynSubject> {
        self.all.iter().map(|subject| &**subject).filter(|subject| subject.facts().role == Role::Ours).collect()
    }
}

/// What has watches: beside ours the peers that have them, and what a delivery costs without a store.
pub(crate) fn feeds() -> Vec<Box<dyn Feeds>> {
    let ours = [mem(), sqlite_relaxed(), rocksdb_relaxed(), sqlite(), rocksdb()];
    let mut feeds: Vec<Box<dyn Feeds>> = vec![Box::new(Broadcast)];
    feeds.extend(ours.map(|ours| Box::new(Watched(ours)) as Box<dyn Feeds>));
    feeds.push(Box::new(unflushed_sled()));
    feeds.extend(Etcd::find().map(|etcd| Box::new(etcd) as Box<dyn Feeds>));
    feeds
}

/// Those beside whose watchers that never look the store itself keeps little: a cache that fills would hide what they cost.
/// sled is none of them: whoever writes waits without end for a subscriber that is 1,024 changes behind.
pub(crate) fn sleepers() -> Vec<Box<dyn Feeds>> {
    vec![Box::new(Broadcast), Box::new(Watched(mem())), Box::new(Watched(sqlite_relaxed()))]
}

/// The subject of a name, to be measured by itself.
pub(crate) fn by_name(name: &str) -> Option<Box<dyn DynSubject>> {
    Subjects { all: durable().into_iter().chain(relaxed()).chain(volatile(0)).collect() }
        .all
        .into_iter()
        .find(|subject| subject.facts().name == name)
}

fn durable() -> Vec<Box<dyn DynSubject>> {
    let durability = Durability::Power;
    vec![
        Box::new(sqlite()),
        Box::new(RawSqlite { name: name::RAW_SQLITE, durability }),
        Box::new(rocksdb()),
        Box::new(RawRocksdb { name: name::RAW_ROCKSDB, durability }),
        Box::new(Redb { name: name::REDB, durability }),
        Box::new(Fjall { name: name::FJALL, durability }),
    ]
}

fn relaxed() -> Vec<Box<dyn DynSubject>> {
    let durability = Durability::Process;
    vec![
        Box::new(sqlite_relaxed()),
        Box::new(RawSqlite { name: name::RAW_SQLITE_RELAXED, durability }),
        Box::new(rocksdb_relaxed()),
        Box::new(RawRocksdb { name: name::RAW_ROCKSDB_RELAXED, durability }),
        Box::new(Sled { name: name::SLED, durability }),
        Box::new(Fjall { name: name::FJALL_RELAXED, durability }),
    ]
}

fn volatile(value_len: usize) -> Vec<Box<dyn DynSubject>> {
    vec![
        Box::new(mem()),
        Box::new(Map),
        Box::new(OpenDal),
        Box::new(unflushed_sled()),
        Box::new(Redb { name: "redb, not synced", durability: Durability::Volatile }),
        Box::new(NullStore { value: vec![b'.'; value_len].into() }),
    ]
}

fn unflushed_sled() -> Sled {
    Sled { name: name::SLED_UNFLUSHED, durability: Durability::Volatile }
}

fn mem() -> Ours {
    Ours { name: name::MEM, scheme: "mem", options: &[], durability: Durability::Volatile, beside: map::NAME }
}

fn sqlite() -> Ours {
    let (durability, beside) = (Durability::Power, name::RAW_SQLITE);
    Ours { name: name::SQLITE, scheme: "sqlite", options: &[("sync", "on")], durability, beside }
}

fn sqlite_relaxed() -> Ours {
    let (durability, beside) = (Durability::Process, name::RAW_SQLITE_RELAXED);
    Ours { name: name::SQLITE_RELAXED, scheme: "sqlite", options: &[("sync", "off")], durability, beside }
}

fn rocksdb() -> Ours {
    let (durability, beside) = (Durability::Power, name::RAW_ROCKSDB);
    Ours { name: name::ROCKSDB, scheme: "rocksdb", options: &[("sync", "on")], durability, beside }
}

fn rocksdb_relaxed() -> Ours {
    let (durability, beside) = (Durability::Process, name::RAW_ROCKSDB_RELAXED);
    Ours { name: name::ROCKSDB_RELAXED, scheme: "rocksdb", options: &[("sync", "off")], durability, beside }
}
