//! The folder of a store: whether it is one, the lock that one instance holds, and what must be known before RocksDB
//! touches anything.
//!
//! RocksDB writes into what it opens: a new manifest at least. So the format and the hash function are in a file of their
//! own, the marker, which is the first to be there and never changes (L5). The lock is a file of its own as well, as
//! RocksDB's does not say who holds it.
//!
//! RocksDB lets everybody read the files that it makes, as far as the umask does. So they lie, with the marker, in a
//! folder within the store's, which its owner alone can enter, whoever made the one around it.
//!
//! RocksDB makes and removes its files by their paths, at its end, too, and whatever else lies there. So it is given a path
//! that leads to the folder wherever that is moved.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Write},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};

use backend_kit::{
    check_hash,
    folder::{self, Layout, LockFile, identity_of},
    frame, io_error,
};
use store_api::{Error, ErrorKind, HashFunction, Result};

use crate::records;

/// The folder within the store's. It is there as a whole, or not at all.
const INSIDE: &str = "irminsul.data";
const NEW_INSIDE: &str = "irminsul.new";
const LAYOUT: Layout = Layout { marker: INSIDE, new_marker: NEW_INSIDE, lock: "irminsul.lock" };

pub(crate) const MARKER: &str = "irminsul";

/// Written when the store is closed, and before that when it was opened for the first time.
const CLOSED: &str = "irminsul.closed";

/// What RocksDB finds its files by.
const CURRENT: &str = "CURRENT";

/// What the name in it begins with; a number follows.
const MANIFEST: &str = "MANIFEST-";

/// What is noted of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Manifest {
    number: u64,
    len: u64,
}

impl Manifest {
    /// In the note of a store that was not closed yet. RocksDB's numbers begin with 1.
    const NONE: Self = Self { number: 0, len: 0 };

    /// The one in a note.
    fn parse(note: &[u8]) -> Option<Self> {
        let (name, len) = std::str::from_utf8(note).ok()?.split_once(' ')?;
        Some(Self { number: Self::number(name)?, len: len.parse().ok()? })
    }

    fn name(&self) -> String {
        format!("{MANIFEST}{:06}", self.number)
    }

    /// The number in a name.
    fn number(name: &str) -> Option<u64> {
        let digits = name.strip_prefix(MANIFEST)?;
        if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
    }
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name(), self.len)
    }
}

/// The ending of a write-ahead log.
const LOG: &str = "log";

/// The endings of the files in which RocksDB keeps data.
const DATA: [&str; 3] = ["sst", "blob", LOG];

/// The first words of a marker; the version and the hash function follow.
const FORMAT: &str = "irminsul-rocksdb";
const VERSION: &str = "1";

/// A folder that this instance holds until it is dropped.
pub(crate) struct Folder {
    /// That of the folder within.
    path: PathBuf,
    /// The folder within, where the path leads to it by way of this: otherwise it leads to whatever lies there.
    open: Option<File>,
    lock: LockFile,
}

impl Folder {
    /// Takes the folder, which is made if it is missing and may be, and says how the store hashes; a folder of something
    /// else is left alone.
    pub(crate) fn open(path: &Path, create: bool, wanted: Option<HashFunction>) -> Result<(Self, HashFunction)> {
        let (around, lock) = folder::take(path, create, LAYOUT)?;
        let refuse = |error| io_error("the store cannot be read", error);
        let inside = around.join(INSIDE);
        // With the lock: another instance may have been creating it.
        if !inside.try_exists().map_err(refuse)? {
            create_within(&around, wanted.unwrap_or_default())?;
        }
        let (path, open) = followed(inside).map_err(refuse)?;
        let this = Self { path, open, lock };
        // What was opened is the folder beside the lock.
        this.check_in_place()?;
        let hash = check_hash(wanted, this.marker()?)?;
        let names = folder::names(&this.path)?;
        if !names.iter().any(|name| name == CURRENT) {
            check_empty(&names)?;
            sync_place(&around)?;
        }
        this.check_closed(&names)?;
        this.check_records(&names)?;
        Ok((this, hash))
    }

    /// `Ok` while it is there.
    pub(crate) fn check_in_place(&self) -> Result<()> {
        self.lock.check_in_place()
    }

