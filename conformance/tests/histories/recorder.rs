//! Recording: of a real store under concurrent clients, and of what fails or never ends.

use std::{future::pending, pin::pin, task::Context, task::Waker};

use async_trait::async_trait;
use backend_mem::MemOptions;
use bytes::Bytes;
use conformance::history::{Action, History, Limits, Operation, Outcome, Recorder, Verdict, check};
use futures_util::stream;
use store_api::{
    AtomicWrite, Backend, Effect, EntryRead, EntryStream, Error, ErrorKind, Init, Key, KeyStream, Result, TestAndSet,
    Watch, WatchId,
};

/// A store whose every operation fails with an effect, or never ends.
struct Broken(Option<Effect>);

impl Broken {
    async fn answer<T>(&self) -> Result<T> {
        match self.0 {
            Some(effect) => Err(Error::new(ErrorKind::Unavailable, "broken").with_effect(effect)),
            None => pending().await,
        }
    }
}

#[async_trait]
impl EntryRead for Broken {
    async fn mem(&self, _: &Key) -> Result<bool> {
        self.answer().await
    }

    async fn find(&self, _: &Key) -> Result<Option<Bytes>> {
        self.answer().await
    }

    fn list(&self, _: &Key) -> KeyStream {
        Box::pin(stream::empty())
    }

    fn entries(&self, _: &Key) -> EntryStream {
        Box::pin(stream::empty())
    }

    async fn watch(&self, _: &Key, _: Init<Vec<(Key, Bytes)>>) -> Result<Watch> {
        self.answer().await
    }

    async fn watch_key(&self, _: &Key, _: Init<Option<Bytes>>) -> Result<Watch> {
        self.answer().await
    }

    async fn unwatch(&self, _: WatchId) -> Result<()> {
        self.answer().await
    }
}

#[async_trait]
impl AtomicWrite for Broken {
    async fn set(&self, _: &Key, _: Bytes) -> Result<()> {
        self.answer().await
    }

    async fn test_and_set(&self, _: &Key, _: Option<Bytes>, _: Option<Bytes>) -> Result<TestAndSet> {
        self.answer().await
    }

    async fn remove(&self, _: &Key) -> Result<()> {
        self.answer().await
    }

    async fn clear(&self) -> Result<()> {
        self.answer().await
    }

    async fn close(&self) -> Result<()> {
        self.answer().await
    }
}

fn key(path: &str) -> Key {
    Key::new(path).unwrap()
}

/// Polls a future once and drops it.
fn poll_once(future: impl Future) {
    let poll = pin!(future).as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(poll.is_pending());
}

fn processes_and_actions(history: &History) -> Vec<(u64, &Action)> {
    history.events().iter().map(|event| (event.process, &event.action)).collect()
}

#[tokio::test]
async fn each_operation_is_recorded_with_its_outcome() {
    let store = MemOptions::new().open().await.unwrap().atomic_write().unwrap();
    let recorder = Recorder::new();
    let mut client = recorder.client();
    let k = key("k");
    assert!(!client.mem(&*store, &k).await.unwrap());
    client.set(&*store, &k, "1".into()).await.unwrap();
    let mismatch = client.test_and_set(&*store, &k, None, Some("2".into())).await.unwrap();
    assert!(!mismatch.is_applied());
    assert!(client.test_and_set(&*store, &k, Some("1".into()), Some("2".into())).await.unwrap().is_applied());
    client.remove(&*store, &k).await.unwrap();
    client.clear(&*store).await.unwrap();
    assert_eq!(client.find(&*store, &k).await.unwrap(), None);
    let history = recorder.finish();
    let outcomes: Vec<_> = history
        .events()
        .iter()
        .filter_map(|event| match &event.action {
            Action::Return(outcome) => Some(outcome.clone()),
            Action::Call { .. } | Action::Unknown => None,
        })
        .collect();
    let current = Some(Some("1".into()));
    let expected = [
        Outcome::Mem(false),
        Outcome::Done,
        Outcome::Mismatch { current },
        Outcome::Applied,
        Outcome::Done,
        Outcome::Done,
        Outcome::Found(None),
    ];
    assert_eq!(outcomes, expected);
    assert_eq!(check(&history, Limits::default()), Verdict::Linearizable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_clients_of_a_sound_store_are_never_accused() {
    let store = MemOptions::new().open().await.unwrap().atomic_write().unwrap();
    let recorder = Recorder::new();
    let clients: Vec<_> = (0..8u8)
        .map(|number| {
            let (mut client, store) = (recorder.client(), store.clone());
            tokio::spawn(async move {
                for step in 0..200u8 {
                    let (k, value) = (key("k"), Bytes::from(vec![b'0' + (number ^ step) % 3]));
                    match step.wrapping_mul(31).wrapping_add(number) % 4 {
                        0 => client.set(&*store, &k, value).await.unwrap(),
                        1 => drop(client.find(&*store, &k).await.unwrap()),
                        2 if step == 100 => client.clear(&*store).await.unwrap(),
                        _ => drop(client.test_and_set(&*store, &k, Some(value), Some("3".into())).await.unwrap()),
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    let history = recorder.finish();
    assert_eq!(history.operations(), 8 * 200);
    assert_eq!(check(&history, Limits::default()), Verdict::Linearizable);
}

#[tokio::test]
async fn a_write_that_may_have_happened_is_unknown_and_the_client_goes_on_as_another_process() {
    let (recorder, store) = (Recorder::new(), Broken(Some(Effect::Unknown)));
    let mut client = recorder.client();
    client.set(&store, &key("k"), "1".into()).await.unwrap_err();
    client.find(&store, &key("k")).await.unwrap_err();
    client.test_and_set(&store, &key("k"), None, None).await.unwrap_err();
    let history = recorder.finish();
    let set = Action::Call { key: key("k"), operation: Operation::Set("1".into()) };
    let test_and_set = Action::Call { key: key("k"), operation: Operation::TestAndSet { test: None, set: None } };
    let expected = [(0, &set), (0, &Action::Unknown), (1, &test_and_set), (1, &Action::Unknown)];
    assert_eq!(processes_and_actions(&history), expected);
}

#[tokio::test]
async fn what_certainly_did_not_happen_is_left_out() {
    let (recorder, store) = (Recorder::new(), Broken(Some(Effect::NotApplied)));
    let mut client = recorder.client();
    client.remove(&store, &key("k")).await.unwrap_err();
    client.test_and_set(&store, &key("k"), None, None).await.unwrap_err();
    client.clear(&store).await.unwrap_err();
    client.mem(&store, &key("k")).await.unwrap_err();
    assert_eq!(recorder.finish(), History::default());
}

#[test]
fn an_operation_that_is_dropped_midway_is_open_at_the_end() {
    let (recorder, store) = (Recorder::new(), Broken(None));
    let mut client = recorder.client();
    poll_once(client.remove(&store, &key("k")));
    poll_once(client.clear(&store));
    let history = recorder.finish();
    let remove = Action::Call { key: key("k"), operation: Operation::Remove };
    let clear = Action::Call { key: Key::root(), operation: Operation::Clear };
    assert_eq!(processes_and_actions(&history), [(0, &remove), (1, &clear)]);
}

#[test]
fn a_client_that_outlives_the_recorder_records_nothing() {
    let (recorder, store) = (Recorder::new(), Broken(None));
    let mut client = recorder.client();
    let history = recorder.finish();
    poll_once(client.remove(&store, &key("k")));
    assert_eq!(history, History::default());
}
