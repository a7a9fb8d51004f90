//! `faulty-fs MOUNTPOINT`: mounts the file system that forgets, and serves it until it is told to end.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;

/// A file system for tests: it forgets what was not synced, and fails on command.
///
/// Each directory at its top is a disk. Commands are lines written to the file `.control` there. It is unmounted by
/// SIGTERM, SIGINT or SIGHUP, by umount, and when the process that started it ends.
///
/// Exit codes: 0 it was unmounted; 69 FUSE is not to be had here; 1 anything else.
#[derive(Parser)]
#[command(name = "faulty-fs", version)]
struct Arguments {
    /// The directory to mount it at.
    mount_point: PathBuf,
}

fn main() -> ExitCode {
    faulty_fs::serve(&Arguments::parse().mount_point)
}