    /// Whether its path may lead to what is not this store.
    pub(crate) fn is_lost(&self) -> bool {
        self.open.is_none() && self.check_in_place().is_err()
    }

    /// How many bytes are free on its disk, where the system says so.
    pub(crate) fn free_bytes(&self) -> Option<u64> {
        let disk = rustix::fs::statvfs(&self.path).ok()?;
        disk.f_bavail.checked_mul(disk.f_frsize)
    }

    /// Notes that RocksDB has opened the store: from then on it has a log that survives a power loss, unless it is closed,
    /// and a missing one is noticed.
    ///
    /// RocksDB makes a new log before the manifest that names it, and removes no log before that. On most file systems the
    /// sync that comes with the manifest keeps the names of both, and elsewhere (btrfs) no name is gone for good before an
    /// older one is there for good. What is left is the first log, which is synced here, before the note.
    pub(crate) fn note_opened(&self) -> Result<()> {
        let note = || {
            folder::sync(&self.path)?;
            if self.noted()?.is_none() { self.note(Manifest::NONE) } else { Ok(()) }
        };
        note().map_err(|error| io_error("the store cannot be noted as opened", error))
    }

    /// Notes how long the manifest was that the last instance left behind: RocksDB takes one that was cut short for that
    /// of a crash, and removes the data that it does not name any more.
    pub(crate) fn note_closed(&self) {
        let noted = self.manifest().and_then(|manifest| self.note(manifest));
        if let Err(error) = noted {
            // The next open then finds no note, or none that is whole, and does without.
            tracing::warn!(error = %error, "the end of the store could not be noted");
        }
    }

    fn note(&self, manifest: Manifest) -> io::Result<()> {
        let mut file = File::create(self.path.join(CLOSED))?;
        file.write_all(&frame::seal(CLOSED.as_bytes(), manifest.to_string().as_bytes()))?;
        file.sync_all()
    }

