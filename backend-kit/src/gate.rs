//! The life cycle of handles: what is closed stays closed, and closes what hangs on it.

use std::sync::Arc;

use store_api::{Error, Result};

use crate::sync::{AtomicBool, Ordering};

/// Open until it, or what it hangs on, is closed (L1, L2): a handle's gate hangs on its instance's, a batch's on its
/// handle's.
#[derive(Debug, Default)]
pub struct Gate {
    closed: AtomicBool,
    parent: Option<Arc<Gate>>,
}

impl Gate {
    /// A gate of its own: an instance's.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A gate that is closed with this one too.
    #[must_use]
    pub fn child(self: &Arc<Self>) -> Arc<Self> {
        Arc::new(Self { closed: AtomicBool::new(false), parent: Some(Arc::clone(self)) })
    }

    /// Whether this gate or one that it hangs on is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire) || self.parent.as_ref().is_some_and(|parent| parent.is_closed())
    }

    /// `Ok` while it is open.
    ///
    /// # Errors
    ///
    /// `Closed`, without effect.
    pub fn check(&self) -> Result<()> {
        if self.is_closed() { Err(Error::closed()) } else { Ok(()) }
    }

    /// What a call comes to that is made while it is open.
    ///
    /// # Errors
    ///
    /// `Closed`, without effect; those of the call.
    pub async fn admit<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        self.check()?;
        call.await
    }

    /// Closes it; `true` for the one call that did.
    pub fn close(&self) -> bool {
        !self.closed.swap(true, Ordering::AcqRel)
    }
}

#[cfg(all(test, not(irminsul_loom)))]
mod tests {
    use super::*;

    #[test]
    fn l1_a_closed_gate_closes_what_hangs_on_it() {
        let instance = Gate::new();
        let handle = instance.child();
        let batch = handle.child();
        assert!(instance.close() && !instance.close());
        assert!(handle.is_closed() && batch.check().is_err());
    }

    #[test]
    fn l2_a_closed_gate_leaves_its_neighbours_open() {
        let instance = Gate::new();
        let (one, other) = (instance.child(), instance.child());
        one.close();
        assert!(other.check().is_ok() && instance.check().is_ok());
    }
}
