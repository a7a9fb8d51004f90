//! W1 and W2: where a watch starts while nobody writes. What is written beside the start is [`super::watch_beside`]'s.

use std::collections::BTreeMap;

use bytes::Bytes;
use store_api::{Diff, Event, Key};

use crate::{
    case::{Case, case},
    context::{Context, key},
    failure::{Outcome, ensure_eq},
    following::{Follower, Scope, State},
    operations::{put, set_all, value},
    show::shown,
};

pub(super) const CASES: &[Case] = &[
    case!("watch/W1-current-starts-with-caught-up-and-tells-what-changes", [Entries], current),
    case!("watch/W1-known-of-a-key-tells-the-difference-first", [Entries], known_of_a_key),
    case!("watch/W1-known-of-a-scope-tells-each-difference-first", [Entries], known_of_a_scope),
    case!("watch/W1-known-of-nothing-tells-everything", [Entries], known_of_nothing),
    case!("watch/W1-a-long-known-state-is-compared-whole", [Entries], long_known_state),
    case!("watch/W1-a-watcher-that-was-away-resumes-from-what-it-saw", [Entries], away),
    case!("watch/W1-a-watcher-resumes-with-a-reopened-store", [Entries, Reopens], reopened),
    case!("watch/W2-a-change-behind-the-start-is-told-before-anybody-reads", [Entries], nobody_reads),
];

/// Absence, and values near to each other.
fn states() -> [Option<Bytes>; 4] {
    [None, Some(value("")), Some(value("a")), Some(value("b"))]
}

fn one(key: &Key, value: Bytes) -> State {
    [(key.clone(), value)].into()
}

/// What must be told of a key that was `before` and is `after`.
fn difference(before: Option<Bytes>, after: Option<Bytes>) -> Option<Diff> {
    match (before, after) {
        (before, after) if before == after => None,
        (None, Some(new)) => Some(Diff::Added { new }),
        (old, Some(new)) => Some(Diff::Updated { old, new }),
        (old, None) => Some(Diff::Removed { old }),
    }
}

async fn current(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    let (k, fresh) = (key("a/k"), key("a/fresh"));
    entries.set(&k, value("1")).await?;
    let before = one(&k, value("1"));
    let mut followers = Vec::new();
    for scope in [Scope::everything(), Scope::under("a"), Scope::Key(k.clone())] {
        let mut follower = Follower::current(&context, &*entries, &scope, &before).await?;
        ensure_eq!(follower.next().await?, Event::CaughtUp, "the first event");
        followers.push((scope, follower));
    }
    for (changed, state) in [(&k, Some("2")), (&fresh, Some("")), (&k, None), (&fresh, Some("3")), (&k, Some("1"))] {
        let state = state.map(value);
        put(&*entries, changed, state.clone()).await?;
        for (_, follower) in followers.iter_mut().filter(|(scope, _)| scope.covers(changed)) {
            follower.next_is(changed, state.as_ref()).await?;
        }
    }
    Ok(())
}

async fn known_of_a_key(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    let k = key("k");
    for actual in states() {
        put(&*entries, &k, actual.clone()).await?;
        for given in states() {
            let known: State = given.clone().map(|value| (k.clone(), value)).into_iter().collect();
            let started = format!("given {}, is {}", shown(&given), shown(&actual));
            for scope in [Scope::Key(k.clone()), Scope::Under(k.clone()), Scope::everything()] {
                let mut follower = Follower::known(&context, &*entries, &scope, &known).await?;
                if let Some(diff) = difference(given.clone(), actual.clone()) {
                    let due = Event::Changed { key: k.clone(), diff };
                    ensure_eq!(follower.next().await?, due, "{started}: the first event");
                }
                ensure_eq!(follower.next().await?, Event::CaughtUp, "{started}: behind the difference");
            }
        }
    }
    Ok(())
}

async fn known_of_a_scope(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    let (mut given, mut actual, mut due) = (State::new(), State::new(), BTreeMap::new());
    for (i, before) in states().iter().enumerate() {
        for (j, after) in states().iter().enumerate() {
            let k = key(format!("scope/{i}/{j}"));
            given.extend(before.clone().map(|value| (k.clone(), value)));
            actual.extend(after.clone().map(|value| (k.clone(), value)));
            due.extend(difference(before.clone(), after.clone()).map(|diff| (k, diff)));
        }
    }
    set_all(&*entries, actual).await?;
    entries.set(&key("beside"), value("1")).await?;
    let mut follower = Follower::known(&context, &*entries, &Scope::under("scope"), &given).await?;
    let mut told = BTreeMap::new();
    while let Event::Changed { key, diff } = follower.next().await? {
        told.insert(key, diff);
    }
    ensure_eq!(told, due, "what was told before `CaughtUp`");
    ensure_eq!(follower.changes(), due.len(), "how many changes were told before `CaughtUp`");
    Ok(())
}

