//! W1, W2, W6 and W8 to W12: where a watch starts, what it is not told, how it ends, and what it covers.

use std::{collections::BTreeMap, future::poll_fn, panic::AssertUnwindSafe, sync::Arc};

use futures_util::{FutureExt, StreamExt, stream};
use irminsul::{AtomicWrite, Bytes, Diff, ErrorKind, Event, Init, Key, Result, Watch, WatchId, prelude::*};
use tokio::{sync::oneshot, task::JoinHandle};

use crate::{
    following::{Follower, State, known, nothing},
    store::{Store, both, key, set_all, soon, value},
};

contract! { on every store:
    w1_current_starts_with_caught_up_and_tells_what_changes,
    w1_known_of_a_key_tells_the_difference_first,
    w1_known_of_a_scope_tells_each_difference_first,
    w1_known_of_nothing_tells_everything,
    w1_a_long_known_state_is_compared_whole,
    w1_a_watcher_that_was_away_resumes_from_what_it_saw,
    w2_a_change_beside_the_start_is_in_the_baseline_or_told,
    w2_a_known_start_misses_no_change_beside_it,
    w6_nothing_is_told_where_nothing_changed,
    w8_dropped_and_panicking_watchers_change_nothing_for_the_others,
    w8_dropping_a_future_of_the_next_event_loses_none,
    w9_unwatch_ends_the_stream_without_another_event,
    w9_unwatch_wakes_who_waits,
    w9_a_stale_or_foreign_id_does_nothing,
    w10_close_ends_the_watches_of_its_handle_and_no_others,
    w10_close_wakes_who_waits,
    w12_a_scope_covers_whole_steps,
    w12_a_key_covers_itself_alone,
}

contract! { where instances share a store:
    w2_a_change_of_another_instance_beside_the_start_is_told,
    w11_changes_of_another_instance_arrive,
    w11_changes_of_many_instances_arrive,
}

contract! { where a store outlives its instances:
    w1_a_watcher_resumes_with_a_new_instance,
}

async fn put(entries: &dyn AtomicWrite, key: &Key, state: Option<Bytes>) {
    match state {
        Some(value) => entries.set(key, value).await.unwrap(),
        None => entries.remove(key).await.unwrap(),
    }
}

/// What must be told of a key that was `before` and is `after`.
fn difference(before: Option<Bytes>, after: Option<Bytes>) -> Option<Diff> {
    match (before, after) {
        (before, after) if before == after => None,
        (None, Some(new)) => Some(Diff::Added(new)),
        (old, Some(new)) => Some(Diff::Updated { old, new }),
        (old, None) => Some(Diff::Removed { old }),
    }
}

fn one(key: &Key, value: Bytes) -> State {
    [(key.clone(), value)].into()
}

async fn next(watch: &mut Watch) -> Event {
    soon("another event", watch.next()).await.expect("the watch goes on").unwrap()
}

async fn w1_current_starts_with_caught_up_and_tells_what_changes(store: Store) {
    let entries = store.open().await.entries();
    let (k, fresh) = (key("a/k"), key("a/fresh"));
    entries.set(&k, value("1")).await.unwrap();
    let mut watches = [
        entries.watch(&Key::root(), Init::Current).await.unwrap(),
        entries.watch(&key("a"), Init::Current).await.unwrap(),
    ];
    for watch in &mut watches {
        assert_eq!(next(watch).await, Event::CaughtUp);
    }
    let mut followers = watches.map(|watch| Follower::current(watch, one(&k, value("1"))));
    for (changed, state) in [(&k, Some("2")), (&fresh, Some("")), (&k, None), (&fresh, Some("3")), (&k, Some("1"))] {
        put(&*entries, changed, state.map(value)).await;
        for follower in &mut followers {
            let (told, diff) = follower.next_change().await;
            assert_eq!((&told, diff.new_value().cloned()), (changed, state.map(value)));
        }
    }
}

async fn w1_known_of_a_key_tells_the_difference_first(store: Store) {
    let entries = store.open().await.entries();
    let k = key("k");
    let states = [None, Some(value("")), Some(value("a")), Some(value("b"))];
    for actual in &states {
        put(&*entries, &k, actual.clone()).await;
        for given in &states {
            let mut watch = entries.watch_key(&k, Init::Known(given.clone())).await.unwrap();
            if let Some(diff) = difference(given.clone(), actual.clone()) {
                let event = next(&mut watch).await;
                assert_eq!(event, Event::Changed { key: k.clone(), diff }, "given {given:?}, is {actual:?}");
            }
            assert_eq!(next(&mut watch).await, Event::CaughtUp, "given {given:?}, is {actual:?}");
        }
    }
}

