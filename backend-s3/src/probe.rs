//! Whether the service keeps the promise that all rests on: a write takes place if its condition holds, and only then.
//!
//! Some services take conditional writes and ignore the condition, or refuse them all. Each open asks with an object of
//! its own, in four PUT and a DELETE: a note that a store was probed would say nothing about the service that answers
//! today, since the same objects may be reached by another endpoint, or by another version behind the same one. What is
//! kept almost always, or not under a race, no probe can tell: that is for the conformance suite.

use bytes::Bytes;
use store_api::{Error, ErrorKind, Result};

use crate::{
    client::{Client, Failure, FailureKind, Version, back_off},
    frame::random,
};

/// Where its objects are. Their names end with 32 hexadecimal digits.
const FOLDER: &str = "probe/";

/// How often it asks when answers are lost, or are those of contention.
const ATTEMPTS: u32 = 3;

/// What is missing, in the words of the error.
const CREATE: &str = "a create where there is no object (`If-None-Match: *`)";
const CREATE_ONLY: &str = "a create only where there is no object (`If-None-Match: *`)";
const UPDATE: &str = "an update of the current version (`If-Match`)";
const UPDATE_ONLY: &str = "an update only of the version it names (`If-Match`)";

enum Lack {
    /// A write took place whose condition does not hold, or the service says that it has no such write.
    Of(&'static str),
    /// A write was refused whose condition holds: by a service that refuses each, or one that something on the way sent
    /// twice.
    Refused(&'static str),
    /// No answer, or contention that the service has inside, so that nothing is known.
    Answer(Failure),
}

impl Lack {
    /// Whether the service may show none when it is asked again.
    fn is_passing(&self) -> bool {
        match self {
            Self::Of(_) => false,
            Self::Refused(_) => true,
            Self::Answer(failure) => matches!(failure.kind, FailureKind::Ambiguous | FailureKind::Conflict),
        }
    }

    fn into_error(self) -> Error {
        match self {
            Self::Of(guarantee) | Self::Refused(guarantee) => lacking(guarantee),
            Self::Answer(failure) => failure.into(),
        }
    }
}

/// Refuses a service that ignores conditions, or holds none to be kept, naming the guarantee that is missing.
pub(crate) async fn check(client: &Client) -> Result<()> {
    let mut attempt = 1;
    loop {
        let name = object_of(u128::from_le_bytes(random()?));
        let asked = ask(client, &name).await;
        if let Err(failure) = client.delete(&name).await {
            tracing::warn!(object = name, ?failure, "an object that a probe made is left behind");
        }
        match asked {
            Ok(()) => return Ok(()),
            Err(lack) if attempt == ATTEMPTS || !lack.is_passing() => return Err(lack.into_error()),
            Err(_) => back_off(attempt).await,
        }
        attempt += 1;
    }
}

fn object_of(number: u128) -> String {
    format!("{FOLDER}{number:032x}")
}

/// Whether this is the name of an object that a probe makes.
pub(crate) fn is_object(name: &str) -> bool {
    let number = name.strip_prefix(FOLDER).and_then(|digits| u128::from_str_radix(digits, 16).ok());
    number.is_some_and(|number| object_of(number) == name)
}

async fn ask(client: &Client, name: &str) -> Result<(), Lack> {
    let first = takes_place(client.create(name, Bytes::from_static(b"first").into()).await, CREATE)?;
    is_refused(client.create(name, Bytes::from_static(b"again").into()).await, CREATE_ONLY)?;
    takes_place(client.replace(name, Bytes::from_static(b"second").into(), &first).await, UPDATE)?;
    is_refused(client.replace(name, Bytes::from_static(b"stale").into(), &first).await, UPDATE_ONLY)
}

fn takes_place(answer: Result<Version, Failure>, guarantee: &'static str) -> Result<Version, Lack> {
    answer.map_err(|failure| match failure.kind {
        FailureKind::Refused => Lack::Refused(guarantee),
        _ => lack_of(failure, guarantee),
    })
}

fn is_refused(answer: Result<Version, Failure>, guarantee: &'static str) -> Result<(), Lack> {
    match answer {
        Ok(_) => Err(Lack::Of(guarantee)),
        Err(failure) if failure.is_refusal() => Ok(()),
        Err(failure) => Err(lack_of(failure, guarantee)),
    }
}

/// A service that does not know a condition at all may say so.
fn lack_of(failure: Failure, guarantee: &'static str) -> Lack {
    if failure.kind == FailureKind::Unsupported { Lack::Of(guarantee) } else { Lack::Answer(failure) }
}

fn lacking(guarantee: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("the object store lacks a guarantee: {guarantee}; use a service that has conditional writes"),
    )
}
