//! Folders that are another user's.

use std::{
    env,
    fs::{self, Permissions},
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    path::Path,
    process::Command,
};

use backend_rocksdb::RocksdbOptions;
use store_api::{Backend, ErrorKind};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::scene::refused;

/// The variable that names the folder, in the process of another user.
const FOLDER: &str = "IRMINSUL_TEST_FOLDER";

/// The user and the group that own nothing.
const NOBODY: u32 = 65534;

fn permit(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

async fn try_all(folder: &Path) {
    for name in ["sealed", "private", "missing"] {
        let refusal = refused(ErrorKind::Denied, RocksdbOptions::new(folder.join(name)).open().await);
        assert!(refusal.contains("check the permissions"), "{name}: {refusal}");
    }
}

/// The store of another user, behind a folder that cannot be entered and in one that can; and a folder that takes none.
#[test]
fn e1_what_the_permissions_forbid_is_denied() {
    let runtime = Runtime::new().unwrap();
    if let Some(folder) = env::var_os(FOLDER) {
        runtime.block_on(try_all(Path::new(&folder)));
        return;
    }
    let directory = TempDir::new().unwrap();
    for name in ["sealed", "private"] {
        let options = RocksdbOptions::new(directory.path().join(name));
        runtime.block_on(async { options.open().await.unwrap().close().await.unwrap() });
    }
    permit(&directory.path().join("sealed"), 0o000);
    permit(&directory.path().join("private"), 0o555);
    permit(&directory.path().join("private/irminsul.lock"), 0o444);
    permit(directory.path(), 0o555);
    // By this path it can be executed whoever may enter the folders above it.
    let mut other = Command::new("/proc/self/exe");
    other.args(["permissions::e1_what_the_permissions_forbid_is_denied", "--exact", "--nocapture"]);
    other.env(FOLDER, directory.path()).current_dir("/");
    // Root may do what it likes.
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        other.uid(NOBODY).gid(NOBODY);
    }
    let tried = other.status().unwrap();
    permit(directory.path(), 0o700);
    permit(&directory.path().join("sealed"), 0o700);
    permit(&directory.path().join("private"), 0o700);
    assert!(tried.success(), "the process of another user");
}
