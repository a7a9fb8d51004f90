//! Values that give themselves away, and the errors that must not show them (E1, E2).

use std::{error::Error as _, fmt::Display};

use bytes::Bytes;
use store_api::{Effect, Error, ErrorKind, Result};

/// Part of every value that is written here.
const SECRET: &str = "correct-horse-battery-staple";

/// A value, told apart from others by `text`.
pub(crate) fn value(text: impl Display) -> Bytes {
    format!("{SECRET} {text}").into()
}

/// The error of a call that must be refused with this kind, without effect. Nothing of it shows a value.
pub(crate) fn refused<T>(kind: ErrorKind, result: Result<T>) -> Error {
    let Err(error) = result else { panic!("it must be {kind:?}") };
    assert_eq!(error.kind(), kind, "{error:?}");
    assert_eq!(error.effect(), Effect::NotApplied, "A5: {error:?}");
    assert_eq!(error.backend(), Some("sqlite"), "E1: {error:?}");
    assert!(error.operation().is_some(), "E1: {error:?}");
    shows_no_value(&error);
    error
}

/// Checks an error with all that lies beneath it, as a log shows it (E2).
pub(crate) fn shows_no_value(error: &Error) {
    assert_eq!(error.to_string().lines().count(), 1, "E2: {error}");
    let mut shown = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(beneath) = source {
        shown = format!("{shown} {beneath} {beneath:?}");
        source = beneath.source();
    }
    assert!(!shown.contains("horse"), "E2: an error of kind {:?} shows a value", error.kind());
}
