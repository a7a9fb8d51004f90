use futures_util::{StreamExt, stream};
use store_api::MAX_VALUE_LEN;

use super::*;
use crate::ROW_BYTES;

const BLAKE3: HashFunction = HashFunction::Blake3;

/// A store that keeps each commit as it came.
#[derive(Clone, Default)]
struct Store(Arc<Mutex<Shared>>);

#[derive(Default)]
struct Shared {
    values: HashMap<ContentHash, Bytes>,
    commits: Vec<Vec<Addition>>,
    is_full: bool,
}

impl Store {
    fn holding(values: &[&'static str]) -> Self {
        let store = Self::default();
        store.0.lock().values.extend(values.iter().map(|value| (hash_of(value), Bytes::from(*value))));
        store
    }

    fn commits(&self) -> Vec<Vec<Addition>> {
        self.0.lock().commits.clone()
    }
}

#[async_trait]
impl ContentRead for Store {
    fn hash_function(&self) -> HashFunction {
        BLAKE3
    }

    async fn mem(&self, key: &ContentKey) -> Result<bool> {
        Ok(self.0.lock().values.contains_key(&key.to_hash()))
    }

    async fn find(&self, key: &ContentKey) -> Result<Option<Bytes>> {
        Ok(self.0.lock().values.get(&key.to_hash()).cloned())
    }

    async fn index(&self, hash: &ContentHash) -> Result<Option<ContentKey>> {
        Ok(self.0.lock().values.contains_key(hash).then(|| (*hash).into()))
    }

    fn keys(&self) -> ContentKeyStream {
        let keys: Vec<_> = self.0.lock().values.keys().map(|hash| Ok((*hash).into())).collect();
        Box::pin(stream::iter(keys))
    }
}

#[async_trait]
impl BatchTarget for Store {
    fn context(&self) -> Context {
        Context::new("list")
    }

