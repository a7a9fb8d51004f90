//! W3, W5 and W6: what a watch tells folds to the store. That it is true and in order is [`super::watch_order`]'s.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use futures_util::future::try_join_all;
use store_api::{AtomicWrite, Diff, Event, Key, MAX_VALUE_LEN};
use tokio::sync::mpsc;

use crate::{
    case::{Case, case},
    clients::{all, beside},
    context::{Context, Instance, key},
    failure::{Failure, Outcome, ensure, ensure_eq},
    following::{Follower, Reading, Scope, State},
    luck::{Hopes, UnderWay},
    operations::{insist, put, set_all, value},
    show::shown,
};

pub(super) const CASES: &[Case] = &[
    case!("watch/W3-a-b-a-unread-tells-no-value-twice", [Entries], a_b_a),
    case!(
        "watch/W3-a-b-a-of-another-instance-tells-no-value-twice",
        [Entries, SharedInstances],
        a_b_a_of_another_instance
    ),
    case!("watch/W3-old-is-from-the-baseline-where-changes-are-folded", [Entries], folded),
    case!("watch/W3-added-and-removed-unread-leaves-a-chain", [Entries], added_and_removed),
    case!("watch/W5-watches-amid-writers-fold-to-the-store", [Entries], scribbles),
    case!(
        "watch/W5-watches-amid-writers-of-several-instances-fold-to-the-store",
        [Entries, SharedInstances],
        scribbles_of_instances
    ),
    case!("watch/W5-the-last-of-racing-writes-is-told", [Entries], races),
    case!("watch/W5-the-last-of-racing-writes-of-instances-is-told", [Entries, SharedInstances], races_of_instances),
    case!("watch/W5-a-reader-that-waits-is-told", [Entries], reader_that_waits),
    case!("watch/W5-what-clear-removes-is-told-and-the-watch-goes-on", [Entries], clear),
    case!(
        "watch/W5-what-another-instance-clears-is-told-and-the-watch-goes-on",
        [Entries, SharedInstances],
        clear_of_another_instance
    ),
    case!("watch/W6-nothing-is-told-where-nothing-changed", [Entries], silence),
    case!(
        "watch/W6-nothing-is-told-where-another-instance-changed-nothing",
        [Entries, SharedInstances],
        silence_of_another_instance
    ),
];

fn k() -> Key {
    key("k")
}

fn one(text: &str) -> State {
    [(k(), value(text))].into()
}

/// A, B and A again, unread: either both changes are told or neither; then C follows on A.
async fn a_b_a_between(context: &Context, watching: &Instance, writing: &Instance) -> Outcome {
    let (watcher, writer) = (watching.entries(), writing.entries());
    writer.set(&k(), value("A")).await?;
    let mut followers = [
        Follower::known(context, &*watcher, &Scope::Key(k()), &one("A")).await?,
        Follower::current(context, &*watcher, &Scope::Key(k()), &one("A")).await?,
        Follower::from_nothing(context, &*watcher, &Scope::everything()).await?,
    ];
    for follower in &mut followers {
        follower.catch_up().await?;
    }
    for state in [Some("B"), Some("A"), Some("B"), Some("A"), None, Some("A"), Some("C")] {
        put(&*writer, &k(), state.map(value)).await?;
    }
    for follower in &mut followers {
        follower.converge(&one("C")).await?;
    }
    Ok(())
}

async fn a_b_a(context: Context) -> Outcome {
    let instance = context.open().await?;
    a_b_a_between(&context, &instance, &instance).await
}

async fn a_b_a_of_another_instance(context: Context) -> Outcome {
    let (watching, writing) = (context.open().await?, context.open().await?);
    a_b_a_between(&context, &watching, &writing).await
}

