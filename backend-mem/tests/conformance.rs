//! The conformance suite over the store of one instance, with either hash function, and over one that the process shares
//! under a name.

use std::sync::Arc;

use async_trait::async_trait;
use backend_mem::MemOptions;
use conformance::{Factory, Place, Settings, Site};
use store_api::{Backend, HashFunction, Result};

enum MemFactory {
    Private,
    Sha256,
    Named,
}

#[async_trait]
impl Factory for MemFactory {
    fn name(&self) -> String {
        match self {
            Self::Private => "mem".into(),
            Self::Sha256 => "mem-sha256".into(),
            Self::Named => "mem-named".into(),
        }
    }

    async fn create(&self, place: Place<'_>) -> Result<Site> {
        Site::without_files(place)
    }

    async fn open(&self, token: &str, settings: &Settings) -> Result<Arc<dyn Backend>> {
        let options = match self {
            Self::Private => MemOptions::new(),
            Self::Sha256 => MemOptions::new().hash(HashFunction::Sha256),
            Self::Named => MemOptions::named(token),
        };
        let options = settings.apply(options, MemOptions::hash, MemOptions::verify, MemOptions::batch_limit);
        Ok(Arc::new(options.open().await?))
    }

    fn insists_on(&self) -> Settings {
        let mut settings = Settings::default();
        settings.hash = matches!(self, Self::Sha256).then_some(HashFunction::Sha256);
        settings
    }
}

conformance::suite!(MemFactory::Private, MemFactory::Sha256, MemFactory::Named);
