//! What the suite tests: a folder, in both sync settings.

use std::sync::Arc;

use async_trait::async_trait;
use backend_rocksdb::RocksdbOptions;
use conformance::{Factory, Place, Settings, Site};
use store_api::{Backend, Result};

/// Makes stores of one kind.
pub(crate) struct RocksdbFactory {
    pub(crate) sync: bool,
}

#[async_trait]
impl Factory for RocksdbFactory {
    fn name(&self) -> String {
        if self.sync { "rocksdb".into() } else { "rocksdb-unsynced".into() }
    }

    async fn create(&self, place: Place<'_>) -> Result<Site> {
        Site::with_files(place, "store")
    }

    async fn open(&self, token: &str, settings: &Settings) -> Result<Arc<dyn Backend>> {
        let options = RocksdbOptions::new(token).sync(self.sync);
        let options =
            settings.apply(options, RocksdbOptions::hash, RocksdbOptions::verify, RocksdbOptions::batch_limit);
        Ok(Arc::new(options.open().await?))
    }
}
