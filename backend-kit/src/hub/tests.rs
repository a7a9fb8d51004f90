mod interleavings;

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Wake},
};

use futures_util::{FutureExt, StreamExt};
use store_api::{Diff, Event};

use super::{watch::Sizes, *};

/// A store that tells a hub of its changes, one after the other.
struct Store {
    hub: Arc<Hub>,
    handle: Arc<Gate>,
    entries: BTreeMap<Key, (u64, Bytes)>,
    seq: u64,
}

impl Store {
    fn holding(entries: &[(&'static str, &'static str)]) -> Self {
        let mut store = Self { hub: Arc::default(), handle: Gate::new(), entries: BTreeMap::new(), seq: 0 };
        for (path, value) in entries {
            store.set(path, value);
        }
        store
    }

    /// Applies a change, and leaves the publishing of it to the caller.
    fn apply(&mut self, path: &str, new: Option<&str>) -> Change {
        let (key, new) = (key(path), new.map(|value| Bytes::copy_from_slice(value.as_bytes())));
        self.seq += 1;
        let old = match new.clone() {
            Some(value) => self.entries.insert(key.clone(), (self.seq, value)),
            None => self.entries.remove(&key),
        };
        Change { key, seq: self.seq, old: old.map(|(_, value)| value).into(), new }
    }

    fn set(&mut self, path: &str, value: &str) {
        let change = self.apply(path, Some(value));
        self.hub.publish(&change).wake();
    }

    fn set_all(&mut self, paths: &[impl AsRef<str>], value: &str) {
        for path in paths {
            self.set(path.as_ref(), value);
        }
    }

    fn remove(&mut self, path: &str) {
        let change = self.apply(path, None);
        self.hub.publish(&change).wake();
    }

    fn register(&self, under: &str, init: Init<Vec<(Key, Bytes)>>) -> Priming {
        self.hub.register(&self.handle, Scope::Under(key(under)), init).unwrap()
    }

    fn offer(&self, priming: &Priming, paths: &[&str]) {
        for path in paths {
            let (seq, value) = &self.entries[&key(path)];
            priming.offer(&key(path), *seq, value.clone());
        }
    }

    fn watch(&self, scope: &Scope, init: Init<Vec<(Key, Bytes)>>) -> Watch {
        let priming = self.hub.register(&self.handle, scope.clone(), init).unwrap();
        if priming.wants_current_state() {
            let covered = self.entries.iter().filter(|(key, _)| scope.covers(key));
            covered.for_each(|(key, (seq, value))| priming.offer(key, *seq, value.clone()));
        }
        priming.finish(Arc::new(()))
    }

    fn watch_all(&self, init: Init<Vec<(Key, Bytes)>>) -> Watch {
        self.watch(&Scope::Under(Key::root()), init)
    }

    fn sizes(&self, watch: &Watch) -> Sizes {
        self.hub.registry.read().watches[&watch.id()].state.sizes()
    }

    fn is_unwatched(&self) -> bool {
        let registry = self.hub.registry.read();
        let left = [registry.watches.len(), registry.by_key.len(), registry.by_scope.len()];
        !self.hub.is_watched() && left == [0; 3]
    }
}

fn key(path: &str) -> Key {
    Key::new(path).unwrap()
}

