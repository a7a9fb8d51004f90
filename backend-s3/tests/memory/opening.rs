//! What an open refuses, and what it leaves behind.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use backend_s3::S3Options;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, memory::InMemory, path::Path,
};
use store_api::{Append, AtomicWrite, Backend, EntryRead, ErrorKind, Event, HashFunction, Init, Key};

/// What a service does not do as it should.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fails {
    /// It ignores the condition of a create.
    Create,
    /// It ignores the condition of an update.
    Update,
    /// It refuses each update, as if its condition did not hold.
    EachUpdate,
    /// It answers each update, or each create, with contention.
    ContendedUpdate,
    ContendedCreate,
    /// It refuses the next update alone.
    OneUpdate,
    /// Whoever asks may not write.
    Put,
    /// Whoever asks may not delete.
    Delete,
    /// Whoever asks may delete all but entries.
    DeleteEntry,
}

/// A service that is not as it should be.
struct Odd {
    inner: InMemory,
    fails: Fails,
    updates: AtomicUsize,
}

impl Odd {
    fn new(fails: Fails) -> Arc<Self> {
        Arc::new(Self { inner: InMemory::new(), fails, updates: AtomicUsize::new(0) })
    }

    /// Whether an update is refused whose condition may hold.
    fn refuses_update(&self) -> bool {
        let earlier = self.updates.fetch_add(1, Ordering::Relaxed);
        self.fails == Fails::EachUpdate || (self.fails == Fails::OneUpdate && earlier == 0)
    }
}

fn denied(at: &Path) -> Error {
    Error::PermissionDenied { path: at.to_string(), source: "403".into() }
}

