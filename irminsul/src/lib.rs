//! Storage backends that keep their promises: compare-and-set with watches, and content-addressed values, on the engine
//! that an address names.
//!
//! Two contracts, the same on every engine:
//!
//! - an **atomic-write store** ([`AtomicWrite`]): keys and values, [`test_and_set`](AtomicWrite::test_and_set), and
//!   watches that miss nothing;
//! - an **indexable store** ([`Indexable`]): values under the hash of their content, added in atomic batches.
//!
//! Each promise is a clause with an id (`A2`, `W7`, ..) that its tests carry too; [`contract`] lists them all.
//!
//! # A store in twenty lines
//!
//! ```
//! use irminsul::{Event, Init, Key, TestAndSet, prelude::*};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> irminsul::Result<()> {
//! let store = irminsul::open("mem:").await?; // or "sqlite:data/app.db": nothing below changes
//! let (names, contents) = (store.atomic_write().unwrap(), store.indexable().unwrap());
//!
//! // Content first, then its name: whoever reads the name finds the content.
//! let page = contents.add("<h1>Hello</h1>".into()).await?;
//! let home = Key::new("pages/home")?;
//! let mut watch = names.watch_key(&home, Init::Current).await?;
//! match names.test_and_set(&home, None, Some(page.to_bytes().into())).await? {
//!     TestAndSet::Applied => println!("published"),
//!     TestAndSet::Mismatch { .. } => println!("somebody was faster"),
//! }
//!
//! assert!(matches!(watch.next().await, Some(Ok(Event::CaughtUp))));
//! let Some(Ok(Event::Changed { diff, .. })) = watch.next().await else { panic!("the watch ended") };
//! let published = irminsul::ContentKey::from_bytes(diff.new_value().unwrap())?;
//! assert_eq!(contents.find(&published).await?.unwrap(), "<h1>Hello</h1>");
//! # Ok(())
//! # }
//! ```
//!
//! A loop over `test_and_set` is [`update`](AtomicWriteExt::update); a handler for changes is
//! [`on_change`](OnChangeExt::on_change). Permissions are the trait that a handle is held by: an `Arc<dyn AtomicWrite>`
//! upcasts to an `Arc<dyn EntryRead>`, which cannot write.
//!
//! # Addresses
//!
//! [`open`] takes an address: `scheme:location?option=value&option=value`. How it is written is told at [`Address`]; an
//! unknown or ill-formed option is an error that lists those that there are.
//!
//! | address | store | feature |
//! |---|---|---|
//! | `mem:` | in memory, of its own | `mem` |
//! | `mem:name` | in memory, shared under the name inside the process, gone with its last handle | `mem` |
//! | `rocksdb:path`, `rocksdb:///path` | the folder at a relative, an absolute path, for one process at a time | `rocksdb` |
//! | `s3://bucket/prefix` | below a prefix of a bucket of S3, or of what speaks it; shared by the machines that reach it | `s3` |
//! | `az://container/prefix` | the same in a container of Azure Blob Storage | `azure` |
//! | `sqlite:` | a temporary file, gone with its last handle | `sqlite` |
//! | `sqlite:path`, `sqlite:///path` | the database at a relative, an absolute path, shared by the processes of a host | `sqlite` |
//!
//! | option | values | default | what it does |
//! |---|---|---|---|
//! | `hash` | `blake3`, `sha256` | `blake3`, or what the store has | the hash function, fixed when the store is created |
//! | `verify` | `on`, `off` | `on` | check content against its hash when it is read (I6) |
//! | `batch` | bytes | 268435456 | the most that one batch may hold (I7) |
//! | `poll` | milliseconds, at least 1 | `sqlite`: 50; `s3`, `az`: 1000 | how often a watch looks for the changes of other processes (W11) |
//! | `busy` | milliseconds | `sqlite`: 5000; `s3`, `az`: 30000 | how long to wait for a lock that another process holds, or out contention (A6) |
//! | `sync` | `full`, `normal`; `on`, `off` | `full`, `on` | `sqlite`; `rocksdb`: a write survives a power loss, a killed process (A10) |
//! | `create` | `on`, `off` | `on` | all but `mem`: create a missing store; the directory or the bucket above it never is |
//! | `endpoint` | a URL | that of the provider | `s3`, `az`: the service; what is sent to an `http://` one is not encrypted |
//! | `region` | text | what the environment says | `s3`: the region of the bucket |
//! | `cache` | bytes | 67108864 | `rocksdb` only: how much of what was read stays in memory |
//! | `compression` | `none`, `lz4`, `zstd` | `lz4` | `rocksdb` only: how what is written is compressed |
//!
//! The first five are accepted by every scheme, so that a configuration can switch engines. The same choices are
//! typed in [`mem::MemOptions`], [`sqlite::SqliteOptions`], `rocksdb::RocksdbOptions` and `s3::S3Options`. A [`Registry`] is what [`open`] asks; give it your own
//! engine with [`Registry::register`].
//!
//! # Features
//!
//! | feature | default | brings |
//! |---|---|---|
//! | `mem` | yes | the in-memory engine |
//! | `sqlite` | yes | the engine on files, its C source bundled |
//! | `rocksdb` | no | the engine for much data in one process; needs a C++ compiler and libclang, and minutes to compile |
//! | `s3` | no | stores in the buckets of S3 and what speaks it, shared by machines; an HTTP client with TLS |
//! | `azure` | no | the same for Azure Blob Storage; brings `s3` |
//!
//! Without default features there are the contracts, the registry and the wrappers, and no engine.
//!
//! # Wrappers
//!
//! [`Traced`] opens a [tracing] span per operation; [`Prefixed`] is a store below a prefix of another.
//!
//! # What it is not
//!
//! - **No query language, no secondary index.** A key, a scope, a hash: nothing else finds a value.
//! - **No time to live.** Keep the deadline in the value, and let `test_and_set` decide who takes over.
//! - **No transactions over several keys.** Put what belongs together into content, and move one name.
//! - **No version tokens.** `test_and_set` compares values; where A, B, A must not pass for A, put a counter into them.
//! - **No deleting of content.** Copy what is reachable to a new store.
//! - **No runtime of its own.** [`update`](AtomicWriteExt::update), [`on_change`](OnChangeExt::on_change) and
//!   [`Registry::scratch`] need tokio; the contracts themselves do not.

