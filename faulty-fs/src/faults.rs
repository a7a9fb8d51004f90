//! Faults: which operations of a disk fail, and how; and the count of what was asked of it.

use std::{collections::BTreeMap, time::Duration};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::words::Word;

/// What is asked of a disk, by the system calls that reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Op {
    /// `open` of a file that is there.
    Open,
    /// `read` of bytes that the kernel has not cached; a fault of this kind empties the cache when it is set.
    Read,
    /// `write`, but not what is written back from a shared mapping.
    Write,
    /// `truncate`, `ftruncate`, and `open` with `O_TRUNC`.
    Truncate,
    /// `fallocate`.
    Allocate,
    /// `fsync`, `fdatasync` and `msync` of a file, and each `write` to one opened with `O_SYNC` or `O_DSYNC`.
    Fsync,
    /// `fsync` of a directory.
    SyncDir,
    /// `open` that creates a file, `mknod` and `symlink`.
    Create,
    /// `link`.
    Link,
    /// `mkdir`.
    Mkdir,
    /// `rename`.
    Rename,
    /// `unlink`.
    Unlink,
    /// `rmdir`.
    Rmdir,
    /// Reading a directory.
    List,
}

impl Word for Op {
    const WORDS: &'static [(Self, &'static str)] = &[
        (Self::Open, "open"),
        (Self::Read, "read"),
        (Self::Write, "write"),
        (Self::Truncate, "truncate"),
        (Self::Allocate, "allocate"),
        (Self::Fsync, "fsync"),
        (Self::SyncDir, "syncdir"),
        (Self::Create, "create"),
        (Self::Link, "link"),
        (Self::Mkdir, "mkdir"),
        (Self::Rename, "rename"),
        (Self::Unlink, "unlink"),
        (Self::Rmdir, "rmdir"),
        (Self::List, "list"),
    ];
}

/// The error that an operation fails with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// An input/output error.
    Eio,
    /// No space is left.
    Enospc,
    /// The quota is used up.
    Edquot,
    /// The file system is read-only.
    Erofs,
    /// Permission is denied.
    Eacces,
}

impl Word for Failure {
    const WORDS: &'static [(Self, &'static str)] = &[
        (Self::Eio, "EIO"),
        (Self::Enospc, "ENOSPC"),
        (Self::Edquot, "EDQUOT"),
        (Self::Erofs, "EROFS"),
        (Self::Eacces, "EACCES"),
    ];
}

impl Failure {
    fn errno(self) -> Errno {
        match self {
            Self::Eio => Errno::IO,
            Self::Enospc => Errno::NOSPC,
            Self::Edquot => Errno::DQUOT,
            Self::Erofs => Errno::ROFS,
            Self::Eacces => Errno::ACCESS,
        }
    }
}

/// What a failing [`Op::Fsync`] does to the pages that it should have written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pages {
    /// They count as clean though they are not durable, so that the next sync succeeds without them, as in Linux.
    #[default]
    Lost,
    /// They stay dirty, so that the next sync writes them.
    Dirty,
}

impl Word for Pages {
    const WORDS: &'static [(Self, &'static str)] = &[(Self::Lost, "lost"), (Self::Dirty, "dirty")];
}

/// What becomes of an operation that a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Fails {
        failure: Failure,
        pages: Pages,
        /// How long a sync takes until it does.
        late: Duration,
    },
    /// A write takes only a part of its bytes.
    IsShort,
}

/// Which operations fail, and how. From the first on and for ever, unless it is limited.
///
/// ```
/// use faulty_fs::{Failure, Fault, Op};
///
/// let fault = Fault::new(Op::Fsync, Failure::Eio).after(3).times(1).path("-wal");
/// # let _ = fault;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Fault {
    pub(crate) op: Op,
    pub(crate) effect: Effect,
    pub(crate) after: u64,
    pub(crate) times: Option<u64>,
    pub(crate) path: Option<String>,
    pub(crate) file: Option<String>,
}

impl Fault {
    /// An operation fails with an error, and has no effect.
    pub fn new(op: Op, failure: Failure) -> Self {
        Self::of(op, Effect::Fails { failure, pages: Pages::default(), late: Duration::ZERO })
    }

    /// A write takes half of its bytes, one at least.
    pub fn short_write() -> Self {
        Self::of(Op::Write, Effect::IsShort)
    }

    fn of(op: Op, effect: Effect) -> Self {
        Self { op, effect, after: 0, times: None, path: None, file: None }
    }

    /// Lets the first `operations` that it would strike pass.
    pub fn after(self, operations: u64) -> Self {
        Self { after: operations, ..self }
    }

    /// Ends after so many operations were struck.
    pub fn times(self, operations: u64) -> Self {
        Self { times: Some(operations), ..self }
    }

    /// Strikes only where a path of the file, from the disk's root, contains this. It has no blanks.
    pub fn path(self, part: impl Into<String>) -> Self {
        Self { path: Some(part.into()), ..self }
    }

