//! Storage backends that keep their promises: compare-and-set with watches, and content-addressed values, on the engine
//! that an address names.
//!
//! # Why
//!
//! A program that keeps state wants two small things of a store, and wants to trust them: an **atomic-write store**
//! ([`AtomicWrite`]) for what changes, which is keys and values with compare-and-set and watches; and an **indexable
//! store** ([`Indexable`]) for what does not, which is values under the hash of their content, added in atomic batches.
//! Here both are the same on every engine, from a map in memory to a bucket in the cloud: develop on one, ship on
//! another. Each promise is a clause with an id (`A2`, `W7`, ..), stated in the [`contract`] and put to the test on
//! every engine; what differs between engines, such as what a write survives, a store declares with
//! [`guarantees`](Backend::guarantees).
//!
//! # Open a store
//!
//! An address names the engine and the place. From the store come two handles; each can be cloned, shared among tasks,
//! and closed by itself.
//!
//! ```
//! use irminsul::{Key, prelude::*};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> irminsul::Result<()> {
//! let store = irminsul::open("mem:").await?; // or "sqlite:data/app.db": nothing below changes
//! let names = store.atomic_write().expect("every engine of this crate has entries");
//! let content = store.indexable().expect("and content");
//!
//! let colour = Key::new("config/colour")?;
//! names.set(&colour, "green".into()).await?;
//! assert_eq!(names.find(&colour).await?.unwrap(), "green");
//! assert_eq!(names.list_sorted(&Key::new("config")?).await?, [colour.clone()]);
//! assert_eq!(names.entries_sorted(&Key::root()).await?, [(colour, "green".into())]);
//!
//! store.close().await?; // when it returns, the engine has let go of its files
//! # drop(content);
//! # Ok(())
//! # }
//! ```
//!
//! `list`, `entries` and `keys` themselves are streams, for what is too much to be collected: `next` of the crate
//! futures-util's `StreamExt` reads them.
//!
//! # Write only if nobody was faster
//!
//! [`test_and_set`](AtomicWrite::test_and_set) sets an entry if it is what you think it is; `None` is absent. A
//! mismatch is an answer, not an error, and hands back what was there.
//!
//! ```
//! use irminsul::{Key, TestAndSet, prelude::*};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> irminsul::Result<()> {
//! # let names = irminsul::open("mem:").await?.atomic_write().unwrap();
//! let leader = Key::new("leader")?;
//! match names.test_and_set(&leader, None, Some("me".into())).await? {
//!     TestAndSet::Applied => println!("I lead"),
//!     TestAndSet::Mismatch { current } => println!("{current:?} was faster"),
//! }
//!
//! // The loop over it: read, compute, try, and again with what was there instead.
//! let visits = Key::new("visits")?;
//! let one_more = |visits: Option<irminsul::Bytes>| {
//!     let visits: u64 = visits.map_or(0, |visits| String::from_utf8_lossy(&visits).parse().unwrap_or(0));
//!     Some((visits + 1).to_string().into())
//! };
//! names.update(&visits, one_more).await?;
//! names.update(&visits, one_more).await?;
//! assert_eq!(names.find(&visits).await?.unwrap(), "2");
//! # Ok(())
//! # }
//! ```
//!
//! [`update`](AtomicWriteExt::update) backs off between two attempts; [`try_update`](AtomicWriteExt::try_update) is for
//! a computation that can fail.
//!
//! # Follow what changes
//!
//! A watch tells what differs from where it starts: from the state during the call ([`Init::Current`]), or from one
//! that you name ([`Init::Known`]), as after a restart; `Known` of nothing tells all there is first. It loses no
//! key, and ends in the state of the store; a reader that is slow may skip values in between, and delays no writer.
//!
//! ```
//! use irminsul::{Diff, Event, Init, Key, prelude::*};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> irminsul::Result<()> {
//! # let names = irminsul::open("mem:").await?.atomic_write().unwrap();
//! let (config, colour) = (Key::new("config")?, Key::new("config/colour")?);
//! names.set(&colour, "green".into()).await?;
//!
//! let mut watch = names.watch(&config, Init::Known(Vec::new())).await?;
//! while let Some(event) = watch.next().await {
//!     match event? {
//!         Event::CaughtUp => names.remove(&colour).await?, // what was there is told; the rest happens later
//!         Event::Changed { diff: Diff::Removed { .. }, .. } => break,
//!         Event::Changed { key, diff } => println!("{key} has {} bytes", diff.new_value().unwrap().len()),
//!         _ => {} // kinds of events may be added
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`on_change`](OnChangeExt::on_change) calls a handler in a task instead. An `Err` in a watch is a passing fault of
//! the store, and the watch goes on; only `Closed` is followed by its end.
//!
//! # Keep content
//!
//! A value is found by the key that `add` gave, or by its hash. What was read matches its hash, or is an error.
//!
//! ```
//! use irminsul::{ContentKey, Key, prelude::*};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> irminsul::Result<()> {
//! # let store = irminsul::open("mem:").await?;
//! # let (names, content) = (store.atomic_write().unwrap(), store.indexable().unwrap());
//! let page = content.add("<h1>Hello</h1>".into()).await?;
//! assert_eq!(content.find(&page).await?.unwrap(), "<h1>Hello</h1>");
//!
//! let hash = content.hash_function().hash(b"<h1>Hello</h1>");
//! assert_eq!(content.index(&hash).await?, Some(page)); // `resolve` is this and `find`
//!
//! // Content first, then its name: whoever reads the name finds the content, after a crash too (X1).
//! let home = Key::new("pages/home")?;
//! names.set(&home, page.to_bytes().into()).await?;
//! let named = ContentKey::from_bytes(&names.find(&home).await?.unwrap())?;
//! assert_eq!(content.find(&named).await?.unwrap(), "<h1>Hello</h1>");
//! # Ok(())
//! # }
//! ```
//!
//! # Add many values, or none
//!
//! A batch appears at one instant, when it is committed. Its body sees what it has added; nobody else does.
//!
//! ```
//! use irminsul::{Error, prelude::*};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> irminsul::Result<()> {
//! # let content = irminsul::open("mem:").await?.indexable().unwrap();
//! let chapters = content
//!     .batch(|batch| async move {
//!         let first = batch.add("Call me Ishmael.".into()).await?;
//!         let second = batch.add("The Carpet-Bag.".into()).await?;
//!         Ok::<_, Error>([first, second]) // committed; an `Err`, or to be dropped, aborts
//!     })
//!     .await?;
//! assert!(content.mem(&chapters[1]).await?);
//! # Ok(())
//! # }
//! ```
//!
//! # When something goes wrong
//!
//! There is one [`Error`]. Its [`kind`](Error::kind) says what to do, its [`effect`](Error::effect) whether a write
//! that failed may have happened, and its text is one line without any value or credential.
//!
//! | what happened | how it shows | what to do |
//! |---|---|---|
//! | somebody was faster | `Ok(`[`TestAndSet::Mismatch`]`)` | go on with what it carries; nothing was written |
//! | the answer was lost on its way | any error whose `effect()` is [`Effect::Unknown`] | read before you decide: it may have happened, or may still, and to repeat it could apply it a second time. Where each writer writes what no other one would (its name, a counter, a random number), what is there tells whose it was |
//! | the store is busy, or away for a while | [`Unavailable`](ErrorKind::Unavailable), [`Timeout`](ErrorKind::Timeout): `is_retryable()` | the same call again, later, where the effect is `NotApplied` |
//! | the handle was closed | [`Closed`](ErrorKind::Closed) | take another handle from the store; where the store was closed, open it again |
//! | the disk is full | [`NoSpace`](ErrorKind::NoSpace) | make room on the disk by other means, since `remove` and `clear` need some themselves, as `open` may; then go on with the same handle; nothing acknowledged is lost (after a disk quota was exceeded, a RocksDB store has to be opened again) |
//! | a sync failed | [`Poisoned`](ErrorKind::Poisoned) | close the store and open it again; then `find` what is there |
//! | another program has it open | [`InUse`](ErrorKind::InUse), from `open` | the error names it where the system does |
//! | the address, an option or an argument is wrong | [`InvalidInput`](ErrorKind::InvalidInput) | correct it: the text says what is expected, and what there is |
//! | what is asked for is not to be had here | [`Unsupported`](ErrorKind::Unsupported) | do what the text says: enable a cargo feature, call from within a tokio runtime, raise a limit, or take another file system, service or engine |
//! | the value is too long | [`ValueTooLarge`](ErrorKind::ValueTooLarge) | cut it into pieces of content, as the example `snapshot` does |
//! | the store was made otherwise, as with another `hash`, or by a newer version | [`Incompatible`](ErrorKind::Incompatible), from `open` | open it as it was made; nothing was touched |
//! | the system, or the service, permits less | [`Denied`](ErrorKind::Denied), [`ReadOnly`](ErrorKind::ReadOnly) | mend the rights of the files or of the credentials; reads go on where they are permitted |
//! | stored bytes have rotted | [`Corrupt`](ErrorKind::Corrupt) | restore them from a copy; `irminsul verify` lists them |
//!
//! [`ErrorKind`] has the others. Match with a `_` arm: kinds may be added.
//!
//! ```
//! use irminsul::{Bytes, Effect, Key, Result, TestAndSet, prelude::*};
//!
//! /// Takes a lock under a token that nobody else has, and says whether it is ours.
//! async fn take(store: &dyn AtomicWrite, lock: &Key, token: Bytes) -> Result<bool> {
//!     let mut perhaps_taken = false;
//!     loop {
//!         match store.test_and_set(lock, None, Some(token.clone())).await {
//!             Ok(TestAndSet::Applied) => return Ok(true),
//!             // Our own token means that the first attempt was applied, and its answer was lost.
//!             Ok(TestAndSet::Mismatch { current }) => return Ok(current == Some(token)),
//!             // Ask once more: the token tells whether it was applied.
//!             Err(error) if error.effect() == Effect::Unknown && !perhaps_taken => perhaps_taken = true,
//!             // The second attempt may have failed for certain, and the first may still be applied.
//!             Err(error) if perhaps_taken => return Err(error.with_effect(Effect::Unknown)),
//!             Err(error) => return Err(error),
//!         }
//!     }
//! }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> irminsul::Result<()> {
//! # let names = irminsul::open("mem:").await?.atomic_write().unwrap();
//! # let lock = Key::new("lock")?;
//! # assert!(take(&*names, &lock, "me".into()).await?);
//! # assert!(!take(&*names, &lock, "you".into()).await?);
//! # assert!(take(&*names, &lock, "me".into()).await?);
//! # Ok(())
//! # }
//! ```
//!
//! # Who may do what
//!
//! A permission is the trait that a handle is held by: an `Arc<dyn AtomicWrite>` upcasts to an `Arc<dyn EntryRead>`,
//! which can neither write nor close; an `Arc<dyn Indexable>` to an `Arc<dyn Indexed>`, which writes only in batches,
//! and that to an `Arc<dyn ContentRead>`. [`Prefixed`] is a store below a prefix of another, for a part of the program
//! that is to see no more; [`Traced`] opens a [tracing] span per operation.
//!
//! [tracing]: https://docs.rs/tracing
//!
//! # Addresses
//!
//! [`open`] takes an address: `scheme:location?option=value&option=value`. How it is written is told at [`Address`]; an
//! unknown option is refused with the list of known ones, a malformed value with the expected form.
//!
//! | address | store | feature |
//! |---|---|---|
//! | `mem:` | in memory, of its own | `mem` |
//! | `mem:name` | in memory, shared under the name inside the process, gone with its last handle | `mem` |
//! | `rocksdb:path`, `rocksdb:///path` | the folder at a relative, an absolute path, for one process at a time | `rocksdb` |
//! | `s3://bucket/prefix` | below a prefix of a bucket of S3; shared by the machines that reach it. The bucket must exist | `s3` |
//! | `s3://bucket/prefix?endpoint=http://127.0.0.1:9000&region=us-east-1` | the same on a service that speaks S3 | `s3` |
//! | `az://container/prefix` | the same in a container of Azure Blob Storage | `azure` |
//! | `sqlite:` | a temporary file, gone with its last handle | `sqlite` |
//! | `sqlite:path`, `sqlite:///path` | the database at a relative, an absolute path, shared by the processes of a host | `sqlite` |
//!
//! | option | values | default | what it does |
//! |---|---|---|---|
//! | `hash` | `blake3`, `sha256` | `blake3`, or what the store has | the hash function, fixed when the store is created |
//! | `verify` | `on`, `off` | `on` | check content against its hash when it is read (I6) |
//! | `batch` | bytes | 268435456 | the most that one batch may hold (I7), 96 for each value included |
//! | `poll` | milliseconds, at least 1 | `sqlite`: 50; `s3`, `az`: 1000 | how often a watch looks for the changes of other processes (W11) |
//! | `busy` | milliseconds | `sqlite`: 5000; `s3`, `az`: 30000 | how long to wait for a lock that another process holds, or out contention (A6) |
//! | `sync` | `on`, `off` | `on` | `sqlite`, `rocksdb`: a write survives a power loss; a killed process (A10). SQLite's words for the two, `full` and `normal`, do as well |
//! | `create` | `on`, `off` | `on` | all but `mem`: create a missing store; its parent directory, or its bucket, must exist |
//! | `endpoint` | a URL | that of the provider | `s3`, `az`: the service; what is sent to an `http://` one is not encrypted |
//! | `region` | text | what the environment says | `s3`: the region of the bucket |
//! | `patience` | milliseconds, at least 1 | 30000 | `s3`, `az`: how long one request may take, and 1000 more for each MiB that it moves |
//! | `pack` | bytes | 8388608 | `s3`, `az`: how much content that is added value by value shares one object, at most |
//! | `watch_limit` | a number | 4194304 | `s3`, `az`: how many objects a watch may have in its scope, those of removed entries included |
//! | `cache` | bytes | 67108864 | `rocksdb` only: the size of the read cache; the write buffers may take 1.4 times as much |
//! | `compression` | `none`, `lz4`, `zstd` | `lz4` | `rocksdb` only: how what is written is compressed |
//!
//! The first five are accepted by every scheme, `create` by all but `mem`, and `sync` by both that keep files, so that a configuration
//! can switch engines; `mem`, `s3` and `az` refuse `sync`, whose promise is not theirs to keep. The same choices are typed
//! in [`mem::MemOptions`], [`sqlite::SqliteOptions`], [`rocksdb::RocksdbOptions`][rocksdb-options] and `s3::S3Options`,
//! which have a few that an address has not, such as `change_log`; what an address calls `batch` is `batch_limit` there. A
//! [`Registry`] is what [`open`] asks; [`Opener`] shows how an engine of your own is given to it.
//!
//! Credentials of S3 and Azure come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, ..), never from
//! an address; the profiles in `~/.aws` are not read.
//!
//! [rocksdb-options]: https://docs.rs/irminsul-backend-rocksdb
//!
//! # Features
//!
//! | feature | default | brings |
//! |---|---|---|
//! | `mem` | yes | the in-memory engine |
//! | `sqlite` | yes | the engine on files, its C source bundled |
//! | `rocksdb` | no | the engine for much data in one process; needs a C++ compiler and libclang, and minutes to compile |
//! | `s3` | no | stores in the buckets of S3 and what speaks it, shared by machines; an HTTP client with TLS, which is some eighty crates and needs a C compiler |
//! | `azure` | no | the same for Azure Blob Storage; brings `s3` |
//!
//! Without default features there are the contracts, the registry and the wrappers, and no engine. What each engine
//! promises, side by side: [the guarantees]. Which engine to take: [choosing a backend]. To test or measure a store on your
//! own machine: `irminsul conform` and `irminsul bench`.
//!
//! [the guarantees]: https://github.com/irminsul-rs/irminsul/blob/main/docs/guarantees.md
//! [choosing a backend]: https://github.com/irminsul-rs/irminsul/blob/main/docs/choosing-a-backend.md
//!
//! # What it is not
//!
//! - **No query language, no secondary index.** A key, a scope, a hash: nothing else finds a value.
//! - **No time to live.** Keep the deadline in the value, and let `test_and_set` decide who takes over.
//! - **No transactions over several keys.** Put what belongs together into content, and move one name.
//! - **No version tokens.** `test_and_set` compares values; where A, B, A must not pass for A, put a counter into them.
//! - **No deleting of content.** Copy what is reachable to a new store.
//! - **No runtime of its own.** Stores in S3 and Azure need tokio, and so do [`update`](AtomicWriteExt::update),
//!   [`on_change`](OnChangeExt::on_change), and [`Registry::scratch`] and [`Registry::destroy`] of engines with files; the
//!   contracts and the embedded engines do not.
//!
//! The [shortcomings] have all of it, and what each engine is not good at.
//!
//! [shortcomings]: https://github.com/irminsul-rs/irminsul/blob/main/SHORTCOMINGS.md

