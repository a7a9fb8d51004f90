//! Several machines on one bucket of a real server, with a network between them that loses, repeats, delays and spoils:
//! what they see can be explained, nothing that was acknowledged is lost, and content is never wrong.

use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use backend_s3::{S3, S3Options};
use bytes::Bytes;
use conformance::{
    history::{Client, Limits, Recorder, Verdict, check},
    proxy::{Fault, Proxy, Request},
};
use futures_util::{TryStreamExt, future::join_all};
use libtest_mimic::{Arguments, Trial};
#[cfg(feature = "azure")]
use object_store::azure::MicrosoftAzureBuilder;
use object_store::{ObjectStore, aws::AmazonS3Builder, path::Path};
use store_api::{
    Append, AtomicWrite, Backend, ContentHash, ContentKey, ContentRead, EntryRead, ErrorKind, Event, HashFunction,
    Indexable, Init, Key,
};
use test_servers::{Endpoint, Kind, Server, Shared, with_credentials};
use tokio::{sync::watch, task::spawn_blocking, time::timeout};

/// Of each fault, this share of the requests that it is for.
const SHARE: f64 = 0.02;

/// Faults of all requests, of writes, of reads and of deletes. Listings and errors have no checksum: whoever garbles those
/// garbles what nobody can tell, as the README says.
const OF_ALL: [Fault; 11] = [
    Fault::LostRequest,
    Fault::LostAnswer,
    Fault::Repeated,
    Fault::StatusBefore(408),
    Fault::StatusBefore(429),
    Fault::StatusBefore(500),
    Fault::StatusBefore(503),
    Fault::StatusAfter(500),
    Fault::StatusAfter(503),
    Fault::Delayed(Duration::from_millis(20)),
    Fault::Late(Duration::from_millis(100)),
];
const OF_PUTS: [Fault; 1] = [Fault::StatusBefore(409)];
const OF_READS: [Fault; 2] = [Fault::Truncated, Fault::Garbled];
const OF_DELETES: [Fault; 4] =
    [Fault::LostRequest, Fault::LostAnswer, Fault::StatusBefore(503), Fault::StatusAfter(500)];

/// How many machines there are, and what each of them does.
const MACHINES: usize = 3;
const OPERATIONS: usize = 60;

/// How many packs there are when they begin: nearly as many as call for a merge.
const PACKS: usize = 60;

/// How many requests of those kinds suffered for which there is no fault of their own.
#[derive(Default)]
struct Spoiled {
    lists: Arc<AtomicUsize>,
    deletes_of_probes: Arc<AtomicUsize>,
    deletes_of_runs: Arc<AtomicUsize>,
}

/// Injects a fault into the next request that is meant, and counts it.
fn spoil_next(proxy: &Proxy, fault: Fault, is_meant: fn(Request<'_>) -> bool, spoiled: &Arc<AtomicUsize>) {
    let spoiled = Arc::clone(spoiled);
    proxy.next(fault, move |request| {
        let is_next = is_meant(request);
        spoiled.fetch_add(usize::from(is_next), Ordering::Relaxed);
        is_next
    });
}

/// Each fault once at least, as soon as there is a request for it, and then at random.
fn spoil(proxy: &Proxy) -> Spoiled {
    let spoiled = Spoiled::default();
    for fault in OF_ALL {
        proxy.next(fault, |_| true);
        proxy.sometimes(SHARE, fault, |_| true);
    }
    for fault in OF_PUTS {
        proxy.next(fault, |request| request.method == "PUT");
        proxy.sometimes(SHARE, fault, |request| request.method == "PUT");
    }
    for fault in OF_READS {
        // The answer has a body, whatever it says.
        proxy.next(fault, |request| request.method == "GET" && request.target.contains("/packs/"));
        proxy.sometimes(SHARE, fault, |request| request.method == "GET" && !is_list(request));
    }
    spoil_next(proxy, Fault::Truncated, is_list, &spoiled.lists);
    proxy.sometimes(SHARE, Fault::Truncated, is_list);
    // Those of the opens come first.
    for fault in OF_DELETES {
        spoil_next(proxy, fault, |request| is_delete_of(request, "/probe/"), &spoiled.deletes_of_probes);
        spoil_next(proxy, fault, |request| is_delete_of(request, "/index/"), &spoiled.deletes_of_runs);
    }
    spoiled
}

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
    let histories = (1..).zip(KINDS).map(|(seed, &kind)| {
        trial(format!("histories_over_{kind}_stay_explicable_under_faults"), move || through_the_proxy(kind, seed))
    });
    let killed =
        trial("nothing_acknowledged_is_lost_when_seaweedfs_is_killed", nothing_is_lost_when_seaweedfs_is_killed);
    libtest_mimic::run(&Arguments::from_args(), histories.chain([killed]).collect()).exit_code()
}

