//! A store that is a folder: made for its owner only, locked by one instance at a time (L4), and synced, so that the names
//! in it survive a power loss.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    process,
};

use store_api::{Error, ErrorKind, Result};

use crate::io_error;

/// The names in a folder that say whether it is a store.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// The file that every store of this kind has. It is the last to be there when a store is created.
    pub marker: &'static str,
    /// What becomes the marker. A crash can leave it behind.
    pub new_marker: &'static str,
    /// The file that is locked.
    pub lock: &'static str,
}

/// Takes the folder of a store, which is made if it is missing and `create` says so; its full path, so that what is opened
/// later is what was found here, wherever the process is by then. Without a marker it is one where a store is to be
/// created.
///
/// # Errors
///
/// `InvalidInput` when there is no store and none is to be created; `Incompatible` for a folder of something else, which
/// is left alone; those of [`LockFile::take`]; what the system says.
pub fn take(path: &Path, create: bool, layout: Layout) -> Result<(PathBuf, LockFile)> {
    let refuse = |error| io_error(format_args!("{} cannot be opened", shown(path)), error);
    let invalid = |what: &str| Err(Error::new(ErrorKind::InvalidInput, format!("{} {what}", shown(path))));
    match fs::metadata(path) {
        Ok(found) if !found.is_dir() => return invalid("is a file, not a folder; name a folder"),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !create => {
            return invalid("does not exist; check the path, or open it with `create=on`");
        }
        _ => {}
    }
    if create {
        match make(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return invalid("lies in a folder that does not exist; create the folder first");
            }
            made => made.map_err(refuse)?,
        }
    }
    if !path.join(layout.marker).try_exists().map_err(refuse)? {
        check_vacant(path, create, layout)?;
    }
    let path = fs::canonicalize(path).map_err(refuse)?;
    let lock = LockFile::take(&path.join(layout.lock))?;
    Ok((path, lock))
}

/// `Ok` for a folder without a marker where a store may be created: with nothing in it but what a crash can leave.
fn check_vacant(path: &Path, create: bool, layout: Layout) -> Result<()> {
    let names = names(path)?;
    // Another instance may have been faster.
    if names.iter().any(|name| name == layout.marker) {
        return Ok(());
    }
    if names.iter().any(|name| name != layout.new_marker && name != layout.lock) {
        let message = format!("{} is not empty, and holds no store of this kind; name another folder", shown(path));
        return Err(Error::new(ErrorKind::Incompatible, message));
    }
    if !create {
        let message = format!("{} holds no store; check the path, or open it with `create=on`", shown(path));
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    Ok(())
}

/// A file that is locked until this is dropped, and says who locked it. It stays there: to remove it would let a third
/// instance lock another file of the same name.
#[derive(Debug)]
pub struct LockFile {
    file: File,
    /// Its full path: whoever finds this file there finds the store.
    path: PathBuf,
    /// `None` on a file system that numbers a file anew while it is open: there it is not known again.
    identity: Option<Identity>,
}

impl LockFile {
    /// Locks the file, which is created, for its owner only, where there is none.
    ///
    /// # Errors
    ///
    /// `InUse`, at once, with the id of the process that holds the lock; `Other` when it was moved or removed meanwhile;
    /// what the system says of the file.
    pub fn take(path: &Path) -> Result<Self> {
        Self::hold(private().open(path).map_err(unlockable)?, path)
    }

    /// Locks a file that was found there.
    fn hold(mut file: File, path: &Path) -> Result<Self> {
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use(&file)),
            Err(TryLockError::Error(error)) => return Err(unlockable(error)),
        }
        let path = match fs::canonicalize(path) {
            Err(error) if is_absence(&error) => return Err(gone()),
            path => path.map_err(unlockable)?,
        };
        let identity = Self::identify(&file, &path)?;
        file.set_len(0).and_then(|()| write!(file, "{}", process::id())).map_err(unlockable)?;
        Ok(Self { file, path, identity })
    }

    /// What it is known by. Between the opening and the lock it may have been removed, and another one be in its place,
    /// which a third instance can lock.
    fn identify(held: &File, path: &Path) -> Result<Option<Identity>> {
        let held = identity_of(&held.metadata().map_err(unlockable)?);
        let look = || match fs::metadata(path) {
            Ok(found) => Ok(identity_of(&found)),
            Err(error) if is_absence(&error) => Err(gone()),
            Err(error) => Err(unlockable(error)),
        };
        let found = look()?;
        if found == held {
            return Ok(Some(held));
        }
        if look()? == found { Err(gone()) } else { Ok(None) }
    }

    /// `Ok` while the file is where it was locked. Who removed it removed the store, and nobody finds what is written to
    /// the files that are still open; where it was moved, files that are opened by their path would be another store's.
    ///
    /// # Errors
    ///
    /// `Other` when it was moved or removed, whatever lies in its place; what the system says of the path.
    pub fn check_in_place(&self) -> Result<()> {
        let Some(identity) = self.identity else { return Ok(()) };
        match fs::metadata(&self.path) {
            Ok(found) if identity_of(&found) == identity => Ok(()),
            Err(error) if !is_absence(&error) => Err(io_error("the folder of the store cannot be looked at", error)),
            _ => Err(gone()),
        }
    }
}

