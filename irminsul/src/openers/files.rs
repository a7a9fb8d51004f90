//! What the openers of engines with files share: their options, the addresses of their scratch stores, and their removal.

use std::{
    io,
    path::{Path, PathBuf},
};

use backend_kit::io_error;
use tokio::runtime::Handle;

use crate::{Address, AddressOptions, Error, ErrorKind, OptionSpec, OptionValues, Result};

/// Whether a write is synced before it is acknowledged: `on` and `off`, or the words of SQLite for the two.
pub(super) const SYNC: OptionSpec = OptionSpec::new(
    "sync",
    OptionValues::Choice(&["on", "off", "full", "normal"]),
    "on",
    "on, or full: a write survives a power loss; off, or normal: a killed process",
);

/// What an address that has the option asks for.
pub(super) fn syncs(options: &AddressOptions) -> Option<bool> {
    options.choice(SYNC.name).map(|choice| matches!(choice, "on" | "full"))
}

/// Whether a missing store is created.
pub(super) const CREATE: OptionSpec = OptionSpec::new(
    "create",
    OptionValues::Switch,
    "on",
    "create the store when it is missing; its parent directory must exist",
);

/// The address of a file that does not exist yet.
pub(super) fn scratch_at(address: &Address, path: &Path) -> Result<Address> {
    let location = path.to_str().ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidInput,
            "the directory of a scratch store is not UTF-8: choose another (TMPDIR, where it is temporary)",
        )
    })?;
    Ok(address.clone().with_location(location).without_option(CREATE.name))
}

/// Where a file lies.
pub(super) fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory.to_owned(),
        _ => ".".into(),
    }
}

pub(super) fn missing_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Does what may block, for an engine.
pub(super) async fn on_blocking_thread<T: Send + 'static>(
    engine: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T> {
    let failed = |source| io_error("the files of the scratch store cannot be worked on", source).with_backend(engine);
    let runtime = Handle::try_current().map_err(|_| {
        Error::new(ErrorKind::Unsupported, "scratch stores in files need a tokio runtime: call this from within one")
    })?;
    match runtime.spawn_blocking(work).await {
        Ok(result) => result.map_err(failed),
        Err(stopped) => Err(failed(io::Error::other(stopped))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_the_file_system_refuses_is_told_by_its_kind() {
        for (refusal, kind) in [
            (io::ErrorKind::PermissionDenied, ErrorKind::Denied),
            (io::ErrorKind::ReadOnlyFilesystem, ErrorKind::ReadOnly),
            (io::ErrorKind::StorageFull, ErrorKind::NoSpace),
            (io::ErrorKind::QuotaExceeded, ErrorKind::NoSpace),
            (io::ErrorKind::NotFound, ErrorKind::InvalidInput),
            (io::ErrorKind::DirectoryNotEmpty, ErrorKind::Other),
        ] {
            let refused = on_blocking_thread::<()>("sqlite", move || Err(refusal.into())).await;
            assert_eq!(refused.unwrap_err().kind(), kind, "{refusal}");
        }
    }
}
