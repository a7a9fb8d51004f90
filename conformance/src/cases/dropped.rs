//! A9: operations whose future is dropped, at each of its awaits: what is left is whole, happens at most once and not after
//! `close`, and the store goes on working.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt, future::join_all};
use store_api::{AtomicWrite, EntryReadExt, Indexable, Init, Key, Result, TestAndSet};

use crate::{
    case::{Case, case},
    clients::{all, table},
    content::Way,
    context::{Context, Instance, key},
    failure::{Outcome, ensure, ensure_eq, expect_error},
    following::{Follower, Scope, State},
    histories::{act, linearizable, pass_over},
    history::Recorder,
    operations::{insist, poll_then_drop, value},
    show::shown,
};

pub(super) const CASES: &[Case] = &[
    case!("atomic/A9-a-dropped-write-is-whole-and-the-store-works-on", [Entries], whole),
    case!("atomic/A9-the-store-works-on-after-dropped-writes", [Entries], works_on_amid_others),
    case!("atomic/A9-the-store-works-on-after-a-dropped-clear", [Entries], clears),
    case!("atomic/A9-the-store-works-on-after-dropped-reads", [Entries], reads),
    case!("atomic/A9-the-store-works-on-after-dropped-starts-and-ends-of-watches", [Entries], watches),
    case!("atomic/A9-the-store-works-on-after-dropped-reads-of-content", [Content], reads_of_content),
    case!("atomic/A9-a-dropped-add-is-whole-and-the-store-works-on", [Content], adds),
    case!("atomic/A9-the-store-works-on-after-a-dropped-sync", [Entries], syncs),
    case!("atomic/A9-a-dropped-close-of-a-handle-disturbs-no-other", [Entries], closes_of_a_handle),
    case!("atomic/A9-a-close-of-an-instance-that-was-dropped-can-be-asked-for-again", [Entries, Reopens], closes),
    case!("atomic/A9-a-dropped-write-is-told-at-most-once", [Entries], told_once),
    case!("atomic/A9-histories-with-dropped-operations-are-linearizable", [Entries], histories),
    case!("atomic/A9-nothing-happens-after-close", [Entries, Embedded, SharedInstances], after_close),
    case!("atomic/A9-nothing-happens-after-close-and-reopening", [Entries, Embedded, Reopens], after_reopening),
];

/// After so many awaits it is no longer tried to drop an operation later; most have one.
const MOST_AWAITS: usize = 40;

/// Long enough for a store to write it in parts.
fn long(round: usize) -> Bytes {
    round.to_le_bytes().repeat(25_000).into()
}

/// What is done to a key.
#[derive(Clone, Copy, Debug)]
enum Write {
    Set,
    TestAndSet,
    Remove,
}

/// A key, what it was before a write that was dropped, and what the write makes of it.
struct Dropped {
    key: Key,
    before: Option<Bytes>,
    after: Option<Bytes>,
}

impl Dropped {
    /// Sets a key of this round, then drops a write to it after so many polls; also gives whether the write ended before
    /// that. A write that was dropped may come in a later round.
    async fn at(entries: &dyn AtomicWrite, round: usize, write: Write, times: usize) -> Outcome<(Self, bool)> {
        let k = key(format!("{round}/{write:?}/{times}"));
        let (before, after) = (long(2 * times), long(2 * times + 1));
        insist(|| entries.set(&k, before.clone())).await?;
        let ended = match write {
            Write::Set => poll_then_drop(insist(|| entries.set(&k, after.clone())), times).await.transpose()?.is_some(),
            Write::Remove => poll_then_drop(insist(|| entries.remove(&k)), times).await.transpose()?.is_some(),
            Write::TestAndSet => {
                let write = insist(|| entries.test_and_set(&k, Some(before.clone()), Some(after.clone())));
                let verdict = poll_then_drop(write, times).await.transpose()?;
                ensure!(verdict.as_ref().is_none_or(TestAndSet::is_applied), "a compare with what was there");
                verdict.is_some()
            }
        };
        let after = (!matches!(write, Write::Remove)).then_some(after);
        Ok((Self { key: k, before: Some(before), after }, ended))
    }

    /// Demands one of both; gives whether it took effect.
    async fn look(&self, entries: &dyn AtomicWrite) -> Outcome<bool> {
        let found = insist(|| entries.find(&self.key)).await?;
        ensure!(
            found == self.before || found == self.after,
            "after a dropped write {} is {}, neither what it was nor what was written",
            shown(&self.key),
            shown(&found)
        );
        Ok(found == self.after)
    }
}

