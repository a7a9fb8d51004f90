//! Every trait for `Arc<T>`, so that a shared handle can be passed where the trait is asked for.
//!
//! The methods are written as `async_trait` expands them: the inner future is handed on, not boxed a second time.

use std::{pin::Pin, sync::Arc};

use bytes::Bytes;

use crate::{
    Append, AtomicWrite, Backend, Batch, ContentHash, ContentKey, ContentKeyStream, ContentRead, EntryRead,
    EntryStream, Guarantees, HashFunction, Indexable, Indexed, Init, Key, KeyStream, Result, TestAndSet, Watch,
    WatchId,
};

type Boxed<'f, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'f>>;

macro_rules! forward {
    // An async method with one borrowed argument, and perhaps some owned ones.
    (async $name:ident(&$borrowed:ident: $type:ty $(, $owned:ident: $owned_type:ty)*) -> $output:ty) => {
        fn $name<'s, 'b, 'async_trait>(&'s self, $borrowed: &'b $type $(, $owned: $owned_type)*) -> Boxed<'async_trait, $output>
        where
            's: 'async_trait,
            'b: 'async_trait,
            Self: 'async_trait,
        {
            (**self).$name($borrowed $(, $owned)*)
        }
    };
    (async $name:ident($($owned:ident: $owned_type:ty),*) -> $output:ty) => {
        fn $name<'s, 'async_trait>(&'s self $(, $owned: $owned_type)*) -> Boxed<'async_trait, $output>
        where
            's: 'async_trait,
            Self: 'async_trait,
        {
            (**self).$name($($owned),*)
        }
    };
    ($name:ident($($argument:ident: $type:ty),*) -> $output:ty) => {
        fn $name(&self $(, $argument: $type)*) -> $output {
            (**self).$name($($argument),*)
        }
    };
}

impl<T: EntryRead + ?Sized> EntryRead for Arc<T> {
    forward!(async mem(&key: Key) -> bool);
    forward!(async find(&key: Key) -> Option<Bytes>);
    forward!(list(under: &Key) -> KeyStream);
    forward!(entries(under: &Key) -> EntryStream);
    forward!(async watch(&under: Key, init: Init<Vec<(Key, Bytes)>>) -> Watch);
    forward!(async watch_key(&key: Key, init: Init<Option<Bytes>>) -> Watch);
    forward!(async unwatch(id: WatchId) -> ());
}

impl<T: AtomicWrite + ?Sized> AtomicWrite for Arc<T> {
    forward!(async set(&key: Key, value: Bytes) -> ());
    forward!(async test_and_set(&key: Key, test: Option<Bytes>, set: Option<Bytes>) -> TestAndSet);
    forward!(async remove(&key: Key) -> ());
    forward!(async clear() -> ());
    forward!(async close() -> ());
}

impl<T: ContentRead + ?Sized> ContentRead for Arc<T> {
    forward!(hash_function() -> HashFunction);
    forward!(async mem(&key: ContentKey) -> bool);
    forward!(async find(&key: ContentKey) -> Option<Bytes>);
    forward!(async index(&hash: ContentHash) -> Option<ContentKey>);
    forward!(keys() -> ContentKeyStream);
}

impl<T: Append + ?Sized> Append for Arc<T> {
    forward!(async add(value: Bytes) -> ContentKey);
    forward!(async unsafe_add(hash: ContentHash, value: Bytes) -> ContentKey);
}

impl<T: Indexed + ?Sized> Indexed for Arc<T> {
    forward!(async begin() -> Box<dyn Batch>);
}

impl<T: Indexable + ?Sized> Indexable for Arc<T> {
    forward!(async close() -> ());
}

impl<T: Batch + ?Sized> Batch for Arc<T> {
    forward!(async commit() -> ());
    forward!(async abort() -> ());
}

impl<T: Backend + ?Sized> Backend for Arc<T> {
    forward!(atomic_write() -> Option<Arc<dyn AtomicWrite>>);
    forward!(indexable() -> Option<Arc<dyn Indexable>>);
    forward!(guarantees() -> Guarantees);
    forward!(async sync() -> ());
    forward!(async check() -> ());
    forward!(async close() -> ());
}