    /// Strikes only the file with this path from the disk's root. It has no blanks.
    pub fn file(self, path: impl Into<String>) -> Self {
        Self { file: Some(path.into()), ..self }
    }

    /// What a failing sync does to the dirty pages; without an effect on other faults.
    pub fn pages(self, pages: Pages) -> Self {
        match self.effect {
            Effect::Fails { failure, late, .. } => Self { effect: Effect::Fails { failure, pages, late }, ..self },
            Effect::IsShort => self,
        }
    }

    /// How long a sync takes until it fails, as on a disk that tries again, in whole milliseconds; without an effect on
    /// other faults. Other files can be used meanwhile, as long as one sync at a time is late.
    pub fn late(self, late: Duration) -> Self {
        match self.effect {
            Effect::Fails { failure, pages, .. } => Self { effect: Effect::Fails { failure, pages, late }, ..self },
            Effect::IsShort => self,
        }
    }

    /// Whether it strikes this operation, which then counts.
    fn strikes(&mut self, op: Op, paths: &[String]) -> bool {
        let concerned = self.op == op
            && self.times != Some(0)
            && self.path.as_ref().is_none_or(|part| paths.iter().any(|path| path.contains(part)))
            && self.file.as_ref().is_none_or(|file| paths.contains(file));
        if !concerned {
            return false;
        }
        if self.after > 0 {
            self.after -= 1;
            return false;
        }
        self.times = self.times.map(|times| times - 1);
        true
    }
}

impl Effect {
    /// The error, if it is one.
    pub(crate) fn error(self) -> Option<Errno> {
        match self {
            Self::Fails { failure, .. } => Some(failure.errno()),
            Self::IsShort => None,
        }
    }

    /// How long a sync takes until it comes.
    pub(crate) fn late(self) -> Duration {
        match self {
            Self::Fails { late, .. } => late,
            Self::IsShort => Duration::ZERO,
        }
    }
}

/// The faults of a disk, and the operations that it was asked for.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    armed: Vec<Fault>,
    pub(crate) asked: BTreeMap<Op, u64>,
    pub(crate) struck: u64,
}

impl Faults {
    pub(crate) fn add(&mut self, fault: Fault) {
        self.armed.push(fault);
    }

    pub(crate) fn clear(&mut self) {
        self.armed.clear();
    }

    /// Counts an operation, and gives the effect of the first fault that strikes it. `paths` is asked only if a fault
    /// wants to know.
    pub(crate) fn strike(&mut self, op: Op, paths: impl FnOnce() -> Vec<String>) -> Option<Effect> {
        *self.asked.entry(op).or_default() += 1;
        let by_path = self.armed.iter().any(|fault| fault.op == op && (fault.path.is_some() || fault.file.is_some()));
        let paths = if by_path { paths() } else { Vec::new() };
        let fault = self.armed.iter_mut().find_map(|fault| fault.strikes(op, &paths).then_some(fault.effect));
        self.struck += u64::from(fault.is_some());
        fault
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn struck(faults: &mut Faults, op: Op, path: &str) -> bool {
        faults.strike(op, || vec![path.to_owned()]).is_some()
    }

    #[test]
    fn a_fault_strikes_after_some_operations_and_some_times() {
        let mut faults = Faults::default();
        faults.add(Fault::new(Op::Write, Failure::Eio).after(2).times(1));
        let struck: Vec<_> = (0..5).map(|_| struck(&mut faults, Op::Write, "a")).collect();
        assert_eq!(struck, [false, false, true, false, false]);
        assert_eq!(faults.asked[&Op::Write], 5);
        assert_eq!(faults.struck, 1);
    }

    #[test]
    fn a_fault_counts_only_what_it_concerns() {
        let mut faults = Faults::default();
        faults.add(Fault::new(Op::Fsync, Failure::Eio).after(1).path("wal"));
        assert!(!struck(&mut faults, Op::Fsync, "db"));
        assert!(!struck(&mut faults, Op::Write, "db-wal"));
        assert!(!struck(&mut faults, Op::Fsync, "db-wal"));
        assert!(!struck(&mut faults, Op::Fsync, "db"));
        assert!(struck(&mut faults, Op::Fsync, "db-wal"));
    }

    #[test]
    fn a_fault_of_a_file_strikes_none_with_a_longer_name() {
        let mut faults = Faults::default();
        faults.add(Fault::new(Op::Read, Failure::Eio).file("store/db"));
        assert!(!struck(&mut faults, Op::Read, "store/db-shm"));
        assert!(struck(&mut faults, Op::Read, "store/db"));
    }

    #[test]
    fn cleared_faults_strike_nothing() {
        let mut faults = Faults::default();
        faults.add(Fault::short_write());
        assert!(struck(&mut faults, Op::Write, "a"));
        faults.clear();
        assert!(!struck(&mut faults, Op::Write, "a"));
    }
}
