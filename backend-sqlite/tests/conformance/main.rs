//! The conformance suite over a file in both sync settings, over the temporary one, and over that with other options.

use std::{process::ExitCode, sync::Arc};

use conformance::{Options, SharedFactory};
use faulty_fs::FaultyFs;

use self::factory::SqliteFactory;

mod factory;

fn main() -> ExitCode {
    if let Some(served) = faulty_fs::serve_if_asked() {
        return served;
    }
    let factories = [
        SqliteFactory::File { sync: true },
        SqliteFactory::File { sync: false },
        SqliteFactory::Temporary,
        SqliteFactory::Unverified,
    ];
    let factories = factories.map(|factory| Arc::new(factory) as SharedFactory);
    conformance::main(&factories, || Ok(Options::from_env()?.mounting(FaultyFs::mount_temporary)))
}