fn trial<F: Future<Output = ()>>(name: impl Into<String>, test: impl FnOnce() -> F + Send + 'static) -> Trial {
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(test());
        Ok(())
    })
}

fn is_list(request: Request<'_>) -> bool {
    ["list-type=2", "comp=list"].iter().any(|query| request.target.contains(query))
}

/// Azure is sent batches, which name what they delete in their bodies.
fn is_delete_of(request: Request<'_>, folder: &str) -> bool {
    (request.method == "DELETE" && request.target.contains(folder)) || request.target.contains("comp=batch")
}

/// What is acknowledged in the end, so that nobody waits for more.
const ENDED: usize = usize::MAX;

fn bucket(endpoint: Endpoint) -> Box<dyn ObjectStore> {
    #[cfg(feature = "azure")]
    if endpoint.kind() == Kind::Azurite {
        let builder = MicrosoftAzureBuilder::from_env().with_endpoint(endpoint.url());
        return Box::new(builder.with_container_name(endpoint.bucket()).with_allow_http(true).build().unwrap());
    }
    let builder = AmazonS3Builder::from_env().with_endpoint(endpoint.url()).with_bucket_name(endpoint.bucket());
    Box::new(builder.with_region("us-east-1").with_allow_http(true).build().unwrap())
}

fn options_for(endpoint: Endpoint) -> S3Options {
    match endpoint.kind() {
        #[cfg(feature = "azure")]
        Kind::Azurite => S3Options::azure(endpoint.bucket()),
        _ => S3Options::new(endpoint.bucket()).region("us-east-1"),
    }
}

/// The stores of some machines and of one whose network is sound, in a prefix of their own.
struct Scene {
    machines: Vec<S3>,
    sound: S3,
    /// The bucket behind the sound network.
    bucket: Box<dyn ObjectStore>,
    prefix: String,
}

impl Scene {
    async fn new(endpoint: Endpoint, port: u16) -> Self {
        let prefix = format!("faults-{:016x}", fastrand::u64(..));
        let options = |port| {
            let options = options_for(endpoint).endpoint(endpoint.url_through(port));
            options.prefix(&prefix).busy(Duration::from_mins(2))
        };
        let sound = options(endpoint.port()).open().await.unwrap();
        let mut machines = Vec::new();
        while machines.len() < MACHINES {
            match options(port).open().await {
                Ok(machine) => machines.push(machine),
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
        }
        let scene = Self { machines, sound, bucket: bucket(endpoint), prefix };
        scene.fill().await;
        scene
    }

    /// So many packs that who looks for others' has some to merge.
    async fn fill(&self) {
        let content = self.sound.indexable().unwrap();
        for i in 0..PACKS {
            content.add(format!("before {i}").into()).await.unwrap();
        }
    }

    async fn ensure_merged(&self) {
        let index = Path::from(format!("{}/index", self.prefix));
        assert!(self.bucket.list(Some(&index)).try_next().await.unwrap().is_some(), "no packs were merged");
    }
}

async fn shared(kind: Kind) -> Shared {
    spawn_blocking(move || Shared::get(kind)).await.unwrap().unwrap()
}

/// Two keys that all machines write to, each value once.
async fn write_entries(store: &S3, mut client: Client, machine: usize, acknowledged: &watch::Sender<usize>) {
    let entries = store.atomic_write().unwrap();
    let mut random = fastrand::Rng::with_seed(machine as u64);
    for i in 0..OPERATIONS {
        let key = Key::new(["a", "b"][random.usize(..2)]).unwrap();
        let value = Bytes::from(format!("{machine} {i}"));
        // What fails has the outcome that its error says; the history knows.
        let done = match random.u8(..6) {
            0 => client.set(&*entries, &key, value).await.is_ok(),
            1 => client.remove(&*entries, &key).await.is_ok(),
            2 => client.find(&*entries, &key).await.is_ok(),
            _ => swap(&mut client, &*entries, &key, value).await,
        };
        acknowledged.send_modify(|count| *count += usize::from(done));
    }
}

async fn swap(client: &mut Client, entries: &dyn AtomicWrite, key: &Key, value: Bytes) -> bool {
    let Ok(current) = client.find(entries, key).await else { return false };
    client.test_and_set(entries, key, current, Some(value)).await.is_ok()
}

/// What each machine added and had acknowledged.
type Added = Vec<(ContentKey, Bytes)>;

/// Values of its own and values that all add, alone and in batches; what is found meanwhile is right.
async fn add_content(store: &S3, machine: usize, acknowledged: &watch::Sender<usize>) -> Added {
    let content = store.indexable().unwrap();
    let mut added = Added::new();
    for i in 0..OPERATIONS / 3 {
        let values = [format!("all add {i}"), format!("{machine} adds {i}"), format!("{machine} adds {i} too")];
        let [one, other, another] = values.map(Bytes::from);
        if let Ok(key) = content.add(one.clone()).await {
            added.push((key, one));
        }
        added.extend(add_batch(&*content, [other, another]).await.unwrap_or_default());
        for (key, value) in added.iter().rev().take(2) {
            ensure_right(&*content, key, value).await;
        }
        ensure_absent(&*content, format!("{machine} does not add {i}").as_bytes()).await;
        acknowledged.send_modify(|count| *count += 1);
    }
    added
}

/// Looks for what is not there, and so at what others have added.
async fn ensure_absent(content: &dyn Indexable, value: &[u8]) {
    match content.index(&HashFunction::Blake3.hash(value)).await {
        Ok(found) => assert_eq!(found, None),
        Err(error) => assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout), "{error}"),
    }
}