async fn folded(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    entries.set(&k(), value("A")).await?;
    let mut given = Follower::known(&context, &*entries, &Scope::Key(k()), &one("A")).await?;
    let mut from_current = Follower::current(&context, &*entries, &Scope::everything(), &one("A")).await?;
    for text in ["B", "C", "D"] {
        entries.set(&k(), value(text)).await?;
    }
    given.converge(&one("D")).await?;
    entries.remove(&k()).await?;
    let removed = Diff::Removed { old: Some(value("D")) };
    ensure_eq!(given.next().await?, Event::Changed { key: k(), diff: removed }, "after D, a removal");
    entries.set(&k(), value("D")).await?;
    let added = Diff::Added { new: value("D") };
    ensure_eq!(given.next().await?, Event::Changed { key: k(), diff: added }, "after a removal, D again");
    from_current.converge(&one("D")).await?;
    for text in ["E", "F"] {
        entries.set(&k(), value(text)).await?;
    }
    from_current.converge(&one("F")).await
}

async fn added_and_removed(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    let mut follower = Follower::from_nothing(&context, &*entries, &Scope::everything()).await?;
    follower.catch_up().await?;
    for text in ["1", "2"] {
        entries.set(&k(), value(text)).await?;
        entries.remove(&k()).await?;
    }
    entries.set(&k(), value("3")).await?;
    follower.converge(&one("3")).await?;
    entries.remove(&k()).await?;
    entries.set(&k(), value("3")).await?;
    entries.remove(&k()).await?;
    follower.converge(&State::new()).await
}

/// A value that names its writer and its place in what that writer wrote.
fn stamp(writer: usize, round: usize) -> Bytes {
    value(format_args!("{writer} {round}"))
}

fn unstamp(value: &Bytes) -> Outcome<(usize, usize)> {
    let text = std::str::from_utf8(value).ok();
    let stamp = text.and_then(|text| text.split_once(' '));
    let stamp = stamp.and_then(|(writer, round)| Some((writer.parse().ok()?, round.parse().ok()?)));
    stamp.ok_or_else(|| Failure::broken(format_args!("W4: told {}, which nobody wrote", shown(value))))
}

/// How many keys all writers write.
const SHARED: usize = 6;

fn shared(i: usize) -> Key {
    key(format!("{i}/k"))
}

/// Writes and removes a few keys at random.
async fn scribble(
    entries: Arc<dyn AtomicWrite>,
    writer: usize,
    rounds: impl Iterator<Item = usize>,
    mut random: fastrand::Rng,
) -> Outcome {
    for round in rounds {
        let k = shared(random.usize(..SHARED));
        match random.u8(..20) {
            0..12 => insist(|| entries.set(&k, stamp(writer, round))).await?,
            12..16 => insist(|| entries.remove(&k)).await?,
            16..19 => {
                let test = entries.find(&k).await?;
                // Either verdict is fine: the store and the watches must agree on it.
                let _ = insist(|| entries.test_and_set(&k, test.clone(), Some(stamp(writer, round)))).await?;
            }
            _ => insist(|| entries.clear()).await?,
        }
    }
    Ok(())
}

/// No value of a writer is told behind a later one of the same writer (W4).
fn expect_stamps_in_order(follower: &Follower) -> Outcome {
    for k in (0..SHARED).map(shared) {
        let mut newest = BTreeMap::new();
        for new in follower.told(&k).iter().filter_map(Diff::new_value) {
            let (writer, round) = unstamp(new)?;
            if let Some(before) = newest.insert(writer, round).filter(|before| *before >= round) {
                let wrong = format!("W4: of {} it told {round} of writer {writer} after {before}", shown(&k));
                return Err(follower.blame(wrong));
            }
        }
    }
    Ok(())
}

/// Watches that start before and amid the writing, while several write the same keys: all fold to the same store.
async fn scribble_and_follow(context: &Context, watching: &[Instance], writing: &[Instance]) -> Outcome {
    let everything = Scope::everything();
    let watchers: Vec<_> = watching.iter().map(Instance::entries).collect();
    let mut reading = Reading::new(context);
    for watcher in &watchers {
        reading.follow(Follower::from_nothing(context, &**watcher, &everything).await?).await?;
    }
    let mut random = context.random();
    let mut scribbling = Vec::new();
    for (writer, instance) in writing.iter().enumerate() {
        let scribble = scribble(instance.entries(), writer, reading.rounds(), random.fork());
        scribbling.push(beside(scribble).await?);
    }
    for watcher in watchers.iter().cycle().take(4) {
        reading.follow(Follower::from_nothing(context, &**watcher, &everything).await?).await?;
        reading.follow(Follower::amid_writes(context, &**watcher, &everything).await?).await?;
    }
    let scribbled: Outcome<Vec<()>> = try_join_all(scribbling).await?.into_iter().collect();
    scribbled?;
    // Each watch is told of each key after its start, also one whose baseline nobody knows.
    let last: State = (0..SHARED).map(|i| (shared(i), stamp(99, i))).collect();
    set_all(&*watchers[0], last.clone()).await?;
    let (followers, told) = reading.end().await?;
    for mut follower in followers {
        follower.converge(&last).await?;
        expect_stamps_in_order(&follower)?;
    }
    told.judge("things were told while others wrote")
}

