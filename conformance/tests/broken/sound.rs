//! The sound stores that bugs are put on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use backend_mem::MemOptions;
use backend_sqlite::{SqliteOptions, Sync};
use conformance::{Factory, Place, Settings, Site, broken::Sound};
use store_api::{Backend, Error, ErrorKind, Result};
use tempfile::TempDir;

pub(crate) struct SoundFactory(pub(crate) Sound);

#[async_trait]
impl Factory for SoundFactory {
    fn name(&self) -> String {
        format!("{:?}", self.0)
    }

    async fn create(&self, place: Place<'_>) -> Result<Site> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let site = format!("broken-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        match (self.0, place) {
            (Sound::Shared, Place::Anywhere) => Ok(Site::new(site)),
            (Sound::Shared, Place::Directory(_)) => {
                Err(Error::new(ErrorKind::Unsupported, "a store in memory has no files"))
            }
            (_, Place::Directory(directory)) => Ok(Site::new(directory.join(site).display())),
            (_, Place::Anywhere) => {
                let directory = TempDir::new()
                    .map_err(|e| Error::new(ErrorKind::Other, "there is no temporary directory").with_source(e))?;
                Ok(Site::new(directory.path().join(site).display()).keeping(directory))
            }
        }
    }

    async fn open(&self, token: &str, settings: &Settings) -> Result<Arc<dyn Backend>> {
        match self.0 {
            Sound::Shared => in_memory(MemOptions::named(token), settings).await,
            Sound::Filed => in_memory(MemOptions::new(), settings).await,
            Sound::Unsynced => in_file(token, Sync::Normal, settings).await,
            _ => in_file(token, Sync::Full, settings).await,
        }
    }
}

async fn in_memory(mut options: MemOptions, settings: &Settings) -> Result<Arc<dyn Backend>> {
    options = settings.hash.map_or(options.clone(), |function| options.hash(function));
    options = settings.verify.map_or(options.clone(), |on| options.verify(on));
    options = settings.batch_limit.map_or(options.clone(), |bytes| options.batch_limit(bytes));
    Ok(Arc::new(options.open().await?))
}

async fn in_file(path: &str, sync: Sync, settings: &Settings) -> Result<Arc<dyn Backend>> {
    let mut options = SqliteOptions::new(path).sync(sync).busy(Duration::from_mins(2)).poll(Duration::from_millis(5));
    options = settings.hash.map_or(options.clone(), |function| options.hash(function));
    options = settings.verify.map_or(options.clone(), |on| options.verify(on));
    options = settings.batch_limit.map_or(options.clone(), |bytes| options.batch_limit(bytes));
    Ok(Arc::new(options.open().await?))
}
