//! The wrappers around a store in memory, where their own cost is most of what there is to see.

use std::{path::Path, sync::Arc};

use benches::{Facts, OfStore, Subject};
use irminsul::{Backend, Prefixed, Traced};
use store_api::{Key, Result};

use crate::engines::ours::Ours;

/// A store behind a wrapper.
pub(crate) struct Wrapped {
    pub(crate) name: &'static str,
    pub(crate) store: Ours,
    pub(crate) wrap: fn(Arc<dyn Backend>) -> Arc<dyn Backend>,
}

/// Nobody listens to what it tells.
pub(crate) fn traced(store: Arc<dyn Backend>) -> Arc<dyn Backend> {
    Arc::new(Traced::new(store, "mem"))
}

pub(crate) fn prefixed(store: Arc<dyn Backend>) -> Arc<dyn Backend> {
    Arc::new(Prefixed::new(store, Key::new("tenants/42").expect("letters and digits are a key")))
}

impl Subject for Wrapped {
    type Store = OfStore;

    fn facts(&self) -> Facts {
        Facts { name: self.name.into(), ..self.store.facts() }
    }

    async fn open(&self, place: &Path) -> Result<OfStore> {
        OfStore::new((self.wrap)(self.store.backend(place).await?))
    }
}
