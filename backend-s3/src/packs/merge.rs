//! Merging: the footers of many packs become runs of the index, together with the shorter runs that are there.
//!
//! Whoever notices that much is not indexed does it, in the background. Each run stays several times as long as the
//! next, and each record is written again few times. A run that would not fit into one with what follows it stays as it
//! is: two such neighbours have more than a million values, so that there are up to two for each million. A merge takes
//! the earliest packs, as many as have a million values, or one that has more. Who loses a race for the root has wasted
//! some requests; who is interrupted leaves objects that nobody reads, until a later merge removes them. A pack that is
//! left, or whose footer is damaged, is not indexed, and the root says so by its floor.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use backend_kit::offload;
use bytes::Bytes;
use futures_util::TryStreamExt;
use store_api::{Effect, Result};
use tokio::task::AbortHandle;

use super::{
    Packs, READINGS,
    format::Index,
    name::PackName,
    open_root,
    root::{self, Root},
    run::{self, Record, Run, best_of_each},
    runs::RunError,
    view::View,
};
use crate::{
    client::{Failure, Listed, Version},
    frame::random,
};

/// How many packs, or values in them, are left to their footers: those of 64 packs are what a cold instance reads.
const PACKS: usize = 64;
const RECORDS: usize = 64 * 1024;

/// How many objects may lie beside the root: each is a run, or what an accident left behind.
const MAX_LISTED: u64 = 1 << 16;

/// How many times as long as the next a run is.
pub(crate) const RATIO: usize = 4;

#[derive(Debug)]
pub(super) struct Merging {
    /// How many records a run has at the most.
    longest: usize,
    /// The last one that was begun.
    last: Mutex<Option<AbortHandle>>,
    /// So many packs are left to their footers behind a merge that failed.
    rest: AtomicUsize,
}

impl Merging {
    pub(super) fn new(longest: usize) -> Self {
        Self { longest, last: Mutex::default(), rest: AtomicUsize::default() }
    }
}

/// What becomes of the index.
struct Plan {
    /// The root to be replaced, if there is one.
    replaced: Option<Version>,
    root: Root,
    absorbed: Vec<Arc<Run>>,
    /// What the packs have.
    indexes: Vec<Index>,
    packs: BTreeSet<PackName>,
}

impl Plan {
    /// Takes the earliest packs that are not indexed: as many as fill a run, or one.
    fn of(view: &View, longest: usize) -> Option<Self> {
        let (mut packs, mut indexes, mut len) = (BTreeSet::new(), Vec::new(), 0);
        let mut left = view.uncovered().iter();
        let fits = |index: &Index, len| len == 0 || len + index.len() <= longest;
        let first_left = loop {
            match left.next() {
                Some((pack, index)) if fits(index, len) => {
                    packs.insert(*pack);
                    len += index.len();
                    indexes.push(Arc::clone(index));
                }
                rest => break rest.map(|(pack, _)| pack),
            }
        };
        if packs.is_empty() {
            return None;
        }
        let mut root = view.root().as_deref().cloned().unwrap_or_default();
        let mut absorbed = Vec::new();
        while let Some(run) = root.runs.pop_if(|run| absorbs(len, run.records(), longest)) {
            len += run.records();
            absorbed.push(run);
        }
        // Behind the root's, which covers none of those that are damaged or left.
        root.floor = root.floor.max(view.floor());
        let uncovered = view.damaged().first().into_iter().chain(first_left);
        root.floor = uncovered.map(|pack| pack.epoch).fold(root.floor, u32::min);
        root.recent.extend(&packs);
        root.recent = root.recent.split_off(&PackName::first(root.floor));
        Some(Self { replaced: view.root_version().cloned(), root, absorbed, indexes, packs })
    }
}

/// Whether the records of a run are merged with so many others: if they are few beside those, and make no run more of them.
fn absorbs(len: usize, run: usize, longest: usize) -> bool {
    run < RATIO * len && (len + run).div_ceil(longest) <= len.div_ceil(longest)
}

/// All records of packs and runs. Those of a run are let go of before the next is looked at.
fn gathered(packs: &[Index], runs: Vec<Vec<Record>>) -> Vec<Record> {
    let of_packs = packs.iter().map(|index| index.len());
    let mut records = Vec::with_capacity(of_packs.chain(runs.iter().map(Vec::len)).sum());
    for index in packs {
        records.extend_from_slice(index);
    }
    for run in runs {
        records.extend(run);
    }
    records
}

