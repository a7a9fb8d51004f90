//! How thorough a run is: every setting that a report names.

use std::{num::NonZeroUsize, time::Duration};

use serde::Serialize;
use store_api::{Error, ErrorKind, MAX_VALUE_LEN};

use crate::report::tables::bytes;

/// The settings of the load part.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Plan {
    /// How many records a store has before the first run.
    pub records: usize,
    /// How long a value is.
    pub value_len: usize,
    /// How many clients a store has at a time, in the workloads that are about that.
    pub clients: Vec<NonZeroUsize>,
    /// How many clients it has in the others.
    pub typical_clients: NonZeroUsize,
    /// How long a run goes before anything is recorded.
    #[serde(serialize_with = "seconds")]
    pub warm_up: Duration,
    /// How long a run is recorded.
    #[serde(serialize_with = "seconds")]
    pub duration: Duration,
    /// How many runs there are of each, of which the median counts.
    pub runs: u64,
    /// The seed of all choices.
    pub seed: u64,
}

const fn nonzero(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).expect("it is not zero")
}

impl Plan {
    /// What a report for others rests on.
    #[must_use]
    pub fn full() -> Self {
        Self {
            records: 10_000,
            value_len: 128,
            clients: [1, 8, 64, 512].map(nonzero).to_vec(),
            typical_clients: nonzero(64),
            warm_up: Duration::from_millis(150),
            duration: Duration::from_millis(500),
            runs: 5,
            seed: 1,
        }
    }

    /// A first impression, in so much time for each run.
    #[must_use]
    pub fn quick(duration: Duration) -> Self {
        Self {
            records: 1000,
            clients: [1, 64].map(nonzero).to_vec(),
            warm_up: duration / 4,
            duration,
            runs: 1,
            ..Self::full()
        }
    }
}

const MOST_RECORDS: usize = 10_000_000;

impl Plan {
    /// Refuses settings that no run can have.
    pub fn check(&self) -> store_api::Result<()> {
        let most = self.clients.iter().chain([&self.typical_clients]).max().map_or(0, |clients| clients.get());
        if self.records > MOST_RECORDS {
            let message =
                format!("a run keeps the keys of all records in memory: ask for {MOST_RECORDS} records or fewer");
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        if self.records < most {
            let message = format!("each client has a record of its own: {most} clients need as many records or more");
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        if self.value_len > MAX_VALUE_LEN {
            return Err(Error::new(ErrorKind::InvalidInput, "a value has at most 64 MiB: give a shorter one"));
        }
        if self.value_len == 0 {
            let message =
                "values of 0 bytes are all alike, and a value that is set again is no change: give them 1 or more";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        Ok(())
    }

    /// Refuses so many stores in memory where that has no room for their records. They are open at the same time.
    pub fn check_memory(&self, stores: usize, memory_bytes: Option<u64>) -> store_api::Result<()> {
        let needed = self.record_bytes().saturating_mul(stores as u64);
        match memory_bytes {
            Some(memory) if needed > memory => {
                let (needed, memory) = (bytes(needed), bytes(memory));
                let message = format!(
                    "the records of the stores in memory would take {needed}, and there are {memory}: ask for fewer, or for \
                     shorter values"
                );
                Err(Error::new(ErrorKind::InvalidInput, message))
            }
            _ => Ok(()),
        }
    }

    /// How many bytes the values of a store's records have together.
    pub(crate) fn record_bytes(&self) -> u64 {
        (self.records as u64).saturating_mul(self.value_len as u64)
    }
}

fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_are_all_alike_are_refused() {
        let of = |value_len| Plan { value_len, ..Plan::full() };
        assert!(of(0).check().unwrap_err().to_string().contains("give them 1 or more"));
        of(1).check().unwrap();
    }

    #[test]
    fn stores_that_do_not_fit_into_memory_together_are_refused() {
        let plan = Plan { records: 1000, value_len: 1 << 20, ..Plan::full() };
        plan.check_memory(2, Some(2000 << 20)).unwrap();
        plan.check_memory(3, None).unwrap();
        let refused = plan.check_memory(3, Some(2000 << 20)).unwrap_err().to_string();
        assert!(refused.contains("2.93 GiB, and there are 1.95 GiB"), "{refused}");
    }
}
