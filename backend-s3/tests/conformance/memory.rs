//! What the suite tests without a server: stores in the memory of this process.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use backend_s3::{S3, S3Options};
use conformance::{Factory, Place, Settings, Site};
use object_store::memory::InMemory;
use store_api::{AtomicWrite, Backend, Durability, Guarantees, Indexable, Result, Visibility};

#[derive(Default)]
pub(crate) struct MemoryFactory {
    buckets: Mutex<HashMap<String, Arc<InMemory>>>,
}

#[async_trait]
impl Factory for MemoryFactory {
    fn name(&self) -> String {
        "s3-memory".into()
    }

    async fn create(&self, place: Place<'_>) -> Result<Site> {
        Site::without_files(place)
    }

    async fn open(&self, token: &str, settings: &Settings) -> Result<Arc<dyn Backend>> {
        let bucket = {
            let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(buckets.entry(token.into()).or_default())
        };
        let options = S3Options::over(bucket).poll(Duration::from_millis(5));
        let options = settings.apply(options, S3Options::hash, S3Options::verify, S3Options::batch_limit);
        Ok(Arc::new(InThisProcess(options.open().await?)))
    }
}

/// The same store, with the guarantees that it has in the memory of a process.
struct InThisProcess(S3);

#[async_trait]
impl Backend for InThisProcess {
    fn atomic_write(&self) -> Option<Arc<dyn AtomicWrite>> {
        self.0.atomic_write()
    }

    fn indexable(&self) -> Option<Arc<dyn Indexable>> {
        self.0.indexable()
    }

    fn guarantees(&self) -> Guarantees {
        let Guarantees { index, watch_lag, .. } = self.0.guarantees();
        Guarantees::new(Durability::Volatile, Visibility::Process, index, watch_lag)
    }

    async fn sync(&self) -> Result<()> {
        self.0.sync().await
    }

    async fn close(&self) -> Result<()> {
        self.0.close().await
    }
}
