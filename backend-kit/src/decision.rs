//! What a write does to an entry, given what is there (A2, A3).

use std::fmt;

use bytes::Bytes;

use crate::OFFLOAD_LEN;

/// What a write asks of the current value.
#[derive(Clone)]
pub enum Test {
    /// Nothing: a `set` or a `remove`.
    Any,
    /// That it is this one; `None` is absent.
    Is(Option<Bytes>),
}

impl Test {
    /// Whether a write with this test leaves the async worker: comparing or copying takes long.
    #[must_use]
    pub fn is_long(&self, set: Option<&Bytes>) -> bool {
        let long = |value: &Bytes| value.len() > OFFLOAD_LEN;
        set.is_some_and(long) || matches!(self, Self::Is(Some(test)) if long(test))
    }

    /// How many bytes of values a write with this test holds.
    #[must_use]
    pub fn bytes(&self, set: Option<&Bytes>) -> usize {
        let test = if let Self::Is(test) = self { test.as_ref() } else { None };
        test.into_iter().chain(set).map(Bytes::len).sum()
    }
}

// The value is the application's (E2).
impl fmt::Debug for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "Any",
            Self::Is(None) => "Is(absent)",
            Self::Is(Some(_)) => "Is(..)",
        })
    }
}

/// What a write does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The current value is not the one asked for.
    Mismatch,
    /// What is to be set is there already.
    Unchanged,
    /// The entry is set or removed.
    Replace,
}

impl Decision {
    /// The one for a write on an entry with this value.
    #[must_use]
    pub fn of(test: &Test, current: Option<&[u8]>, set: Option<&[u8]>) -> Self {
        match test {
            Test::Is(test) if test.as_deref() != current => Self::Mismatch,
            _ if set == current => Self::Unchanged,
            _ => Self::Replace,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a2_a3_the_truth_table() {
        let values = [None, Some(&b""[..]), Some(b"a"), Some(b"b")];
        for current in values {
            for set in values {
                let written = if set == current { Decision::Unchanged } else { Decision::Replace };
                assert_eq!(Decision::of(&Test::Any, current, set), written);
                for test in values {
                    let expected = if test == current { written } else { Decision::Mismatch };
                    assert_eq!(Decision::of(&Test::Is(test.map(Bytes::from_static)), current, set), expected);
                }
            }
        }
    }
}
