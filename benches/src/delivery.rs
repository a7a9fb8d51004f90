//! How soon a watcher holds a change: the time from the call that publishes it, with few watchers and with many.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, future::ready, stream::BoxStream};
use serde::Serialize;
use store_api::{Error, ErrorKind, Event, Init, Key, Result};
use tokio::{
    sync::Notify,
    task::{JoinError, JoinSet},
    time::sleep,
};

use crate::{
    Facts, Latency, OfStore, Progress, Store, Subject,
    driver::{Times, no_times, record},
    keys::Values,
};

/// One value that is published and watched.
#[async_trait]
pub trait Feed: Send + Sync {
    /// Publishes a value, as a write of a key does.
    async fn publish(&self, value: Bytes) -> Result<()>;

    /// The values published from here on.
    async fn subscribe(&self) -> Result<BoxStream<'static, Result<Bytes>>>;

    /// Lets go of what it holds.
    async fn close(self: Box<Self>) -> Result<()>;
}

/// What opens feeds.
#[async_trait]
pub trait Feeds: Send + Sync {
    /// What a reader has to know of its rows.
    fn facts(&self) -> Facts;

    /// A feed whose files, if any, are in a directory.
    async fn open(&self, place: &Path) -> Result<Box<dyn Feed>>;
}

/// How thorough the delivery part is.
#[derive(Clone, Debug, Serialize)]
pub struct DeliveryPlan {
    /// How many watchers there are at a time; 0 is for the cost of publishing alone.
    pub watchers: Vec<usize>,
    /// How many changes are published with one watcher; with many, fewer.
    pub changes: usize,
    /// How long a value is.
    pub value_len: usize,
}

/// What was found with so many watchers.
#[derive(Clone, Debug, Serialize)]
pub struct Delivery {
    /// The name of the subject.
    pub subject: String,
    /// How many watchers there were.
    pub watchers: usize,
    /// How many changes.
    pub changes: usize,
    /// How long publishing took.
    pub publish: Latency,
    /// From the call that published until a watcher held it, over all of them; nothing where there was none.
    pub delivery: Option<Latency>,
}

/// Measures a feed with each number of watchers.
pub async fn measure_delivery(
    feeds: &dyn Feeds,
    place: &Path,
    plan: &DeliveryPlan,
    progress: &Progress,
) -> Result<Vec<Delivery>> {
    let subject = feeds.facts().name;
    let feed = feeds.open(&crate::disk::directory(place, &format!("watch {subject}"))?).await?;
    let mut found = Vec::new();
    for &watchers in &plan.watchers {
        progress.doing(&format!("delivery to {watchers} watchers: {subject}"));
        let changes = (plan.changes / watchers.div_ceil(100).max(1)).max(10);
        let (publish, delivery) = publish(&*feed, watchers, changes, plan.value_len).await?;
        let delivery = (watchers > 0).then(|| Latency::of(&delivery));
        found.push(Delivery { subject: subject.clone(), watchers, changes, publish: Latency::of(&publish), delivery });
        progress.done();
    }
    feed.close().await?;
    Ok(found)
}

/// What the watchers of a change have in common.
struct Change {
    published: Mutex<Instant>,
    /// How many watchers do not hold it yet.
    missing: AtomicUsize,
    all_hold_it: Notify,
}

/// Publishes one change after another, each when all watchers hold the one before.
async fn publish(feed: &dyn Feed, watchers: usize, changes: usize, value_len: usize) -> Result<(Times, Times)> {
    let change = Arc::new(Change {
        published: Mutex::new(Instant::now()),
        missing: AtomicUsize::new(0),
        all_hold_it: Notify::new(),
    });
    let mut watching = JoinSet::new();
    for _ in 0..watchers {
        watching.spawn(watch(feed.subscribe().await?, changes, Arc::clone(&change)));
    }
    let mut values = Values::new(0, watchers, value_len);
    let (mut publishing, mut delivery) = (no_times(), no_times());
    for _ in 0..changes {
        change.missing.store(watchers, Ordering::Release);
        let began = Instant::now();
        *change.published.lock().unwrap_or_else(PoisonError::into_inner) = began;
        feed.publish(values.next()).await?;
        record(&mut publishing, began.elapsed());
        if watchers > 0 {
            held(&change, &mut watching, &mut delivery).await?;
        }
    }
    while let Some(ended) = watching.join_next().await {
        add(&mut delivery, ended)?;
    }
    Ok((publishing, delivery))
}

/// How long a change may take to all watchers before the run gives them up.
const GIVEN_UP: Duration = Duration::from_mins(1);

/// Waits until all watchers hold a change.
async fn held(change: &Change, watching: &mut JoinSet<Result<Times>>, delivery: &mut Times) -> Result<()> {
    loop {
        tokio::select! {
            () = change.all_hold_it.notified() => return Ok(()),
            // One that ends early ends with an error: the others would be waited for in vain.
            Some(ended) = watching.join_next() => add(delivery, ended)?,
            () = sleep(GIVEN_UP) => {
                let left = change.missing.load(Ordering::Acquire);
                let message = format!("{left} watchers have not been told of a change for {GIVEN_UP:?}");
                return Err(Error::new(ErrorKind::Unavailable, message));
            }
        }
    }
}

fn add(all: &mut Times, ended: std::result::Result<Result<Times>, JoinError>) -> Result<()> {
    let panicked = |error| Error::new(ErrorKind::Other, "a watcher of the benchmark panicked").with_source(error);
    all.add(ended.map_err(panicked)??).expect("histograms of one precision add up");
    Ok(())
}

async fn watch(mut values: BoxStream<'static, Result<Bytes>>, changes: usize, change: Arc<Change>) -> Result<Times> {
    let mut times = no_times();
    for _ in 0..changes {
        let ended = || Error::new(ErrorKind::Other, "a watch ended before its last change");
        values.next().await.ok_or_else(ended)??;
        let published = *change.published.lock().unwrap_or_else(PoisonError::into_inner);
        record(&mut times, published.elapsed());
        if change.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            change.all_hold_it.notify_one();
        }
    }
    Ok(times)
}

/// The watches of a backend as feeds.
#[derive(Clone, Copy, Debug)]
pub struct Watched<S>(pub S);

#[async_trait]
impl<S: Subject<Store = OfStore>> Feeds for Watched<S> {
    fn facts(&self) -> Facts {
        self.0.facts()
    }

    async fn open(&self, place: &Path) -> Result<Box<dyn Feed>> {
        Ok(Box::new(Entry { store: self.0.open(place).await?, key: Key::new("watched")? }))
    }
}

struct Entry {
    store: OfStore,
    key: Key,
}

#[async_trait]
impl Feed for Entry {
    async fn publish(&self, value: Bytes) -> Result<()> {
        self.store.entries().set(&self.key, value).await
    }

    async fn subscribe(&self) -> Result<BoxStream<'static, Result<Bytes>>> {
        let mut watch = self.store.entries().watch_key(&self.key, Init::Current).await?;
        while let Some(event) = watch.next().await {
            if matches!(event?, Event::CaughtUp) {
                break;
            }
        }
        let value = |event: Result<Event>| match event {
            Ok(Event::Changed { diff, .. }) => diff.new_value().cloned().map(Ok),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        };
        Ok(watch.filter_map(move |event| ready(value(event))).boxed())
    }

    async fn close(self: Box<Self>) -> Result<()> {
        self.store.close().await
    }
}
