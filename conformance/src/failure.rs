//! How a case ends when it does not pass, and the words that cases demand things with.

use std::{any::Any, fmt, panic::Location};

use serde::{Deserialize, Serialize};

use crate::{calls::StorePanicked, history::Witness};

/// What a case returns.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// Why a case stopped.
#[derive(Clone, Debug)]
pub(crate) struct Failure(Box<Inner>);

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Inner {
    pub(crate) kind: Kind,
    pub(crate) message: String,
    /// Where in the suite, so that a reader finds what was demanded.
    pub(crate) location: String,
    /// What led to it, such as the events of a watch: lines for people.
    pub(crate) details: String,
    #[serde(skip)]
    pub(crate) witness: Option<Witness>,
}

/// What its end says about the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// A clause is broken.
    Broken,
    /// The backend does not claim what the case is about.
    Unsupported,
    /// The equipment is missing here.
    Untested,
    /// Nothing was shown either way.
    Inconclusive,
    /// The suite, or the factory, is at fault.
    Harness,
}

impl Failure {
    #[track_caller]
    fn new(kind: Kind, message: impl fmt::Display) -> Self {
        let at = Location::caller();
        Self(Box::new(Inner {
            kind,
            message: message.to_string(),
            location: line_of(at),
            details: String::new(),
            witness: None,
        }))
    }

    #[track_caller]
    pub(crate) fn broken(message: impl fmt::Display) -> Self {
        Self::new(Kind::Broken, message)
    }

    #[track_caller]
    pub(crate) fn unsupported(reason: impl fmt::Display) -> Self {
        Self::new(Kind::Unsupported, reason)
    }

    #[track_caller]
    pub(crate) fn untested(reason: impl fmt::Display) -> Self {
        Self::new(Kind::Untested, reason)
    }

    #[track_caller]
    pub(crate) fn inconclusive(reason: impl fmt::Display) -> Self {
        Self::new(Kind::Inconclusive, reason)
    }

    #[track_caller]
    pub(crate) fn harness(fault: impl fmt::Display) -> Self {
        Self::new(Kind::Harness, fault)
    }

    /// A thread or a case that panicked: the store's fault (E1) where a call to it did, else the suite's own.
    #[track_caller]
    pub(crate) fn of_panic(panic: &(dyn Any + Send)) -> Self {
        match panic.downcast_ref::<StorePanicked>() {
            Some(store) => Self::broken(format_args!("E1: a panic: {store}")),
            None => Self::harness(format_args!("the suite panicked: {}", panic_message(panic))),
        }
    }

    /// The same, demanded elsewhere.
    pub(crate) fn at(mut self, place: &Location<'_>) -> Self {
        self.0.location = line_of(place);
        self
    }

    /// With lines that show what led to it.
    pub(crate) fn with_details(mut self, details: impl fmt::Display) -> Self {
        self.0.details = details.to_string();
        self
    }

    /// With lines in front of those that show what led to it.
    pub(crate) fn preceded_by(mut self, details: impl fmt::Display) -> Self {
        self.0.details = format!("{details}\n{}", self.0.details);
        self
    }

    /// With the shortest history that is impossible.
    pub(crate) fn with_witness(mut self, witness: Witness) -> Self {
        self.0.witness = Some(witness);
        self
    }

    /// With what the case was about when it happened.
    pub(crate) fn within(mut self, context: impl fmt::Display) -> Self {
        self.0.message = format!("{context}: {}", self.0.message);
        self
    }

    /// As a line that another process understands, without its witness.
    pub(crate) fn to_line(&self) -> String {
        serde_json::to_string(&*self.0).expect("texts")
    }

    /// What [`to_line`](Self::to_line) gave in another process.
    pub(crate) fn from_line(line: &str) -> Option<Self> {
        let inner: Inner = serde_json::from_str(line).ok()?;
        Some(Self(Box::new(inner)).within("in another process"))
    }

    pub(crate) fn kind(&self) -> Kind {
        self.0.kind
    }

