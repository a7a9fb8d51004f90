//! What is measured: a subject opens stores, a store has clients, a client does one thing after another. How clients are
//! driven, and what they do, is left to the driver and the workloads.

use std::{
    future::{Future, ready},
    path::Path,
};

use bytes::Bytes;
use serde::Serialize;
use store_api::{ContentKey, Durability, Error, ErrorKind, Key, Result, TestAndSet, Visibility};

/// Something that keeps entries, of whatever make: a backend, a raw engine, a peer.
pub trait Subject: Send + Sync {
    /// What it opens.
    type Store: Store;

    /// What a reader has to know of its rows.
    fn facts(&self) -> Facts;

    /// Opens the store whose files are in a directory, which is there; the first time it is empty.
    fn open(&self, place: &Path) -> impl Future<Output = Result<Self::Store>> + Send;
}

/// An open store.
pub trait Store: Send + Sync + 'static {
    /// What one client of it is.
    type Client: Client;

    /// How its clients wait.
    const DRIVEN: Driven;

    /// A further client.
    fn client(&self) -> Result<Self::Client>;

    /// Sets these entries as fast as it can. They are as durable as any other when it returns.
    fn fill(&self, entries: Vec<(Key, Bytes)>) -> impl Future<Output = Result<()>> + Send;

    /// Lets go of the files.
    fn close(self) -> impl Future<Output = Result<()>> + Send;
}

/// How the clients of a store wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driven {
    /// Each client is a task of the runtime.
    Tasks,
    /// A call blocks: each client is a thread. Its futures are ready when they are first polled.
    Threads,
}

/// One who uses a store, one operation after another, under the clauses A1 to A4.
pub trait Client: Send + 'static {
    /// What was found, as the engine hands it out.
    type Value: AsRef<[u8]> + Send;

    /// The value of a key.
    fn find(&mut self, key: &Key) -> impl Future<Output = Result<Option<Self::Value>>> + Send;

    /// Sets a key.
    fn set(&mut self, key: &Key, value: Bytes) -> impl Future<Output = Result<()>> + Send;

    /// Sets a key that has this value.
    fn test_and_set(
        &mut self,
        key: &Key,
        test: Option<Bytes>,
        set: Option<Bytes>,
    ) -> impl Future<Output = Result<TestAndSet>> + Send;

    /// Reads the entries below a key, and says how many they are; `Unsupported` where the engine has no ranges.
    fn scan(&mut self, under: &Key) -> impl Future<Output = Result<usize>> + Send;

    /// Adds content. `Unsupported` by default: the engine keeps none under its hash.
    fn add(&mut self, value: Bytes) -> impl Future<Output = Result<ContentKey>> + Send {
        let _ = value;
        ready(Err(no_content()))
    }

    /// The content of a key. `Unsupported` by default.
    fn find_content(&mut self, key: &ContentKey) -> impl Future<Output = Result<Option<Self::Value>>> + Send {
        let _ = key;
        ready(Err(no_content()))
    }
}

pub(crate) fn no_content() -> Error {
    Error::new(ErrorKind::Unsupported, "it keeps no content under its hash")
}

/// What a reader has to know of the rows of a subject.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    /// Its name, of which there is one in a report.
    pub name: String,
    /// What its rows are there for.
    pub role: Role,
    /// What an acknowledged write survives.
    #[serde(serialize_with = "as_text")]
    pub durability: Durability,
    /// Who sees a write, where the store says it.
    #[serde(serialize_with = "as_text_if_known")]
    pub visibility: Option<Visibility>,
    /// How much of what was read or written it keeps in memory.
    pub cache: String,
    /// The version of the engine.
    pub version: String,
    /// How its clients wait.
    pub driven: Driven,
    /// The name of the subject that does the same work without the contract, where there is one.
    pub beside: Option<String>,
    /// What else makes its rows differ from the others of a table.
    pub note: Option<String>,
}

/// What the rows of a subject are there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A backend: what it costs to keep the contract.
    Ours,
    /// The engine below a backend, driven as well as one can.
    Raw,
    /// Something else that one could use instead.
    Peer,
    /// A store that does nothing: the cost of measuring.
    Floor,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde hands over")]
fn as_text<S: serde::Serializer>(level: &Durability, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(level)
}

#[expect(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "what serde hands over")]
fn as_text_if_known<S: serde::Serializer>(level: &Option<Visibility>, serializer: S) -> Result<S::Ok, S::Error> {
    level.map(|level| level.to_string()).serialize(serializer)
}
