//! What a backend declares, so that a caller can choose and the conformance suite can test.

use std::{fmt, time::Duration};

/// What a store declares about itself. The conformance suite tests each level as declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Guarantees {
    /// What an acknowledged write survives (A10).
    pub durability: Durability,
    /// Among whom the clauses hold (A1, W11, I2).
    pub visibility: Visibility,
    /// What `index` answering `None` means (I3).
    pub index: IndexLevel,
    /// How late a watch may be (W5, W11).
    pub watch_lag: WatchLag,
}

impl Guarantees {
    /// All levels, stated.
    #[must_use]
    pub fn new(durability: Durability, visibility: Visibility, index: IndexLevel, watch_lag: WatchLag) -> Self {
        Self { durability, visibility, index, watch_lag }
    }
}

/// What an acknowledged write survives (A10).
///
/// The levels have no order, since what a service promises is its own affair. An application asks for what it needs:
///
/// ```
/// use store_api::Durability;
///
/// assert!(Durability::Process.survives_kill());
/// assert!(!Durability::Process.survives_power_loss());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// Nothing: the store lives as long as its last handle.
    Volatile,
    /// A killed process.
    Process,
    /// A power loss: the write was synced before it was acknowledged.
    Power,
    /// What the remote service that acknowledged it promises.
    Service,
}

impl Durability {
    /// Whether an acknowledged write survives that the process which wrote it is killed: at every level but `Volatile`.
    /// At `Service` that is the service's promise, which one that runs inside this process may not keep.
    #[must_use]
    pub const fn survives_kill(self) -> bool {
        match self {
            Self::Volatile => false,
            Self::Process | Self::Power | Self::Service => true,
        }
    }

    /// Whether an acknowledged write survives that this machine loses its power, without a
    /// [`Backend::sync`](crate::Backend::sync): at `Power`, since it was synced; at `Service`, where the service promises
    /// it. The conformance suite tests it at `Power` alone: one whose service is on this very machine looks for
    /// `Service`, and asks that service.
    #[must_use]
    pub const fn survives_power_loss(self) -> bool {
        match self {
            Self::Volatile | Self::Process => false,
            Self::Power | Self::Service => true,
        }
    }
}

/// Among whom the clauses hold, from narrow to wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Visibility {
    /// The handles of one instance.
    Instance,
    /// The instances of one process.
    Process,
    /// The processes of one host.
    Host,
    /// The hosts that reach the service.
    Cluster,
}

/// What `index` answering `None` means (I3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IndexLevel {
    /// No `add` of it was acknowledged by this instance before the call. One by another instance may be missed while it is
    /// more recent than the watch lag.
    BestEffort,
    /// No `add` of it was acknowledged before the call.
    Exact,
}

/// How long until a change is told to a watch (W5, W11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchLag {
    /// For a change by the same instance. Zero: as soon as it is applied.
    pub own: Duration,
    /// For a change by another instance; `None` where no other instance can change the store.
    pub others: Option<Duration>,
}

impl WatchLag {
    /// Both lags, stated.
    #[must_use]
    pub fn new(own: Duration, others: Option<Duration>) -> Self {
        Self { own, others }
    }
}

macro_rules! display_as_its_name {
    ($($level:ty),*) => {$(
        impl fmt::Display for $level {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&format!("{self:?}"))
            }
        }
    )*};
}
display_as_its_name!(Durability, Visibility, IndexLevel);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_level_survives_what_it_says() {
        let survived = |level: Durability| (level.survives_kill(), level.survives_power_loss());
        assert_eq!(survived(Durability::Volatile), (false, false));
        assert_eq!(survived(Durability::Process), (true, false));
        assert_eq!(survived(Durability::Power), (true, true));
        assert_eq!(survived(Durability::Service), (true, true));
    }
}
