//! Durability is checked, not believed: on a file system that counts, how many syncs a write of one client causes, and
//! how many of many clients.

use std::path::Path;

use serde::Serialize;
use store_api::{Durability, Error, ErrorKind, Key, Result};

use crate::{Client, Plan, Store, Subject, keys::Values};

/// What counts the syncs of the files below a directory.
pub trait CountsSyncs: Send + Sync {
    /// How many there were so far.
    fn syncs(&self) -> Result<u64>;
}

/// How many syncs the writes of one client cause: without another, each waits for one of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Syncs {
    /// How many writes there were.
    pub writes: u64,
    /// How many syncs.
    pub syncs: u64,
}

impl Syncs {
    /// Whether they are what the durability asks for: where writes survive a power loss, one at least for each; elsewhere
    /// next to none.
    #[must_use]
    pub fn fit(self, durability: Durability) -> bool {
        if durability.survives_power_loss() { self.syncs >= self.writes } else { self.syncs * 10 <= self.writes }
    }
}

const WRITES: u64 = 100;

/// Counts the syncs of the writes of one client. One key is written, so that no engine moves data about meanwhile.
pub(crate) async fn count<S: Subject + ?Sized>(
    subject: &S,
    place: &Path,
    plan: &Plan,
    counter: &dyn CountsSyncs,
) -> Result<Syncs> {
    let store = subject.open(place).await?;
    let found = count_of(store.client()?, plan, counter).await;
    store.close().await?;
    found
}

async fn count_of<C: Client>(mut client: C, plan: &Plan, counter: &dyn CountsSyncs) -> Result<Syncs> {
    let key = Key::new("counted")?;
    let mut values = Values::new(0, 0, plan.value_len);
    client.set(&key, values.next()).await?;
    let before = counter.syncs()?;
    for _ in 0..WRITES {
        client.set(&key, values.next()).await?;
    }
    let between = counter.syncs()?.checked_sub(before);
    let syncs = between.ok_or_else(|| Error::new(ErrorKind::Other, "the count of syncs went back"))?;
    Ok(Syncs { writes: WRITES, syncs })
}
