//! The content, as its handles need it. Its keys have no locator: where a value lies is in memory, by its hash.

use std::sync::Arc;

use backend_kit::{Addition, ContentStore, Context, Gate, Page, false_value, offload};
use bytes::Bytes;
use store_api::{ContentHash, ContentKey, HashFunction, Result};

use crate::{Instance, LOG, writer::Write};

impl ContentStore for Instance {
    /// Behind this hash.
    type Cursor = Option<ContentHash>;

    fn context(&self) -> Context {
        LOG
    }

    fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    fn hash_function(&self) -> HashFunction {
        self.hash
    }

    fn verifies(&self) -> bool {
        self.options.verify
    }

    fn batch_limit(&self) -> usize {
        self.options.batch_limit
    }

    async fn index(self: &Arc<Self>, hash: &ContentHash) -> Result<Option<ContentKey>> {
        Ok(self.state.place(hash).map(|_| (*hash).into()))
    }

    async fn find(self: &Arc<Self>, key: &ContentKey) -> Result<Option<Bytes>> {
        let hash = key.to_hash();
        let Some(place) = self.state.place(&hash) else { return Ok(None) };
        let instance = Arc::clone(self);
        let read = move || {
            let value = instance.values.read(place)?;
            if instance.options.verify && instance.hash.hash(&value) != hash {
                return Err(false_value());
            }
            Ok(Some(value))
        };
        offload(read).await?
    }

    async fn add(self: &Arc<Self>, addition: Addition) -> Result<ContentKey> {
        let key = addition.hash.into();
        self.commit(vec![addition]).await.map(|()| key)
    }

    /// On the committer's thread: what is there already is read from the file, to be compared.
    async fn commit(self: &Arc<Self>, additions: Vec<Addition>) -> Result<()> {
        self.committer.enqueue(Write::Content(additions)).await.map(drop)
    }

    async fn page(self: Arc<Self>, from: Self::Cursor) -> Result<Page<ContentKey, Self::Cursor>> {
        Ok(self.state.page_of_content(from))
    }
}