async fn scribbles(context: Context) -> Outcome {
    let instance = context.open().await?;
    let four = [instance.clone(), instance.clone(), instance.clone(), instance.clone()];
    scribble_and_follow(&context, &four[..2], &four).await
}

async fn scribbles_of_instances(context: Context) -> Outcome {
    let three = [context.open().await?, context.open().await?, context.open().await?];
    scribble_and_follow(&context, &three[..2], &three).await
}

/// Two write one key at the same moment, and then nobody: the watch is told of the one that came last. Told in the other
/// order, they leave it with the first.
async fn race(context: &Context, hopes: Hopes, watching: &Instance, writing: [&Instance; 2]) -> Outcome {
    let (luck, under_way) = (context.luck(hopes.of_clients(writing.len())), Arc::new(UnderWay::default()));
    let watcher = watching.entries();
    let mut followers = [
        Follower::from_nothing(context, &*watcher, &Scope::everything()).await?,
        Follower::from_nothing(context, &*watcher, &Scope::Key(k())).await?,
    ];
    let writers = writing.map(Instance::entries);
    for round in luck.rounds() {
        let racing = writers.iter().enumerate().map(|(i, writer)| {
            let (writer, k) = (Arc::clone(writer), k());
            let (luck, under_way) = (Arc::clone(&luck), Arc::clone(&under_way));
            let state = (i == 0 || round % 3 != 0).then(|| stamp(i, round));
            async move { under_way.beside(&luck, insist(|| put(&*writer, &k, state.clone()))).await }
        });
        all(racing.collect::<Vec<_>>()).await?;
        let is = watcher.find(&k()).await?;
        let store: State = is.into_iter().map(|value| (k(), value)).collect();
        for follower in &mut followers {
            follower.converge(&store).await?;
        }
    }
    luck.judge("writes began while the other one was under way")
}

async fn races(context: Context) -> Outcome {
    let instance = context.open().await?;
    let hopes = Hopes { floor: 20, enough: 300, rounds: [60, 20_000] };
    race(&context, hopes, &instance, [&instance, &instance]).await
}

async fn races_of_instances(context: Context) -> Outcome {
    let (one, two) = (context.open().await?, context.open().await?);
    // Each round waits for what the watch of another instance is told.
    let hopes = Hopes { floor: 5, enough: 100, rounds: [3, 60] };
    race(&context, hopes, &one, [&one, &two]).await
}

/// A reader that waits is told of each change before the next one is made, which nothing else would wake it for.
async fn reader_that_waits(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    let mut follower = Follower::from_nothing(&context, &*entries, &Scope::everything()).await?;
    let (told, mut was_told) = mpsc::unbounded_channel();
    let end = one("end");
    let reading = beside(async move {
        while *follower.state() != end {
            if let Event::Changed { diff, .. } = follower.next().await? {
                // Nobody listens where the case has ended already.
                let _ = told.send(diff.new_value().cloned());
            }
        }
        Outcome::Ok(())
    });
    let reading = reading.await?;
    let at = k();
    for round in context.rounds_for_a_moment(100, 20_000) {
        insist(|| entries.set(&at, value(round))).await?;
        let Some(state) = was_told.recv().await else { break };
        ensure_eq!(state, Some(value(round)), "W5: what a reader that waits is told");
    }
    entries.set(&k(), value("end")).await?;
    reading.await?
}

