//! The program, and the guard of the library: how a mount begins and ends.

use std::{fs, path::Path, process::Command};

use faulty_fs::{Control, FaultyFs, Loss};
use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process},
};

use crate::{
    Claim,
    role::{Role, say, stay},
    test_disk::{TestDisk, errno, names},
};

pub(crate) const CLAIMS: &[(&str, Claim)] = &[
    ("program::it_mounts_until_it_is_told_to_end", it_mounts_until_it_is_told_to_end),
    ("program::it_ends_with_its_parent", it_ends_with_its_parent),
    ("program::a_missing_mount_point_is_said", a_missing_mount_point_is_said),
    ("mount::a_dropped_guard_unmounts_what_is_in_use", a_dropped_guard_unmounts_what_is_in_use),
    ("mount::a_temporary_mount_point_goes_with_its_guard", a_temporary_mount_point_goes_with_its_guard),
];

fn program(mount_point: &Path) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_faulty-fs"));
    program.arg(mount_point);
    program
}

fn it_mounts_until_it_is_told_to_end(_: &TestDisk) {
    for signal in [Signal::TERM, Signal::INT] {
        let place = tempfile::tempdir().unwrap();
        let mut running = Role::run(&mut program(place.path()));
        assert!(running.line().starts_with("faulty-fs: mounted at "));
        fs::create_dir(place.path().join("disk")).unwrap();
        Control::at(place.path()).lose("disk", Loss::default()).unwrap();
        kill_process(Pid::from_child(running.process()), signal).unwrap();
        assert!(running.process().wait().unwrap().success());
        assert_eq!(names(place.path()), [""; 0]);
    }
}

/// The role: starts the program, and stays.
pub(crate) fn mount(path: &Path) {
    let mut program = program(path).spawn().unwrap();
    stay();
    say(program.wait().unwrap());
}

fn it_ends_with_its_parent(_: &TestDisk) {
    let place = tempfile::tempdir().unwrap();
    let mut parent = Role::start("mount", place.path());
    assert!(parent.line().starts_with("faulty-fs: mounted at "));
    fs::create_dir(place.path().join("disk")).unwrap();
    assert_eq!(parent.kill(), [""; 0], "its output ends when both have ended");
    assert_eq!(names(place.path()), [""; 0]);
}

fn a_missing_mount_point_is_said(disk: &TestDisk) {
    let output = program(&disk.path("missing")).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.starts_with("faulty-fs: the mount point cannot be used; name a directory"), "{error}");
}

fn a_dropped_guard_unmounts_what_is_in_use(_: &TestDisk) {
    let place = tempfile::tempdir().unwrap();
    let mounted = FaultyFs::mount_by(env!("CARGO_BIN_EXE_faulty-fs"), place.path()).unwrap();
    fs::create_dir(place.path().join("disk")).unwrap();
    let file = fs::File::create(place.path().join("disk/file")).unwrap();
    drop(mounted);
    assert_eq!(names(place.path()), [""; 0]);
    assert_eq!(errno(file.sync_all()), Errno::NOTCONN);
}

fn a_temporary_mount_point_goes_with_its_guard(_: &TestDisk) {
    let mounted = FaultyFs::mount_temporary().unwrap();
    let place = mounted.path().to_owned();
    fs::create_dir(place.join("disk")).unwrap();
    drop(mounted);
    assert!(!fs::exists(place).unwrap());
}
