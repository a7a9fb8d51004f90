//! `Debug` for stores whose type is not known, so that what has one can derive it: nothing that is stored is shown.

use std::fmt;

use crate::{Append, AtomicWrite, Backend, Batch, ContentRead, EntryRead, Indexable, Indexed};

impl fmt::Debug for dyn Backend + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend").field("guarantees", &self.guarantees()).finish_non_exhaustive()
    }
}

macro_rules! show_the_name {
    ($($contract:ident)*) => {$(
        impl fmt::Debug for dyn $contract + '_ {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($contract)).finish_non_exhaustive()
            }
        }
    )*};
}

show_the_name!(EntryRead AtomicWrite ContentRead Append Indexed Indexable Batch);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_holds_stores_can_derive_it() {
        #[derive(Debug)]
        #[expect(dead_code, reason = "it is there to be derived")]
        struct Application {
            backend: Arc<dyn Backend>,
            names: Arc<dyn AtomicWrite>,
            read: Arc<dyn EntryRead>,
            content: Arc<dyn Indexable>,
            batch: Box<dyn Batch>,
        }
        fn is_shown<T: fmt::Debug>() {}
        is_shown::<Application>();
        is_shown::<(Arc<dyn ContentRead>, Arc<dyn Append>, Arc<dyn Indexed>)>();
    }
}
