//! What is wrong with single items of a store, a line of a report for each.

use std::{collections::BTreeSet, fmt};

use irminsul::{ContentHash, Error, ErrorKind, Key};
use serde::Serialize;

use crate::{
    failure::{Failure, with_causes},
    output::{Output, printable},
    progress::Progress,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Item {
    Entry,
    Content,
    Store,
}

/// One item, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Finding {
    item: Item,
    name: String,
    problem: String,
}

impl Finding {
    pub(super) fn entry(key: &Key, problem: impl Into<String>) -> Self {
        Self { item: Item::Entry, name: key.to_string(), problem: problem.into() }
    }

    pub(super) fn content(hash: ContentHash, problem: impl Into<String>) -> Self {
        Self { item: Item::Content, name: hash.to_string(), problem: problem.into() }
    }

    /// What a store found `Corrupt`; the error names it, where the store could still tell.
    fn corrupt(item: Item, error: &Error) -> Self {
        Self { item, name: error.key().unwrap_or("?").to_owned(), problem: with_causes(error) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let item = match self.item {
            Item::Entry => "entry",
            Item::Content => "content",
            Item::Store => "store",
        };
        write!(f, "{item} {}: {}", printable(&self.name), self.problem)
    }
}

/// The report: each finding is written when it is made, and once.
pub(super) struct Findings<'o> {
    output: &'o mut Output,
    json: bool,
    told: BTreeSet<Finding>,
}

impl<'o> Findings<'o> {
    pub(super) fn new(output: &'o mut Output, json: bool) -> Self {
        Self { output, json, told: BTreeSet::new() }
    }

    pub(super) fn tell(&mut self, finding: Finding, progress: &Progress) -> Result<(), Failure> {
        if !self.told.contains(&finding) {
            progress.suspend(|| self.output.record(&finding, self.json))?;
            self.told.insert(finding);
        }
        Ok(())
    }

    /// What was read, or `None` where it is corrupt, which is a finding. Any other error is one of the command.
    pub(super) fn sound<T>(
        &mut self,
        item: Item,
        read: irminsul::Result<T>,
        progress: &Progress,
    ) -> Result<Option<T>, Failure> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                self.tell(Finding::corrupt(item, &error), progress)?;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn count(&self) -> usize {
        self.told.len()
    }
}
