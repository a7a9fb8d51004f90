//! Watches beside an entry that cannot be read, reads that are slow or have no answer, and a runtime that ends.

use std::{fmt, future::ready, sync::Arc, time::Duration};

use async_trait::async_trait;
use backend_s3::{S3, S3Options};
use futures_util::{StreamExt, TryStreamExt, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, memory::InMemory, path::Path,
};
use store_api::{
    Append, AtomicWrite, Backend, ContentKey, ContentRead, Diff, Effect, EntryRead, ErrorKind, Event, HashFunction,
    Init, Key, Watch,
};
use tokio::{
    sync::Semaphore,
    task::JoinHandle,
    time::{Instant, timeout},
};

/// What a GET of some objects meets.
enum Meets {
    /// It is refused.
    Refusal,
    /// Its answer is held back, once it is asked for.
    Delay { asked: Semaphore, go_on: Semaphore },
}

/// An object store that reads some objects otherwise than the rest, for one instance.
struct Odd {
    inner: Arc<dyn ObjectStore>,
    /// How their names begin.
    objects: String,
    meets: Meets,
}

impl Odd {
    fn new(inner: &Arc<impl ObjectStore>, objects: &str, meets: Meets) -> Arc<Self> {
        Arc::new(Self { inner: Arc::clone(inner) as _, objects: objects.to_owned(), meets })
    }

    fn slow(inner: &Arc<impl ObjectStore>, objects: &str) -> Arc<Self> {
        Self::new(inner, objects, Meets::Delay { asked: Semaphore::new(0), go_on: Semaphore::new(0) })
    }
}

#[async_trait]
impl ObjectStore for Odd {
    async fn put_opts(&self, at: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(at, payload, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        let answer = self.inner.get_opts(at, options).await;
        if !at.as_ref().starts_with(&self.objects) {
            return answer;
        }
        match &self.meets {
            Meets::Refusal => Err(Error::PermissionDenied { path: at.to_string(), source: "a key of its own".into() }),
            Meets::Delay { asked, go_on } => {
                asked.add_permits(1);
                go_on.acquire().await.unwrap().forget();
                answer
            }
        }
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        unreachable!("a condition holds for single PUT only")
    }

    fn delete_stream(&self, at: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(at)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

impl fmt::Display for Odd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Odd")
    }
}

impl fmt::Debug for Odd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Odd")
    }
}

fn key(path: &str) -> Key {
    Key::new(path).unwrap()
}

async fn entries(store: Arc<dyn ObjectStore>) -> Arc<dyn AtomicWrite> {
    S3Options::over(store).open().await.unwrap().atomic_write().unwrap()
}

async fn next(watch: &mut Watch) -> Event {
    watch.next().await.unwrap().unwrap()
}

fn changed(path: &str, diff: Diff) -> Event {
    Event::Changed { key: key(path), diff }
}

