//! The stores under test, each opened fresh and apart from all others, and the words that the tests are written with.

use std::{
    fmt::Display,
    ops::Deref,
    panic::resume_unwind,
    pin::{Pin, pin},
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering},
        mpsc::channel,
    },
    task::Poll,
    time::Duration,
};

use futures_util::{
    FutureExt, StreamExt, TryStreamExt,
    future::{Either, try_join_all},
    stream,
};
use irminsul::{
    AtomicWrite, Backend, Bytes, Durability, EntryRead, Indexable, Key, Prefixed, Result, TestAndSet, Traced,
    Visibility,
};
use tempfile::TempDir;
use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
    task::{JoinHandle, spawn_blocking},
};

/// After which a test has failed, however slow the machine.
const LIMIT: Duration = Duration::from_mins(4);

/// After which what a test waits for has not happened.
const PATIENCE: Duration = Duration::from_mins(1);

/// Where a prefixed store lies in its host.
const PREFIX: &str = "pre fix/%";

/// Makes a test of each function, once per store of the group.
macro_rules! contract {
    (on every store: $($tests:ident),* $(,)?) => {
        mod every {
            contract! { @tests [$($tests),*]
                mem mem_named sqlite_full sqlite_normal sqlite_temporary traced_mem prefixed_mem wrapped_sqlite }
        }
    };
    (where instances share a store: $($tests:ident),* $(,)?) => {
        mod shared {
            contract! { @tests [$($tests),*] mem_named sqlite_full sqlite_normal prefixed_mem wrapped_sqlite }
        }
    };
    (where an instance is alone: $($tests:ident),* $(,)?) => {
        mod alone {
            contract! { @tests [$($tests),*] mem sqlite_temporary traced_mem }
        }
    };
    (where a store outlives its instances: $($tests:ident),* $(,)?) => {
        mod outliving {
            contract! { @tests [$($tests),*] sqlite_full sqlite_normal wrapped_sqlite }
        }
    };
    (@tests $tests:tt $($store:ident)*) => {
        $( contract! { @store $store $tests } )*
    };
    (@store $store:ident [$($test:ident),*]) => {
        mod $store {
            $(
                #[test]
                fn $test() {
                    $crate::store::run($crate::store::Store::$store(), super::super::$test);
                }
            )*
        }
    };
}

/// Runs a test in a runtime of its own, and fails it when it does not end, also when it never yields.
pub(crate) fn run<F>(store: Store, test: impl FnOnce(Store) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let task = runtime.spawn(test(store));
    let (send, ended) = channel();
    runtime.spawn(async move { send.send(task.await) });
    let outcome = ended.recv_timeout(LIMIT);
    runtime.shutdown_background();
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(failure)) => resume_unwind(failure.into_panic()),
        Err(late) => panic!("the test did not end within {LIMIT:?}: {late}"),
    }
}

/// A store that no other test sees.
pub(crate) struct Store {
    location: String,
    options: Vec<String>,
    wrap: fn(Arc<dyn Backend>) -> Arc<dyn Backend>,
    /// How many bytes of a key the wrapper takes.
    prefix_len: usize,
    pub(crate) durability: Durability,
    pub(crate) visibility: Visibility,
    _directory: Option<TempDir>,
}

impl Store {
    fn at(location: String, durability: Durability, visibility: Visibility) -> Self {
        Self {
            location,
            options: Vec::new(),
            wrap: |inner| inner,
            prefix_len: 0,
            durability,
            visibility,
            _directory: None,
        }
    }

    pub(crate) fn mem() -> Self {
        Self::at("mem:".into(), Durability::Volatile, Visibility::Instance)
    }

    pub(crate) fn mem_named() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = NEXT.fetch_add(1, Ordering::Relaxed);
        Self::at(format!("mem:contract-{name}"), Durability::Volatile, Visibility::Process)
    }

    fn sqlite(durability: Durability) -> Self {
        let directory = TempDir::new().unwrap();
        let location = format!("sqlite:{}", directory.path().join("store.db").display());
        Self { _directory: Some(directory), ..Self::at(location, durability, Visibility::Host) }
    }

    pub(crate) fn sqlite_full() -> Self {
        Self::sqlite(Durability::Power).with_option("sync=full")
    }

    pub(crate) fn sqlite_normal() -> Self {
        Self::sqlite(Durability::Process).with_option("sync=normal").with_option("poll=5")
    }

    pub(crate) fn sqlite_temporary() -> Self {
        Self::at("sqlite:".into(), Durability::Volatile, Visibility::Instance)
    }

    pub(crate) fn traced_mem() -> Self {
        Self { wrap: traced, ..Self::mem() }
    }

    pub(crate) fn prefixed_mem() -> Self {
        Self { wrap: prefixed, prefix_len: PREFIX.len() + 1, ..Self::mem_named() }
    }

    pub(crate) fn wrapped_sqlite() -> Self {
        let wrap = |inner| traced(prefixed(inner));
        Self { wrap, prefix_len: PREFIX.len() + 1, ..Self::sqlite_normal() }
    }

    /// The same store, always opened with one more option.
    fn with_option(mut self, option: &str) -> Self {
        self.options.push(option.into());
        self
    }

    /// How many bytes the longest key has.
    pub(crate) fn max_key_len(&self) -> usize {
        Key::MAX_LEN - self.prefix_len
    }

    pub(crate) async fn open(&self) -> Instance {
        self.open_with(&[]).await.unwrap()
    }

    /// An instance with further options.
    pub(crate) async fn open_with(&self, further: &[&str]) -> Result<Instance> {
        let options: Vec<&str> = self.options.iter().map(String::as_str).chain(further.iter().copied()).collect();
        let question_mark = if options.is_empty() { "" } else { "?" };
        let backend = irminsul::open(&format!("{}{question_mark}{}", self.location, options.join("&"))).await?;
        Ok(Instance((self.wrap)(backend)))
    }
}

