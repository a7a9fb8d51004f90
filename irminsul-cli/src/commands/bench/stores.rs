//! The stores of an address, as the benchmarks open them: each is a fresh one.

use std::{path::Path, sync::Arc, time::Duration};

use benches::{Driven, Facts, OfStore, Role, Subject, bytes};
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
        let is_made_a_file = address.location().is_empty() && site.token() != address.to_string();
        let opened = stores.open(site.token(), &Settings::default()).await?;
        let guarantees = opened.guarantees();
        opened.close().await?;
        stores.destroy(site).await?;
        let facts = facts(registry, address, &guarantees, is_made_a_file);
        Ok(Self { stores, facts })
    }

    /// What an acknowledged write survives.
    pub(super) fn durability(&self) -> Durability {
        self.facts.durability
    }
}

fn facts(registry: &Registry, address: &Address, guarantees: &Guarantees, is_made_a_file: bool) -> Facts {
    let options = registry.options(address.scheme()).unwrap_or_default();
    let default = options.iter().find(|option| option.name == "cache").map(|option| option.default);
    let cache = address.option("cache").or(default);
    let told = |count: &str| count.parse().map_or_else(|_| count.to_owned(), bytes);
    Facts {
        // A bare `sqlite:` promises less, and nobody else can open it.
        name: if is_made_a_file { format!("{address} (in a file)") } else { address.to_string() },
        role: Role::Ours,
        durability: guarantees.durability,
        visibility: Some(guarantees.visibility),
        cache: cache.map_or_else(|| "the engine's own".into(), told),
        version: concat!("irminsul ", env!("CARGO_PKG_VERSION")).into(),
        driven: Driven::Tasks,
        beside: None,
        note: Some(promises(guarantees)),
    }
}

/// What else a store promises, so that no figure stands without it.
fn promises(Guarantees { index, watch_lag, .. }: &Guarantees) -> String {
    let others = match watch_lag.others {
        None => "no other instance can open it".into(),
        Some(Duration::ZERO) => "others' changes are told at once".into(),
        Some(lag) => format!("others' changes are told within {lag:?}"),
    };
    format!("index: {index}; {others}")
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
