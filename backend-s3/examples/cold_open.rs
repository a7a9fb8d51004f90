//! Says what an instance that opens a store with much content costs, in requests, bytes and time: its open, the first
//! value that it is asked for, and each further one. Over an object store in memory, whose requests take no time.
//!
//! ```text
//! cargo run --release --package irminsul-backend-s3 --example cold_open -- 1000000
//! ```

use std::{error::Error, sync::Arc, time::Instant};

use backend_s3::{Requests, S3, S3Options};
use bytes::Bytes;
use object_store::{ObjectStore, memory::InMemory};
use store_api::{Backend, HashFunction, Indexable, Result};

const BATCHED: u64 = 1000;
const VALUE_LEN: usize = 128;
/// How many values are looked up behind the first.
const FURTHER: u64 = 100;

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn Error>> {
    let most: u64 = match std::env::args().nth(1) {
        Some(count) => count.parse().map_err(|_| "name the number of values, such as 1000000")?,
        None => 100_000,
    };
    let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let writer = open(&objects).await?;
    println!(
        "values in batches of {BATCHED}; requests, KiB and ms of: the open, the first lookup, one of {FURTHER} more"
    );
    let (mut filled, mut next) = (0, BATCHED);
    while filled < most {
        fill(&*content_of(&writer), filled / BATCHED).await?;
        filled += BATCHED;
        if filled == next || filled >= most {
            report(&objects, filled).await?;
            next *= 10;
        }
    }
    writer.close().await?;
    Ok(())
}

async fn open(objects: &Arc<dyn ObjectStore>) -> Result<S3> {
    S3Options::over(Arc::clone(objects)).open().await
}

fn content_of(store: &S3) -> Arc<dyn Indexable> {
    store.indexable().expect("it keeps content")
}

fn value(number: u64) -> Bytes {
    format!("{number:0VALUE_LEN$}").into()
}

async fn fill(content: &dyn Indexable, batch: u64) -> Result<()> {
    let values = content.begin().await?;
    for number in batch * BATCHED..(batch + 1) * BATCHED {
        values.add(value(number)).await?;
    }
    values.commit().await
}

async fn report(objects: &Arc<dyn ObjectStore>, filled: u64) -> Result<()> {
    let mut began = (Requests::default(), Instant::now());
    let store = open(objects).await?;
    let content = content_of(&store);
    let mut costs = vec![cost(&store, &mut began, 1)];
    look_up(&*content, filled / 2).await?;
    costs.push(cost(&store, &mut began, 1));
    for further in 0..FURTHER {
        look_up(&*content, further * filled / FURTHER).await?;
    }
    costs.push(cost(&store, &mut began, FURTHER));
    println!("{filled:>10}: {}", costs.join(" | "));
    store.close().await
}

async fn look_up(content: &dyn Indexable, number: u64) -> Result<()> {
    let value = value(number);
    let key = content.index(&HashFunction::Blake3.hash(&value)).await?.expect("it was added");
    assert_eq!(content.find(&key).await?, Some(value), "what was added");
    Ok(())
}

/// What was spent since the last time, for each of so many.
fn cost(store: &S3, (before, since): &mut (Requests, Instant), times: u64) -> String {
    let requests = store.requests();
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let each = |count: u64| count as f64 / times as f64;
    let told = format!(
        "{:.2} requests, {:.1} KiB, {:.2} ms",
        each(requests.total() - before.total()),
        each(requests.down - before.down) / 1024.0,
        since.elapsed().as_secs_f64() * 1000.0 * each(1),
    );
    (*before, *since) = (requests, Instant::now());
    told
}
