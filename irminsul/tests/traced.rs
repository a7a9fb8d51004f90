//! `Traced`: which spans are opened, when they are entered, and that none shows a value.

#![cfg(feature = "mem")]

mod scripted;

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex},
};

use futures_util::TryStreamExt;
use irminsul::{Backend, Effect, Error, ErrorKind, Init, Key, Traced, prelude::*};
use tracing::{
    Dispatch, Level, Subscriber,
    field::{Field, Visit},
    instrument::WithSubscriber,
    span,
};
use tracing_subscriber::{
    Layer, Registry,
    filter::LevelFilter,
    layer::{Context, SubscriberExt},
};

use scripted::{Goes, scripted};

/// A span as the layer below saw it.
#[derive(Clone, Debug, Default)]
struct Seen {
    name: &'static str,
    fields: BTreeMap<String, String>,
    entered: usize,
    closed: bool,
}

impl Seen {
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }
}

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.fields.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name().to_owned(), value.to_owned());
    }
}

/// Every span of target `irminsul`, in the order in which they were opened.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<(span::Id, Seen)>>>);

impl Spans {
    fn with(&self, id: &span::Id, change: impl FnOnce(&mut Seen)) {
        let mut spans = self.0.lock().unwrap();
        // An id is used again once its span is closed.
        if let Some((_, seen)) = spans.iter_mut().rev().find(|(seen, _)| seen == id) {
            change(seen);
        }
    }

    fn all(&self) -> Vec<Seen> {
        self.0.lock().unwrap().iter().map(|(_, seen)| seen.clone()).collect()
    }

    fn named(&self, name: &str) -> Seen {
        self.all().into_iter().find(|seen| seen.name == name).unwrap_or_else(|| panic!("no span {name}"))
    }
}

impl<S: Subscriber> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, _: Context<'_, S>) {
        if attributes.metadata().target() == "irminsul" {
            let mut seen = Seen { name: attributes.metadata().name(), ..Seen::default() };
            attributes.record(&mut seen);
            self.0.lock().unwrap().push((id.clone(), seen));
        }
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, _: Context<'_, S>) {
        self.with(id, |seen| values.record(seen));
    }

    fn on_enter(&self, id: &span::Id, _: Context<'_, S>) {
        self.with(id, |seen| seen.entered += 1);
    }

    fn on_close(&self, id: span::Id, _: Context<'_, S>) {
        self.with(&id, |seen| seen.closed = true);
    }
}

fn key(path: &str) -> Key {
    Key::new(path).unwrap()
}

/// What a body does to a store in memory, as spans.
async fn spans_of<F>(
    level: Level,
    wrap: impl FnOnce(Arc<dyn Backend>) -> Traced,
    body: impl FnOnce(Traced) -> F,
) -> Spans
where
    F: Future<Output = ()>,
{
    let spans = Spans::default();
    let subscriber = Registry::default().with(spans.clone()).with(LevelFilter::from_level(level));
    let store = wrap(irminsul::open("mem:").await.unwrap());
    body(store).with_subscriber(Dispatch::new(subscriber)).await;
    spans
}

fn traced(store: Arc<dyn Backend>) -> Traced {
    Traced::new(store, "mem")
}

/// Every operation of every trait, with a value that must not be seen.
async fn everything(store: Traced) {
    let (entries, content) = (store.atomic_write().unwrap(), store.indexable().unwrap());
    let secret = || irminsul::Bytes::from("S3CRET");
    entries.set(&key("k"), secret()).await.unwrap();
    entries.find(&key("k")).await.unwrap();
    entries.mem(&key("k")).await.unwrap();
    assert!(!entries.test_and_set(&key("k"), None, Some(secret())).await.unwrap().is_applied());
    entries.list(&Key::root()).try_collect::<Vec<_>>().await.unwrap();
    entries.entries(&Key::root()).try_collect::<Vec<_>>().await.unwrap();
    let watch = entries.watch(&Key::root(), Init::Known(vec![(key("k"), secret())])).await.unwrap();
    let watch_key = entries.watch_key(&key("k"), Init::Known(Some(secret()))).await.unwrap();
    entries.unwatch(watch.id()).await.unwrap();
    drop(watch_key);
    entries.remove(&key("k")).await.unwrap();
    entries.clear().await.unwrap();

    let added = content.add(secret()).await.unwrap();
    content.unsafe_add(added.to_hash(), secret()).await.unwrap();
    content.index(&added.to_hash()).await.unwrap();
    content.keys().try_collect::<Vec<_>>().await.unwrap();
    let batch = content.begin().await.unwrap();
    batch.add(secret()).await.unwrap();
    batch.commit().await.unwrap();
    content.begin().await.unwrap().abort().await.unwrap();

    store.sync().await.unwrap();
    // Memory has no check of its own.
    assert_eq!(store.check().await.unwrap_err().kind(), ErrorKind::Unsupported);
    store.close().await.unwrap();
}

