//! redb: a transaction for each write, since it has no other.

use std::{path::Path, sync::Arc};

use benches::{Client, Driven, Facts, Role, Store, Subject};
use bytes::Bytes;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use store_api::{Durability, Key, Result, TestAndSet};

use crate::engines::{CACHE, CACHE_TOLD, failed, version_of};

const ENTRIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");

/// redb, whose commits are synced or not at all.
pub(crate) struct Redb {
    pub(crate) name: &'static str,
    pub(crate) durability: Durability,
}

impl Subject for Redb {
    type Store = Shared;

    fn facts(&self) -> Facts {
        let note = match self.durability {
            Durability::Power => "one write at a time",
            _ => "one write at a time; a killed process loses all since the last synced commit",
        };
        Facts {
            name: self.name.into(),
            role: Role::Peer,
            durability: self.durability,
            visibility: None,
            cache: CACHE_TOLD.into(),
            version: version_of("redb"),
            driven: Driven::Threads,
            beside: None,
            note: Some(note.into()),
        }
    }

    async fn open(&self, place: &Path) -> Result<Shared> {
        let database = Database::builder().set_cache_size(CACHE).create(place.join("redb")).map_err(failed)?;
        let shared = Shared { database: Arc::new(database), is_synced: self.durability == Durability::Power };
        shared.write(|_| Ok(()))?;
        Ok(shared)
    }
}

#[derive(Clone)]
pub(crate) struct Shared {
    database: Arc<Database>,
    is_synced: bool,
}

impl Shared {
    fn write<T>(
        &self,
        write: impl FnOnce(&mut redb::Table<'_, &'static [u8], &'static [u8]>) -> Result<T>,
    ) -> Result<T> {
        let mut transaction: WriteTransaction = self.database.begin_write().map_err(failed)?;
        if !self.is_synced {
            transaction.set_durability(redb::Durability::None).map_err(failed)?;
        }
        let written = write(&mut transaction.open_table(ENTRIES).map_err(failed)?)?;
        transaction.commit().map_err(failed)?;
        Ok(written)
    }
}

impl Store for Shared {
    type Client = Self;

    const DRIVEN: Driven = Driven::Threads;

    fn client(&self) -> Result<Self> {
        Ok(self.clone())
    }

    async fn fill(&self, entries: Vec<(Key, Bytes)>) -> Result<()> {
        self.write(|table| {
            entries
                .iter()
                .try_for_each(|(key, value)| table.insert(key.as_str().as_bytes(), &**value).map(drop).map_err(failed))
        })
    }

    async fn close(self) -> Result<()> {
        Ok(())
    }
}

impl Client for Shared {
    type Value = Vec<u8>;

    async fn find(&mut self, key: &Key) -> Result<Option<Vec<u8>>> {
        let table = self.database.begin_read().map_err(failed)?.open_table(ENTRIES).map_err(failed)?;
        let found = table.get(key.as_str().as_bytes()).map_err(failed)?;
        Ok(found.map(|value| value.value().to_vec()))
    }

    async fn set(&mut self, key: &Key, value: Bytes) -> Result<()> {
        self.write(|table| table.insert(key.as_str().as_bytes(), &*value).map(drop).map_err(failed))
    }

    async fn test_and_set(&mut self, key: &Key, test: Option<Bytes>, set: Option<Bytes>) -> Result<TestAndSet> {
        let key = key.as_str().as_bytes();
        self.write(|table| {
            let current = table.get(key).map_err(failed)?.map(|value| Bytes::copy_from_slice(value.value()));
            if current != test {
                return Ok(TestAndSet::Mismatch { current });
            }
            match set {
                Some(value) => drop(table.insert(key, &*value).map_err(failed)?),
                None => drop(table.remove(key).map_err(failed)?),
            }
            Ok(TestAndSet::Applied)
        })
    }

    async fn scan(&mut self, under: &Key) -> Result<usize> {
        let table = self.database.begin_read().map_err(failed)?.open_table(ENTRIES).map_err(failed)?;
        let (from, to) = (format!("{under}/"), format!("{under}0"));
        let rows = table.range(from.as_bytes()..to.as_bytes()).map_err(failed)?;
        rows.map(|row| row.map(drop)).try_fold(0, |count, row| row.map(|()| count + 1)).map_err(failed)
    }
}
