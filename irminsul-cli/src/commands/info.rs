//! `info`: what a store is, what it promises and how much it holds.

use clap::Args;
use comfy_table::{Table, presets};
use futures_util::{StreamExt, TryStreamExt};
use irminsul::{Address, Guarantees, Registry};
use serde::Serialize;

use crate::{
    checked_read::READS,
    failure::Failure,
    outcome::Outcome,
    output::Output,
    progress::{Progress, Tally},
    store::{Missing, Store},
};

/// Show what a store promises, its hash function, and how much it holds
#[derive(Args)]
pub(crate) struct Info {
    /// The address of the store
    store: Address,
    /// Leave out how much it holds: to count is to read everything
    #[arg(long)]
    no_count: bool,
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
        Ok(Outcome::Fine)
    }

    async fn facts(&self, store: &Store) -> Result<Facts, Failure> {
        let Guarantees { durability, visibility, index, watch_lag, .. } = store.backend().guarantees();
        let (entries, content) = if self.no_count { (None, None) } else { count(store).await? };
        Ok(Facts {
            address: self.store.to_string(),
            scheme: self.store.scheme().to_owned(),
            durability: durability.to_string(),
            visibility: visibility.to_string(),
            index: index.to_string(),
            watch_lag_own_ms: watch_lag.own.as_millis(),
            watch_lag_others_ms: watch_lag.others.map(|lag| lag.as_millis()),
            hash: store.backend().indexable().map(|content| content.hash_function().name()),
            entries,
            content,
        })
    }
}

/// Entries and content, where the store keeps them.
async fn count(store: &Store) -> Result<(Option<Tally>, Option<Tally>), Failure> {
    let entries = match store.backend().atomic_write() {
        Some(entries) => {
            let mut progress = Progress::start("counting entries");
            let mut stream = entries.entries(&irminsul::Key::root());
            while let Some((_, value)) = stream.try_next().await? {
                progress.add(value.len());
            }
            Some(progress.done())
        }
        None => None,
    };
    let content = match store.backend().indexable() {
        Some(content) => {
            let mut progress = Progress::start("counting content");
            let find = async |key: irminsul::Result<_>| content.find(&key?).await;
            let mut values = content.keys().map(find).buffer_unordered(READS);
            while let Some(value) = values.try_next().await? {
                if let Some(value) = value {
                    progress.add(value.len());
                }
            }
            Some(progress.done())
        }
        None => None,
    };
    Ok((entries, content))
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
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        for (name, fact) in rows {
            table.add_row([name.to_owned(), fact]);
        }
        table
    }
}