async fn works_on(context: &Context, entries: &dyn AtomicWrite, round: usize) -> Outcome {
    let other = key("other");
    let set = context.soon("a `set` after something was dropped", insist(|| entries.set(&other, value(round))));
    set.await??;
    let found = context.soon("a `find` after something was dropped", insist(|| entries.find(&other))).await??;
    ensure_eq!(found, Some(value(round)), "another key that was set after something was dropped");
    Ok(())
}

async fn whole(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    for round in 0..context.rounds(1) {
        let mut all = Vec::new();
        for write in [Write::Set, Write::TestAndSet, Write::Remove] {
            for times in 1..MOST_AWAITS {
                let (dropped, ended) = Dropped::at(&*entries, round, write, times).await?;
                works_on(&context, &*entries, times).await?;
                let took_effect = dropped.look(&*entries).await?;
                ensure!(took_effect || !ended, "a write that ended is not there: {}", shown(&dropped.key));
                all.push((dropped, took_effect));
                if ended {
                    break;
                }
            }
        }
        for (dropped, took_effect) in all {
            let does = dropped.look(&*entries).await?;
            ensure!(does || !took_effect, "what a dropped write had done is undone: {}", shown(&dropped.key));
        }
    }
    Ok(())
}

/// Drops a write after so many polls; how it ended where that came before.
async fn dropped<T>(write: impl Future<Output = Result<T>>, times: usize) -> Result<()> {
    poll_then_drop(write, times).await.transpose().map(drop)
}

/// Writes that wait for each other are dropped while they do, and leave nothing locked.
async fn works_on_amid_others(context: Context) -> Outcome {
    let instance = context.open().await?;
    let mut random = context.random();
    for round in 0..context.rounds(30) {
        let (entries, k) = (instance.entries(), key((round % 3).to_string()));
        let writes = (0..6).map(|i| {
            let (entries, k, times) = (instance.entries(), k.clone(), random.usize(1..6));
            async move {
                match i % 3 {
                    0 => dropped(entries.set(&k, value(i)), times).await,
                    1 => dropped(entries.remove(&k), times).await,
                    _ => dropped(entries.test_and_set(&k, None, Some(value(i))), times).await,
                }
            }
        });
        for result in join_all(writes).await {
            pass_over(result)?;
        }
        works_on(&context, &*entries, round).await?;
        let set = insist(|| entries.set(&k, value(round)));
        context.soon("a `set` of a key after writes to it were dropped", set).await??;
    }
    Ok(())
}

/// A `clear` that was dropped may come at any later time: what is set meanwhile is there, or was cleared.
async fn clears(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    for times in 1..MOST_AWAITS {
        let k = key(times.to_string());
        insist(|| entries.set(&k, value(times))).await?;
        let ended = poll_then_drop(insist(|| entries.clear()), times).await.transpose()?.is_some();
        let found = insist(|| entries.find(&k)).await?;
        let possible = found.is_none() || found == Some(value(times)) && !ended;
        ensure!(possible, "after a dropped `clear` {} is {}", shown(&k), shown(&found));
        if ended {
            break;
        }
    }
    context.soon("a `clear` after others were dropped", insist(|| entries.clear())).await??;
    ensure!(
        entries.entries_sorted(&Key::root()).await?.is_empty(),
        "after a `clear` behind dropped ones something is there"
    );
    // One that was dropped may still come, and clear this.
    let (other, set) = (key("other"), value("set"));
    context.soon("a `set` after a `clear` was dropped", insist(|| entries.set(&other, set.clone()))).await?
}

async fn reads(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    let (k, root) = (key("k"), Key::root());
    let long = long(1);
    insist(|| entries.set(&k, long.clone())).await?;
    for times in 1..MOST_AWAITS {
        let found = poll_then_drop(entries.find(&k), times).await.transpose()?;
        ensure!(found.as_ref().is_none_or(|found| *found == Some(long.clone())), "`find` gave {}", shown(&found));
        let present = poll_then_drop(entries.mem(&k), times).await.transpose()?;
        let (mut keys, mut all) = (entries.list(&root), entries.entries(&root));
        let listed = poll_then_drop(keys.next(), times).await;
        let entry = poll_then_drop(all.next(), times).await;
        drop((keys, all));
        works_on(&context, &*entries, times).await?;
        insist(|| entries.set(&k, long.clone())).await?;
        if found.is_some() && present.is_some() && listed.is_some() && entry.is_some() {
            break;
        }
    }
    Ok(())
}

