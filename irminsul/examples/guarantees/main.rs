//! Prints `docs/guarantees.md`: what the backends declare, the clauses with the cases that test them, and the contract of
//! Irmin beside them. It needs no server: the object store lies in memory.

mod irmin;

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use conformance::{Clause, Settings};
use irminsul::{
    Address, Backend, Durability, IndexLevel, Registry, Visibility,
    s3::{S3Options, object_store::memory::InMemory},
};
use tempfile::TempDir;

/// Of each engine what it is by default, and each option that changes what it declares. `path` is anywhere.
const ADDRESSES: [&str; 8] = [
    "mem:",
    "mem:name",
    "sqlite:",
    "sqlite:path",
    "sqlite:path?sync=off",
    "sqlite:path?poll=500",
    "rocksdb:path",
    "rocksdb:path?sync=off",
];

const HEAD: &str = "\
# Guarantees

What each backend promises, as an open store declares it, and the cases that test it. Which backend to choose: [choosing a
backend](choosing-a-backend.md). The clauses with the vocabulary that they use: [the
contract](../store-api/src/contract.md).

This page is generated: `cargo run -p irminsul --features rocksdb,s3 --example guarantees > docs/guarantees.md`. A test
holds it against the backends.
";

const LEVELS: &str = "\
## What each backend declares

`guarantees()` of an open store gives the same, and `irminsul info` shows it.

| address | an acknowledged write survives | who sees the store | `index` answers `None` | a watch tells own changes | others' |
|---|---|---|---|---|---|";

const BEHIND_LEVELS: &str = "\
`az://container/prefix` declares what `s3://` does. Its watches tell others' changes within `poll` and the time of a
request. For `sqlite:` and `s3:` the option `poll` sets the last column. No other option changes this table.";

const CLAUSES: &str = "\
## The clauses, and what tests them

Each clause in full. *Not tested on* names the stores whose declared levels leave nothing to test: a store that keeps
nothing cannot lose anything. `s3:` keeps A11 and A12, too; they are tested in `backend-s3/tests/memory`, because the suite
can only damage files.

Most clauses have more than one case, since a level brings its own: a store that processes share is tested with
processes. `irminsul conform ADDRESS` says which applied.";

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    print!("{}", page().await?);
    Ok(())
}

async fn page() -> anyhow::Result<String> {
    let folder = TempDir::with_prefix("irminsul-guarantees-")?;
    let stores = open_all(folder.path()).await?;
    let page = [HEAD.to_owned(), levels(&stores), clauses(&stores), irmin::beside()].join("\n");
    for store in stores {
        store.backend.close().await?;
    }
    Ok(page)
}

/// An open store, and the address by which a reader knows it.
struct Store {
    address: &'static str,
    backend: Arc<dyn Backend>,
}

async fn open_all(folder: &Path) -> anyhow::Result<Vec<Store>> {
    let registry = Registry::default();
    let mut stores = Vec::new();
    for (number, shown) in ADDRESSES.into_iter().enumerate() {
        let mut address: Address = shown.parse()?;
        if address.location() == "path" {
            let path = folder.join(number.to_string());
            address = address.with_location(path.to_str().context("the temporary folder has a name in UTF-8")?);
        }
        stores.push(Store { address: shown, backend: registry.open(address).await? });
    }
    let bucket = S3Options::over(Arc::new(InMemory::new())).open().await?;
    stores.push(Store { address: "s3://bucket/prefix", backend: Arc::new(bucket) });
    Ok(stores)
}

