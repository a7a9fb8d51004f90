//! A store with a tracing span per operation. What the store does is left to the one inside.

#![deny(clippy::missing_trait_methods)]

use std::{fmt, pin::Pin, sync::Arc, task::Poll};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{Stream, stream};
use tracing::{Instrument, Level, Span, field};

use crate::{
    Append, AtomicWrite, Backend, Batch, ContentHash, ContentKey, ContentKeyStream, ContentRead, Effect, EntryRead,
    EntryStream, Error, Guarantees, HashFunction, Indexable, Indexed, Init, Key, KeyStream, Result, TestAndSet, Watch,
    WatchId,
};

type Boxed<'f, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'f>>;

/// A store that opens a span of level `INFO` and target `irminsul` for each operation, and is otherwise the one inside.
///
/// The fields are those of OpenTelemetry's conventions for databases, and none of them is a value (E2):
///
/// | field | content |
/// |---|---|
/// | `db.system.name` | the name that [`Traced::new`] was given |
/// | `db.collection.name` | `entries` (atomic-write store), `content` (indexable store), `store` (the instance) |
/// | `db.operation.name` | the method, also the span's name |
/// | `error.type` | the [`ErrorKind`](crate::ErrorKind), where it failed; `Unsupported` for the `check` of an engine that has none |
/// | `irminsul.effect` | `Unknown` where a write that failed may have happened (A5) |
/// | `irminsul.key` | the key or hash, only after [`with_keys`](Traced::with_keys) and at level `DEBUG` |
///
/// The span of a stream lives until the stream is dropped. For a watch only its start is an operation. Where nobody
/// listens, an operation costs one check and no allocation.
///
/// ```
/// use irminsul::{Key, Traced, prelude::*};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> irminsul::Result<()> {
/// let store = Traced::new(irminsul::open("mem:").await?, "mem");
/// let entries = store.atomic_write().expect("mem has entries");
/// entries.set(&Key::new("greeting")?, "hello".into()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Traced {
    inner: Arc<dyn Backend>,
    scope: Scope,
}

impl Traced {
    /// Traces a store under a name, such as its scheme.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>, name: impl Into<Arc<str>>) -> Self {
        Self { inner: backend, scope: Scope { system: name.into(), collection: "store", keys: false } }
    }

    /// Shows keys and hashes too, to whoever listens at level `DEBUG`.
    #[must_use]
    pub fn with_keys(mut self) -> Self {
        self.scope.keys = true;
        self
    }
}

impl fmt::Debug for Traced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traced").field("system", &self.scope.system).finish_non_exhaustive()
    }
}

/// What the spans of one handle have in common.
#[derive(Clone)]
struct Scope {
    system: Arc<str>,
    collection: &'static str,
    keys: bool,
}

impl Scope {
    fn of(&self, collection: &'static str) -> Self {
        Self { collection, ..self.clone() }
    }

    /// Shows what an operation is about, where that is asked for.
    fn about(&self, span: Span, subject: &(impl fmt::Display + ?Sized)) -> Span {
        if self.keys && tracing::enabled!(target: "irminsul", Level::DEBUG) {
            span.record("irminsul.key", field::display(subject));
        }
        span
    }
}

// A macro, since a span's name is fixed where it is opened.
macro_rules! span {
    ($scope:expr, $operation:expr) => {
        tracing::info_span!(
            target: "irminsul",
            $operation,
            "db.system.name" = &*$scope.system,
            "db.collection.name" = $scope.collection,
            "db.operation.name" = $operation,
            "error.type" = field::Empty,
            "irminsul.effect" = field::Empty,
            "irminsul.key" = field::Empty,
        )
    };
}

fn record_error(span: &Span, error: &Error) {
    span.record("error.type", field::debug(error.kind()));
    if error.effect() == Effect::Unknown {
        span.record("irminsul.effect", field::debug(error.effect()));
    }
}

fn traced<'f, T: Send + 'f>(span: Span, operation: Boxed<'f, T>) -> Boxed<'f, T> {
    if span.is_disabled() {
        return operation;
    }
    Box::pin(async move {
        let outcome = operation.instrument(span.clone()).await;
        if let Err(error) = &outcome {
            record_error(&span, error);
        }
        outcome
    })
}

type BoxedStream<T> = Pin<Box<dyn Stream<Item = Result<T>> + Send>>;

fn traced_stream<T: 'static>(span: Span, mut items: BoxedStream<T>) -> BoxedStream<T> {
    if span.is_disabled() {
        return items;
    }
    Box::pin(stream::poll_fn(move |cx| {
        let item = span.in_scope(|| items.as_mut().poll_next(cx));
        if let Poll::Ready(Some(Err(error))) = &item {
            record_error(&span, error);
        }
        item
    }))
}

