//! Mounting for a program that uses the file system: it is served by a process of its own.

use std::{
    env,
    ffi::OsStr,
    io::{self, BufRead, BufReader, Read},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    thread,
};

use rustix::{
    mount::{UnmountFlags, unmount},
    process::{Pid, Signal, kill_process},
};
use tempfile::TempDir;

use crate::{
    control::Control,
    serve::{MOUNTED, UNAVAILABLE, directory, serve},
};

/// The variable that makes a program serve: where it is to mount.
const SERVE_AT: &str = "FAULTY_FS_SERVE_AT";

/// The file system, to be mounted.
#[derive(Clone, Copy, Debug)]
pub struct FaultyFs;

/// Why there is no mount.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// FUSE is not to be had here: no device, or no permission. What needs it remains untested.
    #[error("{0}")]
    Unavailable(String),
    /// The mount point is not a directory.
    #[error("the mount point cannot be used; name a directory that exists: {0}")]
    MountPoint(#[source] io::Error),
    /// The serving process failed.
    #[error("the file system is not served: {0}")]
    Serving(String),
    /// The system failed.
    #[error("the file system could not be mounted: {0}")]
    Io(#[from] io::Error),
}

impl MountError {
    /// Whether FUSE is not to be had here, so that what needs it remains untested.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// Serves, in a process that [`FaultyFs::mount`] started: to be called first thing in `main`, whose exit code it gives.
#[must_use]
pub fn serve_if_asked() -> Option<ExitCode> {
    env::var_os(SERVE_AT).map(|mount_point| serve(Path::new(&mount_point)))
}

impl FaultyFs {
    /// Mounts an empty file system at a directory that exists, until the guard is dropped or this process ends.
    ///
    /// It is served by another process of this program, whose `main` begins with [`serve_if_asked`]: a process that
    /// served itself could wait for itself for ever, since the kernel writes mapped pages back while it keeps the
    /// process from getting memory.
    ///
    /// # Errors
    ///
    /// [`MountError::is_unavailable`] where FUSE is not to be had.
    pub fn mount(mount_point: impl AsRef<Path>) -> Result<Mounted, MountError> {
        if env::var_os(SERVE_AT).is_some() {
            let reason = "this process was started to serve; call faulty_fs::serve_if_asked first in main";
            return Err(MountError::Serving(reason.to_owned()));
        }
        let dir = directory(mount_point.as_ref())?;
        Mounted::start(Command::new(env::current_exe()?).env(SERVE_AT, &dir), dir)
    }

    /// Mounts as [`FaultyFs::mount`] does, at a temporary directory.
    ///
    /// # Errors
    ///
    /// [`MountError::is_unavailable`] where FUSE is not to be had.
    pub fn mount_temporary() -> Result<Mounted, MountError> {
        let directory = TempDir::with_prefix("faulty-fs-")?;
        let mut mounted = Self::mount(directory.path())?;
        mounted.temporary = Some(directory);
        Ok(mounted)
    }

    /// Mounts as [`FaultyFs::mount`] does, served by the program `faulty-fs` at a path.
    ///
    /// # Errors
    ///
    /// [`MountError::is_unavailable`] where FUSE is not to be had.
    pub fn mount_by(program: impl AsRef<OsStr>, mount_point: impl AsRef<Path>) -> Result<Mounted, MountError> {
        let dir = directory(mount_point.as_ref())?;
        Mounted::start(Command::new(program).arg(&dir), dir)
    }
}

/// A mounted file system; unmounted when dropped, whatever is still open on it.
#[derive(Debug)]
#[must_use = "it is unmounted when dropped"]
pub struct Mounted {
    dir: PathBuf,
    server: Child,
    /// The directory that it is mounted at, if it goes with the mount.
    temporary: Option<TempDir>,
}

impl AsRef<Path> for Mounted {
    fn as_ref(&self) -> &Path {
        self.path()
    }
}

impl Mounted {
    fn start(command: &mut Command, dir: PathBuf) -> Result<Self, MountError> {
        // Ctrl-C is for the program that mounts it, which may have to end others first; with that program it ends, too.
        command.process_group(0);
        let mut server = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut output = BufReader::new(server.stdout.take().expect("it is piped"));
        let mut errors = server.stderr.take().expect("it is piped");
        // From here on it is ended when this fails.
        let mounted = Self { dir, server, temporary: None };
        let mut line = String::new();
        output.read_line(&mut line)?;
        if line.starts_with(MOUNTED) {
            thread::Builder::new().spawn(move || io::copy(&mut errors, &mut io::stderr()))?;
            return Ok(mounted);
        }
        if !line.is_empty() {
            let reason = "the program does not serve; call faulty_fs::serve_if_asked first in main";
            return Err(MountError::Serving(reason.to_owned()));
        }
        mounted.refused(errors)
    }

    fn refused(mut self, mut errors: impl Read) -> Result<Self, MountError> {
        let mut reason = String::new();
        errors.read_to_string(&mut reason)?;
        let reason = reason.trim_end().trim_start_matches("faulty-fs: ").to_owned();
        let status = self.server.wait()?;
        Err(if status.code() == Some(UNAVAILABLE.into()) {
            MountError::Unavailable(reason)
        } else {
            MountError::Serving(format!("{status}: {reason}"))
        })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// What takes its commands.
    #[must_use]
    pub fn control(&self) -> Control {
        Control::at(&self.dir)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Ok(None) = self.server.try_wait() {
            let _ = kill_process(Pid::from_child(&self.server), Signal::TERM);
        }
        // One that was killed has not unmounted. Where only root may do so, the mount stays: nothing else is to be done.
        if self.server.wait().is_ok_and(|ended| ended.signal().is_some()) {
            let _ = unmount(&self.dir, UnmountFlags::DETACH);
        }
    }
}
