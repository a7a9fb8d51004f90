//! What an open refuses, and what it leaves behind.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use backend_s3::S3Options;
use futures_util::{StreamExt, TryStreamExt, stream::BoxStream};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, memory::InMemory, path::Path,
};
use store_api::{AtomicWrite, Backend, EntryRead, ErrorKind, HashFunction, Key};

/// Which conditions a service ignores.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ignores {
    Create,
    Update,
}

/// A service that takes conditional writes and ignores a condition.
struct Careless(InMemory, Ignores);

#[async_trait]
impl ObjectStore for Careless {
    async fn put_opts(&self, at: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        match (&options.mode, self.1) {
            (PutMode::Create, Ignores::Create) | (PutMode::Update(_), Ignores::Update) => {
                options.mode = PutMode::Overwrite;
            }
            _ => {}
        }
        self.0.put_opts(at, payload, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.0.get_opts(at, options).await
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        unreachable!("a condition holds for single PUT only")
    }

    fn delete_stream(&self, at: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.0.delete_stream(at)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list(prefix).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}

impl fmt::Display for Careless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Careless")
    }
}

impl fmt::Debug for Careless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Careless")
    }
}

async fn objects(store: &dyn ObjectStore) -> Vec<String> {
    store.list(None).map_ok(|meta| meta.location.to_string()).try_collect().await.unwrap()
}

#[tokio::test]
async fn a_service_that_ignores_a_condition_is_refused_by_its_name() {
    for (ignores, named) in [(Ignores::Create, "If-None-Match"), (Ignores::Update, "If-Match")] {
        let store = Arc::new(Careless(InMemory::new(), ignores));
        let error = S3Options::over(Arc::clone(&store) as _).open().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains(named), "{error}");
        assert_eq!(objects(&*store).await, [""; 0]);
    }
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