#[tokio::test(start_paused = true)]
async fn w5_an_entry_that_cannot_be_read_keeps_no_other_from_being_told() {
    let bucket = Arc::new(InMemory::new());
    let (mine, others) = (Odd::new(&bucket, "entries/a_", Meets::Refusal), entries(Arc::clone(&bucket) as _).await);
    let mine = entries(mine as _).await;
    let mut all = mine.watch(&Key::root(), Init::Current).await.unwrap();
    let mut beside = mine.watch_key(&key("b"), Init::Current).await.unwrap();
    for watch in [&mut all, &mut beside] {
        assert_eq!(next(watch).await, Event::CaughtUp);
    }
    others.set(&key("a"), "1".into()).await.unwrap();
    let fault = all.next().await.unwrap().unwrap_err();
    assert_eq!((fault.kind(), fault.key()), (ErrorKind::Denied, Some("a")));
    for value in ["1", "2", "3"] {
        others.set(&key("b"), value.into()).await.unwrap();
        for watch in [&mut all, &mut beside] {
            let Event::Changed { key: told, .. } = next(watch).await else { panic!("b has changed") };
            assert_eq!(told, key("b"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn w1_no_watch_begins_where_an_entry_has_changed_and_cannot_be_read() {
    for was_removed in [false, true] {
        let bucket = Arc::new(InMemory::new());
        let (mine, others) = (Odd::new(&bucket, "entries/a_", Meets::Refusal), entries(Arc::clone(&bucket) as _).await);
        if was_removed {
            others.set(&key("a"), "0".into()).await.unwrap();
            others.remove(&key("a")).await.unwrap();
        }
        let mine = entries(mine as _).await;
        let mut first = mine.watch(&Key::root(), Init::Current).await.unwrap();
        assert_eq!(next(&mut first).await, Event::CaughtUp);
        others.set(&key("a"), "1".into()).await.unwrap();
        for init in [Init::Current, Init::Known(vec![(key("a"), "1".into())])] {
            let refused = mine.watch(&Key::root(), init).await.unwrap_err();
            assert_eq!((refused.kind(), refused.key()), (ErrorKind::Denied, Some("a")));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn w10_a_watch_that_begins_beside_a_fault_that_was_just_told_hears_of_it_too() {
    let bucket = Arc::new(InMemory::new());
    let others = entries(Arc::clone(&bucket) as _).await;
    others.set(&key("b"), "0".into()).await.unwrap();
    let slow = Odd::slow(&Odd::new(&bucket, "entries/a_", Meets::Refusal), "entries/b_");
    let Meets::Delay { asked, go_on } = &slow.meets else { unreachable!() };
    let mine = entries(Arc::clone(&slow) as _).await;
    let mut first = mine.watch(&Key::root(), Init::Current).await.unwrap();
    assert_eq!(next(&mut first).await, Event::CaughtUp);
    others.set(&key("b"), "1".into()).await.unwrap();
    let second = tokio::spawn(async move { mine.watch(&Key::root(), Init::Current).await.unwrap() });
    // The second has seen all there is, but for `b`, for which the first waits too.
    drop(asked.acquire_many(2).await.unwrap());
    others.set(&key("a"), "1".into()).await.unwrap();
    assert_eq!(first.next().await.unwrap().unwrap_err().key(), Some("a"));
    go_on.add_permits(1_000);
    let mut faults = second.await.unwrap().filter_map(|told| ready(told.err()));
    let fault = timeout(Duration::from_mins(1), faults.next()).await.expect("it is told").unwrap();
    assert_eq!(fault.key(), Some("a"));
}

#[tokio::test(start_paused = true)]
async fn w11_an_entry_that_is_read_slowly_delays_no_other() {
    for watches_path in [false, true] {
        let bucket = Arc::new(InMemory::new());
        let others = entries(Arc::clone(&bucket) as _).await;
        let slow = Odd::slow(&bucket, "entries/a_");
        let Meets::Delay { asked, go_on } = &slow.meets else { unreachable!() };
        let mine = entries(Arc::clone(&slow) as _).await;
        // Its first read alone is answered.
        go_on.add_permits(1);
        let mut first = mine.watch_key(&key("a"), Init::Current).await.unwrap();
        let mut beside = if watches_path {
            mine.watch(&Key::root(), Init::Current).await.unwrap()
        } else {
            mine.watch_key(&key("b"), Init::Current).await.unwrap()
        };
        for watch in [&mut first, &mut beside] {
            assert_eq!(next(watch).await, Event::CaughtUp);
        }
        others.set(&key("a"), "1".into()).await.unwrap();
        drop(asked.acquire_many(2).await.unwrap());
        for value in ["1", "2", "3"] {
            others.set(&key("b"), value.into()).await.unwrap();
            let told = timeout(Duration::from_secs(2), next(&mut beside)).await.expect("it is told behind a poll");
            assert!(matches!(&told, Event::Changed { key: told, .. } if *told == key("b")), "{told:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn w11_thousands_of_changes_that_are_read_slowly_keep_their_listing_waiting_and_nothing_else() {
    let bucket = Arc::new(InMemory::new());
    let others = entries(Arc::clone(&bucket) as _).await;
    let slow = Odd::slow(&bucket, "entries/a/");
    let Meets::Delay { asked, .. } = &slow.meets else { unreachable!() };
    let store = S3Options::over(Arc::clone(&slow) as _).open().await.unwrap();
    let mine = store.atomic_write().unwrap();
    let mut below = mine.watch(&key("a"), Init::Current).await.unwrap();
    let mut beside = mine.watch_key(&key("b"), Init::Current).await.unwrap();
    for watch in [&mut below, &mut beside] {
        assert_eq!(next(watch).await, Event::CaughtUp);
    }
    for i in 0..3000 {
        others.set(&key(&format!("a/{i}")), "1".into()).await.unwrap();
    }
    drop(asked.acquire_many(64).await.unwrap());
    let listed = store.requests().list;
    for value in ["1", "2", "3"] {
        others.set(&key("b"), value.into()).await.unwrap();
        let told = timeout(Duration::from_secs(2), next(&mut beside)).await.expect("it is told behind a poll");
        assert!(matches!(&told, Event::Changed { key: told, .. } if *told == key("b")), "{told:?}");
    }
    assert_eq!((asked.available_permits(), store.requests().list), (64, listed));
}

#[tokio::test(start_paused = true)]
async fn w4_a_slow_read_that_a_listing_has_overtaken_is_not_told() {
    let bucket = Arc::new(InMemory::new());
    let others = entries(Arc::clone(&bucket) as _).await;
    others.set(&key("a"), "1".into()).await.unwrap();
    let slow = Odd::slow(&bucket, "entries/a_");
    let Meets::Delay { asked, go_on } = &slow.meets else { unreachable!() };
    let mine = entries(Arc::clone(&slow) as _).await;
    let first = tokio::spawn({
        let mine = Arc::clone(&mine);
        async move { mine.watch_key(&key("a"), Init::Current).await.unwrap() }
    });
    asked.acquire().await.unwrap().forget();
    others.set(&key("a"), "2".into()).await.unwrap();
    let mut all = mine.watch(&Key::root(), Init::Current).await.unwrap();
    go_on.add_permits(1_000);
    drop(first.await.unwrap());
    others.set(&key("a"), "3".into()).await.unwrap();
    assert_eq!(next(&mut all).await, Event::CaughtUp);
    assert_eq!(next(&mut all).await, changed("a", Diff::Updated { old: None, new: "3".into() }));
}

/// A store where a GET of one object is not answered, with its instance and a look for what is not there, which waits.
async fn looking(object: &str, bucket: &Arc<InMemory>) -> (S3, JoinHandle<store_api::Result<Option<ContentKey>>>) {
    let slow = Odd::slow(bucket, object);
    let options = S3Options::over(Arc::clone(&slow) as _).busy(Duration::from_secs(2));
    let store = options.patience(Duration::from_hours(1)).open().await.unwrap();
    let content = store.indexable().unwrap();
    let looking = tokio::spawn(async move { content.index(&HashFunction::Blake3.hash(b"unknown")).await });
    let Meets::Delay { asked, .. } = &slow.meets else { unreachable!() };
    asked.acquire().await.unwrap().forget();
    (store, looking)
}

#[tokio::test(start_paused = true)]
async fn a6_an_addition_waits_for_a_slow_look_at_others_packs_no_longer_than_the_option_says() {
    let (store, _looking) = looking("index/root", &Arc::default()).await;
    let begun = Instant::now();
    let refused = store.indexable().unwrap().add("value".into()).await.unwrap_err();
    assert_eq!((refused.kind(), refused.effect()), (ErrorKind::Unavailable, Effect::NotApplied));
    assert_eq!(begun.elapsed().as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn l3_a_close_ends_the_look_at_others_packs() {
    let bucket = Arc::new(InMemory::new());
    let other = S3Options::over(Arc::clone(&bucket) as _).open().await.unwrap();
    other.indexable().unwrap().add("theirs".into()).await.unwrap();
    let packs: Vec<ObjectMeta> = bucket.list(Some(&Path::from("packs"))).try_collect().await.unwrap();
    let (store, looking) = looking(packs[0].location.as_ref(), &bucket).await;
    let begun = Instant::now();
    store.close().await.unwrap();
    assert_eq!(looking.await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(begun.elapsed().as_secs(), 0);
}

#[tokio::test(start_paused = true)]
async fn a12_an_object_that_is_too_large_for_an_entry_is_corrupt_without_its_body() {
    let bucket = Arc::new(InMemory::new());
    let store = S3Options::over(Arc::clone(&bucket) as _).open().await.unwrap();
    let entries = store.atomic_write().unwrap();
    let huge = vec![0; 64 * 1024 * 1024 + 276];
    bucket.put(&Path::from("entries/a_"), huge.into()).await.unwrap();
    let down = store.requests().down;
    assert_eq!(entries.find(&key("a")).await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(store.requests().down, down);
}

#[tokio::test(start_paused = true)]
async fn w10_rot_is_told_of_each_entry_and_read_once() {
    let bucket = Arc::new(InMemory::new());
    let store = S3Options::over(Arc::clone(&bucket) as _).open().await.unwrap();
    let entries = store.atomic_write().unwrap();
    let mut all = entries.watch(&Key::root(), Init::Current).await.unwrap();
    let mut one = entries.watch_key(&key("a"), Init::Current).await.unwrap();
    for watch in [&mut all, &mut one] {
        assert_eq!(next(watch).await, Event::CaughtUp);
    }
    for name in ["entries/a_", "entries/b_"] {
        bucket.put(&Path::from(name), "rotten".into()).await.unwrap();
    }
    // Virtual time: both are found before the first is heard.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut told = Vec::new();
    for _ in 0..2 {
        let fault = all.next().await.unwrap().unwrap_err();
        assert_eq!(fault.kind(), ErrorKind::Corrupt);
        told.push(fault.key().unwrap().to_owned());
    }
    assert_eq!(told, ["a", "b"]);
    let before = store.requests();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!((store.requests().get, store.requests().down), (before.get, before.down));
    entries.set(&key("b"), "well".into()).await.unwrap();
    assert_eq!(next(&mut all).await, changed("b", Diff::Added { new: "well".into() }));
}

#[test]
fn w10_watches_hear_that_the_runtime_of_the_open_has_ended() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (first, second) = (runtime(), runtime());
    let bucket = Arc::new(InMemory::new());
    let (mine, mut watch) = first.block_on(async {
        let mine = entries(bucket).await;
        let mut watch = mine.watch(&Key::root(), Init::Current).await.unwrap();
        assert_eq!(next(&mut watch).await, Event::CaughtUp);
        mine.set(&key("a"), "1".into()).await.unwrap();
        assert_eq!(next(&mut watch).await, changed("a", Diff::Added { new: "1".into() }));
        (mine, watch)
    });
    drop(first);
    second.block_on(async {
        assert_eq!(watch.next().await.unwrap().unwrap_err().kind(), ErrorKind::Other);
        let refused = mine.watch(&Key::root(), Init::Current).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Other);
    });
}