/// Watches that are dropped as they begin or end hold up no writer, and no watch that begins later.
async fn watches(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    let (k, root) = (key("k"), Key::root());
    for times in 1..MOST_AWAITS {
        let of_scope = poll_then_drop(entries.watch(&root, Init::Current), times).await.transpose()?;
        let of_key = poll_then_drop(entries.watch_key(&k, Init::Current), times).await.transpose()?;
        let mut ended = false;
        if let Some(watch) = &of_scope {
            ended = poll_then_drop(entries.unwatch(watch.id()), times).await.transpose()?.is_some();
        }
        works_on(&context, &*entries, times).await?;
        if ended && of_key.is_some() {
            break;
        }
    }
    let everything = Scope::everything();
    let watch = Follower::from_nothing(&context, &*entries, &everything);
    let mut follower = context.soon("the start of a watch after others were dropped", watch).await??;
    entries.set(&k, value("last")).await?;
    let due: State = entries.entries_sorted(&root).await?.into_iter().collect();
    follower.converge(&due).await
}

async fn reads_of_content(context: Context) -> Outcome {
    let content = context.open().await?.content();
    let long = long(1);
    let stored = insist(|| content.add(long.clone())).await?;
    for times in 1..MOST_AWAITS {
        let found = poll_then_drop(content.find(&stored), times).await.transpose()?;
        ensure!(found.as_ref().is_none_or(|found| *found == Some(long.clone())), "`find` gave {}", shown(&found));
        let present = poll_then_drop(content.mem(&stored), times).await.transpose()?;
        let indexed = poll_then_drop(content.index(&stored.to_hash()), times).await.transpose()?;
        let mut keys = content.keys();
        let listed = poll_then_drop(keys.next(), times).await;
        drop(keys);
        let begun = poll_then_drop(content.begin(), times).await.transpose()?.is_some();
        content_works_on(&context, &*content, &value(times)).await?;
        if found.is_some() && present.is_some() && indexed.is_some() && listed.is_some() && begun {
            break;
        }
    }
    Ok(())
}

async fn content_works_on(context: &Context, content: &dyn Indexable, value: &Bytes) -> Outcome {
    let add = context.soon("an `add` after something was dropped", insist(|| content.add(value.clone())));
    let added = add.await??;
    let found = context.soon("a `find` after something was dropped", insist(|| content.find(&added))).await??;
    ensure_eq!(found.as_ref(), Some(value), "a value that was added after something was dropped");
    let begin = context.soon("the return of `begin` after something was dropped", content.begin());
    begin.await??.abort().await?;
    Ok(())
}

async fn syncs(context: Context) -> Outcome {
    let instance = context.open().await?;
    let (entries, k) = (instance.entries(), key("k"));
    for times in 1..MOST_AWAITS {
        insist(|| entries.set(&k, long(times))).await?;
        let synced = poll_then_drop(instance.sync(), times).await.transpose()?;
        works_on(&context, &*entries, times).await?;
        if synced.is_some() {
            break;
        }
    }
    Ok(context.soon("the return of `sync` after others were dropped", instance.sync()).await??)
}

async fn closes_of_a_handle(context: Context) -> Outcome {
    let instance = context.open().await?;
    let (stays, k) = (instance.entries(), key("k"));
    for times in 1..MOST_AWAITS {
        let entries = instance.entries();
        insist(|| entries.set(&k, long(times))).await?;
        let closed = poll_then_drop(entries.close(), times).await.transpose()?;
        works_on(&context, &*stays, times).await?;
        context.soon("the return of a `close` that was dropped before", entries.close()).await??;
        expect_error!(entries.find(&k).await, Closed, "`find` of a handle that was closed");
        if closed.is_some() {
            break;
        }
    }
    Ok(())
}

/// A `close` that was dropped is asked for again, and then the engine has let go of its files (L4).
async fn closes(context: Context) -> Outcome {
    for times in 1..MOST_AWAITS {
        let instance = context.open().await?;
        let (entries, k) = (instance.entries(), key(times.to_string()));
        insist(|| entries.set(&k, long(times))).await?;
        let closed = poll_then_drop(instance.close(), times).await.transpose()?;
        context.soon("the return of a `close` that was dropped before", instance.close()).await??;
        let instance = context.open().await?;
        let found = instance.entries().find(&k).await?;
        ensure_eq!(found, Some(long(times)), "what was set before a `close` that was dropped");
        instance.close().await?;
        if closed.is_some() {
            break;
        }
    }
    Ok(())
}

async fn adds(context: Context) -> Outcome {
    let content = context.open().await?.content();
    for way in [Way::Add, Way::UnsafeAdd] {
        adds_by(&*content, way).await?;
    }
    Ok(())
}

async fn adds_by(content: &dyn Indexable, way: Way) -> Outcome {
    let mut last = Vec::new();
    for times in 1..MOST_AWAITS {
        let long = Bytes::from([format!("{way:?}").as_bytes(), &long(times)].concat());
        let hash = content.hash_function().hash(&long);
        let ended = poll_then_drop(insist(|| way.add(content, long.clone())), times).await.transpose()?.is_some();
        let found = content.find(&hash.into()).await?;
        ensure!(found.is_some() || !ended, "a value that was added is not there");
        ensure!(found.is_none_or(|found| found == long), "after a dropped `add` another value is there");
        let stored = insist(|| content.add(long.clone())).await?;
        ensure_eq!(content.find(&stored).await?, Some(long.clone()), "what was added again after a dropped `add`");
        last.push((stored, long));
        if ended {
            break;
        }
    }
    for (stored, long) in last {
        ensure_eq!(content.find(&stored).await?, Some(long), "what was added, at the end");
    }
    Ok(())
}

