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
    let status = fs::read_to_string(STATUS).map_err(Failure::harness)?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
    resident.ok_or_else(|| Failure::harness("the system does not tell how much memory is used"))
}