fn known(entries: &[(&str, &'static str)]) -> Init<Vec<(Key, Bytes)>> {
    Init::Known(entries.iter().map(|(path, value)| (key(path), Bytes::from(*value))).collect())
}

/// What the watch tells without waiting: `+key=new`, `key=old>new`, `-key=old`, and words for the rest.
fn told(watch: &mut Watch) -> Vec<String> {
    let mut told = Vec::new();
    while let Some(item) = watch.next().now_or_never() {
        let Some(item) = item else {
            told.push("end".into());
            break;
        };
        told.push(item.map_or_else(|error| format!("{:?}", error.kind()), |event| shown(&event)));
    }
    told
}

fn shown(event: &Event) -> String {
    let Event::Changed { key, diff } = event else { return "caught up".into() };
    let text = |value: &Bytes| String::from_utf8(value.to_vec()).unwrap();
    let old = |value: &Option<Bytes>| value.as_ref().map_or("?".into(), text);
    match diff {
        Diff::Added { new } => format!("+{key}={}", text(new)),
        Diff::Updated { old: before, new } => format!("{key}={}>{}", old(before), text(new)),
        Diff::Removed { old: before } => format!("-{key}={}", old(before)),
    }
}

/// Those before the first `caught up` have no promised order.
fn told_sorted(watch: &mut Watch) -> Vec<String> {
    let mut told = told(watch);
    let differences = told.iter().position(|event| event == "caught up").unwrap();
    told[..differences].sort();
    told
}

/// A waker that runs `on_wake` at each wake-up.
fn waker(on_wake: impl Fn() + Send + Sync + 'static) -> Waker {
    struct OnWake<F>(F);
    impl<F: Fn() + Send + Sync + 'static> Wake for OnWake<F> {
        fn wake(self: Arc<Self>) {
            (self.0)();
        }
    }
    Waker::from(Arc::new(OnWake(on_wake)))
}

fn wait_with(watch: &mut Watch, waker: &Waker) {
    assert!(watch.poll_next_unpin(&mut Context::from_waker(waker)).is_pending());
}

/// A watch that has told all, and a count of the wake-ups of its reader.
fn waiting(store: &Store) -> (Watch, Arc<AtomicUsize>) {
    let mut watch = store.watch_all(Init::Current);
    told(&mut watch);
    let wakes = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&wakes);
    let count = waker(move || {
        count.fetch_add(1, Ordering::SeqCst);
    });
    wait_with(&mut watch, &count);
    (watch, wakes)
}

#[test]
fn w1_at_the_current_state_caught_up_comes_first() {
    let mut store = Store::holding(&[("a", "1")]);
    let priming = store.register("", Init::Current);
    assert!(!priming.wants_current_state());
    store.set("a", "2");
    let mut watch = priming.finish(Arc::new(()));
    store.set("b", "1");
    assert_eq!(told(&mut watch), ["caught up", "a=1>2", "+b=1"]);
}

#[test]
fn w1_from_a_known_state_every_kind_of_difference_is_told_and_then_caught_up_once() {
    let mut store = Store::holding(&[("equal", "1"), ("differs", "2"), ("added", "1")]);
    let mut watch = store.watch_all(known(&[("equal", "1"), ("differs", "1"), ("gone", "1")]));
    assert_eq!(told_sorted(&mut watch), ["+added=1", "-gone=1", "differs=1>2", "caught up"]);
    store.set("equal", "2");
    store.set("gone", "2");
    assert_eq!(told(&mut watch), ["equal=1>2", "+gone=2"]);
}

#[test]
fn w1_known_of_nothing_is_a_full_dump() {
    let store = Store::holding(&[("a", "1"), ("a/b", "2")]);
    assert_eq!(told_sorted(&mut store.watch_all(known(&[]))), ["+a/b=2", "+a=1", "caught up"]);
    assert_eq!(told(&mut Store::holding(&[]).watch_all(known(&[]))), ["caught up"]);
}

#[test]
fn w1_a_known_key_that_is_not_offered_is_gone() {
    let store = Store::holding(&[]);
    let one = Scope::Key(key("a"));
    assert_eq!(told(&mut store.watch(&one, known(&[("a", "1")]))), ["-a=1", "caught up"]);
}

#[test]
fn w1_what_changes_before_it_is_offered_is_told_as_it_is() {
    let mut store = Store::holding(&[("a", "1"), ("b", "1"), ("c", "1")]);
    let priming = store.register("", known(&[("b", "1"), ("c", "1")]));
    store.set("a", "2");
    store.set("b", "2");
    store.remove("c");
    store.set("d", "2");
    store.offer(&priming, &["a", "b", "d"]);
    let mut watch = priming.finish(Arc::new(()));
    assert_eq!(told_sorted(&mut watch), ["+a=2", "+d=2", "-c=1", "b=1>2", "caught up"]);
}

