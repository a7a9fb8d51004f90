//! A disk of the shared mount, for one trial, and what trials do with it.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use faulty_fs::{Control, Fault, Keep, Loss, Mode, Stats};
use rustix::io::Errno;

/// A disk for one trial.
pub(crate) struct TestDisk {
    pub(crate) control: Control,
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
}

impl TestDisk {
    pub(crate) fn new(mount: &Path, name: &str) -> Self {
        let dir = mount.join(name);
        fs::create_dir(&dir).unwrap();
        Self { control: Control::at(mount), name: name.to_owned(), dir }
    }

    /// Another disk beside it.
    pub(crate) fn sibling(&self, suffix: &str) -> Self {
        let name = format!("{}-{suffix}", self.name);
        let dir = self.dir.with_file_name(&name);
        fs::create_dir(&dir).unwrap();
        Self { control: self.control.clone(), name, dir }
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.dir.join(path)
    }

    /// Forgets what was not synced.
    pub(crate) fn lose(&self) {
        self.lose_with(Loss::default());
    }

    /// Forgets a random part of it.
    pub(crate) fn lose_randomly(&self, seed: u64, torn: bool) {
        self.lose_with(Loss { keep: Keep::Random, seed, torn });
    }

    pub(crate) fn lose_with(&self, loss: Loss) {
        self.control.lose(&self.name, loss).unwrap();
    }

    pub(crate) fn inject(&self, fault: Fault) {
        self.control.inject(&self.name, fault).unwrap();
    }

    pub(crate) fn clear(&self) {
        self.control.clear(&self.name).unwrap();
    }

    pub(crate) fn full(&self, bytes: u64) {
        self.control.full(&self.name, Some(bytes)).unwrap();
    }

    pub(crate) fn mode(&self, mode: Mode) {
        self.control.mode(&self.name, mode).unwrap();
    }

    /// Makes everything durable.
    pub(crate) fn sync_all(&self) {
        self.control.sync(&self.name).unwrap();
    }

    pub(crate) fn stats(&self) -> Stats {
        self.control.stats(&self.name).unwrap()
    }

    /// Makes the entries of a directory durable.
    pub(crate) fn sync_dir(&self, path: &str) {
        File::open(self.path(path)).unwrap().sync_all().unwrap();
    }

    /// Writes a file and makes its data durable, not its name.
    pub(crate) fn write_synced(&self, path: &str, bytes: &[u8]) {
        fs::write(self.path(path), bytes).unwrap();
        File::open(self.path(path)).unwrap().sync_all().unwrap();
    }

    pub(crate) fn names(&self) -> Vec<String> {
        names(&self.dir)
    }

    pub(crate) fn read(&self, path: &str) -> Vec<u8> {
        fs::read(self.path(path)).unwrap()
    }

    pub(crate) fn open(&self, path: &str) -> File {
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(self.path(path)).unwrap()
    }
}

/// The names in a directory, sorted.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The error number of what must fail.
pub(crate) fn errno<T>(result: io::Result<T>) -> Errno {
    let Err(error) = result else { panic!("it succeeded") };
    Errno::from_io_error(&error).unwrap_or_else(|| panic!("an error of the system, not {error}"))
}
