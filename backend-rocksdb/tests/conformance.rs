//! The conformance suite over a folder in both sync settings.

use std::{process::ExitCode, sync::Arc};

use async_trait::async_trait;
use backend_rocksdb::{RocksdbOptions, Sync};
use conformance::{Factory, Options, Place, Settings, Site};
use faulty_fs::FaultyFs;
use store_api::{Backend, Result};

struct RocksdbFactory(Sync);

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

fn main() -> ExitCode {
    if let Some(served) = faulty_fs::serve_if_asked() {
        return served;
    }
    conformance::main(&[Arc::new(RocksdbFactory(Sync::On)), Arc::new(RocksdbFactory(Sync::Off))], || {
        Ok(Options::from_env()?.mounting(FaultyFs::mount_temporary))
    })
}
