//! The handle on the content. Its keys have no locator: where a value lies is in memory, by its hash.

use std::{future::ready, sync::Arc};

use async_trait::async_trait;
use backend_kit::{Addition, BatchTarget, BufferedBatch, Gate, Pages, check_value, hash, offload};
use bytes::Bytes;
use store_api::{
    Append, Batch, ContentHash, ContentKey, ContentKeyStream, ContentRead, Error, ErrorKind, HashFunction, Indexable,
    Indexed, Result,
};

use crate::{Instance, LOG, writer::Write};

#[derive(Clone)]
pub(crate) struct LogIndexable {
    instance: Arc<Instance>,
    gate: Arc<Gate>,
}

impl LogIndexable {
    pub(crate) fn new(instance: Arc<Instance>) -> Self {
        let gate = instance.gate.child();
        Self { instance, gate }
    }

    fn holds(&self, hash: &ContentHash) -> Result<bool> {
        self.gate.check()?;
        Ok(self.instance.state.place(hash).is_some())
    }

    async fn read(&self, hash: ContentHash) -> Result<Option<Bytes>> {
        self.gate.check()?;
        let Some(place) = self.instance.state.place(&hash) else { return Ok(None) };
        let instance = Arc::clone(&self.instance);
        let read = move || {
            let value = instance.values.read(place)?;
            if instance.options.verify && instance.hash.hash(&value) != hash {
                let message = "the value does not match its hash; add the true one again";
                return Err(Error::new(ErrorKind::Corrupt, message));
            }
            Ok(Some(value))
        };
        offload(read).await?
    }

    async fn append(&self, given: Option<ContentHash>, value: Bytes) -> Result<ContentKey> {
        self.gate.check()?;
        check_value(&value)?;
        let (hash, trusted) = match given {
            Some(hash) => (hash, false),
            None => (hash(self.instance.hash, &value).await?, true),
        };
        self.write(vec![Addition { hash, value, trusted }]).await?;
        Ok(hash.into())
    }

    /// On the committer's thread: what is there already is read from the file, to be compared.
    async fn write(&self, additions: Vec<Addition>) -> Result<()> {
        self.gate.check()?;
        self.instance.committer.enqueue(Write::Content(additions)).await.map(drop)
    }
}

#[async_trait]
impl ContentRead for LogIndexable {
    fn hash_function(&self) -> HashFunction {
        self.instance.hash
    }

    async fn mem(&self, key: &ContentKey) -> Result<bool> {
        self.holds(&key.to_hash()).map_err(LOG.at("mem", key.to_hash()))
    }

    async fn find(&self, key: &ContentKey) -> Result<Option<Bytes>> {
        self.read(key.to_hash()).await.map_err(LOG.at("find", key.to_hash()))
    }

    async fn index(&self, hash: &ContentHash) -> Result<Option<ContentKey>> {
        let holds = self.holds(hash).map_err(LOG.at("index", hash))?;
        Ok(holds.then(|| (*hash).into()))
    }

    fn keys(&self) -> ContentKeyStream {
        let instance = Arc::clone(&self.instance);
        let page = move |last| ready(Ok(instance.state.page_of_content(last)));
        Box::pin(Pages::new(Arc::clone(&self.gate), None, page))
    }
}

#[async_trait]
impl Append for LogIndexable {
    async fn add(&self, value: Bytes) -> Result<ContentKey> {
        self.append(None, value).await.map_err(LOG.on("add"))
    }

    async fn unsafe_add(&self, hash: ContentHash, value: Bytes) -> Result<ContentKey> {
        self.append(Some(hash), value).await.map_err(LOG.at("unsafe_add", hash))
    }
}

#[async_trait]
impl BatchTarget for LogIndexable {
    async fn commit(&self, additions: Vec<Addition>) -> Result<()> {
        self.write(additions).await.map_err(LOG.on("commit"))
    }
}

#[async_trait]
impl Indexed for LogIndexable {
    async fn begin(&self) -> Result<Box<dyn Batch>> {
        self.gate.check().map_err(LOG.on("begin"))?;
        let options = &self.instance.options;
        Ok(Box::new(BufferedBatch::new(self.clone(), &self.gate, options.batch_limit, options.verify)))
    }
}

#[async_trait]
impl Indexable for LogIndexable {
    async fn close(&self) -> Result<()> {
        self.gate.close();
        Ok(())
    }
}
