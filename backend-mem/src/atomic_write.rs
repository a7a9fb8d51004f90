//! The handle on the entries.

use std::{future::ready, sync::Arc};

use async_trait::async_trait;
use backend_kit::{Gate, OFFLOAD_LEN, Pages, Scope, Test, check_entry_key, check_value, known_entry, offload};
use bytes::Bytes;
use store_api::{AtomicWrite, EntryRead, EntryStream, Init, Key, KeyStream, Result, TestAndSet, Watch, WatchId};

use crate::{
    Instance, MEM,
    entries::{Cursor, Entries},
};

pub(crate) struct MemAtomicWrite {
    instance: Arc<Instance>,
    gate: Arc<Gate>,
}

impl MemAtomicWrite {
    pub(crate) fn new(instance: Arc<Instance>) -> Self {
        let gate = instance.gate.child();
        Self { instance, gate }
    }

    async fn write(&self, key: &Key, test: Test, set: Option<Bytes>) -> Result<TestAndSet> {
        self.gate.check()?;
        check_entry_key(key)?;
        set.as_ref().map_or(Ok(()), check_value)?;
        let long = |value: &Option<Bytes>| value.as_ref().is_some_and(|value| value.len() > OFFLOAD_LEN);
        let compares_long = long(&set) || matches!(&test, Test::Is(test) if long(test));
        if !compares_long {
            return Ok(self.instance.store.entries.write(key, &test, set));
        }
        let key = key.clone();
        self.detach(move |entries| entries.write(&key, &test, set)).await
    }

    /// Writes off the async worker.
    async fn detach<T: Send + 'static>(&self, write: impl FnOnce(&Entries) -> T + Send + 'static) -> Result<T> {
        let instance = Arc::clone(&self.instance);
        let detached = Arc::clone(&instance.detached).read_owned().await;
        self.gate.check()?;
        let write = move || {
            let written = write(&instance.store.entries);
            drop(detached);
            written
        };
        offload(write).await
    }

    async fn start_watch(&self, scope: Scope, init: Init<Vec<(Key, Bytes)>>) -> Result<Watch> {
        self.gate.check()?;
        let store = &self.instance.store;
        let priming = store.hub.register(&self.gate, scope.clone(), init)?;
        if !priming.wants_current_state() {
            return Ok(priming.finish(Arc::clone(&self.instance)));
        }
        let many = matches!(scope, Scope::Under(_)) && store.entries.are_many();
        let instance = Arc::clone(&self.instance);
        let prime = move || {
            instance.store.entries.visit(&scope, |key, seq, value| priming.offer(key, seq, value.clone()));
            priming.finish(Arc::clone(&instance))
        };
        if many { offload(prime).await } else { Ok(prime()) }
    }

    async fn clear_all(&self) -> Result<()> {
        self.gate.check()?;
        if !self.instance.store.entries.are_many() {
            self.instance.store.entries.clear();
            return Ok(());
        }
        self.detach(Entries::clear).await
    }
}

#[async_trait]
impl EntryRead for MemAtomicWrite {
    async fn mem(&self, key: &Key) -> Result<bool> {
        self.gate.check().map_err(MEM.at("mem", key))?;
        Ok(self.instance.store.entries.mem(key))
    }

    async fn find(&self, key: &Key) -> Result<Option<Bytes>> {
        self.gate.check().map_err(MEM.at("find", key))?;
        Ok(self.instance.store.entries.find(key))
    }

    fn list(&self, under: &Key) -> KeyStream {
        let (instance, under) = (Arc::clone(&self.instance), under.clone());
        let page = move |from| ready(Ok(instance.store.entries.page_of_keys(&under, from)));
        Box::pin(Pages::new(Arc::clone(&self.gate), Cursor::start(), page))
    }

    fn entries(&self, under: &Key) -> EntryStream {
        let (instance, under) = (Arc::clone(&self.instance), under.clone());
        let page = move |from| ready(Ok(instance.store.entries.page_of_entries(&under, from)));
        Box::pin(Pages::new(Arc::clone(&self.gate), Cursor::start(), page))
    }

    async fn watch(&self, under: &Key, init: Init<Vec<(Key, Bytes)>>) -> Result<Watch> {
        self.start_watch(Scope::Under(under.clone()), init).await.map_err(MEM.at("watch", under))
    }

    async fn watch_key(&self, key: &Key, init: Init<Option<Bytes>>) -> Result<Watch> {
        check_entry_key(key).map_err(MEM.at("watch_key", key))?;
        let init = known_entry(key, init);
        self.start_watch(Scope::Key(key.clone()), init).await.map_err(MEM.at("watch_key", key))
    }

    async fn unwatch(&self, id: WatchId) -> Result<()> {
        self.gate.check().map_err(MEM.on("unwatch"))?;
        self.instance.store.hub.unwatch(&self.gate, id);
        Ok(())
    }
}

#[async_trait]
impl AtomicWrite for MemAtomicWrite {
    async fn set(&self, key: &Key, value: Bytes) -> Result<()> {
        self.write(key, Test::Any, Some(value)).await.map(drop).map_err(MEM.at("set", key))
    }

    async fn test_and_set(&self, key: &Key, test: Option<Bytes>, set: Option<Bytes>) -> Result<TestAndSet> {
        self.write(key, Test::Is(test), set).await.map_err(MEM.at("test_and_set", key))
    }

    async fn remove(&self, key: &Key) -> Result<()> {
        self.write(key, Test::Any, None).await.map(drop).map_err(MEM.at("remove", key))
    }

    async fn clear(&self) -> Result<()> {
        self.clear_all().await.map_err(MEM.on("clear"))
    }

    async fn close(&self) -> Result<()> {
        if self.gate.close() {
            self.instance.store.hub.end_closed();
        }
        Ok(())
    }
}