#[test]
fn w1_what_changes_after_it_was_offered_is_told_as_it_is() {
    let mut store = Store::holding(&[("a", "1"), ("b", "1"), ("c", "1"), ("d", "1")]);
    let priming = store.register("", known(&[("a", "1"), ("b", "1")]));
    store.offer(&priming, &["a", "b", "c", "d"]);
    store.set("a", "2");
    store.remove("b");
    store.set("c", "2");
    store.remove("d");
    let mut watch = priming.finish(Arc::new(()));
    assert_eq!(told_sorted(&mut watch), ["+c=2", "-b=1", "a=1>2", "caught up"]);
}

#[test]
fn w1_a_state_that_was_read_before_a_change_and_is_offered_after_it_is_passed_over() {
    let mut store = Store::holding(&[("a", "1"), ("b", "1")]);
    let priming = store.register("", known(&[]));
    let read = store.entries.clone();
    store.remove("a");
    store.set("b", "2");
    for (key, (seq, value)) in &read {
        priming.offer(key, *seq, value.clone());
    }
    assert_eq!(told(&mut priming.finish(Arc::new(()))), ["+b=2", "caught up"]);
}

#[test]
fn w1_a_change_that_was_read_before_it_is_published_is_told_once() {
    let mut store = Store::holding(&[("a", "1"), ("b", "1")]);
    let priming = store.register("", known(&[("a", "1"), ("b", "1")]));
    let late = [store.apply("a", Some("2")), store.apply("a", Some("3")), store.apply("b", None)];
    store.offer(&priming, &["a"]);
    let mut watch = priming.finish(Arc::new(()));
    assert_eq!(told_sorted(&mut watch), ["-b=1", "a=1>3", "caught up"]);
    for change in &late {
        store.hub.publish(change).wake();
    }
    assert_eq!(told(&mut watch), [""; 0]);
    store.set("b", "2");
    assert_eq!(told(&mut watch), ["+b=2"]);
}

#[test]
fn w1_a_known_state_with_a_key_twice_or_outside_the_scope_is_refused() {
    let store = Store::holding(&[]);
    let cases = [
        (Scope::Under(Key::root()), known(&[("a", "1"), ("b", "1"), ("a", "1")])),
        (Scope::Under(key("a")), known(&[("a", "1"), ("ab", "1")])),
        (Scope::Under(Key::root()), known(&[("", "1")])),
        (Scope::Key(key("a")), known(&[("a/b", "1")])),
    ];
    for (scope, init) in cases {
        let error = store.hub.register(&store.handle, scope.clone(), init).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{scope:?}");
    }
    assert!(store.is_unwatched());
}

#[test]
fn w1_the_known_entry_of_a_key_is_the_state_of_its_scope() {
    assert_eq!(known_entry(&key("a"), Init::Current), Init::Current);
    assert_eq!(known_entry(&key("a"), Init::Known(None)), known(&[]));
    assert_eq!(known_entry(&key("a"), Init::Known(Some("1".into()))), known(&[("a", "1")]));
}

#[test]
fn w3_old_is_what_was_told_or_given_last() {
    let mut store = Store::holding(&[("a", "1"), ("b", "1")]);
    let mut watch = store.watch_all(known(&[("a", "1"), ("b", "1")]));
    assert_eq!(told(&mut watch), ["caught up"]);
    for value in ["2", "3", "4"] {
        store.set("a", value);
    }
    store.remove("b");
    store.set("b", "2");
    assert_eq!(told(&mut watch), ["a=1>4", "b=1>2"]);
    store.set("a", "5");
    store.remove("a");
    assert_eq!(told(&mut watch), ["-a=4"]);
    store.set("a", "6");
    assert_eq!(told(&mut watch), ["+a=6"]);
}

