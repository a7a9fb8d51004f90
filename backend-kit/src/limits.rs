//! What every backend checks at its edge, and the errors for it.

use bytes::Bytes;
use store_api::{Error, ErrorKind, HashFunction, Key, MAX_VALUE_LEN, Result};

/// `Ok` for a key that can be an entry's.
///
/// # Errors
///
/// `InvalidKey` for the empty path (K3).
pub fn check_entry_key(key: &Key) -> Result<()> {
    if key.is_root() {
        return Err(Error::new(ErrorKind::InvalidKey, "the empty path is not an entry; name at least one step"));
    }
    Ok(())
}

/// `Ok` for a value that is not too long.
///
/// # Errors
///
/// `ValueTooLarge` beyond [`MAX_VALUE_LEN`] (V1).
pub fn check_value(value: &Bytes) -> Result<()> {
    if value.len() > MAX_VALUE_LEN {
        return Err(Error::new(
            ErrorKind::ValueTooLarge,
            format!("a value of {} bytes is longer than the {MAX_VALUE_LEN} allowed; split it", value.len()),
        ));
    }
    Ok(())
}

/// The hash function of a store, if it is the one that is wanted or none is.
///
/// # Errors
///
/// `Incompatible`, with both named (L5).
pub fn check_hash(wanted: Option<HashFunction>, found: HashFunction) -> Result<HashFunction> {
    match wanted {
        Some(wanted) if wanted != found => Err(Error::new(
            ErrorKind::Incompatible,
            format!("the store hashes with {found}, not {wanted}; open it with `hash={found}`, or without"),
        )),
        _ => Ok(found),
    }
}
