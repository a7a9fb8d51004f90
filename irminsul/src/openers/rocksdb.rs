//! `rocksdb:path` is the folder at that path.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use backend_rocksdb::{Compression, RocksdbOptions};

use super::{
    files::{CREATE, SYNC, directory_of, missing_is_fine, on_blocking_thread, scratch_at, syncs},
    scratch,
};
use crate::{Address, AddressOptions, Backend, Error, ErrorKind, Opener, OptionSpec, OptionValues, Result};

const CACHE: OptionSpec = OptionSpec::new(
    "cache",
    OptionValues::Bytes,
    "67108864",
    "size of the read cache in bytes; the write buffers may take 1.4 times as much",
);
const COMPRESSION: OptionSpec = OptionSpec::new(
    "compression",
    OptionValues::Choice(&["none", "lz4", "zstd"]),
    "lz4",
    "how what is written is compressed",
);

#[derive(Debug)]
pub(super) struct RocksdbOpener;

#[async_trait]
impl Opener for RocksdbOpener {
    fn options(&self) -> &'static [OptionSpec] {
        const {
            &[
                OptionSpec::HASH,
                OptionSpec::VERIFY,
                OptionSpec::BATCH,
                OptionSpec::POLL.unused(),
                OptionSpec::BUSY.unused(),
                SYNC,
                CACHE,
                COMPRESSION,
                CREATE,
            ]
        }
    }

    async fn open(&self, address: &Address, options: &AddressOptions) -> Result<Arc<dyn Backend>> {
        let mut store = RocksdbOptions::new(path_of(address)?);
        hand_on_common!(store, options);
        hand_on!(store, options: bytes("cache") => cache, switch("create") => create);
        if let Some(sync) = syncs(options) {
            store = store.sync(sync);
        }
        if let Some(name) = options.choice("compression") {
            store = store.compression(match name {
                "none" => Compression::None,
                "zstd" => Compression::Zstd,
                _ => Compression::Lz4,
            });
        }
        Ok(Arc::new(store.open().await?))
    }

    async fn scratch(&self, address: &Address) -> Result<Address> {
        scratch_at(address, &path_of(address)?.with_file_name(scratch::name()))
    }

    async fn scratch_in(&self, address: &Address, directory: &Path) -> Result<Address> {
        scratch_at(address, &directory.join(scratch::name()))
    }

    fn scratch_disk(&self, address: &Address) -> Option<PathBuf> {
        path_of(address).ok().map(directory_of)
    }

    async fn destroy(&self, address: &Address) -> Result<()> {
        let path = path_of(address)?.to_owned();
        let is_ours = path.file_name().and_then(|name| name.to_str()).is_some_and(scratch::is_name);
        if !is_ours {
            return Err(scratch::not_ours());
        }
        on_blocking_thread("rocksdb", move || missing_is_fine(fs::remove_dir_all(path))).await
    }
}

fn path_of(address: &Address) -> Result<&Path> {
    match address.location() {
        "" => {
            Err(Error::new(ErrorKind::InvalidInput, "a RocksDB store has a folder: name it, as in `rocksdb:data/app`"))
        }
        path => Ok(Path::new(path)),
    }
}
