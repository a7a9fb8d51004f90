//! The keys of all values, in the order of their hashes: from the index and from what it does not cover.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use backend_kit::Page;
use store_api::{ContentHash, ContentKey, Result};

use super::{
    Packs,
    name::PackName,
    place::Place,
    run::Run,
    runs::{ROOTS, RunError, changing},
};

/// How many known values a page has.
const PAGE: usize = 1024;

/// How far a stream of keys has come.
#[derive(Default)]
pub(crate) struct Cursor {
    behind: Option<ContentHash>,
    /// The damaged packs that it has told of.
    told: BTreeSet<PackName>,
}

/// Some records behind a hash.
#[derive(Default)]
struct Slice {
    places: BTreeMap<ContentHash, Place>,
    /// The packs that may have more.
    damaged: BTreeSet<PackName>,
    /// The last hash up to which all are there, unless it is all of them.
    until: Option<ContentHash>,
}

impl Slice {
    fn add(&mut self, records: impl IntoIterator<Item = (ContentHash, Place)>, until: Option<ContentHash>) {
        for (hash, place) in records {
            let kept = self.places.entry(hash).or_insert(place);
            if place.rank() > kept.rank() {
                *kept = place;
            }
        }
        self.until = self.until.into_iter().chain(until).min();
    }
}

impl Packs {
    /// The keys behind a hash (A7). The first page knows of all packs that were acknowledged before it was asked for.
    pub(crate) async fn page(self: &Arc<Self>, from: Cursor) -> Result<Page<ContentKey, Cursor>> {
        let Cursor { behind, mut told } = from;
        if behind.is_none() {
            self.refresh().await?;
        }
        let slice = self.slice(behind).await?;
        let error =
            || super::corrupt("a pack is damaged or gone, and its values cannot be told; restore it from a copy");
        let mut items: Vec<_> = slice.damaged.difference(&told).map(|pack| Err(error().with_key(pack))).collect();
        told.extend(&slice.damaged);
        let within = |hash: &ContentHash| slice.until.is_none_or(|until| *hash <= until);
        let places = slice.places.iter().take_while(|(hash, _)| within(hash));
        items.extend(places.map(|(hash, place)| Ok(place.to_key(hash))));
        Ok(Page { items, next: slice.until.map(|until| Cursor { behind: Some(until), told }) })
    }

    async fn slice(self: &Arc<Self>, behind: Option<ContentHash>) -> Result<Slice> {
        for _ in 0..ROOTS {
            let mut slice = Slice::default();
            // What leaves the known packs has a root that covers it: so they are looked at together, and first.
            let (root, known) = {
                let view = self.view();
                slice.damaged.clone_from(view.damaged());
                (view.complete_root(), view.behind(behind, PAGE))
            };
            let Some(root) = root else {
                self.complete().await?;
                continue;
            };
            let until = if known.len() == PAGE { known.last().map(|(hash, _)| *hash) } else { None };
            slice.add(known, until);
            let Some((version, root)) = root else { return Ok(slice) };
            match self.slice_of_runs(&root.runs, behind, &mut slice).await {
                Ok(()) => return Ok(slice),
                Err(RunError::Failed(error)) => return Err(error),
                Err(RunError::Lost) => self.replace_root(&version).await?,
            }
        }
        Err(changing())
    }

    async fn slice_of_runs(
        &self,
        runs: &[Arc<Run>],
        behind: Option<ContentHash>,
        slice: &mut Slice,
    ) -> Result<(), RunError> {
        for run in runs {
            let mut block = behind.and_then(|behind| run.block_of(&behind)).unwrap_or_default();
            while block < run.blocks() {
                let records = self.block(run, block).await?;
                let from = records.partition_point(|(hash, _)| Some(*hash) <= behind);
                block += 1;
                if let Some((last, _)) = records[from..].last() {
                    let until = (block < run.blocks()).then_some(*last);
                    slice.add(records[from..].iter().copied(), until);
                    break;
                }
            }
        }
        Ok(())
    }
}
