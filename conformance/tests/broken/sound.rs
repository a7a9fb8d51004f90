//! The sound stores that bugs are put on.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use backend_mem::MemOptions;
use backend_sqlite::SqliteOptions;
use conformance::{Factory, Place, Settings, Site, broken::Sound};
use store_api::{Backend, Result};

pub(crate) struct SoundFactory(pub(crate) Sound);

#[async_trait]
impl Factory for SoundFactory {
    fn name(&self) -> String {
        format!("{:?}", self.0)
    }

    async fn create(&self, place: Place<'_>) -> Result<Site> {
        match self.0 {
            Sound::Shared => Site::without_files(place),
            _ => Site::with_files(place, "store.db"),
        }
    }

    async fn open(&self, token: &str, settings: &Settings) -> Result<Arc<dyn Backend>> {
        match self.0 {
            Sound::Shared => in_memory(MemOptions::named(token), settings).await,
            Sound::Filed => in_memory(MemOptions::new(), settings).await,
            Sound::Unsynced => in_file(token, false, settings).await,
            _ => in_file(token, true, settings).await,
        }
    }
}

async fn in_memory(options: MemOptions, settings: &Settings) -> Result<Arc<dyn Backend>> {
    let options = settings.apply(options, MemOptions::hash, MemOptions::verify, MemOptions::batch_limit);
    Ok(Arc::new(options.open().await?))
}

async fn in_file(path: &str, sync: bool, settings: &Settings) -> Result<Arc<dyn Backend>> {
    let options = SqliteOptions::new(path).sync(sync).busy(Duration::from_mins(2)).poll(Duration::from_millis(5));
    let options = settings.apply(options, SqliteOptions::hash, SqliteOptions::verify, SqliteOptions::batch_limit);
    Ok(Arc::new(options.open().await?))
}
