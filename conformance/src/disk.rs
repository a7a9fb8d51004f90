//! A disk that forgets and fails on command: a directory at the top of a mounted `faulty-fs`, told what to do through the
//! control file there, so that neither crate needs the other.

use std::{
    fmt,
    fs::{self, File},
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
    process,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::failure::{Failure, Outcome};

/// Where a `faulty-fs` takes its commands.
const CONTROL: &str = ".control";

/// One disk; it is removed with its last clone.
#[derive(Clone, Debug)]
pub(crate) struct Disk(Arc<Mounted>);

#[derive(Debug)]
struct Mounted {
    mount_point: PathBuf,
    name: String,
}

/// What is left of what was not synced when the power is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Nothing.
    None,
    /// A random part of the writes, in any order, torn ones too.
    Random {
        /// Which part.
        seed: u64,
    },
}

impl Disk {
    /// A fresh, empty disk.
    pub(crate) fn create(mount_point: &Path) -> Outcome<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("conformance-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let disk = Self(Arc::new(Mounted { mount_point: mount_point.to_owned(), name }));
        fs::create_dir(disk.path())
            .map_err(|error| Failure::untested(format_args!("no faulty-fs at {}: {error}", mount_point.display())))?;
        Ok(disk)
    }

    /// The directory of a store on it, which survives a power loss.
    pub(crate) fn directory(&self) -> Outcome<PathBuf> {
        let directory = self.path().join("store");
        fs::create_dir(&directory).map_err(Failure::harness)?;
        for synced in [&directory, &self.path()] {
            File::open(synced).and_then(|directory| directory.sync_all()).map_err(Failure::harness)?;
        }
        Ok(directory)
    }

    /// Loses what was not synced. Whoever had a file open is to be gone, or finds it dead.
    pub(crate) fn lose_power(&self, keep: Keep) -> Outcome {
        match keep {
            Keep::None => self.command(format_args!("lose {} keep=none", self.0.name)),
            Keep::Random { seed } => self.command(format_args!("lose {} keep=random torn=on seed={seed}", self.0.name)),
        }
        .map(drop)
    }

    /// Lets an operation (`fsync`, `write`, `read`, ..) fail with an error such as `EIO`, so many times.
    pub(crate) fn fail(&self, operation: &str, errno: &str, times: usize) -> Outcome {
        self.command(format_args!("fail {} {operation} {errno} times={times}", self.0.name)).map(drop)
    }

    /// Lets no operation fail any more.
    pub(crate) fn mend(&self) -> Outcome {
        self.command(format_args!("clear {}", self.0.name)).map(drop)
    }

    fn path(&self) -> PathBuf {
        self.0.mount_point.join(&self.0.name)
    }

    /// What the file system answers to a command.
    fn command(&self, command: fmt::Arguments<'_>) -> Outcome<String> {
        let answer = || {
            let mut control = File::options().read(true).write(true).open(self.0.mount_point.join(CONTROL))?;
            let written = writeln!(control, "{command}");
            let mut answer = String::new();
            control.rewind()?;
            control.read_to_string(&mut answer)?;
            Ok((written, answer))
        };
        match answer() {
            Ok((Ok(()), answer)) => Ok(answer),
            Ok((Err(error), answer)) => {
                Err(Failure::harness(format_args!("the faulty-fs refused `{command}`: {}: {error}", answer.trim())))
            }
            Err(error) => {
                let error: std::io::Error = error;
                let control = self.0.mount_point.display();
                Err(Failure::untested(format_args!("no faulty-fs answers at {control}: {error}")))
            }
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // What is left goes with the mount.
        let _ = fs::remove_dir_all(self.mount_point.join(&self.name));
    }
}
