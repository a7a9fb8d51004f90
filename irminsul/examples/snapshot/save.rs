//! Saving: the files of a listed directory are read and hashed while what the store lacks is written in batches, the
//! directories follow from the leaves up, and the name moves last.
//!
//! In memory are the listing, the hashes of what was added, and a bounded number of chunks: those being read, those on
//! their way to the writer, and those of its batch.

use std::{
    collections::HashSet,
    fmt, fs,
    io::Read,
    path::PathBuf,
    sync::Arc,
    time::{Instant, SystemTime},
};

use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt, stream};
use indicatif::{HumanBytes, HumanCount, ProgressBar};
use irminsul::{AtomicWrite, Bytes, ContentHash, HashFunction, Indexable, TestAndSet, prelude::*};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{
    blocking,
    format::{CHUNK, Entry, FORMAT, Hash, Node, Snapshot, to_bytes},
    listing::{FileToSave, Listing, list, unless_gone},
    names, progress, shown,
};

/// How many files are read at once, and how many values wait for the writer.
const READERS: usize = 8;
const WAITING: usize = 64;

/// A batch is committed when it has so many bytes, or so many values.
const BATCH_BYTES: usize = 32 << 20;
const BATCH_VALUES: usize = 1000;

/// What a save did.
pub(crate) struct Report {
    files: u64,
    bytes: u64,
    new: Written,
    seconds: f64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
        let (bytes, stored) = (self.bytes as f64, self.new.bytes as f64);
        let deduplicated = if bytes > stored { 100.0 * (1.0 - stored / bytes) } else { 0.0 };
        writeln!(f, "files         {}", HumanCount(self.files))?;
        writeln!(f, "bytes         {} ({})", self.bytes, HumanBytes(self.bytes))?;
        writeln!(f, "new values    {}", HumanCount(self.new.values))?;
        writeln!(f, "new bytes     {} ({})", self.new.bytes, HumanBytes(self.new.bytes))?;
        writeln!(f, "deduplicated  {deduplicated:.1} %")?;
        write!(f, "took          {:.2} s, {:.1} MB/s", self.seconds, bytes / 1e6 / self.seconds)
    }
}

/// Saves a directory under a name. `store` is the store's own file, where it has one.
pub(crate) async fn save(
    names: &dyn AtomicWrite,
    content: Arc<dyn Indexable>,
    name: &str,
    directory: PathBuf,
    store: Option<PathBuf>,
) -> Result<Report> {
    let start = Instant::now();
    let key = names::key(name)?;
    let mut current = names.find(&key).await?;
    let mut parent = names::parent(&key, current.as_ref())?;
    let listing = blocking(move || list(directory, store.as_deref())).await?;
    let writer = Writer::start(Arc::clone(&content));
    let saved = save_tree(&writer, listing).await;
    // An error of the writer is why the reading could not go on.
    let mut new = writer.finish().await?;
    let Tree { hash: tree, mode, entries, files, bytes } = saved?;

    loop {
        let saved = SystemTime::UNIX_EPOCH.elapsed()?.as_secs();
        let snapshot = Snapshot { format: FORMAT, tree, mode, parent, saved, entries, files, bytes };
        snapshot.check_size()?;
        let snapshot = to_bytes(&snapshot)?;
        new.count(&snapshot);
        let target = content.add(snapshot).await?;
        match names.test_and_set(&key, current, Some(target.to_string().into())).await? {
            TestAndSet::Applied => break,
            TestAndSet::Mismatch { current: theirs } => {
                eprintln!("{} moved meanwhile: this snapshot follows the one that is there", shown(name));
                parent = names::parent(&key, theirs.as_ref())?;
                current = theirs;
            }
        }
    }
    Ok(Report { files, bytes, new, seconds: start.elapsed().as_secs_f64() })
}

/// A stored directory, and what was counted in it and below.
struct Tree {
    hash: Hash,
    mode: u32,
    entries: u64,
    files: u64,
    bytes: u64,
}

/// Stores what was listed.
async fn save_tree(writer: &Writer, listing: Listing) -> Result<Tree> {
    let Listing { mut directories, files, bytes } = listing;
    let bar = progress(bytes);
    let (mut count, mut bytes) = (0, 0);
    let mut saved = stream::iter(files).map(|file| save_file(writer, &bar, file)).buffer_unordered(READERS);
    while let Some(file) = saved.try_next().await? {
        let Some((directory, entry)) = file else { continue };
        if let Node::File { size, .. } = entry.node {
            count += 1;
            bytes += size;
        }
        directories[directory].entries.push(entry);
    }
    drop(saved);
    bar.finish_and_clear();

    let mut entries = 0;
    loop {
        // A directory comes before what lies in it, so the last one has all its entries.
        let mut last = directories.pop().expect("the listing begins with the directory itself");
        last.entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries += last.entries.len() as u64;
        let tree = writer.add(to_bytes(&last.entries)?).await?;
        let mode = last.mode;
        let Some((above, name)) = last.place else {
            return Ok(Tree { hash: tree, mode, entries, files: count, bytes });
        };
        directories[above].entries.push(Entry { name, node: Node::Directory { mode, tree } });
    }
}

