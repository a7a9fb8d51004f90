//! The hub under loom: every interleaving of a few steps, with the memory orders that the language promises.
//!
//! ```text
//! RUSTFLAGS="--cfg irminsul_loom" cargo test -p irminsul-backend-kit --lib --target-dir target/loom -- model
//! ```

use std::{
    pin::Pin,
    sync::atomic::AtomicBool,
    task::{Context, Poll, Wake},
};

use futures_core::Stream;
use loom::{sync::Mutex, thread};
use store_api::Event;

use super::*;

/// The states of one entry, by the sequence number of the change that made them.
type History = &'static [Option<&'static str>];

fn entry() -> Key {
    Key::new("a").unwrap()
}

fn value(history: History, seq: usize) -> Option<Bytes> {
    history[seq].map(Bytes::from)
}

/// The change that leads to the state `seq`.
fn change(history: History, seq: usize) -> Change {
    Change {
        key: entry(),
        seq: u64::try_from(seq).unwrap(),
        old: value(history, seq - 1).into(),
        new: value(history, seq),
    }
}

/// A watch with this state as the known one, which finds `read` to be the current one.
fn watch_from(hub: &Arc<Hub>, known: Option<Bytes>, history: History, read: impl FnOnce() -> usize) -> Watch {
    let init = known_entry(&entry(), Init::Known(known));
    let priming = hub.register(&Gate::new(), Scope::Key(entry()), init).unwrap();
    let seq = read();
    if let Some(value) = value(history, seq) {
        priming.offer(&entry(), u64::try_from(seq).unwrap(), value);
    }
    priming.finish(Arc::new(()))
}

fn next(watch: &mut Watch, waker: &Waker) -> Poll<Option<Result<Event>>> {
    Pin::new(watch).poll_next(&mut Context::from_waker(waker))
}

/// The state that the events lead to, each being legal after the one before; and whether `CaughtUp` came once.
fn folded(watch: &mut Watch, known: Option<Bytes>) -> Option<Bytes> {
    let (mut state, mut caught_up) = (known, 0);
    while let Poll::Ready(item) = next(watch, Waker::noop()) {
        let Event::Changed { diff, .. } = item.unwrap().unwrap() else {
            caught_up += 1;
            continue;
        };
        assert_eq!(diff.old_value(), state.as_ref(), "the chain is unbroken");
        assert_ne!(diff.new_value(), state.as_ref(), "something changed");
        state = diff.new_value().cloned();
    }
    assert_eq!(caught_up, 1);
    state
}

/// Where the seq-th state is the current one, the changes lead from the second to the last.
const HISTORIES: [History; 3] =
    [&[None, Some("1"), Some("2")], &[None, Some("1"), None, Some("1")], &[None, None, Some("1"), None]];

#[test]
fn a_watch_of_a_store_that_tells_under_its_lock_misses_nothing() {
    for history in HISTORIES {
        loom::model(move || {
            let hub = Arc::new(Hub::new());
            let cell = Arc::new(Mutex::new(1));
            let writer = thread::spawn({
                let (hub, cell) = (Arc::clone(&hub), Arc::clone(&cell));
                move || {
                    for seq in 2..history.len() {
                        let mut cell = cell.lock().unwrap();
                        *cell = seq;
                        let wakers =
                            if hub.is_watched() { hub.publish(&change(history, seq)) } else { Wakers::default() };
                        drop(cell);
                        wakers.wake();
                    }
                }
            });
            let known = value(history, 1);
            let mut watch = watch_from(&hub, known.clone(), history, || *cell.lock().unwrap());
            writer.join().unwrap();
            assert_eq!(folded(&mut watch, known), value(history, history.len() - 1));
        });
    }
}

