//! How many objects are read at a time: of long ones few, since a read holds what it reads.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// An object takes one place for each of so many bytes that it has, and for the rest of them.
const PLACE: u64 = 1024 * 1024;
/// No object takes more.
const MOST: usize = 16;

/// What those share that read.
#[derive(Debug)]
pub(crate) struct Places(Arc<Semaphore>);

impl Places {
    pub(crate) fn new(count: usize) -> Self {
        assert!(count >= MOST, "the longest object finds a place");
        Self(Arc::new(Semaphore::new(count)))
    }

    /// Waits for the places of an object of this size, behind those who asked before. They are taken until they are
    /// dropped.
    pub(crate) async fn take(&self, size: u64) -> OwnedSemaphorePermit {
        Arc::clone(&self.0).acquire_many_owned(places_of(size)).await.expect("nobody closes it")
    }
}

fn places_of(size: u64) -> u32 {
    u32::try_from(size.div_ceil(PLACE).clamp(1, MOST as u64)).expect("there are few")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_object_takes_one_place_and_the_longest_many() {
        let sizes = [0, 1, PLACE, PLACE + 1, 9 * PLACE, 16 * PLACE, u64::MAX];
        assert_eq!(sizes.map(places_of), [1, 1, 1, 2, 9, 16, 16]);
    }
}
