//! The content, as its handles need it.

use std::sync::Arc;

use backend_kit::{Addition, ContentStore, Context, Gate, Page, false_value, hash};
use bytes::Bytes;
use store_api::{ContentHash, ContentKey, HashFunction, Result};

use crate::{Instance, MEM};

impl ContentStore for Instance {
    /// A shard, and how many of its hashes were given.
    type Cursor = (usize, usize);

    fn context(&self) -> Context {
        MEM
    }

    fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    fn hash_function(&self) -> HashFunction {
        self.store.content.hash_function()
    }

    fn verifies(&self) -> bool {
        self.options.verify
    }

    fn batch_limit(&self) -> usize {
        self.options.batch_limit
    }

    async fn index(self: &Arc<Self>, hash: &ContentHash) -> Result<Option<ContentKey>> {
        Ok(self.store.content.mem(hash).then(|| (*hash).into()))
    }

    async fn find(self: &Arc<Self>, key: &ContentKey) -> Result<Option<Bytes>> {
        let Some(stored) = self.store.content.find(&key.to_hash()) else { return Ok(None) };
        let verified = stored.trusted || !self.options.verify;
        if !verified && hash(self.hash_function(), &stored.value).await? != key.to_hash() {
            return Err(false_value());
        }
        Ok(Some(stored.value))
    }

    async fn add(self: &Arc<Self>, addition: Addition) -> Result<ContentKey> {
        let key = addition.hash.into();
        if !self.store.content.takes_long(std::slice::from_ref(&addition)) {
            self.store.content.add(addition);
            return Ok(key);
        }
        self.detach(move |store| store.content.add(addition)).await.map(|()| key)
    }

    async fn commit(self: &Arc<Self>, additions: Vec<Addition>) -> Result<()> {
        if !self.store.content.takes_long(&additions) {
            self.store.content.add_all(additions);
            return Ok(());
        }
        self.detach(move |store| store.content.add_all(additions)).await
    }

    async fn page(self: Arc<Self>, from: Self::Cursor) -> Result<Page<ContentKey, Self::Cursor>> {
        Ok(self.store.content.page_of_keys(from))
    }
}
