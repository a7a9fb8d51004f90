//! What there is to save: a directory and all below, listed before any file is read. What cannot be stored is skipped
//! and named; reading the files is left to the saving.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use crate::{
    format::{Entry, Escaped, Node},
    shown,
};

/// What there is to save. Each directory comes after the one that it lies in.
#[derive(Default)]
pub(crate) struct Listing {
    pub(crate) directories: Vec<DirectoryToSave>,
    pub(crate) files: Vec<FileToSave>,
    pub(crate) bytes: u64,
}

pub(crate) struct DirectoryToSave {
    /// The directory that it lies in, and its name there; the first one has none.
    pub(crate) place: Option<(usize, Escaped)>,
    pub(crate) mode: u32,
    pub(crate) entries: Vec<Entry>,
}

pub(crate) struct FileToSave {
    pub(crate) directory: usize,
    pub(crate) name: Escaped,
    pub(crate) mode: u32,
    pub(crate) path: PathBuf,
}

/// Lists a directory and all below, but for the files of the store at the given path.
pub(crate) fn list(top: PathBuf, store: Option<&Path>) -> Result<Listing> {
    let store = store.map(StoreFile::at).transpose()?;
    let mut listing = Listing::default();
    let metadata = fs::metadata(&top).with_context(|| format!("cannot list {}", shown(&top)))?;
    let mut to_list = vec![(None, mode(&metadata), top)];
    while let Some((place, mode, path)) = to_list.pop() {
        let Some(there) = unless_gone(&path, "list", fs::read_dir(&path))? else { continue };
        let directory = listing.directories.len();
        listing.directories.push(DirectoryToSave { place, mode, entries: Vec::new() });
        for entry in there {
            let entry = entry.with_context(|| format!("cannot list {}", shown(&path)))?;
            if let Some((name, mode, path)) = listing.enter(directory, &entry, store.as_ref())? {
                to_list.push((Some((directory, name)), mode, path));
            }
        }
    }
    ensure!(!listing.directories.is_empty(), "the directory to save is gone");
    Ok(listing)
}

impl Listing {
    /// Notes an entry of a directory; gives name, mode and path of one that is to be listed in its turn.
    fn enter(
        &mut self,
        directory: usize,
        entry: &fs::DirEntry,
        store: Option<&StoreFile>,
    ) -> Result<Option<(Escaped, u32, PathBuf)>> {
        let (path, name) = (entry.path(), Escaped(entry.file_name()));
        let Some(metadata) = unless_gone(&path, "look at", entry.metadata())? else { return Ok(None) };
        let kind = metadata.file_type();
        if kind.is_dir() {
            return Ok(Some((name, mode(&metadata), path)));
        }
        if kind.is_symlink() {
            if let Some(target) = unless_gone(&path, "read", fs::read_link(&path))? {
                let node = Node::Symlink { target: Escaped(target.into_os_string()) };
                self.directories[directory].entries.push(Entry { name, node });
            }
        } else if !kind.is_file() {
            skipped(&path, "neither a file, nor a directory, nor a link");
        } else if store.is_some_and(|store| store.owns(&path, &metadata)) {
            skipped(&path, "it belongs to the store that the snapshot goes to");
        } else {
            self.bytes += metadata.len();
            self.files.push(FileToSave { directory, name, mode: mode(&metadata), path });
        }
        Ok(None)
    }
}

/// The database file that the snapshot goes to: stored in itself, it would grow with each save.
struct StoreFile {
    device: u64,
    inode: u64,
}

impl StoreFile {
    fn at(path: &Path) -> Result<Self> {
        let metadata = fs::metadata(path).with_context(|| format!("cannot look at {}", shown(path)))?;
        Ok(Self { device: metadata.dev(), inode: metadata.ino() })
    }

    fn is(&self, metadata: &fs::Metadata) -> bool {
        (metadata.dev(), metadata.ino()) == (self.device, self.inode)
    }

    /// Whether a file is the database, or one that SQLite keeps beside it.
    fn owns(&self, path: &Path, metadata: &fs::Metadata) -> bool {
        let beside = || {
            let path = path.as_os_str().as_bytes();
            let database = ["-wal", "-shm", "-journal"].iter().find_map(|end| path.strip_suffix(end.as_bytes()))?;
            fs::symlink_metadata(OsStr::from_bytes(database)).ok()
        };
        self.is(metadata) || beside().is_some_and(|database| self.is(&database))
    }
}

/// What was asked of a path, or `None` where somebody removed it since it was listed.
pub(crate) fn unless_gone<T>(path: &Path, asked: &str, answer: io::Result<T>) -> Result<Option<T>> {
    match answer {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            skipped(path, "it is gone");
            Ok(None)
        }
        answer => answer.map(Some).with_context(|| format!("cannot {asked} {}", shown(path))),
    }
}

fn skipped(path: &Path, why: &str) {
    eprintln!("skipped {}: {why}", shown(path));
}

fn mode(metadata: &fs::Metadata) -> u32 {
    metadata.permissions().mode() & 0o777
}
