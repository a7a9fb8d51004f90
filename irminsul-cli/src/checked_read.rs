//! Reading back what a store holds. Content is checked against its hash by a computation of our own: the store may have been
//! opened with verification off.

use futures_util::{Stream, StreamExt, TryStreamExt};
use irminsul::{Bytes, ContentKey, ContentRead, EntryRead, Error, ErrorKind, Key, Result};

/// How many values are read at a time. Each may have 64 MiB.
pub(crate) const READS: usize = 4;

/// The value of a key that the store listed. What is not there, or is not what the hash says, is `Corrupt`.
pub(crate) async fn find_checked(store: &dyn ContentRead, key: &ContentKey) -> Result<Bytes> {
    let corrupt = |message| Error::new(ErrorKind::Corrupt, message).with_key(key.to_hash());
    let found = store.find(key).await.map_err(|error| error.with_key(key.to_hash()))?;
    let value = found.ok_or_else(|| corrupt("the store lists it, and does not hold it"))?;
    if store.hash_function().hash(&value) != key.to_hash() {
        return Err(corrupt("the bytes do not match the hash"));
    }
    Ok(value)
}

/// The size of each entry's value.
pub(crate) fn entry_sizes(store: &dyn EntryRead) -> impl Stream<Item = Result<usize>> {
    store.entries(&Key::root()).map_ok(|(_, value)| value.len())
}

/// The size of each value of content, all of them read and checked.
pub(crate) fn content_sizes(store: &dyn ContentRead) -> impl Stream<Item = Result<usize>> {
    let size = move |key: Result<ContentKey>| async move { find_checked(store, &key?).await.map(|value| value.len()) };
    store.keys().map(size).buffer_unordered(READS)
}
