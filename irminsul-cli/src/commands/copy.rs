//! `copy`: a whole store to another engine. What is moved and in which order is here; how each half is moved is in
//! `transfer`, how two stores are compared in `comparison`.

mod comparison;
mod transfer;

use std::{fmt, pin::pin};

use clap::Args;
use futures_util::{StreamExt, TryStreamExt};
use irminsul::{Address, ContentKey, ContentRead, EntryRead, ErrorKind, HashFunction, Key, Registry};
use serde::Serialize;

use self::{
    comparison::Standing,
    transfer::{Moved, copy_content, copy_entries},
};
use super::finding::{Finding, Findings, Item};
use crate::{
    checked_read::{READS, find_checked},
    failure::{Failure, with_causes},
    outcome::Outcome,
    output::{Output, counted, printable},
    progress::Progress,
    store::{Missing, Store},
};

/// Copy everything to another store, check that both agree, and exit 1 if they do not
///
/// Content goes first, in batches, checked against its hash; then the entries; then all of it is read back from DST. After
/// an interruption, run it again: what DST has already is not copied twice. DST is created where it is missing, with the
/// hash function of SRC.
///
/// Nothing in DST is lost by accident: before anything is written, an entry of DST that has another value in SRC, or
/// none, is an error, unless --overwrite or --into-existing allows it. What is corrupt in SRC is reported and left out.
/// SRC can be in use meanwhile: what the copy missed is reported, and copied by the next run.
#[derive(Args)]
pub(crate) struct Copy {
    /// The address to copy from
    #[arg(value_name = "SRC")]
    source: Address,
    /// The address to copy to
    #[arg(value_name = "DST")]
    target: Address,
    /// Where the two have different values for a key, take the one of SRC
    #[arg(long)]
    overwrite: bool,
    /// Keep the entries of DST that SRC does not have
    #[arg(long)]
    into_existing: bool,
    /// An object of JSON per line
    #[arg(long)]
    json: bool,
}

#[derive(Default, Serialize)]
struct Report {
    content: Moved,
    entries: Moved,
    problems: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "content: {}; entries: {}; ", self.content, self.entries)?;
        match self.problems {
            0 => f.write_str("SRC and DST agree"),
            problems => write!(f, "problems: {problems}"),
        }
    }
}

impl Copy {
    pub(crate) async fn run(self, registry: &Registry, output: &mut Output) -> Result<Outcome, Failure> {
        let source = Store::open(registry, &self.source, Missing::Refuse).await?;
        let target = self.open_target(registry, &source).await?;
        let report = self.copy(&source, &target, &mut Findings::new(output, self.json)).await?;
        target.close().await?;
        source.close().await?;
        output.record(&report, self.json)?;
        Ok(if report.problems == 0 { Outcome::Fine } else { Outcome::Negative })
    }

    /// DST with the hash function of SRC. A content key is its hash, so that no other function will do.
    async fn open_target(&self, registry: &Registry, source: &Store) -> Result<Store, Failure> {
        let Some(content) = source.backend().indexable() else {
            return Store::open(registry, &self.target, Missing::Create).await;
        };
        let hash = content.hash_function();
        let address = registry.with_default(&self.target, "hash", hash.name())?;
        // Asked before DST is opened, since that may create it.
        if let Some(Ok(stated)) = address.option("hash").map(str::parse) {
            same_hash(hash, stated)?;
        }
        let target = match Store::open(registry, &address, Missing::Create).await {
            // It has another hash function, or another format: opened as what it is, it says which.
            Err(Failure::Store(error)) if error.kind() == ErrorKind::Incompatible => {
                Store::open(registry, &self.target, Missing::Refuse).await?
            }
            opened => opened?,
        };
        if let Some(content) = target.backend().indexable() {
            same_hash(hash, content.hash_function())?;
        }
        Ok(target)
    }