async fn clear_between(context: &Context, watching: &Instance, writing: &Instance) -> Outcome {
    let (watcher, writer) = (watching.entries(), writing.entries());
    let full: State = (0..60).map(|i| (key(format!("{}/{i}", i % 3)), value(i))).collect();
    set_all(&*writer, full.clone()).await?;
    let mut followers = [
        Follower::current(context, &*watcher, &Scope::everything(), &full).await?,
        Follower::known(context, &*watcher, &Scope::under("1"), &full).await?,
        Follower::known(context, &*watcher, &Scope::key("0/0"), &full).await?,
    ];
    for round in 0..2 {
        writer.clear().await?;
        for follower in &mut followers {
            follower.converge(&State::new()).await?;
        }
        let changes = followers.each_ref().map(Follower::changes);
        let each = 2 * round + 1;
        ensure_eq!(changes, [60 * each, 20 * each, each], "A8: each key is told of once");
        set_all(&*writer, full.clone()).await?;
        for follower in &mut followers {
            follower.converge(&full).await?;
        }
    }
    Ok(())
}

async fn clear(context: Context) -> Outcome {
    let instance = context.open().await?;
    clear_between(&context, &instance, &instance).await
}

async fn clear_of_another_instance(context: Context) -> Outcome {
    let (watching, writing) = (context.open().await?, context.open().await?);
    clear_between(&context, &watching, &writing).await
}

async fn silence_between(context: &Context, watching: &Instance, writing: &[Instance]) -> Outcome {
    let watcher = watching.entries();
    let (k, absent) = (key("a/k"), key("a/absent"));
    watcher.set(&k, value("v")).await?;
    let is: State = [(k.clone(), value("v"))].into();
    let mut followers = Vec::new();
    for scope in [Scope::everything(), Scope::under("a"), Scope::Key(k.clone())] {
        followers.push(Follower::known(context, &*watcher, &scope, &is).await?);
        followers.push(Follower::current(context, &*watcher, &scope, &is).await?);
    }
    for follower in &mut followers {
        ensure_eq!(follower.next().await?, Event::CaughtUp, "W6: the first event");
    }
    for instance in writing {
        change_nothing(&*instance.entries(), &k, &absent).await?;
    }
    // What is told of a key comes in order: what it should not have told, before the first true change.
    writing[0].entries().set(&k, value("w")).await?;
    for follower in &mut followers {
        follower.next_is(&k, Some(&value("w"))).await.map_err(|failure| failure.within("W6"))?;
    }
    writing[0].entries().set(&absent, value("w")).await?;
    for follower in followers.iter_mut().take(4) {
        follower.next_is(&absent, Some(&value("w"))).await.map_err(|failure| failure.within("W6"))?;
    }
    Ok(())
}

/// Does everything that changes nothing, where `k` is "v" and `absent` is absent.
async fn change_nothing(entries: &dyn AtomicWrite, k: &Key, absent: &Key) -> Outcome {
    entries.set(k, value("v")).await?;
    entries.remove(absent).await?;
    let verdicts = [
        entries.test_and_set(k, Some(value("v")), Some(value("v"))).await?,
        entries.test_and_set(absent, None, None).await?,
        entries.test_and_set(k, None, Some(value("w"))).await?,
        entries.test_and_set(k, Some(value("w")), None).await?,
        entries.test_and_set(absent, Some(value("v")), Some(value("w"))).await?,
    ];
    let applied = verdicts.each_ref().map(store_api::TestAndSet::is_applied);
    ensure_eq!(applied, [true, true, false, false, false], "A2: which of them found what they tested for");
    let too_large = entries.set(k, vec![0; MAX_VALUE_LEN + 1].into()).await;
    ensure!(too_large.is_err(), "V1: a value that is too large was set");
    Ok(())
}

async fn silence(context: Context) -> Outcome {
    let instance = context.open().await?;
    silence_between(&context, &instance, &[instance.clone(), instance.clone()]).await
}

async fn silence_of_another_instance(context: Context) -> Outcome {
    let (watching, writing) = (context.open().await?, context.open().await?);
    silence_between(&context, &watching, &[writing]).await
}
