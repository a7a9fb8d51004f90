//! The conformance suite over an object store in memory, and over real servers.

use std::{process::ExitCode, sync::Arc};

use conformance::{Options, SharedFactory};
use test_servers::{Kind, with_credentials};

use self::{memory::MemoryFactory, servers::ServerFactory};

mod memory;
mod servers;

/// The servers whose stores are tested.
const KINDS: &[Kind] = &[
    Kind::SeaweedFs,
    Kind::Ministack,
    #[cfg(feature = "azure")]
    Kind::Azurite,
];

fn main() -> ExitCode {
    if let Some(ended) = with_credentials(KINDS).expect("this program runs") {
        return ended;
    }
    let memory = Arc::new(MemoryFactory::default()) as SharedFactory;
    let servers = KINDS.iter().map(|&kind| Arc::new(ServerFactory::new(kind)) as SharedFactory);
    let factories: Vec<_> = [memory].into_iter().chain(servers).collect();
    conformance::main(&factories, Options::from_env)
}