async fn add_batch(content: &dyn Indexable, values: [Bytes; 2]) -> store_api::Result<Added> {
    let batch = content.begin().await?;
    let mut added = Added::new();
    for value in values {
        added.push((batch.add(value.clone()).await?, value));
    }
    batch.commit().await?;
    Ok(added)
}

/// It may not be found while nobody answers, but it is never absent and never another.
async fn ensure_right(content: &dyn Indexable, key: &ContentKey, value: &Bytes) {
    match content.find(key).await {
        Ok(found) => assert_eq!(found.as_ref(), Some(value)),
        Err(error) => assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout), "{error}"),
    }
}

/// All that was acknowledged is there, and nothing twice.
async fn ensure_kept(sound: &S3, added: impl IntoIterator<Item = (ContentKey, Bytes)>) {
    let content = sound.indexable().unwrap();
    let added: BTreeMap<ContentHash, Bytes> = added.into_iter().map(|(key, value)| (key.to_hash(), value)).collect();
    for (hash, value) in &added {
        assert_eq!(*hash, HashFunction::Blake3.hash(value));
        assert_eq!(content.find(&(*hash).into()).await.unwrap().as_ref(), Some(value));
    }
    let keys: Vec<ContentKey> = content.keys().try_collect().await.unwrap();
    assert!(keys.is_sorted_by(|one, next| one < next), "a key is told twice");
    assert!(added.keys().all(|hash| keys.contains(&(*hash).into())), "a key is not told");
}

/// What all machines saw of the entries can be explained, with what a sound network shows in the end.
async fn ensure_explained(sound: &S3, recorder: Recorder) {
    let entries = sound.atomic_write().unwrap();
    let mut last = recorder.client();
    for key in ["a", "b"] {
        last.find(&*entries, &Key::new(key).unwrap()).await.unwrap();
    }
    match check(&recorder.finish(), Limits::default()) {
        Verdict::Linearizable => {}
        Verdict::NotLinearizable(violation) => panic!("{}", violation.witness(Limits::default())),
        Verdict::Inconclusive(exhausted) => panic!("{exhausted:?}"),
    }
}

/// What a watch of everything has told, put together.
type Told = watch::Receiver<BTreeMap<Key, Bytes>>;

