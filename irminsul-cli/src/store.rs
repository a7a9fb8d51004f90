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
        let address = match missing {
            Missing::Create => address.clone(),
            Missing::Refuse => with_default(registry, address, "create", "off")?,
        };
        let backend = registry.open(&address).await?;
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

/// The address with an option that it does not state, where its scheme knows the option.
pub(crate) fn with_default(
    registry: &Registry,
    address: &Address,
    name: &'static str,
    value: &str,
) -> Result<Address, Failure> {
    let known = registry.options(address.scheme()).unwrap_or_default().iter().any(|option| option.name == name);
    if known && address.option(name).is_none() {
        return Ok(address.clone().with_option(name, value)?);
    }
    Ok(address.clone())
}

fn lacks(what: &str) -> Failure {
    Error::new(ErrorKind::Unsupported, format!("this store keeps no {what}; choose another backend")).into()
}
