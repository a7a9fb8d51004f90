//! The stores of an address, as the benchmarks open them: each is a fresh one.

use std::{path::Path, sync::Arc, time::Duration};

use benches::{Driven, Facts, OfStore, Role, Subject};
use conformance::{Factory, Place, Settings};
use irminsul::{Address, Durability, Guarantees, Registry, Result};

use crate::scratch_stores::ScratchStores;

/// The stores of an address, with what is told of them.
pub(super) struct Benched {
    stores: Arc<ScratchStores>,
    facts: Facts,
}

impl Benched {
    /// Opens one to see what it declares, and that it can be opened at all.
    pub(super) async fn probe(stores: Arc<ScratchStores>, registry: &Registry, address: &Address) -> Result<Self> {
        let site = stores.create(Place::Anywhere).await?;
        let opened = stores.open(site.token(), &Settings::default()).await?;
        let guarantees = opened.guarantees();
        opened.close().await?;
        stores.destroy(site).await?;
        let facts = facts(registry, address, &guarantees);
        Ok(Self { stores, facts })
    }

    /// What an acknowledged write survives.
    pub(super) fn durability(&self) -> Durability {
        self.facts.durability
    }
}

fn facts(registry: &Registry, address: &Address, guarantees: &Guarantees) -> Facts {
    let options = registry.options(address.scheme()).unwrap_or_default();
    let default = options.iter().find(|option| option.name == "cache").map(|option| option.default);
    let bytes = address.option("cache").or(default);
    Facts {
        name: address.to_string(),
        role: Role::Ours,
        durability: guarantees.durability,
        cache: bytes.map_or_else(|| "the engine's own".into(), |bytes| format!("{bytes} bytes")),
        version: env!("CARGO_PKG_VERSION").into(),
        driven: Driven::Tasks,
        beside: None,
        note: Some(promises(guarantees)),
    }
}

/// What a store promises beside its durability, so that no figure stands without it.
fn promises(Guarantees { visibility, index, watch_lag, .. }: &Guarantees) -> String {
    let others = match watch_lag.others {
        None => "there are no others".into(),
        Some(Duration::ZERO) => "others' changes are told at once".into(),
        Some(lag) => format!("others' changes are told within {lag:?}"),
    };
    format!("visibility: {visibility}; index: {index}; {others}")
}

impl Subject for &Benched {
    type Store = OfStore;

    fn facts(&self) -> Facts {
        self.facts.clone()
    }

    /// The store is where its address has it.
    async fn open(&self, _: &Path) -> Result<OfStore> {
        let site = self.stores.create(Place::Anywhere).await?;
        OfStore::new(self.stores.open(site.token(), &Settings::default()).await?)
    }
}
