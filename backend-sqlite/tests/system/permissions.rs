//! Files and folders whose permissions are in the way (E1).

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use backend_sqlite::SqliteOptions;
use store_api::{Backend, Error, ErrorKind, Key};

use crate::{
    another,
    refusal::{refused, value},
};

fn folder(directory: &Path) -> PathBuf {
    directory.join("folder")
}

fn file(directory: &Path) -> PathBuf {
    folder(directory).join("store.db")
}

/// Makes a store, closed, then gives its file and its folder these modes.
fn store(directory: &Path, file_mode: u32, folder_mode: u32) {
    let (folder, file) = (folder(directory), file(directory));
    fs::create_dir(&folder).unwrap();
    another::run(async {
        let store = SqliteOptions::new(&file).open().await.unwrap();
        let entries = store.atomic_write().unwrap();
        entries.set(&Key::new("k").unwrap(), value("private")).await.unwrap();
        store.close().await.unwrap();
    });
    fs::set_permissions(file, Permissions::from_mode(file_mode)).unwrap();
    fs::set_permissions(folder, Permissions::from_mode(folder_mode)).unwrap();
}

pub(crate) fn sealed_file(directory: &Path) {
    store(directory, 0o000, 0o777);
}

pub(crate) fn sealed_folder(directory: &Path) {
    store(directory, 0o666, 0o000);
}

pub(crate) fn unwritable_folder(directory: &Path) {
    store(directory, 0o666, 0o555);
}

pub(crate) fn unwritable_file(directory: &Path) {
    store(directory, 0o444, 0o777);
}

pub(crate) fn no_place(directory: &Path) {
    fs::set_permissions(directory, Permissions::from_mode(0o555)).unwrap();
}

/// Opening must be refused, with nothing left behind.
async fn open_refused(kind: ErrorKind, directory: &Path) -> Error {
    let listed = || -> Vec<PathBuf> {
        let files = fs::read_dir(folder(directory)).into_iter().flatten();
        files.map(|file| file.unwrap().path()).collect()
    };
    let before = listed();
    let error = refused(kind, SqliteOptions::new(file(directory)).open().await);
    assert_eq!(listed(), before);
    error
}

pub(crate) async fn e1_a_file_that_cannot_be_read_is_denied(directory: PathBuf) {
    open_refused(ErrorKind::Denied, &directory).await;
}

pub(crate) async fn e1_a_folder_that_cannot_be_entered_is_denied(directory: PathBuf) {
    open_refused(ErrorKind::Denied, &directory).await;
}

pub(crate) async fn e1_a_folder_that_takes_no_log_makes_its_store_read_only(directory: PathBuf) {
    open_refused(ErrorKind::ReadOnly, &directory).await;
}

pub(crate) async fn e1_a_file_that_cannot_be_written_is_read_only(directory: PathBuf) {
    let error = open_refused(ErrorKind::ReadOnly, &directory).await;
    assert!(error.to_string().contains("store.db"), "{error}");
}

pub(crate) async fn e1_a_folder_that_takes_no_file_is_denied(directory: PathBuf) {
    let missing = folder(&directory).join("missing.db");
    let error = refused(ErrorKind::Denied, SqliteOptions::new(&missing).open().await);
    assert!(error.to_string().contains("missing.db"), "{error}");
}

pub(crate) async fn e1_a_temporary_store_without_a_place_is_denied(directory: PathBuf) {
    let error = refused(ErrorKind::Denied, SqliteOptions::temporary().open().await);
    assert!(error.to_string().contains("TMPDIR"), "{error}");
    assert_eq!(fs::read_dir(directory).unwrap().count(), 0);
}