    async fn copy(&self, source: &Store, target: &Store, findings: &mut Findings<'_>) -> Result<Report, Failure> {
        let (from, to) = (source.backend(), target.backend());
        let content = both(from.indexable(), to.indexable(), "content")?;
        let entries = both(from.atomic_write(), to.atomic_write(), "entries")?;
        let mut report = Report::default();
        if let Some((source, target)) = &entries {
            self.refuse_conflicts(&**source, &**target).await?;
        }
        if let Some((source, target)) = &content {
            report.content = copy_content(&**source, &**target, findings).await?;
        }
        if let Some((source, target)) = &entries {
            report.entries = copy_entries(&**source, &**target, self.overwrite, findings).await?;
        }
        if let Some((source, target)) = &content {
            // An entry that was set meanwhile may name content that was added meanwhile.
            report.content.copied += copy_content(&**source, &**target, findings).await?.copied;
        }
        to.sync().await?;
        if let Some((source, target)) = &content {
            compare_content(&**source, &**target, findings).await?;
        }
        if let Some((source, target)) = &entries {
            self.compare_entries(&**source, &**target, findings).await?;
        }
        report.problems = findings.count();
        Ok(report)
    }

    /// What DST holds already must be what SRC holds: then this is a copy that goes on, or one into an empty store.
    async fn refuse_conflicts(&self, source: &dyn EntryRead, target: &dyn EntryRead) -> Result<(), Failure> {
        let mut progress = Progress::start("looking at what DST holds");
        let (mut differing, mut extra) = (Keys::default(), Keys::default());
        let mut compared = pin!(comparison::compare(target, source));
        while let Some((key, standing, bytes)) = compared.try_next().await? {
            progress.add(bytes);
            match standing {
                Standing::Differs if !self.overwrite => differing.add(key),
                Standing::Absent if !self.into_existing => extra.add(key),
                // What is corrupt in SRC is told when it is to be copied.
                _ => {}
            }
        }
        let problems: Vec<_> = [
            differing.problem("with another value than SRC", "--overwrite takes what SRC has"),
            extra.problem("that SRC does not have", "--into-existing keeps what DST has"),
        ]
        .into_iter()
        .flatten()
        .collect();
        if problems.is_empty() {
            return Ok(());
        }
        Err(Failure::refused(format!("nothing was copied: DST has {}", problems.join("; it has "))))
    }

    /// Reads both back. What differs was written meanwhile, or is not what was written.
    async fn compare_entries(
        &self,
        source: &dyn EntryRead,
        target: &dyn EntryRead,
        findings: &mut Findings<'_>,
    ) -> Result<(), Failure> {
        let mut progress = Progress::start("comparing entries");
        let mut compared = pin!(comparison::compare(source, target));
        while let Some(compared) = compared.next().await {
            let Some((key, standing, bytes)) = findings.sound(Item::Entry, compared, &progress)? else { continue };
            progress.add(bytes);
            let problem = match standing {
                Standing::Equal => continue,
                Standing::Differs => {
                    "DST has another value: it was set meanwhile; copy again with --overwrite".to_owned()
                }
                Standing::Absent => "DST does not have it: it was set or removed meanwhile; copy again".to_owned(),
                Standing::Unreadable(error) => format!("DST: {}", with_causes(&error)),
            };
            findings.tell(Finding::entry(&key, problem), &progress)?;
        }
        if self.into_existing {
            return Ok(());
        }
        let mut extra = pin!(comparison::absent(target, source));
        while let Some(key) = extra.try_next().await? {
            let problem = "SRC does not have it: it was removed meanwhile; remove it from DST";
            findings.tell(Finding::entry(&key, problem), &progress)?;
        }
        Ok(())
    }
}

/// Reads all content of SRC back from DST, against its hash.
async fn compare_content(
    source: &dyn ContentRead,
    target: &dyn ContentRead,
    findings: &mut Findings<'_>,
) -> Result<(), Failure> {
    let mut progress = Progress::start("comparing content");
    let read_back = async |key: irminsul::Result<ContentKey>| {
        let key = key?;
        // By its hash: the locator of the key is of SRC.
        match target.index(&key.to_hash()).await? {
            Some(there) => Ok((key.to_hash(), Some(find_checked(target, &there).await))),
            // Where it is corrupt in SRC, that is what is wrong with it.
            None => find_checked(source, &key).await.map(|_| (key.to_hash(), None)),
        }
    };
    let mut read = pin!(source.keys().map(read_back).buffer_unordered(READS));
    while let Some(read) = read.next().await {
        let Some((hash, there)) = findings.sound(Item::Content, read, &progress)? else { continue };
        let problem = match there {
            Some(Ok(value)) => {
                progress.add(value.len());
                continue;
            }
            Some(Err(error)) if error.kind() == ErrorKind::Corrupt => format!("DST: {}", with_causes(&error)),
            Some(Err(error)) => return Err(error.into()),
            None => "DST does not have it: it was added meanwhile; copy again".to_owned(),
        };
        findings.tell(Finding::content(hash, problem), &progress)?;
    }
    Ok(())
}

