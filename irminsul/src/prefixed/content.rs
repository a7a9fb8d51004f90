//! The content of a prefixed store: a handle of the store outside, which its batches and streams hold, so that they end
//! with the view though the handle was dropped.

#![deny(clippy::missing_trait_methods)]

use std::{pin::Pin, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;

use crate::{
    Append, Batch, ContentHash, ContentKey, ContentKeyStream, ContentRead, HashFunction, Indexable, Indexed, Result,
};

type Boxed<'f, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'f>>;

/// The handle itself, or a batch of it.
pub(super) struct Holding<T> {
    inner: T,
    handle: Arc<dyn Indexable>,
}

impl Holding<Arc<dyn Indexable>> {
    pub(super) fn new(handle: Arc<dyn Indexable>) -> Self {
        Self { inner: Arc::clone(&handle), handle }
    }
}

// The methods are written as `async_trait` expands them: the inner future is handed on, not boxed a second time.
macro_rules! forward {
    (async $name:ident(&$borrowed:ident: $type:ty) -> $output:ty) => {
        fn $name<'s, 'b, 'async_trait>(&'s self, $borrowed: &'b $type) -> Boxed<'async_trait, $output>
        where
            's: 'async_trait,
            'b: 'async_trait,
            Self: 'async_trait,
        {
            (*self.inner).$name($borrowed)
        }
    };
    (async $name:ident($($owned:ident: $owned_type:ty),*) -> $output:ty) => {
        fn $name<'s, 'async_trait>(&'s self $(, $owned: $owned_type)*) -> Boxed<'async_trait, $output>
        where
            's: 'async_trait,
            Self: 'async_trait,
        {
            (*self.inner).$name($($owned),*)
        }
    };
}

macro_rules! forward_content {
    ($held:ty) => {
        impl ContentRead for Holding<$held> {
            fn hash_function(&self) -> HashFunction {
                self.inner.hash_function()
            }

            forward!(async mem(&key: ContentKey) -> bool);
            forward!(async find(&key: ContentKey) -> Option<Bytes>);
            forward!(async index(&hash: ContentHash) -> Option<ContentKey>);

            fn keys(&self) -> ContentKeyStream {
                let handle = Arc::clone(&self.handle);
                Box::pin(self.inner.keys().inspect(move |_| {
                    let _ = &handle;
                }))
            }
        }

        impl Append for Holding<$held> {
            forward!(async add(value: Bytes) -> ContentKey);
            forward!(async unsafe_add(hash: ContentHash, value: Bytes) -> ContentKey);
        }
    };
}
forward_content!(Arc<dyn Indexable>);
forward_content!(Box<dyn Batch>);

#[async_trait]
impl Indexed for Holding<Arc<dyn Indexable>> {
    async fn begin(&self) -> Result<Box<dyn Batch>> {
        let inner = self.inner.begin().await?;
        Ok(Box::new(Holding { inner, handle: Arc::clone(&self.handle) }))
    }
}

impl Indexable for Holding<Arc<dyn Indexable>> {
    forward!(async close() -> ());
}

impl Batch for Holding<Box<dyn Batch>> {
    forward!(async commit() -> ());
    forward!(async abort() -> ());
}
