//! fjall, with its optimistic transactions for compare-and-set.

use std::path::Path;

use benches::{Client, Driven, Facts, Role, Store, Subject};
use bytes::Bytes;
use fjall::{KeyspaceCreateOptions, OptimisticTxDatabase, OptimisticTxKeyspace, PersistMode, Readable, Slice};
use store_api::{Durability, Key, Result, TestAndSet};

use crate::engines::{CACHE, CACHE_TOLD, failed, version_of};

/// fjall, whose journal is synced for each write or not at all.
pub(crate) struct Fjall {
    pub(crate) name: &'static str,
    pub(crate) durability: Durability,
}

impl Subject for Fjall {
    type Store = Keyspace;

    fn facts(&self) -> Facts {
        Facts {
            name: self.name.into(),
            role: Role::Peer,
            durability: self.durability,
            visibility: None,
            cache: CACHE_TOLD.into(),
            version: version_of("fjall"),
            driven: Driven::Threads,
            beside: None,
            note: Some("an optimistic transaction for compare-and-set".into()),
        }
    }

    async fn open(&self, place: &Path) -> Result<Keyspace> {
        let database =
            OptimisticTxDatabase::builder(place.join("fjall")).cache_size(CACHE as u64).open().map_err(failed)?;
        let entries = database.keyspace("entries", KeyspaceCreateOptions::default).map_err(failed)?;
        Ok(Keyspace { database, entries, is_synced: self.durability == Durability::Power })
    }
}

#[derive(Clone)]
pub(crate) struct Keyspace {
    database: OptimisticTxDatabase,
    entries: OptimisticTxKeyspace,
    is_synced: bool,
}

impl Keyspace {
    fn mode(&self) -> PersistMode {
        if self.is_synced { PersistMode::SyncData } else { PersistMode::Buffer }
    }

    /// Compares and sets in a transaction; `None` where another one came between.
    fn try_test_and_set(&self, key: &Key, test: Option<&Bytes>, set: Option<&Bytes>) -> Result<Option<TestAndSet>> {
        let mut transaction = self.database.write_tx().map_err(failed)?.durability(Some(self.mode()));
        let current = transaction.get(&self.entries, key.as_str()).map_err(failed)?;
        if current.as_deref() != test.map(|test| &**test) {
            return Ok(Some(TestAndSet::Mismatch { current: current.map(|value| Bytes::copy_from_slice(&value)) }));
        }
        match set {
            Some(value) => transaction.insert(&self.entries, key.as_str(), &**value),
            None => transaction.remove(&self.entries, key.as_str()),
        }
        Ok(transaction.commit().map_err(failed)?.is_ok().then_some(TestAndSet::Applied))
    }
}

impl Store for Keyspace {
    type Client = Self;

    const DRIVEN: Driven = Driven::Threads;

    fn client(&self) -> Result<Self> {
        Ok(self.clone())
    }

    async fn fill(&self, entries: Vec<(Key, Bytes)>) -> Result<()> {
        let mut transaction = self.database.write_tx().map_err(failed)?.durability(Some(self.mode()));
        for (key, value) in &entries {
            transaction.insert(&self.entries, key.as_str(), &**value);
        }
        transaction.commit().map_err(failed)?.map_err(failed)
    }

    async fn close(self) -> Result<()> {
        self.database.persist(PersistMode::SyncAll).map_err(failed)
    }
}

impl Client for Keyspace {
    type Value = Slice;

    async fn find(&mut self, key: &Key) -> Result<Option<Slice>> {
        self.entries.get(key.as_str()).map_err(failed)
    }

    async fn set(&mut self, key: &Key, value: Bytes) -> Result<()> {
        let mut transaction = self.database.write_tx().map_err(failed)?.durability(Some(self.mode()));
        transaction.insert(&self.entries, key.as_str(), &*value);
        transaction.commit().map_err(failed)?.map_err(failed)
    }

    async fn test_and_set(&mut self, key: &Key, test: Option<Bytes>, set: Option<Bytes>) -> Result<TestAndSet> {
        loop {
            if let Some(ended) = self.try_test_and_set(key, test.as_ref(), set.as_ref())? {
                return Ok(ended);
            }
        }
    }

    async fn scan(&mut self, under: &Key) -> Result<usize> {
        let rows = self.database.read_tx().prefix(&self.entries, format!("{under}/"));
        rows.map(|row| row.into_inner().map(drop)).try_fold(0, |count, row| row.map(|()| count + 1)).map_err(failed)
    }
}
