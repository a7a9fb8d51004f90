//! A store on a server, and everything that can be done with it.

use std::{error::Error as _, fmt::Write as _, sync::Arc, time::Duration};

use backend_s3::{S3, S3Options};
use conformance::discloses;
use futures_util::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture};
use store_api::{
    Append, AtomicWrite, Backend, ContentKey, ContentRead, EntryRead, Error, HashFunction, Indexable, Indexed, Init,
    Key, Result,
};

use crate::{CREDENTIALS, VALUE, server::Server};

/// How long a request may take, and how long one is sent again.
const PATIENCE: Duration = Duration::from_secs(2);
const BUSY: Duration = Duration::from_millis(500);
/// An operation is a few requests, each tried again while it may be.
pub(crate) const LONGEST: Duration = Duration::from_mins(1);

pub(crate) fn options(server: &Server) -> S3Options {
    let endpoint = format!("http://{}", server.address);
    S3Options::new("bucket").endpoint(endpoint).region("us-east-1").prefix("store").poll(Duration::from_millis(20))
}

pub(crate) fn impatient(server: &Server) -> S3Options {
    options(server).busy(BUSY).patience(PATIENCE).watch_limit(2000)
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Get,
    Put,
    List,
    /// Sent where the creation of a pack is refused.
    Head,
    Delete,
}

/// A store with an entry and a value, and an instance of it that has seen neither.
pub(crate) struct Scene {
    options: S3Options,
    pub(crate) store: S3,
    added: ContentKey,
}

/// What can be done, and which requests it cannot do without.
type Operation = (&'static str, &'static [Class], fn(Arc<Scene>) -> BoxFuture<'static, Result<()>>);

const OPERATIONS: &[Operation] = &[
    ("open", &[Class::Get, Class::Put], |scene| async move { scene.options.clone().open().await.map(drop) }.boxed()),
    ("mem", &[Class::Get], |scene| async move { scene.entries().mem(&key("entry")).await.map(drop) }.boxed()),
    ("find", &[Class::Get], |scene| async move { scene.entries().find(&key("entry")).await.map(drop) }.boxed()),
    ("set", &[Class::Put], |scene| async move { scene.entries().set(&key("set"), VALUE.into()).await }.boxed()),
    ("test_and_set", &[Class::Put], |scene| {
        async move { scene.entries().test_and_set(&key("new"), None, Some(VALUE.into())).await.map(drop) }.boxed()
    }),
    ("remove", &[Class::Get], |scene| async move { scene.entries().remove(&key("entry")).await }.boxed()),
    ("list", &[Class::List], |scene| {
        async move { scene.entries().list(&Key::root()).try_collect::<Vec<_>>().await.map(drop) }.boxed()
    }),
    ("entries", &[Class::List], |scene| {
        async move { scene.entries().entries(&Key::root()).try_collect::<Vec<_>>().await.map(drop) }.boxed()
    }),
    ("watch", &[Class::List], |scene| {
        async move { scene.entries().watch(&Key::root(), Init::Current).await.map(drop) }.boxed()
    }),
    ("watch_key", &[Class::Get], |scene| {
        async move { scene.entries().watch_key(&key("entry"), Init::Known(None)).await.map(drop) }.boxed()
    }),
    ("clear", &[Class::List], |scene| async move { scene.entries().clear().await }.boxed()),
    ("add", &[Class::Put, Class::List, Class::Head], |scene| {
        async move { scene.content().add(format!("{VALUE} too").into()).await.map(drop) }.boxed()
    }),
    ("batch", &[Class::Put, Class::List, Class::Head], |scene| {
        async move {
            let content = scene.content();
            let batch = content.begin().await?;
            batch.add(format!("{VALUE} in a batch").into()).await?;
            batch.commit().await
        }
        .boxed()
    }),
    ("find of content", &[Class::Get], |scene| {
        async move { scene.content().find(&scene.added).await.map(drop) }.boxed()
    }),
    ("index", &[Class::Get, Class::List], |scene| {
        async move { scene.content().index(&HashFunction::Blake3.hash(b"unknown")).await.map(drop) }.boxed()
    }),
    ("keys", &[Class::Get, Class::List], |scene| {
        async move { scene.content().keys().try_collect::<Vec<_>>().await.map(drop) }.boxed()
    }),
];

impl Scene {
    pub(crate) async fn new(server: &Server) -> Arc<Self> {
        let before = options(server).open().await.unwrap();
        before.atomic_write().unwrap().set(&key("entry"), VALUE.into()).await.unwrap();
        let added = before.indexable().unwrap().add(VALUE.into()).await.unwrap();
        let options = impatient(server);
        let store = options.clone().open().await.unwrap();
        Arc::new(Self { options, store, added })
    }

    pub(crate) fn entries(&self) -> Arc<dyn AtomicWrite> {
        self.store.atomic_write().unwrap()
    }

    pub(crate) fn options(&self) -> S3Options {
        self.options.clone()
    }

    pub(crate) fn content(&self) -> Arc<dyn Indexable> {
        self.store.indexable().unwrap()
    }

    /// Does everything at once, and in the end destroys the store. What needs a request of these classes is to end with an
    /// error; what does not may succeed.
    pub(crate) async fn do_everything(self: &Arc<Self>, attacked: &'static [Class]) {
        let done = OPERATIONS.iter().map(|(name, needs, operation)| {
            let is_due = attacked.iter().any(|class| needs.contains(class));
            expect_end(name, is_due, operation(Arc::clone(self)))
        });
        futures_util::stream::iter(done).buffer_unordered(OPERATIONS.len()).collect::<()>().await;
        let destroyed = self.options.clone().destroy().boxed();
        let needs = [Class::Get, Class::List, Class::Delete];
        expect_end("destroy", attacked.iter().any(|class| needs.contains(class)), destroyed).await;
    }
}

async fn expect_end(name: &'static str, is_error_due: bool, operation: BoxFuture<'static, Result<()>>) {
    let ended = tokio::time::timeout(LONGEST, tokio::spawn(operation)).await;
    let ended = ended.unwrap_or_else(|_| panic!("{name} does not end"));
    match ended.unwrap_or_else(|_| panic!("{name} panicked")) {
        Ok(()) => assert!(!is_error_due, "{name} succeeded"),
        Err(error) => expect_clear(name, &error),
    }
}

/// One line, and nothing that is secret in it or beneath it.
pub(crate) fn expect_clear(operation: &str, error: &Error) {
    let shown = error.to_string();
    assert!(!shown.trim().is_empty() && !shown.chars().any(char::is_control), "{operation}: {shown:?}");
    let mut text = format!("{error} {error:?} {error:#?}");
    let mut source = error.source();
    while let Some(beneath) = source {
        // Writing to a string does not fail.
        let _ = write!(text, " {beneath} {beneath:?}");
        source = beneath.source();
    }
    for secret in CREDENTIALS.map(|(_, secret)| secret).into_iter().chain([VALUE]) {
        assert!(!discloses(&text, secret), "{operation} shows a secret");
    }
}

pub(crate) fn key(path: &str) -> Key {
    Key::new(path).unwrap()
}
