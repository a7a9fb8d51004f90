//! Saving: the directory is listed, its files are read and hashed while what the store lacks is written in batches, the
//! directories follow from the leaves up, and the name moves last.
//!
//! In memory are the listing, the hashes of what was added, and a bounded number of chunks: those being read, those on
//! their way to the writer, and those of its batch.

use std::{
    collections::HashSet,
    fmt, fs,
    io::Read,
    os::unix::fs::PermissionsExt,
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
    format::{CHUNK, Entry, Escaped, FORMAT, Hash, Node, Snapshot, to_bytes},
    names, progress,
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
        #[allow(clippy::cast_precision_loss)]
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

/// Saves a directory under a name.
pub(crate) async fn save(
    names: &dyn AtomicWrite,
    content: Arc<dyn Indexable>,
    name: &str,
    directory: PathBuf,
) -> Result<Report> {
    let start = Instant::now();
    let key = names::key(name)?;
    let mut current = names.find(&key).await?;
    let writer = Writer::start(Arc::clone(&content));
    let saved = save_tree(&writer, directory).await;
    // An error of the writer is why the reading could not go on.
    let mut new = writer.finish().await?;
    let (tree, files, bytes) = saved?;

    loop {
        let parent = current.as_ref().map(names::target).transpose()?.map(|parent| Hash(parent.to_hash()));
        let saved = SystemTime::UNIX_EPOCH.elapsed()?.as_secs();
        let snapshot = to_bytes(&Snapshot { format: FORMAT, tree, parent, saved, files, bytes })?;
        new.count(&snapshot);
        let target = content.add(snapshot).await?;
        match names.test_and_set(&key, current, Some(target.to_string().into())).await? {
            TestAndSet::Applied => break,
            TestAndSet::Mismatch { current: theirs } => {
                eprintln!("{name} moved meanwhile: this snapshot follows the one that is there");
                current = theirs;
            }
        }
    }
    Ok(Report { files, bytes, new, seconds: start.elapsed().as_secs_f64() })
}

/// Stores what a directory holds; gives its object, and how many files and bytes were read.
async fn save_tree(writer: &Writer, directory: PathBuf) -> Result<(Hash, u64, u64)> {
    let Listing { mut directories, files, bytes } = blocking(move || list(directory)).await?;
    let bar = progress(bytes);
    let (mut count, mut bytes) = (0, 0);
    let mut entries = stream::iter(files).map(|file| save_file(writer, &bar, file)).buffer_unordered(READERS);
    while let Some((directory, entry)) = entries.try_next().await? {
        if let Node::File { size, .. } = entry.node {
            count += 1;
            bytes += size;
        }
        directories[directory].entries.push(entry);
    }
    drop(entries);
    bar.finish_and_clear();

    loop {
        // A directory comes before what lies in it, so the last one has all its entries.
        let mut last = directories.pop().expect("the listing begins with the directory itself");
        last.entries.sort_by(|a, b| a.name.cmp(&b.name));
        let tree = writer.add(to_bytes(&last.entries)?).await?;
        let Some((above, name, mode)) = last.place else { return Ok((tree, count, bytes)) };
        directories[above].entries.push(Entry { name, node: Node::Directory { mode, tree } });
    }
}

/// Stores the chunks of a file; gives its entry, and the directory that it belongs to. A file that changes meanwhile
/// is stored as it was read.
async fn save_file(writer: &Writer, bar: &ProgressBar, file: FileToSave) -> Result<(usize, Entry)> {
    let FileToSave { directory, name, mode, path } = file;
    let unreadable = || format!("cannot read {}", path.display());
    let function = writer.content.hash_function();
    let opened = path.clone();
    let file = blocking(move || Ok(Arc::new(fs::File::open(opened)?))).await.with_context(unreadable)?;
    let (mut size, mut chunks) = (0, Vec::new());
    loop {
        let file = Arc::clone(&file);
        let value = blocking(move || read_chunk(&file, function)).await.with_context(unreadable)?;
        let len = value.bytes.len();
        if len > 0 {
            chunks.push(Hash(value.hash));
            writer.put(value).await?;
        }
        size += len as u64;
        bar.inc(len as u64);
        if len < CHUNK {
            return Ok((directory, Entry { name, node: Node::File { mode, size, chunks } }));
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

/// What there is to save. Each directory comes after the one that it lies in.
struct Listing {
    directories: Vec<DirectoryToSave>,
    files: Vec<FileToSave>,
    bytes: u64,
}

struct DirectoryToSave {
    /// The directory that it lies in, its name there, and its mode; the first one has none.
    place: Option<(usize, Escaped, u32)>,
    entries: Vec<Entry>,
}

struct FileToSave {
    directory: usize,
    name: Escaped,
    mode: u32,
    path: PathBuf,
}

/// Lists a directory and all below, and says what cannot be stored.
fn list(directory: PathBuf) -> Result<Listing> {
    let top = DirectoryToSave { place: None, entries: Vec::new() };
    let mut listing = Listing { directories: vec![top], files: Vec::new(), bytes: 0 };
    let mut to_list = vec![(0, directory)];
    while let Some((directory, path)) = to_list.pop() {
        let unreadable = || format!("cannot list {}", path.display());
        for entry in fs::read_dir(&path).with_context(unreadable)? {
            let entry = entry.with_context(unreadable)?;
            let (path, name) = (entry.path(), Escaped(entry.file_name()));
            let metadata = entry.metadata().with_context(|| format!("cannot look at {}", path.display()))?;
            let mode = metadata.permissions().mode() & 0o777;
            let kind = metadata.file_type();
            if kind.is_dir() {
                let below = DirectoryToSave { place: Some((directory, name, mode)), entries: Vec::new() };
                to_list.push((listing.directories.len(), path));
                listing.directories.push(below);
            } else if kind.is_file() {
                listing.bytes += metadata.len();
                listing.files.push(FileToSave { directory, name, mode, path });
            } else if kind.is_symlink() {
                let target = fs::read_link(&path).with_context(|| format!("cannot read {}", path.display()))?;
                let node = Node::Symlink { target: Escaped(target.into_os_string()) };
                listing.directories[directory].entries.push(Entry { name, node });
            } else {
                eprintln!("skipped {}: neither a file, nor a directory, nor a link", path.display());
            }
        }
    }
    Ok(listing)
}
