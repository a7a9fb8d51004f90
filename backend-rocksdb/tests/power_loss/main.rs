//! A store that does not sync each write, and says that it does: the suite must see it lose something, and see the syncs
//! that are missing, or its cases of power loss would prove nothing.

use std::{process::ExitCode, sync::Arc};

use conformance::{Options, SharedFactory, broken};
use faulty_fs::FaultyFs;

use self::factory::RocksdbFactory;

#[path = "../conformance/factory.rs"]
mod factory;

fn main() -> ExitCode {
    if let Some(served) = faulty_fs::serve_if_asked() {
        return served;
    }
    let unsynced: SharedFactory = Arc::new(RocksdbFactory { sync: false });
    broken::main("acknowledged-before-it-is-synced", &unsynced, || {
        Ok(Options::from_env()?.mounting(FaultyFs::mount_temporary))
    })
}