impl Packs {
    /// Begins a merge in the background, where enough has come together for one.
    pub(super) fn merge_if_due(self: &Arc<Self>) {
        if !self.is_merge_due() {
            return;
        }
        let mut last = self.last_merge();
        if last.as_ref().is_some_and(|merge| !merge.is_finished()) {
            return;
        }
        // None is begun behind the close of the gate. Asked under the lock, so that who gives a merge up then finds it.
        let Ok(under_way) = self.detached.begin() else { return };
        let packs = Arc::clone(self);
        let merge = self.runtime.spawn(async move {
            let _under_way = under_way;
            packs.merge_while_due().await;
        });
        *last = Some(merge.abort_handle());
    }

    async fn merge_while_due(self: &Arc<Self>) {
        while self.is_merge_due() {
            let merged = self.merge().await;
            let rest = if merged.is_ok() { 0 } else { 2 * self.view().uncovered().len() };
            self.merging.rest.store(rest, Ordering::Relaxed);
            match merged {
                Ok(true) => {}
                // Others did it, or it has to begin anew: not in a row, for as long as nobody can.
                Ok(false) => return,
                Err(error) => {
                    // All of it is in the packs.
                    tracing::debug!(%error, "the packs were not indexed; a later merge will do it");
                    return;
                }
            }
        }
    }

    /// Ends a merge that is under way, wherever it is, once the gate is closed. It saves requests and nothing else: a
    /// run that lands afterwards is one that nobody reads, and a root takes the place of the one that it was made for, or
    /// of none.
    pub(crate) fn give_up_merge(&self) {
        if let Some(merge) = &*self.last_merge() {
            merge.abort();
            tracing::debug!("the packs were not indexed before the close; a later merge will do it");
        }
    }

    fn last_merge(&self) -> MutexGuard<'_, Option<AbortHandle>> {
        self.merging.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_merge_due(&self) -> bool {
        let view = self.view();
        let packs = view.uncovered().len();
        (packs >= PACKS || view.uncovered_records() >= RECORDS) && packs >= self.merging.rest.load(Ordering::Relaxed)
    }

    /// Indexes packs; whether some are indexed by it.
    async fn merge(self: &Arc<Self>) -> Result<bool> {
        let Some(mut plan) = self.plan().await? else { return Ok(false) };
        let Some(records) = self.records_of(&mut plan).await? else { return Ok(false) };
        let runs = self.write_runs(records).await?;
        plan.root.runs.extend(runs.iter().cloned());
        let root = plan.root.clone();
        let sealed = offload(move || root.seal()).await?;
        match self.put_root(sealed, plan.replaced.as_ref()).await {
            Ok(version) => {
                self.merged(plan, version).await;
                Ok(true)
            }
            Err(failure) if failure.is_refusal() => self.settle(plan, &runs).await,
            // Where it is not known whose root it is, the runs may be needed.
            Err(failure) => Err(failure.into_error(Effect::Unknown)),
        }
    }

    async fn plan(&self) -> Result<Option<Plan>> {
        let _turn = self.refreshing.done.lock().await;
        self.list_packs().await?;
        self.read_footers().await?;
        // Somebody else's merge may have come first.
        Ok(if self.is_merge_due() { Plan::of(&self.view(), self.merging.longest) } else { None })
    }

    /// What the packs and the absorbed runs have; `None` where one of the runs is lost, and the root given up.
    async fn records_of(self: &Arc<Self>, plan: &mut Plan) -> Result<Option<Vec<Record>>> {
        let mut runs = Vec::new();
        for run in &plan.absorbed {
            match (self.read_run(run).await, &plan.replaced) {
                (Ok(records), _) => runs.push(records),
                (Err(RunError::Failed(error)), _) => return Err(error),
                // The next merge begins without the root.
                (Err(RunError::Lost), Some(root)) => return self.replace_root(root).await.map(|()| None),
                (Err(RunError::Lost), None) => unreachable!("runs are those of a root"),
            }
        }
        let indexes = std::mem::take(&mut plan.indexes);
        offload(move || best_of_each(gathered(&indexes, runs))).await.map(Some)
    }

