//! Folders that others have closed.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
    thread,
};

use backend_rocksdb::RocksdbOptions;
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use store_api::{Backend, ErrorKind};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::scene::refused;

fn permit(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Makes this thread, and those that it starts, keep to permissions: root may do what it likes.
fn keep_to_permissions() {
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none }).unwrap();
}

async fn try_all(folder: &Path) {
    assert!(fs::metadata(folder).is_ok(), "the folder itself can be reached");
    for name in ["sealed", "private", "missing"] {
        let refusal = refused(ErrorKind::Denied, RocksdbOptions::new(folder.join(name)).open().await);
        assert!(refusal.contains("check the permissions"), "{name}: {refusal}");
    }
}

/// A store behind a folder that cannot be entered, and one in a folder that can; and a folder that takes none.
#[test]
fn e1_what_the_permissions_forbid_is_denied() {
    let directory = TempDir::new().unwrap();
    for name in ["sealed", "private"] {
        let options = RocksdbOptions::new(directory.path().join(name));
        Runtime::new().unwrap().block_on(async { options.open().await.unwrap().close().await.unwrap() });
    }
    permit(&directory.path().join("sealed"), 0o000);
    permit(&directory.path().join("private"), 0o555);
    permit(&directory.path().join("private/irminsul.lock"), 0o444);
    permit(directory.path(), 0o555);
    let tried = thread::scope(|scope| {
        let tries = scope.spawn(|| {
            keep_to_permissions();
            Runtime::new().unwrap().block_on(try_all(directory.path()));
        });
        tries.join()
    });
    // Or nobody but root could remove it.
    for name in ["", "sealed", "private"] {
        permit(&directory.path().join(name), 0o700);
    }
    tried.unwrap();
}
