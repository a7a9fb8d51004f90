//! Content in packs: what is promised of it, whatever happens to the requests and to the objects, and how many requests
//! it takes.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use backend_s3::{Requests, S3, S3Options};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, TryStreamExt, future::join_all};
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, memory::InMemory, path::Path};
use store_api::{Append, Backend, ContentHash, ContentKey, ContentRead, ErrorKind, HashFunction, Indexable, Indexed};
use tokio::sync::oneshot;

use crate::faulty::{FAULTS, Fault, Faulty, Step, nothing};

struct Scene {
    store: S3,
    content: Arc<dyn Indexable>,
}

fn value(i: usize) -> Bytes {
    format!("value {i}").into()
}

fn hash(value: &[u8]) -> ContentHash {
    HashFunction::Blake3.hash(value)
}

impl Scene {
    async fn over(store: Arc<dyn ObjectStore>) -> Self {
        // So that a request without an answer, whose patience is half a minute, is not the last.
        let store = S3Options::over(store).busy(Duration::from_mins(5)).open().await.unwrap();
        let content = store.indexable().unwrap();
        Self { store, content }
    }

    async fn in_bucket(bucket: &Arc<InMemory>) -> Self {
        Self::over(Arc::clone(bucket) as _).await
    }

    /// What an operation takes.
    async fn count<T>(&self, operation: impl Future<Output = store_api::Result<T>>) -> Taken {
        let before = self.store.requests();
        operation.await.unwrap();
        Taken::between(before, self.store.requests())
    }

    async fn add_all(&self, values: impl IntoIterator<Item = Bytes>) -> Vec<ContentKey> {
        let mut keys = Vec::new();
        for value in values {
            keys.push(self.content.add(value).await.unwrap());
        }
        keys
    }

    async fn keys(&self) -> Vec<ContentHash> {
        let keys: Vec<ContentKey> = self.content.keys().try_collect().await.unwrap();
        keys.iter().map(ContentKey::to_hash).collect()
    }

    async fn kind_of_find(&self, key: &ContentKey) -> ErrorKind {
        self.content.find(key).await.unwrap_err().kind()
    }

    /// All of them are found by their keys and by their hashes, and no others.
    async fn has_just(&self, values: &[Bytes]) {
        for value in values {
            let key = self.content.index(&hash(value)).await.unwrap().expect("it was added");
            assert_eq!(self.content.find(&key).await.unwrap().as_ref(), Some(value));
            assert_eq!(self.content.find(&hash(value).into()).await.unwrap().as_ref(), Some(value));
        }
        let keys = self.keys().await;
        let expected: BTreeSet<_> = values.iter().map(|value| hash(value)).collect();
        assert!(keys.iter().eq(&expected), "{} keys, sorted: {}", keys.len(), keys.is_sorted());
    }
}

/// Requests, by kind.
#[derive(Debug, PartialEq, Eq)]
struct Taken {
    put: u64,
    get: u64,
    list: u64,
}

impl Taken {
    fn between(before: Requests, after: Requests) -> Self {
        assert_eq!((after.head, after.delete), (before.head, before.delete));
        Self { put: after.put - before.put, get: after.get - before.get, list: after.list - before.list }
    }

    fn total(&self) -> u64 {
        self.put + self.get + self.list
    }
}

async fn objects(bucket: &InMemory, under: &str) -> Vec<ObjectMeta> {
    bucket.list(Some(&Path::from(under))).try_collect().await.unwrap()
}

async fn change(bucket: &InMemory, at: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = bucket.get(at).await.unwrap().bytes().await.unwrap().to_vec();
    change(&mut bytes);
    bucket.put(at, bytes.into()).await.unwrap();
}