fn levels(stores: &[Store]) -> String {
    let row = |Store { address, backend }: &Store| {
        let declared = backend.guarantees();
        let (own, others) = (Some(declared.watch_lag.own), declared.watch_lag.others);
        let cells = [
            format!("`{address}`"),
            format!("`{}`: {}", declared.durability, survived(declared.durability)),
            format!("`{}`: {}", declared.visibility, sharing(declared.visibility)),
            format!("`{}`: {}", declared.index, absence(declared.index)),
            lag(own),
            lag(others),
        ];
        format!("| {} |", cells.join(" | "))
    };
    let rows: Vec<String> = stores.iter().map(row).collect();
    format!("{LEVELS}\n{}\n\n{BEHIND_LEVELS}{}\n", rows.join("\n"), given_up(stores))
}

const NO_WORDS: &str = "a level that this page has no words for";

fn survived(durability: Durability) -> &'static str {
    match durability {
        Durability::Volatile => "nothing",
        Durability::Process => "a killed process; a power loss after `sync()`",
        Durability::Power => "a power loss",
        Durability::Service => "what the service promises",
        _ => panic!("{durability}: {NO_WORDS}"),
    }
}

fn sharing(visibility: Visibility) -> &'static str {
    match visibility {
        Visibility::Instance => "one instance, its handles",
        Visibility::Process => "the instances of a process",
        Visibility::Host => "the processes of a host",
        Visibility::Cluster => "the hosts that reach the service",
        _ => panic!("{visibility}: {NO_WORDS}"),
    }
}

fn absence(index: IndexLevel) -> &'static str {
    match index {
        IndexLevel::Exact => "it was not added",
        IndexLevel::BestEffort => "not by this instance; by another one perhaps, within the lag",
        _ => panic!("{index}: {NO_WORDS}"),
    }
}

fn lag(lag: Option<Duration>) -> String {
    match lag {
        None => "there are none".into(),
        Some(Duration::ZERO) => "at once".into(),
        Some(lag) => format!("within {lag:?}"),
    }
}

/// The clauses that a store without verification does not keep.
fn given_up(stores: &[Store]) -> String {
    let mut unverified = Settings::default();
    unverified.verify = Some(false);
    let is_given_up = |clause: &&Clause| {
        stores.iter().any(|Store { backend, .. }| {
            clause.lack(&**backend, &Settings::default()).is_none() && clause.lack(&**backend, &unverified).is_some()
        })
    };
    let ids: Vec<&str> = Clause::all().iter().filter(is_given_up).map(|clause| clause.id).collect();
    format!(" `verify=off` gives up {}, on every engine.", ids.join(", "))
}

fn clauses(stores: &[Store]) -> String {
    let group = |clauses: &[Clause]| {
        let rows: Vec<String> = clauses.iter().map(|clause| row(clause, stores)).collect();
        let group = clauses[0].group();
        format!("### {group}\n\n| | promise | not tested on | tested by |\n|---|---|---|---|\n{}\n", rows.join("\n"))
    };
    let groups: Vec<String> = Clause::all().chunk_by(|one, next| one.group() == next.group()).map(group).collect();
    format!("{CLAUSES}\n\n{}", groups.join("\n"))
}

fn row(clause: &Clause, stores: &[Store]) -> String {
    let Clause { id, title, text, .. } = clause;
    let cases: Vec<String> = clause.case_ids().map(|case| format!("`{case}`")).collect();
    format!("| **{id}** | *{title}.* {text} | {} | {} |", lacking(clause, stores), cases.join("<br>"))
}

/// The stores that a clause is not tested on, by what they lack for it.
fn lacking(clause: &Clause, stores: &[Store]) -> String {
    let mut reasons: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for Store { address, backend } in stores {
        if let Some(lack) = clause.lack(&**backend, &Settings::default()) {
            reasons.entry(lack).or_default().push(format!("`{address}`"));
        }
    }
    let reasons: Vec<String> =
        reasons.into_iter().map(|(reason, addresses)| format!("{}: {reason}", addresses.join(", "))).collect();
    reasons.join("<br>")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn the_documentation_has_this_page() {
        let written = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/guarantees.md")).unwrap();
        assert!(written == page().await.unwrap(), "docs/guarantees.md is not current: it says how to make it");
    }
}
