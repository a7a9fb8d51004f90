//! The handle on the content.

use std::{future::ready, sync::Arc};

use async_trait::async_trait;
use backend_kit::{Addition, BatchTarget, BufferedBatch, Gate, Pages, check_value, hash};
use bytes::Bytes;
use store_api::{
    Append, Batch, ContentHash, ContentKey, ContentKeyStream, ContentRead, Error, ErrorKind, HashFunction, Indexable,
    Indexed, Result,
};

use crate::{Instance, MEM};

#[derive(Clone)]
pub(crate) struct MemIndexable {
    instance: Arc<Instance>,
    gate: Arc<Gate>,
}

impl MemIndexable {
    pub(crate) fn new(instance: Arc<Instance>) -> Self {
        let gate = instance.gate.child();
        Self { instance, gate }
    }

    async fn read(&self, key: &ContentKey) -> Result<Option<Bytes>> {
        self.gate.check()?;
        let Some(stored) = self.instance.store.content.find(&key.to_hash()) else { return Ok(None) };
        let verified = stored.trusted || !self.instance.options.verify;
        if !verified && hash(self.hash_function(), &stored.value).await? != key.to_hash() {
            return Err(Error::new(ErrorKind::Corrupt, "the value does not match its hash; add the true one again"));
        }
        Ok(Some(stored.value))
    }

    async fn append(&self, hash: Option<ContentHash>, value: Bytes) -> Result<ContentKey> {
        self.gate.check()?;
        check_value(&value)?;
        let addition = match hash {
            Some(hash) => Addition { hash, value, trusted: false },
            None => Addition { hash: backend_kit::hash(self.hash_function(), &value).await?, value, trusted: true },
        };
        let key = ContentKey::from(addition.hash);
        self.instance.store.content.add(addition);
        Ok(key)
    }
}

#[async_trait]
impl ContentRead for MemIndexable {
    fn hash_function(&self) -> HashFunction {
        self.instance.store.content.hash_function()
    }

    async fn mem(&self, key: &ContentKey) -> Result<bool> {
        self.gate.check().map_err(MEM.on("mem"))?;
        Ok(self.instance.store.content.mem(&key.to_hash()))
    }

    async fn find(&self, key: &ContentKey) -> Result<Option<Bytes>> {
        self.read(key).await.map_err(MEM.at("find", key.to_hash()))
    }

    async fn index(&self, hash: &ContentHash) -> Result<Option<ContentKey>> {
        self.gate.check().map_err(MEM.on("index"))?;
        Ok(self.instance.store.content.mem(hash).then(|| (*hash).into()))
    }

    fn keys(&self) -> ContentKeyStream {
        let instance = Arc::clone(&self.instance);
        let page = move |from| ready(Ok(instance.store.content.page_of_keys(from)));
        Box::pin(Pages::new(Arc::clone(&self.gate), (0, 0), page))
    }
}

#[async_trait]
impl Append for MemIndexable {
    async fn add(&self, value: Bytes) -> Result<ContentKey> {
        self.append(None, value).await.map_err(MEM.on("add"))
    }

    async fn unsafe_add(&self, hash: ContentHash, value: Bytes) -> Result<ContentKey> {
        self.append(Some(hash), value).await.map_err(MEM.on("unsafe_add"))
    }
}

#[async_trait]
impl BatchTarget for MemIndexable {
    async fn commit(&self, additions: Vec<Addition>) -> Result<()> {
        self.gate.check().map_err(MEM.on("commit"))?;
        self.instance.store.content.add_all(additions);
        Ok(())
    }
}

#[async_trait]
impl Indexed for MemIndexable {
    async fn begin(&self) -> Result<Box<dyn Batch>> {
        self.gate.check().map_err(MEM.on("begin"))?;
        let options = &self.instance.options;
        Ok(Box::new(BufferedBatch::new(self.clone(), &self.gate, options.batch_limit, options.verify)))
    }
}

#[async_trait]
impl Indexable for MemIndexable {
    async fn close(&self) -> Result<()> {
        self.gate.close();
        Ok(())
    }
}
