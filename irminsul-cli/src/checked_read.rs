//! Reading content back against its hash, by a computation of our own: the store may have been opened with
//! verification off.

use irminsul::{Bytes, ContentKey, ContentRead, Error, ErrorKind, Result};

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
