//! sled, the peer with compare-and-swap and watches.

use std::{
    future::poll_fn,
    path::Path,
    task::{self, Poll},
};

use async_trait::async_trait;
use benches::{Client, Driven, Facts, Feed, Feeds, Role, Store, Subject};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream, stream::BoxStream};
use sled::{Config, Db, IVec};
use store_api::{Durability, Key, Result, TestAndSet};

use crate::engines::{CACHE, CACHE_TOLD, failed, version_of};

/// sled, which hands each write to the system where it is to survive a killed process, and otherwise twice a second. Its
/// `flush` ends in `sync_file_range` on Linux: that asks no disk to keep anything, so that no power loss is survived.
pub(crate) struct Sled {
    pub(crate) name: &'static str,
    pub(crate) durability: Durability,
}

impl Sled {
    fn open_tree(&self, place: &Path) -> Result<Tree> {
        let is_flushed = self.durability == Durability::Process;
        let config = Config::new().path(place.join("sled")).cache_capacity(CACHE as u64);
        // What flushes each write needs no thread that flushes now and then, and that thread does sync.
        let config = if is_flushed { config.flush_every_ms(None) } else { config };
        Ok(Tree { tree: config.open().map_err(failed)?, is_flushed })
    }

    fn facts(&self) -> Facts {
        let note = match self.durability {
            Durability::Process => "a flush behind each write, which on Linux does not sync the disk",
            _ => "writes its log twice a second: a killed process loses what came later",
        };
        Facts {
            name: self.name.into(),
            role: Role::Peer,
            durability: self.durability,
            visibility: None,
            cache: CACHE_TOLD.into(),
            version: version_of("sled"),
            driven: Driven::Threads,
            beside: None,
            note: Some(note.into()),
        }
    }
}

impl Subject for Sled {
    type Store = Tree;

    fn facts(&self) -> Facts {
        self.facts()
    }

    async fn open(&self, place: &Path) -> Result<Tree> {
        self.open_tree(place)
    }
}

#[derive(Clone)]
pub(crate) struct Tree {
    tree: Db,
    is_flushed: bool,
}

impl Tree {
    fn written(&self) -> Result<()> {
        if self.is_flushed { self.tree.flush().map(drop).map_err(failed) } else { Ok(()) }
    }
}

impl Store for Tree {
    type Client = Self;

    const DRIVEN: Driven = Driven::Threads;

    fn client(&self) -> Result<Self> {
        Ok(self.clone())
    }

    async fn fill(&self, entries: Vec<(Key, Bytes)>) -> Result<()> {
        let insert = |(key, value): (Key, Bytes)| self.tree.insert(key.as_str(), &*value).map(drop);
        entries.into_iter().try_for_each(insert).map_err(failed)?;
        self.tree.flush().map(drop).map_err(failed)
    }

    async fn close(self) -> Result<()> {
        self.tree.flush().map(drop).map_err(failed)
    }
}

impl Client for Tree {
    type Value = IVec;

    async fn find(&mut self, key: &Key) -> Result<Option<IVec>> {
        self.tree.get(key.as_str()).map_err(failed)
    }

    async fn set(&mut self, key: &Key, value: Bytes) -> Result<()> {
        self.tree.insert(key.as_str(), &*value).map_err(failed)?;
        self.written()
    }

    async fn test_and_set(&mut self, key: &Key, test: Option<Bytes>, set: Option<Bytes>) -> Result<TestAndSet> {
        match self.tree.compare_and_swap(key.as_str(), test, set.as_deref()).map_err(failed)? {
            Ok(()) => self.written().map(|()| TestAndSet::Applied),
            Err(mismatch) => {
                Ok(TestAndSet::Mismatch { current: mismatch.current.map(|value| Bytes::copy_from_slice(&value)) })
            }
        }
    }

    async fn scan(&mut self, under: &Key) -> Result<usize> {
        let rows = self.tree.scan_prefix(format!("{under}/"));
        rows.map(|row| row.map(drop)).try_fold(0, |count, row| row.map(|()| count + 1)).map_err(failed)
    }
}

#[async_trait]
impl Feeds for Sled {
    fn facts(&self) -> Facts {
        self.facts()
    }

    async fn open(&self, place: &Path) -> Result<Box<dyn Feed>> {
        Ok(Box::new(self.open_tree(place)?))
    }
}

const WATCHED: &str = "watched";

/// A subscriber looks for an event first and leaves its waker then: one that comes in between wakes nobody, and its
/// watcher would sleep for ever. Asked once more, it finds that event.
fn told(events: &mut sled::Subscriber, context: &mut task::Context<'_>) -> Poll<Option<sled::Event>> {
    match events.poll_unpin(context) {
        Poll::Pending => events.poll_unpin(context),
        told @ Poll::Ready(_) => told,
    }
}

#[async_trait]
impl Feed for Tree {
    async fn publish(&self, value: Bytes) -> Result<()> {
        self.tree.insert(WATCHED, &*value).map_err(failed)?;
        self.written()
    }

    async fn subscribe(&self) -> Result<BoxStream<'static, Result<Bytes>>> {
        let next = |mut events: sled::Subscriber| async move {
            match poll_fn(|context| told(&mut events, context)).await? {
                sled::Event::Insert { value, .. } => Some((Ok(Bytes::copy_from_slice(&value)), events)),
                sled::Event::Remove { .. } => None,
            }
        };
        Ok(stream::unfold(self.tree.watch_prefix(WATCHED), next).boxed())
    }

    async fn close(self: Box<Self>) -> Result<()> {
        Store::close(*self).await
    }
}