#[tokio::test]
async fn a_value_takes_a_put_and_a_look_beyond_it_and_is_found_with_one_get() {
    let bucket = Arc::new(InMemory::new());
    let scene = Scene::in_bucket(&bucket).await;
    // The first one learns which packs there are.
    assert_eq!(scene.count(scene.content.add(value(0))).await, Taken { put: 1, get: 1, list: 2 });
    assert_eq!(scene.count(scene.content.add(value(1))).await, Taken { put: 1, get: 0, list: 1 });
    let key = scene.content.index(&hash(&value(1))).await.unwrap().unwrap();
    let once = Taken { put: 0, get: 1, list: 0 };
    assert_eq!(scene.count(scene.content.find(&key)).await, once);
    let other = Scene::in_bucket(&bucket).await;
    assert_eq!(other.count(other.content.find(&key)).await, once);
}

#[tokio::test]
async fn a_value_that_is_known_takes_no_request() {
    let scene = Scene::in_bucket(&Arc::new(InMemory::new())).await;
    scene.content.add(value(0)).await.unwrap();
    let none = Taken { put: 0, get: 0, list: 0 };
    assert_eq!(scene.count(scene.content.add(value(0))).await, none);
    assert_eq!(scene.count(scene.content.unsafe_add(hash(&value(0)), value(0))).await, none);
    assert_eq!(scene.count(scene.content.unsafe_add(hash(&value(0)), "false".into())).await, none);
    assert_eq!(scene.count(scene.content.index(&hash(&value(0)))).await, none);
}

#[tokio::test]
async fn a_batch_of_a_thousand_values_is_one_pack() {
    let bucket = Arc::new(InMemory::new());
    let scene = Scene::in_bucket(&bucket).await;
    let batch = scene.content.begin().await.unwrap();
    let values: Vec<_> = (0..1000).map(value).collect();
    for value in &values {
        batch.add(value.clone()).await.unwrap();
    }
    assert_eq!(scene.count(batch.commit()).await, Taken { put: 1, get: 1, list: 2 });
    let other = Scene::in_bucket(&bucket).await;
    let learned = other.count(other.content.index(&hash(&value(7)))).await;
    assert_eq!(learned, Taken { put: 0, get: 2, list: 1 }, "the root that is not there, and a footer");
    other.has_just(&values).await;
}