#[test]
fn w3_an_entry_that_a_watch_began_with_is_changed_or_gone_whatever_the_others_were_told() {
    let mut store = Store::holding(&[]);
    let mut others = store.watch_all(Init::Current);
    let priming = store.register("a", Init::Current);
    for path in ["a/1", "a/2", "a/3"] {
        priming.begins_with(&key(path));
    }
    let mut watch = priming.finish(Arc::new(()));
    assert_eq!(told(&mut watch), ["caught up"]);
    store.set("a/1", "1");
    store.remove("a/2");
    assert_eq!(told(&mut watch), ["a/1=?>1", "-a/2=?"]);
    store.set("a/2", "1");
    assert_eq!(told(&mut watch), ["+a/2=1"]);
    assert_eq!(told(&mut others), ["caught up", "+a/1=1", "+a/2=1"]);
}

#[test]
fn w3_old_is_unknown_only_until_a_value_was_told() {
    let store = Store::holding(&[]);
    let mut watch = store.watch_all(Init::Current);
    let publish = |path: &str, seq, new: Option<&'static str>| {
        let change = Change { key: key(path), seq, old: Old::Present(None), new: new.map(Bytes::from) };
        store.hub.publish(&change).wake();
    };
    publish("a", 7, Some("2"));
    publish("b", 8, None);
    assert_eq!(told(&mut watch), ["caught up", "a=?>2", "-b=?"]);
    publish("a", 9, Some("3"));
    assert_eq!(told(&mut watch), ["a=2>3"]);
}

#[test]
fn w4_a_change_that_is_not_newer_is_dropped() {
    let mut store = Store::holding(&[]);
    let mut watch = store.watch_all(Init::Current);
    let changes = [store.apply("a", Some("1")), store.apply("a", Some("2"))];
    for change in [&changes[0], &changes[1], &changes[0], &changes[1]] {
        store.hub.publish(change).wake();
    }
    assert_eq!(told(&mut watch), ["caught up", "+a=2"]);
    store.hub.publish(&changes[0]).wake();
    assert_eq!(told(&mut watch), [""; 0]);
}

#[test]
fn w6_what_is_again_as_it_was_told_is_silent() {
    let mut store = Store::holding(&[("a", "1")]);
    let mut watch = store.watch_all(Init::Current);
    assert_eq!(told(&mut watch), ["caught up"]);
    store.set("a", "2");
    store.set("a", "1");
    store.set("b", "1");
    store.remove("b");
    store.set("a", "1");
    assert_eq!(store.sizes(&watch).queued, 0);
    assert_eq!(told(&mut watch), [""; 0]);
}

#[test]
fn w6_a_key_that_differs_again_is_told_behind_those_that_came_before() {
    let mut store = Store::holding(&[("a", "1")]);
    let mut watch = store.watch_all(Init::Current);
    for (path, value) in [("a", "2"), ("a", "1"), ("b", "1"), ("a", "3")] {
        store.set(path, value);
    }
    assert_eq!(told(&mut watch), ["caught up", "+b=1", "a=1>3"]);
}

#[test]
fn w7_many_changes_of_few_keys_hold_few_records() {
    let mut store = Store::holding(&[]);
    let mut watch = store.watch_all(Init::Current);
    for n in 0..1_000_000 {
        store.set(["a", "b", "c"][n % 3], ["1", "2"][n % 2]);
    }
    let sizes = store.sizes(&watch);
    assert!(sizes.tracked == 3 && sizes.queued == 4, "{sizes:?}");
    assert_eq!(told(&mut watch), ["caught up", "+a=2", "+b=2", "+c=1"]);
}

