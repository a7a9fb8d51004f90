//! The floor: a store that does nothing. What its rows show is the cost of measuring, and of calling a store at all.

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use store_api::{
    Append, AtomicWrite, Backend, Batch, ContentHash, ContentKey, ContentKeyStream, ContentRead, Durability, EntryRead,
    EntryStream, Error, ErrorKind, Guarantees, HashFunction, IndexLevel, Indexable, Indexed, Init, Key, KeyStream,
    Result, TestAndSet, Visibility, Watch, WatchId, WatchLag,
};

use crate::{Driven, Facts, OfStore, Role, Subject};

/// Answers each call at once, with the same.
#[derive(Clone, Debug)]
pub struct NullStore {
    /// What each key is found to have, and each key of content.
    pub value: Bytes,
}

impl Subject for NullStore {
    type Store = OfStore;

    fn facts(&self) -> Facts {
        Facts {
            name: "nothing".into(),
            role: Role::Floor,
            durability: Durability::Volatile,
            visibility: None,
            cache: "none".into(),
            version: concat!("irminsul ", env!("CARGO_PKG_VERSION")).into(),
            driven: Driven::Tasks,
            beside: None,
            note: Some("keeps nothing and answers at once: the cost of measuring".into()),
        }
    }

    async fn open(&self, _: &Path) -> Result<OfStore> {
        OfStore::new(Arc::new(self.clone()))
    }
}

fn unsupported<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Unsupported, "a store that does nothing has no watches, and no batches"))
}

#[async_trait]
impl Backend for NullStore {
    fn atomic_write(&self) -> Option<Arc<dyn AtomicWrite>> {
        Some(Arc::new(self.clone()))
    }

    fn indexable(&self) -> Option<Arc<dyn Indexable>> {
        Some(Arc::new(self.clone()))
    }

    fn guarantees(&self) -> Guarantees {
        let lag = WatchLag::new(std::time::Duration::ZERO, None);
        Guarantees::new(Durability::Volatile, Visibility::Instance, IndexLevel::Exact, lag)
    }

    async fn sync(&self) -> Result<()> {
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl EntryRead for NullStore {
    async fn mem(&self, _: &Key) -> Result<bool> {
        Ok(true)
    }

    async fn find(&self, _: &Key) -> Result<Option<Bytes>> {
        Ok(Some(self.value.clone()))
    }

    fn list(&self, _: &Key) -> KeyStream {
        Box::pin(stream::empty())
    }

    fn entries(&self, _: &Key) -> EntryStream {
        Box::pin(stream::empty())
    }

    async fn watch(&self, _: &Key, _: Init<Vec<(Key, Bytes)>>) -> Result<Watch> {
        unsupported()
    }

    async fn watch_key(&self, _: &Key, _: Init<Option<Bytes>>) -> Result<Watch> {
        unsupported()
    }

    async fn unwatch(&self, _: WatchId) -> Result<()> {
        unsupported()
    }
}

#[async_trait]
impl AtomicWrite for NullStore {
    async fn set(&self, _: &Key, _: Bytes) -> Result<()> {
        Ok(())
    }

    async fn test_and_set(&self, _: &Key, _: Option<Bytes>, _: Option<Bytes>) -> Result<TestAndSet> {
        Ok(TestAndSet::Applied)
    }

    async fn remove(&self, _: &Key) -> Result<()> {
        Ok(())
    }

    async fn clear(&self) -> Result<()> {
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

/// It does not hash either.
const NO_HASH: ContentHash = ContentHash::new([0; ContentHash::LEN]);

#[async_trait]
impl ContentRead for NullStore {
    fn hash_function(&self) -> HashFunction {
        HashFunction::default()
    }

    async fn mem(&self, _: &ContentKey) -> Result<bool> {
        Ok(true)
    }

    async fn find(&self, _: &ContentKey) -> Result<Option<Bytes>> {
        Ok(Some(self.value.clone()))
    }

    async fn index(&self, hash: &ContentHash) -> Result<Option<ContentKey>> {
        Ok(Some((*hash).into()))
    }

    fn keys(&self) -> ContentKeyStream {
        Box::pin(stream::empty())
    }
}

#[async_trait]
impl Append for NullStore {
    async fn add(&self, _: Bytes) -> Result<ContentKey> {
        Ok(NO_HASH.into())
    }

    async fn unsafe_add(&self, hash: ContentHash, _: Bytes) -> Result<ContentKey> {
        Ok(hash.into())
    }
}

#[async_trait]
impl Indexed for NullStore {
    async fn begin(&self) -> Result<Box<dyn Batch>> {
        unsupported()
    }
}

#[async_trait]
impl Indexable for NullStore {
    async fn close(&self) -> Result<()> {
        Ok(())
    }
}
