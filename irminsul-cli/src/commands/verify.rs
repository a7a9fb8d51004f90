//! `verify`: everything that a store holds, read back and checked.

use std::{fmt, pin::pin};

use clap::Args;
use futures_util::{Stream, StreamExt};
use irminsul::{Address, ErrorKind, Registry, Result};
use serde::Serialize;

use super::finding::{Findings, Item};
use crate::{
    checked_read::{content_sizes, entry_sizes},
    failure::Failure,
    outcome::Outcome,
    output::Output,
    progress::{Progress, Tally},
    store::{Missing, Store},
};

/// Read every entry and all content back, write a line for each that is corrupt, and exit 1 if there is any
///
/// Content is checked against its hash, also when the address says `verify=off`. After that the engine is asked for what
/// it can say of its files itself, such as a row that rot hides. `mem:`, `s3:` and `az:` can say nothing: the last line
/// tells then that what was read back is all that was checked.
#[derive(Args)]
pub(crate) struct Verify {
    /// The address of the store
    store: Address,
    /// An object of JSON per line
    #[arg(long)]
    json: bool,
}

#[derive(Default, Serialize)]
struct Summary {
    entries: Tally,
    content: Tally,
    corrupt: usize,
    /// Whether the engine has a check of its own, and made it.
    engine_checked: bool,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entries: {}, content: {}, ", self.entries, self.content)?;
        match (self.corrupt, self.engine_checked) {
            (0, true) => f.write_str("all good"),
            (0, false) => f.write_str("what was read back is good; the engine has no check of its own"),
            (corrupt, true) => write!(f, "corrupt: {corrupt}"),
            (corrupt, false) => write!(f, "corrupt: {corrupt}; the engine has no check of its own"),
        }
    }
}

impl Verify {
    pub(crate) async fn run(self, registry: &Registry, output: &mut Output) -> Result<Outcome, Failure> {
        let store = Store::open(registry, &self.store, Missing::Refuse).await?;
        let mut findings = Findings::new(output, self.json);
        let mut summary = Summary::default();
        if let Some(entries) = store.backend().atomic_write() {
            let sizes = entry_sizes(&*entries);
            summary.entries = verify(Item::Entry, "verifying entries", sizes, &mut findings).await?;
        }
        if let Some(content) = store.backend().indexable() {
            let sizes = content_sizes(&*content);
            summary.content = verify(Item::Content, "verifying content", sizes, &mut findings).await?;
        }
        let progress = Progress::start("asking the engine about its files");
        let said = store.backend().check().await.map_err(|error| error.with_key(&self.store));
        summary.engine_checked = !matches!(&said, Err(error) if error.kind() == ErrorKind::Unsupported);
        if summary.engine_checked {
            findings.sound(Item::Store, said, &progress)?;
        }
        drop(progress);
        summary.corrupt = findings.count();
        store.close().await?;
        output.record(&summary, self.json)?;
        Ok(if summary.corrupt == 0 { Outcome::Fine } else { Outcome::Negative })
    }
}

/// Reads to the end of a stream of items' sizes, and counts what is sound.
async fn verify(
    item: Item,
    doing: &'static str,
    sizes: impl Stream<Item = Result<usize>>,
    findings: &mut Findings<'_>,
) -> Result<Tally, Failure> {
    let mut progress = Progress::start(doing);
    let mut sizes = pin!(sizes);
    while let Some(size) = sizes.next().await {
        if let Some(size) = findings.sound(item, size, &progress)? {
            progress.add(size);
        }
    }
    Ok(progress.done())
}