#[test]
fn w7_keys_that_come_and_go_leave_nothing() {
    let mut store = Store::holding(&[]);
    let (mut read, unread) = (store.watch_all(Init::Current), store.watch_all(Init::Current));
    told(&mut read);
    for n in 0..10_000 {
        let path = format!("key/{n}");
        store.set(&path, "1");
        assert_eq!(told(&mut read), [format!("+{path}=1")]);
        store.remove(&path);
        assert_eq!(told(&mut read), [format!("-{path}=1")]);
    }
    for (watch, queued) in [(&read, 0), (&unread, 1)] {
        let sizes = store.sizes(watch);
        assert!(sizes.tracked == 0 && sizes.room < 100 && sizes.queued == queued, "{sizes:?}");
    }
}

#[test]
fn w7_the_room_of_many_keys_is_given_back_when_they_are_gone() {
    let mut store = Store::holding(&[]);
    let mut watch = store.watch_all(Init::Current);
    let paths: Vec<_> = (0..50_000).map(|n| n.to_string()).collect();
    store.set_all(&paths, "1");
    assert_eq!(told(&mut watch).len(), 1 + paths.len());
    assert!(store.sizes(&watch).room >= paths.len());
    for path in &paths {
        store.remove(path);
    }
    assert_eq!(told(&mut watch).len(), paths.len());
    let sizes = store.sizes(&watch);
    assert!(sizes.tracked == 0 && sizes.room <= 2048, "{sizes:?}");
}

#[test]
fn w8_a_watch_that_is_dropped_or_not_read_changes_nothing_for_the_others() {
    let mut store = Store::holding(&[]);
    let (mut read, _unread, dropped) =
        (store.watch_all(Init::Current), store.watch_all(Init::Current), store.watch_all(Init::Current));
    store.set("a", "1");
    drop(dropped);
    store.set("b", "1");
    assert_eq!(told(&mut read), ["caught up", "+a=1", "+b=1"]);
}

#[test]
fn w8_a_waker_that_panics_harms_neither_the_others_nor_the_publisher() {
    let mut store = Store::holding(&[]);
    let (before, wakes_before) = waiting(&store);
    let mut panics = store.watch_all(Init::Current);
    told(&mut panics);
    wait_with(&mut panics, &waker(|| panic!("a waker panics")));
    let (after, wakes_after) = waiting(&store);
    store.set("a", "1");
    assert_eq!([wakes_before, wakes_after].map(|wakes| wakes.load(Ordering::SeqCst)), [1, 1]);
    for mut watch in [before, panics, after] {
        assert_eq!(told(&mut watch), ["+a=1"]);
    }
}

#[test]
fn w9_an_unwatched_stream_ends_without_another_event() {
    let mut store = Store::holding(&[]);
    let mut watch = store.watch_all(Init::Current);
    store.set("a", "1");
    store.hub.fault(&Error::new(ErrorKind::Unavailable, "busy")).wake();
    store.hub.unwatch(&store.handle, watch.id());
    store.set("a", "2");
    store.hub.fault(&Error::new(ErrorKind::Unavailable, "busy")).wake();
    assert_eq!(told(&mut watch), ["end"]);
    assert_eq!(told(&mut watch), ["end"]);
}

#[test]
fn w9_a_stale_or_foreign_id_does_nothing() {
    let mut store = Store::holding(&[]);
    let (mut watch, gone) = (store.watch_all(Init::Current), store.watch_all(Init::Current));
    let stale = gone.id();
    drop(gone);
    store.hub.unwatch(&store.handle, stale);
    store.hub.unwatch(&Gate::new(), watch.id());
    store.hub.unwatch(&store.handle.child(), watch.id());
    Arc::new(Hub::new()).unwatch(&store.handle, watch.id());
    store.set("a", "1");
    assert_eq!(told(&mut watch), ["caught up", "+a=1"]);
}

#[test]
fn w9_ids_are_those_of_no_other_watch() {
    let (one, other) = (Store::holding(&[]), Store::holding(&[]));
    let watches = [&one, &one, &other, &other].map(|store| store.watch_all(Init::Current));
    let ids: HashSet<_> = watches.iter().map(Watch::id).collect();
    assert_eq!(ids.len(), watches.len());
}

