//! Bugs of keys and scopes: two keys that are one, keys that are refused, and listings that are not what is there.

use std::{
    collections::BTreeSet,
    marker::PhantomData,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use store_api::{
    AtomicWrite, ContentKey, ContentKeyStream, EntryStream, Error, ErrorKind, Event, Indexable, Init, Key, KeyStream,
    Result, TestAndSet, Watch,
};
use tokio::time::sleep;

use crate::lock::lock;

use super::{Bug, twist::Twist};

pub(super) const BUGS: &[Bug] = &[
    bug!(
        "keys-in-lower-case",
        "Two keys that differ in letter case are one.",
        [
            "key/K2-every-valid-key-is-an-entry-of-its-own",
            "key/K2-every-valid-key-is-created-by-test-and-set",
            "key/K2-some-keys-are-set-and-no-others"
        ],
        Aliased<LowerCase>
    ),
    bug!(
        "keys-unescaped",
        "A `%` and two digits in a key are taken for an escaped character.",
        ["key/K2-every-valid-key-is-an-entry-of-its-own"],
        Aliased<Unescaped>
    ),
    bug!(
        "keys-cut",
        "Keys are told apart by their first two hundred bytes.",
        ["key/K1-the-longest-keys-work"],
        Aliased<Cut>
    ),
    bug!(
        "keys-as-files",
        "A key cannot be an entry and have entries below it.",
        ["key/K2-a-key-and-one-below-it-come-and-go-apart"],
        KeysAsFiles
    ),
    bug!(
        "dots-refused",
        "A key with the step `..` is refused.",
        ["key/K2-every-valid-key-is-an-entry-of-its-own"],
        DotsRefused
    ),
    bug!(
        "empty-path-accepted",
        "A write to the empty path is accepted, and forgotten.",
        ["key/K3-the-empty-path-is-refused-as-an-entry"],
        EmptyPathAccepted
    ),
    bug!(
        "scope-by-text",
        "The scope `a` covers `ab`.",
        [
            "watch/W12-a-list-counts-whole-steps",
            "watch/W12-a-scope-covers-whole-steps",
            "watch/W12-a-scope-of-another-instance-covers-whole-steps"
        ],
        ScopeByText
    ),
    bug!(
        "list-with-removed-keys",
        "A key that was removed stays in the listing.",
        ["key/K2-some-keys-are-removed-and-no-others"],
        ListWithRemovedKeys
    ),
    bug!(
        "list-cut-short",
        "A listing ends after a thousand keys.",
        ["atomic/A7-a-long-list-is-whole", "atomic/A7-a-half-read-list-still-has-what-stayed"],
        ListCutShort
    ),
    bug!(
        "list-repeats-a-page",
        "A listing tells the last key of a page of thirty-two again with the next page.",
        [
            "atomic/A7-a-list-amid-changes-has-what-was-there-and-nothing-else",
            "atomic/A7-a-long-list-is-whole",
            "atomic/A7-a-list-amid-changes-by-another-instance-has-what-was-there-and-nothing-else"
        ],
        ListRepeatsAPage
    ),
    bug!(
        "keys-longer-than-declared",
        "A store that declares shorter keys takes longer ones.",
        ["key/K1-a-key-longer-than-the-store-takes-is-refused"],
        KeysLongerThanDeclared
    ),
    bug!(
        "keys-in-lower-case-on-disk",
        "Two keys that differ in letter case are one, on disk.",
        ["key/K2-every-valid-key-is-there-when-reopened"],
        on Durable Aliased<LowerCase>
    ),
    bug!(
        "empty-path-refused-in-reads",
        "A read of the empty path is an error.",
        ["key/K3-the-empty-path-reads-as-absent"],
        EmptyPathRefusedInReads
    ),
    bug!(
        "long-characters-not-listed",
        "Keys with a character of four bytes are not listed.",
        ["key/K2-any-keys-are-listed-exactly"],
        LongCharactersNotListed
    ),
    bug!(
        "empty-path-covers-nothing",
        "A listing of the empty path is empty.",
        ["key/K3-the-empty-path-as-a-scope-means-everything"],
        EmptyPathCoversNothing
    ),
    bug!(
        "list-holds-a-lock",
        "While a listing is open, others wait to write.",
        ["atomic/A7-a-half-read-list-holds-up-no-write", "atomic/A7-half-read-content-keys-hold-up-no-add"],
        waits ListHoldsALock
    ),
];

/// Another name that a key is taken for.
trait Alias: Default + Send + Sync {
    fn alias(path: &str) -> String;
}

#[derive(Default)]
struct LowerCase;

impl Alias for LowerCase {
    fn alias(path: &str) -> String {
        path.to_lowercase()
    }
}

#[derive(Default)]
struct Unescaped;

impl Alias for Unescaped {
    fn alias(path: &str) -> String {
        path.replace("%41", "A").replace("%20", " ").replace("%2F", "/").replace("%2f", "/").replace("%25", "%")
    }
}

#[derive(Default)]
struct Cut;

impl Alias for Cut {
    fn alias(path: &str) -> String {
        let end = (0..=path.len().min(200)).rev().find(|&end| path.is_char_boundary(end)).unwrap_or_default();
        path[..end].trim_end_matches('/').to_owned()
    }
}

#[derive(Default)]
struct Aliased<A>(PhantomData<A>);

impl<A: Alias> Aliased<A> {
    fn alias(key: &Key) -> Key {
        Key::new(A::alias(key.as_str())).unwrap_or_else(|_| key.clone())
    }
}

#[async_trait]
impl<A: Alias> Twist for Aliased<A> {
    async fn mem(&self, on: &Arc<dyn AtomicWrite>, key: &Key) -> Result<bool> {
        on.mem(&Self::alias(key)).await
    }

    async fn find(&self, on: &Arc<dyn AtomicWrite>, key: &Key) -> Result<Option<Bytes>> {
        on.find(&Self::alias(key)).await
    }

    async fn set(&self, on: &Arc<dyn AtomicWrite>, key: &Key, value: Bytes) -> Result<()> {
        on.set(&Self::alias(key), value).await
    }

    async fn test_and_set(
        &self,
        on: &Arc<dyn AtomicWrite>,
        key: &Key,
        test: Option<Bytes>,
        set: Option<Bytes>,
    ) -> Result<TestAndSet> {
        on.test_and_set(&Self::alias(key), test, set).await
    }

    async fn remove(&self, on: &Arc<dyn AtomicWrite>, key: &Key) -> Result<()> {
        on.remove(&Self::alias(key)).await
    }
}

#[derive(Default)]
struct KeysAsFiles;

#[async_trait]
impl Twist for KeysAsFiles {
    async fn set(&self, on: &Arc<dyn AtomicWrite>, key: &Key, value: Bytes) -> Result<()> {
        for above in key.ancestors().skip(1).filter(|path| !path.is_empty()) {
            on.remove(&Key::new(above)?).await?;
        }
        on.set(key, value).await
    }
}

#[derive(Default)]
struct DotsRefused;

#[async_trait]
impl Twist for DotsRefused {
    async fn set(&self, on: &Arc<dyn AtomicWrite>, key: &Key, value: Bytes) -> Result<()> {
        if key.steps().any(|step| step == "..") {
            return Err(Error::new(ErrorKind::InvalidKey, "a key may not leave the store").with_key(key));
        }
        on.set(key, value).await
    }
}

#[derive(Default)]
struct EmptyPathAccepted;

#[async_trait]
impl Twist for EmptyPathAccepted {
    async fn set(&self, on: &Arc<dyn AtomicWrite>, key: &Key, value: Bytes) -> Result<()> {
        if key.is_root() { Ok(()) } else { on.set(key, value).await }
    }
}

#[derive(Default)]
struct ScopeByText;

fn begins_with(under: &Key, key: &Key) -> bool {
    key.as_str().starts_with(under.as_str())
}

#[async_trait]
impl Twist for ScopeByText {
    fn list(&self, on: &Arc<dyn AtomicWrite>, under: &Key) -> KeyStream {
        let under = under.clone();
        let covered = move |key: &Result<Key>| key.as_ref().map_or(true, |key| begins_with(&under, key));
        Box::pin(on.list(&Key::root()).filter(move |key| std::future::ready(covered(key))))
    }

    fn entries(&self, on: &Arc<dyn AtomicWrite>, under: &Key) -> EntryStream {
        let under = under.clone();
        let covered =
            move |entry: &Result<(Key, Bytes)>| entry.as_ref().map_or(true, |(key, _)| begins_with(&under, key));
        Box::pin(on.entries(&Key::root()).filter(move |entry| std::future::ready(covered(entry))))
    }

    async fn watch(&self, on: &Arc<dyn AtomicWrite>, under: &Key, init: Init<Vec<(Key, Bytes)>>) -> Result<Watch> {
        let watch = on.watch(&Key::root(), init).await?;
        let under = under.clone();
        let covered = move |event: &Result<Event>| match event {
            Ok(Event::Changed { key, .. }) => begins_with(&under, key),
            _ => true,
        };
        Ok(Watch::new(watch.id(), watch.filter(move |event| std::future::ready(covered(event)))))
    }
}

#[derive(Default)]
struct ListWithRemovedKeys {
    removed: Mutex<BTreeSet<Key>>,
}

#[async_trait]
impl Twist for ListWithRemovedKeys {
    async fn remove(&self, on: &Arc<dyn AtomicWrite>, key: &Key) -> Result<()> {
        on.remove(key).await?;
        lock(&self.removed).insert(key.clone());
        Ok(())
    }

    fn list(&self, on: &Arc<dyn AtomicWrite>, under: &Key) -> KeyStream {
        let removed = lock(&self.removed);
        let stale: Vec<_> = removed.iter().filter(|key| under.covers(key)).cloned().map(Ok).collect();
        Box::pin(on.list(under).chain(stream::iter(stale)))
    }
}

#[derive(Default)]
struct ListCutShort;

impl Twist for ListCutShort {
    fn list(&self, on: &Arc<dyn AtomicWrite>, under: &Key) -> KeyStream {
        Box::pin(on.list(under).take(1000))
    }
}

#[derive(Default)]
struct ListRepeatsAPage;

impl Twist for ListRepeatsAPage {
    fn list(&self, on: &Arc<dyn AtomicWrite>, under: &Key) -> KeyStream {
        let pages = on.list(under).enumerate().flat_map(|(i, key)| {
            let times = if i % 32 == 31 { 2 } else { 1 };
            stream::iter(vec![key; times])
        });
        Box::pin(pages)
    }
}

#[derive(Default)]
struct KeysLongerThanDeclared;

impl Twist for KeysLongerThanDeclared {
    fn max_key_len(&self, sound: usize) -> usize {
        sound / 2
    }
}

#[derive(Default)]
struct EmptyPathRefusedInReads;

#[async_trait]
impl Twist for EmptyPathRefusedInReads {
    async fn find(&self, on: &Arc<dyn AtomicWrite>, key: &Key) -> Result<Option<Bytes>> {
        if key.is_root() {
            return Err(Error::new(ErrorKind::InvalidKey, "the empty path is no entry"));
        }
        on.find(key).await
    }
}

#[derive(Default)]
struct EmptyPathCoversNothing;

impl Twist for EmptyPathCoversNothing {
    fn list(&self, on: &Arc<dyn AtomicWrite>, under: &Key) -> KeyStream {
        if under.is_root() { Box::pin(stream::empty()) } else { on.list(under) }
    }
}

#[derive(Default)]
struct LongCharactersNotListed;

impl Twist for LongCharactersNotListed {
    fn list(&self, on: &Arc<dyn AtomicWrite>, under: &Key) -> KeyStream {
        let is_short = |key: &Key| key.as_str().chars().all(|character| character.len_utf8() < 4);
        Box::pin(on.list(under).filter(move |key| std::future::ready(key.as_ref().map_or(true, is_short))))
    }
}

#[derive(Default)]
struct ListHoldsALock {
    /// One clone in each open listing.
    open: Arc<()>,
}

impl ListHoldsALock {
    async fn wait(&self) {
        while Arc::strong_count(&self.open) > 1 {
            sleep(Duration::from_millis(1)).await;
        }
    }
}

#[async_trait]
impl Twist for ListHoldsALock {
    fn list(&self, on: &Arc<dyn AtomicWrite>, under: &Key) -> KeyStream {
        let open = Arc::clone(&self.open);
        Box::pin(on.list(under).inspect(move |_| _ = &open))
    }

    async fn set(&self, on: &Arc<dyn AtomicWrite>, key: &Key, value: Bytes) -> Result<()> {
        self.wait().await;
        on.set(key, value).await
    }

    fn keys(&self, on: &Arc<dyn Indexable>) -> ContentKeyStream {
        let open = Arc::clone(&self.open);
        Box::pin(on.keys().inspect(move |_| _ = &open))
    }

    async fn add(&self, on: &Arc<dyn Indexable>, value: Bytes) -> Result<ContentKey> {
        self.wait().await;
        on.add(value).await
    }
}
