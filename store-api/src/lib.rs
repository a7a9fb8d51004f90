//! The contracts of irminsul: what a storage backend promises, as traits.
//!
//! Two small contracts, taken from OCaml's [Irmin] and made precise:
//!
//! - an **atomic-write store** ([`AtomicWrite`]): keys and values, with compare-and-set and watches;
//! - an **indexable store** ([`Indexable`]): values under the hash of their content, with atomic batches.
//!
//! Each promise is a clause with a stable id (`A2`, `W7`, ..). The [`contract`] module states them all; every method
//! names the ones that it keeps.
//!
//! This crate has no runtime and does no I/O. An application depends on `irminsul`, which opens a store by its address;
//! a backend depends on this crate and implements the traits.
//!
//! # Reading and writing
//!
//! ```
//! use bytes::Bytes;
//! use store_api::{AtomicWrite, Key, Result, TestAndSet};
//!
//! /// Adds one to a counter that other processes move as well.
//! async fn increment(store: &dyn AtomicWrite, key: &Key) -> Result<u64> {
//!     let mut test = store.find(key).await?;
//!     loop {
//!         let count: u64 = match &test {
//!             Some(value) => std::str::from_utf8(value).unwrap().parse().unwrap(),
//!             None => 0,
//!         };
//!         let set = Bytes::from((count + 1).to_string());
//!         match store.test_and_set(key, test, Some(set)).await? {
//!             TestAndSet::Applied => return Ok(count + 1),
//!             TestAndSet::Mismatch { current } => test = current,
//!         }
//!     }
//! }
//! ```
//!
//! # Following a key
//!
//! ```
//! use store_api::{Diff, EntryRead, Event, Init, Key, Result};
//!
//! async fn follow(store: &dyn EntryRead, key: &Key) -> Result<()> {
//!     let mut watch = store.watch_key(key, Init::Current).await?;
//!     while let Some(event) = watch.next().await {
//!         match event? {
//!             Event::Changed { key, diff: Diff::Removed { .. } } => println!("{key} is gone"),
//!             Event::Changed { key, diff } => println!("{key} has {} bytes", diff.new_value().unwrap().len()),
//!             _ => {}
//!         }
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # Content
//!
//! ```
//! use store_api::{Append, ContentRead, Indexable, IndexedExt, Result};
//!
//! async fn two_values_or_none(store: &dyn Indexable) -> Result<()> {
//!     let (a, b) = store
//!         .batch(|batch| async move {
//!             Ok::<_, store_api::Error>((batch.add("one".into()).await?, batch.add("two".into()).await?))
//!         })
//!         .await?;
//!     assert_eq!(store.find(&a).await?.unwrap(), "one");
//!     assert_eq!(store.find(&b).await?.unwrap(), "two");
//!     Ok(())
//! }
//! ```
//!
//! # Permissions
//!
//! What a handle may do is the trait that it is held by. `Arc<dyn AtomicWrite>` upcasts to `Arc<dyn EntryRead>`, which
//! can neither write nor close; `Arc<dyn Indexable>` to `Arc<dyn Indexed>`, which writes only inside a batch, and that
//! to `Arc<dyn ContentRead>`.
//!
//! # What is not here
//!
//! There is no time to live, no transaction over several keys, no version token and no deleting of content: what to do
//! instead is told in the [shortcomings].
//!
//! [Irmin]: https://irmin.org
//! [shortcomings]: https://github.com/irminsul-rs/irminsul/blob/main/SHORTCOMINGS.md#what-it-is-not

mod atomic_write;
mod backend;
mod content;
pub mod contract;
mod debug;
mod error;
mod event;
mod ext;
mod forward;
mod guarantees;
mod indexable;
mod key;

pub use atomic_write::{AtomicWrite, EntryRead, EntryStream, KeyStream, MAX_VALUE_LEN, TestAndSet};
pub use backend::Backend;
pub use content::{ContentHash, ContentKey, HashFunction};
pub use error::{Effect, Error, ErrorKind, Result};
pub use event::{Diff, Event, Init, Watch, WatchId};
pub use ext::{ContentReadExt, EntryReadExt, IndexedExt};
pub use guarantees::{Durability, Guarantees, IndexLevel, Visibility, WatchLag};
pub use indexable::{Append, Batch, ContentKeyStream, ContentRead, Indexable, Indexed};
pub use key::{Ancestors, Key, Steps};

// What an application holds goes from thread to thread.
const _: () = {
    const fn is_shared<T: Send + Sync + ?Sized>() {}
    const fn is_sent<T: Send>() {}
    is_shared::<dyn Backend>();
    is_shared::<dyn AtomicWrite>();
    is_shared::<dyn Indexable>();
    is_shared::<dyn Batch>();
    is_shared::<(Key, ContentKey, ContentHash, Guarantees, WatchId)>();
    is_shared::<(Error, Event, Init<Vec<(Key, bytes::Bytes)>>, TestAndSet)>();
    is_sent::<(Watch, KeyStream, EntryStream, ContentKeyStream)>();
};
