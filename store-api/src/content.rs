//! Hashes and keys of content.

use std::{cmp, fmt, hash, str::FromStr};

use sha2::Digest;

use crate::{Error, ErrorKind, Result};

/// The hash function of an indexable store, fixed when the store is created and checked at every open (L5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HashFunction {
    /// BLAKE3 with 32 bytes: the default.
    #[default]
    Blake3,
    /// SHA-256.
    Sha256,
}

impl HashFunction {
    /// Every function, for whoever lists them.
    pub const ALL: &'static [Self] = &[Self::Blake3, Self::Sha256];

    /// The hash of a value. This takes time in proportion: more than 256 KiB do not belong on an async worker.
    #[must_use]
    pub fn hash(self, value: &[u8]) -> ContentHash {
        ContentHash::new(match self {
            Self::Blake3 => *blake3::hash(value).as_bytes(),
            Self::Sha256 => sha2::Sha256::digest(value).into(),
        })
    }

    /// The name that addresses and stores use: `blake3` or `sha256`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Blake3 => "blake3",
            Self::Sha256 => "sha256",
        }
    }
}

impl fmt::Display for HashFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for HashFunction {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.iter().copied().find(|function| function.name() == name).ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, "the hash function is not known: it is `blake3` or `sha256`")
        })
    }
}

/// The hash of a value: 32 bytes, shown as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash([u8; ContentHash::LEN]);

impl ContentHash {
    /// Its length in bytes.
    pub const LEN: usize = 32;

    /// A hash that was computed elsewhere.
    #[must_use]
    pub const fn new(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl AsRef<[u8]> for ContentHash {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<[u8; ContentHash::LEN]> for ContentHash {
    fn from(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }
}

impl TryFrom<&[u8]> for ContentHash {
    type Error = Error;

    fn try_from(bytes: &[u8]) -> Result<Self> {
        bytes.try_into().map(Self).map_err(|_| {
            Error::new(
                ErrorKind::InvalidInput,
                format!("a content hash has {} bytes, not {}", ContentHash::LEN, bytes.len()),
            )
        })
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentHash({self})")
    }
}

impl FromStr for ContentHash {
    type Err = Error;

    fn from_str(hex: &str) -> Result<Self> {
        let mut bytes = [0; Self::LEN];
        match parse_hex(hex, &mut bytes) {
            Some(Self::LEN) => Ok(Self(bytes)),
            _ => Err(Error::new(ErrorKind::InvalidInput, "a content hash is 64 hexadecimal digits")),
        }
    }
}

/// Where a value lies in an indexable store: its hash, and a locator that only this store understands.
///
/// The locator is a hint. It may be missing (inside a batch) or stale (after a copy), is checked against the hash, and
/// takes no part in `Eq`, `Ord` and `Hash` (I5).
///
/// As text it is the hash, and behind a dot the locator if there is one, both hexadecimal. A bare hash is a key too.
///
/// ```
/// use store_api::{ContentKey, HashFunction};
///
/// let hash = HashFunction::Blake3.hash(b"value");
/// let key = ContentKey::with_locator(hash, &[1, 2, 3]).unwrap();
/// assert_eq!(key, ContentKey::from(hash));
/// assert_eq!(ContentKey::from_bytes(&key.to_bytes())?.locator(), [1, 2, 3]);
/// assert_eq!(key.to_string().parse::<ContentKey>()?.locator(), [1, 2, 3]);
/// # Ok::<(), store_api::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct ContentKey {
    hash: ContentHash,
    locator_len: u8,
    locator: [u8; ContentKey::MAX_LOCATOR_LEN],
}

impl ContentKey {
    /// The longest locator, in bytes.
    pub const MAX_LOCATOR_LEN: usize = 47;

    /// A key with a locator, or `None` when the locator is longer than [`ContentKey::MAX_LOCATOR_LEN`]. For backends.
    #[must_use]
    pub fn with_locator(hash: ContentHash, locator: &[u8]) -> Option<Self> {
        let mut key = Self::from(hash);
        key.locator.get_mut(..locator.len())?.copy_from_slice(locator);
        key.locator_len = u8::try_from(locator.len()).ok()?;
        Some(key)
    }

    /// The hash of the value.
    #[must_use]
    pub const fn to_hash(&self) -> ContentHash {
        self.hash
    }

    /// The locator; empty when there is none.
    #[must_use]
    pub fn locator(&self) -> &[u8] {
        &self.locator[..usize::from(self.locator_len)]
    }

    /// The hash's 32 bytes, then the locator.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.hash.as_ref(), self.locator()].concat()
    }

    /// The key that [`to_bytes`](Self::to_bytes) gave these bytes for.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when there are fewer than 32 bytes, or more than a locator may have behind them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        bytes
            .split_first_chunk()
            .and_then(|(hash, locator)| Self::with_locator(ContentHash::new(*hash), locator))
            .ok_or_else(|| {
                Error::new(ErrorKind::InvalidInput, format!("a content key has 32 to 79 bytes, not {}", bytes.len()))
            })
    }
}

