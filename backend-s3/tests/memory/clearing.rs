//! What a `clear` does that meets a failure, or long values, in virtual time.

use std::{sync::Arc, time::Duration};

use backend_s3::S3Options;
use bytes::Bytes;
use futures_util::FutureExt;
use object_store::{
    ObjectStore,
    memory::InMemory,
    throttle::{ThrottleConfig, ThrottledStore},
};
use store_api::{AtomicWrite, Backend, Diff, Effect, EntryRead, ErrorKind, Event, Init, Key};
use tokio::time::{Instant, sleep};

use crate::faulty::{Fault, Faulty, Step, nothing};

const ENTRIES: usize = 40;

#[tokio::test(start_paused = true)]
async fn w5_a_clear_that_fails_begins_nothing_more_and_what_it_had_begun_is_told() {
    let store = Arc::new(Faulty::over(Arc::default()));
    // An answer that is lost is not waited for, and the watches are told of own changes alone.
    let options = S3Options::over(Arc::clone(&store) as _).busy(Duration::ZERO).poll(Duration::from_hours(1));
    let mine = options.open().await.unwrap();
    let entries = mine.atomic_write().unwrap();
    for i in 0..ENTRIES {
        entries.set(&Key::new(format!("{i:02}")).unwrap(), "value".into()).await.unwrap();
    }
    let mut watch = entries.watch(&Key::root(), Init::Current).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap(), Event::CaughtUp);
    let before = mine.requests().put;
    // One takes place and is answered late, behind the failure of another.
    let late = Box::new(|| sleep(Duration::from_secs(1)).boxed());
    store.when_put("entries/00", Step { fault: Fault::None, before: nothing(), behind: late });
    store.then([Step { fault: Fault::LostBefore, before: nothing(), behind: nothing() }]);
    let failed = entries.clear().await.unwrap_err();
    assert_eq!((failed.kind(), failed.effect()), (ErrorKind::Unavailable, Effect::Unknown));
    let begun = mine.requests().put - before;
    assert!((2..=16).contains(&begun), "{begun} removals were begun");
    for _ in 1..begun {
        let told = watch.next().now_or_never().expect("it is told by now").unwrap().unwrap();
        assert!(matches!(told, Event::Changed { diff: Diff::Removed { .. }, .. }), "{told:?}");
    }
    assert!(watch.next().now_or_never().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_clear_reads_few_long_values_at_a_time() {
    let config = ThrottleConfig { wait_get_per_call: Duration::from_secs(1), ..ThrottleConfig::default() };
    let bucket: Arc<dyn ObjectStore> = Arc::new(ThrottledStore::new(InMemory::new(), config));
    for (len, seconds) in [(9, 1), (9 << 20, 2)] {
        let other = S3Options::over(Arc::clone(&bucket)).open().await.unwrap();
        for path in ["a", "b"] {
            let key = Key::new(path).unwrap();
            other.atomic_write().unwrap().set(&key, Bytes::from(vec![b'x'; len])).await.unwrap();
        }
        let mine = S3Options::over(Arc::clone(&bucket)).open().await.unwrap();
        let begun = Instant::now();
        mine.atomic_write().unwrap().clear().await.unwrap();
        assert_eq!(begun.elapsed().as_secs(), seconds, "{len}");
    }
}
