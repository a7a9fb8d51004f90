//! `get`, `put`, `cas`, `rm` and `clear`: the operations on entries, as they are.

use clap::{ArgGroup, Args};
use irminsul::{Address, Bytes, Error, ErrorKind, Key, Registry, TestAndSet};
use serde::Serialize;

use crate::{
    failure::Failure,
    input::{self, Input},
    outcome::{Outcome, value_or_absent},
    output::Output,
    record::Value,
    store::{Missing, Store},
};

/// Write the value of a key to standard output, byte for byte; exit 1 if there is none
#[derive(Args)]
pub(crate) struct Get {
    /// The address of the store
    store: Address,
    /// Steps joined by `/`, at most 255 bytes
    key: Key,
}

impl Get {
    pub(crate) async fn run(self, registry: &Registry, output: &mut Output) -> Result<Outcome, Failure> {
        let store = Store::open(registry, &self.store, Missing::Refuse).await?;
        let value = store.entries()?.find(&self.key).await?;
        store.close().await?;
        value_or_absent(value, "the key has no entry", output)
    }
}

/// A key that an entry can have. The empty path is refused before a store is opened, and with that created (K3).
fn entry_key(path: &str) -> irminsul::Result<Key> {
    let key = Key::new(path)?;
    if key.is_root() {
        return Err(Error::new(ErrorKind::InvalidKey, "the empty path is no entry: give a key of one step or more"));
    }
    Ok(key)
}

/// Set a key to a value
#[derive(Args)]
pub(crate) struct Put {
    /// The address of the store; a store that is not there is created
    store: Address,
    /// Steps joined by `/`, at most 255 bytes
    #[arg(value_parser = entry_key)]
    key: Key,
    /// The value, or `-` to read it from standard input
    #[arg(allow_negative_numbers = true, conflicts_with = "file")]
    value: Option<String>,
    /// The file that holds the value
    #[arg(long)]
    file: Option<Input>,
}

impl Put {
    pub(crate) async fn run(self, registry: &Registry) -> Result<Outcome, Failure> {
        let value = match (self.value, self.file) {
            (Some(value), _) if value == "-" => Input::Stdin.read_value()?,
            (Some(value), _) => value.into(),
            (None, Some(file)) => file.read_value()?,
            (None, None) => {
                return Err(Failure::refused("no value: give VALUE, `-` to read standard input, or --file FILE"));
            }
        };
        let store = Store::open(registry, &self.store, Missing::Create).await?;
        store.entries()?.set(&self.key, value).await?;
        store.close().await?;
        Ok(Outcome::Fine)
    }
}

/// Set or remove a key if it is what it is tested for; else exit 1, with the current value on standard output
#[derive(Args)]
#[command(group(ArgGroup::new("tested").required(true).args(["test", "test_file", "absent"])))]
#[command(group(ArgGroup::new("wanted").required(true).args(["set", "set_file", "remove"])))]
pub(crate) struct Cas {
    /// The address of the store; with --absent, a store that is not there is created
    store: Address,
    /// Steps joined by `/`, at most 255 bytes
    #[arg(value_parser = entry_key)]
    key: Key,
    /// The value that the key must have
    #[arg(long, value_name = "V", allow_negative_numbers = true)]
    test: Option<String>,
    /// The file that holds the value that the key must have, or `-` for standard input
    #[arg(long, value_name = "FILE")]
    test_file: Option<Input>,
    /// The key must have no entry
    #[arg(long)]
    absent: bool,
    /// The value to set
    #[arg(long, value_name = "V", allow_negative_numbers = true)]
    set: Option<String>,
    /// The file that holds the value to set, or `-` for standard input
    #[arg(long, value_name = "FILE")]
    set_file: Option<Input>,
    /// Remove the entry
    #[arg(long)]
    remove: bool,
    /// Write the verdict as a line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Verdict {
    applied: bool,
    #[serde(flatten)]
    current: Option<Value>,
}

impl Cas {
    pub(crate) async fn run(self, registry: &Registry, output: &mut Output) -> Result<Outcome, Failure> {
        let missing = if self.absent { Missing::Create } else { Missing::Refuse };
        input::check(self.test_file.iter().chain(&self.set_file))?;
        let (test, set) = (side(self.test, self.test_file)?, side(self.set, self.set_file)?);
        let store = Store::open(registry, &self.store, missing).await?;
        let verdict = store.entries()?.test_and_set(&self.key, test, set).await?;
        store.close().await?;
        if self.json { tell_json(&verdict, output) } else { tell(&verdict, output) }
    }
}

/// One side of the comparison. With neither a value nor a file, the flag that clap asked for says that it is absent.
fn side(value: Option<String>, file: Option<Input>) -> Result<Option<Bytes>, Failure> {
    match file {
        Some(file) => file.read_value().map(Some),
        None => Ok(value.map(Bytes::from)),
    }
}

fn tell(verdict: &TestAndSet, output: &mut Output) -> Result<Outcome, Failure> {
    match verdict {
        TestAndSet::Applied => Ok(Outcome::Fine),
        TestAndSet::Mismatch { current: Some(value) } => output.raw(value).map(|()| Outcome::Negative),
        TestAndSet::Mismatch { current: None } => Ok(Outcome::absent("no match: the key has no entry")),
    }
}

fn tell_json(verdict: &TestAndSet, output: &mut Output) -> Result<Outcome, Failure> {
    let (outcome, current) = match verdict {
        TestAndSet::Applied => (Outcome::Fine, None),
        TestAndSet::Mismatch { current } => (Outcome::Negative, current.as_ref()),
    };
    output.json(&Verdict { applied: verdict.is_applied(), current: current.map(Value::from) })?;
    Ok(outcome)
}

/// Remove a key; one that has no entry is fine
#[derive(Args)]
pub(crate) struct Rm {
    /// The address of the store
    store: Address,
    /// Steps joined by `/`, at most 255 bytes
    #[arg(value_parser = entry_key)]
    key: Key,
}

impl Rm {
    pub(crate) async fn run(self, registry: &Registry) -> Result<Outcome, Failure> {
        let store = Store::open(registry, &self.store, Missing::Refuse).await?;
        store.entries()?.remove(&self.key).await?;
        store.close().await?;
        Ok(Outcome::Fine)
    }
}

/// Remove every entry; content stays
#[derive(Args)]
pub(crate) struct Clear {
    /// The address of the store
    store: Address,
    /// Confirm that every entry is to go
    #[arg(long)]
    yes: bool,
}

impl Clear {
    pub(crate) async fn run(self, registry: &Registry) -> Result<Outcome, Failure> {
        if !self.yes {
            return Err(Failure::refused("clear removes every entry of the store: confirm it with --yes"));
        }
        let store = Store::open(registry, &self.store, Missing::Refuse).await?;
        store.entries()?.clear().await?;
        store.close().await?;
        Ok(Outcome::Fine)
    }
}