async fn w1_known_of_a_scope_tells_each_difference_first(store: Store) {
    let entries = store.open().await.entries();
    let states = [None, Some(value("")), Some(value("a")), Some(value("b"))];
    let mut given = State::new();
    let mut actual = State::new();
    let mut expected = BTreeMap::new();
    for (i, before) in states.iter().enumerate() {
        for (j, after) in states.iter().enumerate() {
            let k = key(&format!("scope/{i}/{j}"));
            given.extend(before.clone().map(|value| (k.clone(), value)));
            actual.extend(after.clone().map(|value| (k.clone(), value)));
            expected.extend(difference(before.clone(), after.clone()).map(|diff| (k, diff)));
        }
    }
    set_all(&*entries, actual).await;
    entries.set(&key("beside"), value("1")).await.unwrap();
    let mut watch = entries.watch(&key("scope"), known(&given)).await.unwrap();
    let mut told = BTreeMap::new();
    while let Event::Changed { key, diff } = next(&mut watch).await {
        assert_eq!(told.insert(key.clone(), diff), None, "{key:?} told twice");
    }
    assert_eq!(told, expected);
}

async fn w1_known_of_nothing_tells_everything(store: Store) {
    let entries = store.open().await.entries();
    let all: State = (0..50).map(|i| (key(&format!("{}/{i}", i % 4)), value(i))).collect();
    set_all(&*entries, all.clone()).await;
    let mut follower = Follower::known(entries.watch(&Key::root(), nothing()).await.unwrap(), State::new());
    follower.catch_up().await;
    assert_eq!(follower.state, all);
    entries.set(&key("live"), value("1")).await.unwrap();
    assert_eq!(follower.next_change().await, (key("live"), Diff::Added(value("1"))));

    let watch = entries.watch(&key("empty"), nothing()).await.unwrap();
    let mut of_nothing = Follower::known(watch, State::new());
    of_nothing.catch_up().await;
    assert_eq!(of_nothing.changes, 0);
}

async fn w1_a_long_known_state_is_compared_whole(store: Store) {
    let entries = store.open().await.entries();
    let state = |range: std::ops::Range<usize>, text: &str| -> State {
        range.map(|i| (key(&format!("{}/{i}", i % 7)), value(format!("{text} {i}")))).collect()
    };
    let mut given = state(0..2000, "same");
    given.extend(state(0..1000, "given"));
    let mut actual = state(500..3000, "same");
    actual.extend(state(500..600, "actual"));
    set_all(&*entries, actual.clone()).await;
    let mut follower = Follower::known(entries.watch(&Key::root(), known(&given)).await.unwrap(), given);
    follower.catch_up().await;
    assert_eq!(follower.changes, 500 + 500 + 1000, "gone, changed and added");
    assert!(follower.state == actual);
}

async fn w1_a_watcher_that_was_away_resumes_from_what_it_saw(store: Store) {
    let entries = store.open().await.entries();
    set_all(&*entries, ["same", "changed", "gone"].map(|path| (key(path), value("1")))).await;
    let mut before = Follower::known(entries.watch(&Key::root(), nothing()).await.unwrap(), State::new());
    before.catch_up().await;
    let seen = before.state.clone();
    drop(before);
    entries.set(&key("changed"), value("2")).await.unwrap();
    entries.remove(&key("gone")).await.unwrap();
    entries.set(&key("come"), value("1")).await.unwrap();

    let mut after = Follower::known(entries.watch(&Key::root(), known(&seen)).await.unwrap(), seen);
    after.catch_up().await;
    assert_eq!(after.changes, 3);
    assert_eq!(after.state, [("same", "1"), ("changed", "2"), ("come", "1")].map(|(k, v)| (key(k), value(v))).into());
}

async fn w1_a_watcher_resumes_with_a_new_instance(store: Store) {
    let seen = one(&key("k"), value("1"));
    let first = store.open().await;
    first.entries().set(&key("k"), value("1")).await.unwrap();
    first.close().await.unwrap();
    let second = store.open().await;
    second.entries().set(&key("k"), value("2")).await.unwrap();
    second.close().await.unwrap();
    let watch = store.open().await.entries().watch(&Key::root(), known(&seen)).await.unwrap();
    let mut follower = Follower::known(watch, seen);
    let diff = Diff::Updated { old: Some(value("1")), new: value("2") };
    assert_eq!(follower.next_change().await, (key("k"), diff));
}

