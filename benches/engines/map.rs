//! A bare concurrent map: what is below the store in memory.

use std::{path::Path, sync::Arc};

use benches::{Client, Driven, Facts, Role, Store, Subject};
use bytes::Bytes;
use dashmap::{DashMap, Entry};
use foldhash::fast::RandomState;
use store_api::{Durability, Key, Result, TestAndSet};

use super::{unsupported, version_of};

pub(crate) const NAME: &str = "concurrent map";

/// A map that its clients share.
pub(crate) struct Map;

impl Subject for Map {
    type Store = Shared;

    fn facts(&self) -> Facts {
        Facts {
            name: NAME.into(),
            role: Role::Raw,
            durability: Durability::Volatile,
            visibility: None,
            cache: "all".into(),
            version: version_of("dashmap"),
            driven: Driven::Tasks,
            beside: None,
            note: Some("no watches, no order".into()),
        }
    }

    async fn open(&self, _: &Path) -> Result<Self::Store> {
        Ok(Shared::default())
    }
}

#[derive(Clone, Default)]
pub(crate) struct Shared(pub(crate) Arc<DashMap<Key, Bytes, RandomState>>);

impl Store for Shared {
    type Client = Self;

    const DRIVEN: Driven = Driven::Tasks;

    fn client(&self) -> Result<Self> {
        Ok(self.clone())
    }

    async fn fill(&self, entries: Vec<(Key, Bytes)>) -> Result<()> {
        for (key, value) in entries {
            self.0.insert(key, value);
        }
        Ok(())
    }

    async fn close(self) -> Result<()> {
        Ok(())
    }
}

impl Client for Shared {
    type Value = Bytes;

    async fn find(&mut self, key: &Key) -> Result<Option<Bytes>> {
        Ok(self.0.get(key).map(|value| value.clone()))
    }

    async fn set(&mut self, key: &Key, value: Bytes) -> Result<()> {
        self.0.insert(key.clone(), value);
        Ok(())
    }

    async fn test_and_set(&mut self, key: &Key, test: Option<Bytes>, set: Option<Bytes>) -> Result<TestAndSet> {
        match self.0.entry(key.clone()) {
            Entry::Occupied(entry) if test.as_ref() != Some(entry.get()) => {
                return Ok(TestAndSet::Mismatch { current: Some(entry.get().clone()) });
            }
            Entry::Vacant(_) if test.is_some() => return Ok(TestAndSet::Mismatch { current: None }),
            Entry::Occupied(mut entry) => match set {
                Some(value) => drop(entry.insert(value)),
                None => drop(entry.remove()),
            },
            Entry::Vacant(entry) => drop(set.map(|value| entry.insert(value))),
        }
        Ok(TestAndSet::Applied)
    }

    async fn scan(&mut self, _: &Key) -> Result<usize> {
        unsupported("a hash map has no ranges")
    }
}