    /// Writes sorted records as runs, all of them full but the last.
    async fn write_runs(&self, records: Vec<Record>) -> Result<Vec<Arc<Run>>> {
        let (records, longest) = (Arc::new(records), self.merging.longest);
        let mut runs = Vec::new();
        for first in (0..records.len()).step_by(longest) {
            let (nonce, records) = (u128::from_be_bytes(random()?), Arc::clone(&records));
            let seal = move || Run::seal(nonce, &records[first..records.len().min(first + longest)]);
            let (run, bytes) = offload(seal).await?;
            self.put(&run.object(), bytes.into(), self.patience()).await?;
            runs.push(Arc::new(run));
        }
        Ok(runs)
    }

    /// Another merge was faster, or something on the way sent the PUT of the root twice: the root itself tells.
    async fn settle(&self, plan: Plan, runs: &[Arc<Run>]) -> Result<bool> {
        let Some(object) = self.client.get(root::OBJECT, root::MAX_LEN).await? else { return Ok(false) };
        match open_root(object.bytes).await? {
            Some(root) if *root == plan.root => {
                self.merged(plan, object.version).await;
                return Ok(true);
            }
            // Nothing that is still under way can put the plan over another root than the one that it was made for.
            Some(root) if Some(&object.version) != plan.replaced.as_ref() => {
                for run in runs.iter().filter(|run| !root.names(run)) {
                    self.client.delete(&run.object()).await?;
                }
            }
            _ => {}
        }
        Ok(false)
    }

    async fn put_root(&self, root: Bytes, replaced: Option<&Version>) -> Result<Version, Failure> {
        match replaced {
            Some(version) => self.client.replace(root::OBJECT, root.into(), version).await,
            None => self.client.create(root::OBJECT, root.into()).await,
        }
    }

    async fn merged(&self, plan: Plan, version: Version) {
        let Plan { replaced, root, absorbed, packs, .. } = plan;
        let root = Arc::new(root);
        {
            let _turn = self.refreshing.done.lock().await;
            let mut view = self.view();
            // Where a later root was read meanwhile, that one stays.
            if view.root_version() == replaced.as_ref() {
                view.set_root(version.clone(), Some(Arc::clone(&root)));
            }
            view.share(&packs);
        }
        if let Err(failure) = self.remove_unnamed(&root, &version, &absorbed).await {
            tracing::debug!(
                ?failure,
                "runs of the index that nobody reads are left behind; a later merge removes them"
            );
        }
    }

    /// Removes the runs that this root does not name, nor any that comes behind it: those that its merge absorbed, and
    /// those that were written before the root was.
    ///
    /// Whoever wrote one of these had read another root, or none: an earlier one, since a merge writes its run behind its
    /// reading of the root. He puts his own upon the condition that the one that he read is still there, and this one has
    /// taken its place. And who goes on from this root names its runs and his own. So no merge that is under way is
    /// disturbed, where the service's clock does not go back. If it does, or if somebody removes the root, a run may go
    /// that is named: then the index is made again from the packs, as wherever a run is lost.
    async fn remove_unnamed(&self, root: &Root, version: &Version, absorbed: &[Arc<Run>]) -> Result<(), Failure> {
        let listed: Vec<Listed> = self.client.list_behind(run::FOLDER, run::FOLDER, MAX_LISTED).try_collect().await?;
        let is_root = |object: &&Listed| object.name == root::OBJECT && object.version.as_ref() == Some(version);
        // `None` where there is a later one already: what is older than that one may be named by it.
        let written = listed.iter().find(is_root).map(|object| object.written);
        let named: BTreeSet<String> = root.runs.iter().map(|run| run.object()).collect();
        let absorbed: BTreeSet<String> = absorbed.iter().map(|run| run.object()).collect();
        for Listed { name, written: at, .. } in &listed {
            let is_past = absorbed.contains(name) || written.is_some_and(|written| *at < written);
            if is_past && run::is_object(name) && !named.contains(name) {
                self.client.delete(name).await?;
            }
        }
        Ok(())
    }