async fn w2_a_change_beside_the_start_is_in_the_baseline_or_told(store: Store) {
    let instance = store.open().await;
    let (entries, k) = (instance.entries(), key("k"));
    entries.set(&k, value(0)).await.unwrap();
    for round in 1..=200 {
        let (watcher, writer, at) = (instance.entries(), instance.entries(), k.clone());
        let start = async move {
            let watch = match round % 2 {
                0 => watcher.watch_key(&at, Init::Current).await.unwrap(),
                _ => watcher.watch(&Key::root(), Init::Current).await.unwrap(),
            };
            (watch, watcher.find(&at).await.unwrap())
        };
        let at = k.clone();
        let write = async move { writer.set(&at, value(round)).await.unwrap() };
        let ((mut watch, afterwards), ()) = both(start, write).await;
        assert_eq!(next(&mut watch).await, Event::CaughtUp);
        if afterwards == Some(value(round - 1)) {
            let Event::Changed { diff, .. } = next(&mut watch).await else { panic!("W2: `CaughtUp` twice") };
            assert_eq!(diff.new_value(), Some(&value(round)), "W2: what was not there after the start is told");
        }
    }
}

/// Starts watches from what is known while `writer` changes it.
async fn start_beside_writes(watcher: Arc<dyn AtomicWrite>, writer: Arc<dyn AtomicWrite>) {
    let k = key("k");
    writer.set(&k, value(0)).await.unwrap();
    for round in 1..=60 {
        let before = one(&k, value(round - 1));
        let (watcher, at, given) = (Arc::clone(&watcher), k.clone(), before.clone());
        let start = async move {
            match round % 2 {
                0 => watcher.watch_key(&at, Init::Known(given.get(&at).cloned())).await.unwrap(),
                _ => watcher.watch(&Key::root(), known(&given)).await.unwrap(),
            }
        };
        let (writer, at) = (Arc::clone(&writer), k.clone());
        let (watch, ()) = both(start, async move { writer.set(&at, value(round)).await.unwrap() }).await;
        Follower::known(watch, before).converge(&one(&k, value(round))).await;
    }
}

async fn w2_a_known_start_misses_no_change_beside_it(store: Store) {
    let instance = store.open().await;
    start_beside_writes(instance.entries(), instance.entries()).await;
}

async fn w2_a_change_of_another_instance_beside_the_start_is_told(store: Store) {
    let (watching, writing) = (store.open().await, store.open().await);
    start_beside_writes(watching.entries(), writing.entries()).await;
}

async fn w6_nothing_is_told_where_nothing_changed(store: Store) {
    let instance = store.open().await;
    let (entries, other) = (instance.entries(), instance.entries());
    let (k, absent) = (key("a/k"), key("a/absent"));
    entries.set(&k, value("v")).await.unwrap();
    let baseline = one(&k, value("v"));
    let mut followers = [
        Follower::known(entries.watch(&Key::root(), known(&baseline)).await.unwrap(), baseline.clone()),
        Follower::current(entries.watch(&key("a"), Init::Current).await.unwrap(), baseline.clone()),
        Follower::known(entries.watch_key(&k, Init::Known(Some(value("v")))).await.unwrap(), baseline.clone()),
        Follower::current(entries.watch_key(&k, Init::Current).await.unwrap(), baseline),
    ];
    for follower in &mut followers {
        assert_eq!(follower.next().await, Event::CaughtUp);
    }
    for handle in [entries, other] {
        handle.set(&k, value("v")).await.unwrap();
        handle.remove(&absent).await.unwrap();
        let verdicts = [
            handle.test_and_set(&k, Some(value("v")), Some(value("v"))).await.unwrap(),
            handle.test_and_set(&absent, None, None).await.unwrap(),
            handle.test_and_set(&k, None, Some(value("w"))).await.unwrap(),
            handle.test_and_set(&absent, Some(value("v")), Some(value("w"))).await.unwrap(),
        ];
        assert_eq!(verdicts.map(|verdict| verdict.is_applied()), [true, true, false, false]);
        assert!(handle.set(&k, Bytes::from(vec![0; irminsul::MAX_VALUE_LEN + 1])).await.is_err());
    }
    instance.entries().set(&k, value("w")).await.unwrap();
    for follower in &mut followers {
        let (told, diff) = follower.next_change().await;
        assert_eq!((told, diff.new_value()), (k.clone(), Some(&value("w"))), "W6: the first event is the first change");
    }
}

