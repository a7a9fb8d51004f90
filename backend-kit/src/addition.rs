//! A value on its way into an indexable store: under its own hash, or under one that was given with it.

use std::fmt;

use bytes::Bytes;
use store_api::{ContentHash, Error, ErrorKind, HashFunction, Result};

use crate::{check_value, hash};

/// What an engine holds for a row beside its key and its value, as a rule: 64 bytes.
pub const ROW_BYTES: usize = 64;

/// A value to be stored under a hash.
#[derive(Clone)]
pub struct Addition {
    /// The hash to store it under.
    pub hash: ContentHash,
    /// The value.
    pub value: Bytes,
    /// Whether the hash was computed here, or given by a caller who may be wrong (I4).
    pub trusted: bool,
}

impl Addition {
    /// A value with its own hash, or with the one that was given (I1, I4).
    ///
    /// # Errors
    ///
    /// `ValueTooLarge` (V1); those of [`hash`](hash()).
    pub(crate) async fn of(function: HashFunction, given: Option<ContentHash>, value: Bytes) -> Result<Self> {
        check_value(&value)?;
        Ok(match given {
            Some(hash) => Self { hash, value, trusted: false },
            None => Self { hash: hash(function, &value).await?, value, trusted: true },
        })
    }

    /// About how many bytes an engine holds to write it: hash and value, and what comes with a row ([`ROW_BYTES`]).
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.hash.as_bytes().len() + self.value.len() + ROW_BYTES
    }

    /// Whether it takes the place of what is stored under its hash: where two differ, the one that has the hash stays
    /// (I4). It hashes only where nobody can tell without.
    #[must_use]
    pub fn replaces(&self, function: HashFunction, present_is_trusted: bool, present: &[u8]) -> bool {
        !present_is_trusted && *present != *self.value && (self.trusted || function.hash(&self.value) == self.hash)
    }
}

// Values are the application's secrets: a log line shows their sizes (E2).
impl fmt::Debug for Addition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Addition({}, {} bytes, trusted: {})", self.hash, self.value.len(), self.trusted)
    }
}

/// `Corrupt`: a value that has not the hash that it is stored under (I6).
#[must_use]
pub fn false_value() -> Error {
    Error::new(ErrorKind::Corrupt, "the value does not match its hash; add the true one again")
}
