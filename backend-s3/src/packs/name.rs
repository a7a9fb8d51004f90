//! Names of packs: an epoch, then a nonce, so that listings order them by epoch and no two packs share a name.

use std::{fmt, str::FromStr};

use bytes::{Buf, BufMut};
use store_api::Result;

use crate::frame::random;

/// The folder of the packs, below the store's prefix.
pub(crate) const FOLDER: &str = "packs";

/// A pack's name. Its order is that of a listing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PackName {
    pub(crate) epoch: u32,
    nonce: u128,
}

impl PackName {
    pub(crate) const LEN: usize = 4 + 16;

    /// One that no other pack has.
    pub(crate) fn new(epoch: u32) -> Result<Self> {
        Ok(Self { epoch, nonce: u128::from_be_bytes(random()?) })
    }

    /// The least name that there can be in an epoch.
    pub(crate) fn first(epoch: u32) -> Self {
        Self { epoch, nonce: 0 }
    }

    /// The name of its object.
    pub(crate) fn object(&self) -> String {
        format!("{FOLDER}/{self}")
    }

    /// What a name of an object in [`FOLDER`] says, or `None` where the object is not ours.
    pub(crate) fn of_object(name: &str) -> Option<Self> {
        name.strip_prefix(FOLDER)?.strip_prefix('/')?.parse().ok()
    }

    /// The name that the packs of this epoch, and of all later ones, are listed behind.
    pub(crate) fn before(epoch: u32) -> String {
        // `-` comes before all digits, so that this is less than any name of the epoch.
        format!("{FOLDER}/{epoch:08x}-")
    }

    pub(crate) fn put(&self, to: &mut impl BufMut) {
        to.put_u32(self.epoch);
        to.put_u128(self.nonce);
    }

    pub(crate) fn get(from: &mut &[u8]) -> Option<Self> {
        Some(Self { epoch: from.try_get_u32().ok()?, nonce: from.try_get_u128().ok()? })
    }
}

impl fmt::Display for PackName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{:032x}", self.epoch, self.nonce)
    }
}

impl fmt::Debug for PackName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PackName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (epoch, nonce) = text.split_once('-').ok_or(())?;
        let name = Self {
            epoch: u32::from_str_radix(epoch, 16).map_err(drop)?,
            nonce: u128::from_str_radix(nonce, 16).map_err(drop)?,
        };
        // One text for each name: `+f` and capitals are numbers too.
        if name.to_string() == text { Ok(name) } else { Err(()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn names_round_trip_and_are_listed_by_epoch(epoch: u32, other: u32) {
            let (name, later) = (PackName::new(epoch).unwrap(), PackName::new(other).unwrap());
            prop_assert_eq!(PackName::of_object(&name.object()), Some(name));
            prop_assert_eq!(name.object() < later.object(), name < later);
            prop_assert_eq!(PackName::before(other) < name.object(), other <= epoch);
        }

        #[test]
        fn what_is_not_a_name_is_foreign(text in ".{0,60}") {
            if let Some(name) = PackName::of_object(&text) {
                prop_assert_eq!(name.object(), text);
            }
        }
    }
}