async fn known_of_nothing(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    let all: State = (0..50).map(|i| (key(format!("{}/{i}", i % 4)), value(i))).collect();
    set_all(&*entries, all.clone()).await?;
    let mut follower = Follower::from_nothing(&context, &*entries, &Scope::everything()).await?;
    let mut of_nothing = Follower::from_nothing(&context, &*entries, &Scope::under("empty")).await?;
    follower.catch_up().await?;
    ensure_eq!(*follower.state(), all, "what was told before `CaughtUp`");
    ensure_eq!(of_nothing.next().await?, Event::CaughtUp, "the first event where there is no entry");
    let live = key("empty/live");
    entries.set(&live, value("1")).await?;
    for follower in [&mut follower, &mut of_nothing] {
        follower.next_is(&live, Some(&value("1"))).await?;
    }
    Ok(())
}

async fn long_known_state(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    let state = |range: std::ops::Range<usize>, text: &str| -> State {
        range.map(|i| (key(format!("{}/{i}", i % 7)), value(format_args!("{text} {i}")))).collect()
    };
    let mut given = state(0..1600, "same");
    given.extend(state(0..800, "given"));
    let mut actual = state(400..2400, "same");
    actual.extend(state(400..500, "actual"));
    set_all(&*entries, actual.clone()).await?;
    let mut follower = Follower::known(&context, &*entries, &Scope::everything(), &given).await?;
    follower.catch_up().await?;
    ensure_eq!(follower.changes(), 400 + 400 + 800, "how many changes were told: gone, different, added");
    ensure_eq!(*follower.state(), actual, "what was told before `CaughtUp`");
    Ok(())
}

async fn away(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    set_all(&*entries, ["same", "changed", "gone"].map(|path| (key(path), value("1")))).await?;
    let mut before = Follower::from_nothing(&context, &*entries, &Scope::everything()).await?;
    before.catch_up().await?;
    let seen = before.state().clone();
    drop(before);
    entries.set(&key("changed"), value("2")).await?;
    entries.remove(&key("gone")).await?;
    entries.set(&key("come"), value("1")).await?;
    let mut after = Follower::known(&context, &*entries, &Scope::everything(), &seen).await?;
    after.catch_up().await?;
    let due: State = [("same", "1"), ("changed", "2"), ("come", "1")].map(|(k, v)| (key(k), value(v))).into();
    ensure_eq!(*after.state(), due, "what a watcher that came back knows at `CaughtUp`");
    ensure_eq!(after.changes(), 3, "how many changes a watcher that came back was told");
    Ok(())
}

async fn reopened(context: Context) -> Outcome {
    let k = key("k");
    for text in ["1", "2"] {
        let instance = context.open().await?;
        instance.entries().set(&k, value(text)).await?;
        instance.close().await?;
    }
    let instance = context.open().await?;
    let entries = instance.entries();
    let seen = one(&k, value("1"));
    let mut follower = Follower::known(&context, &*entries, &Scope::everything(), &seen).await?;
    let diff = Diff::Updated { old: Some(value("1")), new: value("2") };
    ensure_eq!(follower.next().await?, Event::Changed { key: k, diff }, "the first event");
    Ok(())
}

/// A watch that registers only when it is first read misses what happened before.
async fn nobody_reads(context: Context) -> Outcome {
    let instance = context.open().await?;
    let (entries, other) = (instance.entries(), instance.entries());
    let k = key("a/k");
    for scope in [Scope::everything(), Scope::under("a"), Scope::Key(k.clone())] {
        entries.set(&k, value("before")).await?;
        let before = one(&k, value("before"));
        let mut followers = [
            Follower::current(&context, &*entries, &scope, &before).await?,
            Follower::known(&context, &*entries, &scope, &before).await?,
            Follower::current(&context, &*other, &scope, &before).await?,
        ];
        entries.set(&k, value("after")).await?;
        for follower in &mut followers {
            follower.converge(&one(&k, value("after"))).await?;
        }
    }
    Ok(())
}
