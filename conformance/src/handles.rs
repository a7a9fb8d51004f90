//! Handles of an instance on the stores that it has, for cases about its life that apply whichever those are.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use store_api::{AtomicWrite, Indexable, Key, Result};

use crate::{
    content::{Way, ensure_absent},
    context::{Instance, key},
    failure::{Outcome, ensure},
    operations::value,
};

/// Handles of one instance, on the stores that it has.
pub(crate) struct Handles {
    pub(crate) entries: Option<Arc<dyn AtomicWrite>>,
    pub(crate) content: Option<Arc<dyn Indexable>>,
}

/// A write of something that nobody else writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    Entry(Key),
    Content(Way, Bytes),
}

impl Handles {
    pub(crate) fn of(instance: &Instance) -> Self {
        Self { entries: instance.atomic_write(), content: instance.indexable() }
    }

    /// Some writes of each kind that the instance takes.
    pub(crate) fn writes(&self, client: usize, round: usize) -> Vec<Write> {
        let entries =
            self.entries.iter().flat_map(|_| (0..3).map(|i| Write::Entry(key(format!("{client}/{round}/{i}")))));
        let content = self.content.iter().flat_map(|_| {
            let values = Way::ALL.map(|way| (way, value(format_args!("{client} {round} {way:?}"))));
            values.map(|(way, value)| Write::Content(way, value))
        });
        entries.chain(content).collect()
    }

    /// Does it where the instance has such a store.
    pub(crate) async fn write(&self, write: &Write) -> Result<()> {
        match (write, &self.entries, &self.content) {
            (Write::Entry(key), Some(entries), _) => entries.set(key, value(key)).await,
            (Write::Content(way, value), _, Some(content)) => way.add(&**content, value.clone()).await.map(drop),
            _ => Ok(()),
        }
    }

    /// Whether a write that happened before is read, by each way to.
    pub(crate) async fn read(&self, write: &Write) -> Result<bool> {
        match (write, &self.entries, &self.content) {
            (Write::Entry(key), Some(entries), _) => {
                let listed: Vec<Key> = entries.list(key).try_collect().await?;
                Ok(entries.find(key).await?.is_some() && listed.contains(key))
            }
            (Write::Content(_, value), _, Some(content)) => {
                let hash = content.hash_function().hash(value);
                Ok(content.find(&hash.into()).await?.is_some() && content.mem(&hash.into()).await?)
            }
            _ => Ok(true),
        }
    }

    /// Whether it is there, whole, where the instance has such a store.
    pub(crate) async fn has(&self, write: &Write) -> Outcome<bool> {
        match (write, &self.entries, &self.content) {
            (Write::Entry(key), Some(entries), _) => {
                let found = entries.find(key).await?;
                ensure!(found.is_none() || found == Some(value(key)), "A1: {key:?} has a value that nobody set");
                Ok(found.is_some())
            }
            (Write::Content(_, value), _, Some(content)) => {
                let hash = content.hash_function().hash(value);
                let there = content.find(&hash.into()).await?.is_some();
                if !there {
                    ensure_absent(&**content, &hash, "a handle that does not find it").await?;
                }
                Ok(there)
            }
            _ => Ok(true),
        }
    }

    pub(crate) async fn close(&self) -> Outcome {
        if let Some(entries) = &self.entries {
            entries.close().await?;
        }
        if let Some(content) = &self.content {
            content.close().await?;
        }
        Ok(())
    }
}
