//! Fills a store with generated entries and content, and says what that costs: time, memory, bytes on the disk, and what
//! a read costs on the way: directly behind the fill, and when RocksDB has compacted what was filled in. It fails where the
//! memory is not bounded as the options say.
//!
//! ```text
//! cargo run --release --package irminsul-backend-rocksdb --example growth -- /var/tmp/growth --entries 10000000 --content 10
//! ```
//!
//! The entries have 128 bytes, half of which compress, under keys of 21; the content has 4 KiB to 1 MiB, and compresses as
//! far as it is asked to. The folder must not exist, and is removed at the end.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use backend_rocksdb::{Compression, Rocksdb, RocksdbOptions};
use bytes::Bytes;
use clap::{Parser, ValueEnum};
use fastrand::Rng;
use futures_util::{StreamExt, TryStreamExt, stream};
use store_api::{Append, AtomicWrite, Backend, ContentKey, Diff, Event, Indexable, Init, Key, Result};

const VALUE_LEN: usize = 128;
const SHORTEST: u32 = 12;
const LONGEST: u32 = 20;

/// How many writes are under way at a time.
const WRITERS: usize = 64;

/// How many bytes of what has queued are written at a time, at the most.
const GROUP: u64 = 64 << 20;

/// What may be buffered of writes, whatever the size of the cache.
const LEAST_WRITE_MEMORY: u64 = 8 << 20;

/// How many reads a figure comes from.
const READS: usize = 50_000;

/// Of so many entries, reads that find what they look for in the cache are made.
const HOT: u64 = 1_000;

#[derive(Parser)]
struct Arguments {
    /// The folder of the store; it must not exist.
    path: PathBuf,
    /// How many entries.
    #[arg(long, default_value_t = 1_000_000)]
    entries: u64,
    /// How many GiB of content.
    #[arg(long, default_value_t = 1)]
    content: u64,
    /// How many bytes the cache has.
    #[arg(long, default_value_t = 64 * 1024 * 1024)]
    cache: usize,
    /// How it is compressed.
    #[arg(long, value_enum, default_value_t = Compressed::Lz4)]
    compression: Compressed,
    /// How many hundredths of the content do not compress.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u8).range(..=100))]
    random: u8,
}

#[derive(Clone, Copy, ValueEnum)]
enum Compressed {
    None,
    Lz4,
    Zstd,
}