    async fn commit(&self, additions: Vec<Addition>) -> Result<()> {
        let mut shared = self.0.lock();
        if shared.is_full {
            return Err(Error::new(ErrorKind::NoSpace, "no space is left"));
        }
        shared.values.extend(additions.iter().map(|addition| (addition.hash, addition.value.clone())));
        shared.commits.push(additions);
        Ok(())
    }
}

fn hash_of(value: &str) -> ContentHash {
    BLAKE3.hash(value.as_bytes())
}

fn batch_over(store: &Store) -> BufferedBatch<Store> {
    batch_with_room(store, 10, 1_000)
}

/// A batch that takes so many values, with so many bytes together.
fn batch_with_room(store: &Store, values: usize, bytes: usize) -> BufferedBatch<Store> {
    let limit = values * (ContentHash::LEN + ROW_BYTES) + bytes;
    BufferedBatch::new(store.clone(), &Gate::new(), limit, true)
}

#[tokio::test]
async fn i4_a_long_look_for_the_true_one_of_two_values_holds_up_nobody() {
    let store = Store::default();
    let batch = batch_with_room(&store, 10, 4 * MAX_VALUE_LEN);
    let [one, other] = [1, 2].map(|byte| Bytes::from(vec![byte; MAX_VALUE_LEN]));
    let hash = BLAKE3.hash(&other);
    batch.unsafe_add(hash, one).await.unwrap();
    let mut adding = Box::pin(batch.unsafe_add(hash, other.clone()));
    // It is looked at elsewhere: the batch is free.
    assert!(futures_util::poll!(&mut adding).is_pending());
    assert!(batch.own.try_lock().is_some());
    adding.await.unwrap();
    assert_eq!(batch.find(&hash.into()).await.unwrap(), Some(other.clone()));
    batch.unsafe_add(hash, Bytes::from(vec![3; MAX_VALUE_LEN])).await.unwrap();
    assert_eq!(batch.find(&hash.into()).await.unwrap(), Some(other));
}

async fn assert_closed(batch: &BufferedBatch<Store>) {
    let hash = hash_of("a");
    let too_long = Bytes::from(vec![0; MAX_VALUE_LEN + 1]);
    let errors = [
        ("add", batch.add("a".into()).await.unwrap_err()),
        ("add", batch.add(too_long.clone()).await.unwrap_err()),
        ("unsafe_add", batch.unsafe_add(hash, "a".into()).await.unwrap_err()),
        ("unsafe_add", batch.unsafe_add(hash, too_long).await.unwrap_err()),
        ("mem", batch.mem(&hash.into()).await.unwrap_err()),
        ("find", batch.find(&hash.into()).await.unwrap_err()),
        ("index", batch.index(&hash).await.unwrap_err()),
        ("keys", batch.keys().next().await.unwrap().unwrap_err()),
        ("commit", batch.commit().await.unwrap_err()),
        ("abort", batch.abort().await.unwrap_err()),
    ];
    for (operation, error) in errors {
        assert_eq!(error.kind(), ErrorKind::Closed, "{operation}");
        assert_eq!((error.backend(), error.operation()), (Some("list"), Some(operation)), "E1: {error}");
    }
}

#[tokio::test]
async fn i7_a_batch_reads_its_own_writes_and_those_of_the_store() {
    let batch = batch_over(&Store::holding(&["theirs"]));
    assert!(!batch.mem(&hash_of("own").into()).await.unwrap());
    let own = batch.add("own".into()).await.unwrap();
    assert_eq!(own.to_hash(), hash_of("own"));
    for value in ["own", "theirs"] {
        let hash = hash_of(value);
        assert!(batch.mem(&hash.into()).await.unwrap(), "{value}");
        assert_eq!(batch.find(&hash.into()).await.unwrap().unwrap(), value);
        assert_eq!(batch.index(&hash).await.unwrap().unwrap().to_hash(), hash);
    }
    assert_eq!(batch.find(&hash_of("nobody's").into()).await.unwrap(), None);
    assert_eq!(batch.index(&hash_of("nobody's")).await.unwrap(), None);
}

#[tokio::test]
async fn i7_a_commit_hands_over_all_at_once() {
    let store = Store::default();
    let batch = batch_over(&store);
    for value in ["a", "b", "a"] {
        batch.add(value.into()).await.unwrap();
    }
    assert!(store.commits().is_empty());
    batch.commit().await.unwrap();
    let [commit] = &store.commits()[..] else { panic!("one commit") };
    let mut values: Vec<_> = commit.iter().map(|addition| (addition.value.clone(), addition.hash)).collect();
    values.sort();
    assert_eq!(values, [("a".into(), hash_of("a")), ("b".into(), hash_of("b"))]);
}

#[tokio::test]
async fn i7_an_empty_batch_commits_nothing() {
    let store = Store::default();
    batch_over(&store).commit().await.unwrap();
    assert!(store.commits().is_empty());
}

#[tokio::test]
async fn i7_an_aborted_or_dropped_batch_commits_nothing() {
    let store = Store::default();
    let aborted = batch_over(&store);
    aborted.add("a".into()).await.unwrap();
    aborted.abort().await.unwrap();
    let dropped = batch_over(&store);
    dropped.add("a".into()).await.unwrap();
    drop(dropped);
    assert!(store.commits().is_empty());
}

#[tokio::test]
async fn i7_a_batch_is_closed_after_its_end() {
    let store = Store::holding(&["a"]);
    let committed = batch_over(&store);
    committed.commit().await.unwrap();
    assert_closed(&committed).await;
    let aborted = batch_over(&store);
    aborted.abort().await.unwrap();
    assert_closed(&aborted).await;
}

#[tokio::test]
async fn i7_a_failed_commit_ends_the_batch() {
    let store = Store::default();
    store.0.lock().is_full = true;
    let batch = batch_over(&store);
    batch.add("a".into()).await.unwrap();
    assert_eq!(batch.commit().await.unwrap_err().kind(), ErrorKind::NoSpace);
    assert_closed(&batch).await;
}

#[tokio::test]
async fn l1_a_batch_is_closed_with_its_handle() {
    let store = Store::holding(&["a"]);
    let handle = Gate::new();
    let batch = BufferedBatch::new(store.clone(), &handle, 1_000, true);
    batch.add("b".into()).await.unwrap();
    let mut keys = batch.keys();
    handle.close();
    assert_closed(&batch).await;
    assert_eq!(keys.next().await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
    assert!(store.commits().is_empty());
}

#[tokio::test]
async fn l2_the_end_of_a_batch_closes_neither_its_handle_nor_its_neighbours() {
    let handle = Gate::new();
    let [one, other] = [(); 2].map(|()| BufferedBatch::new(Store::default(), &handle, 1_000, true));
    one.abort().await.unwrap();
    assert!(!handle.is_closed());
    other.add("a".into()).await.unwrap();
}

#[tokio::test]
async fn i7_beyond_the_cap_is_value_too_large_and_the_batch_stays_as_it_was() {
    let store = Store::default();
    let batch = batch_with_room(&store, 2, 100);
    batch.add(vec![1; 60].into()).await.unwrap();
    assert_eq!(batch.add(vec![2; 41].into()).await.unwrap_err().kind(), ErrorKind::ValueTooLarge);
    let hash = hash_of("false");
    assert_eq!(batch.unsafe_add(hash, vec![2; 41].into()).await.unwrap_err().kind(), ErrorKind::ValueTooLarge);
    batch.add(vec![1; 60].into()).await.unwrap();
    batch.add(vec![3; 40].into()).await.unwrap();
    batch.commit().await.unwrap();
    let mut lengths: Vec<_> = store.commits()[0].iter().map(|addition| addition.value.len()).collect();
    lengths.sort_unstable();
    assert_eq!(lengths, [40, 60]);
}

#[tokio::test]
async fn i7_values_of_no_length_reach_the_cap_too() {
    let batch = batch_with_room(&Store::default(), 10, 0);
    for byte in 0..10 {
        batch.unsafe_add(ContentHash::new([byte; ContentHash::LEN]), Bytes::new()).await.unwrap();
    }
    let hash = ContentHash::new([10; ContentHash::LEN]);
    assert_eq!(batch.unsafe_add(hash, Bytes::new()).await.unwrap_err().kind(), ErrorKind::ValueTooLarge);
    batch.commit().await.unwrap();
}

#[tokio::test]
async fn i7_a_repaired_value_gives_its_room_back() {
    let batch = batch_with_room(&Store::default(), 2, 100);
    let short = hash_of("short");
    batch.unsafe_add(short, vec![0; 100].into()).await.unwrap();
    assert_eq!(batch.add("other".into()).await.unwrap_err().kind(), ErrorKind::ValueTooLarge);
    batch.add("short".into()).await.unwrap();
    batch.add(vec![1; 95].into()).await.unwrap();
    assert_eq!(batch.add("x".into()).await.unwrap_err().kind(), ErrorKind::ValueTooLarge);
}

#[tokio::test]
async fn v1_a_value_that_is_too_long_is_refused() {
    let batch = BufferedBatch::new(Store::default(), &Gate::new(), usize::MAX, true);
    let value = Bytes::from(vec![0; MAX_VALUE_LEN + 1]);
    assert_eq!(batch.add(value.clone()).await.unwrap_err().kind(), ErrorKind::ValueTooLarge);
    assert_eq!(batch.unsafe_add(hash_of("a"), value).await.unwrap_err().kind(), ErrorKind::ValueTooLarge);
}

#[tokio::test]
async fn i4_under_a_false_hash_only_that_hash_suffers() {
    for verify in [true, false] {
        let batch = BufferedBatch::new(Store::default(), &Gate::new(), 1_000, verify);
        batch.add("other".into()).await.unwrap();
        let key = batch.unsafe_add(hash_of("true"), "false".into()).await.unwrap();
        match batch.find(&key).await {
            Err(error) => {
                assert!(verify && error.kind() == ErrorKind::Corrupt);
                assert_eq!((error.backend(), error.operation()), (Some("list"), Some("find")), "E1: {error}");
            }
            Ok(value) => assert!(!verify && value.unwrap() == "false"),
        }
        assert_eq!(batch.find(&hash_of("other").into()).await.unwrap().unwrap(), "other");
    }
}

#[tokio::test]
async fn i4_the_true_value_repairs_a_false_one_and_not_the_other_way_round() {
    let store = Store::default();
    let batch = batch_over(&store);
    let hash = hash_of("true");
    for _ in 0..2 {
        batch.unsafe_add(hash, "false".into()).await.unwrap();
        batch.add("true".into()).await.unwrap();
    }
    assert_eq!(batch.find(&hash.into()).await.unwrap().unwrap(), "true");
    batch.commit().await.unwrap();
    let [addition] = &store.commits()[0][..] else { panic!("one value") };
    assert!(addition.trusted && addition.value == "true");
}

#[tokio::test]
async fn i4_with_the_true_hash_an_unchecked_value_equals_an_added_one() {
    let batch = batch_over(&Store::default());
    let hash = hash_of("true");
    batch.unsafe_add(hash, "false".into()).await.unwrap();
    batch.unsafe_add(hash, "true".into()).await.unwrap();
    assert_eq!(batch.find(&hash.into()).await.unwrap().unwrap(), "true");
    batch.unsafe_add(hash, "false".into()).await.unwrap();
    assert_eq!(batch.find(&hash.into()).await.unwrap().unwrap(), "true");
}

#[tokio::test]
async fn a7_keys_are_those_of_both_and_none_twice() {
    let theirs: Vec<String> = (0..2 * KEYS_PER_PAGE).map(|n| n.to_string()).collect();
    let store = Store::default();
    store.0.lock().values.extend(theirs.iter().map(|value| (hash_of(value), value.clone().into())));
    let batch = BufferedBatch::new(store, &Gate::new(), usize::MAX, true);
    for value in ["0", "17", "own"] {
        batch.add(value.into()).await.unwrap();
    }
    let mut keys: Vec<_> = batch.keys().map(Result::unwrap).map(|key| key.to_hash()).collect().await;
    let mut expected: Vec<_> = theirs.iter().map(|value| hash_of(value)).chain([hash_of("own")]).collect();
    keys.sort_unstable();
    expected.sort_unstable();
    assert_eq!(keys, expected);
}

#[tokio::test]
async fn e2_neither_a_batch_nor_what_it_adds_shows_a_value() {
    let addition = Addition { hash: hash_of("a"), value: "secret".into(), trusted: true };
    assert!(!format!("{addition:?}").contains("secret"));
    let batch = batch_over(&Store::default());
    batch.add("secret".into()).await.unwrap();
    assert!(!format!("{batch:?}").contains("secret"));
}
