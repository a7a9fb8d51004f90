//! Keys: paths of steps, checked once when they are made (K1, K3).

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use crate::{Error, ErrorKind, Result};

/// A path: UTF-8 steps joined by `/`, at most [`Key::MAX_LEN`] bytes together.
///
/// A `Key` that exists is valid (K1): none of its steps is empty, so `a//b`, `/a` and `a/` are refused when it is made.
/// Any other character is allowed, `..`, `%`, spaces and control characters among them (K2). The empty path exists and
/// names the whole store: it is a scope, not an entry (K3).
///
/// Cloning is one reference count. The order is that of the bytes.
///
/// ```
/// use store_api::Key;
///
/// let key = Key::new("users/42/name")?;
/// assert_eq!(key.steps().collect::<Vec<_>>(), ["users", "42", "name"]);
/// assert!(Key::new("users")?.covers(&key));
/// assert!(!Key::new("user")?.covers(&key));
/// assert!(Key::new("users//42").is_err());
/// # Ok::<(), store_api::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// The longest key, in bytes (K1).
    pub const MAX_LEN: usize = 255;

    /// Makes a key from a path. The empty path gives [`Key::root`].
    ///
    /// # Errors
    ///
    /// `InvalidKey` when the path is longer than [`Key::MAX_LEN`] bytes or has an empty step (K1).
    pub fn new(path: impl AsRef<str>) -> Result<Self> {
        let path = path.as_ref();
        if path.len() > Self::MAX_LEN {
            return Err(too_long(path.len()));
        }
        if has_empty_step(path) {
            return Err(Error::new(
                ErrorKind::InvalidKey,
                "a key has no empty step: no leading, trailing or doubled `/`",
            )
            .with_key(path));
        }
        Ok(Self(path.into()))
    }

    /// The empty path: as a scope it means the whole store, as an entry it is never there (K3).
    #[must_use]
    pub fn root() -> Self {
        Self(Arc::from(""))
    }

    /// Whether this is the empty path.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The path as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The steps, first to last. The empty path has none.
    #[must_use]
    pub fn steps(&self) -> Steps<'_> {
        Steps { rest: (!self.is_root()).then(|| self.as_str()) }
    }

    /// The path without its last step, or `None` for the empty path.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.ancestors().nth(1).map(|path| Self(path.into()))
    }

    /// Every scope that covers this key, as paths: the key itself first, the empty path last.
    ///
    /// ```
    /// # use store_api::Key;
    /// assert_eq!(Key::new("a/b/c")?.ancestors().collect::<Vec<_>>(), ["a/b/c", "a/b", "a", ""]);
    /// # Ok::<(), store_api::Error>(())
    /// ```
    #[must_use]
    pub fn ancestors(&self) -> Ancestors<'_> {
        Ancestors { next: Some(self.as_str()) }
    }

    /// This path with `path` below it.
    ///
    /// # Errors
    ///
    /// `InvalidKey` when `path` is not a key, or both together are too long (K1).
    pub fn join(&self, path: impl AsRef<str>) -> Result<Self> {
        self.join_key(&Self::new(path)?)
    }

    /// [`join`](Self::join), of a path that is known to be a key.
    ///
    /// # Errors
    ///
    /// `InvalidKey` when both together are too long (K1).
    pub fn join_key(&self, key: &Key) -> Result<Self> {
        match (self.is_root(), key.is_root()) {
            (true, _) => Ok(key.clone()),
            (_, true) => Ok(self.clone()),
            _ => {
                let path = [self.as_str(), "/", key.as_str()].concat();
                if path.len() > Self::MAX_LEN { Err(too_long(path.len())) } else { Ok(Self(path.into())) }
            }
        }
    }

    /// Whether `key` is this path or below it, counted in whole steps: `a` covers `a` and `a/b`, not `ab` (W12).
    #[must_use]
    pub fn covers(&self, key: &Key) -> bool {
        self.rest_of(key).is_some()
    }

    /// What is left of this key below `scope`, or `None` when `scope` does not cover it.
    #[must_use]
    pub fn strip_prefix(&self, scope: &Key) -> Option<Self> {
        if scope.is_root() {
            return Some(self.clone());
        }
        scope.rest_of(self).map(|rest| Self(rest.into()))
    }

    fn rest_of<'k>(&self, key: &'k Key) -> Option<&'k str> {
        let rest = key.as_str().strip_prefix(self.as_str())?;
        if self.is_root() || rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
    }
}

