//! Watches that come and go while several instances write: each folds to the store (W1 to W5).

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use futures_util::future::join_all;
use store_api::{AtomicWrite, Diff, EntryRead, Event, Init, Key, Watch};
use tokio::{task::JoinHandle, try_join};

use crate::{
    refusal::value,
    scene::{Scene, State, entries_of, key, soon, state_of},
};

/// A watch that was given its baseline, with the state that its events fold to. Each event is checked against it (W3).
pub(crate) struct Fold {
    watch: Watch,
    state: State,
}

/// A state, as a watch takes it.
pub(crate) fn known(state: &State) -> Init<Vec<(Key, Bytes)>> {
    Init::Known(state.clone().into_iter().collect())
}

impl Fold {
    pub(crate) fn of(watch: Watch, state: State) -> Self {
        Self { watch, state }
    }

    /// Folds the next event.
    async fn step(&mut self) {
        let event = soon("another event", self.watch.next()).await.expect("the watch goes on").unwrap();
        let Event::Changed { key, diff } = event else { return };
        let before = self.state.remove(&key);
        match diff {
            Diff::Added { new } => {
                assert_eq!(before, None, "W3: {key:?} is added twice");
                self.state.insert(key, new);
            }
            Diff::Updated { old, new } => {
                assert!(before.is_some() && before == old, "W3: `old` of {key:?} is what was told last");
                assert_ne!(old.as_ref(), Some(&new), "W3: two values of {key:?} told in a row differ");
                self.state.insert(key, new);
            }
            Diff::Removed { old } => {
                assert!(before.is_some() && before == old, "W3: `old` of {key:?} is what was told last");
            }
        }
    }

    /// Folds until the state is the expected one (W5).
    pub(crate) async fn converge(&mut self, expected: &State) {
        let converging = async {
            while self.state != *expected {
                self.step().await;
            }
        };
        soon("W5: the folded state equals the store", converging).await;
    }
}

/// Sets, removes and now and then clears, until told to stop.
fn write_on(entries: Arc<dyn AtomicWrite>, seed: u64, stop: Arc<AtomicBool>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut round = 0;
        while !stop.load(Ordering::Relaxed) {
            let k = key(format!("{}/{}", random.u8(..4), random.u8(..8)));
            match random.u8(..40) {
                0 => entries.clear().await.unwrap(),
                1..10 => entries.remove(&k).await.unwrap(),
                _ => entries.set(&k, value(format!("{seed} {round}"))).await.unwrap(),
            }
            round += 1;
        }
    })
}

/// Watches, reads a little, goes away, and comes back with what it last saw, again and again; at last it stays.
async fn come_and_go(entries: Arc<dyn AtomicWrite>, scope: Key, seed: u64) -> Fold {
    const VISITS: usize = 30;
    let mut random = fastrand::Rng::with_seed(seed);
    let mut state = State::new();
    for _ in 0..VISITS {
        let watch = entries.watch(&scope, known(&state)).await.unwrap();
        // Beside it one that nobody reads, and one that ends at once.
        let unread = entries.watch(&scope, Init::Current).await.unwrap();
        drop(entries.watch(&Key::root(), Init::Current).await.unwrap());
        let mut fold = Fold::of(watch, state);
        for _ in 0..random.usize(..30) {
            fold.step().await;
        }
        if random.bool() {
            entries.unwatch(unread.id()).await.unwrap();
        }
        state = fold.state;
    }
    Fold::of(entries.watch(&scope, known(&state)).await.unwrap(), state)
}

async fn watch_amid_writers(sync: bool) {
    let scene = Scene::new();
    let open = || scene.options().sync(sync).change_log(8).open();
    let (one, two) = try_join!(open(), open()).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let writing: Vec<_> = [&one, &two]
        .into_iter()
        .zip(1..)
        .map(|(store, seed)| write_on(entries_of(store), seed, Arc::clone(&stop)))
        .collect();
    let scopes = ["", "0", "1", "1/1", "3"];
    let watching = (0..10).map(|i| {
        let store = [&one, &two][i % 2];
        tokio::spawn(come_and_go(entries_of(store), key(scopes[i / 2]), i as u64))
    });
    let folds = join_all(watching.collect::<Vec<_>>()).await;
    stop.store(true, Ordering::Relaxed);
    join_all(writing).await.into_iter().for_each(Result::unwrap);
    let written = state_of(&*entries_of(&one) as &dyn EntryRead).await.unwrap();
    for (i, fold) in folds.into_iter().enumerate() {
        let scope = key(scopes[i / 2]);
        let in_scope = written.iter().filter(|(key, _)| scope.covers(key));
        let expected = in_scope.map(|(key, value)| (key.clone(), value.clone())).collect();
        fold.unwrap().converge(&expected).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w5_watches_that_come_and_go_amid_durable_writers_fold_to_the_store() {
    watch_amid_writers(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w5_watches_that_come_and_go_amid_writers_fold_to_the_store() {
    watch_amid_writers(false).await;
}
