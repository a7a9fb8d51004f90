//! The conformance suite over an object store in memory, and over real servers.

use std::{
    env,
    process::{Command, ExitCode},
    sync::Arc,
};

use conformance::{Options, SharedFactory};
use test_servers::Kind;

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
    if let Some(ended) = with_credentials() {
        return ended;
    }
    let memory = Arc::new(MemoryFactory::default()) as SharedFactory;
    let servers = KINDS.iter().map(|&kind| Arc::new(ServerFactory::new(kind)) as SharedFactory);
    let factories: Vec<_> = [memory].into_iter().chain(servers).collect();
    conformance::main(&factories, Options::from_env)
}

/// Runs this program again, in an environment that has the credentials of the servers: a process cannot safely change
/// its own.
fn with_credentials() -> Option<ExitCode> {
    let credentials = || KINDS.iter().flat_map(|kind| kind.credentials());
    if credentials().all(|(name, value)| env::var(name).is_ok_and(|given| given == value)) {
        return None;
    }
    let again = Command::new(env::current_exe().expect("a program knows itself"))
        .args(env::args_os().skip(1))
        .envs(credentials())
        .status()
        .expect("this program runs");
    Some(again.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
