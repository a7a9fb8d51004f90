//! W7 and W8: slow, dropped and panicking watchers.

use std::{
    panic::{AssertUnwindSafe, resume_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use store_api::{AtomicWrite, EntryReadExt, Event, Key};
use tokio::{sync::oneshot, task::spawn_blocking};

use crate::{
    case::{Case, case},
    clients::{beside, set_over_and_over},
    context::{Context, Instance, key},
    failure::{Failure, Outcome, ensure, ensure_eq},
    following::{Follower, Scope, State},
    operations::{insist, value},
};

pub(super) const CASES: &[Case] = &[
    case!("watch/W7-an-unread-watch-holds-little-and-tells-the-last-values", [Entries], unread),
    case!(
        "watch/W7-an-unread-watch-of-another-instance-holds-little-and-tells-the-last-values",
        [Entries, SharedInstances],
        unread_of_another_instance
    ),
    case!("watch/W7-watches-that-nobody-reads-hold-up-no-writer", [Entries], holds_up_no_writer),
    case!("watch/W8-a-watcher-that-is-stuck-changes-nothing-for-the-others", [Entries], stuck),
    case!("watch/W8-dropped-and-panicking-watchers-change-nothing-for-the-others", [Entries], dropped_and_panicking),
    case!("watch/W8-watches-that-come-and-go-change-nothing-for-the-others", [Entries], come_and_go),
    case!("watch/W8-dropping-a-future-of-the-next-event-loses-none", [Entries], dropped_futures),
];

/// How many changes of one key a watch may have to tell after it was not read for long. Two are needed (a removal and an
/// addition, or what is on its way and what is pending); an implementation may have reasons for a few more, but not for
/// a number that grows with the changes.
const HELD: usize = 8;

/// The keys that are changed very often.
const KEYS: usize = 16;
/// How often each of them is changed in a round.
const CHANGES: usize = 80;

fn many(i: usize) -> Key {
    key(format!("many/{i}"))
}

/// Does the writes beside watches that nobody reads, so many at a time; each must end. Gives the watches back.
///
/// Where a writer waits for a reader, it holds up its thread, and perhaps a lock that the end of a watch needs: so both
/// have threads of their own.
async fn write_beside<W, F>(
    context: &Context,
    unread: W,
    writes: impl Iterator<Item = F>,
    at_once: usize,
    done: &AtomicUsize,
) -> Outcome<W>
where
    W: Send + 'static,
    F: Future<Output = Outcome> + Send + 'static,
{
    let writes: Vec<F> = writes.collect();
    let writing = beside(stream::iter(writes).buffer_unordered(at_once).try_collect::<()>()).await?;
    match context.steadily("W7: a write beside watches that nobody reads", done, writing).await {
        Ok(written) => written?.map(|()| unread),
        Err(late) => {
            drop(spawn_blocking(move || drop(unread)));
            Err(late)
        }
    }
}

/// Changes a few keys very often while nobody reads the watches, and one key once, which all the others overtake.
async fn overtake(context: &Context, watching: &Instance, writing: &Instance) -> Outcome {
    let (watcher, writer) = (watching.entries(), writing.entries());
    let mut unread = Vec::new();
    for scope in [Scope::everything(), Scope::under("many"), Scope::Key(many(0))] {
        unread.push(Follower::from_nothing(context, &*watcher, &scope).await?);
        unread.push(Follower::current(context, &*watcher, &scope, &State::new()).await?);
    }
    for follower in &mut unread {
        follower.catch_up().await?;
    }
    writer.set(&key("once"), value("once")).await?;
    let mut last: State = [(key("once"), value("once"))].into();
    let mut changes = 0;
    for round in context.rounds_for_a_moment(1, 1_000) {
        let end = value(format!("last of {round}"));
        last.extend((0..KEYS).map(|i| (many(i), end.clone())));
        let done = Arc::new(AtomicUsize::new(0));
        let all = (0..KEYS).map(|i| change_often(Arc::clone(&writer), many(i), end.clone(), Arc::clone(&done)));
        unread = write_beside(context, unread, all, KEYS, &done).await?;
        changes += CHANGES;
    }
    for follower in &mut unread {
        follower.converge(&last).await?;
        let most = last.keys().map(|key| follower.told(key).len()).max().unwrap_or_default();
        if most > HELD {
            let wrong = format!("W7: an unread watch held {most} of {changes} changes of one key, more than {HELD}");
            return Err(follower.blame(wrong));
        }
    }
    Ok(())
}

async fn change_often(writer: Arc<dyn AtomicWrite>, key: Key, last: Bytes, done: Arc<AtomicUsize>) -> Outcome {
    for change in 1..CHANGES {
        match change % 4 {
            0 => insist(|| writer.remove(&key)).await?,
            _ => insist(|| writer.set(&key, value(change))).await?,
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
    insist(|| writer.set(&key, last.clone())).await
}

async fn unread(context: Context) -> Outcome {
    let instance = context.open().await?;
    overtake(&context, &instance, &instance).await
}

async fn unread_of_another_instance(context: Context) -> Outcome {
    let (watching, writing) = (context.open().await?, context.open().await?);
    overtake(&context, &watching, &writing).await
}

/// Many keys, large values and a `clear` beside watches that are never read, and more of them than are.
async fn holds_up_no_writer(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    let mut unread = Vec::new();
    for scope in [Scope::everything(), Scope::under("large"), Scope::key("large/0")] {
        unread.push(scope.watch_known(&*entries, &State::new()).await?);
        unread.push(scope.watch_current(&*entries).await?);
    }
    let done = Arc::new(AtomicUsize::new(0));
    let write = |i: usize| {
        let (entries, done) = (Arc::clone(&entries), Arc::clone(&done));
        async move {
            let (large, bytes) = (key(format!("large/{}", i % 2)), Bytes::from(vec![i.to_le_bytes()[0]; 100_000]));
            insist(|| entries.set(&large, bytes.clone())).await?;
            done.fetch_add(1, Ordering::Relaxed);
            let small = key(format!("small/{i}"));
            insist(|| entries.set(&small, value(i))).await?;
            done.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    };
    let unread = write_beside(&context, unread, (0..context.rounds(100)).map(write), 16, &done).await?;
    let clearing = Arc::clone(&entries);
    let clear = async move { insist(|| clearing.clear()).await };
    let unread = write_beside(&context, unread, [clear].into_iter(), 1, &done).await?;
    ensure_eq!(entries.entries_sorted(&Key::root()).await?, [], "the entries after `clear`");
    drop(unread);
    Ok(())
}

fn k() -> Key {
    key("k")
}

fn one(value: Bytes) -> State {
    [(k(), value)].into()
}

/// A watcher that got an event and does not come back for the next, on a thread that it never gives back.
async fn stuck(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    let mut before = Follower::from_nothing(&context, &*entries, &Scope::everything()).await?;
    let mut stuck = Follower::from_nothing(&context, &*entries, &Scope::everything()).await?;
    let mut after = Follower::from_nothing(&context, &*entries, &Scope::everything()).await?;
    entries.set(&k(), value("first")).await?;
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (got, has_got) = oneshot::channel();
    let reading = beside(async move {
        stuck.converge(&one(value("first"))).await?;
        // Nobody listens where the case has ended already.
        let _ = got.send(());
        // Its error says that there is nobody left to release it, which does.
        let _ = released.recv();
        Outcome::Ok(stuck)
    })
    .await?;
    context.soon("the first event", has_got).await?.map_err(|_| Failure::broken("W5: the first event did not come"))?;
    for round in 0..context.rounds(20) {
        let writer = Arc::clone(&entries);
        let writing = beside(async move { writer.set(&k(), value(round)).await }).await?;
        context.soon("W8: a write beside a watcher that is stuck", writing).await???;
        for follower in [&mut before, &mut after] {
            follower.converge(&one(value(round))).await?;
        }
    }
    entries.set(&k(), value("last")).await?;
    drop(release);
    reading.await??.converge(&one(value("last"))).await
}

async fn dropped_and_panicking(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    let everything = Scope::everything();
    let start = || Follower::from_nothing(&context, &*entries, &everything);
    let mut before = start().await?;
    let (slow, dropped, mut panicking) = (start().await?, start().await?, start().await?);
    let mut after = start().await?;
    entries.set(&k(), value("1")).await?;
    drop(dropped);
    let panics = async move {
        let first = panicking.next().await;
        // Without the message that a panic prints: this one is meant.
        if first.is_ok() { resume_unwind(Box::new("a handler that fails")) } else { first }
    };
    if let Ok(failed) = AssertUnwindSafe(panics).catch_unwind().await {
        return failed.map(drop);
    }
    entries.set(&k(), value("2")).await?;
    for follower in [&mut before, &mut after] {
        follower.converge(&one(value("2"))).await?;
    }
    let mut slow = slow;
    slow.converge(&one(value("2"))).await
}

/// Watches are started, read a little and dropped or ended while a writer goes on: one that stays hears of everything.
async fn come_and_go(context: Context) -> Outcome {
    let instance = context.open().await?;
    let entries = instance.entries();
    let mut stays = Follower::from_nothing(&context, &*entries, &Scope::everything()).await?;
    let mut unread = Follower::current(&context, &*entries, &Scope::Key(k()), &State::new()).await?;
    let writing = set_over_and_over(instance.entries(), k()).await?;
    let mut random = context.random();
    let coming_and_going = async {
        for round in context.rounds_for_a_moment(40, 20_000) {
            let scope = if round % 2 == 0 { Scope::everything() } else { Scope::Key(k()) };
            let mut passing = Follower::from_nothing(&context, &*entries, &scope).await?;
            for _ in 0..random.usize(..3) {
                passing.next().await?;
            }
            if round % 3 == 0 {
                entries.unwatch(passing.id()).await?;
            }
            drop(passing);
            stays.next().await?;
        }
        Ok(())
    };
    let ((), writes) = writing.meanwhile(coming_and_going).await?;
    let last = writes - 1;
    stays.converge(&one(value(last))).await?;
    unread.converge(&one(value(last))).await?;
    let course: Vec<_> = (0..=last).map(|number| Some(value(number))).collect();
    stays.expect_course(&k(), &course)
}

async fn dropped_futures(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    let mut follower = Follower::from_nothing(&context, &*entries, &Scope::Key(k())).await?;
    ensure_eq!(follower.next().await?, Event::CaughtUp, "the first event");
    for round in 0..context.rounds(40) {
        for _ in 0..round % 4 {
            ensure!(follower.read().now_or_never().is_none(), "W6: an event where nothing changed");
        }
        let new = value(round);
        entries.set(&k(), new.clone()).await?;
        // Polled and dropped before the event came, or with it.
        let told = follower.read().now_or_never().transpose()?;
        if told.is_none() {
            follower.converge(&one(new.clone())).await?;
        }
        ensure_eq!(*follower.state(), one(new), "W8: what the watch told folds to");
    }
    Ok(())
}