/// A second effect of the same write is no change where nothing came between; so something always does. A write that was
/// dropped may come behind the one that was acknowledged, which is then perhaps never told.
async fn told_once(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    let k = key("k");
    let mut follower = Follower::known(&context, &*entries, &Scope::key("k"), &State::new()).await?;
    for round in 0..context.rounds(40) {
        let dropped = value(format_args!("dropped {round}"));
        poll_then_drop(insist(|| entries.set(&k, dropped.clone())), 1 + round % 5).await.transpose()?;
        until_current(&mut follower, &*entries, &k).await?;
        let acknowledged = value(format_args!("acknowledged {round}"));
        insist(|| entries.set(&k, acknowledged.clone())).await?;
        until_current(&mut follower, &*entries, &k).await?;
    }
    let mut seen = BTreeSet::new();
    for told in follower.told(&k).iter().filter_map(|diff| diff.new_value()) {
        ensure!(seen.insert(told), "{} was written once and told twice", shown(told));
    }
    Ok(())
}

/// Reads on until the watch has told what the key is. No value comes back, since each is written once: so what differs
/// from what was told is told, or something newer.
async fn until_current(follower: &mut Follower, entries: &dyn AtomicWrite, k: &Key) -> Outcome {
    while follower.state().get(k) != insist(|| entries.find(k)).await?.as_ref() {
        follower.next().await.map_err(|failure| failure.within("what a key was set to is not told"))?;
    }
    Ok(())
}

async fn histories(context: Context) -> Outcome {
    const CLIENTS: usize = 3;
    let instance = context.open().await?;
    let recorder = Recorder::new();
    let mut random = context.random();
    let acting = table(CLIENTS).into_iter().map(|mut seat| {
        let (context, entries) = (context.clone(), instance.entries());
        let (mut client, mut random) = (recorder.client(), random.fork());
        async move {
            for step in context.rounds_for_a_while(100, 600) {
                if !seat.meet() {
                    break;
                }
                let keys = ["few", "many"].map(|values| key(format!("{}/{values}-values", step / 5)));
                act(&mut client, &*entries, &keys, random.fork(), 2).await?;
                let times = random.usize(1..5);
                let dropped = act(&mut client, &*entries, &keys, random.fork(), 1);
                poll_then_drop(dropped, times).await.transpose()?;
            }
            Ok(())
        }
    });
    all(acting).await?;
    linearizable(recorder)
}

async fn after_close(context: Context) -> Outcome {
    let observer = context.open().await?;
    for round in 0..context.rounds(10) {
        drop_writes_and_close(context.open().await?, round).await?;
        expect_silence(&*observer.entries()).await?;
    }
    Ok(())
}

async fn after_reopening(context: Context) -> Outcome {
    let mut instance = context.open().await?;
    for round in 0..context.rounds(10) {
        drop_writes_and_close(instance, round).await?;
        instance = context.open().await?;
        expect_silence(&*instance.entries()).await?;
    }
    Ok(())
}

/// Drops many writes of each kind just after they began, and closes their instance.
async fn drop_writes_and_close(instance: Instance, round: usize) -> Outcome {
    let entries = instance.entries();
    let writes = (0..12).map(|i| {
        let (entries, k) = (Arc::clone(&entries), key(format!("{round}/{}", i % 4)));
        async move {
            match i % 6 {
                0..3 => dropped(entries.set(&k, value(i)), 1).await,
                3 => dropped(entries.remove(&k), 1).await,
                4 => dropped(entries.test_and_set(&k, None, Some(value(i))), 1).await,
                _ => dropped(entries.clear(), 1).await,
            }
        }
    });
    for result in join_all(writes).await {
        pass_over(result)?;
    }
    Ok(instance.close().await?)
}

/// Demands that what is there stays what it is, for as long as some other writes take.
async fn expect_silence(entries: &dyn AtomicWrite) -> Outcome {
    let fence = key("fence");
    entries.set(&fence, value(0)).await?;
    let at_close = entries.entries_sorted(&Key::root()).await?;
    for i in (0..10).rev() {
        entries.set(&fence, value(i)).await?;
    }
    let later = entries.entries_sorted(&Key::root()).await?;
    ensure_eq!(later, at_close, "the entries some time after `close` had returned, nobody else writing");
    Ok(())
}
