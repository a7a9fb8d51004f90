//! What is kept under a hash: a short value is there itself, another one is in the space of its own.

use store_api::{Error, ErrorKind, Result};

/// Up to this length a value is short: to read it with its hash costs little.
const SHORT_LEN: usize = 512;

/// What a row of a short value begins with.
const SHORT: u8 = 0;

/// A row of [`Space::Hashes`](crate::database::Space::Hashes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row<'r> {
    /// The value.
    Short(&'r [u8]),
    /// It is in [`Space::Content`](crate::database::Space::Content).
    Apart,
}

impl<'r> Row<'r> {
    /// The one for a value.
    pub(crate) fn of(value: &'r [u8]) -> Self {
        if value.len() <= SHORT_LEN { Self::Short(value) } else { Self::Apart }
    }

    pub(crate) fn open(bytes: &'r [u8]) -> Result<Self> {
        match bytes {
            [] => Ok(Self::Apart),
            [SHORT, value @ ..] => Ok(Self::Short(value)),
            _ => Err(Error::new(ErrorKind::Corrupt, "the store has a malformed row; restore it from a copy")),
        }
    }

    pub(crate) fn seal(self) -> Vec<u8> {
        match self {
            Self::Short(value) => [&[SHORT], value].concat(),
            Self::Apart => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_what_it_was_made_of() {
        for len in [0, 1, SHORT_LEN] {
            let value = vec![7; len];
            assert_eq!(Row::open(&Row::of(&value).seal()).unwrap(), Row::Short(&value));
        }
        let value = vec![7; SHORT_LEN + 1];
        assert_eq!(Row::open(&Row::of(&value).seal()).unwrap(), Row::Apart);
        assert_eq!(Row::open(&[1]).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}
