//! The one error of all backends: what to do, whether a write may have happened, and where it came from.

use std::{borrow::Cow, error, fmt, sync::Arc};

/// What went wrong, named for what the caller can do about it (E1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The handle, its store or the batch was closed. Take another handle from the store; where the store was closed, open
    /// it again (L1).
    Closed,
    /// The key is not valid, or is the empty path where an entry is meant. Change the key (K1, K3).
    InvalidKey,
    /// The value or the batch is larger than the store takes. Split it (V1, I7).
    ValueTooLarge,
    /// An argument, an option or an address is wrong. The message says what is expected.
    InvalidInput,
    /// The store can be read, not written. Check the file system and the permissions.
    ReadOnly,
    /// Another instance holds the store, and the engine allows one. Close the other, or wait for it (L4).
    InUse,
    /// The store has another format or hash function than asked for. Open it as what it is (L5).
    Incompatible,
    /// The store cannot answer at present: a busy lock, a lost connection. The same call may succeed later (A6).
    Unavailable,
    /// The store did not answer in time. The same call may succeed later.
    Timeout,
    /// The system or the service refuses the access. Check the permissions or the credentials.
    Denied,
    /// No space is left. Make room on the disk by other means, since to remove entries needs some as well; then go on.
    NoSpace,
    /// Stored bytes do not match their checksum or hash. Restore them from a copy (A12, I6).
    Corrupt,
    /// A sync failed, so nothing more can be acknowledged. Open the store again (E3).
    Poisoned,
    /// What is asked for cannot be had here. The message says what is missing, and what to do: enable a cargo feature, call
    /// from within a tokio runtime, raise a limit, or use a file system, a service or an engine that has the ability.
    Unsupported,
    /// Anything else: look at the source.
    Other,
}

/// Whether a failed write may have happened (A5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// It did not happen and will not. For a read there is nothing that could.
    NotApplied,
    /// It may have happened, or may still. Read before deciding what to do.
    Unknown,
}

/// A `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of a store: a [kind](ErrorKind), an [effect](Effect), and the context.
///
/// `Display` is one line; neither it nor `Debug` shows a value or a credential (E2). What lies beneath is the
/// [`source`](error::Error::source). Clones share it. `Debug` is the line with the kind and the sources, for what `main`
/// returns and what `unwrap` tells; `{:#?}` has the fields.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    effect: Effect,
    message: Cow<'static, str>,
    operation: Option<&'static str>,
    backend: Option<&'static str>,
    key: Option<Box<str>>,
    source: Option<Arc<dyn error::Error + Send + Sync>>,
}

