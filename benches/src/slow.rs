//! What a watcher that never looks costs in memory while changes go on.

use std::path::Path;

use futures_util::StreamExt;
use serde::Serialize;
use store_api::{Error, ErrorKind, Result};

use crate::{Feed, Feeds, Progress, keys::Values, process::resident_bytes};

/// How thorough the slow part is.
#[derive(Clone, Debug, Serialize)]
pub struct SlowPlan {
    /// How many changes the watcher sleeps through.
    pub changes: usize,
    /// How long a value is.
    pub value_len: usize,
}

/// What one that slept through many changes of one value cost.
#[derive(Clone, Debug, Serialize)]
pub struct Slow {
    /// The name of the subject.
    pub subject: String,
    /// How many changes.
    pub changes: usize,
    /// How many bytes all of their values had.
    pub published_bytes: u64,
    /// By how much the memory of the process grew meanwhile; `None` where the system does not tell.
    pub grown_bytes: Option<u64>,
}

/// Measures a feed: as many changes without a watcher come first, so that what the store itself takes for them is there.
pub async fn measure_slow(feeds: &dyn Feeds, place: &Path, plan: &SlowPlan, progress: &Progress) -> Result<Slow> {
    let subject = feeds.facts().name;
    progress.doing(&format!("a watcher that never looks: {subject}"));
    let feed = feeds.open(&crate::disk::directory(place, &format!("slow {subject}"))?).await?;
    let mut values = Values::new(0, 0, plan.value_len);
    publish(&*feed, plan.changes, &mut values).await?;
    let mut asleep = feed.subscribe().await?;
    let before = resident_bytes();
    publish(&*feed, plan.changes, &mut values).await?;
    let grown = before.zip(resident_bytes()).map(|(before, after)| after.saturating_sub(before));
    // A watch that was given up would cost nothing either.
    let ended = || Error::new(ErrorKind::Other, "a watch that was not looked at has ended");
    asleep.next().await.ok_or_else(ended)??;
    feed.close().await?;
    progress.done();
    let published_bytes = (plan.changes * plan.value_len) as u64;
    Ok(Slow { subject, changes: plan.changes, published_bytes, grown_bytes: grown })
}

async fn publish(feed: &dyn Feed, changes: usize, values: &mut Values) -> Result<()> {
    for _ in 0..changes {
        feed.publish(values.next()).await?;
    }
    Ok(())
}
