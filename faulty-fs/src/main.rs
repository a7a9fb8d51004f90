//! `faulty-fs MOUNTPOINT`: mounts the file system that forgets, and stays until it is told to end.

use std::{io::Write, path::PathBuf, process::ExitCode, thread};

use clap::Parser;
use faulty_fs::{FaultyFs, MountError, Unmounter};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::{Errno, retry_on_intr},
    process::{PidfdFlags, getppid, pidfd_open},
};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

/// What `sysexits.h` calls `EX_UNAVAILABLE`.
const UNAVAILABLE: u8 = 69;

/// A file system for tests: it forgets what was not synced, and fails on command.
///
/// Each directory at its top is a disk. Commands are lines that are written to the file `.control` there. It is unmounted by SIGTERM, SIGINT
/// or SIGHUP, by umount, and when the process that started it ends.
///
/// Exit codes: 0 unmounted; 69 FUSE is not to be had here; 1 anything else.
#[derive(Parser)]
#[command(name = "faulty-fs", version)]
struct Arguments {
    /// The directory to mount it at.
    mount_point: PathBuf,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("faulty-fs: {error}");
            match error.downcast_ref::<MountError>() {
                Some(error) if error.is_unavailable() => UNAVAILABLE.into(),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    // Before there is a mount that a signal could leave behind.
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let mounted = FaultyFs::mount(&arguments.mount_point)?;
    let unmounter = mounted.unmounter();
    thread::spawn(move || {
        for _ in signals.forever() {
            unmount(&unmounter);
        }
    });
    let unmounter = mounted.unmounter();
    thread::spawn(move || match parent_ends() {
        Ok(()) => unmount(&unmounter),
        Err(error) => eprintln!("faulty-fs: stays when its parent ends, which cannot be watched: {error}"),
    });
    say_mounted(&mounted)?;
    mounted.wait()?;
    Ok(())
}

/// Tells whoever waits for it that the file system is there.
fn say_mounted(mounted: &faulty_fs::Mounted) -> std::io::Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "faulty-fs: mounted at {}", mounted.path().display())?;
    output.flush()
}

fn unmount(unmounter: &Unmounter) {
    if let Err(error) = unmounter.unmount() {
        eprintln!("faulty-fs: could not unmount: {error}");
    }
}

/// Returns when the process that started this one has ended.
fn parent_ends() -> Result<(), Errno> {
    let Some(parent) = getppid() else { return Ok(()) };
    let parent = pidfd_open(parent, PidfdFlags::empty())?;
    let mut ended = [PollFd::new(&parent, PollFlags::IN)];
    retry_on_intr(|| poll(&mut ended, None)).map(drop)
}