/// What tells a file from all others: its device, and the file on it. The same for all where the system does not say.
pub type Identity = (u64, u64);

/// The identity of a file.
#[cfg(unix)]
#[must_use]
pub fn identity_of(file: &fs::Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt;

    (file.dev(), file.ino())
}

/// The identity of a file, of which the system does not tell enough.
#[cfg(not(unix))]
#[must_use]
pub fn identity_of(_: &fs::Metadata) -> Identity {
    (0, 0)
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // Closing the file would do, unless a process that is just being started has a copy of it for a moment.
        // Where this fails, closing remains.
        let _ = self.file.unlock();
    }
}

fn private() -> OpenOptions {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn unlockable(error: io::Error) -> Error {
    io_error("the store cannot be locked", error)
}

fn gone() -> Error {
    Error::new(ErrorKind::Other, "the folder of the store was moved or removed; open the store again")
}

/// Whether nothing is at a path.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn in_use(lock: &File) -> Error {
    let holder = io::read_to_string(lock).ok().and_then(|pid| pid.parse::<u32>().ok());
    let holder = holder.map_or_else(|| "another process".into(), |pid| format!("process {pid}"));
    Error::new(ErrorKind::InUse, format!("the store is open in {holder}; close it there, or wait for it"))
}

/// Makes a folder that only its owner can enter; one that is there is fine.
///
/// # Errors
///
/// What the system says.
pub fn make(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// The names in a folder.
///
/// # Errors
///
/// What the system says of the folder.
pub fn names(path: &Path) -> Result<Vec<String>> {
    let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
    let names = fs::read_dir(path).and_then(|entries| entries.map(name).collect());
    names.map_err(|error| io_error(format_args!("{} cannot be read", shown(path)), error))
}

/// Syncs the names in a folder, where the file system knows such a sync. One that may be entered and not be read cannot be
/// synced.
///
/// # Errors
///
/// What the system says.
pub fn sync(path: &Path) -> io::Result<()> {
    if cfg!(not(unix)) {
        return Ok(());
    }
    let folder = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
        opened => opened?,
    };
    match folder.sync_all() {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}

/// A path in one line (E2).
#[must_use]
pub fn shown(path: &Path) -> String {
    path.display().to_string().escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn l4_a_lock_is_one_instances_and_says_whose() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("lock");
        let lock = LockFile::take(&path).unwrap();
        let refusal = LockFile::take(&path).unwrap_err();
        assert_eq!(refusal.kind(), ErrorKind::InUse);
        assert!(refusal.to_string().contains(&format!("process {}", process::id())), "{refusal}");
        drop(lock);
        LockFile::take(&path).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_was_moved_or_removed_is_noticed_whatever_lies_in_its_place() {
        let folder = TempDir::new().unwrap();
        let (path, elsewhere) = (folder.path().join("store"), folder.path().join("elsewhere"));
        make(&path).unwrap();
        let lock = LockFile::take(&path.join("lock")).unwrap();
        let gone = || {
            let error = lock.check_in_place().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Other);
            assert!(error.to_string().contains("was moved or removed"), "{error}");
        };
        lock.check_in_place().unwrap();
        fs::rename(&path, &elsewhere).unwrap();
        gone();
        make(&path).unwrap();
        gone();
        let other = LockFile::take(&path.join("lock")).unwrap();
        gone();
        other.check_in_place().unwrap();
        fs::remove_dir_all(&path).unwrap();
        fs::write(&path, "").unwrap();
        gone();
        fs::remove_file(&path).unwrap();
        fs::rename(&elsewhere, &path).unwrap();
        lock.check_in_place().unwrap();
        fs::remove_dir_all(&path).unwrap();
        gone();
    }

    #[cfg(unix)]
    #[test]
    fn l4_a_lock_that_was_removed_before_it_was_locked_is_refused() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("lock");
        let slow = || private().open(&path).unwrap();
        let gone = |file| {
            let refusal = LockFile::hold(file, &path).unwrap_err();
            assert!(refusal.to_string().contains("was moved or removed"), "{refusal}");
        };
        let removed = slow();
        fs::remove_file(&path).unwrap();
        gone(removed);
        let replaced = slow();
        fs::remove_file(&path).unwrap();
        let lock = LockFile::take(&path).unwrap();
        gone(replaced);
        lock.check_in_place().unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_is_reached_by_a_link_stays_where_it_is() {
        let folder = TempDir::new().unwrap();
        let (path, link) = (folder.path().join("store"), folder.path().join("link"));
        make(&path).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let lock = LockFile::take(&link.join("lock")).unwrap();
        fs::remove_file(link).unwrap();
        lock.check_in_place().unwrap();
    }

    const LAYOUT: Layout = Layout { marker: "store", new_marker: "store.new", lock: "lock" };

    #[test]
    fn a_folder_is_taken_where_a_store_is_or_may_be_created() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("store");
        assert_eq!(take(&path, false, LAYOUT).unwrap_err().kind(), ErrorKind::InvalidInput);
        let (found, lock) = take(&path, true, LAYOUT).unwrap();
        assert_eq!(found, fs::canonicalize(&path).unwrap());
        drop(lock);
        // What a crash left, without a store and beside one.
        for name in ["store.new", "store"] {
            fs::write(path.join(name), "").unwrap();
            take(&path, true, LAYOUT).unwrap();
        }
        fs::write(path.join("more"), "").unwrap();
        take(&path, false, LAYOUT).unwrap();
    }

    #[test]
    fn a_folder_of_something_else_is_left_alone() {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("notes.txt"), "mine").unwrap();
        for create in [true, false] {
            let refusal = take(folder.path(), create, LAYOUT).unwrap_err();
            assert_eq!(refusal.kind(), ErrorKind::Incompatible);
            assert!(refusal.to_string().contains("is not empty, and holds no store of this kind"), "{refusal}");
        }
        assert_eq!(names(folder.path()).unwrap(), ["notes.txt"]);
    }

    #[test]
    fn what_is_no_folder_of_a_store_is_refused_with_what_to_do() {
        let folder = TempDir::new().unwrap();
        let (file, empty) = (folder.path().join("app.db"), folder.path().join("empty"));
        fs::write(&file, "").unwrap();
        make(&empty).unwrap();
        let missing = folder.path().join("missing");
        for (path, create, expected) in [
            (missing.join("store"), true, "lies in a folder that does not exist; create the folder first"),
            (missing.clone(), false, "does not exist; check the path, or open it with `create=on`"),
            (file.clone(), true, "is a file, not a folder"),
            (file, false, "is a file, not a folder"),
            (empty, false, "holds no store; check the path, or open it with `create=on`"),
        ] {
            let refusal = take(&path, create, LAYOUT).unwrap_err();
            assert_eq!(refusal.kind(), ErrorKind::InvalidInput);
            assert!(refusal.to_string().contains(expected), "{refusal}");
        }
        assert!(!missing.exists());
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_is_its_owners() {
        use std::os::unix::fs::PermissionsExt;

        let folder = TempDir::new().unwrap();
        let path = folder.path().join("store");
        make(&path).unwrap();
        make(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        sync(&path).unwrap();
        assert!(names(&path).unwrap().is_empty());
    }
}