#![cfg_attr(docsrs, feature(doc_cfg))]

/// The example of the readme.
#[cfg(all(doctest, feature = "sqlite"))]
#[doc = include_str!("../README.md")]
struct Readme;

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

// The contracts, name by name: what their crate gains is not by itself an interface of this one. A store, and what it
// declares:
#[doc(inline)]
pub use store_api::{Backend, Durability, Guarantees, IndexLevel, Visibility, WatchLag, contract};

// Entries and their watches:
#[doc(inline)]
pub use store_api::{
    Ancestors, AtomicWrite, EntryRead, EntryReadExt, EntryStream, Key, KeyStream, MAX_VALUE_LEN, Steps, TestAndSet,
};
#[doc(inline)]
pub use store_api::{Diff, Event, Init, Watch, WatchId};

// Content:
#[doc(inline)]
pub use store_api::{
    Append, Batch, ContentHash, ContentKey, ContentKeyStream, ContentRead, ContentReadExt, HashFunction, Indexable,
    Indexed, IndexedExt,
};

// Errors:
#[doc(inline)]
pub use store_api::{Effect, Error, ErrorKind, Result};

pub use self::{
    address::{Address, IntoAddress},
    on_change::{OnChange, OnChangeExt},
    options::{AddressOptions, OptionSpec, OptionValues},
    prefixed::Prefixed,
    registry::{Opener, Registry},
    traced::Traced,
    update::AtomicWriteExt,
};