impl Error {
    /// An error that had no effect. The message says what is wrong and what to do, in one line, without any value.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            effect: Effect::NotApplied,
            message: message.into(),
            operation: None,
            backend: None,
            key: None,
            source: None,
        }))
    }

    /// `Closed`, without effect: what a closed handle answers (L1).
    #[must_use]
    pub fn closed() -> Self {
        Self::new(
            ErrorKind::Closed,
            "the handle is closed; take another one, or open the store again if that was closed",
        )
    }

    /// Says whether the write may have happened (A5).
    #[must_use]
    pub fn with_effect(mut self, effect: Effect) -> Self {
        self.0.effect = effect;
        self
    }

    /// Names the operation, such as `test_and_set`. The innermost name stays.
    #[must_use]
    pub fn with_operation(mut self, operation: &'static str) -> Self {
        self.0.operation.get_or_insert(operation);
        self
    }

    /// Names the backend, such as `sqlite`. The innermost name stays.
    #[must_use]
    pub fn with_backend(mut self, backend: &'static str) -> Self {
        self.0.backend.get_or_insert(backend);
        self
    }

    /// Names the key. The innermost name stays.
    #[must_use]
    pub fn with_key(mut self, key: impl fmt::Display) -> Self {
        if self.0.key.is_none() {
            self.0.key = Some(key.to_string().into());
        }
        self
    }

    /// Names another key than it did: for a wrapper whose keys are not those of the store inside.
    #[must_use]
    pub fn with_key_replaced(mut self, key: impl fmt::Display) -> Self {
        self.0.key = Some(key.to_string().into());
        self
    }

    /// Keeps what lies beneath. It must not show a value or a credential (E2).
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(Arc::from(source.into()));
        self
    }

    /// What went wrong, and so what to do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the write may have happened (A5).
    #[must_use]
    pub fn effect(&self) -> Effect {
        self.0.effect
    }

    /// Whether the same call may succeed later, with nothing changed: `Unavailable` and `Timeout`. For a write whose
    /// [`effect`](Self::effect) is `Unknown`, repeating may apply it a second time, around another's write.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind(), ErrorKind::Unavailable | ErrorKind::Timeout)
    }

    /// The operation that failed, such as `test_and_set`.
    #[must_use]
    pub fn operation(&self) -> Option<&'static str> {
        self.0.operation
    }

    /// The backend that failed, such as `sqlite`.
    #[must_use]
    pub fn backend(&self) -> Option<&'static str> {
        self.0.backend
    }

    /// The key, path or hash that it was about.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.0.key.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        let mut context = false;
        for name in [inner.backend, inner.operation].into_iter().flatten() {
            write!(f, "{}{name}", if context { " " } else { "" })?;
            context = true;
        }
        if let Some(key) = &inner.key {
            // Escaped, since a key may hold line breaks and the display is one line.
            write!(f, "{}\"{}\"", if context { " " } else { "" }, key.escape_debug())?;
            context = true;
        }
        write!(f, "{}{}", if context { ": " } else { "" }, inner.message)?;
        if inner.effect == Effect::Unknown {
            f.write_str(" (the write may have happened)")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        if f.alternate() {
            return f
                .debug_struct("Error")
                .field("kind", &inner.kind)
                .field("effect", &inner.effect)
                .field("backend", &inner.backend)
                .field("operation", &inner.operation)
                .field("key", &inner.key)
                .field("message", &inner.message)
                .field("source", &inner.source.as_ref().map(ToString::to_string))
                .finish();
        }
        write!(f, "{:?}: {self}", inner.kind)?;
        let mut beneath = error::Error::source(self);
        while let Some(source) = beneath {
            // A source of another crate may have more than one line.
            write!(f, ": {}", source.to_string().escape_debug())?;
            beneath = source.source();
        }
        Ok(())
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn e2_display_is_one_line() {
        let error = Error::new(ErrorKind::NoSpace, "no space is left")
            .with_key("a\nb")
            .with_operation("set")
            .with_operation("outer")
            .with_backend("sqlite")
            .with_effect(Effect::Unknown);
        assert_eq!(error.to_string(), r#"sqlite set "a\nb": no space is left (the write may have happened)"#);
        assert_eq!(
            Error::closed().to_string(),
            "the handle is closed; take another one, or open the store again if that was closed"
        );
    }

    #[test]
    fn debug_is_the_line_with_its_kind_and_what_lies_beneath() {
        let source = Error::new(ErrorKind::Other, "beneath").with_source("the\nsystem");
        let error = Error::new(ErrorKind::NoSpace, "no space is left").with_backend("sqlite").with_source(source);
        assert_eq!(format!("{error:?}"), r"NoSpace: sqlite: no space is left: beneath: the\nsystem");
        assert!(format!("{error:#?}").contains("effect: NotApplied"));
    }

    #[test]
    fn a_wrapper_names_its_own_key() {
        let error = Error::new(ErrorKind::Corrupt, "damaged").with_key("prefix/a").with_key("b").with_key_replaced("a");
        assert_eq!(error.key(), Some("a"));
    }

    #[test]
    fn a_clone_keeps_the_source() {
        let error = Error::new(ErrorKind::Other, "reading failed").with_source("beneath");
        assert_eq!(error.clone().source().unwrap().to_string(), "beneath");
    }

    #[test]
    fn only_what_may_pass_by_itself_is_retryable() {
        assert!(Error::new(ErrorKind::Unavailable, "busy").is_retryable());
        assert!(Error::new(ErrorKind::Timeout, "late").is_retryable());
        assert!(!Error::new(ErrorKind::NoSpace, "full").is_retryable());
    }
}
