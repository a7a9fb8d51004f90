//! Where an error came from: backend, operation, key.

use std::{fmt, path::Path};

use store_api::{Error, ErrorKind};

/// The name of a backend, to put into its errors.
///
/// ```
/// # use backend_kit::Context;
/// # use store_api::Error;
/// const SQLITE: Context = Context::new("sqlite");
/// let error = Err::<(), _>(Error::closed()).map_err(SQLITE.at("find", "a/b")).unwrap_err();
/// assert_eq!(error.to_string(), r#"sqlite find "a/b": the handle is closed; take another one, or open the store again if that was closed"#);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Context {
    backend: &'static str,
}

impl Context {
    /// The context of a backend with this name.
    #[must_use]
    pub const fn new(backend: &'static str) -> Self {
        Self { backend }
    }

    /// For errors of an operation.
    pub fn on(self, operation: &'static str) -> impl FnOnce(Error) -> Error {
        move |error| error.with_backend(self.backend).with_operation(operation)
    }

    /// For errors of an `open`: one that is about what was found names the path (E1); the others say what they are about.
    pub fn opening(self, path: Option<&Path>) -> impl FnOnce(Error) -> Error {
        move |error| {
            let error = self.on("open")(error);
            match (path, error.kind()) {
                (Some(path), ErrorKind::Corrupt | ErrorKind::Incompatible | ErrorKind::Other) => {
                    error.with_key(path.display())
                }
                _ => error,
            }
        }
    }

    /// For errors of an operation on a key.
    pub fn at<K: fmt::Display>(self, operation: &'static str, key: K) -> impl FnOnce(Error) -> Error {
        move |error| self.on(operation)(error).with_key(key)
    }
}