impl Arguments {
    fn options(&self) -> RocksdbOptions {
        let compression = match self.compression {
            Compressed::None => Compression::None,
            Compressed::Lz4 => Compression::Lz4,
            Compressed::Zstd => Compression::Zstd,
        };
        RocksdbOptions::new(&self.path).sync(false).cache(self.cache).compression(compression)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.path.exists() {
        eprintln!("{} exists; name a folder that does not", arguments.path.display());
        return ExitCode::FAILURE;
    }
    let ran = run(&arguments).await;
    if let Err(error) = &ran {
        eprintln!("{error}");
    }
    if let Err(error) = fs::remove_dir_all(&arguments.path) {
        eprintln!("{} could not be removed: {error}", arguments.path.display());
        return ExitCode::FAILURE;
    }
    if ran.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn run(arguments: &Arguments) -> Result<()> {
    let store = arguments.options().open().await?;
    grow(arguments, &store).await?;
    let kept = fill_content(arguments, &store.indexable().expect("it has content")).await?;
    close(arguments, store).await?;

    let store = reopen(arguments, "after a close").await?;
    let entries = store.atomic_write().expect("it has entries");
    read_entries(&*entries, arguments.entries, "after the reopen").await?;
    read_content(&*store.indexable().expect("it has content"), &kept).await?;
    // What a killed process leaves: all that was written last is in the log alone.
    set_all(&*entries, 0..arguments.entries.min(1_000_000)).await?;
    drop((store, entries));

    let store = reopen(arguments, "after no close").await?;
    let entries = store.atomic_write().expect("it has entries");
    let began = Instant::now();
    entries.clear().await?;
    say(arguments, format_args!("clear of {} entries", arguments.entries), began.elapsed());
    let began = Instant::now();
    assert_eq!(entries.list(&Key::root()).try_collect::<Vec<_>>().await?, []);
    say(arguments, "list of the cleared store", began.elapsed());
    check_memory(arguments);
    clear_watched(arguments, &*entries).await?;
    drop(entries);
    close(arguments, store).await
}

/// The most that this process had, beside what [`RocksdbOptions::cache`] says that a store has at the most.
fn check_memory(arguments: &Arguments) {
    let cache = arguments.cache as u64;
    let at_a_time = GROUP.min((WRITERS as u64) << LONGEST);
    let bound = (cache + 11 * cache.max(LEAST_WRITE_MEMORY) / 8 + 4 * at_a_time) >> 20;
    let peak = memory("VmHWM:");
    println!("memory at most {peak} MiB, where the options allow {bound} MiB");
    // The allocator keeps more than it is asked for.
    assert!(peak <= bound + bound / 4, "the memory is bounded");
}

/// What it costs to tell a watch of each entry that is cleared.
async fn clear_watched(arguments: &Arguments, entries: &dyn AtomicWrite) -> Result<()> {
    let count = arguments.entries.min(1_000_000);
    set_all(entries, 0..count).await?;
    let mut watch = entries.watch(&Key::root(), Init::Current).await?;
    let began = Instant::now();
    entries.clear().await?;
    say(arguments, format_args!("clear of {count} entries that are watched"), began.elapsed());
    let mut told = 0;
    while told < count {
        match watch.try_next().await? {
            Some(Event::Changed { diff: Diff::Removed { .. }, .. }) => told += 1,
            Some(Event::CaughtUp) => {}
            other => panic!("a removal is told, and not {other:?}"),
        }
    }
    say(arguments, "until the watch was told of each", began.elapsed());
    Ok(())
}

/// Ten times as many entries with each step, and what a read costs there.
async fn grow(arguments: &Arguments, store: &Rocksdb) -> Result<()> {
    let entries = &*store.atomic_write().expect("it has entries");
    let mut filled = 0;
    let steps = (4..).map(|power| 10_u64.pow(power)).take_while(|step| *step < arguments.entries);
    for step in steps.chain([arguments.entries]) {
        let began = Instant::now();
        set_all(entries, filled..step).await?;
        filled = step;
        say(arguments, format_args!("{step} entries"), began.elapsed());
        read_entries(entries, step, "behind the fill").await?;
        let began = Instant::now();
        rest().await;
        say(arguments, "compactions at rest", began.elapsed());
        read_entries(entries, step, "at rest").await?;
    }
    Ok(())
}

/// Returns when RocksDB has put what was written where it stays: for a second its threads did nothing.
async fn rest() {
    let mut before = None;
    loop {
        let worked = Some(worked());
        if worked == before {
            return;
        }
        before = worked;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// The processor time of RocksDB's threads, in ticks.
fn worked() -> u64 {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let of_task = |task: fs::DirEntry| {
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        let (name, fields) = stat.rsplit_once(')')?;
        // In user mode and in the system: fields 14 and 15, of which the name is the second.
        let ticks = fields.split_ascii_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok());
        name.contains("(rocksdb:").then(|| ticks.sum::<u64>())
    };
    tasks.filter_map(of_task).sum()
}

async fn set_all(entries: &dyn AtomicWrite, numbers: impl Iterator<Item = u64>) -> Result<()> {
    let sets = stream::iter(numbers).map(|number| async move { entries.set(&key(number)?, value(number)).await });
    sets.buffer_unordered(WRITERS).try_collect().await
}

async fn read_entries(entries: &dyn AtomicWrite, count: u64, when: &str) -> Result<()> {
    for (name, among) in [("hot", count.min(HOT)), ("any", count)] {
        // Once for the cache.
        time_reads(entries, among).await?;
        let times = time_reads(entries, among).await?;
        println!("    find of {name} of {count} {when}: {}", shown(times));
    }
    Ok(())
}

async fn time_reads(entries: &dyn AtomicWrite, among: u64) -> Result<Vec<Duration>> {
    // Others each time: what was read before is in the cache.
    let mut random = Rng::new();
    let mut times = Vec::with_capacity(READS);
    for _ in 0..READS {
        let number = random.u64(..among);
        let key = key(number)?;
        let began = Instant::now();
        let found = entries.find(&key).await?;
        times.push(began.elapsed());
        assert_eq!(found, Some(value(number)));
    }
    Ok(times)
}

/// The keys of one value in a hundred.
async fn fill_content(arguments: &Arguments, content: &Arc<dyn Indexable>) -> Result<Vec<ContentKey>> {
    let (began, mut random, mut left) = (Instant::now(), Rng::with_seed(1), arguments.content << 30);
    let values = std::iter::from_fn(|| {
        let value = content_value(&mut random, arguments.random);
        left = left.checked_sub(value.len() as u64)?;
        Some(value)
    });
    let adds = stream::iter(values).map(|value| async move { content.add(value).await });
    let keys: Vec<ContentKey> = adds.buffered(WRITERS).try_collect().await?;
    say(arguments, format_args!("{} GiB of content, {} values", arguments.content, keys.len()), began.elapsed());
    Ok(keys.into_iter().step_by(100).collect())
}

async fn read_content(content: &dyn Indexable, keys: &[ContentKey]) -> Result<()> {
    let mut times = Vec::with_capacity(keys.len());
    for key in keys {
        let began = Instant::now();
        let found = content.find(key).await?;
        times.push(began.elapsed());
        assert!(found.is_some(), "the value is there");
    }
    println!("    find of content, verified: {}", shown(times));
    Ok(())
}

async fn close(arguments: &Arguments, store: Rocksdb) -> Result<()> {
    let began = Instant::now();
    store.close().await?;
    say(arguments, "close", began.elapsed());
    Ok(())
}

async fn reopen(arguments: &Arguments, when: &str) -> Result<Rocksdb> {
    let began = Instant::now();
    let store = arguments.options().create(false).open().await?;
    say(arguments, format_args!("open {when}"), began.elapsed());
    Ok(store)
}

fn say(arguments: &Arguments, what: impl std::fmt::Display, took: Duration) {
    let (memory, peak) = (memory("VmRSS:"), memory("VmHWM:"));
    let disk = bytes_in(&arguments.path) >> 20;
    println!("{what}: {took:.2?}; memory {memory} MiB, at most {peak} MiB; on the disk {disk} MiB");
}

/// The process's, in MiB.
fn memory(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or_default() / 1024
}

fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => bytes_in(&entry.path()),
        Ok(found) => found.len(),
        // It was removed meanwhile.
        Err(_) => 0,
    });
    bytes.sum()
}

fn shown(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
    format!("median {:.2?}, p99 {:.2?}", at(50), at(99))
}

fn key(number: u64) -> Result<Key> {
    // Neighbours in time are none in the order of the keys.
    Key::new(format!("grow/{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

/// Half of it compresses.
fn value(number: u64) -> Bytes {
    let mut random = Rng::with_seed(number);
    let mut value = vec![b'.'; VALUE_LEN];
    random.fill(&mut value[..VALUE_LEN / 2]);
    value.into()
}

/// So many hundredths of each KiB do not compress.
fn content_value(random: &mut Rng, hundredths: u8) -> Bytes {
    let mut value = vec![b'.'; 1 << random.u32(SHORTEST..=LONGEST)];
    for part in value.chunks_mut(1024) {
        let len = part.len() * usize::from(hundredths) / 100;
        random.fill(&mut part[..len]);
    }
    value.into()
}
