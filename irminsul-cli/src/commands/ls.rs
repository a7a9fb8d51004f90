//! `ls`: the keys of a store, as they come.

use std::fmt;

use clap::Args;
use futures_util::{Stream, StreamExt};
use irminsul::{Address, Bytes, EntryRead, Key, Registry};
use serde::Serialize;

use crate::{
    failure::{Failure, note, with_causes},
    outcome::Outcome,
    output::{Output, printable},
    store::{Missing, Store},
};

/// List the keys at and below a path, in no particular order
///
/// Control characters and backslashes in a key are written escaped; with --json, keys are exact.
#[derive(Args)]
pub(crate) struct Ls {
    /// The address of the store
    store: Address,
    /// Only the keys at and below this path
    #[arg(default_value = "", hide_default_value = true)]
    under: Key,
    /// With the size of each value, in bytes
    #[arg(short, long)]
    long: bool,
    /// An object of JSON per line
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Line {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<usize>,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(bytes) = self.bytes {
            write!(f, "{bytes:>10} ")?;
        }
        f.write_str(&printable(&self.key))
    }
}

impl Ls {
    pub(crate) async fn run(self, registry: &Registry, output: &mut Output) -> Result<Outcome, Failure> {
        let store = Store::open(registry, &self.store, Missing::Refuse).await?;
        let lines = lines(&*store.entries()?, &self.under, self.long);
        let outcome = print(lines, output, self.json).await?;
        store.close().await?;
        Ok(outcome)
    }
}

fn lines(entries: &dyn EntryRead, under: &Key, long: bool) -> impl Stream<Item = irminsul::Result<Line>> + use<> {
    if long {
        let line = |(key, value): (Key, Bytes)| Line { key: key.to_string(), bytes: Some(value.len()) };
        entries.entries(under).map(move |entry| entry.map(line)).left_stream()
    } else {
        let line = |key: Key| Line { key: key.to_string(), bytes: None };
        entries.list(under).map(move |key| key.map(line)).right_stream()
    }
}

/// An error can be about one entry, with more behind it: it is told, and the listing goes on for as long as the stream.
async fn print(
    mut lines: impl Stream<Item = irminsul::Result<Line>> + Unpin,
    output: &mut Output,
    json: bool,
) -> Result<Outcome, Failure> {
    let mut outcome = Outcome::Fine;
    while let Some(line) = lines.next().await {
        match line {
            Ok(line) => output.record(&line, json)?,
            Err(error) => {
                note(&with_causes(&error));
                outcome = Outcome::Incomplete;
            }
        }
    }
    Ok(outcome)
}