#[async_trait]
impl ObjectStore for Odd {
    async fn put_opts(&self, at: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        match (&options.mode, self.fails) {
            (PutMode::Create, Fails::ContendedCreate) | (PutMode::Update(_), Fails::ContendedUpdate) => {
                return Err(Error::AlreadyExists { path: at.to_string(), source: "409".into() });
            }
            (PutMode::Update(_), _) if self.refuses_update() => {
                return Err(Error::Precondition { path: at.to_string(), source: "412".into() });
            }
            (PutMode::Create, Fails::Create) | (PutMode::Update(_), Fails::Update) => {
                options.mode = PutMode::Overwrite;
            }
            (_, Fails::Put) => return Err(denied(at)),
            _ => {}
        }
        self.inner.put_opts(at, payload, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(at, options).await
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        unreachable!("a condition holds for single PUT only")
    }

    fn delete_stream(&self, at: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let refused = match self.fails {
            Fails::Delete => "",
            Fails::DeleteEntry => "/entries/",
            _ => return self.inner.delete_stream(at),
        };
        let checked =
            at.map(move |at| at.and_then(|at| if at.as_ref().contains(refused) { Err(denied(&at)) } else { Ok(at) }));
        self.inner.delete_stream(checked.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix).boxed()
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

async fn objects(store: &dyn ObjectStore) -> Vec<String> {
    store.list(None).map_ok(|meta| meta.location.to_string()).try_collect().await.unwrap()
}

#[tokio::test]
async fn a_service_that_ignores_a_condition_is_refused_by_its_name() {
    for (ignored, named) in [(Fails::Create, "If-None-Match"), (Fails::Update, "If-Match")] {
        let store = Odd::new(ignored);
        let error = S3Options::over(Arc::clone(&store) as _).open().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains(named), "{error}");
        assert_eq!(objects(&*store).await, [""; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_refuses_each_update_is_refused_by_its_name_and_one_that_is_contended_is_not() {
    let store = Odd::new(Fails::EachUpdate);
    let error = S3Options::over(Arc::clone(&store) as _).open().await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unsupported, false));
    assert!(error.to_string().contains("an update of the current version"), "{error}");
    assert_eq!(objects(&*store).await, [""; 0]);
    S3Options::over(Odd::new(Fails::OneUpdate)).open().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a6_a_service_where_each_write_is_contended_is_unavailable_and_lacks_nothing() {
    for fails in [Fails::ContendedCreate, Fails::ContendedUpdate] {
        let store = Odd::new(fails);
        let error = S3Options::over(Arc::clone(&store) as _).open().await.unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unavailable, true));
        assert_eq!(objects(&*store).await, [""; 0]);
    }
}

#[tokio::test]
async fn who_may_not_write_cannot_open_and_who_may_not_delete_leaves_the_probe_behind() {
    let open = async |fails| {
        let store = Odd::new(fails);
        let opened = S3Options::over(Arc::clone(&store) as _).open().await;
        (opened.map(drop).map_err(|error| error.kind()), objects(&*store).await)
    };
    assert_eq!(open(Fails::Put).await, (Err(ErrorKind::Denied), vec![]));
    let (opened, left) = open(Fails::Delete).await;
    assert!(opened.is_ok());
    assert!(matches!(&left[..], [probe, header] if probe.starts_with("probe/") && header == "store"), "{left:?}");
}

#[tokio::test]
async fn l5_a_store_of_another_hash_function_or_format_is_left_untouched() {
    let bucket = Arc::new(InMemory::new());
    let options = || S3Options::over(Arc::clone(&bucket) as _);
    options().hash(HashFunction::Sha256).open().await.unwrap();
    let before = objects(&*bucket).await;
    let error = options().hash(HashFunction::Blake3).open().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    assert!(error.to_string().contains("sha256") && error.to_string().contains("blake3"), "{error}");
    assert_eq!(objects(&*bucket).await, before);
    bucket.put(&Path::from("store"), "something else".into()).await.unwrap();
    assert_eq!(options().open().await.unwrap_err().kind(), ErrorKind::Incompatible);
    assert_eq!(objects(&*bucket).await, before);
}

#[tokio::test]
async fn a_store_is_not_made_where_none_may_be() {
    let bucket = Arc::new(InMemory::new());
    let error = S3Options::over(Arc::clone(&bucket) as _).create(false).open().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(objects(&*bucket).await, [""; 0]);
}

#[test]
fn outside_a_runtime_a_store_is_neither_opened_nor_destroyed() {
    let options = || S3Options::over(Arc::new(InMemory::new())).prefix("a");
    let (opened, destroyed) = (options().open().now_or_never(), options().destroy().now_or_never());
    for refused in [opened.map(|opened| opened.map(drop)), destroyed] {
        let error = refused.expect("said at once").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("tokio runtime"), "{error}");
    }
}

#[tokio::test]
async fn a_prefix_that_services_fold_or_refuse_is_refused() {
    for prefix in ["a//b", "..", "a/.b", "a.", "a b", "\u{e9}", "a%2f", &"x".repeat(201)] {
        let error = S3Options::over(Arc::new(InMemory::new())).prefix(prefix).open().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{prefix}");
    }
}

#[tokio::test]
async fn stores_under_two_prefixes_do_not_see_each_other_and_one_is_destroyed_alone() {
    let bucket = Arc::new(InMemory::new());
    let options = |prefix: &str| S3Options::over(Arc::clone(&bucket) as _).prefix(prefix);
    let (one, other) = (options("a").open().await.unwrap(), options("ab/c").open().await.unwrap());
    let key = Key::new("k").unwrap();
    one.atomic_write().unwrap().set(&key, "one".into()).await.unwrap();
    assert!(!other.atomic_write().unwrap().mem(&key).await.unwrap());
    other.atomic_write().unwrap().set(&key, "other".into()).await.unwrap();
    options("a").destroy().await.unwrap();
    assert_eq!(objects(&*bucket).await, ["ab/c/entries/k_", "ab/c/store"]);
    assert_eq!(options("").destroy().await.unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn what_is_not_a_store_is_not_destroyed() {
    let bucket = Arc::new(InMemory::new());
    let options = || S3Options::over(Arc::clone(&bucket) as _).prefix("a");
    options().destroy().await.unwrap();
    for header in [None, Some("something else"), Some("irminsul-s3 2 blake3\n")] {
        bucket.put(&Path::from("a/precious"), "bytes".into()).await.unwrap();
        if let Some(header) = header {
            bucket.put(&Path::from("a/store"), header.into()).await.unwrap();
        }
        let before = objects(&*bucket).await;
        assert_eq!(options().destroy().await.unwrap_err().kind(), ErrorKind::Incompatible, "{header:?}");
        assert_eq!(objects(&*bucket).await, before, "{header:?}");
    }
}

#[tokio::test]
async fn what_opens_that_made_no_store_have_left_is_destroyed_where_there_is_nothing_else() {
    let bucket = Arc::new(InMemory::new());
    let options = || S3Options::over(Arc::clone(&bucket) as _).prefix("a");
    let probes = [format!("a/probe/{:032x}", 7), format!("a/probe/{}", "f".repeat(32))];
    for (beside, is_destroyed) in [
        ("b/probe", true),
        ("a/probe/readme", false),
        ("a/probe/+f0000000000000000000000000000000", false),
        ("a/probe/F0000000000000000000000000000000", false),
        ("a/entries/k_", false),
    ] {
        for object in probes.iter().map(String::as_str).chain([beside]) {
            bucket.put(&Path::from(object), "first".into()).await.unwrap();
        }
        let before = objects(&*bucket).await;
        let destroyed = options().destroy().await.map_err(|error| error.kind());
        if is_destroyed {
            assert_eq!((destroyed, objects(&*bucket).await), (Ok(()), vec![beside.to_owned()]));
        } else {
            assert_eq!((destroyed, objects(&*bucket).await), (Err(ErrorKind::Incompatible), before));
        }
        bucket.delete(&Path::from(beside)).await.unwrap();
    }
}

#[tokio::test]
async fn a_destroy_that_fails_leaves_the_header_so_that_it_can_be_done_again() {
    let bucket = Odd::new(Fails::DeleteEntry);
    let options = || S3Options::over(Arc::clone(&bucket) as _).prefix("a");
    let store = options().open().await.unwrap();
    store.atomic_write().unwrap().set(&Key::new("k").unwrap(), "v".into()).await.unwrap();
    for _ in 0..2 {
        assert_eq!(options().destroy().await.unwrap_err().kind(), ErrorKind::Denied);
        assert_eq!(objects(&*bucket).await, ["a/entries/k_", "a/store"]);
    }
}

#[tokio::test]
async fn k2_foreign_objects_are_passed_over() {
    let bucket = Arc::new(InMemory::new());
    let store = S3Options::over(Arc::clone(&bucket) as _).open().await.unwrap();
    let entries = store.atomic_write().unwrap();
    entries.set(&Key::new("k").unwrap(), "v".into()).await.unwrap();
    for name in ["entries/UPPER", "entries/k", "entries/.hidden", "entries/a_/b", "entries/long/x"] {
        bucket.put(&Path::from(name), "foreign".into()).await.unwrap();
    }
    let listed: Vec<_> = entries.list(&Key::root()).try_collect().await.unwrap();
    assert_eq!(listed, [Key::new("k").unwrap()]);
}

#[tokio::test(start_paused = true)]
async fn e1_a_time_without_an_end_is_as_long_as_it_takes() {
    let options: [fn(S3Options) -> S3Options; 3] = [
        |options| options.poll(Duration::MAX),
        |options| options.busy(Duration::MAX),
        |options| options.patience(Duration::MAX),
    ];
    for set in options {
        let store = set(S3Options::over(Arc::new(InMemory::new()))).open().await.unwrap();
        let (entries, content) = (store.atomic_write().unwrap(), store.indexable().unwrap());
        let key = Key::new("k").unwrap();
        let mut watch = entries.watch(&Key::root(), Init::Current).await.unwrap();
        assert_eq!(watch.next().await.unwrap().unwrap(), Event::CaughtUp);
        entries.set(&key, "v".into()).await.unwrap();
        assert!(matches!(watch.next().await.unwrap().unwrap(), Event::Changed { .. }));
        assert_eq!(entries.find(&key).await.unwrap(), Some("v".into()));
        content.add("value".into()).await.unwrap();
        assert_eq!(content.index(&HashFunction::Blake3.hash(b"unknown")).await.unwrap(), None);
        store.close().await.unwrap();
    }
}
