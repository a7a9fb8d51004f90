//! Opening the store that an address names, and its handles.

use std::sync::Arc;

use irminsul::{Address, AtomicWrite, Backend, Error, ErrorKind, Indexable, Registry, Traced};

use crate::failure::Failure;

/// What to do when there is no store at the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Create one: the command is going to write.
    Create,
    /// Fail: an empty store that a mistyped address made would only hide the mistake.
    Refuse,
}

pub(crate) struct Store {
    backend: Traced,
}

impl Store {
    pub(crate) async fn open(registry: &Registry, address: &Address, missing: Missing) -> Result<Self, Failure> {
        let backend = match missing {
            Missing::Create => registry.open(address).await?,
            Missing::Refuse => registry.open_existing(address).await?,
        };
        Ok(Self { backend: Traced::new(backend, address.scheme()) })
    }

    pub(crate) fn backend(&self) -> &dyn Backend {
        &self.backend
    }

    pub(crate) fn entries(&self) -> Result<Arc<dyn AtomicWrite>, Failure> {
        self.backend.atomic_write().ok_or_else(|| lacks("entries"))
    }

    pub(crate) fn content(&self) -> Result<Arc<dyn Indexable>, Failure> {
        self.backend.indexable().ok_or_else(|| lacks("content"))
    }

    /// Lets go of the store; an error on the way is one of the command.
    pub(crate) async fn close(self) -> Result<(), Failure> {
        Ok(self.backend.close().await?)
    }
}

fn lacks(what: &str) -> Failure {
    Error::new(ErrorKind::Unsupported, format!("this store keeps no {what}; choose another backend")).into()
}
