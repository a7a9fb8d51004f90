//! Restoring: the directories of the snapshot are read, and made; then come the files, several at a time, then links
//! and modes.
//!
//! A snapshot may come from a stranger. Nothing is overwritten and no link is followed: the target starts empty, each
//! name is one step and unique in its directory, everything is made by calls that fail where something is there, and
//! links come last.

use std::{
    fs,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use indicatif::ProgressBar;
use irminsul::ContentRead;

use crate::{
    blocking,
    format::{CHUNK, Entry, Escaped, Hash, Node, Snapshot, read_tree},
    progress, shown,
};

/// How many files are written at once.
const WRITERS: usize = 8;

/// Writes a snapshot into a directory that is empty or not there yet.
pub(crate) async fn restore(content: &dyn ContentRead, snapshot: &Snapshot, directory: PathBuf) -> Result<()> {
    let target = directory.clone();
    blocking(move || make_target(&target)).await?;
    let shown = shown(&directory);
    let filled = fill(content, snapshot, directory).await;
    filled.with_context(|| format!("{shown} holds a part of the snapshot at most: remove it first, then restore again"))
}

fn make_target(directory: &Path) -> Result<()> {
    let shown = shown(directory);
    fs::create_dir_all(directory).with_context(|| format!("cannot make {shown}"))?;
    let mut there = fs::read_dir(directory).with_context(|| format!("cannot list {shown}"))?;
    ensure!(there.next().is_none(), "{shown} is not empty: give a directory that is, or that is not there yet");
    // Its owner alone reads it until it is whole, and one whose mode cannot be set is found before anything is written.
    set_mode(directory, 0o700)
}

async fn fill(content: &dyn ContentRead, snapshot: &Snapshot, directory: PathBuf) -> Result<()> {
    let Plan { directories, files, links } = Plan::read(content, snapshot, directory).await?;
    let directories = blocking(move || make_directories(&directories).map(|()| directories)).await?;
    let bar = progress(snapshot.bytes);
    stream::iter(files)
        .map(|file| restore_file(content, &bar, file))
        .buffer_unordered(WRITERS)
        .try_collect::<()>()
        .await?;
    bar.finish_and_clear();
    blocking(move || finish(&links, &directories)).await
}

/// What is to be made. A snapshot's own counts, which have a limit, bound it.
struct Plan {
    /// Each after the one that it lies in; the first is the target itself.
    directories: Vec<(PathBuf, u32)>,
    files: Vec<FileToRestore>,
    links: Vec<(PathBuf, Escaped)>,
}

struct FileToRestore {
    path: PathBuf,
    mode: u32,
    size: u64,
    chunks: Vec<Hash>,
}

impl Plan {
    async fn read(content: &dyn ContentRead, snapshot: &Snapshot, directory: PathBuf) -> Result<Self> {
        snapshot.check_size()?;
        let (mut entries_left, mut bytes_left) = (snapshot.entries, snapshot.bytes);
        let mut plan =
            Self { directories: vec![(directory.clone(), snapshot.mode)], files: Vec::new(), links: Vec::new() };
        let mut to_read = vec![(directory, snapshot.tree)];
        while let Some((directory, tree)) = to_read.pop() {
            for Entry { name: Escaped(name), node } in read_tree(content, tree).await? {
                let path = directory.join(name);
                take(&mut entries_left, 1, "entries")?;
                match node {
                    Node::File { mode, size, chunks } => {
                        take(&mut bytes_left, size, "bytes")?;
                        ensure!(
                            chunks.len() as u64 == size.div_ceil(CHUNK as u64),
                            "{} has {} chunks for {size} bytes: refused",
                            shown(&path),
                            chunks.len()
                        );
                        plan.files.push(FileToRestore { path, mode, size, chunks });
                    }
                    Node::Symlink { target } => plan.links.push((path, target)),
                    Node::Directory { mode, tree } => {
                        plan.directories.push((path.clone(), mode));
                        to_read.push((path, tree));
                    }
                }
            }
        }
        Ok(plan)
    }
}

/// Counts down what a snapshot says that it has.
fn take(left: &mut u64, count: u64, what: &str) -> Result<()> {
    let rest = left.checked_sub(count);
    *left = rest.with_context(|| format!("the snapshot holds more {what} than it says: refused"))?;
    Ok(())
}

/// Makes every directory but the first, which is there.
fn make_directories(directories: &[(PathBuf, u32)]) -> Result<()> {
    for (path, _) in &directories[1..] {
        let made = fs::DirBuilder::new().mode(0o700).create(path);
        made.with_context(|| format!("cannot make {}", shown(path)))?;
    }
    Ok(())
}

/// Writes a file, chunk by chunk.
async fn restore_file(content: &dyn ContentRead, bar: &ProgressBar, file: FileToRestore) -> Result<()> {
    let FileToRestore { path, mode, size, chunks } = file;
    let shown = shown(&path);
    let cannot_write = || format!("cannot write {shown}");
    let mut output = blocking(move || {
        // Its mode may deny the writing, and its owner alone reads it until it is whole.
        Ok(fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?)
    })
    .await
    .with_context(cannot_write)?;
    let mut written = 0;
    for Hash(hash) in chunks {
        let Some(chunk) = content.find(&hash.into()).await? else {
            bail!("the store does not hold {hash}, a part of {shown}");
        };
        written += chunk.len() as u64;
        bar.inc(chunk.len() as u64);
        output = blocking(move || Ok(output.write_all(&chunk).map(|()| output)?)).await.with_context(cannot_write)?;
    }
    ensure!(written == size, "{shown} has {written} bytes, not the {size} that the snapshot names");
    blocking(move || Ok(output.set_permissions(permissions(mode))?)).await.with_context(cannot_write)
}

/// Makes the links, and gives the directories their modes, the deepest first: a mode may deny what is still to be done.
fn finish(links: &[(PathBuf, Escaped)], directories: &[(PathBuf, u32)]) -> Result<()> {
    for (path, Escaped(target)) in links {
        symlink(target, path).with_context(|| format!("cannot make the link {}", shown(path)))?;
    }
    directories.iter().rev().try_for_each(|(path, mode)| set_mode(path, *mode))
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, permissions(mode)).with_context(|| format!("cannot set the mode of {}", shown(path)))
}

/// Permission bits alone: a stranger's snapshot makes no program run as its owner.
fn permissions(mode: u32) -> fs::Permissions {
    fs::Permissions::from_mode(mode & 0o777)
}
