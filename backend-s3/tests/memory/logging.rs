//! What is told to whoever runs the store.

use std::{
    fmt::Debug,
    sync::{Arc, Mutex},
    time::Duration,
};

use backend_s3::S3Options;
use futures_util::TryStreamExt;
use object_store::{ObjectStoreExt, memory::InMemory, path::Path};
use store_api::{Append, Backend, ContentRead, EntryRead, Init, Key};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
    util::SubscriberInitExt,
};

/// The objects that this thread was warned of, in their order.
#[derive(Clone, Default)]
struct Warned(Arc<Mutex<Vec<String>>>);

impl<S: Subscriber> Layer<S> for Warned {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() == Level::WARN {
            event.record(&mut self.clone());
        }
    }
}

impl Visit for Warned {
    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "object" {
            self.0.lock().unwrap().push(value.to_owned());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_foreign_object_is_warned_of_once() {
    let warned = Warned::default();
    let _logged = tracing_subscriber::registry().with(warned.clone()).set_default();
    let bucket = Arc::new(InMemory::new());
    let store = S3Options::over(Arc::clone(&bucket) as _).prefix("p").open().await.unwrap();
    let (entries, content) = (store.atomic_write().unwrap(), store.indexable().unwrap());
    let put = async |name| drop(bucket.put(&Path::from(name), "foreign".into()).await.unwrap());
    put("p/entries/UPPER").await;
    put("p/packs/README").await;
    let _watch = entries.watch(&Key::root(), Init::Current).await.unwrap();
    // Virtual time: so many polls.
    tokio::time::sleep(Duration::from_mins(10)).await;
    for i in 0..5 {
        entries.list(&Key::root()).try_collect::<Vec<_>>().await.unwrap();
        content.add(format!("value {i}").into()).await.unwrap();
        content.keys().try_collect::<Vec<_>>().await.unwrap();
    }
    assert_eq!(*warned.0.lock().unwrap(), ["entries/UPPER", "packs/README"]);
    put("p/entries/LATER").await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(*warned.0.lock().unwrap(), ["entries/UPPER", "packs/README", "entries/LATER"]);
}
