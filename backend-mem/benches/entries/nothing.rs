//! A store that does nothing: what is left is the cost of calling one.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use store_api::{
    Append, AtomicWrite, ContentHash, ContentKey, ContentKeyStream, ContentRead, EntryRead, EntryStream, Error,
    ErrorKind, HashFunction, Init, Key, KeyStream, Result, TestAndSet, Watch, WatchId,
};

/// Answers each call at once, with the same.
pub(crate) struct Nothing {
    pub(crate) value: Bytes,
}

fn unsupported<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Unsupported, "a store that does nothing has no watches"))
}

#[async_trait]
impl EntryRead for Nothing {
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
impl AtomicWrite for Nothing {
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

#[async_trait]
impl ContentRead for Nothing {
    fn hash_function(&self) -> HashFunction {
        HashFunction::Blake3
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
impl Append for Nothing {
    async fn add(&self, value: Bytes) -> Result<ContentKey> {
        Ok(HashFunction::Blake3.hash(&value).into())
    }

    async fn unsafe_add(&self, hash: ContentHash, _: Bytes) -> Result<ContentKey> {
        Ok(hash.into())
    }
}
