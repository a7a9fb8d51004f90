//! The conformance suite over a file in both sync settings, and over the temporary one.

use std::{process::ExitCode, sync::Arc};

use backend_sqlite::Sync;
use conformance::{Options, SharedFactory};

use self::{disks::Disks, factory::SqliteFactory};

mod disks;
mod factory;

fn main() -> ExitCode {
    if let Some(served) = faulty_fs::serve_if_asked() {
        return served;
    }
    let factories = [SqliteFactory::File(Sync::Full), SqliteFactory::File(Sync::Normal), SqliteFactory::Temporary];
    let factories = factories.map(|factory| Arc::new(factory) as SharedFactory).to_vec();
    // Unmounted when the suite is through.
    let mut disks = None;
    conformance::main(&factories, || {
        let options = Options::from_env()?;
        Ok(match Disks::mount() {
            Ok(mounted) => options.faulty_fs(disks.insert(mounted).path()),
            Err(missing) => options.without_faulty_fs(missing),
        })
    })
}
