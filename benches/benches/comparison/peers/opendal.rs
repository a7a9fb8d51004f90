//! OpenDAL in memory: one API for many services, which has no compare-and-set here.

use std::path::Path;

use benches::{Client, Driven, Facts, Role, Store, Subject};
use bytes::Bytes;
use opendal::{ErrorKind, Operator, services::Memory};
use store_api::{Durability, Key, Result, TestAndSet};

use crate::engines::{failed, unsupported, version_of};

/// An operator on memory, shared by its clients.
pub(crate) struct OpenDal;

impl Subject for OpenDal {
    type Store = Memories;

    fn facts(&self) -> Facts {
        Facts {
            name: "OpenDAL memory".into(),
            role: Role::Peer,
            durability: Durability::Volatile,
            visibility: None,
            cache: "all".into(),
            version: version_of("opendal"),
            driven: Driven::Tasks,
            beside: None,
            note: Some("no compare-and-set, no watches".into()),
        }
    }

    async fn open(&self, _: &Path) -> Result<Memories> {
        Operator::new(Memory::default()).map(Memories).map_err(failed)
    }
}

#[derive(Clone)]
pub(crate) struct Memories(Operator);

impl Store for Memories {
    type Client = Self;

    const DRIVEN: Driven = Driven::Tasks;

    fn client(&self) -> Result<Self> {
        Ok(self.clone())
    }

    async fn fill(&self, entries: Vec<(Key, Bytes)>) -> Result<()> {
        for (key, value) in entries {
            self.0.write(key.as_str(), value).await.map_err(failed)?;
        }
        Ok(())
    }

    async fn close(self) -> Result<()> {
        Ok(())
    }
}

impl Client for Memories {
    type Value = Bytes;

    async fn find(&mut self, key: &Key) -> Result<Option<Bytes>> {
        match self.0.read(key.as_str()).await {
            Ok(value) => Ok(Some(value.to_bytes())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    async fn set(&mut self, key: &Key, value: Bytes) -> Result<()> {
        self.0.write(key.as_str(), value).await.map(drop).map_err(failed)
    }

    async fn test_and_set(&mut self, _: &Key, _: Option<Bytes>, _: Option<Bytes>) -> Result<TestAndSet> {
        unsupported("OpenDAL has no compare-and-set in memory")
    }

    async fn scan(&mut self, under: &Key) -> Result<usize> {
        let entries = self.0.list(&format!("{under}/")).await.map_err(failed)?;
        for entry in &entries {
            self.0.read(entry.path()).await.map_err(failed)?;
        }
        Ok(entries.len())
    }
}
