//! The conformance suite over an object store in memory.

use std::{process::ExitCode, sync::Arc};

use conformance::{Options, SharedFactory};

use self::memory::MemoryFactory;

mod memory;

fn main() -> ExitCode {
    let factories = [Arc::new(MemoryFactory::default()) as SharedFactory];
    conformance::main(&factories, Options::from_env)
}