fn traced(inner: Arc<dyn Backend>) -> Arc<dyn Backend> {
    Arc::new(Traced::new(inner, "contract"))
}

fn prefixed(inner: Arc<dyn Backend>) -> Arc<dyn Backend> {
    Arc::new(Prefixed::new(inner, key(PREFIX)))
}

/// What one `open` gave.
#[derive(Clone)]
pub(crate) struct Instance(Arc<dyn Backend>);

impl Instance {
    pub(crate) fn entries(&self) -> Arc<dyn AtomicWrite> {
        self.0.atomic_write().expect("an atomic-write store")
    }

    pub(crate) fn content(&self) -> Arc<dyn Indexable> {
        self.0.indexable().expect("an indexable store")
    }
}

impl Deref for Instance {
    type Target = dyn Backend;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

pub(crate) fn key(path: &str) -> Key {
    Key::new(path).unwrap()
}

pub(crate) fn value(shown: impl Display) -> Bytes {
    format!("{shown}").into()
}

pub(crate) fn number(value: Option<&Bytes>) -> u64 {
    value.map_or(0, |value| std::str::from_utf8(value).unwrap().parse().unwrap())
}

/// Adds one to a counter, and gives what it made of it.
pub(crate) async fn increment(entries: &dyn AtomicWrite, counter: &Key) -> u64 {
    increment_of_width(entries, counter, 1).await
}

/// Adds one to a counter whose number is written with so many digits at least.
pub(crate) async fn increment_of_width(entries: &dyn AtomicWrite, counter: &Key, width: usize) -> u64 {
    let mut test = entries.find(counter).await.unwrap();
    loop {
        let next = number(test.as_ref()) + 1;
        let digits = "0".repeat(width - 1);
        match entries.test_and_set(counter, test.clone(), Some(value(format!("{digits}{next}")))).await.unwrap() {
            TestAndSet::Applied => return next,
            TestAndSet::Mismatch { current } => {
                assert!(current != test, "A4: a mismatch carries what differs from `test`");
                test = current;
            }
        }
    }
}

/// Sets many entries, several at a time.
pub(crate) async fn set_all(entries: &dyn AtomicWrite, all: impl IntoIterator<Item = (Key, Bytes)>) {
    stream::iter(all)
        .map(|(key, value)| async move { entries.set(&key, value).await })
        .buffer_unordered(64)
        .try_collect::<()>()
        .await
        .unwrap();
}

/// All entries below a path, sorted.
pub(crate) async fn entries_sorted(entries: &dyn EntryRead, under: &Key) -> Vec<(Key, Bytes)> {
    let mut all: Vec<_> = entries.entries(under).try_collect().await.unwrap();
    all.sort();
    all
}

/// Waits for what must happen.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let output = tokio::time::timeout(PATIENCE, future).await;
    output.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}

/// Runs a future on a thread of its own, where it does not wait for its turn behind others that never yield; returns
/// once it runs.
pub(crate) async fn beside<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let (begun, begins) = oneshot::channel();
    let runtime = Handle::current();
    let thread = spawn_blocking(move || {
        // Nobody listens where the test has failed already.
        let _ = begun.send(());
        runtime.block_on(future)
    });
    begins.await.unwrap();
    thread
}

/// Runs futures on threads of their own, all let go at the same moment, and gives what they return.
pub(crate) async fn together<F>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let futures: Vec<F> = futures.into_iter().collect();
    let start = Arc::new(Barrier::new(futures.len()));
    let threads = futures.into_iter().map(|future| {
        let (start, runtime) = (Arc::clone(&start), Handle::current());
        spawn_blocking(move || {
            start.wait();
            runtime.block_on(future)
        })
    });
    try_join_all(threads.collect::<Vec<_>>()).await.unwrap()
}

/// [`together`] for two that differ.
pub(crate) async fn both<A, B>(one: A, other: B) -> (A::Output, B::Output)
where
    A: Future<Output: Send> + Send + 'static,
    B: Future<Output: Send> + Send + 'static,
{
    let one: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(one.map(Either::Left));
    let mut outputs = together([one, Box::pin(other.map(Either::Right))]).await;
    match (outputs.remove(0), outputs.remove(0)) {
        (Either::Left(one), Either::Right(other)) => (one, other),
        _ => unreachable!("they come in their order"),
    }
}

/// Polls a future up to so many times, then drops it; its output where it came that early.
pub(crate) async fn poll_then_drop<T>(future: impl Future<Output = T>, times: usize) -> Option<T> {
    let mut future = pin!(future);
    let mut left = times;
    std::future::poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        cx.waker().wake_by_ref();
        future.as_mut().poll(cx).map(Some)
    })
    .await
}
