//! What operations cost on real servers: the requests that reach one are those that the store counts, and those that its
//! README tells.

use std::{process::ExitCode, sync::Arc, time::Duration};

use backend_s3::{S3, S3Options};
use bytes::Bytes;
use conformance::proxy::{Fault, Proxy};
use futures_util::{StreamExt, TryStreamExt, stream};
use libtest_mimic::{Arguments, Trial};
use store_api::{
    Append, AtomicWrite, Backend, ContentRead, EntryRead, Event, HashFunction, Indexed, Init, Key, Result, Watch,
};
use test_servers::{Endpoint, Kind, Shared, with_credentials};
use tokio::{sync::watch, time::Instant};

const POLL: Duration = Duration::from_millis(100);

const KINDS: &[Kind] = &[
    Kind::SeaweedFs,
    Kind::Ministack,
    #[cfg(feature = "azure")]
    Kind::Azurite,
];

fn main() -> ExitCode {
    if let Some(ended) = with_credentials(KINDS).expect("this program runs") {
        return ended;
    }
    let trials = KINDS.iter().map(|&kind| {
        Trial::test(format!("what_is_counted_is_what_reaches_{kind}"), move || {
            let server = Shared::get(kind)?;
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            runtime.block_on(costs(server.endpoint()));
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}

/// A store behind a proxy that counts, and another instance of it that nobody counts.
struct Scene {
    proxy: Proxy,
    counted: S3,
    other: Arc<dyn AtomicWrite>,
}

impl Scene {
    async fn new(server: Endpoint) -> Self {
        let proxy = Proxy::start(([127, 0, 0, 1], server.port()).into(), 0).await.unwrap();
        let prefix = format!("wire-{:016x}", fastrand::u64(..));
        let options = |port| {
            let options = match server.kind() {
                #[cfg(feature = "azure")]
                Kind::Azurite => S3Options::azure(server.bucket()),
                _ => S3Options::new(server.bucket()).region("us-east-1"),
            };
            options.endpoint(server.url_through(port)).prefix(&prefix).poll(POLL)
        };
        let made = options(proxy.address().port()).open().await.unwrap();
        assert_eq!((made.requests().total(), proxy.requests()), (7, 7), "open of a store that is made");
        let counted = options(proxy.address().port()).open().await.unwrap();
        assert_eq!((counted.requests().total(), proxy.requests()), (6, 13), "open");
        let other = options(server.port()).open().await.unwrap().atomic_write().unwrap();
        Self { proxy, counted, other }
    }

    /// How many requests an operation takes.
    async fn takes<T>(&self, requests: u64, what: &str, operation: impl Future<Output = Result<T>>) -> T {
        let counts = || (self.proxy.requests(), self.counted.requests().total());
        let before = counts();
        let done = operation.await.unwrap();
        let after = counts();
        assert_eq!((after.0 - before.0, after.1 - before.1), (requests, requests), "{what}: on the wire, and counted");
        done
    }

    /// What a watch that has caught up, and is told of nothing, sends until so many looks have begun: one each interval.
    async fn sent_by(&self, mut idle: Watch, looks: usize, begins_look: fn(&str) -> bool) -> Vec<String> {
        assert_eq!(idle.next().await.unwrap().unwrap(), Event::CaughtUp);
        let (tell, mut sent) = watch::channel(Vec::new());
        let begun = Instant::now();
        // Nothing is injected by this.
        self.proxy.sometimes(0.0, Fault::LostRequest, move |request| {
            let request = format!("{} {}", request.method, request.target);
            tell.send_if_modified(|sent: &mut Vec<String>| {
                // It may have been in the middle of a look.
                let counts = !sent.is_empty() || begins_look(&request);
                sent.extend(counts.then_some(request));
                counts
            });
            false
        });
        let begun_in = |sent: &[String]| sent.iter().filter(|request| begins_look(request)).count();
        let sent = sent.wait_for(|sent| begun_in(sent) >= looks).await.unwrap().clone();
        let intervals = begun.elapsed().as_millis() / POLL.as_millis();
        assert!(begun_in(&sent) as u128 <= intervals + 2, "{} looks in {intervals} intervals", begun_in(&sent));
        self.proxy.heal();
        sent
    }
}

async fn costs(server: Endpoint) {
    let scene = Scene::new(server).await;
    entries(&scene).await;
    content(&scene).await;
    idle_watch_of_a_key(&scene).await;
    let pages = match server.kind() {
        // Its pages have 5,000 names.
        #[cfg(feature = "azure")]
        Kind::Azurite => 1,
        _ => 2,
    };
    idle_watch_of_all(&scene, pages).await;
}

fn key(path: &str) -> Key {
    Key::new(path).unwrap()
}

async fn entries(scene: &Scene) {
    let entries = scene.counted.atomic_write().unwrap();
    let ([k, c, d], value) = (["a/b", "c", "d"].map(key), Bytes::from_static);
    scene.takes(1, "find of an absent key", entries.find(&k)).await;
    scene.takes(2, "set of a key that was never seen", entries.set(&k, value(b"1"))).await;
    scene.takes(1, "set of a known key", entries.set(&k, value(b"2"))).await;
    let swap = entries.test_and_set(&k, Some(value(b"2")), Some(value(b"3")));
    assert!(scene.takes(1, "test_and_set of a known key", swap).await.is_applied());
    let mismatch = entries.test_and_set(&k, Some(value(b"2")), None);
    assert!(!scene.takes(1, "a mismatch", mismatch).await.is_applied());
    scene.takes(1, "a write of what is there", entries.set(&k, value(b"3"))).await;
    scene.takes(1, "find of what is known", entries.find(&k)).await;
    scene.takes(1, "mem", entries.mem(&k)).await;
    let create = entries.test_and_set(&c, None, Some(value(b"1")));
    assert!(scene.takes(1, "a create", create).await.is_applied());
    scene.other.set(&d, value(b"theirs")).await.unwrap();
    let create = entries.test_and_set(&d, None, Some(value(b"1")));
    assert!(!scene.takes(2, "a create of what is there", create).await.is_applied());
    scene.other.set(&k, value(b"theirs")).await.unwrap();
    scene.takes(3, "a set that lost", entries.set(&k, value(b"mine"))).await;
    scene.takes(1, "list", entries.list(&Key::root()).try_collect::<Vec<_>>()).await;
    scene.takes(2, "list of a scope", entries.list(&key("a")).try_collect::<Vec<_>>()).await;
    let all = scene.takes(4, "entries", entries.entries(&Key::root()).try_collect::<Vec<_>>()).await;
    assert_eq!(all.len(), 3);
    scene.takes(1, "remove of a known key", entries.remove(&k)).await;
    scene.takes(3, "clear of two known keys", entries.clear()).await;
}

async fn content(scene: &Scene) {
    let content = scene.counted.indexable().unwrap();
    let first = scene.takes(4, "the first add", content.add("one".into())).await;
    scene.takes(2, "add", content.add("two".into())).await;
    scene.takes(0, "add of what is known", content.add("two".into())).await;
    scene.takes(1, "find", content.find(&first)).await;
    scene.takes(0, "index of what is known", content.index(&HashFunction::Blake3.hash(b"one"))).await;
    scene.takes(2, "index of what is not there", content.index(&HashFunction::Blake3.hash(b"three"))).await;
    scene.takes(2, "keys", content.keys().try_collect::<Vec<_>>()).await;
    let batch = async {
        let batch = content.begin().await?;
        for i in 0..50 {
            batch.add(format!("value {i}").into()).await?;
        }
        batch.commit().await
    };
    scene.takes(2, "a batch", batch).await;
}

async fn idle_watch_of_a_key(scene: &Scene) {
    let (key, value) = (key("idle"), Bytes::from(vec![b'x'; 1 << 20]));
    scene.other.set(&key, value.clone()).await.unwrap();
    let watch = scene.counted.atomic_write().unwrap().watch_key(&key, Init::Current).await.unwrap();
    let before = scene.proxy.bytes();
    let sent = scene.sent_by(watch, 5, |request| request.starts_with("GET ")).await;
    assert!(sent.iter().all(|request| request.starts_with("GET ") && request.contains("entries/idle_")), "{sent:?}");
    assert!(scene.proxy.bytes() - before < value.len() as u64, "bodies were sent");
}

async fn idle_watch_of_all(scene: &Scene, pages: usize) {
    // More names than a page has.
    let names: Vec<Key> = (0..1001).map(|i| key(&format!("many/{i}"))).collect();
    let create = |name| scene.other.test_and_set(name, None, Some("value".into()));
    let created: Vec<_> = stream::iter(&names).map(create).buffer_unordered(16).try_collect().await.unwrap();
    assert_eq!(created.len(), names.len());
    let watch = scene.counted.atomic_write().unwrap().watch(&Key::root(), Init::Current).await.unwrap();
    let is_list = |request: &String| request.contains("list-type=2") || request.contains("comp=list");
    let sent = scene.sent_by(watch, 4, is_first_page).await;
    assert!(sent.iter().all(is_list), "{sent:?}");
    let looks = sent.iter().filter(|request| is_first_page(request)).count();
    // The last one is under way.
    assert!(((looks - 1) * pages..=looks * pages).contains(&sent.len()), "{sent:?}");
}

fn is_first_page(request: &str) -> bool {
    !request.contains("continuation-token=") && !request.contains("marker=")
}
