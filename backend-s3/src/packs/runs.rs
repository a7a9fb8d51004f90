//! Looking up hashes in the runs, block by block.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::{StreamExt, TryStreamExt, stream};
use store_api::{ContentHash, Error, ErrorKind, Result};

use super::{
    CONCURRENCY, Packs, READINGS,
    place::Place,
    root::Root,
    run::{Record, Run, place_in},
};
use crate::client::Version;

/// How many blocks are remembered: 6 MiB.
const REMEMBERED: usize = 64;

/// How often a root is read again because one of its runs has gone: by a merge, which names another in its place.
pub(super) const ROOTS: usize = 4;

type Block = Arc<Vec<Record>>;

/// The blocks that were read last.
#[derive(Debug, Default)]
pub(super) struct Blocks(Mutex<VecDeque<(String, usize, Block)>>);

impl Blocks {
    fn get(&self, run: &str, block: usize) -> Option<Block> {
        let blocks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        blocks.iter().find(|(of, at, _)| of == run && *at == block).map(|(_, _, records)| Arc::clone(records))
    }

    fn insert(&self, run: String, block: usize, records: Block) {
        let mut blocks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        blocks.truncate(REMEMBERED - 1);
        blocks.push_front((run, block, records));
    }
}

/// Why a lookup in the runs failed.
pub(super) enum RunError {
    /// The run is not there, or is damaged: the root has to be read again.
    Lost,
    Failed(Error),
}

impl Packs {
    /// Where a value lies, as the index says.
    pub(super) async fn in_runs(self: &Arc<Self>, hash: &ContentHash) -> Result<Option<Place>> {
        for _ in 0..ROOTS {
            let Some((version, root)) = self.root().await? else { return Ok(None) };
            match self.in_runs_of(&root, hash).await {
                Ok(found) => return Ok(found),
                Err(RunError::Failed(error)) => return Err(error),
                Err(RunError::Lost) => self.replace_root(&version).await?,
            }
        }
        Err(changing())
    }

    /// The root, while it can be relied on. Where there is none, all packs are known.
    async fn root(self: &Arc<Self>) -> Result<Option<(Version, Arc<Root>)>> {
        loop {
            if let Some(root) = self.view().complete_root() {
                return Ok(root);
            }
            self.complete().await?;
        }
    }

    /// Learns of what a root covered that was given up.
    pub(super) async fn complete(self: &Arc<Self>) -> Result<()> {
        let packs = Arc::clone(self);
        let complete = async move {
            let _turn = packs.refreshing.done.lock().await;
            packs.complete_in_turn().await
        };
        self.aside(complete).await
    }

    async fn complete_in_turn(&self) -> Result<()> {
        if !self.view().is_incomplete() {
            return Ok(());
        }
        self.list_packs().await?;
        self.read_footers().await
    }

    async fn in_runs_of(&self, root: &Root, hash: &ContentHash) -> Result<Option<Place>, RunError> {
        let find = |run: Arc<Run>| async move { self.in_run(&run, hash).await };
        let places = stream::iter(root.runs.iter().cloned()).map(find).buffer_unordered(CONCURRENCY);
        let places: Vec<Option<Place>> = places.try_collect().await?;
        let view = self.view();
        Ok(places.into_iter().flatten().max_by_key(|place| view.rank(place)))
    }

    async fn in_run(&self, run: &Run, hash: &ContentHash) -> Result<Option<Place>, RunError> {
        let Some(block) = run.block_of(hash) else { return Ok(None) };
        let records = self.block(run, block).await?;
        Ok(place_in(&records, hash))
    }

    /// The records of a block of a run.
    pub(super) async fn block(&self, run: &Run, block: usize) -> Result<Block, RunError> {
        let object = run.object();
        if let Some(records) = self.blocks.get(&object, block) {
            return Ok(records);
        }
        for _ in 0..READINGS {
            let read = self.client.get_range(&object, run.range(block)).await;
            let read = read.map_err(|failure| RunError::Failed(failure.into()))?.ok_or(RunError::Lost)?;
            if let Some(records) = run.open_block(block, &read.bytes) {
                let records = Arc::new(records);
                self.blocks.insert(object, block, Arc::clone(&records));
                return Ok(records);
            }
        }
        Err(RunError::Lost)
    }

    /// Goes on from a root one of whose runs is lost: to the one that has replaced it, or else without any.
    pub(super) async fn replace_root(self: &Arc<Self>, lost: &Version) -> Result<()> {
        let (packs, lost) = (Arc::clone(self), lost.clone());
        self.aside(async move { packs.replace_lost_root(&lost).await }).await
    }

    async fn replace_lost_root(&self, lost: &Version) -> Result<()> {
        let _turn = self.refreshing.done.lock().await;
        if self.view().relies_on(lost) {
            self.list_packs().await?;
        }
        if self.view().relies_on(lost) {
            tracing::warn!("the index of the packs is damaged; it is made again from the packs");
            self.view().distrust_root(lost.clone());
        }
        self.complete_in_turn().await
    }
}

/// Of an index whose runs are lost as often as it is read.
pub(super) fn changing() -> Error {
    Error::new(ErrorKind::Unavailable, "the index changes faster than it can be read; try again")
}
