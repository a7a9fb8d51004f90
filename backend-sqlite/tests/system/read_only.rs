//! File systems that are mounted read-only (E1).

use std::{
    fs,
    path::{Path, PathBuf},
};

use backend_sqlite::SqliteOptions;
use store_api::{Backend, ErrorKind, Key};

use crate::{
    another::mount,
    refusal::{refused, value},
};

/// Makes the file system read-only.
fn seal(directory: &Path) {
    mount(["-o", "remount,bind,ro"], directory);
}

pub(crate) async fn e1_a_store_on_a_read_only_file_system_is_read_only(directory: PathBuf) {
    mount(["-t", "tmpfs", "tmpfs"], &directory);
    let file = directory.join("store.db");
    let store = SqliteOptions::new(&file).open().await.unwrap();
    store.atomic_write().unwrap().set(&Key::new("k").unwrap(), value("kept")).await.unwrap();
    store.close().await.unwrap();
    let before = fs::read(&file).unwrap();
    seal(&directory);
    let error = refused(ErrorKind::ReadOnly, SqliteOptions::new(&file).open().await);
    assert!(error.to_string().contains("store.db"), "{error}");
    assert!(fs::read(&file).unwrap() == before);
}

pub(crate) async fn e1_a_store_cannot_be_created_on_a_read_only_file_system(directory: PathBuf) {
    mount(["-t", "tmpfs", "tmpfs"], &directory);
    seal(&directory);
    let error = refused(ErrorKind::ReadOnly, SqliteOptions::new(directory.join("store.db")).open().await);
    assert!(error.to_string().contains("store.db"), "{error}");
}
