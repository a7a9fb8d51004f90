//! The conformance suite over a folder in both sync settings.

use std::{process::ExitCode, sync::Arc};

use conformance::Options;
use faulty_fs::FaultyFs;

use self::factory::RocksdbFactory;

mod factory;

fn main() -> ExitCode {
    if let Some(served) = faulty_fs::serve_if_asked() {
        return served;
    }
    conformance::main(&[Arc::new(RocksdbFactory { sync: true }), Arc::new(RocksdbFactory { sync: false })], || {
        Ok(Options::from_env()?.mounting(FaultyFs::mount_temporary))
    })
}
