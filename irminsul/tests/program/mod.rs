//! Where the programs of the examples are.

use std::path::PathBuf;

/// An example, which `cargo test` builds beside its tests.
pub(crate) fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).expect("the test lies in the folder of its profile");
    let program = profile.join("examples").join(name);
    assert!(program.exists(), "the example is not built: `cargo build -p irminsul --example {name}` does it");
    program
}
