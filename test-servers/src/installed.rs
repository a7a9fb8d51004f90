//! Where `scripts/prepare` puts the servers, and where they run.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

/// Names another folder than that of the checkout, which several checkouts may share.
const VARIABLE: &str = "IRMINSUL_TEST_SERVERS";

fn folder() -> PathBuf {
    let checkout = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../.test-servers");
    env::var_os(VARIABLE).map_or_else(checkout, PathBuf::from)
}

/// A program that was installed, or `None`.
pub(crate) fn program(path: &str) -> Option<PathBuf> {
    let program = folder().join(path);
    program.exists().then(|| program.canonicalize().unwrap_or(program))
}

/// The folder that holds a folder for each server that runs.
pub(crate) fn runs() -> io::Result<PathBuf> {
    let runs = folder().join("runs");
    fs::create_dir_all(&runs)?;
    runs.canonicalize()
}