#[test]
fn w9_a_dropped_stream_is_taken_out_of_the_hub() {
    let store = Store::holding(&[]);
    assert!(store.is_unwatched());
    let watches =
        [store.watch_all(Init::Current), store.watch(&Scope::Key(key("a")), known(&[])), store.watch_all(known(&[]))];
    assert!(store.hub.is_watched());
    drop(watches);
    assert!(store.is_unwatched());
    drop(store.register("", known(&[])));
    assert!(store.is_unwatched());
}

#[test]
fn w10_closing_a_handle_ends_its_watches_with_one_error_and_no_others() {
    let mut store = Store::holding(&[]);
    let instance = Gate::new();
    store.handle = instance.child();
    let mut own = [store.watch_all(Init::Current), store.watch(&Scope::Key(key("a")), known(&[]))];
    let closed = std::mem::replace(&mut store.handle, instance.child());
    let mut others = store.watch_all(Init::Current);
    store.set("a", "1");
    closed.close();
    store.hub.end_closed();
    store.set("a", "2");
    for watch in &mut own {
        assert_eq!(told(watch), ["Closed", "end"]);
        assert_eq!(told(watch), ["end"]);
    }
    assert_eq!(told(&mut others), ["caught up", "+a=2"]);
    instance.close();
    store.hub.end_closed();
    assert_eq!(told(&mut others), ["Closed", "end"]);
}

#[test]
fn w10_a_watch_whose_handle_is_closed_before_its_first_event_ends_too() {
    let store = Store::holding(&[("a", "1")]);
    let priming = store.register("", known(&[]));
    store.handle.close();
    store.hub.end_closed();
    assert!(!priming.wants_current_state());
    store.offer(&priming, &["a"]);
    assert_eq!(told(&mut priming.finish(Arc::new(()))), ["Closed", "end"]);
}

#[test]
fn l1_a_closed_handle_registers_no_watch() {
    let store = Store::holding(&[]);
    store.handle.close();
    let refused = store.hub.register(&store.handle, Scope::Under(Key::root()), Init::Current);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Closed);
    assert!(store.is_unwatched());
}

#[test]
fn w10_a_passing_fault_is_an_item_and_the_watch_goes_on() {
    let mut store = Store::holding(&[]);
    let (mut watch, wakes) = waiting(&store);
    store.hub.fault(&Error::new(ErrorKind::Unavailable, "busy")).wake();
    assert_eq!(wakes.load(Ordering::SeqCst), 1);
    store.hub.fault(&Error::new(ErrorKind::Timeout, "late")).wake();
    store.set("a", "1");
    assert_eq!(told(&mut watch), ["Timeout", "+a=1"]);
}

#[test]
fn w10_a_fault_of_one_entry_is_told_to_the_watches_that_cover_it() {
    let mut store = Store::holding(&[]);
    let mut covering = [Scope::Key(key("a/b")), Scope::Under(key("a"))].map(|scope| store.watch(&scope, Init::Current));
    let mut other = store.watch(&Scope::Under(key("b")), Init::Current);
    store.hub.fault_of(&key("a/b"), &Error::new(ErrorKind::Corrupt, "rotten")).wake();
    store.set("a/b", "1");
    for watch in &mut covering {
        assert_eq!(told(watch), ["Corrupt", "caught up", "+a/b=1"]);
    }
    assert_eq!(told(&mut other), ["caught up"]);
}