#[tokio::test]
async fn every_operation_is_a_span_that_was_entered_and_closed() {
    let spans = spans_of(Level::INFO, traced, everything).await;
    let names = "set find mem test_and_set list entries watch watch_key unwatch remove clear \
                 add unsafe_add index keys begin add commit begin abort sync check close";
    assert_eq!(spans.all().iter().map(|seen| seen.name).collect::<Vec<_>>(), names.split(' ').collect::<Vec<_>>());
    for seen in spans.all() {
        assert!(seen.entered > 0 && seen.closed, "{seen:?}");
        assert_eq!(seen.field("db.system.name"), Some("mem"), "{seen:?}");
        assert_eq!(seen.field("db.operation.name"), Some(seen.name), "{seen:?}");
        assert_eq!(seen.field("error.type"), (seen.name == "check").then_some("Unsupported"), "{seen:?}");
    }
    for (name, collection) in [("set", "entries"), ("keys", "content"), ("commit", "content"), ("sync", "store")] {
        assert_eq!(spans.named(name).field("db.collection.name"), Some(collection));
    }
}

#[tokio::test]
async fn e2_no_span_shows_a_value_and_keys_are_shown_only_when_asked_for() {
    let with_keys = |store| traced(store).with_keys();
    let silent = [spans_of(Level::TRACE, traced, everything).await, spans_of(Level::INFO, with_keys, everything).await];
    for spans in &silent {
        assert!(spans.all().iter().all(|seen| seen.field("irminsul.key").is_none()));
    }
    let asked = spans_of(Level::DEBUG, with_keys, everything).await;
    assert_eq!(asked.named("test_and_set").field("irminsul.key"), Some("k"));
    assert_eq!(asked.named("index").field("irminsul.key").map(str::len), Some(64));
    for spans in silent.iter().chain([&asked]) {
        assert!(!format!("{:?}", spans.all()).contains("S3CRET"));
    }
}

#[tokio::test]
async fn a_failure_is_recorded_with_its_kind_and_effect() {
    let failing = |store| {
        traced(scripted(store, |operation, _| match operation {
            "set" => Goes::Lost(Error::new(ErrorKind::Timeout, "no answer").with_effect(Effect::Unknown)),
            "find" => Goes::Wrong(Error::new(ErrorKind::Corrupt, "rotted")),
            _ => Goes::Through,
        }))
    };
    let spans = spans_of(Level::INFO, failing, async |store| {
        let entries = store.atomic_write().unwrap();
        entries.set(&key("k"), "v".into()).await.unwrap_err();
        entries.find(&key("k")).await.unwrap_err();
        entries.close().await.unwrap();
        entries.list(&Key::root()).try_collect::<Vec<_>>().await.unwrap_err();
    })
    .await;
    let failure = |name: &str| {
        let seen = spans.named(name);
        (seen.field("error.type").map(str::to_owned), seen.field("irminsul.effect").map(str::to_owned))
    };
    assert_eq!(failure("set"), (Some("Timeout".into()), Some("Unknown".into())));
    assert_eq!(failure("find"), (Some("Corrupt".into()), None));
    assert_eq!(failure("list"), (Some("Closed".into()), None));
}

#[tokio::test]
async fn a_span_is_entered_on_each_poll() {
    // A scripted operation gives way once before it goes on.
    let spans = spans_of(
        Level::INFO,
        |store| traced(scripted(store, |_, _| Goes::Through)),
        async |store| {
            store.atomic_write().unwrap().find(&key("k")).await.unwrap();
        },
    )
    .await;
    // One more than the two polls: the future inside is dropped within the span.
    assert_eq!(spans.named("find").entered, 3);
}

#[tokio::test]
async fn without_a_listener_the_store_is_the_one_inside() {
    let spans = spans_of(Level::ERROR, traced, everything).await;
    assert!(spans.all().is_empty());
}
