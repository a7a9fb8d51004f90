//! W9 and W10: how a watch ends.

use std::{
    future::{poll_fn, ready},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use store_api::{AtomicWrite, ErrorKind, Event, Key, Result, Watch, WatchId};
use tokio::{
    sync::oneshot,
    task::{JoinHandle, spawn, yield_now},
};

use crate::{
    case::{Case, case},
    clients::{beside, both, is_given_up, set_over_and_over},
    context::{Context, key},
    failure::{Failure, Outcome, ensure, ensure_eq},
    following::{Follower, Scope, State, next_item},
    luck::{Hopes, Luck},
    operations::value,
};

pub(super) const CASES: &[Case] = &[
    case!("watch/W9-unwatch-ends-the-stream-without-another-event", [Entries], unwatch),
    case!("watch/W9-unwatch-amid-writes-ends-the-stream-without-another-event", [Entries], unwatch_amid_writes),
    case!("watch/W9-no-event-comes-to-a-reader-behind-unwatch", [Entries], unwatch_beside_a_reader),
    case!("watch/W9-unwatch-wakes-who-waits", [Entries], unwatch_wakes),
    case!("watch/W9-a-stale-or-foreign-id-does-nothing", [Entries], stale_or_foreign),
    case!("watch/W10-close-ends-the-watches-of-its-handle-and-no-others", [Entries], close),
    case!("watch/W10-close-of-an-instance-ends-all-its-watches", [Entries], close_of_instance),
    case!(
        "watch/W10-close-ends-no-watch-of-another-instance",
        [Entries, SharedInstances],
        close_beside_another_instance
    ),
    case!("watch/W10-close-wakes-who-waits", [Entries], close_wakes),
    case!("watch/W10-a-watch-that-starts-beside-close-ends-or-is-refused", [Entries], close_beside_the_start),
    case!("watch/W10-a-watch-that-was-ended-is-not-closed-again", [Entries], ended_before_close),
    case!("watch/W10-a-handle-that-is-dropped-is-not-closed", [Entries], dropped_handle),
];

fn k() -> Key {
    key("k")
}

fn one(value: Bytes) -> State {
    [(k(), value)].into()
}

async fn unwatch(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    entries.set(&k(), value("1")).await?;
    for scope in [Scope::everything(), Scope::Key(k())] {
        for read_first in 0..=2 {
            let mut follower = Follower::from_nothing(&context, &*entries, &scope).await?;
            for _ in 0..read_first {
                follower.next().await?;
            }
            entries.set(&k(), value(format!("pending {read_first}"))).await?;
            entries.unwatch(follower.id()).await?;
            entries.set(&k(), value("later")).await?;
            follower.expect_end().await?;
        }
    }
    Ok(())
}

async fn unwatch_amid_writes(context: Context) -> Outcome {
    let instance = context.open().await?;
    let entries = instance.entries();
    let writing = set_over_and_over(instance.entries(), k()).await?;
    let unwatching = async {
        for round in context.rounds_for_a_moment(30, 20_000) {
            let scope = if round % 2 == 0 { Scope::everything() } else { Scope::Key(k()) };
            let mut follower = Follower::from_nothing(&context, &*entries, &scope).await?;
            for _ in 0..round % 3 {
                follower.next().await?;
            }
            entries.unwatch(follower.id()).await?;
            follower.expect_end().await?;
        }
        Ok(())
    };
    writing.meanwhile(unwatching).await.map(drop)
}

/// The reader is in the middle of reading when its watch ends.
async fn unwatch_beside_a_reader(context: Context) -> Outcome {
    let instance = context.open().await?;
    let entries = instance.entries();
    let writing = set_over_and_over(instance.entries(), k()).await?;
    let unwatching = async {
        for _ in context.rounds_for_a_moment(20, 20_000) {
            let watch = Scope::everything().watch_current(&*entries).await?;
            let (id, unwatched) = (watch.id(), Arc::new(AtomicBool::new(false)));
            let (begun, begins) = oneshot::channel();
            let reading = beside(read_to_the_end(watch, begun, Arc::clone(&unwatched))).await?;
            let begins = context.soon("an event amid writes", begins).await?;
            begins.map_err(|_| Failure::broken("W9: a watch ended that nobody ended"))?;
            entries.unwatch(id).await?;
            unwatched.store(true, Ordering::SeqCst);
            context.soon("W9: the end of a watch that is being read", reading).await???;
        }
        Ok(())
    };
    writing.meanwhile(unwatching).await.map(drop)
}

async fn read_to_the_end(mut watch: Watch, begun: oneshot::Sender<()>, unwatched: Arc<AtomicBool>) -> Outcome {
    let mut begun = Some(begun);
    loop {
        let ended = unwatched.load(Ordering::SeqCst);
        if watch.next().await.is_none() {
            return Ok(());
        }
        ensure!(!ended, "W9: an item that was asked for after `unwatch` had returned");
        if let Some(begun) = begun.take() {
            // Nobody listens where the case has ended already.
            let _ = begun.send(());
        }
    }
}

/// A task that reads a watch to its end; returns once it waits.
async fn wait_for_the_end(context: &Context, mut watch: Watch) -> Outcome<JoinHandle<Vec<Result<Event>>>> {
    let first = next_item(context, "the first event", &mut watch).await?.transpose()?;
    ensure_eq!(first, Some(Event::CaughtUp), "the first event");
    let (send, waits) = oneshot::channel();
    let mut send = Some(send);
    let reading = spawn(async move {
        // A passing fault of the store is nothing that it tells (W10).
        let mut told = watch.filter(|item| ready(!item.as_ref().is_err_and(store_api::Error::is_retryable)));
        let first = poll_fn(|cx| {
            let polled = told.poll_next_unpin(cx);
            if let Some(send) = send.take().filter(|_| polled.is_pending()) {
                // Nobody listens where the case has ended already.
                let _ = send.send(());
            }
            polled
        });
        let first = first.await;
        stream::iter(first).chain(told).collect().await
    });
    let waits = context.soon("a reader that waits", waits).await?;
    waits.map_err(|_| Failure::broken("W6: an event where nothing changed"))?;
    Ok(reading)
}

async fn unwatch_wakes(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    for scope in [Scope::everything(), Scope::Key(k())] {
        let watch = scope.watch_current(&*entries).await?;
        let id = watch.id();
        let waiting = wait_for_the_end(&context, watch).await?;
        entries.unwatch(id).await?;
        let told = context.soon("W9: the end of a watch that somebody waits for", waiting).await??;
        ensure!(told.is_empty(), "W9: {} items after `unwatch`", told.len());
    }
    Ok(())
}

async fn stale_or_foreign(context: Context) -> Outcome {
    let instance = context.open().await?;
    let another_store = context.another_store().await?;
    let elsewhere = another_store.open().await?.entries();
    let (entries, other) = (instance.entries(), instance.entries());
    let stays = Follower::from_nothing(&context, &*entries, &Scope::Key(k())).await?;
    let of_elsewhere = Follower::from_nothing(&context, &*elsewhere, &Scope::everything()).await?;
    let dropped = Follower::from_nothing(&context, &*entries, &Scope::Key(k())).await?.id();
    let ended = Follower::from_nothing(&context, &*entries, &Scope::everything()).await?;
    entries.unwatch(ended.id()).await?;
    other.unwatch(stays.id()).await?;
    elsewhere.unwatch(stays.id()).await?;
    for id in [dropped, dropped, ended.id(), of_elsewhere.id(), WatchId::unique()] {
        entries.unwatch(id).await?;
    }
    ended.expect_end().await?;
    for (handle, mut follower) in [(entries, stays), (elsewhere, of_elsewhere)] {
        handle.set(&k(), value("1")).await?;
        follower.converge(&one(value("1"))).await?;
    }
    Ok(())
}

async fn close(context: Context) -> Outcome {
    let instance = context.open().await?;
    let (closing, staying) = (instance.entries(), instance.entries());
    let same = Arc::clone(&closing);
    let mut ending = Vec::new();
    let mut going_on = Vec::new();
    for scope in [Scope::everything(), Scope::Key(k())] {
        ending.push(Follower::from_nothing(&context, &*closing, &scope).await?);
        ending.push(Follower::current(&context, &*same, &scope, &State::new()).await?);
        going_on.push(Follower::from_nothing(&context, &*staying, &scope).await?);
        going_on.push(Follower::current(&context, &*staying, &scope, &State::new()).await?);
    }
    // One that is read and one that is not, one with something to tell and one without.
    ending[1].catch_up().await?;
    going_on[1].catch_up().await?;
    closing.set(&k(), value("1")).await?;
    closing.close().await?;
    closing.close().await?;
    for follower in ending {
        follower.expect_closed().await?;
    }
    staying.set(&k(), value("2")).await?;
    for follower in &mut going_on {
        follower.converge(&one(value("2"))).await?;
    }
    Ok(())
}

async fn close_of_instance(context: Context) -> Outcome {
    let instance = context.open().await?;
    let handles = [instance.entries(), instance.entries()];
    let mut ending = Vec::new();
    for handle in &handles {
        for scope in [Scope::everything(), Scope::Key(k())] {
            ending.push(Follower::from_nothing(&context, &**handle, &scope).await?);
        }
    }
    handles[0].set(&k(), value("1")).await?;
    ending[0].converge(&one(value("1"))).await?;
    instance.close().await?;
    for follower in ending {
        follower.expect_closed().await?;
    }
    Ok(())
}

async fn close_beside_another_instance(context: Context) -> Outcome {
    let (closing, staying) = (context.open().await?, context.open().await?);
    let (ending, entries) = (closing.entries(), staying.entries());
    let ends = Follower::from_nothing(&context, &*ending, &Scope::everything()).await?;
    let mut goes_on = Follower::from_nothing(&context, &*entries, &Scope::everything()).await?;
    ending.set(&k(), value("1")).await?;
    closing.close().await?;
    ends.expect_closed().await?;
    goes_on.converge(&one(value("1"))).await?;
    entries.set(&k(), value("2")).await?;
    goes_on.converge(&one(value("2"))).await
}

async fn close_wakes(context: Context) -> Outcome {
    let instance = context.open().await?;
    for close_instance in [false, true] {
        let entries = instance.entries();
        let watch = Scope::everything().watch_current(&*entries).await?;
        let waiting = wait_for_the_end(&context, watch).await?;
        if close_instance {
            instance.close().await?;
        } else {
            entries.close().await?;
        }
        let told = context.soon("W10: the end of a watch that somebody waits for", waiting).await??;
        let closed_once = matches!(&told[..], [Err(error)] if error.kind() == ErrorKind::Closed);
        ensure!(closed_once, "W10: {} items instead of one `Err(Closed)`", told.len());
    }
    Ok(())
}

/// A watch that is started while its handle closes ends like the others, or is refused. One that is registered behind the
/// back of `close` would never end.
async fn close_beside_the_start(context: Context) -> Outcome {
    let instance = context.open().await?;
    let mut random = context.random();
    let luck = context.luck(BESIDE_CLOSE.of_clients(2));
    for _ in luck.rounds() {
        let entries = instance.entries();
        let progress = Arc::new(Progress::default());
        let (closing, begun, close_behind) = (Arc::clone(&entries), Arc::clone(&progress), random.usize(1..20));
        let close = async move {
            let is_over = || begun.gave_up.load(Ordering::Acquire) || is_given_up();
            while begun.started.load(Ordering::Acquire) < close_behind && !is_over() {
                yield_now().await;
            }
            begun.closing.store(true, Ordering::Release);
            let closed = closing.close().await;
            // Where it failed nothing is known of the handle, and who starts need not go on.
            let known = if closed.is_ok() { &begun.closed } else { &begun.gave_up };
            known.store(true, Ordering::Release);
            Ok(closed?)
        };
        let starting = start_until_closed(context.clone(), Arc::clone(&luck), entries, progress);
        let ((), all) = both(close, starting).await?;
        for follower in all {
            follower.expect_closed().await?;
        }
    }
    luck.judge("watches were being started when their handle began to close")
}

/// How many starts of a watch are to be under way when a close begins.
const BESIDE_CLOSE: Hopes = Hopes { floor: 20, enough: 300, rounds: [10, 20_000] };

/// What those know of each other of whom one starts watches and one closes their handle.
#[derive(Default)]
struct Progress {
    started: AtomicUsize,
    gave_up: AtomicBool,
    /// Whether the close was begun.
    closing: AtomicBool,
    closed: AtomicBool,
}

/// Starts watches until the handle is closed, and counts them.
async fn start_until_closed(
    context: Context,
    luck: Arc<Luck>,
    entries: Arc<dyn AtomicWrite>,
    progress: Arc<Progress>,
) -> Outcome<Vec<Follower>> {
    /// After so many the close is waited for: whoever closes may have to wait for a core.
    const AT_MOST: usize = 1_000;
    let mut all = Vec::new();
    loop {
        let closed = progress.closed.load(Ordering::Acquire);
        if progress.gave_up.load(Ordering::Acquire) || is_given_up() {
            return Ok(all);
        }
        if all.len() >= AT_MOST && !closed {
            yield_now().await;
            continue;
        }
        let scope = if all.len() % 2 == 0 { Scope::everything() } else { Scope::Key(k()) };
        let before = !progress.closing.load(Ordering::Acquire);
        let started = Follower::try_from_nothing(&context, &*entries, &scope).await;
        if before && progress.closing.load(Ordering::Acquire) {
            luck.meet();
        }
        match started {
            Ok(_) if closed => return Err(Failure::broken("L1: a watch is started after `close` has returned")),
            Ok(follower) => all.push(follower),
            Err(error) if error.kind() == ErrorKind::Closed => return Ok(all),
            Err(error) => {
                progress.gave_up.store(true, Ordering::Release);
                return Err(error.into());
            }
        }
        progress.started.fetch_add(1, Ordering::Release);
    }
}

async fn ended_before_close(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    let follower = Follower::from_nothing(&context, &*entries, &Scope::everything()).await?;
    entries.unwatch(follower.id()).await?;
    entries.close().await?;
    follower.expect_end().await
}

/// A watch ends with `unwatch`, `close` or its own drop, and with nothing else.
async fn dropped_handle(context: Context) -> Outcome {
    let instance = context.open().await?;
    let entries = instance.entries();
    let mut follower = Follower::from_nothing(&context, &*instance.entries(), &Scope::everything()).await?;
    for text in ["1", "2"] {
        entries.set(&k(), value(text)).await?;
        follower.converge(&one(value(text))).await?;
    }
    Ok(())
}
