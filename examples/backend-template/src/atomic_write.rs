//! The handle on the entries.

use std::{future::ready, sync::Arc};

use async_trait::async_trait;
use backend_kit::{Gate, OFFLOAD_LEN, Pages, Scope, Test, check_entry_key, check_value, known_entry, offload};
use bytes::Bytes;
use store_api::{AtomicWrite, EntryRead, EntryStream, Init, Key, KeyStream, Result, TestAndSet, Watch, WatchId};

use crate::{Instance, LOG, writer::Write};

pub(crate) struct LogAtomicWrite {
    instance: Arc<Instance>,
    gate: Arc<Gate>,
}

impl LogAtomicWrite {
    pub(crate) fn new(instance: Arc<Instance>) -> Self {
        let gate = instance.gate.child();
        Self { instance, gate }
    }

    async fn write(&self, key: &Key, test: Test, set: Option<Bytes>) -> Result<TestAndSet> {
        self.gate.check()?;
        check_entry_key(key)?;
        set.as_ref().map_or(Ok(()), check_value)?;
        let is_long = |value: &Option<Bytes>| value.as_ref().is_some_and(|value| value.len() > OFFLOAD_LEN);
        let long = is_long(&set) || matches!(&test, Test::Is(test) if is_long(test));
        let write = Write::Entry { key: key.clone(), test, set };
        let committer = &self.instance.committer;
        if long { committer.enqueue(write).await } else { committer.write(write).await }
    }

    async fn clear_all(&self) -> Result<()> {
        self.gate.check()?;
        self.instance.committer.enqueue(Write::Clear).await.map(drop)
    }

    async fn start_watch(&self, scope: Scope, init: Init<Vec<(Key, Bytes)>>) -> Result<Watch> {
        self.gate.check()?;
        let instance = Arc::clone(&self.instance);
        let priming = instance.hub.register(&self.gate, scope.clone(), init)?;
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

#[async_trait]
impl EntryRead for LogAtomicWrite {
    async fn mem(&self, key: &Key) -> Result<bool> {
        self.gate.check().map_err(LOG.at("mem", key))?;
        Ok(self.instance.state.mem(key))
    }

    async fn find(&self, key: &Key) -> Result<Option<Bytes>> {
        self.gate.check().map_err(LOG.at("find", key))?;
        Ok(self.instance.state.find(key))
    }

    fn list(&self, under: &Key) -> KeyStream {
        let (instance, under) = (Arc::clone(&self.instance), under.clone());
        let page = move |last: Option<Key>| ready(Ok(instance.state.page(&under, last.as_ref(), |key, _| key.clone())));
        Box::pin(Pages::new(Arc::clone(&self.gate), None, page))
    }

    fn entries(&self, under: &Key) -> EntryStream {
        let (instance, under) = (Arc::clone(&self.instance), under.clone());
        let page = move |last: Option<Key>| {
            ready(Ok(instance.state.page(&under, last.as_ref(), |key, entry| (key.clone(), entry.value.clone()))))
        };
        Box::pin(Pages::new(Arc::clone(&self.gate), None, page))
    }

    async fn watch(&self, under: &Key, init: Init<Vec<(Key, Bytes)>>) -> Result<Watch> {
        self.start_watch(Scope::Under(under.clone()), init).await.map_err(LOG.at("watch", under))
    }

    async fn watch_key(&self, key: &Key, init: Init<Option<Bytes>>) -> Result<Watch> {
        check_entry_key(key).map_err(LOG.at("watch_key", key))?;
        let init = known_entry(key, init);
        self.start_watch(Scope::Key(key.clone()), init).await.map_err(LOG.at("watch_key", key))
    }

    async fn unwatch(&self, id: WatchId) -> Result<()> {
        self.gate.check().map_err(LOG.on("unwatch"))?;
        self.instance.hub.unwatch(&self.gate, id);
        Ok(())
    }
}

#[async_trait]
impl AtomicWrite for LogAtomicWrite {
    async fn set(&self, key: &Key, value: Bytes) -> Result<()> {
        self.write(key, Test::Any, Some(value)).await.map(drop).map_err(LOG.at("set", key))
    }

    async fn test_and_set(&self, key: &Key, test: Option<Bytes>, set: Option<Bytes>) -> Result<TestAndSet> {
        self.write(key, Test::Is(test), set).await.map_err(LOG.at("test_and_set", key))
    }

    async fn remove(&self, key: &Key) -> Result<()> {
        self.write(key, Test::Any, None).await.map(drop).map_err(LOG.at("remove", key))
    }

    async fn clear(&self) -> Result<()> {
        self.clear_all().await.map_err(LOG.on("clear"))
    }

    async fn close(&self) -> Result<()> {
        if self.gate.close() {
            self.instance.hub.end_closed();
        }
        Ok(())
    }
}
