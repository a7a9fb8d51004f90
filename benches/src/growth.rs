//! How a store bears growth: the time of an operation, memory, bytes on disk and the time to open, as records are added.
//!
//! Memory is that of the process, so that each subject is measured in a process of its own.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use fastrand::Rng;
use serde::{Deserialize, Serialize};
use store_api::{Key, Result};

use crate::{
    Client, Latency, Store, Subject,
    disk::bytes_below,
    driver::{Times, no_times, record},
    keys::Values,
    process::resident_bytes,
};

/// How many records are handed over at a time while a store is filled.
const FILLED_AT_ONCE: u64 = 20_000;

/// How far a store grows.
#[derive(Clone, Debug, Serialize)]
pub struct GrowthPlan {
    /// The numbers of records at which it is measured, from the fewest on.
    pub records: Vec<u64>,
    /// How long a value is.
    pub value_len: usize,
    /// How long each operation is measured.
    #[serde(skip)]
    pub duration: Duration,
}

/// How a subject bore it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Growth {
    /// The name of the subject.
    pub subject: String,
    /// What was found at each number of records.
    pub stages: Vec<Stage>,
}

/// What was found with so many records.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stage {
    /// How many records there were.
    pub records: u64,
    /// How many of those added last were added in a second.
    pub filled_per_second: f64,
    /// Reads of any record, by one client.
    pub find: Latency,
    /// Writes of any record, by one client.
    pub set: Latency,
    /// By how much the memory of the process has grown.
    pub resident_bytes: Option<u64>,
    /// What lies on disk, where anything does.
    pub disk_bytes: Option<u64>,
    /// From the call that opens the store to the first record read, where a store can be opened again.
    pub reopen_us: Option<f64>,
}

/// Measures a store while it grows, in an empty directory.
pub(crate) async fn measure_growth<S: Subject + ?Sized>(
    subject: &S,
    place: &Path,
    plan: &GrowthPlan,
) -> Result<Growth> {
    let facts = subject.facts();
    let is_kept = facts.durability.survives_kill();
    let before = resident_bytes();
    let mut store = subject.open(place).await?;
    let (mut records, mut stages) = (0, Vec::new());
    for &count in &plan.records {
        let filled_per_second = fill(&store, records..count, plan.value_len).await?;
        records = count;
        let mut client = store.client()?;
        let find = finds(&mut client, records, plan.duration).await?;
        let set = sets(&mut client, records, plan).await?;
        drop(client);
        let resident_bytes = resident_bytes().zip(before).map(|(now, before)| now.saturating_sub(before));
        let disk_bytes = if is_kept { Some(bytes_below(place)?) } else { None };
        let mut reopen_us = None;
        if is_kept {
            store.close().await?;
            let began = Instant::now();
            store = subject.open(place).await?;
            store.client()?.find(&key(0)).await?;
            reopen_us = Some(began.elapsed().as_secs_f64() * 1e6);
        }
        let (find, set) = (Latency::of(&find), Latency::of(&set));
        stages.push(Stage { records, filled_per_second, find, set, resident_bytes, disk_bytes, reopen_us });
    }
    store.close().await?;
    Ok(Growth { subject: facts.name, stages })
}

/// The key of a record. Neighbours in number are none in order, as with names that users choose.
fn key(record: u64) -> Key {
    Key::new(format!("grown/{:016x}", record.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        .expect("digits and a slash are a key")
}

async fn fill<S: Store>(store: &S, records: std::ops::Range<u64>, value_len: usize) -> Result<f64> {
    let mut values = Values::new(0, 0, value_len);
    let began = Instant::now();
    let count = records.end - records.start;
    for from in records.clone().step_by(usize::try_from(FILLED_AT_ONCE).unwrap_or(usize::MAX)) {
        let to = records.end.min(from + FILLED_AT_ONCE);
        store.fill((from..to).map(|record| (key(record), values.next())).collect()).await?;
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate needs no more digits")]
    Ok(count as f64 / began.elapsed().as_secs_f64())
}

async fn finds<C: Client>(client: &mut C, records: u64, duration: Duration) -> Result<Times> {
    let mut rng = Rng::with_seed(records);
    let (mut times, began) = (no_times(), Instant::now());
    while began.elapsed() < duration {
        let key = key(rng.u64(..records));
        let asked = Instant::now();
        client.find(&key).await?;
        record(&mut times, asked.elapsed());
    }
    Ok(times)
}

async fn sets<C: Client>(client: &mut C, records: u64, plan: &GrowthPlan) -> Result<Times> {
    let (mut rng, mut values) = (Rng::with_seed(records), Values::new(0, 1, plan.value_len));
    let (mut times, began) = (no_times(), Instant::now());
    while began.elapsed() < plan.duration {
        let (key, value) = (key(rng.u64(..records)), values.next());
        let asked = Instant::now();
        client.set(&key, value).await?;
        record(&mut times, asked.elapsed());
    }
    Ok(times)
}
