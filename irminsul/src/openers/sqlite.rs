//! `sqlite:` is a temporary file, `sqlite:path` the database file at that path.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use backend_sqlite::{SqliteOptions, Sync};

use super::scratch;
use crate::{Address, Backend, Error, ErrorKind, Opener, OptionSpec, OptionValues, Options, Result};

const SYNC: OptionSpec = OptionSpec::new(
    "sync",
    OptionValues::OneOf(&["full", "normal"]),
    "full",
    "full: a write survives a power loss; normal: a killed process",
);
const CREATE: OptionSpec =
    OptionSpec::new("create", OptionValues::Switch, "on", "create the file when it is missing; the directory never is");

/// The database of a scratch store in a temporary directory of its own.
const FILE: &str = "store.db";

#[derive(Debug)]
pub(super) struct SqliteOpener;

#[async_trait]
impl Opener for SqliteOpener {
    fn options(&self) -> &'static [OptionSpec] {
        const {
            &[
                OptionSpec::HASH,
                OptionSpec::VERIFY,
                OptionSpec::BATCH,
                OptionSpec::POLL.with_default("50"),
                OptionSpec::BUSY.with_default("5000"),
                SYNC,
                CREATE,
            ]
        }
    }

    async fn open(&self, address: &Address, options: &Options) -> Result<Arc<dyn Backend>> {
        let mut store = match address.location() {
            "" => SqliteOptions::temporary(),
            path => SqliteOptions::new(path),
        };
        if let Some(name) = options.choice("hash") {
            store = store.hash(name.parse()?);
        }
        if let Some(on) = options.switch("verify") {
            store = store.verify(on);
        }
        if let Some(bytes) = options.bytes("batch") {
            store = store.batch_limit(bytes);
        }
        if let Some(interval) = options.duration("poll") {
            store = store.poll(interval);
        }
        if let Some(limit) = options.duration("busy") {
            store = store.busy(limit);
        }
        if let Some(name) = options.choice("sync") {
            store = store.sync(if name == "full" { Sync::Full } else { Sync::Normal });
        }
        if let Some(on) = options.switch("create") {
            store = store.create(on);
        }
        Ok(Arc::new(store.open().await?))
    }

    async fn scratch(&self, address: &Address) -> Result<Address> {
        match address.location() {
            "" => scratch_at(address, &scratch_directory().await?.join(FILE)),
            path => scratch_at(address, &Path::new(path).with_file_name(scratch::name())),
        }
    }

    async fn scratch_in(&self, address: &Address, directory: &Path) -> Result<Address> {
        if self.is_temporary(address) {
            return Err(Error::new(ErrorKind::Unsupported, "a temporary store chooses its place itself: name a path"));
        }
        scratch_at(address, &directory.join(scratch::name()))
    }

    fn is_temporary(&self, address: &Address) -> bool {
        address.location().is_empty()
    }

    async fn destroy(&self, address: &Address) -> Result<()> {
        let path = PathBuf::from(address.location());
        let name_of = |path: &Path| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let beside = name_of(&path).is_some_and(|name| scratch::is_name(&name));
        let directory = path
            .parent()
            .filter(|directory| path.ends_with(FILE) && name_of(directory).is_some_and(|name| scratch::is_name(&name)));
        if directory.is_none() && !beside {
            return Err(scratch::not_ours());
        }
        let directory = directory.map(Path::to_owned);
        on_blocking_thread(move || {
            remove_database(&path)?;
            directory.map_or(Ok(()), |directory| missing_is_fine(fs::remove_dir(directory)))
        })
        .await
    }
}

/// The address of a file that does not exist yet.
fn scratch_at(address: &Address, path: &Path) -> Result<Address> {
    let location = path.to_str().ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidInput,
            "the directory of a scratch store is not UTF-8: choose another (TMPDIR, where it is temporary)",
        )
    })?;
    Ok(address.clone().with_location(location).without_option(CREATE.name))
}

async fn scratch_directory() -> Result<PathBuf> {
    let directory = std::env::temp_dir().join(scratch::name());
    let created = directory.clone();
    on_blocking_thread(move || fs::create_dir(created)).await?;
    Ok(directory)
}

fn remove_database(path: &Path) -> io::Result<()> {
    ["", "-wal", "-shm", "-journal"].iter().try_for_each(|suffix| {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        missing_is_fine(fs::remove_file(file))
    })
}

fn missing_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

async fn on_blocking_thread<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T> {
    let failed = |kind, source: io::Error| {
        Error::new(kind, "the files of the scratch store: the file system refused")
            .with_backend("sqlite")
            .with_source(source)
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => Err(failed(ErrorKind::Denied, error)),
        Ok(Err(error)) => Err(failed(ErrorKind::Other, error)),
        Err(stopped) => Err(failed(ErrorKind::Other, io::Error::other(stopped))),
    }
}
