//! What the suite tests: a file in both sync settings, and the temporary one.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use backend_sqlite::{SqliteOptions, Sync};
use conformance::{Factory, Place, Settings, Site};
use store_api::{Backend, Result};

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
        match self {
            Self::File(_) => Site::with_files(place, "store.db"),
            Self::Temporary => Site::without_files(place),
        }
    }

    async fn open(&self, token: &str, settings: &Settings) -> Result<Arc<dyn Backend>> {
        let options = match self {
            // Watchers that were away find the log of changes trimmed, and compare instead.
            Self::File(Sync::Normal) => SqliteOptions::new(token).sync(Sync::Normal).change_log(64),
            Self::File(sync) => SqliteOptions::new(token).sync(*sync),
            Self::Temporary => SqliteOptions::temporary(),
        };
        let options = settings.apply(options, SqliteOptions::hash, SqliteOptions::verify, SqliteOptions::batch_limit);
        Ok(Arc::new(options.busy(BUSY).poll(Duration::from_millis(5)).open().await?))
    }
}