/// Both stores' halves of one kind, or `None` where SRC has none.
fn both<T>(source: Option<T>, target: Option<T>, what: &str) -> Result<Option<(T, T)>, Failure> {
    match (source, target) {
        (Some(_), None) => Err(Failure::refused(format!("DST keeps no {what}, and SRC does: choose another backend"))),
        (source, target) => Ok(source.zip(target)),
    }
}

fn same_hash(source: HashFunction, target: HashFunction) -> Result<(), Failure> {
    if source == target {
        return Ok(());
    }
    Err(Failure::refused(format!(
        "SRC hashes content with {source} and DST with {target}, so that every content key would change: copy to a store \
         with hash={source}"
    )))
}

/// Some keys of DST that are in the way: how many, and one to look at.
#[derive(Default)]
struct Keys {
    count: usize,
    first: Option<Key>,
}

impl Keys {
    fn add(&mut self, key: Key) {
        self.count += 1;
        self.first.get_or_insert(key);
    }

    /// What is wrong with them and what to do, or `None` where there are none.
    fn problem(&self, what: &str, remedy: &str) -> Option<String> {
        let first = printable(self.first.as_ref()?.as_str());
        let entries = counted(self.count, "entry", "entries");
        Some(format!("{entries} {what}, such as {first}: {remedy}"))
    }
}

#[cfg(all(test, feature = "mem"))]
mod tests {
    use irminsul::{AtomicWrite, Bytes};

    use super::*;

    async fn entries_of(entries: &[(&str, &'static str)]) -> std::sync::Arc<dyn AtomicWrite> {
        let store = Registry::default().open("mem:").await.unwrap().atomic_write().unwrap();
        for (key, value) in entries {
            store.set(&Key::new(key).unwrap(), Bytes::from(*value)).await.unwrap();
        }
        store
    }

    fn copy_with(into_existing: bool) -> Copy {
        let address: Address = "mem:".parse().unwrap();
        Copy { source: address.clone(), target: address, overwrite: false, into_existing, json: false }
    }

    #[tokio::test]
    async fn the_comparison_finds_what_was_set_and_removed_meanwhile() {
        let source = entries_of(&[("same", "1"), ("set", "2"), ("added", "3")]).await;
        let target = entries_of(&[("same", "1"), ("set", "1"), ("removed", "4")]).await;
        for (into_existing, expected) in [(false, 3), (true, 2)] {
            let mut output = Output::to(std::io::sink());
            let mut findings = Findings::new(&mut output, false);
            copy_with(into_existing).compare_entries(&*source, &*target, &mut findings).await.unwrap();
            assert_eq!(findings.count(), expected);
        }
    }

    #[tokio::test]
    async fn the_comparison_finds_content_that_was_added_meanwhile() {
        let source = Registry::default().open("mem:").await.unwrap().indexable().unwrap();
        let target = Registry::default().open("mem:").await.unwrap().indexable().unwrap();
        for (store, value) in [(&source, "copied"), (&target, "copied"), (&source, "added")] {
            store.add(value.into()).await.unwrap();
        }
        let mut output = Output::to(std::io::sink());
        let mut findings = Findings::new(&mut output, false);
        compare_content(&*source, &*target, &mut findings).await.unwrap();
        assert_eq!(findings.count(), 1);
    }

    #[tokio::test]
    async fn a_value_that_was_set_in_the_target_meanwhile_stays_unless_it_is_to_be_overwritten() {
        let source = entries_of(&[("same", "1"), ("set", "2"), ("added", "3")]).await;
        for (overwrite, value, copied) in [(false, "1", 1), (true, "2", 2)] {
            let target = entries_of(&[("same", "1"), ("set", "1")]).await;
            let mut output = Output::to(std::io::sink());
            let mut findings = Findings::new(&mut output, false);
            let moved = copy_entries(&*source, &*target, overwrite, &mut findings).await.unwrap();
            assert_eq!(moved.copied.count, copied);
            assert_eq!(target.find(&Key::new("set").unwrap()).await.unwrap().unwrap(), value);
            assert_eq!(target.find(&Key::new("added").unwrap()).await.unwrap().unwrap(), "3");
        }
    }
}