#[test]
fn w12_a_scope_is_told_of_what_it_covers() {
    let paths = ["a", "a/b", "a/b/c", "ab", "b/a"];
    let cases = [
        (Scope::Under(Key::root()), &paths[..]),
        (Scope::Under(key("a")), &["a", "a/b", "a/b/c"]),
        (Scope::Under(key("a/b")), &["a/b", "a/b/c"]),
        (Scope::Under(key("c")), &[]),
        (Scope::Key(key("a")), &["a"]),
        (Scope::Key(key("a/b/c")), &["a/b/c"]),
    ];
    for (scope, covered) in cases {
        let mut store = Store::holding(&[]);
        let mut watch = store.watch(&scope, Init::Current);
        store.set_all(&paths, "1");
        let added = covered.iter().map(|path| format!("+{path}=1"));
        let expected: Vec<_> = std::iter::once("caught up".into()).chain(added).collect();
        assert_eq!(told(&mut watch), expected, "{scope:?}");
    }
}

#[test]
fn scopes_are_listed_once_each() {
    let store = Store::holding(&[]);
    let scopes = [Scope::Key(key("a")), Scope::Under(Key::root()), Scope::Under(key("a"))];
    let watches = [&scopes, &scopes].map(|scopes| scopes.each_ref().map(|scope| store.watch(scope, Init::Current)));
    let mut listed = store.hub.scopes();
    listed.sort_by_key(|scope| format!("{scope:?}"));
    assert_eq!(listed, scopes);
    drop(watches);
    assert!(store.hub.scopes().is_empty());
}

#[test]
fn a_key_is_covered_while_it_or_a_path_above_it_is_watched() {
    let store = Store::holding(&[]);
    let covered = |paths: [&str; 4]| paths.map(|path| store.hub.covers(&key(path)));
    let paths = ["a", "a/b", "a/b/c", "ab"];
    assert_eq!(covered(paths), [false; 4]);
    let one = store.watch(&Scope::Key(key("a/b")), Init::Current);
    assert_eq!(covered(paths), [false, true, false, false]);
    let below = store.watch(&Scope::Under(key("a")), Init::Current);
    assert_eq!(covered(paths), [true, true, true, false]);
    drop(below);
    assert_eq!(covered(paths), [false, true, false, false]);
    drop(one);
    assert_eq!(covered(paths), [false; 4]);
}

#[test]
fn the_outermost_scopes_are_those_that_no_other_one_covers() {
    let below = |path| Scope::Under(key(path));
    let one = |path| Scope::Key(key(path));
    let cases = [
        (vec![one("a"), below("a"), below("a/b"), one("a/b/c"), one("ab")], vec![one("ab"), below("a")]),
        (
            vec![one("a"), one("a/b"), below("b/c"), below("b/d")],
            vec![one("a"), one("a/b"), below("b/c"), below("b/d")],
        ),
        (vec![one("a"), below("b"), Scope::Under(Key::root())], vec![Scope::Under(Key::root())]),
        (vec![], vec![]),
    ];
    for (watched, outermost) in cases {
        let store = Store::holding(&[]);
        let _watches: Vec<_> = watched.iter().map(|scope| store.watch(scope, Init::Current)).collect();
        let mut found = store.hub.outermost_scopes();
        found.sort_by_key(|scope| format!("{scope:?}"));
        assert_eq!(found, outermost, "of {watched:?}");
    }
}

#[test]
fn a_reader_is_woken_once_when_there_is_something_to_tell() {
    let mut store = Store::holding(&[("a", "1")]);
    let (mut watch, wakes) = waiting(&store);
    store.set("a", "1");
    assert_eq!(wakes.load(Ordering::SeqCst), 0);
    store.set("a", "2");
    store.set("a", "3");
    assert_eq!(wakes.load(Ordering::SeqCst), 1);
    assert_eq!(told(&mut watch), ["a=1>3"]);
}

#[test]
fn the_reader_that_polled_last_is_woken() {
    let mut store = Store::holding(&[]);
    let (mut watch, first) = waiting(&store);
    let second = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&second);
    wait_with(
        &mut watch,
        &waker(move || {
            count.fetch_add(1, Ordering::SeqCst);
        }),
    );
    store.set("a", "1");
    assert_eq!([first, second].map(|wakes| wakes.load(Ordering::SeqCst)), [0, 1]);
}

