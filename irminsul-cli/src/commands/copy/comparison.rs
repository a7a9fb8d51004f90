//! How the entries of one store stand in another.

use futures_util::{Stream, StreamExt, TryStreamExt, future};
use irminsul::{Bytes, EntryRead, Error, ErrorKind, Key, Result};

use crate::checked_read::READS;

/// How an entry of one store stands in the other.
pub(super) enum Standing {
    Equal,
    Differs,
    Absent,
    /// The other store finds its own `Corrupt`.
    Unreadable(Error),
}

/// Each entry of `left`, how it stands in `right`, and the size of its value. Errors are those of `left`, and those of
/// `right` that are not about one entry.
pub(super) fn compare(
    left: &dyn EntryRead,
    right: &dyn EntryRead,
) -> impl Stream<Item = Result<(Key, Standing, usize)>> {
    let look_up = async |entry: Result<(Key, Bytes)>| {
        let (key, value) = entry?;
        let standing = match right.find(&key).await {
            Ok(Some(other)) if other == value => Standing::Equal,
            Ok(Some(_)) => Standing::Differs,
            Ok(None) => Standing::Absent,
            Err(error) if error.kind() == ErrorKind::Corrupt => Standing::Unreadable(error),
            Err(error) => return Err(error),
        };
        Ok((key, standing, value.len()))
    };
    left.entries(&Key::root()).map(look_up).buffer_unordered(READS)
}

/// The keys of `left` that `right` does not have.
pub(super) fn absent(left: &dyn EntryRead, right: &dyn EntryRead) -> impl Stream<Item = Result<Key>> {
    let look_up = async |key: Result<Key>| {
        let key = key?;
        Ok((!right.mem(&key).await?).then_some(key))
    };
    left.list(&Key::root()).map(look_up).buffer_unordered(READS).try_filter_map(future::ok)
}
