//! How much memory a process has.

use std::{fs, path::Path};

use crate::failure::{Failure, Outcome};

const STATUS: &str = "/proc/self/status";

/// Lets no case go on that looks at memory where the system does not tell of it.
pub(crate) fn expect_told() -> Outcome {
    if Path::new(STATUS).exists() {
        return Ok(());
    }
    Err(Failure::untested("the system does not tell what a process holds"))
}

/// What this process has in memory, in KiB.
pub(crate) fn resident_kib() -> Outcome<u64> {
    told_kib("VmRSS:").ok_or_else(|| Failure::harness("the system does not tell how much memory is used"))
}

/// What this process has taken of memory, in KiB, whether it was touched or not; nothing, where the system does not tell.
pub(crate) fn taken_kib() -> Option<u64> {
    told_kib("VmData:")
}

fn told_kib(name: &str) -> Option<u64> {
    let status = fs::read_to_string(STATUS).ok()?;
    status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}
