//! The openers of the engines that are compiled in: how an address becomes an engine's typed options.

use std::sync::Arc;

use crate::Opener;

#[cfg(feature = "mem")]
mod mem;
#[cfg(any(feature = "mem", feature = "sqlite"))]
mod scratch;
#[cfg(feature = "sqlite")]
mod sqlite;

pub(crate) fn compiled_in() -> Vec<(&'static str, Arc<dyn Opener>)> {
    vec![
        #[cfg(feature = "mem")]
        ("mem", Arc::new(mem::MemOpener)),
        #[cfg(feature = "sqlite")]
        ("sqlite", Arc::new(sqlite::SqliteOpener)),
    ]
}
