//! Our backends, opened as an application opens them.

use std::{path::Path, sync::Arc};

use benches::{Driven, Facts, OfStore, Role, Subject};
use irminsul::{Address, Backend, Durability, Registry};
use store_api::Result;

use super::{CACHE_TOLD, version_of};

/// A backend by its scheme, with options as they stand in an address.
#[derive(Clone, Copy)]
pub(crate) struct Ours {
    pub(crate) name: &'static str,
    pub(crate) scheme: &'static str,
    pub(crate) options: &'static [(&'static str, &'static str)],
    pub(crate) durability: Durability,
    pub(crate) beside: &'static str,
}

impl Ours {
    pub(crate) async fn backend(&self, place: &Path) -> Result<Arc<dyn Backend>> {
        let location = match self.scheme {
            "mem" => String::new(),
            _ => place.join("store").to_string_lossy().into_owned(),
        };
        let address = Address::new(self.scheme, location)?;
        let with = |address: Address, (name, value): &(&str, &str)| address.with_option(name, value);
        Registry::default().open(self.options.iter().try_fold(address, with)?).await
    }
}

impl Subject for Ours {
    type Store = OfStore;

    fn facts(&self) -> Facts {
        let (cache, version) = match self.scheme {
            "mem" => ("all", version_of("irminsul-backend-mem")),
            "sqlite" => (super::sqlite::CACHE_OF_READERS_TOLD, super::sqlite::version()),
            _ => (CACHE_TOLD, version_of("librocksdb-sys")),
        };
        Facts {
            name: self.name.into(),
            role: Role::Ours,
            durability: self.durability,
            visibility: None,
            cache: cache.into(),
            version,
            driven: Driven::Tasks,
            beside: Some(self.beside.into()),
            note: None,
        }
    }

    async fn open(&self, place: &Path) -> Result<OfStore> {
        OfStore::new(self.backend(place).await?)
    }
}
