//! How the suite and the benchmarks get stores at an address that a user gives: fresh ones beside or below it, which do not
//! outlive the run.

use std::{
    collections::BTreeSet,
    env,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use conformance::{Factory, Place, Settings, SharedFactory, Site};
use futures_util::future::join_all;
use irminsul::{Address, Backend, Error, ErrorKind, Registry, Result};
use tokio::sync::{RwLock, RwLockReadGuard};

use crate::{
    failure::{Failure, note, with_causes},
    signal::told_to_end,
};

/// The fresh stores of an address; what is at the address itself is left alone.
pub(crate) struct ScratchStores {
    registry: Registry,
    address: Address,
    /// The addresses of those that were made and are not removed yet.
    left_to_remove: Mutex<BTreeSet<String>>,
    /// Whether the run was interrupted: nothing is made or opened any more. Read while something is.
    stopped: RwLock<bool>,
}

impl ScratchStores {
    pub(crate) fn new(registry: &Registry, address: &Address) -> Self {
        Self {
            registry: registry.clone(),
            address: address.clone(),
            left_to_remove: Mutex::default(),
            stopped: RwLock::default(),
        }
    }

    /// The stores of the name that a child process was given: an address.
    pub(crate) fn of_child(registry: &Registry, name: &str) -> Option<SharedFactory> {
        let address: Address = name.parse().ok()?;
        Some(Arc::new(Self::new(registry, &address)))
    }

    /// Whether a store can be made, opened and removed: the error of the address is one of usage, not of the store.
    pub(crate) async fn check(&self) -> Result<()> {
        let site = self.create(Place::Anywhere).await?;
        let opened = self.open(site.token(), &Settings::default()).await;
        let closed = match opened {
            Ok(backend) => backend.close().await,
            Err(error) => Err(error),
        };
        closed.and(self.destroy(site).await)
    }

    /// Removes what an interrupted run leaves, which may still be at work: what it would open anew is refused. Tells what
    /// could not be removed.
    async fn remove_all(&self) -> Vec<String> {
        *self.stopped.write().await = true;
        let made = std::mem::take(&mut *self.left_to_remove());
        let mut left = Vec::new();
        for address in made {
            if let Err(error) = self.registry.destroy(&address).await {
                left.push(format!("{address} is left: {}", with_causes(&error)));
            }
        }
        left
    }

    /// Holds an interruption off while something is made or opened.
    async fn going_on(&self) -> Result<RwLockReadGuard<'_, bool>> {
        let stopped = self.stopped.read().await;
        if *stopped { Err(Error::new(ErrorKind::Unavailable, "the run was interrupted")) } else { Ok(stopped) }
    }

    fn left_to_remove(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.left_to_remove.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address with an option that a case asks for.
    fn with(&self, address: Address, name: &str, value: &str) -> Result<Address> {
        if self.registry.has_option(address.scheme(), name) {
            return address.with_option(name, value);
        }
        Err(Error::new(ErrorKind::Unsupported, format!("the scheme has no option `{name}`")))
    }
}

/// How a run ended, once its stores are removed.
pub(crate) async fn tidied_up<T>(ended: Result<T, Failure>, stores: &[Arc<ScratchStores>]) -> Result<T, Failure> {
    // A store that hangs would hold this up: a second signal ends it.
    let left = tokio::select! {
        _ = told_to_end() => Vec::new(),
        left = join_all(stores.iter().map(|store| store.remove_all())) => left.concat(),
    };
    match ended {
        Err(failure) if !left.is_empty() => Err(Failure::Untidy { failure: Box::new(failure), left }),
        ended => {
            for line in &left {
                note(line);
            }
            ended
        }
    }
}

#[async_trait]
impl Factory for ScratchStores {
    fn name(&self) -> String {
        self.address.to_string()
    }

    async fn create(&self, place: Place<'_>) -> Result<Site> {
        let _going_on = self.going_on().await?;
        match place {
            Place::Anywhere => {
                let address = self.registry.scratch(&self.address).await?.to_string();
                self.left_to_remove().insert(address.clone());
                Ok(Site::new(address))
            }
            // It goes with its directory.
            Place::Directory(directory) => Ok(Site::new(self.registry.scratch_in(&self.address, directory).await?)),
            _ => Err(Error::new(ErrorKind::Unsupported, "no store of an address can be at such a place")),
        }
    }

    async fn open(&self, token: &str, settings: &Settings) -> Result<Arc<dyn Backend>> {
        let mut address: Address = token.parse()?;
        if let Some(function) = settings.hash {
            address = self.with(address, "hash", function.name())?;
        }
        if let Some(on) = settings.verify {
            address = self.with(address, "verify", if on { "on" } else { "off" })?;
        }
        if let Some(bytes) = settings.batch_limit {
            address = self.with(address, "batch", &bytes.to_string())?;
        }
        let _going_on = self.going_on().await?;
        self.registry.open(address).await
    }

    fn insists_on(&self) -> Settings {
        let mut settings = Settings::default();
        settings.hash = self.address.option("hash").and_then(|name| name.parse().ok());
        settings.verify = self.address.option("verify").map(|switch| switch == "on");
        settings.batch_limit = self.address.option("batch").and_then(|bytes| bytes.parse().ok());
        settings
    }

    fn disk(&self) -> PathBuf {
        self.registry.scratch_disk(&self.address).ok().flatten().unwrap_or_else(env::temp_dir)
    }

    async fn destroy(&self, site: Site) -> Result<()> {
        let made = self.left_to_remove().contains(site.token());
        if made {
            self.registry.destroy(site.token()).await?;
            self.left_to_remove().remove(site.token());
        }
        Ok(())
    }
}
