//! The conformance suite over the log in both sync settings.

use std::{process::ExitCode, sync::Arc};

use async_trait::async_trait;
use backend_template::LogOptions;
use conformance::{Factory, Options, Place, Settings, Site};
use faulty_fs::FaultyFs;
use store_api::{Backend, Result};

struct LogFactory {
    sync: bool,
}

#[async_trait]
impl Factory for LogFactory {
    fn name(&self) -> String {
        if self.sync { "log".into() } else { "log-unsynced".into() }
    }

    async fn create(&self, place: Place<'_>) -> Result<Site> {
        Site::with_files(place, "store")
    }

    async fn open(&self, token: &str, settings: &Settings) -> Result<Arc<dyn Backend>> {
        let options = LogOptions::new(token).sync(self.sync);
        let options = settings.apply(options, LogOptions::hash, LogOptions::verify, LogOptions::batch_limit);
        Ok(Arc::new(options.open().await?))
    }
}

fn main() -> ExitCode {
    // The disks that forget and fail are served by a second process of this program.
    if let Some(served) = faulty_fs::serve_if_asked() {
        return served;
    }
    conformance::main(&[Arc::new(LogFactory { sync: true }), Arc::new(LogFactory { sync: false })], || {
        Ok(Options::from_env()?.mounting(FaultyFs::mount_temporary))
    })
}