#[test]
fn wakers_that_are_dropped_wake() {
    let mut store = Store::holding(&[]);
    let (_watch, wakes) = waiting(&store);
    let change = store.apply("a", Some("1"));
    drop(store.hub.publish(&change));
    assert_eq!(wakes.load(Ordering::SeqCst), 1);
}

#[test]
fn every_end_wakes_its_reader() {
    let store = Store::holding(&[]);
    let (unwatched, wakes) = waiting(&store);
    store.hub.unwatch(&store.handle, unwatched.id());
    assert_eq!(wakes.load(Ordering::SeqCst), 1);
    let (_closed, wakes) = waiting(&store);
    store.handle.close();
    store.hub.end_closed();
    assert_eq!(wakes.load(Ordering::SeqCst), 1);
}

/// A hub that woke under one of its locks would never return from this.
#[test]
fn a_waker_may_call_the_hub() {
    let mut store = Store::holding(&[]);
    let other = Arc::new(Mutex::new(Some(store.watch_all(Init::Current))));
    let (hub, handle, seen) = (Arc::clone(&store.hub), Arc::clone(&store.handle), Arc::new(AtomicUsize::new(0)));
    let seen_inside = Arc::clone(&seen);
    let reenter = waker(move || {
        // The first time, this drops a watch of the same hub.
        drop(other.lock().unwrap().take());
        hub.unwatch(&handle, WatchId::unique());
        let watch = hub.register(&Gate::new(), Scope::Key(key("b")), Init::Current).unwrap();
        hub.publish(&Change { key: key("b"), seq: 1, old: Old::Absent, new: None }).wake();
        drop(watch);
        seen_inside.fetch_add(1, Ordering::SeqCst);
    });
    let mut watch = store.watch_all(Init::Current);
    told(&mut watch);
    wait_with(&mut watch, &reenter);
    store.set("a", "1");
    assert_eq!(seen.load(Ordering::SeqCst), 1);
    told(&mut watch);
    wait_with(&mut watch, &reenter);
    store.hub.fault(&Error::new(ErrorKind::Unavailable, "busy")).wake();
    assert_eq!(seen.load(Ordering::SeqCst), 2);
    told(&mut watch);
    wait_with(&mut watch, &reenter);
    store.hub.unwatch(&store.handle, watch.id());
    assert_eq!(seen.load(Ordering::SeqCst), 3);
}

/// A watch that dropped it under its lock would never return from this.
#[test]
fn a_waker_that_is_replaced_may_call_the_hub_when_it_is_dropped() {
    struct Task(Arc<Hub>);
    impl Wake for Task {
        fn wake(self: Arc<Self>) {}
    }
    impl Drop for Task {
        fn drop(&mut self) {
            self.0.publish(&Change { key: key("a"), seq: 1, old: Old::Absent, new: Some("1".into()) }).wake();
        }
    }
    let store = Store::holding(&[]);
    let mut watch = store.watch_all(Init::Current);
    told(&mut watch);
    wait_with(&mut watch, &Waker::from(Arc::new(Task(Arc::clone(&store.hub)))));
    wait_with(&mut watch, Waker::noop());
    assert_eq!(told(&mut watch), ["+a=1"]);
}

#[test]
fn a_watch_keeps_its_store_alive() {
    let (store, kept) = (Store::holding(&[]), Arc::new(()));
    let watch = store.register("", Init::Current).finish(Arc::clone(&kept));
    assert_eq!(Arc::strong_count(&kept), 2);
    drop(watch);
    assert_eq!(Arc::strong_count(&kept), 1);
}

#[test]
fn e2_a_change_shows_no_value() {
    let old = Old::Present(Some("secret".into()));
    let change = Change { key: key("a"), seq: 1, old, new: Some("secret too".into()) };
    assert_eq!(
        format!("{change:?}"),
        r#"Change { key: Key("a"), seq: 1, old: Present(6 bytes), new: Present(10 bytes) }"#
    );
}
