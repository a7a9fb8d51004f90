//! The sound stores that bugs are put on.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use backend_mem::MemOptions;
use backend_sqlite::{SqliteOptions, Sync};
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
        if self.0 == Sound::Shared {
            let options = MemOptions::named(token);
            let options = settings.apply(options, MemOptions::hash, MemOptions::verify, MemOptions::batch_limit);
            return Ok(Arc::new(options.open().await?));
        }
        let sync = if self.0 == Sound::Unsynced { Sync::Normal } else { Sync::Full };
        let options = SqliteOptions::new(token).sync(sync);
        let options = settings.apply(options, SqliteOptions::hash, SqliteOptions::verify, SqliteOptions::batch_limit);
        let options = options.busy(Duration::from_mins(2)).poll(Duration::from_millis(5));
        Ok(Arc::new(options.open().await?))
    }
}