#[tokio::test]
async fn what_is_added_at_the_same_time_shares_packs() {
    let scene = Scene::in_bucket(&Arc::new(InMemory::new())).await;
    scene.content.add(value(0)).await.unwrap();
    let adds = async {
        let keys = join_all((1..200).map(|i| scene.content.add(value(i % 100)))).await;
        keys.into_iter().collect::<store_api::Result<Vec<_>>>()
    };
    // The first one goes at once, alone; the others together, once it has landed.
    assert_eq!(scene.count(adds).await, Taken { put: 2, get: 0, list: 2 });
    scene.has_just(&(0..100).map(value).collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn packs_are_no_longer_than_the_option_says_unless_a_value_is() {
    let options = S3Options::over(Arc::new(InMemory::new())).pack(1);
    let store = options.open().await.unwrap();
    let content = store.indexable().unwrap();
    let scene = Scene { store, content };
    scene.content.add(value(0)).await.unwrap();
    let adds = async {
        let keys = join_all((1..=6).map(|i| scene.content.add(value(i)))).await;
        keys.into_iter().collect::<store_api::Result<Vec<_>>>()
    };
    assert_eq!(scene.count(adds).await, Taken { put: 6, get: 0, list: 6 });
    scene.has_just(&(0..7).map(value).collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn x1_what_another_instance_acknowledged_is_found_at_once() {
    let bucket = Arc::new(InMemory::new());
    let (one, other) = (Scene::in_bucket(&bucket).await, Scene::in_bucket(&bucket).await);
    for i in 0..300 {
        assert_eq!(other.content.index(&hash(&value(i))).await.unwrap(), None);
        one.content.add(value(i)).await.unwrap();
        let found = other.content.find(&hash(&value(i)).into()).await.unwrap();
        assert_eq!(found, Some(value(i)));
    }
}

/// So many packs that the epochs have passed by a pack of the first.
async fn pass_by(bucket: &InMemory, scene: &Scene) {
    for i in 0.. {
        scene.content.add(format!("meanwhile {i}").into()).await.unwrap();
        let packs = objects(bucket, "packs").await;
        if packs.iter().any(|pack| *pack.location.as_ref() > *"packs/00000008") {
            return;
        }
    }
}

#[tokio::test]
async fn x1_a_pack_that_lands_behind_the_window_of_others_is_written_again() {
    let bucket = Arc::new(InMemory::new());
    let store = Arc::new(Faulty::over(Arc::clone(&bucket)));
    let slow = Scene::over(Arc::clone(&store) as _).await;
    slow.content.add("first".into()).await.unwrap();
    store.take_landed();
    let reader = Arc::new(Scene::in_bucket(&bucket).await);
    let (others, meanwhile) = (Arc::clone(&bucket), Arc::clone(&reader));
    let before = async move {
        pass_by(&others, &Scene::in_bucket(&others).await).await;
        for _ in 0..3 {
            assert_eq!(meanwhile.content.index(&hash(b"late")).await.unwrap(), None);
        }
    };
    store.then([Step { fault: Fault::None, before: Box::new(|| before.boxed()), behind: nothing() }]);
    slow.content.add("late".into()).await.unwrap();
    assert_eq!(store.take_landed().len(), 2);
    assert!(reader.content.index(&hash(b"late")).await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn i7_whatever_becomes_of_its_requests_a_pack_is_there_once_and_whole() {
    for first in FAULTS {
        for second in FAULTS {
            let bucket = Arc::new(InMemory::new());
            let store = Arc::new(Faulty::over(Arc::clone(&bucket)));
            let scene = Scene::over(Arc::clone(&store) as _).await;
            let step = |fault| Step { fault, before: nothing(), behind: nothing() };
            store.then([step(first), step(second)]);
            let batch = scene.content.begin().await.unwrap();
            for i in 0..10 {
                batch.add(value(i)).await.unwrap();
            }
            batch.commit().await.unwrap();
            store.land().await;
            assert_eq!(objects(&bucket, "packs").await.len(), 1, "{first:?}, {second:?}");
            let values: Vec<_> = (0..10).map(value).collect();
            scene.has_just(&values).await;
            Scene::in_bucket(&bucket).await.has_just(&values).await;
        }
    }
}

#[tokio::test]
async fn a9_a_future_that_was_dropped_stops_nobody() {
    let bucket = Arc::new(InMemory::new());
    let scene = Scene::in_bucket(&bucket).await;
    for i in 0..20 {
        assert!(scene.content.add(value(i)).now_or_never().is_none());
    }
    scene.content.add(value(20)).await.unwrap();
    scene.store.close().await.unwrap();
    let other = Scene::in_bucket(&bucket).await;
    for i in 0..=20 {
        let found = other.content.find(&hash(&value(i)).into()).await.unwrap();
        assert!(found.is_none_or(|found| found == value(i)));
    }
    assert_eq!(other.content.find(&hash(&value(20)).into()).await.unwrap(), Some(value(20)));
}

#[tokio::test]
async fn i4_a_false_value_is_corrupt_until_the_true_one_repairs_it() {
    let bucket = Arc::new(InMemory::new());
    let (one, other) = (Scene::in_bucket(&bucket).await, Scene::in_bucket(&bucket).await);
    let truth = value(0);
    let stale = one.content.unsafe_add(hash(&truth), "false".into()).await.unwrap();
    for scene in [&one, &other] {
        assert_eq!(scene.kind_of_find(&stale).await, ErrorKind::Corrupt);
        assert_eq!(scene.kind_of_find(&hash(&truth).into()).await, ErrorKind::Corrupt);
    }
    one.content.add(truth.clone()).await.unwrap();
    for scene in [one, other, Scene::in_bucket(&bucket).await] {
        assert_eq!(scene.content.find(&stale).await.unwrap(), Some(truth.clone()));
        scene.has_just(std::slice::from_ref(&truth)).await;
    }
}

/// More packs than are left to their footers, several times.
async fn indexed() -> (Arc<InMemory>, Vec<Bytes>) {
    let bucket = Arc::new(InMemory::new());
    let scene = Scene::in_bucket(&bucket).await;
    let values: Vec<_> = (0..600).map(value).collect();
    scene.add_all(values.iter().cloned()).await;
    // It waits for the index.
    scene.store.close().await.unwrap();
    assert!(!objects(&bucket, "index").await.is_empty());
    (bucket, values)
}

#[tokio::test]
async fn a_cold_instance_reads_the_index_and_not_every_pack() {
    let (bucket, values) = indexed().await;
    let cold = Scene::in_bucket(&bucket).await;
    let first = cold.count(cold.content.index(&hash(&values[0]))).await;
    assert!(first.total() <= 140, "{first:?} of {} packs", values.len());
    let next = cold.count(cold.content.index(&hash(&values[1]))).await;
    assert_eq!(next.total(), 0, "what was read is remembered");
    cold.has_just(&values).await;
}

#[tokio::test]
async fn an_index_that_is_lost_or_damaged_costs_requests_alone() {
    let flip = |bytes: &mut Vec<u8>| *bytes.last_mut().unwrap() ^= 1;
    let root = Path::from("index/root");
    for damage in 0..5 {
        let (bucket, values) = indexed().await;
        let warm = Scene::in_bucket(&bucket).await;
        warm.content.index(&hash(&values[3])).await.unwrap().unwrap();
        for object in objects(&bucket, "index").await {
            let is_root = object.location == root;
            match damage {
                0 => bucket.delete(&object.location).await.unwrap(),
                1 if is_root => bucket.delete(&object.location).await.unwrap(),
                2 if is_root => change(&bucket, &root, flip).await,
                3 if !is_root => bucket.delete(&object.location).await.unwrap(),
                4 if !is_root => change(&bucket, &object.location, flip).await,
                _ => {}
            }
        }
        let cold = Scene::in_bucket(&bucket).await;
        for scene in [&cold, &warm] {
            scene.has_just(&values).await;
        }
        cold.store.close().await.unwrap();
        Scene::in_bucket(&bucket).await.has_just(&values).await;
    }
}

#[tokio::test]
async fn i6_a_rotten_frame_is_corrupt_and_harms_no_other() {
    let bucket = Arc::new(InMemory::new());
    let scene = Scene::in_bucket(&bucket).await;
    let batch = scene.content.begin().await.unwrap();
    for i in 0..3 {
        batch.add(value(i)).await.unwrap();
    }
    batch.commit().await.unwrap();
    let pack = objects(&bucket, "packs").await.remove(0).location;
    // In the middle of the second of three frames of 15 bytes.
    change(&bucket, &pack, |bytes| bytes[15 + 12] ^= 1).await;
    let mut found = Vec::new();
    for i in 0..3 {
        let value = scene.content.find(&hash(&value(i)).into()).await;
        found.push(value.map_err(|error| error.kind()));
    }
    assert_eq!(found.iter().filter(|found| **found == Err(ErrorKind::Corrupt)).count(), 1, "{found:?}");
    assert_eq!(found.iter().filter(|found| matches!(found, Ok(Some(_)))).count(), 2, "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn a11_what_a_damaged_pack_may_hold_is_not_absent() {
    for damage in 0..3 {
        let bucket = Arc::new(InMemory::new());
        let scene = Scene::in_bucket(&bucket).await;
        let key = scene.content.add(value(0)).await.unwrap();
        let pack = objects(&bucket, "packs").await.remove(0).location;
        scene.content.add(value(1)).await.unwrap();
        match damage {
            0 => change(&bucket, &pack, |bytes| *bytes.last_mut().unwrap() ^= 1).await,
            1 => change(&bucket, &pack, |bytes| bytes.truncate(10)).await,
            _ => change(&bucket, &pack, Vec::clear).await,
        }
        let cold = Scene::in_bucket(&bucket).await;
        let error = cold.content.index(&hash(&value(0))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert_eq!(cold.content.find(&hash(&value(1)).into()).await.unwrap(), Some(value(1)));
        let keys: Vec<_> = cold.content.keys().map(|key| key.map_err(|error| error.kind())).collect().await;
        assert_eq!(keys, [Err(ErrorKind::Corrupt), Ok(hash(&value(1)).into())]);
        if damage == 0 {
            // Its frame is whole.
            assert_eq!(cold.content.find(&key).await.unwrap(), Some(value(0)));
        } else {
            assert_eq!(scene.kind_of_find(&key).await, ErrorKind::Corrupt);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a11_what_a_pack_that_is_gone_may_hold_is_not_absent_and_hides_no_other() {
    let bucket = Arc::new(InMemory::new());
    let scene = Scene::in_bucket(&bucket).await;
    scene.content.add(value(0)).await.unwrap();
    let pack = objects(&bucket, "packs").await.remove(0).location;
    // It lists the pack, and does not look into it.
    let warm = Scene::in_bucket(&bucket).await;
    warm.content.add(value(1)).await.unwrap();
    bucket.delete(&pack).await.unwrap();
    scene.content.add(value(2)).await.unwrap();
    assert!(warm.content.index(&hash(&value(2))).await.unwrap().is_some());
    assert_eq!(warm.content.index(&hash(&value(0))).await.unwrap_err().kind(), ErrorKind::Corrupt);
    let keys: Vec<_> = warm.content.keys().map(|key| key.map_err(|error| error.kind())).collect().await;
    let mut told: Vec<_> = keys.iter().filter_map(|key| key.as_ref().ok().map(ContentKey::to_hash)).collect();
    told.sort_unstable();
    let mut there = [1, 2].map(|i| hash(&value(i)));
    there.sort_unstable();
    assert_eq!(told, there);
    assert_eq!(keys.iter().filter(|key| **key == Err(ErrorKind::Corrupt)).count(), 1);
    // Who comes later does not know of it.
    assert_eq!(Scene::in_bucket(&bucket).await.content.index(&hash(&value(0))).await.unwrap(), None);
}

#[tokio::test]
async fn what_is_not_the_stores_among_the_packs_is_passed_over() {
    let bucket = Arc::new(InMemory::new());
    let scene = Scene::in_bucket(&bucket).await;
    scene.content.add(value(0)).await.unwrap();
    for name in ["packs/README", "packs/00000000-zz", "packs/00000000-+0000000000000000000000000000000", "packs/a/b"] {
        bucket.put(&Path::from(name), "foreign".into()).await.unwrap();
    }
    Scene::in_bucket(&bucket).await.has_just(&[value(0)]).await;
}

const ROOT: &str = "index/root";

/// The objects of the index that are not the root.
async fn runs(bucket: &InMemory) -> Vec<Path> {
    let objects = objects(bucket, "index").await.into_iter().map(|object| object.location);
    objects.filter(|at| *at != Path::from(ROOT)).collect()
}

fn flip_last(bytes: &mut [u8]) {
    *bytes.last_mut().unwrap() ^= 1;
}

/// Enough values for a merge, one in each pack.
fn merged_values() -> Vec<Bytes> {
    (0..64).map(value).collect()
}

#[tokio::test]
async fn a_root_whose_put_arrives_twice_keeps_its_run() {
    let bucket = Arc::new(InMemory::new());
    let store = Arc::new(Faulty::over(Arc::clone(&bucket)));
    let scene = Scene::over(Arc::clone(&store) as _).await;
    store.when_put(ROOT, Step { fault: Fault::Repeated, before: nothing(), behind: nothing() });
    scene.add_all(merged_values()).await;
    scene.store.close().await.unwrap();
    assert_eq!(runs(&bucket).await.len(), 1);
    let cold = Scene::in_bucket(&bucket).await;
    let taken = cold.count(cold.content.index(&hash(&value(0)))).await;
    // The root, and the block of the run.
    assert_eq!(taken, Taken { put: 0, get: 2, list: 1 });
    cold.has_just(&merged_values()).await;
}

#[tokio::test]
async fn x1_a_root_that_is_answered_late_does_not_hide_what_a_later_one_covers() {
    let bucket = Arc::new(InMemory::new());
    let store = Arc::new(Faulty::over(Arc::clone(&bucket)));
    let slow = Arc::new(Scene::over(Arc::clone(&store) as _).await);
    let (others, reader) = (Arc::clone(&bucket), Arc::clone(&slow));
    let (answered, answer) = oneshot::channel();
    // Behind the PUT of the root, and before its answer.
    let behind = async move {
        let other = Scene::in_bucket(&others).await;
        other.add_all((64..400).map(value)).await;
        other.store.close().await.unwrap();
        // The slow instance learns of the later root.
        assert!(reader.content.index(&hash(&value(70))).await.unwrap().is_some());
        answered.send(()).unwrap();
    };
    store.when_put(ROOT, Step { fault: Fault::None, before: nothing(), behind: Box::new(|| behind.boxed()) });
    slow.add_all(merged_values()).await;
    answer.await.unwrap();
    // The answer is taken by a task of this thread, which waits for nothing else.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let taken = slow.count(slow.content.index(&hash(&value(71)))).await;
    assert_eq!(taken.list, 0, "it knows of the root that covers it: {taken:?}");
    slow.store.close().await.unwrap();
    let reopened = Scene::in_bucket(&bucket).await;
    reopened.has_just(&(0..400).map(value).collect::<Vec<_>>()).await;
}

/// A merge whose requests are not answered keeps a close no longer than the option says, and what lands afterwards harms
/// nothing.
#[tokio::test(start_paused = true)]
async fn a_close_gives_a_merge_up_that_takes_long() {
    for object in ["index/", ROOT] {
        let bucket = Arc::new(InMemory::new());
        let store = Arc::new(Faulty::over(Arc::clone(&bucket)));
        let opened = S3Options::over(Arc::clone(&store) as _).busy(Duration::from_secs(2)).open().await.unwrap();
        let scene = Scene { content: opened.indexable().unwrap(), store: opened };
        store.when_put(object, Step { fault: Fault::LandsAtTheEnd, before: nothing(), behind: nothing() });
        scene.add_all(merged_values()).await;
        let begun = tokio::time::Instant::now();
        scene.store.close().await.unwrap();
        assert_eq!(begun.elapsed().as_secs(), 2, "{object}");
        let reader = Scene::in_bucket(&bucket).await;
        reader.has_just(&merged_values()).await;
        store.land().await;
        for scene in [reader, Scene::in_bucket(&bucket).await] {
            scene.has_just(&merged_values()).await;
        }
    }
}

#[tokio::test]
async fn a_merge_removes_the_runs_that_earlier_ones_left_behind_and_none_that_is_to_be_named() {
    let (bucket, _) = indexed_once().await;
    let [named] = runs(&bucket).await.try_into().unwrap();
    let put = async |name: &str| drop(bucket.put(&Path::from(name), "left".into()).await.unwrap());
    let (left, foreign) = (format!("index/{:032x}", 7), "index/README");
    put(&left).await;
    put(foreign).await;
    let store = Arc::new(Faulty::over(Arc::clone(&bucket)));
    let scene = Scene::over(Arc::clone(&store) as _).await;
    // Behind the PUT of the root another merge writes its run, which it is about to name.
    let (under_way, others) = (format!("index/{:032x}", 8), Arc::clone(&bucket));
    let name = Path::from(under_way.as_str());
    let behind = async move { drop(others.put(&name, "under way".into()).await.unwrap()) };
    store.when_put(ROOT, Step { fault: Fault::None, before: nothing(), behind: Box::new(|| behind.boxed()) });
    scene.add_all((64..128).map(value)).await;
    scene.store.close().await.unwrap();
    let runs = runs(&bucket).await;
    assert!(!runs.contains(&named), "it was absorbed");
    assert!(!runs.contains(&Path::from(left)));
    assert!(runs.contains(&Path::from(under_way)) && runs.contains(&Path::from(foreign)));
    assert_eq!(runs.len(), 3, "and that of the merge");
    Scene::in_bucket(&bucket).await.has_just(&(0..128).map(value).collect::<Vec<_>>()).await;
}

/// A bucket whose packs an index covers, with the pack of the first value.
async fn indexed_once() -> (Arc<InMemory>, Path) {
    let bucket = Arc::new(InMemory::new());
    let scene = Scene::in_bucket(&bucket).await;
    scene.content.add(value(0)).await.unwrap();
    let pack = objects(&bucket, "packs").await.remove(0).location;
    scene.add_all((1..64).map(value)).await;
    scene.store.close().await.unwrap();
    assert_eq!(runs(&bucket).await.len(), 1);
    (bucket, pack)
}

#[tokio::test]
async fn a11_a_damaged_pack_that_a_lost_run_covered_is_not_absent() {
    let (bucket, pack) = indexed_once().await;
    bucket.delete(&runs(&bucket).await[0]).await.unwrap();
    change(&bucket, &pack, |bytes| flip_last(bytes)).await;
    let cold = Scene::in_bucket(&bucket).await;
    assert_eq!(cold.content.index(&hash(&value(0))).await.unwrap_err().kind(), ErrorKind::Corrupt);
    let cold = Scene::in_bucket(&bucket).await;
    let keys: Vec<_> = cold.content.keys().collect().await;
    assert_eq!(keys.iter().filter(|key| key.is_err()).count(), 1);
    assert_eq!(keys.iter().filter(|key| key.is_ok()).count(), 63);
}

#[tokio::test(start_paused = true)]
async fn a7_a_stream_waits_for_what_a_lost_index_covered() {
    let bucket = Arc::new(InMemory::new());
    let scene = Scene::in_bucket(&bucket).await;
    let batch = scene.content.begin().await.unwrap();
    for i in 0..3000 {
        batch.add(value(i)).await.unwrap();
    }
    batch.commit().await.unwrap();
    scene.add_all((3000..3063).map(value)).await;
    scene.store.close().await.unwrap();
    let store = Arc::new(Faulty::over(Arc::clone(&bucket)));
    let cold = Scene::over(Arc::clone(&store) as _).await;
    let mut keys = cold.content.keys();
    keys.next().await.unwrap().unwrap();
    for object in objects(&bucket, "index").await {
        bucket.delete(&object.location).await.unwrap();
    }
    // It learns that there is no root, and then nobody answers.
    let absent = hash(b"nowhere");
    store.fail_gets_below("packs", 1000);
    assert_eq!(cold.content.index(&absent).await.unwrap_err().kind(), ErrorKind::Unavailable);
    store.fail_gets_below("packs", 0);
    assert_eq!(keys.try_collect::<Vec<_>>().await.unwrap().len(), 3062);
}

#[tokio::test]
async fn i2_a_value_that_rotted_is_repaired_by_who_saw_it_and_for_all() {
    for gone in [false, true] {
        let (bucket, pack) = indexed_once().await;
        let warm = Scene::in_bucket(&bucket).await;
        let key = warm.content.index(&hash(&value(0))).await.unwrap().unwrap();
        if gone {
            bucket.delete(&pack).await.unwrap();
        } else {
            change(&bucket, &pack, |bytes| bytes[10] ^= 1).await;
        }
        assert_eq!(warm.kind_of_find(&key).await, ErrorKind::Corrupt);
        warm.content.add(value(0)).await.unwrap();
        assert_eq!(warm.content.find(&key).await.unwrap(), Some(value(0)));
        // Others, and those that come when the repair is indexed too.
        assert_eq!(Scene::in_bucket(&bucket).await.content.find(&key).await.unwrap(), Some(value(0)));
        warm.add_all((64..200).map(value)).await;
        warm.store.close().await.unwrap();
        assert_eq!(Scene::in_bucket(&bucket).await.content.find(&key).await.unwrap(), Some(value(0)));
    }
}

#[tokio::test]
async fn one_damaged_pack_or_run_does_not_end_indexing() {
    let (bucket, _) = indexed_once().await;
    let scene = Scene::in_bucket(&bucket).await;
    scene.content.add(value(64)).await.unwrap();
    let before: BTreeSet<_> = objects(&bucket, "packs").await.into_iter().map(|pack| pack.location).collect();
    scene.content.add(value(65)).await.unwrap();
    let packs = objects(&bucket, "packs").await.into_iter().map(|pack| pack.location);
    let [last] = packs.filter(|pack| !before.contains(pack)).collect::<Vec<_>>().try_into().unwrap();
    change(&bucket, &last, |bytes| flip_last(bytes)).await;
    change(&bucket, &runs(&bucket).await[0], |bytes| flip_last(bytes)).await;
    // Adds alone, which look into no run.
    let writer = Scene::in_bucket(&bucket).await;
    writer.add_all((66..400).map(value)).await;
    writer.store.close().await.unwrap();
    let cold = Scene::in_bucket(&bucket).await;
    let taken = cold.count(cold.content.index(&hash(&value(1)))).await;
    assert!(taken.total() < 100, "{taken:?} of 400 packs");
    assert_eq!(cold.content.index(&hash(&value(65))).await.unwrap_err().kind(), ErrorKind::Corrupt);
    let keys: Vec<_> = cold.content.keys().filter_map(async |key| key.ok()).collect().await;
    assert_eq!(keys.len(), 399);
}

#[tokio::test(start_paused = true)]
async fn a6_a_pack_is_tried_as_long_as_the_option_says() {
    for (busy, lost) in [(Duration::from_secs(2), 1000), (Duration::from_mins(1), 15)] {
        let store = Arc::new(Faulty::over(Arc::default()));
        let opened = S3Options::over(Arc::clone(&store) as _).busy(busy).open().await.unwrap();
        let content = opened.indexable().unwrap();
        store.then((0..lost).map(|_| Step { fault: Fault::LostBefore, before: nothing(), behind: nothing() }));
        let begun = tokio::time::Instant::now();
        let added = content.add(value(0)).await;
        assert!(begun.elapsed() < busy + Duration::from_secs(5));
        assert_eq!(added.map_err(|error| error.kind()).is_ok(), lost == 15);
    }
}

#[tokio::test]
async fn a9_what_waits_is_forgotten_with_its_future() {
    let bucket = Arc::new(InMemory::new());
    let store = Arc::new(Faulty::over(Arc::clone(&bucket)));
    let scene = Arc::new(Scene::over(Arc::clone(&store) as _).await);
    let waiting = Arc::clone(&scene);
    let behind = async move {
        for i in 1..20 {
            assert!(waiting.content.unsafe_add(hash(&value(i)), value(i)).now_or_never().is_none());
        }
    };
    store.then([Step { fault: Fault::None, before: Box::new(|| behind.boxed()), behind: nothing() }]);
    scene.content.add(value(0)).await.unwrap();
    scene.content.add(value(20)).await.unwrap();
    scene.has_just(&[value(0), value(20)]).await;
}

#[tokio::test]
async fn a9_a_close_waits_for_the_additions_that_have_queued() {
    let bucket = Arc::new(InMemory::new());
    let scene = Scene::in_bucket(&bucket).await;
    scene.content.add(value(0)).await.unwrap();
    let mut adds = join_all((1..4).map(|i| scene.content.add(value(i))));
    assert!((&mut adds).now_or_never().is_none());
    scene.store.close().await.unwrap();
    let packs = objects(&bucket, "packs").await.len();
    for added in adds.await {
        added.unwrap();
    }
    assert_eq!(objects(&bucket, "packs").await.len(), packs);
    assert_eq!(packs, 3, "the first, the one that goes at once, and that of the others");
}

#[tokio::test]
#[should_panic(expected = "inside")]
async fn a_panic_in_a_commit_goes_on_in_the_caller() {
    let store = Arc::new(Faulty::over(Arc::default()));
    let scene = Scene::over(Arc::clone(&store) as _).await;
    store.then([Step {
        fault: Fault::None,
        before: Box::new(|| async { panic!("inside") }.boxed()),
        behind: nothing(),
    }]);
    let batch = scene.content.begin().await.unwrap();
    batch.add(value(0)).await.unwrap();
    batch.commit().await.unwrap();
}
