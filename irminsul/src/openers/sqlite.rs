//! `sqlite:` is a temporary file, `sqlite:path` the database file at that path.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use backend_sqlite::SqliteOptions;

use super::{
    files::{CREATE, SYNC, directory_of, missing_is_fine, on_blocking_thread, scratch_at, syncs},
    scratch,
};
use crate::{Address, AddressOptions, Backend, Opener, OptionSpec, Result};

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

    async fn open(&self, address: &Address, options: &AddressOptions) -> Result<Arc<dyn Backend>> {
        let mut store = match address.location() {
            "" => SqliteOptions::temporary(),
            path => SqliteOptions::new(path),
        };
        hand_on_common!(store, options);
        hand_on!(store, options: duration("poll") => poll, duration("busy") => busy, switch("create") => create);
        if let Some(sync) = syncs(options) {
            store = store.sync(sync);
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
        scratch_at(address, &directory.join(scratch::name()))
    }

    fn scratch_disk(&self, address: &Address) -> Option<PathBuf> {
        Some(match address.location() {
            "" => env::temp_dir(),
            path => directory_of(Path::new(path)),
        })
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
        on_blocking_thread("sqlite", move || {
            remove_database(&path)?;
            directory.map_or(Ok(()), |directory| missing_is_fine(fs::remove_dir(directory)))
        })
        .await
    }
}

async fn scratch_directory() -> Result<PathBuf> {
    let directory = env::temp_dir().join(scratch::name());
    let created = directory.clone();
    on_blocking_thread("sqlite", move || fs::create_dir(created)).await?;
    Ok(directory)
}

fn remove_database(path: &Path) -> io::Result<()> {
    ["", "-wal", "-shm", "-journal"].iter().try_for_each(|suffix| {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        missing_is_fine(fs::remove_file(file))
    })
}
