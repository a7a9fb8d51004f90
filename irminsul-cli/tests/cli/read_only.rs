//! A disk that was mounted read-only: a store on it is refused with the reason, and left as it was.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    process::{Command, Stdio},
};

use crate::sandbox::{Ran, Sandbox};

/// Where it may mount: writes into a store, makes the disk read-only, tries three commands that are to be refused, and
/// prints at the end what is in the store. `$0` is the command, `$1` the store, `$2` one that is not there.
const SCRIPT: &str = r#"
refused() { ! "$@" || { echo "not refused: $*" >&2; exit 1; }; }
files() { find disk -type f -exec cksum {} + | sort; }

mount -t tmpfs tmpfs disk
"$0" put "$1" key kept
before=$(files)
mount -o remount,bind,ro disk
refused "$0" get "$1" key
refused "$0" put "$1" key lost
refused "$0" put "$2" key value
test "$before" = "$(files)"
mount -o remount,bind,rw disk
"$0" get "$1" key
"#;

/// A shell whose mounts nobody else sees: they are gone with it.
fn mounting_shell(sandbox: &Sandbox, stores: [&str; 2]) -> Command {
    let mut shell = Command::new("unshare");
    shell.arg("--mount");
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        shell.args(["--user", "--map-root-user"]);
    }
    shell.args(["sh", "-euc", SCRIPT]).arg(sandbox.command(&[]).get_program()).args(stores);
    shell.current_dir(sandbox.path("")).env_remove("RUST_LOG").stdin(Stdio::null());
    shell
}

#[track_caller]
fn is_refused_and_kept(stores: [&str; 2]) {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("disk")).unwrap();
    let ran: Ran = mounting_shell(&sandbox, stores).output().unwrap().into();
    let tells = |line: &str| ["is read-only", "cannot be written"].iter().any(|reason| line.contains(reason));
    assert!(ran.stderr.lines().count() == 3 && ran.stderr.lines().all(tells), "{}", ran.stderr);
    assert_eq!(ran.expect(0), "kept");
}

#[test]
fn a_database_on_a_read_only_disk_is_refused_and_kept() {
    is_refused_and_kept(["sqlite:disk/a.db", "sqlite:disk/b.db"]);
}

#[cfg(feature = "rocksdb")]
#[test]
fn a_folder_of_rocksdb_on_a_read_only_disk_is_refused_and_kept() {
    is_refused_and_kept(["rocksdb:disk/a", "rocksdb:disk/b"]);
}