/// What the two fences are for: without either, both sides can miss each other.
#[test]
fn a_watch_of_a_store_without_a_lock_misses_nothing() {
    for history in HISTORIES {
        loom::model(move || {
            let hub = Arc::new(Hub::new());
            let cell = Arc::new(AtomicUsize::new(1));
            let writer = thread::spawn({
                let (hub, cell) = (Arc::clone(&hub), Arc::clone(&cell));
                move || {
                    for seq in 2..history.len() {
                        cell.store(seq, Ordering::Relaxed);
                        if hub.is_watched() {
                            hub.publish(&change(history, seq)).wake();
                        }
                    }
                }
            });
            let known = value(history, 1);
            let mut watch = watch_from(&hub, known.clone(), history, || cell.load(Ordering::Relaxed));
            writer.join().unwrap();
            assert_eq!(folded(&mut watch, known), value(history, history.len() - 1));
        });
    }
}

fn watch_the_current_state(hub: &Arc<Hub>, handle: &Arc<Gate>) -> Watch {
    hub.register(handle, Scope::Under(Key::root()), Init::Current).unwrap().finish(Arc::new(()))
}

fn publishing(hub: &Arc<Hub>) -> thread::JoinHandle<()> {
    let hub = Arc::clone(hub);
    thread::spawn(move || hub.publish(&change(&[None, Some("1")], 1)).wake())
}

#[test]
fn w9_no_event_comes_after_unwatch_has_returned() {
    loom::model(|| {
        let (hub, handle) = (Arc::new(Hub::new()), Gate::new());
        let mut watch = watch_the_current_state(&hub, &handle);
        let publisher = publishing(&hub);
        hub.unwatch(&handle, watch.id());
        assert!(matches!(next(&mut watch, Waker::noop()), Poll::Ready(None)));
        publisher.join().unwrap();
        assert!(matches!(next(&mut watch, Waker::noop()), Poll::Ready(None)));
    });
}

#[test]
fn w10_a_close_is_told_once_and_nothing_after_it() {
    loom::model(|| {
        let (hub, handle) = (Arc::new(Hub::new()), Gate::new());
        let mut watch = watch_the_current_state(&hub, &handle);
        let publisher = publishing(&hub);
        handle.close();
        hub.end_closed();
        let Poll::Ready(Some(Err(error))) = next(&mut watch, Waker::noop()) else { panic!("it is told") };
        assert_eq!(error.kind(), ErrorKind::Closed);
        publisher.join().unwrap();
        assert!(matches!(next(&mut watch, Waker::noop()), Poll::Ready(None)));
    });
}

#[test]
fn w10_a_watch_that_begins_during_a_close_is_refused_or_ended() {
    loom::model(|| {
        let (hub, handle) = (Arc::new(Hub::new()), Gate::new());
        let closer = thread::spawn({
            let (hub, handle) = (Arc::clone(&hub), Arc::clone(&handle));
            move || {
                handle.close();
                hub.end_closed();
            }
        });
        let begun = hub.register(&handle, Scope::Key(entry()), Init::Current);
        let watch = begun.map(|priming| priming.finish(Arc::new(())));
        closer.join().unwrap();
        let error = match watch {
            Err(error) => error,
            Ok(mut watch) => loop {
                match next(&mut watch, Waker::noop()) {
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(Some(Err(error))) => break error,
                    ended => panic!("it is neither refused nor ended: {ended:?}"),
                }
            },
        };
        assert_eq!(error.kind(), ErrorKind::Closed);
        assert!(!hub.is_watched());
    });
}

#[test]
fn a_reader_that_waits_is_woken() {
    struct Woken(AtomicBool);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    loom::model(|| {
        let hub = Arc::new(Hub::new());
        let mut watch = watch_the_current_state(&hub, &Gate::new());
        assert!(matches!(next(&mut watch, Waker::noop()), Poll::Ready(Some(Ok(Event::CaughtUp)))));
        let publisher = publishing(&hub);
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        let waits = next(&mut watch, &Waker::from(Arc::clone(&woken))).is_pending();
        publisher.join().unwrap();
        assert_eq!(woken.0.load(Ordering::SeqCst), waits);
        assert_eq!(next(&mut watch, Waker::noop()).is_ready(), waits);
    });
}
