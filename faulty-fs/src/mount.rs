//! Mounting and unmounting, and what is missing where that cannot be.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
};

use fuser::{Config, MountOption, SessionUnmounter};
use rustix::{
    io::Errno,
    mount::{UnmountFlags, unmount},
};

use crate::{control::Control, session::Session, tree::lock};

/// The device that FUSE is spoken over.
const DEVICE: &str = "/dev/fuse";

/// How many requests are answered at once.
const THREADS: usize = 2;

/// The file system, to be mounted.
#[derive(Debug)]
pub struct FaultyFs;

/// Why there is no mount.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// The system has no FUSE.
    #[error("/dev/fuse is missing; load the kernel module fuse, or give the container the device")]
    NoDevice,
    /// The device is there, and this process may not use it.
    #[error("/dev/fuse may not be opened; give this user access to it")]
    DeviceDenied,
    /// Mounting is not allowed, and the program that does it for others is missing or refused.
    #[error("mounting is not allowed; run as root with CAP_SYS_ADMIN, or install fusermount3 (package fuse3): {0}")]
    MountDenied(#[source] io::Error),
    /// The mount point is not a directory.
    #[error("the mount point cannot be used; name a directory that exists: {0}")]
    MountPoint(#[source] io::Error),
    /// Anything else, which is not for want of FUSE.
    #[error("the file system could not be mounted: {0}")]
    Other(#[source] io::Error),
}

impl MountError {
    /// Whether FUSE is not to be had here, so that what needs it remains untested.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::NoDevice | Self::DeviceDenied | Self::MountDenied(_))
    }
}

impl FaultyFs {
    /// Mounts an empty file system at a directory that exists, until the guard is dropped.
    ///
    /// # Errors
    ///
    /// [`MountError::is_unavailable`] where FUSE is not to be had.
    pub fn mount(dir: impl AsRef<Path>) -> Result<Mounted, MountError> {
        let dir = fs::canonicalize(dir).map_err(MountError::MountPoint)?;
        fs::read_dir(&dir).map_err(MountError::MountPoint)?;
        device()?;
        let session = Session::new();
        let mut kernel = fuser::Session::new(session.clone(), &dir, &options()).map_err(refused)?;
        session.connect(kernel.notifier());
        let unmounter = Unmounter { dir: dir.clone(), helper: Arc::new(Mutex::new(kernel.unmount_callable())) };
        let answering =
            thread::Builder::new().name("faulty-fs".to_owned()).spawn(|| kernel.run()).map_err(MountError::Other)?;
        Ok(Mounted { dir, unmounter, answering: Some(answering) })
    }
}

fn options() -> Config {
    let mut options = Config::default();
    options.mount_options =
        vec![MountOption::FSName("faulty-fs".to_owned()), MountOption::NoAtime, MountOption::DefaultPermissions];
    options.n_threads = Some(THREADS);
    options
}

/// Says what is wrong with the device before a mount says less.
fn device() -> Result<(), MountError> {
    match fs::File::options().read(true).write(true).open(DEVICE) {
        Ok(_) => Ok(()),
        Err(error) => Err(match Errno::from_io_error(&error) {
            Some(Errno::NOENT | Errno::NXIO | Errno::NODEV) => MountError::NoDevice,
            Some(Errno::ACCESS | Errno::PERM) => MountError::DeviceDenied,
            _ => MountError::Other(error),
        }),
    }
}

/// Not being allowed to mount shows as the failure of the helper that is tried then.
fn refused(error: io::Error) -> MountError {
    let of_helper = error.raw_os_error().is_none();
    if of_helper || matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) {
        MountError::MountDenied(error)
    } else {
        MountError::Other(error)
    }
}

/// A mounted file system; unmounted when dropped, whatever is still open on it.
#[derive(Debug)]
#[must_use = "it is unmounted when dropped"]
pub struct Mounted {
    dir: PathBuf,
    unmounter: Unmounter,
    answering: Option<JoinHandle<io::Result<()>>>,
}

impl Mounted {
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

    /// What unmounts it from elsewhere, as on a signal.
    #[must_use]
    pub fn unmounter(&self) -> Unmounter {
        self.unmounter.clone()
    }

    /// Waits until it is unmounted, by whomever.
    pub fn wait(mut self) -> io::Result<()> {
        self.join()
    }

    fn join(&mut self) -> io::Result<()> {
        let Some(answering) = self.answering.take() else { return Ok(()) };
        answering.join().map_err(|_| io::Error::other("the file system panicked"))?
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let mounted = self.answering.as_ref().is_some_and(|answering| !answering.is_finished());
        // Without root the kernel may keep it until the last handle is closed; then nobody is to wait for that.
        if mounted && self.unmounter.unmount().is_ok_and(|ended| ended) {
            let _ = self.join();
        }
    }
}

/// Unmounts a file system.
#[derive(Clone, Debug)]
pub struct Unmounter {
    dir: PathBuf,
    helper: Arc<Mutex<SessionUnmounter>>,
}

impl Unmounter {
    /// Unmounts at once, so that what is still open on it fails with `ENOTCONN`. Says whether that was possible: without
    /// root what is open stays until it is closed.
    pub fn unmount(&self) -> io::Result<bool> {
        match unmount(&self.dir, UnmountFlags::FORCE | UnmountFlags::DETACH) {
            Ok(()) => Ok(true),
            Err(Errno::PERM) => lock(&self.helper).unmount().map(|()| false),
            Err(error) => Err(error.into()),
        }
    }
}