/// Stores the chunks of a file; gives its entry, and the directory that it belongs to. A file that changes meanwhile
/// is stored as it was read, and one that is gone is skipped.
async fn save_file(writer: &Writer, bar: &ProgressBar, file: FileToSave) -> Result<Option<(usize, Entry)>> {
    let FileToSave { directory, name, mode, path } = file;
    let function = writer.content.hash_function();
    let to_open = path.clone();
    let opened = blocking(move || Ok(fs::File::open(to_open))).await?;
    let Some(file) = bar.suspend(|| unless_gone(&path, "read", opened))? else { return Ok(None) };
    let file = Arc::new(file);
    let (mut size, mut chunks) = (0, Vec::new());
    loop {
        let file = Arc::clone(&file);
        let read = blocking(move || read_chunk(&file, function)).await;
        let value = read.with_context(|| format!("cannot read {}", shown(&path)))?;
        let len = value.bytes.len();
        if len > 0 {
            chunks.push(Hash(value.hash));
            writer.put(value).await?;
        }
        size += len as u64;
        bar.inc(len as u64);
        if len < CHUNK {
            return Ok(Some((directory, Entry { name, node: Node::File { mode, size, chunks } })));
        }
    }
}

/// Reads and hashes the next chunk; one that is short is the last.
fn read_chunk(file: &fs::File, function: HashFunction) -> Result<Value> {
    let mut bytes = Vec::new();
    file.take(CHUNK as u64).read_to_end(&mut bytes)?;
    Ok(Value { hash: function.hash(&bytes), bytes: bytes.into() })
}

/// A value that may have to be stored.
struct Value {
    hash: ContentHash,
    bytes: Bytes,
}

/// What was new to the store.
#[derive(Default)]
struct Written {
    values: u64,
    bytes: u64,
}

impl Written {
    fn count(&mut self, bytes: &Bytes) {
        self.values += 1;
        self.bytes += bytes.len() as u64;
    }
}

/// Adds values in batches, in a task of its own, while others are read.
struct Writer {
    content: Arc<dyn Indexable>,
    values: mpsc::Sender<Value>,
    task: JoinHandle<irminsul::Result<Written>>,
}

impl Writer {
    fn start(content: Arc<dyn Indexable>) -> Self {
        let (values, waiting) = mpsc::channel(WAITING);
        let task = tokio::spawn(write(Arc::clone(&content), waiting));
        Self { content, values, task }
    }

    /// Stores a value that is not hashed yet.
    async fn add(&self, bytes: Bytes) -> Result<Hash> {
        let function = self.content.hash_function();
        let hashed = bytes.clone();
        let hash = blocking(move || Ok(function.hash(&hashed))).await?;
        self.put(Value { hash, bytes }).await?;
        Ok(Hash(hash))
    }

    /// Hands a value to the task, unless the store has it.
    async fn put(&self, value: Value) -> Result<()> {
        if self.content.index(&value.hash).await?.is_none() {
            self.values.send(value).await.context("the writer has ended")?;
        }
        Ok(())
    }

    /// Waits until everything is stored.
    async fn finish(self) -> Result<Written> {
        drop(self.values);
        Ok(self.task.await??)
    }
}

/// Commits what comes, a batch at a time.
async fn write(content: Arc<dyn Indexable>, mut waiting: mpsc::Receiver<Value>) -> irminsul::Result<Written> {
    let (mut written, mut seen) = (Written::default(), HashSet::new());
    while let Some(first) = waiting.recv().await {
        let (written, seen, waiting) = (&mut written, &mut seen, &mut waiting);
        content
            .batch(|batch| async move {
                let (mut bytes, mut values) = (0, 0);
                let mut next = Some(first);
                while let Some(value) = next {
                    // Two equal files may be read at the same time.
                    if seen.insert(value.hash) {
                        written.count(&value.bytes);
                        bytes += value.bytes.len();
                        values += 1;
                        batch.unsafe_add(value.hash, value.bytes).await?;
                    }
                    next = if bytes < BATCH_BYTES && values < BATCH_VALUES { waiting.recv().await } else { None };
                }
                Ok::<_, irminsul::Error>(())
            })
            .await?;
    }
    Ok(written)
}
