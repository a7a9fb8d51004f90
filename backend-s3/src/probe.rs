//! Whether the service keeps the promise that all rests on: a write takes place only if its condition holds.
//!
//! Some services take conditional writes and ignore the condition. Each open asks with an object of its own, in four PUT
//! and a DELETE: a note that a store was probed would say nothing about the service that answers today, since the same
//! objects may be reached by another endpoint, or by another version behind the same one. What is kept almost always, or
//! not under a race, no probe can tell: that is for the conformance suite.

use bytes::Bytes;
use store_api::{Error, ErrorKind, Result};

use crate::{
    client::{Client, Failure, FailureKind, Version},
    frame::random,
};

/// How often it asks when answers are lost.
const ATTEMPTS: u32 = 3;

enum Lack {
    /// A create must be refused where there is an object.
    Create,
    /// An update must be refused where the object has changed.
    Update,
    /// No answer, so that nothing is known.
    Answer(Failure),
}

/// Refuses a service that ignores conditions, naming the guarantee that is missing.
pub(crate) async fn check(client: &Client) -> Result<()> {
    let mut attempt = 1;
    loop {
        let name = format!("probe/{:032x}", u128::from_le_bytes(random()?));
        let asked = ask(client, &name).await;
        if let Err(failure) = client.delete(&name).await {
            tracing::warn!(object = name, ?failure, "an object that a probe made is left behind");
        }
        match asked {
            Ok(()) => return Ok(()),
            Err(Lack::Create) => return Err(lacking("a create only where there is no object (`If-None-Match: *`)")),
            Err(Lack::Update) => return Err(lacking("an update only of the version it names (`If-Match`)")),
            Err(Lack::Answer(failure)) if failure.kind != FailureKind::Ambiguous || attempt == ATTEMPTS => {
                return Err(failure.into());
            }
            Err(Lack::Answer(_)) => attempt += 1,
        }
    }
}

async fn ask(client: &Client, name: &str) -> Result<(), Lack> {
    let first = client.create(name, Bytes::from_static(b"first").into()).await;
    let first = first.map_err(|failure| lack_of(failure, Lack::Create))?;
    let again = client.create(name, Bytes::from_static(b"again").into()).await;
    is_refused(again, Lack::Create)?;
    let second = client.replace(name, Bytes::from_static(b"second").into(), &first).await;
    second.map_err(|failure| lack_of(failure, Lack::Update))?;
    let stale = client.replace(name, Bytes::from_static(b"stale").into(), &first).await;
    is_refused(stale, Lack::Update)
}

fn is_refused(answer: Result<Version, Failure>, lack: Lack) -> Result<(), Lack> {
    match answer {
        Ok(_) => Err(lack),
        Err(failure) if failure.kind == FailureKind::Refused => Ok(()),
        Err(failure) => Err(lack_of(failure, lack)),
    }
}

/// A service that does not know a condition at all may say so.
fn lack_of(failure: Failure, lack: Lack) -> Lack {
    if failure.kind == FailureKind::Unsupported { lack } else { Lack::Answer(failure) }
}

fn lacking(guarantee: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("the object store lacks a guarantee: {guarantee}; use a service that has conditional writes"),
    )
}
