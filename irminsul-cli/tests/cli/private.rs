//! Who can read what the command creates: its owner, whatever the umask is.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
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

/// What `seen` makes of the files of a store while a process has it open, with a write in it.
fn while_open<T>(sandbox: &Sandbox, store: &str, seen: impl FnOnce() -> T) -> T {
    put(sandbox, store);
    let mut command = with_open_umask(sandbox, &["watch", store, "--json"]);
    let mut watching = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut told = String::new();
    BufReader::new(watching.stdout.take().unwrap()).read_line(&mut told).unwrap();
    assert!(told.contains("caught-up"), "{told}");
    let seen = seen();
    watching.kill().unwrap();
    watching.wait().unwrap();
    seen
}

#[test]
fn a_database_and_its_log_are_their_owners() {
    let sandbox = Sandbox::new();
    let names = ["a.db", "a.db-wal", "a.db-shm"];
    let modes = while_open(&sandbox, "sqlite:a.db", || names.map(|name| (name, mode(&sandbox.path(name)))));
    assert_eq!(modes, names.map(|name| (name, 0o600)));
}

#[cfg(feature = "rocksdb")]
#[test]
fn a_folder_of_rocksdb_is_its_owners() {
    let sandbox = Sandbox::new();
    put(&sandbox, "rocksdb:store");
    assert_eq!(mode(&sandbox.path("store")), 0o700);
}

/// The regular files in a folder and below it, and those of them that somebody else can open.
fn files_and_open_ones(folder: &Path) -> [Vec<PathBuf>; 2] {
    let (mut all, mut open) = (Vec::new(), Vec::new());
    let mut folders = vec![(folder.to_owned(), true)];
    while let Some((folder, entered)) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let passes = entered && mode(&path) & 0o077 != 0;
            if path.is_dir() {
                folders.push((path, passes));
            } else {
                open.extend(passes.then(|| path.clone()));
                all.push(path);
            }
        }
    }
    [all, open]
}

#[test]
fn what_is_written_into_a_folder_that_others_may_enter_is_its_owners() {
    let stores = [
        "sqlite:shared/a.db",
        #[cfg(feature = "rocksdb")]
        "rocksdb:shared",
    ];
    for store in stores {
        let sandbox = Sandbox::new();
        let folder = sandbox.path("shared");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        let [all, open] = while_open(&sandbox, store, || files_and_open_ones(&folder));
        assert!(!all.is_empty(), "{store} keeps nothing there");
        assert_eq!(open, Vec::<PathBuf>::new(), "{store}");
        assert_eq!(mode(&folder), 0o777, "the folder itself is whoever's made it");
    }
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
