//! The content, as its handles need it. A key's locator is the place of its value in a pack.

use std::sync::Arc;

use backend_kit::{Addition, ContentStore, Context, Gate, Page};
use bytes::Bytes;
use store_api::{ContentHash, ContentKey, HashFunction, Result};

use crate::{Instance, packs::Cursor};

impl ContentStore for Instance {
    type Cursor = Cursor;

    fn context(&self) -> Context {
        self.context
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
        self.packs.index(hash).await
    }

    async fn find(self: &Arc<Self>, key: &ContentKey) -> Result<Option<Bytes>> {
        self.packs.find(key).await
    }

    async fn add(self: &Arc<Self>, addition: Addition) -> Result<ContentKey> {
        self.packs.add(addition).await
    }

    async fn commit(self: &Arc<Self>, additions: Vec<Addition>) -> Result<()> {
        self.packs.commit(additions).await
    }

    async fn page(self: Arc<Self>, from: Self::Cursor) -> Result<Page<ContentKey, Self::Cursor>> {
        self.packs.page(from).await
    }
}
