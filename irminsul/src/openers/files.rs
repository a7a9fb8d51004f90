//! What the openers of engines with files share: the addresses of their scratch stores, and their removal.

use std::{io, path::Path};

use crate::{Address, Error, ErrorKind, OptionSpec, OptionValues, Result};

/// Whether a missing store is created.
pub(super) const CREATE: OptionSpec = OptionSpec::new(
    "create",
    OptionValues::Switch,
    "on",
    "create the store when it is missing; the directory above it never is",
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
    let failed = |kind, source: io::Error| {
        Error::new(kind, "the files of the scratch store: the file system refused")
            .with_backend(engine)
            .with_source(source)
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => Err(failed(ErrorKind::Denied, error)),
        Ok(Err(error)) => Err(failed(ErrorKind::Other, error)),
        Err(stopped) => Err(failed(ErrorKind::Other, io::Error::other(stopped))),
    }
}