impl From<ContentHash> for ContentKey {
    fn from(hash: ContentHash) -> Self {
        Self { hash, locator_len: 0, locator: [0; Self::MAX_LOCATOR_LEN] }
    }
}

impl PartialEq for ContentKey {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

impl Eq for ContentKey {}

impl PartialOrd for ContentKey {
    fn partial_cmp(&self, other: &Self) -> Option<cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ContentKey {
    fn cmp(&self, other: &Self) -> cmp::Ordering {
        self.hash.cmp(&other.hash)
    }
}

impl hash::Hash for ContentKey {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.hash.hash(state);
    }
}

impl fmt::Display for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, self.hash.as_ref())?;
        if !self.locator().is_empty() {
            f.write_str(".")?;
            write_hex(f, self.locator())?;
        }
        Ok(())
    }
}

impl fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentKey({self})")
    }
}

impl FromStr for ContentKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (hash, locator) = text.split_once('.').unwrap_or((text, ""));
        let mut bytes = [0; Self::MAX_LOCATOR_LEN];
        parse_hex(locator, &mut bytes).and_then(|len| Self::with_locator(hash.parse().ok()?, &bytes[..len])).ok_or_else(
            || {
                Error::new(
                    ErrorKind::InvalidInput,
                    "a content key is a hash of 64 hexadecimal digits, and may have a dot and a locator behind it",
                )
            },
        )
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// Fills `bytes` from hexadecimal digits; the number of bytes, or `None` when they are not that.
fn parse_hex(hex: &str, bytes: &mut [u8]) -> Option<usize> {
    let (pairs, []) = hex.as_bytes().as_chunks::<2>() else { return None };
    let target = bytes.get_mut(..pairs.len())?;
    for (byte, [high, low]) in target.iter_mut().zip(pairs) {
        let digit = |c: &u8| char::from(*c).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = digit(high)? << 4 | digit(low)?;
    }
    Some(pairs.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hashes_are_those_of_the_standards() {
        assert_eq!(
            HashFunction::Blake3.hash(b"").to_string(),
            "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
        );
        assert_eq!(
            HashFunction::Sha256.hash(b"abc").to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn what_is_not_a_key_is_refused() {
        let hash = HashFunction::Blake3.hash(b"").to_string();
        for text in ["", "zz", &hash[1..], &format!("{hash}0"), &format!("{hash}.0"), &format!("{hash}.+f"), "\u{e9}."]
        {
            assert_eq!(text.parse::<ContentKey>().unwrap_err().kind(), ErrorKind::InvalidInput, "{text:?}");
        }
        for len in [0, 31, 80] {
            assert_eq!(ContentKey::from_bytes(&vec![0; len]).unwrap_err().kind(), ErrorKind::InvalidInput, "{len}");
        }
    }

    proptest! {
        #[test]
        fn a_key_round_trips(hash: [u8; 32], locator in proptest::collection::vec(any::<u8>(), 0..=ContentKey::MAX_LOCATOR_LEN)) {
            let key = ContentKey::with_locator(hash.into(), &locator).unwrap();
            let from_bytes = ContentKey::from_bytes(&key.to_bytes()).unwrap();
            let from_text: ContentKey = key.to_string().parse().unwrap();
            for other in [from_bytes, from_text] {
                prop_assert_eq!(other, key);
                prop_assert_eq!(other.locator(), &locator[..]);
            }
        }
    }
}
