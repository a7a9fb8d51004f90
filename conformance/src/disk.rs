//! A disk that forgets and fails on command: a directory at the top of a mounted `faulty-fs`, told what to do through the
//! control file there, so that neither crate needs the other.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::Deserialize;

use crate::{
    failure::{Failure, Outcome},
    measured::Measured,
};

/// Where a `faulty-fs` takes its commands.
const CONTROL: &str = ".control";

/// One disk; it is removed with its last clone.
#[derive(Clone, Debug)]
pub(crate) struct Disk(Arc<Mounted>);

#[derive(Debug)]
struct Mounted {
    mount_point: PathBuf,
    name: String,
    directory: PathBuf,
    measured: Arc<Measured>,
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

/// What a disk says of itself, as far as cases ask.
#[derive(Deserialize)]
struct Stats {
    used: u64,
    faults: u64,
}

impl Disk {
    /// A fresh disk, with an empty directory that survives a power loss.
    pub(crate) fn create(mount_point: &Path, measured: Arc<Measured>) -> Outcome<Self> {
        let name = unused_name();
        let path = mount_point.join(&name);
        // A mount point that was named is to be one: a file system that died amid a run must not end in what is untested.
        fs::create_dir(&path).map_err(|error| no_answer(mount_point, &error))?;
        let directory = path.join("store");
        let disk = Self(Arc::new(Mounted { mount_point: mount_point.to_owned(), name, directory, measured }));
        fs::create_dir(disk.directory()).map_err(Failure::harness)?;
        for synced in [disk.directory(), &path] {
            File::open(synced).and_then(|directory| directory.sync_all()).map_err(Failure::harness)?;
        }
        Ok(disk)
    }

    /// Where a store's files are to lie.
    pub(crate) fn directory(&self) -> &Path {
        &self.0.directory
    }

    /// Loses what was not synced. Whoever had a file open is to be gone, or finds it dead.
    pub(crate) fn lose_power(&self, keep: Keep) -> Outcome {
        let kept = match keep {
            Keep::None => "keep=none".to_owned(),
            Keep::Random { seed } => format!("keep=random torn=on seed={seed}"),
        };
        self.command(format_args!("lose {} {kept}", self.0.name))?;
        self.0.measured.count_power_loss();
        Ok(())
    }

    /// Lets operations fail, in the words of the file system: `fsync EIO times=1`, `read EIO after=3`.
    pub(crate) fn fail(&self, fault: impl fmt::Display) -> Outcome {
        self.command(format_args!("fail {} {fault}", self.0.name)).map(drop)
    }

    /// Lets so many writes take only a part of their bytes.
    pub(crate) fn shorten_writes(&self, times: usize) -> Outcome {
        self.command(format_args!("short {} times={times}", self.0.name)).map(drop)
    }

    /// How many operations failed, or wrote a part, because they were to.
    pub(crate) fn faults(&self) -> Outcome<u64> {
        Ok(self.stats()?.faults)
    }

    /// Leaves room for so many bytes more.
    pub(crate) fn leave_room(&self, bytes: u64) -> Outcome {
        let used = self.stats()?.used;
        self.command(format_args!("full {} {}", self.0.name, used + bytes)).map(drop)
    }

    fn stats(&self) -> Outcome<Stats> {
        let stats = self.command(format_args!("stats {}", self.0.name))?;
        serde_json::from_str(&stats).map_err(Failure::harness)
    }

    /// Lets no operation fail any more, and gives it all the room.
    pub(crate) fn mend(&self) -> Outcome {
        self.command(format_args!("clear {}", self.0.name)).map(drop)
    }

    /// What the file system answers to a command.
    fn command(&self, command: fmt::Arguments<'_>) -> Outcome<String> {
        let ask = || {
            let mut control = File::options().read(true).write(true).open(self.0.mount_point.join(CONTROL))?;
            // A command is one write, and its answer is read back from the same open file.
            let written = control.write_all(format!("{command}\n").as_bytes());
            let mut answer = String::new();
            control.read_to_string(&mut answer)?;
            Ok::<_, io::Error>((written, answer))
        };
        match ask() {
            Ok((Ok(()), answer)) => Ok(answer),
            Ok((Err(_), answer)) => {
                Err(Failure::harness(format_args!("the faulty-fs refused `{command}`: {}", answer.trim())))
            }
            Err(error) => Err(no_answer(&self.0.mount_point, &error)),
        }
    }
}

/// A name for a disk. Those that an interrupted run left on the mount may be of a process with the same number.
fn unused_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("conformance-{}-{number}-{:016x}", process::id(), fastrand::u64(..))
}

fn no_answer(mount_point: &Path, error: &io::Error) -> Failure {
    Failure::harness(format_args!("no faulty-fs answers at {}: {error}", mount_point.display()))
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // What is left goes with the mount.
        let _ = fs::remove_dir_all(self.mount_point.join(&self.name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Kind;

    #[test]
    fn a_disk_is_not_named_for_its_process_and_number_alone() {
        let random_part = || unused_name().rsplit_once('-').expect("parts").1.to_owned();
        assert_ne!(random_part(), random_part());
    }

    #[test]
    fn a_mount_point_where_nothing_is_mounted_is_no_lack_of_equipment() {
        let gone = Path::new("/nowhere").join("faulty");
        let created = Disk::create(&gone, Arc::default()).expect_err("there is no disk");
        assert_eq!(
            (created.kind(), created.to_string().contains("/nowhere/faulty")),
            (Kind::Harness, true),
            "{created}"
        );
        let directory = tempfile::tempdir().expect("a directory");
        let asked = Disk::create(directory.path(), Arc::default()).and_then(|disk| disk.mend());
        assert_eq!(asked.expect_err("nobody answers").kind(), Kind::Harness);
    }
}
