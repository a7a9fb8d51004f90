//! What the suite tests: a file in both sync settings, the temporary one, and that with another hash function and without
//! verification.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use backend_sqlite::SqliteOptions;
use conformance::{Factory, Place, Settings, Site};
use store_api::{Backend, HashFunction, Result};

/// Makes stores of one kind.
pub(crate) enum SqliteFactory {
    File {
        sync: bool,
    },
    Temporary,
    /// A temporary one that hashes with SHA-256 and does not verify what is read.
    Unverified,
}

/// Clients on a loaded machine wait longer for each other than an application would like to.
const BUSY: Duration = Duration::from_mins(2);

#[async_trait]
impl Factory for SqliteFactory {
    fn name(&self) -> String {
        match self {
            Self::File { sync: true } => "sqlite".into(),
            Self::File { sync: false } => "sqlite-normal".into(),
            Self::Temporary => "sqlite-temporary".into(),
            Self::Unverified => "sqlite-sha256-unverified".into(),
        }
    }

    async fn create(&self, place: Place<'_>) -> Result<Site> {
        match self {
            Self::File { .. } => Site::with_files(place, "store.db"),
            Self::Temporary | Self::Unverified => Site::without_files(place),
        }
    }

    async fn open(&self, token: &str, settings: &Settings) -> Result<Arc<dyn Backend>> {
        let options = match self {
            // Watchers that were away find the log of changes trimmed, and compare instead.
            Self::File { sync: false } => SqliteOptions::new(token).sync(false).change_log(64),
            Self::File { sync: true } => SqliteOptions::new(token),
            Self::Temporary => SqliteOptions::temporary(),
            Self::Unverified => SqliteOptions::temporary().hash(HashFunction::Sha256).verify(false),
        };
        let options = settings.apply(options, SqliteOptions::hash, SqliteOptions::verify, SqliteOptions::batch_limit);
        Ok(Arc::new(options.busy(BUSY).poll(Duration::from_millis(5)).open().await?))
    }

    fn insists_on(&self) -> Settings {
        let mut settings = Settings::default();
        if matches!(self, Self::Unverified) {
            (settings.hash, settings.verify) = (Some(HashFunction::Sha256), Some(false));
        }
        settings
    }
}
