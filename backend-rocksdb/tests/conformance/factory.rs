//! What the suite tests: a folder, in both sync settings.

use std::sync::Arc;

use async_trait::async_trait;
use backend_rocksdb::{RocksdbOptions, Sync};
use conformance::{Factory, Place, Settings, Site};
use store_api::{Backend, Result};

/// Makes stores of one kind.
pub(crate) struct RocksdbFactory(pub(crate) Sync);

#[async_trait]
impl Factory for RocksdbFactory {
    fn name(&self) -> String {
        match self.0 {
            Sync::On => "rocksdb".into(),
            _ => "rocksdb-unsynced".into(),
        }
    }

    async fn create(&self, place: Place<'_>) -> Result<Site> {
        Site::with_files(place, "store")
    }

    async fn open(&self, token: &str, settings: &Settings) -> Result<Arc<dyn Backend>> {
        let options = RocksdbOptions::new(token).sync(self.0);
        let options =
            settings.apply(options, RocksdbOptions::hash, RocksdbOptions::verify, RocksdbOptions::batch_limit);
        Ok(Arc::new(options.open().await?))
    }
}
