//! Who does the work when several machines could: a lease in a store that they share.
//!
//! ```text
//! leader s3://bucket/prefix?region=.. one        # on one machine, with the credentials in the environment
//! leader s3://bucket/prefix?region=.. another    # on another
//! ```
//!
//! The key `leader` holds a term, a beat and a name. The leader sets the next beat, and again; the others watch. Who has
//! seen no beat for the length of a lease, by its own clock, tries to take over: `test_and_set` lets one of them. No two
//! clocks are compared.
//!
//! A leader that was stopped and goes on may not know yet that another one leads. So what it does elsewhere carries the
//! term, which only grows, and whoever receives that refuses an older term than it has seen.

use std::{fmt, str::FromStr, time::Duration};

use anyhow::Context;
use clap::Parser;
use irminsul::{Address, AtomicWrite, Error, Event, Init, Key, TestAndSet, prelude::*};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

/// How long a leader is believed in without a beat, and how often it gives one.
const LEASE: Duration = Duration::from_secs(6);
const BEAT: Duration = Duration::from_secs(2);
/// Before a candidate comes back whom the store gave no answer.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Parser)]
struct Arguments {
    /// A store that all candidates reach, such as `s3://bucket/prefix` or `sqlite:shared.db`
    store: Address,
    /// This candidate
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Lease {
    term: u64,
    beat: u64,
    leader: String,
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.term, self.beat, self.leader)
    }
}

impl FromStr for Lease {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let mut words = text.splitn(3, ' ');
        let mut next = || words.next().context("a lease is a term, a beat and a name");
        Ok(Self { term: next()?.parse()?, beat: next()?.parse()?, leader: next()?.to_owned() })
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Arguments { store, name } = Arguments::parse();
    let store = irminsul::open(&store).await?;
    let entries = store.atomic_write().context("the store has no entries")?;
    let key = Key::new("leader")?;
    loop {
        if let Err(error) = stand(&*entries, &key, &name).await {
            // Whether the lease was taken may not be known: the next look tells what is there.
            if !error.downcast_ref().is_some_and(Error::is_retryable) {
                return Err(error);
            }
            eprintln!("{name}: {error:#}");
            sleep(PAUSE).await;
        }
    }
}

/// Waits until nobody leads, and leads if nobody else is faster.
async fn stand(entries: &dyn AtomicWrite, key: &Key, name: &str) -> anyhow::Result<()> {
    let held = follow(entries, key).await?;
    let term = held.as_ref().map_or(1, |held| held.term + 1);
    let mine = Lease { term, beat: 0, leader: name.to_owned() };
    if swap(entries, key, held.as_ref(), &mine).await? {
        println!("{name}: leading in term {term}");
        lead(entries, key, mine).await;
        println!("{name}: no longer leading");
    }
    Ok(())
}

/// Waits until the lease has not changed for its length: that lease, or none where there never was one.
async fn follow(entries: &dyn AtomicWrite, key: &Key) -> anyhow::Result<Option<Lease>> {
    let mut watch = entries.watch_key(key, Init::Known(None)).await?;
    let mut held: Option<Lease> = None;
    let mut deadline = Instant::now() + LEASE;
    while let Ok(event) = timeout_at(deadline, watch.next()).await {
        match event.context("the store was closed")? {
            Ok(Event::Changed { diff, .. }) => {
                held = diff.new_value().map(|value| std::str::from_utf8(value)?.parse::<Lease>()).transpose()?;
                deadline = Instant::now() + LEASE;
            }
            Ok(Event::CaughtUp) if held.is_none() => return Ok(None),
            Ok(_) => {}
            // The watch goes on and catches up; until then nothing says that the leader is gone.
            Err(error) if error.is_retryable() => deadline = Instant::now() + LEASE,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(held)
}

/// Beats until the lease is lost.
async fn lead(entries: &dyn AtomicWrite, key: &Key, mut held: Lease) {
    let mut good_until = Instant::now() + LEASE;
    loop {
        let began = Instant::now();
        let next = Lease { beat: held.beat + 1, ..held.clone() };
        match timeout_at(good_until, swap(entries, key, Some(&held), &next)).await {
            Ok(Ok(true)) => {
                println!("{}: working in term {}, beat {}", next.leader, next.term, next.beat);
                held = next;
                good_until = began + LEASE;
                sleep_until(began + BEAT).await;
            }
            // Another leads, or it cannot be known whether.
            Ok(Ok(false) | Err(_)) | Err(_) => return,
        }
    }
}

async fn swap(entries: &dyn AtomicWrite, key: &Key, held: Option<&Lease>, next: &Lease) -> irminsul::Result<bool> {
    let (test, set) = (held.map(|held| held.to_string().into()), Some(next.to_string().into()));
    entries.test_and_set(key, test, set).await.map(|outcome| matches!(outcome, TestAndSet::Applied))
}