    /// The manifest in the note, where there is a whole one: a crash may have left another.
    fn noted(&self) -> io::Result<Option<Manifest>> {
        match fs::read(self.path.join(CLOSED)) {
            Ok(note) => Ok(frame::open(CLOSED.as_bytes(), &note).ok().and_then(Manifest::parse)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `Corrupt` where the manifest is not what the last instance left behind, or where that was not closed, and left no
    /// log: RocksDB would begin without what it has not put into its place.
    ///
    /// RocksDB appends to no manifest that it finds: behind an open it begins one with a greater number. So the note holds
    /// until `CURRENT` names another, whatever became of an open meanwhile, one that failed or crashed included, and says
    /// nothing about those that follow. Nobody has to remove it, and the next close writes over it.
    fn check_closed(&self, names: &[String]) -> Result<()> {
        let refuse = |error| io_error("the note of the last close cannot be read", error);
        let Some(noted) = self.noted().map_err(refuse)? else { return Ok(()) };
        let found = match self.manifest() {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => None,
            found => Some(found.map_err(refuse)?),
        };
        let what = match found {
            // It was closed, and needs no log.
            Some(found) if found == noted => return Ok(()),
            Some(found) if found.number > noted.number => {
                if names.iter().any(|name| has_ending(name, LOG)) {
                    return Ok(());
                }
                "the write-ahead log of the store is missing, and with it what was written last"
            }
            _ => "the manifest of the store is not as it was when it was closed",
        };
        Err(Error::new(ErrorKind::Corrupt, format!("{what}; restore it from a copy")))
    }

    /// `Corrupt` where RocksDB would read the manifest or a log without end.
    fn check_records(&self, names: &[String]) -> Result<()> {
        let manifest = self.manifest().ok().map(|manifest| manifest.name());
        for name in names.iter().filter(|name| manifest.as_ref() == Some(*name) || has_ending(name, LOG)) {
            let found = File::open(self.path.join(name)).and_then(records::first_recycled);
            if let Some(at) =
                found.map_err(|error| io_error(format_args!("{name} of the store cannot be read"), error))?
            {
                let message = format!("{name} of the store has rotted at byte {at}; restore the store from a copy");
                return Err(Error::new(ErrorKind::Corrupt, message));
            }
        }
        Ok(())
    }

    /// The manifest that RocksDB would open.
    fn manifest(&self) -> io::Result<Manifest> {
        let current = fs::read_to_string(self.path.join(CURRENT))?;
        let name = current.trim_end();
        let number = Manifest::number(name).ok_or(io::ErrorKind::InvalidData)?;
        let len = fs::metadata(self.path.join(name))?.len();
        Ok(Manifest { number, len })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The same on a system without `/proc`.
    #[cfg(test)]
    pub(crate) fn unfollowed(self) -> Self {
        Self { path: fs::canonicalize(&self.path).unwrap(), open: None, ..self }
    }

    /// The hash function in the marker.
    fn marker(&self) -> Result<HashFunction> {
        match fs::read(self.path.join(MARKER)) {
            Ok(bytes) => parse_marker(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(damaged()),
            Err(error) => Err(io_error("the marker of the store cannot be read", error)),
        }
    }
}

/// Makes the folder within. A crash leaves no store, or one with a whole marker, whose place is still to be synced.
fn create_within(around: &Path, hash: HashFunction) -> Result<()> {
    let put = || {
        let new = around.join(NEW_INSIDE);
        folder::make(&new)?;
        let mut marker = File::create(new.join(MARKER))?;
        marker.write_all(&seal_marker(hash))?;
        marker.sync_all()?;
        folder::sync(&new)?;
        fs::rename(new, around.join(INSIDE))
    };
    put().map_err(|error| io_error("the store cannot be created", error))
}

/// A path that leads to this folder wherever it is moved, as long as the file is open; where the system has none, the path
/// as it is.
fn followed(path: PathBuf) -> io::Result<(PathBuf, Option<File>)> {
    let open = File::open(&path)?;
    let opened = identity_of(&open.metadata()?);
    let own = PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()));
    let leads = fs::metadata(&own).is_ok_and(|found| identity_of(&found) == opened);
    Ok(if leads { (own, Some(open)) } else { (path, None) })
}

/// `Corrupt` where RocksDB would begin anew, and remove what data is there.
fn check_empty(names: &[String]) -> Result<()> {
    if names.iter().any(|name| DATA.iter().any(|ending| has_ending(name, ending))) {
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!("the file {CURRENT} of the store is missing, and its data is there; restore it from a copy"),
        ));
    }
    Ok(())
}

fn has_ending(name: &str, ending: &str) -> bool {
    Path::new(name).extension().is_some_and(|found| found == ending)
}

/// Syncs the name of the store's data in its folder, and that of the folder in the one above. While RocksDB has made
/// nothing, this instance or one that crashed may have made them a moment ago.
fn sync_place(around: &Path) -> Result<()> {
    let synced = folder::sync(around).and_then(|()| around.parent().map_or(Ok(()), folder::sync));
    synced.map_err(|error| io_error("the store cannot be created", error))
}

fn damaged() -> Error {
    let message = format!("the marker of the store, the file {MARKER}, is damaged or missing; restore it from a copy");
    Error::new(ErrorKind::Corrupt, message)
}

/// A version that a later library wrote is told up to this length.
const LONGEST_VERSION_TOLD: usize = 16;

pub(crate) fn seal_marker(hash: HashFunction) -> Vec<u8> {
    frame::seal(MARKER.as_bytes(), format!("{FORMAT} {VERSION} {hash}\n").as_bytes())
}

/// The hash function in a marker.
pub(crate) fn parse_marker(marker: &[u8]) -> Result<HashFunction> {
    let text = frame::open(MARKER.as_bytes(), marker).map_err(|_| damaged())?;
    let text = std::str::from_utf8(text).map_err(|_| damaged())?;
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    match words[..] {
        [FORMAT, VERSION, hash] => hash.parse().map_err(|_| damaged()),
        [FORMAT, version, ..] => {
            let version: String = version.chars().take(LONGEST_VERSION_TOLD).collect();
            let version = version.escape_debug();
            Err(Error::new(
                ErrorKind::Incompatible,
                format!(
                    "the store has format version {version}, and this library writes {VERSION}; use the one for it"
                ),
            ))
        }
        _ => Err(damaged()),
    }
}