// What an application holds goes from thread to thread.
const _: () = {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<(Address, AddressOptions, Registry, Prefixed, Traced)>();
    #[cfg(feature = "mem")]
    is_shared::<(mem::Mem, mem::MemOptions)>();
    #[cfg(feature = "rocksdb")]
    is_shared::<(rocksdb::Rocksdb, rocksdb::RocksdbOptions)>();
    #[cfg(feature = "s3")]
    is_shared::<(s3::S3, s3::S3Options)>();
    #[cfg(feature = "sqlite")]
    is_shared::<(sqlite::Sqlite, sqlite::SqliteOptions)>();
};

/// The in-memory engine, by its types: `MemOptions::new().open()`.
#[cfg(feature = "mem")]
pub mod mem {
    pub use backend_mem::{Mem, MemOptions};
}

/// RocksDB, by its types: `RocksdbOptions::new(path).sync(false).open()`.
#[cfg(feature = "rocksdb")]
pub mod rocksdb {
    pub use backend_rocksdb::{Compression, Rocksdb, RocksdbOptions};
}

/// Object stores, by their types: `S3Options::new(bucket).prefix(prefix).open()`.
///
/// `S3Options::over` takes a store of the crate `object_store`, which has its own versions: a minor one of it is a minor one
/// of this crate.
#[cfg(feature = "s3")]
pub mod s3 {
    pub use backend_s3::{Requests, S3, S3Options, object_store};
}

/// SQLite, by its types, with what an address does not have; what is opened so is a [`Backend`] as any other.
///
/// ```
/// use std::sync::Arc;
///
/// use irminsul::{Backend, sqlite::SqliteOptions};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("app.db");
/// let options = SqliteOptions::new(path).sync(false).change_log(100_000);
/// let store: Arc<dyn Backend> = Arc::new(options.open().await?);
/// // Who needs a level asks for it, whatever the engine is.
/// assert!(store.guarantees().durability.survives_kill());
/// store.close().await?;
/// # Ok(())
/// # }
/// ```
#[cfg(feature = "sqlite")]
pub mod sqlite {
    pub use backend_sqlite::{Sqlite, SqliteOptions};
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
