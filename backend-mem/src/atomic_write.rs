//! The entries, as their handles need them.

use std::sync::Arc;

use backend_kit::{Context, EntryStore, Gate, Hub, Page, Scope, Test, offload};
use bytes::Bytes;
use store_api::{Init, Key, Result, TestAndSet, Watch};

use crate::{Instance, MEM, Store, entries::Cursor};

impl Instance {
    /// Writes off the async worker.
    pub(crate) async fn detach<T: Send + 'static>(
        self: &Arc<Self>,
        write: impl FnOnce(&Store) -> T + Send + 'static,
    ) -> Result<T> {
        let instance = Arc::clone(self);
        let under_way = self.detached.begin()?;
        let write = move || {
            let written = write(&instance.store);
            drop(under_way);
            written
        };
        offload(write).await
    }
}

impl EntryStore for Instance {
    type Cursor = Cursor;

    fn context(&self) -> Context {
        MEM
    }

    fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    fn hub(&self) -> &Arc<Hub> {
        &self.store.hub
    }

    async fn has(self: &Arc<Self>, key: &Key) -> Result<bool> {
        Ok(self.store.entries.mem(key))
    }

    async fn find(self: &Arc<Self>, key: &Key) -> Result<Option<Bytes>> {
        Ok(self.store.entries.find(key))
    }

    async fn write(self: &Arc<Self>, key: &Key, test: Test, set: Option<Bytes>) -> Result<TestAndSet> {
        if !test.is_long(set.as_ref()) {
            return Ok(self.store.entries.write(key, &test, set));
        }
        let key = key.clone();
        self.detach(move |store| store.entries.write(&key, &test, set)).await
    }

    async fn clear(self: &Arc<Self>) -> Result<()> {
        if !self.store.entries.are_many() {
            self.store.entries.clear();
            return Ok(());
        }
        self.detach(|store| store.entries.clear()).await
    }

    async fn page_of_keys(self: Arc<Self>, under: Key, from: Cursor) -> Result<Page<Key, Cursor>> {
        Ok(self.store.entries.page_of_keys(&under, from))
    }

    async fn page_of_entries(self: Arc<Self>, under: Key, from: Cursor) -> Result<Page<(Key, Bytes), Cursor>> {
        Ok(self.store.entries.page_of_entries(&under, from))
    }

    async fn watch(self: &Arc<Self>, handle: &Arc<Gate>, scope: Scope, init: Init<Vec<(Key, Bytes)>>) -> Result<Watch> {
        let store = &self.store;
        let priming = store.hub.register(handle, scope.clone(), init)?;
        if !priming.wants_current_state() {
            return Ok(priming.finish(Arc::clone(self)));
        }
        let many = matches!(scope, Scope::Under(_)) && store.entries.are_many();
        let instance = Arc::clone(self);
        let prime = move || {
            instance.store.entries.visit(&scope, |key, seq, value| priming.offer(key, seq, value.clone()));
            priming.finish(Arc::clone(&instance))
        };
        if many { offload(prime).await } else { Ok(prime()) }
    }
}

#[cfg(test)]
mod tests {
    use store_api::{AtomicWrite, Backend, EntryRead, ErrorKind};

    use super::*;
    use crate::MemOptions;

    #[tokio::test]
    async fn l1_a_closed_handle_says_so_before_it_looks_at_the_key() {
        let entries = MemOptions::new().open().await.unwrap().atomic_write().unwrap();
        entries.close().await.unwrap();
        for key in [Key::root(), Key::new("a").unwrap()] {
            let error = entries.watch_key(&key, Init::Current).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Closed);
            assert_eq!((error.backend(), error.operation()), (Some("mem"), Some("watch_key")));
        }
    }
}
