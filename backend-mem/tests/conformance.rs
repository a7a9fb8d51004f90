//! The conformance suite over the store of one instance, and over one that the process shares under a name.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use backend_mem::MemOptions;
use conformance::{Factory, Place, Settings, Site};
use store_api::{Backend, Error, ErrorKind, Result};

enum MemFactory {
    Private,
    Named,
}

#[async_trait]
impl Factory for MemFactory {
    fn name(&self) -> String {
        match self {
            Self::Private => "mem".into(),
            Self::Named => "mem-named".into(),
        }
    }

    async fn create(&self, place: Place<'_>) -> Result<Site> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        match (place, self) {
            (Place::Directory(_), _) => Err(Error::new(ErrorKind::Unsupported, "a store in memory has no files")),
            (Place::Anywhere, Self::Private) => Ok(Site::new("")),
            (Place::Anywhere, Self::Named) => {
                Ok(Site::new(format_args!("conformance-{}", NEXT.fetch_add(1, Ordering::Relaxed))))
            }
        }
    }

    async fn open(&self, token: &str, settings: &Settings) -> Result<Arc<dyn Backend>> {
        let mut options = match self {
            Self::Private => MemOptions::new(),
            Self::Named => MemOptions::named(token),
        };
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

conformance::suite!(MemFactory::Private, MemFactory::Named);