// The methods are written as `async_trait` expands them, so that a disabled span adds no second box.
macro_rules! traced {
    (async $name:ident(&$subject:ident: $type:ty $(, $owned:ident: $owned_type:ty)*) -> $output:ty) => {
        fn $name<'s, 'b, 'async_trait>(&'s self, $subject: &'b $type $(, $owned: $owned_type)*) -> Boxed<'async_trait, $output>
        where
            's: 'async_trait,
            'b: 'async_trait,
            Self: 'async_trait,
        {
            let span = self.scope.about(span!(self.scope, stringify!($name)), $subject);
            traced(span, (*self.inner).$name($subject $(, $owned)*))
        }
    };
    (async $name:ident($($owned:ident: $owned_type:ty),*) -> $output:ty) => {
        fn $name<'s, 'async_trait>(&'s self $(, $owned: $owned_type)*) -> Boxed<'async_trait, $output>
        where
            's: 'async_trait,
            Self: 'async_trait,
        {
            traced(span!(self.scope, stringify!($name)), (*self.inner).$name($($owned),*))
        }
    };
    (stream $name:ident(&$subject:ident: $type:ty) -> $output:ty) => {
        fn $name(&self, $subject: &$type) -> $output {
            let span = self.scope.about(span!(self.scope, stringify!($name)), $subject);
            traced_stream(span, (*self.inner).$name($subject))
        }
    };
    (stream $name:ident() -> $output:ty) => {
        fn $name(&self) -> $output {
            traced_stream(span!(self.scope, stringify!($name)), (*self.inner).$name())
        }
    };
}

/// A handle or a batch, under the scope of its store.
struct Handle<T> {
    inner: T,
    scope: Scope,
}

impl Backend for Traced {
    fn atomic_write(&self) -> Option<Arc<dyn AtomicWrite>> {
        let inner = self.inner.atomic_write()?;
        Some(Arc::new(Handle { inner, scope: self.scope.of("entries") }))
    }

    fn indexable(&self) -> Option<Arc<dyn Indexable>> {
        let inner = self.inner.indexable()?;
        Some(Arc::new(Handle { inner, scope: self.scope.of("content") }))
    }

    fn guarantees(&self) -> Guarantees {
        self.inner.guarantees()
    }

    traced!(async sync() -> ());
    traced!(async check() -> ());
    traced!(async close() -> ());
}

impl EntryRead for Handle<Arc<dyn AtomicWrite>> {
    traced!(async mem(&key: Key) -> bool);
    traced!(async find(&key: Key) -> Option<Bytes>);
    traced!(stream list(&under: Key) -> KeyStream);
    traced!(stream entries(&under: Key) -> EntryStream);
    traced!(async watch(&under: Key, init: Init<Vec<(Key, Bytes)>>) -> Watch);
    traced!(async watch_key(&key: Key, init: Init<Option<Bytes>>) -> Watch);
    traced!(async unwatch(id: WatchId) -> ());
}

impl AtomicWrite for Handle<Arc<dyn AtomicWrite>> {
    traced!(async set(&key: Key, value: Bytes) -> ());
    traced!(async test_and_set(&key: Key, test: Option<Bytes>, set: Option<Bytes>) -> TestAndSet);
    traced!(async remove(&key: Key) -> ());
    traced!(async clear() -> ());
    traced!(async close() -> ());
}

// The indexable store and a batch of it are read and appended to alike; both are held by a pointer.
macro_rules! traced_content {
    ($held:ty) => {
        impl ContentRead for Handle<$held> {
            fn hash_function(&self) -> HashFunction {
                self.inner.hash_function()
            }

            traced!(async mem(&key: ContentKey) -> bool);
            traced!(async find(&key: ContentKey) -> Option<Bytes>);
            traced!(async index(&hash: ContentHash) -> Option<ContentKey>);
            traced!(stream keys() -> ContentKeyStream);
        }

        impl Append for Handle<$held> {
            traced!(async add(value: Bytes) -> ContentKey);
            traced!(async unsafe_add(hash: ContentHash, value: Bytes) -> ContentKey);
        }
    };
}
traced_content!(Arc<dyn Indexable>);
traced_content!(Box<dyn Batch>);

#[async_trait]
impl Indexed for Handle<Arc<dyn Indexable>> {
    async fn begin(&self) -> Result<Box<dyn Batch>> {
        let inner = traced(span!(self.scope, "begin"), self.inner.begin()).await?;
        Ok(Box::new(Handle { inner, scope: self.scope.clone() }))
    }
}

impl Indexable for Handle<Arc<dyn Indexable>> {
    traced!(async close() -> ());
}

impl Batch for Handle<Box<dyn Batch>> {
    traced!(async commit() -> ());
    traced!(async abort() -> ());
}
