//! The serving process: it mounts the file system, answers the kernel, and unmounts when it is told to, or when nobody
//! needs it any more.

use std::{
    fs, io,
    io::Write,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{self, ExitCode},
    thread,
};

use fuser::{Config, MountOption, SessionUnmounter};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::{Errno, retry_on_intr},
    mount::{UnmountFlags, unmount},
    process::{PidfdFlags, getppid, pidfd_open},
};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::{mount::MountError, session::Session};

/// What it says when it is mounted.
pub(crate) const MOUNTED: &str = "faulty-fs: mounted";

/// How a process ends that has no FUSE: what `sysexits.h` calls `EX_UNAVAILABLE`.
pub(crate) const UNAVAILABLE: u8 = 69;

/// The device that FUSE is spoken over.
const DEVICE: &str = "/dev/fuse";

/// How many requests are answered at once.
const THREADS: usize = 2;

/// Mounts an empty file system at a directory and serves it, as the program `faulty-fs` does: says a line on standard
/// output when it is mounted, and returns when it was unmounted, by SIGTERM, SIGINT, SIGHUP, the end of the parent
/// process, or from outside. The exit code is 69 where FUSE is not to be had.
#[must_use]
pub fn serve(mount_point: &Path) -> ExitCode {
    match mount_and_answer(mount_point) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("faulty-fs: {error}");
            if error.is_unavailable() { UNAVAILABLE.into() } else { ExitCode::FAILURE }
        }
    }
}

fn mount_and_answer(mount_point: &Path) -> Result<(), MountError> {
    // Asked before anything takes time: one that has ended is replaced by another process, which never ends.
    let parent = parent();
    let dir = directory(mount_point)?;
    check_device()?;
    // Before there is a mount that a signal could leave behind.
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let session = Session::new();
    let mut kernel = fuser::Session::new(session.clone(), &dir, &options()).map_err(refused)?;
    session.connect(kernel.notifier());

    let on_signal = Unmounter { dir: dir.clone(), helper: kernel.unmount_callable() };
    thread::Builder::new().spawn(move || {
        if signals.forever().next().is_some() {
            on_signal.unmount();
        }
    })?;
    let with_parent = Unmounter { dir: dir.clone(), helper: kernel.unmount_callable() };
    thread::Builder::new().spawn(move || match ends(parent) {
        Ok(()) => with_parent.unmount(),
        Err(error) => eprintln!("faulty-fs: stays when its parent ends, which cannot be watched: {error}"),
    })?;

    say_mounted(&dir)?;
    Ok(kernel.run()?)
}

/// The directory that a mount point names.
pub(crate) fn directory(mount_point: &Path) -> Result<PathBuf, MountError> {
    let dir = fs::canonicalize(mount_point).map_err(MountError::MountPoint)?;
    fs::read_dir(&dir).map_err(MountError::MountPoint)?;
    Ok(dir)
}

/// Says what is wrong with the device before the mount says less.
fn check_device() -> Result<(), MountError> {
    let Err(error) = fs::File::options().read(true).write(true).open(DEVICE) else { return Ok(()) };
    Err(match Errno::from_io_error(&error) {
        Some(Errno::NOENT | Errno::NXIO | Errno::NODEV) => MountError::Unavailable(format!(
            "{DEVICE} is missing; load the kernel's module fuse, or give the container the device"
        )),
        Some(Errno::ACCESS | Errno::PERM) => {
            MountError::Unavailable(format!("{DEVICE} may not be opened; give this user access to it"))
        }
        _ => error.into(),
    })
}

fn options() -> Config {
    let mut options = Config::default();
    options.mount_options =
        vec![MountOption::FSName("faulty-fs".to_owned()), MountOption::NoAtime, MountOption::DefaultPermissions];
    options.n_threads = Some(THREADS);
    options
}

/// Not being allowed to mount shows as a failure of the helper that is tried then.
fn refused(error: io::Error) -> MountError {
    let by_helper = error.raw_os_error().is_none()
        || matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied);
    if !by_helper {
        return error.into();
    }
    MountError::Unavailable(format!(
        "mounting is not allowed; run as root with CAP_SYS_ADMIN, or install fusermount3: {error}"
    ))
}

/// Tells whoever waits for it that the file system is there.
fn say_mounted(dir: &Path) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{MOUNTED} at {}", dir.display())?;
    output.flush()
}

/// The process that started this one.
fn parent() -> Option<Result<OwnedFd, Errno>> {
    getppid().map(|parent| pidfd_open(parent, PidfdFlags::empty()))
}

/// Returns when a process has ended, at once where there is none.
fn ends(process: Option<Result<OwnedFd, Errno>>) -> Result<(), Errno> {
    let Some(process) = process.transpose()? else { return Ok(()) };
    let mut ended = [PollFd::new(&process, PollFlags::IN)];
    retry_on_intr(|| poll(&mut ended, None)).map(drop)
}

/// What unmounts the file system while it is served.
struct Unmounter {
    dir: PathBuf,
    /// For who is not root.
    helper: SessionUnmounter,
}

impl Unmounter {
    /// Unmounts, so that what is still open fails with `ENOTCONN`.
    fn unmount(mut self) {
        let unmounted = match unmount(&self.dir, UnmountFlags::FORCE | UnmountFlags::DETACH) {
            Err(Errno::PERM) => self.unmount_by_helper(),
            // It was unmounted from outside.
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = unmounted {
            eprintln!("faulty-fs: could not unmount: {error}");
        }
    }

    /// Without root what is open would hold the mount; with this process it ends.
    fn unmount_by_helper(&mut self) -> io::Result<()> {
        self.helper.unmount()?;
        process::exit(0)
    }
}
