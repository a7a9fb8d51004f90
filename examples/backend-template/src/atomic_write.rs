//! The entries, as their handles need them.

use std::sync::Arc;

use backend_kit::{Context, EntryStore, Gate, Hub, Page, Scope, Test, offload};
use bytes::Bytes;
use store_api::{Init, Key, Result, TestAndSet, Watch};

use crate::{Instance, LOG, writer::Write};

impl EntryStore for Instance {
    /// Behind this key.
    type Cursor = Option<Key>;

    fn context(&self) -> Context {
        LOG
    }

    fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    async fn has(self: &Arc<Self>, key: &Key) -> Result<bool> {
        Ok(self.state.mem(key))
    }

    async fn find(self: &Arc<Self>, key: &Key) -> Result<Option<Bytes>> {
        Ok(self.state.find(key))
    }

    async fn write(self: &Arc<Self>, key: &Key, test: Test, set: Option<Bytes>) -> Result<TestAndSet> {
        self.committer.write(Write::Entry { key: key.clone(), test, set }).await
    }

    async fn clear(self: &Arc<Self>) -> Result<()> {
        self.committer.enqueue(Write::Clear).await.map(drop)
    }

    async fn page_of_keys(self: Arc<Self>, under: Key, from: Self::Cursor) -> Result<Page<Key, Self::Cursor>> {
        Ok(self.state.page(&under, from.as_ref(), |key, _| key.clone()))
    }

    async fn page_of_entries(
        self: Arc<Self>,
        under: Key,
        from: Self::Cursor,
    ) -> Result<Page<(Key, Bytes), Self::Cursor>> {
        Ok(self.state.page(&under, from.as_ref(), |key, entry| (key.clone(), entry.value.clone())))
    }

    async fn watch(self: &Arc<Self>, handle: &Arc<Gate>, scope: Scope, init: Init<Vec<(Key, Bytes)>>) -> Result<Watch> {
        let instance = Arc::clone(self);
        let priming = self.hub.register(handle, scope.clone(), init)?;
        if !priming.wants_current_state() {
            return Ok(priming.finish(instance));
        }
        let prime = move || {
            instance.state.visit(&scope, |key, seq, value| priming.offer(key, seq, value));
            priming.finish(instance)
        };
        // Comparing what is known with what is there takes as long as there is much of it.
        offload(prime).await
    }
}
