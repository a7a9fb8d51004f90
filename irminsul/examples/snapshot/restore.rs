//! Restoring: directories first, then the files, several at a time, then links and modes.
//!
//! A snapshot may come from a stranger. Nothing is overwritten and no link is followed: the target starts empty, each
//! name is one step and unique in its directory, everything is made by calls that fail where something is there, and
//! links come last.

use std::{
    fs,
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use indicatif::ProgressBar;
use irminsul::ContentRead;

use crate::{
    blocking,
    format::{Entry, Escaped, Hash, Node, Snapshot, read_tree},
    progress,
};

/// How many files are written at once.
const WRITERS: usize = 8;

/// Writes a snapshot into a directory that is empty or not there yet.
pub(crate) async fn restore(content: &dyn ContentRead, snapshot: &Snapshot, directory: PathBuf) -> Result<()> {
    let target = directory.clone();
    blocking(move || make_target(&target)).await?;
    let plan = make_directories(content, snapshot.tree, directory).await?;
    let bar = progress(snapshot.bytes);
    stream::iter(plan.files)
        .map(|file| restore_file(content, &bar, file))
        .buffer_unordered(WRITERS)
        .try_collect::<()>()
        .await?;
    bar.finish_and_clear();
    blocking(move || finish(&plan.links, &plan.modes)).await
}

/// What is left to do when the directories are there.
#[derive(Default)]
struct Plan {
    files: Vec<FileToRestore>,
    links: Vec<(PathBuf, Escaped)>,
    modes: Vec<(PathBuf, u32)>,
}

struct FileToRestore {
    path: PathBuf,
    mode: u32,
    size: u64,
    chunks: Vec<Hash>,
}

fn make_target(directory: &Path) -> Result<()> {
    let shown = directory.display();
    fs::create_dir_all(directory).with_context(|| format!("cannot make {shown}"))?;
    let mut there = fs::read_dir(directory).with_context(|| format!("cannot list {shown}"))?;
    ensure!(there.next().is_none(), "{shown} is not empty: give a directory that is, or that is not there yet");
    Ok(())
}

/// Makes every directory, and plans what goes into them.
async fn make_directories(content: &dyn ContentRead, tree: Hash, directory: PathBuf) -> Result<Plan> {
    let mut plan = Plan::default();
    let mut to_fill = vec![(directory, tree)];
    while let Some((directory, tree)) = to_fill.pop() {
        for Entry { name: Escaped(name), node } in read_tree(content, tree).await? {
            let path = directory.join(name);
            match node {
                Node::File { mode, size, chunks } => plan.files.push(FileToRestore { path, mode, size, chunks }),
                Node::Symlink { target } => plan.links.push((path, target)),
                Node::Directory { mode, tree } => {
                    let made = path.clone();
                    blocking(move || fs::create_dir(&made).with_context(|| format!("cannot make {}", made.display())))
                        .await?;
                    plan.modes.push((path.clone(), mode));
                    to_fill.push((path, tree));
                }
            }
        }
    }
    Ok(plan)
}

/// Writes a file, chunk by chunk.
async fn restore_file(content: &dyn ContentRead, bar: &ProgressBar, file: FileToRestore) -> Result<()> {
    let FileToRestore { path, mode, size, chunks } = file;
    let shown = path.display().to_string();
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
fn finish(links: &[(PathBuf, Escaped)], modes: &[(PathBuf, u32)]) -> Result<()> {
    for (path, Escaped(target)) in links {
        symlink(target, path).with_context(|| format!("cannot make the link {}", path.display()))?;
    }
    for (path, mode) in modes.iter().rev() {
        fs::set_permissions(path, permissions(*mode))
            .with_context(|| format!("cannot set the mode of {}", path.display()))?;
    }
    Ok(())
}

/// Permission bits alone: a stranger's snapshot makes no program run as its owner.
fn permissions(mode: u32) -> fs::Permissions {
    fs::Permissions::from_mode(mode & 0o777)
}