fn too_long(len: usize) -> Error {
    Error::new(ErrorKind::InvalidKey, format!("a key of {len} bytes is longer than the {} allowed", Key::MAX_LEN))
}

fn has_empty_step(path: &str) -> bool {
    let bytes = path.as_bytes();
    matches!(bytes, [b'/', ..] | [.., b'/']) || bytes.windows(2).any(|pair| pair == b"//")
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?})", &*self.0)
    }
}

// `Hash`, `Eq` and `Ord` are those of the path, so that a map of keys can be asked with a `&str`.
impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for Key {
    type Err = Error;

    fn from_str(path: &str) -> Result<Self> {
        Self::new(path)
    }
}

impl TryFrom<&str> for Key {
    type Error = Error;

    fn try_from(path: &str) -> Result<Self> {
        Self::new(path)
    }
}

impl TryFrom<String> for Key {
    type Error = Error;

    fn try_from(path: String) -> Result<Self> {
        Self::new(path)
    }
}

/// The steps of a [`Key`], first to last.
#[derive(Clone, Debug)]
pub struct Steps<'k> {
    rest: Option<&'k str>,
}

impl<'k> Iterator for Steps<'k> {
    type Item = &'k str;

    fn next(&mut self) -> Option<&'k str> {
        let rest = self.rest?;
        let (step, rest) = match rest.split_once('/') {
            Some((step, rest)) => (step, Some(rest)),
            None => (rest, None),
        };
        self.rest = rest;
        Some(step)
    }
}

/// The scopes that cover a [`Key`], longest first.
#[derive(Clone, Debug)]
pub struct Ancestors<'k> {
    next: Option<&'k str>,
}

impl<'k> Iterator for Ancestors<'k> {
    type Item = &'k str;

    fn next(&mut self) -> Option<&'k str> {
        let path = self.next?;
        self.next = match path.rfind('/') {
            Some(slash) => Some(&path[..slash]),
            None if path.is_empty() => None,
            None => Some(""),
        };
        Some(path)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(path: &str) -> Key {
        Key::new(path).unwrap()
    }

    #[test]
    fn k1_empty_steps_and_long_paths_are_refused() {
        for path in ["/", "a//b", "/a", "a/", "//"] {
            assert_eq!(Key::new(path).unwrap_err().kind(), ErrorKind::InvalidKey, "{path:?}");
        }
        assert!(Key::new("x".repeat(Key::MAX_LEN)).is_ok());
        assert_eq!(Key::new("x".repeat(Key::MAX_LEN + 1)).unwrap_err().kind(), ErrorKind::InvalidKey);
    }

    #[test]
    fn k2_any_other_character_is_allowed() {
        for path in ["..", ".", "%", "%2F", "a b", "a\0b", "\n", "\u{1F984}", "A", "a"] {
            assert_eq!(key(path).as_str(), path);
        }
    }

    #[test]
    fn k3_the_root_covers_everything_and_has_no_steps() {
        assert!(Key::root().covers(&key("a/b")));
        assert!(Key::root().covers(&Key::root()));
        assert_eq!(Key::root().steps().count(), 0);
        assert_eq!(Key::new("").unwrap(), Key::root());
        assert_eq!(Key::root().parent(), None);
    }

    #[test]
    fn w12_a_scope_covers_whole_steps() {
        assert!(key("a").covers(&key("a")));
        assert!(key("a").covers(&key("a/b")));
        assert!(!key("a").covers(&key("ab")));
        assert!(!key("a/b").covers(&key("a")));
        assert!(!key("a").covers(&Key::root()));
    }

    proptest! {
        #[test]
        fn join_and_strip_prefix_are_inverse(scope in "([a-z%. ]{1,6}(/[a-z%. ]{1,6}){0,3})?", below in "[a-z%. ]{1,6}(/[a-z]{1,6}){0,3}") {
            let (scope, below) = (key(&scope), key(&below));
            let joined = scope.join(&below).unwrap();
            prop_assert!(scope.covers(&joined));
            prop_assert_eq!(joined.strip_prefix(&scope), Some(below));
            prop_assert!(joined.ancestors().any(|path| path == scope.as_str()));
            prop_assert_eq!(joined.steps().collect::<Vec<_>>().join("/"), joined.as_str());
        }
    }
}