mod address;
mod on_change;
mod openers;
mod options;
mod prefixed;
mod registry;
mod traced;
mod update;

use std::sync::Arc;

pub use bytes::Bytes;
#[doc(inline)]
pub use store_api::*;

pub use self::{
    address::{Address, IntoAddress},
    on_change::{OnChange, OnChangeExt},
    options::{OptionSpec, OptionValues, Options},
    prefixed::Prefixed,
    registry::{Opener, Registry},
    traced::Traced,
    update::AtomicWriteExt,
};

/// The in-memory engine, by its types: `MemOptions::new().open()`.
#[cfg(feature = "mem")]
pub mod mem {
    pub use backend_mem::{Mem, MemOptions};
}

/// RocksDB, by its types: `RocksdbOptions::new(path).sync(Sync::Off).open()`.
#[cfg(feature = "rocksdb")]
pub mod rocksdb {
    pub use backend_rocksdb::{Compression, Rocksdb, RocksdbOptions, Sync};
}

/// Object stores, by their types: `S3Options::new(bucket).prefix(prefix).open()`.
#[cfg(feature = "s3")]
pub mod s3 {
    pub use backend_s3::{Requests, S3, S3Options};
}

/// SQLite, by its types: `SqliteOptions::new(path).sync(Sync::Normal).open()`.
#[cfg(feature = "sqlite")]
pub mod sqlite {
    pub use backend_sqlite::{Sqlite, SqliteOptions, Sync};
}

/// The traits, to be imported together: `use irminsul::prelude::*`.
pub mod prelude {
    pub use crate::{Append, AtomicWrite, Backend, Batch, ContentRead, EntryRead, Indexable, Indexed};
    #[doc(no_inline)]
    pub use crate::{AtomicWriteExt, ContentReadExt, EntryReadExt, IndexedExt, OnChangeExt};
}

/// Opens the store at an address, with the engines that are compiled in: [`Registry::open`] of [`Registry::default`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> irminsul::Result<()> {
/// let store = irminsul::open("mem:?hash=sha256").await?;
/// let error = irminsul::open("mem:?hash=md5").await.err().unwrap();
/// assert!(error.to_string().contains("hash=blake3|sha256"));
/// # Ok(())
/// # }
/// ```
pub async fn open(address: impl IntoAddress) -> Result<Arc<dyn Backend>> {
    Registry::default().open(address).await
}