async fn w8_dropped_and_panicking_watchers_change_nothing_for_the_others(store: Store) {
    let entries = store.open().await.entries();
    let k = key("k");
    let watch = || async { entries.watch(&Key::root(), nothing()).await.unwrap() };
    let (mut before, slow, dropped, mut panicking) = (watch().await, watch().await, watch().await, watch().await);
    let mut after = watch().await;
    entries.set(&k, value("1")).await.unwrap();
    drop(dropped);
    let panicked = AssertUnwindSafe(async {
        panicking.next().await;
        std::panic::resume_unwind(Box::new("a handler that fails"));
    });
    assert!(panicked.catch_unwind().await.is_err());
    drop(panicking);
    entries.set(&k, value("2")).await.unwrap();
    for watch in [&mut before, &mut after] {
        let mut told = None;
        soon("the last value", async {
            while told != Some(value("2")) {
                if let Event::Changed { diff, .. } = next(watch).await {
                    told = diff.new_value().cloned();
                }
            }
        })
        .await;
    }
    Follower::known(slow, State::new()).converge(&one(&k, value("2"))).await;
}

async fn w8_dropping_a_future_of_the_next_event_loses_none(store: Store) {
    let entries = store.open().await.entries();
    let k = key("k");
    let mut watch = entries.watch_key(&k, Init::Known(None)).await.unwrap();
    assert_eq!(next(&mut watch).await, Event::CaughtUp);
    for round in 0..50 {
        for _ in 0..round % 4 {
            assert!(watch.next().now_or_never().is_none(), "nothing changed");
        }
        entries.set(&k, value(round)).await.unwrap();
        let Event::Changed { diff, .. } = next(&mut watch).await else { panic!("`CaughtUp` twice") };
        assert_eq!(diff.new_value(), Some(&value(round)));
    }
}

async fn w9_unwatch_ends_the_stream_without_another_event(store: Store) {
    let entries = store.open().await.entries();
    let k = key("k");
    entries.set(&k, value("1")).await.unwrap();
    for read_first in [0, 1, 2] {
        let mut follower = Follower::known(entries.watch(&Key::root(), nothing()).await.unwrap(), State::new());
        for _ in 0..read_first {
            follower.next().await;
        }
        entries.set(&k, value(format!("pending {read_first}"))).await.unwrap();
        entries.unwatch(follower.watch().id()).await.unwrap();
        entries.set(&k, value("later")).await.unwrap();
        follower.expect_end().await;
    }
}

/// A task that reads a watch to its end; returns once it waits.
async fn wait_for_the_end(mut watch: Watch) -> JoinHandle<Vec<Result<Event>>> {
    assert_eq!(next(&mut watch).await, Event::CaughtUp);
    let (send, waits) = oneshot::channel();
    let mut send = Some(send);
    let reading = tokio::spawn(async move {
        let first = poll_fn(|cx| {
            let polled = watch.poll_next_unpin(cx);
            if polled.is_pending() {
                send.take().map(|send| send.send(()));
            }
            polled
        });
        let first = first.await;
        stream::iter(first).chain(watch).collect().await
    });
    waits.await.unwrap();
    reading
}

async fn w9_unwatch_wakes_who_waits(store: Store) {
    let entries = store.open().await.entries();
    let watch = entries.watch_key(&key("k"), Init::Current).await.unwrap();
    let id = watch.id();
    let waiting = wait_for_the_end(watch).await;
    entries.unwatch(id).await.unwrap();
    assert!(soon("W9: the end of the watch", waiting).await.unwrap().is_empty());
}

async fn w9_a_stale_or_foreign_id_does_nothing(store: Store) {
    let instance = store.open().await;
    let elsewhere = Store::mem().open().await.entries();
    let (entries, other) = (instance.entries(), instance.entries());
    let watch = entries.watch_key(&key("k"), Init::Known(None)).await.unwrap();
    let of_elsewhere = elsewhere.watch_key(&key("k"), Init::Known(None)).await.unwrap();
    let stale = entries.watch_key(&key("k"), Init::Current).await.unwrap().id();
    other.unwatch(watch.id()).await.unwrap();
    elsewhere.unwatch(watch.id()).await.unwrap();
    for id in [stale, stale, of_elsewhere.id(), WatchId::unique()] {
        entries.unwatch(id).await.unwrap();
    }
    for (handle, watch) in [(entries, watch), (elsewhere, of_elsewhere)] {
        handle.set(&key("k"), value("1")).await.unwrap();
        Follower::known(watch, State::new()).converge(&one(&key("k"), value("1"))).await;
    }
}