/// Follows what a machine is told from a state that it was given, or else from what there is before anybody writes:
/// nothing. It ends with its store.
async fn follow(machine: &S3, known: Option<BTreeMap<Key, Bytes>>) -> Told {
    let entries = machine.atomic_write().unwrap();
    let mut events = loop {
        let init = known.clone().map_or(Init::Current, |known| Init::Known(known.into_iter().collect()));
        match entries.watch(&Key::root(), init).await {
            Ok(events) => break events,
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    };
    let (tell, told) = watch::channel(known.unwrap_or_default());
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Changed { key, diff }) => tell.send_modify(|state| match diff.new_value() {
                    Some(value) => drop(state.insert(key, value.clone())),
                    None => drop(state.remove(&key)),
                }),
                Ok(_) => {}
                // It goes on, and catches up.
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
        }
    });
    told
}

/// In the end each machine was told what is there.
async fn ensure_told(sound: &S3, watching: Vec<Told>) {
    let entries = sound.atomic_write().unwrap();
    let there: BTreeMap<_, _> = entries.entries(&Key::root()).try_collect().await.unwrap();
    for mut told in watching {
        let is_told = timeout(Duration::from_mins(2), told.wait_for(|state| *state == there)).await;
        is_told.expect("a watch is not told what is there").expect("a watch ended with an error that does not pass");
    }
}

/// All machines work; gives what they added.
async fn work(scene: &Scene, recorder: &Recorder, acknowledged: &watch::Sender<usize>) -> Added {
    let machine = |(i, store)| {
        let client = recorder.client();
        async move {
            let (added, ()) =
                tokio::join!(add_content(store, i, acknowledged), write_entries(store, client, i, acknowledged));
            added
        }
    };
    join_all(scene.machines.iter().enumerate().map(machine)).await.concat()
}

async fn through_the_proxy(kind: Kind, seed: u64) {
    let server = shared(kind).await;
    let endpoint = server.endpoint();
    let proxy = Proxy::start(([127, 0, 0, 1], endpoint.port()).into(), seed).await.unwrap();
    let spoiled = spoil(&proxy);
    let scene = Scene::new(endpoint, proxy.address().port()).await;
    let recorder = Recorder::new();
    let gone = BTreeMap::from([(Key::new("gone").unwrap(), Bytes::from("since"))]);
    let follow = |machine| [None, Some(gone.clone())].map(|known| follow(machine, known));
    let watching = join_all(scene.machines.iter().flat_map(follow)).await;
    let added = work(&scene, &recorder, &watch::Sender::new(0)).await;
    for fault in OF_ALL.into_iter().chain(OF_PUTS).chain(OF_READS) {
        assert!(proxy.injected(fault) > 0, "{fault:?} in none of {} requests", proxy.requests());
    }
    assert!(!added.is_empty());
    scene.ensure_merged().await;
    let Spoiled { lists, deletes_of_probes, deletes_of_runs } = spoiled;
    for (kind, count) in
        [("LIST", lists), ("DELETE of a probe", deletes_of_probes), ("DELETE of a run", deletes_of_runs)]
    {
        assert!(count.load(Ordering::Relaxed) > 0, "no {kind} of {} requests is spoiled", proxy.requests());
    }
    ensure_kept(&scene.sound, added).await;
    ensure_told(&scene.sound, watching).await;
    ensure_explained(&scene.sound, recorder).await;
}

async fn nothing_is_lost_when_seaweedfs_is_killed() {
    let mut server = spawn_blocking(|| Server::start(Kind::SeaweedFs)).await.unwrap().unwrap();
    let endpoint = server.endpoint();
    let scene = Scene::new(endpoint, endpoint.port()).await;
    let (recorder, acknowledged) = (Recorder::new(), watch::Sender::new(0));
    let killer = async {
        for part in 1..=2 {
            let mut counts = acknowledged.subscribe();
            let count = *counts.wait_for(|count| *count > part * MACHINES * OPERATIONS / 4).await.unwrap();
            assert_ne!(count, ENDED, "the work ended before the server was killed {part} times");
            server = spawn_blocking(move || server.restart().map(|()| server)).await.unwrap().unwrap();
        }
        server
    };
    let work = async {
        let added = work(&scene, &recorder, &acknowledged).await;
        acknowledged.send_replace(ENDED);
        added
    };
    let (added, _server) = tokio::join!(work, killer);
    scene.ensure_merged().await;
    ensure_kept(&scene.sound, added).await;
    ensure_explained(&scene.sound, recorder).await;
}