    async fn read_run(&self, run: &Arc<Run>) -> Result<Vec<Record>, RunError> {
        for _ in 0..READINGS {
            let object = self.client.get(&run.object(), run.len()).await;
            let object = object.map_err(|failure| RunError::Failed(failure.into()))?.ok_or(RunError::Lost)?;
            let run = Arc::clone(run);
            let opened = offload(move || run.open(&object.bytes)).await.map_err(RunError::Failed)?;
            if let Some(records) = opened {
                return Ok(records);
            }
        }
        Err(RunError::Lost)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use object_store::{ObjectStoreExt, memory::InMemory, path::Path};
    use store_api::{Backend, ContentHash, ContentRead, HashFunction, Indexed};

    use super::*;
    use crate::{S3Options, packs::place::Place};

    fn index(pack: PackName, values: usize) -> Index {
        let record = |i: usize| {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&i.to_be_bytes());
            (ContentHash::new(hash), Place { pack, offset: 0, len: 1, sound: true })
        };
        (0..values).map(record).collect()
    }

    #[test]
    fn a_plan_takes_the_earliest_packs_and_the_floor_waits_for_the_others() {
        let mut view = View::default();
        let packs: Vec<PackName> = (10..20).map(|epoch| PackName::new(epoch).unwrap()).collect();
        for pack in &packs {
            view.insert(*pack, index(*pack, 4));
        }
        view.set_listed(Vec::new(), Some(40));
        for (longest, taken, floor) in [(9, 2, 12), (3, 1, 11), (40, 10, view.floor())] {
            let plan = Plan::of(&view, longest).unwrap();
            assert!(plan.packs.iter().eq(&packs[..taken]), "{longest}");
            assert_eq!(plan.root.floor, floor, "{longest}");
            assert!(packs.iter().all(|pack| plan.root.covers(*pack) == plan.packs.contains(pack)), "{longest}");
        }
    }

    #[test]
    fn the_floor_waits_for_a_damaged_pack_as_for_those_that_are_left() {
        let mut view = View::default();
        (10..20).for_each(|epoch| {
            let pack = PackName::new(epoch).unwrap();
            view.insert(pack, index(pack, 4));
        });
        view.set_listed(Vec::new(), Some(40));
        for (longest, damaged, floor) in [(9, 15, 12), (9, 11, 11), (40, 15, 15)] {
            let damaged = PackName::new(damaged).unwrap();
            view.set_read(BTreeSet::from([damaged]));
            let plan = Plan::of(&view, longest).unwrap();
            assert_eq!(plan.root.floor, floor, "{longest}");
            assert!(!plan.root.covers(damaged) && plan.packs.iter().all(|pack| plan.root.covers(*pack)), "{longest}");
        }
    }

    #[test]
    fn a_run_is_absorbed_where_it_makes_no_run_more() {
        assert!(absorbs(30, 70, 100) && !absorbs(31, 70, 100) && !absorbs(10, 40, 100));
        assert!(absorbs(101, 1, 100) && absorbs(101, 99, 100) && !absorbs(101, 100, 100) && !absorbs(1, 100, 100));
    }

    #[tokio::test]
    async fn no_run_is_longer_than_it_may_be_however_much_is_indexed() {
        let (longest, bucket) = (100, Arc::new(InMemory::new()));
        let open = async || {
            let mut options = S3Options::over(Arc::clone(&bucket) as _);
            options.run = longest;
            options.open().await.unwrap()
        };
        let store = open().await;
        let content = store.indexable().unwrap();
        let value = |pack: usize, i: usize| Bytes::from(format!("{i} of {pack}"));
        let len = |pack: usize| if pack == 0 { 250 } else { 7 };
        for pack in 0..200 {
            let batch = content.begin().await.unwrap();
            for i in 0..len(pack) {
                batch.add(value(pack, i)).await.unwrap();
            }
            batch.commit().await.unwrap();
        }
        store.close().await.unwrap();
        let root = bucket.get(&Path::from(root::OBJECT)).await.unwrap().bytes().await.unwrap();
        let runs = Root::open(&root).unwrap().runs;
        assert!(runs.len() > 2 && runs.iter().all(|run| run.records() <= longest), "{} runs", runs.len());
        let cold = open().await;
        let content = cold.indexable().unwrap();
        for pack in 0..200 {
            for i in 0..len(pack) {
                assert!(content.index(&HashFunction::Blake3.hash(&value(pack, i))).await.unwrap().is_some());
            }
        }
        cold.close().await.unwrap();
    }
}