    pub(crate) fn into_inner(self) -> Inner {
        *self.0
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

fn line_of(place: &Location<'_>) -> String {
    format!("{}:{}", place.file(), place.line())
}

/// What is demanded on the way is said to be demanded where this is called.
#[track_caller]
pub(crate) fn demanded_here<T>(demand: impl Future<Output = Outcome<T>>) -> impl Future<Output = Outcome<T>> {
    let here = Location::caller();
    async move { demand.await.map_err(|failure| failure.at(here)) }
}

/// An error of the store where none is due. That it cannot answer at present breaks no clause (A6): a lost connection
/// passes, and what it kept from being asked is not known.
impl From<store_api::Error> for Failure {
    #[track_caller]
    fn from(error: store_api::Error) -> Self {
        let failure = if error.is_retryable() {
            Self::inconclusive(format_args!("the store could not answer: {error}"))
        } else {
            Self::broken(format_args!("an error where none is due: {error}"))
        };
        failure.with_details(format_args!("{error:#?}"))
    }
}

/// A client's thread that panicked, or was given up.
impl From<tokio::task::JoinError> for Failure {
    #[track_caller]
    fn from(error: tokio::task::JoinError) -> Self {
        match error.try_into_panic() {
            Ok(panic) => Self::of_panic(&*panic),
            Err(error) => Self::harness(error),
        }
    }
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

/// Demands a condition of the backend.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::failure::Failure::broken(format_args!($($message)+)));
        }
    };
}

/// Demands that the backend gave what is due: `ensure_eq!(given, due, "message")`.
macro_rules! ensure_eq {
    ($given:expr, $due:expr, $($message:tt)+) => {
        match (&$given, &$due) {
            (given, due) => {
                if *given != *due {
                    return Err($crate::failure::Failure::broken(format_args!(
                        "{}: {} where {} is due",
                        format_args!($($message)+),
                        $crate::show::shown(given),
                        $crate::show::shown(due),
                    )));
                }
            }
        }
    };
}

/// Demands an error of a kind, and gives it: `expect_error!(result, Closed, "message")`. That the store cannot answer at
/// present breaks no clause here either.
macro_rules! expect_error {
    ($result:expr, $kind:ident, $($message:tt)+) => {
        match $result {
            Err(error) if error.kind() == ::store_api::ErrorKind::$kind => error,
            Err(error) if error.is_retryable() => return Err($crate::failure::Failure::from(error)),
            Err(error) => {
                return Err($crate::failure::Failure::broken(format_args!(
                    "{}: `{:?}` where `{}` is due: {error}",
                    format_args!($($message)+),
                    error.kind(),
                    stringify!($kind),
                )));
            }
            Ok(_) => {
                return Err($crate::failure::Failure::broken(format_args!(
                    "{}: an answer where the error `{}` is due",
                    format_args!($($message)+),
                    stringify!($kind),
                )));
            }
        }
    };
}

pub(crate) use {ensure, ensure_eq, expect_error};

#[cfg(test)]
mod tests {
    use store_api::{Error, ErrorKind};

    use super::*;

    #[test]
    fn a_store_that_cannot_answer_at_present_breaks_no_clause() {
        let kind = |kind| Failure::from(Error::new(kind, "an error")).kind();
        assert_eq!(kind(ErrorKind::Unavailable), Kind::Inconclusive);
        assert_eq!(kind(ErrorKind::Timeout), Kind::Inconclusive);
        assert_eq!(kind(ErrorKind::Other), Kind::Broken);
    }

    #[test]
    fn nor_does_one_that_cannot_answer_where_an_error_is_due() {
        let demanded = |kind| {
            expect_error!(Err::<(), _>(Error::new(kind, "an error")), Closed, "a write");
            Ok(())
        };
        let kind = |kind| demanded(kind).expect_err("it must not pass").kind();
        assert!(demanded(ErrorKind::Closed).is_ok());
        assert_eq!(kind(ErrorKind::Unavailable), Kind::Inconclusive);
        assert_eq!(kind(ErrorKind::Timeout), Kind::Inconclusive);
        assert_eq!(kind(ErrorKind::Other), Kind::Broken);
    }
}
