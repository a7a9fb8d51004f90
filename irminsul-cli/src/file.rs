//! Files that a command leaves, such as a report.

use std::{fs, path::Path};

use crate::failure::Failure;

/// Creates a directory, with those above it, where it is missing.
pub(crate) fn create_directory(directory: &Path) -> Result<(), Failure> {
    let failed = |source| Failure::Write { what: directory.display().to_string(), source };
    fs::create_dir_all(directory).map_err(failed)
}

/// Writes a file whole: an interruption leaves what was there before.
pub(crate) fn write_file(path: &Path, text: &str) -> Result<(), Failure> {
    let beside = path.with_added_extension("new");
    fs::write(&beside, text)
        .and_then(|()| fs::rename(&beside, path))
        .map_err(|source| Failure::Write { what: path.display().to_string(), source })
}