async fn w10_close_ends_the_watches_of_its_handle_and_no_others(store: Store) {
    let instance = store.open().await;
    let (closing, staying) = (instance.entries(), instance.entries());
    let k = key("k");
    let ending = [
        Follower::known(closing.watch(&Key::root(), nothing()).await.unwrap(), State::new()),
        Follower::known(closing.watch_key(&k, Init::Known(None)).await.unwrap(), State::new()),
    ];
    let mut going_on = Follower::known(staying.watch(&Key::root(), nothing()).await.unwrap(), State::new());
    closing.set(&k, value("1")).await.unwrap();
    closing.close().await.unwrap();
    for follower in ending {
        follower.expect_closed().await;
    }
    staying.set(&k, value("2")).await.unwrap();
    going_on.converge(&one(&k, value("2"))).await;
}

async fn w10_close_wakes_who_waits(store: Store) {
    let instance = store.open().await;
    for close_instance in [false, true] {
        let entries = instance.entries();
        let watch = entries.watch(&Key::root(), Init::Current).await.unwrap();
        let waiting = wait_for_the_end(watch).await;
        if close_instance {
            instance.close().await.unwrap();
        } else {
            entries.close().await.unwrap();
        }
        let told = soon("W10: the end of the watch", waiting).await.unwrap();
        assert!(matches!(&told[..], [Err(error)] if error.kind() == ErrorKind::Closed), "{told:?}");
    }
}

/// Sets keys in and around a scope, and expects the ones in it to be told.
async fn expect_covered(entries: &dyn AtomicWrite, watch: Watch, covered: &[&str]) {
    let around =
        ["b", "ab", "a-", "a0", "a b", "A", "A/b", "a\0", "a%2Fb", "a/b", "a", "a/b/c", "a/\u{10ffff}", "a/ab"];
    for path in around {
        entries.set(&key(path), value("1")).await.unwrap();
    }
    let state: State = covered.iter().map(|path| (key(path), value("1"))).collect();
    let mut follower = Follower::known(watch, State::new());
    follower.converge(&state).await;
    for path in around {
        entries.remove(&key(path)).await.unwrap();
    }
    follower.converge(&State::new()).await;
    assert_eq!(follower.changes, 2 * covered.len(), "W12: only what the scope covers is told");
}

async fn w12_a_scope_covers_whole_steps(store: Store) {
    let entries = store.open().await.entries();
    let watch = entries.watch(&key("a"), nothing()).await.unwrap();
    expect_covered(&*entries, watch, &["a", "a/b", "a/b/c", "a/\u{10ffff}", "a/ab"]).await;
    let watch = entries.watch(&key("a/b"), nothing()).await.unwrap();
    expect_covered(&*entries, watch, &["a/b", "a/b/c"]).await;
}

async fn w12_a_key_covers_itself_alone(store: Store) {
    let entries = store.open().await.entries();
    let watch = entries.watch_key(&key("a"), Init::Known(None)).await.unwrap();
    expect_covered(&*entries, watch, &["a"]).await;
}

async fn w11_changes_of_another_instance_arrive(store: Store) {
    let (watching, writing) = (store.open().await, store.open().await);
    let entries = writing.entries();
    let k = key("a/k");
    let mut all = Follower::known(watching.entries().watch(&key("a"), nothing()).await.unwrap(), State::new());
    let watch = watching.entries().watch_key(&k, Init::Current).await.unwrap();
    let mut single = Follower::current(watch, State::new());
    for state in [Some("1"), Some(""), None, Some("1")] {
        put(&*entries, &k, state.map(value)).await;
        entries.set(&key("beside"), value(format!("{state:?}"))).await.unwrap();
        let expected: State = state.map(|text| (k.clone(), value(text))).into_iter().collect();
        all.converge(&expected).await;
        single.converge(&expected).await;
    }
}

async fn w11_changes_of_many_instances_arrive(store: Store) {
    let instances = [store.open().await, store.open().await, store.open().await];
    let mut followers = Vec::new();
    for instance in &instances {
        let watch = instance.entries().watch(&Key::root(), nothing()).await.unwrap();
        followers.push(Follower::known(watch, State::new()));
    }
    let mut state = State::new();
    for round in 0..5 {
        for (i, instance) in instances.iter().enumerate() {
            let k = key(&format!("{i}"));
            instance.entries().set(&k, value(round)).await.unwrap();
            state.insert(k, value(round));
        }
        for follower in &mut followers {
            follower.converge(&state).await;
        }
    }
}
