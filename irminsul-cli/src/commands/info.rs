//! `info`: what a store is, what it promises and how much it holds.

use std::{collections::BTreeMap, pin::pin};

use clap::Args;
use comfy_table::{Table, presets};
use futures_util::{Stream, StreamExt};
use irminsul::{Address, ErrorKind, Guarantees, Registry, Result};
use serde::Serialize;

use crate::{
    checked_read::{content_sizes, entry_sizes},
    failure::Failure,
    outcome::Outcome,
    output::Output,
    progress::{Progress, Tally},
    requests,
    store::{Missing, Store},
};

/// Show what a store promises, its hash function, and how much it holds; exit 1 if some of that is corrupt
#[derive(Args)]
pub(crate) struct Info {
    /// The address of the store
    store: Address,
    /// Leave out how much it holds: to count is to read everything
    #[arg(long)]
    no_count: bool,
    /// Add how many requests it took, for a store that a service keeps
    #[arg(long)]
    requests: bool,
    /// An object of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Facts {
    address: String,
    scheme: String,
    durability: String,
    visibility: String,
    index: String,
    watch_lag_own_ms: u128,
    watch_lag_others_ms: Option<u128>,
    hash: Option<&'static str>,
    entries: Option<Tally>,
    content: Option<Tally>,
    corrupt: Option<u64>,
    requests: Option<BTreeMap<String, u64>>,
}

/// How much a store holds, of what it keeps. What is corrupt is in no tally.
#[derive(Default)]
struct Held {
    entries: Option<Tally>,
    content: Option<Tally>,
    corrupt: u64,
}

impl Info {
    pub(crate) async fn run(self, registry: &Registry, output: &mut Output) -> Result<Outcome, Failure> {
        let store = Store::open(registry, &self.store, Missing::Refuse).await?;
        let facts = self.facts(&store).await?;
        store.close().await?;
        if self.json {
            output.json(&facts)?;
        } else {
            output.line(facts.table().trim_fmt())?;
        }
        Ok(if facts.corrupt.is_none_or(|corrupt| corrupt == 0) { Outcome::Fine } else { Outcome::Negative })
    }

    async fn facts(&self, store: &Store) -> Result<Facts, Failure> {
        let Guarantees { durability, visibility, index, watch_lag, .. } = store.backend().guarantees();
        let held = if self.no_count { None } else { Some(Held::count(store).await?) };
        Ok(Facts {
            address: self.store.to_string(),
            scheme: self.store.scheme().to_owned(),
            durability: durability.to_string(),
            visibility: visibility.to_string(),
            index: index.to_string(),
            watch_lag_own_ms: watch_lag.own.as_millis(),
            watch_lag_others_ms: watch_lag.others.map(|lag| lag.as_millis()),
            hash: store.backend().indexable().map(|content| content.hash_function().name()),
            entries: held.as_ref().and_then(|held| held.entries),
            content: held.as_ref().and_then(|held| held.content),
            corrupt: held.map(|held| held.corrupt),
            requests: self.requests.then(requests::counts),
        })
    }
}

impl Held {
    async fn count(store: &Store) -> Result<Self, Failure> {
        let mut held = Self::default();
        if let Some(entries) = store.backend().atomic_write() {
            held.entries = Some(held.tally("counting entries", entry_sizes(&*entries)).await?);
        }
        if let Some(content) = store.backend().indexable() {
            held.content = Some(held.tally("counting content", content_sizes(&*content)).await?);
        }
        Ok(held)
    }

    /// Reads to the end of a stream of items' sizes.
    async fn tally(&mut self, doing: &'static str, sizes: impl Stream<Item = Result<usize>>) -> Result<Tally, Failure> {
        let mut progress = Progress::start(doing);
        let mut sizes = pin!(sizes);
        while let Some(size) = sizes.next().await {
            match size {
                Ok(size) => progress.add(size),
                Err(error) if error.kind() == ErrorKind::Corrupt => self.corrupt += 1,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(progress.done())
    }
}

impl Facts {
    fn table(&self) -> Table {
        let others = self.watch_lag_others_ms.map_or("none".to_owned(), |lag| format!("{lag} ms"));
        let mut rows = vec![
            ("address", self.address.clone()),
            ("durability", self.durability.clone()),
            ("visibility", self.visibility.clone()),
            ("index", self.index.clone()),
            ("watch lag", format!("own {} ms, others' {others}", self.watch_lag_own_ms)),
        ];
        rows.extend(self.hash.map(|hash| ("hash function", hash.to_owned())));
        rows.extend(self.entries.map(|entries| ("entries", entries.to_string())));
        rows.extend(self.content.map(|content| ("content", content.to_string())));
        let corrupt = self.corrupt.filter(|&corrupt| corrupt > 0);
        rows.extend(corrupt.map(|corrupt| ("corrupt", format!("{corrupt}, named by `irminsul verify`"))));
        rows.extend(self.requests.as_ref().map(|requests| ("requests", listed(requests))));
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        for (name, fact) in rows {
            table.add_row([name.to_owned(), fact]);
        }
        table
    }
}

fn listed(requests: &BTreeMap<String, u64>) -> String {
    let kinds = requests.iter().map(|(kind, count)| format!("{count} {kind}")).collect::<Vec<_>>();
    if kinds.is_empty() { "none".to_owned() } else { kinds.join(", ") }
}
