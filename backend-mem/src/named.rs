//! Stores by name: shared inside the process, and freed with their last handle.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError, Weak},
};

use crate::Store;

static STORES: LazyLock<Mutex<HashMap<String, Weak<Store>>>> = LazyLock::new(Mutex::default);

/// The store of this name, created if there is none.
pub(crate) fn open(name: &str, create: impl FnOnce() -> Arc<Store>) -> Arc<Store> {
    let mut stores = STORES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(store) = stores.get(name).and_then(Weak::upgrade) {
        return store;
    }
    // Names whose store is gone hold nothing but themselves; they go when the next one comes.
    stores.retain(|_, store| store.strong_count() > 0);
    let store = create();
    stores.insert(name.into(), Arc::downgrade(&store));
    store
}
