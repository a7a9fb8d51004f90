//! What the suite tests: a file in both sync settings, and the temporary one.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use backend_sqlite::{SqliteOptions, Sync};
use conformance::{Factory, Place, Settings, Site};
use store_api::{Backend, Error, ErrorKind, Result};
use tempfile::TempDir;

/// Makes stores of one kind.
pub(crate) enum SqliteFactory {
    File(Sync),
    Temporary,
}

/// Clients on a loaded machine wait longer for each other than an application would like to.
const BUSY: Duration = Duration::from_mins(2);

#[async_trait]
impl Factory for SqliteFactory {
    fn name(&self) -> String {
        match self {
            Self::File(Sync::Full) => "sqlite".into(),
            Self::File(_) => "sqlite-normal".into(),
            Self::Temporary => "sqlite-temporary".into(),
        }
    }

    async fn create(&self, place: Place<'_>) -> Result<Site> {
        match (self, place) {
            (Self::Temporary, Place::Anywhere) => Ok(Site::new("")),
            (Self::Temporary, Place::Directory(_)) => {
                Err(Error::new(ErrorKind::Unsupported, "a temporary store chooses its place itself"))
            }
            (Self::File(_), Place::Directory(directory)) => Ok(Site::new(directory.join("store.db").display())),
            (Self::File(_), Place::Anywhere) => {
                let directory = TempDir::new()
                    .map_err(|e| Error::new(ErrorKind::Other, "there is no temporary directory").with_source(e))?;
                Ok(Site::new(directory.path().join("store.db").display()).keeping(directory))
            }
        }
    }

    async fn open(&self, token: &str, settings: &Settings) -> Result<Arc<dyn Backend>> {
        let mut options = match self {
            // Watchers that were away find the log of changes trimmed, and compare instead.
            Self::File(Sync::Normal) => SqliteOptions::new(token).sync(Sync::Normal).change_log(64),
            Self::File(sync) => SqliteOptions::new(token).sync(*sync),
            Self::Temporary => SqliteOptions::temporary(),
        };
        options = options.busy(BUSY).poll(Duration::from_millis(5));
        if let Some(function) = settings.hash {
            options = options.hash(function);
        }
        if let Some(on) = settings.verify {
            options = options.verify(on);
        }
        if let Some(bytes) = settings.batch_limit {
            options = options.batch_limit(bytes);
        }
        Ok(Arc::new(options.open().await?))
    }
}
