//! Who can read what the command creates: its owner, whatever the umask is.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use crate::sandbox::{Ran, Sandbox};

/// The command in a shell that takes no permission from anybody.
fn with_open_umask(sandbox: &Sandbox, args: &[&str]) -> Command {
    let plain = sandbox.command(args);
    let mut shell = Command::new("sh");
    shell.args(["-c", "umask 0; exec \"$0\" \"$@\""]).arg(plain.get_program()).args(plain.get_args());
    shell.current_dir(sandbox.path("")).env_remove("RUST_LOG").stdin(Stdio::null());
    shell
}

#[track_caller]
fn put(sandbox: &Sandbox, store: &str) {
    let ran: Ran = with_open_umask(sandbox, &["put", store, "key", "value"]).output().unwrap().into();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_database_and_its_log_are_their_owners() {
    let sandbox = Sandbox::new();
    put(&sandbox, "sqlite:a.db");
    let mut command = with_open_umask(&sandbox, &["watch", "sqlite:a.db", "--json"]);
    let mut watching = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut told = String::new();
    BufReader::new(watching.stdout.take().unwrap()).read_line(&mut told).unwrap();
    assert!(told.contains("caught-up"), "{told}");
    let modes = ["a.db", "a.db-wal", "a.db-shm"].map(|name| (name, mode(&sandbox.path(name))));
    watching.kill().unwrap();
    watching.wait().unwrap();
    assert_eq!(modes, ["a.db", "a.db-wal", "a.db-shm"].map(|name| (name, 0o600)));
}

#[cfg(feature = "rocksdb")]
#[test]
fn a_folder_of_rocksdb_is_its_owners() {
    let sandbox = Sandbox::new();
    put(&sandbox, "rocksdb:store");
    assert_eq!(mode(&sandbox.path("store")), 0o700);
}

#[test]
fn a_temporary_store_is_its_owners() {
    let sandbox = Sandbox::new();
    let mut command = with_open_umask(&sandbox, &["watch", "sqlite:", "--json"]);
    let mut watching = command.env("TMPDIR", sandbox.path("")).stdout(Stdio::piped()).spawn().unwrap();
    let mut told = String::new();
    BufReader::new(watching.stdout.take().unwrap()).read_line(&mut told).unwrap();
    let modes: Vec<u32> = fs::read_dir(sandbox.path("")).unwrap().map(|entry| mode(&entry.unwrap().path())).collect();
    watching.kill().unwrap();
    watching.wait().unwrap();
    assert_eq!(modes, [0o700]);
}
