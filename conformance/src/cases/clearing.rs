//! A8: what `clear` removes while others write, and that watches stay and are told.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use store_api::{EntryReadExt, Key};

use crate::{
    case::{Case, case},
    clients::over_and_over,
    context::{Context, Instance, key},
    failure::{Outcome, ensure, ensure_eq},
    following::{Follower, Scope, State},
    luck::{Hopes, Luck},
    operations::{insist, number, set_all, value},
    show::shown,
};

pub(super) const CASES: &[Case] = &[
    case!("atomic/A8-clear-removes-every-entry", [Entries], removes_every_entry),
    case!("atomic/A8-clear-removes-no-content", [Entries, Content], removes_no_content),
    case!("atomic/A8-clear-of-an-empty-store-is-fine", [Entries], of_nothing),
    case!("atomic/A8-what-is-set-after-clear-stays", [Entries], set_afterwards),
    case!("atomic/A8-what-was-cleared-is-gone-when-reopened", [Entries, Reopens], reopened),
    case!("atomic/A8-clear-amid-writes-removes-what-stayed", [Entries], amid_writes),
    case!("atomic/A8-clear-tells-the-watches-and-leaves-them", [Entries], watches_stay),
    case!("atomic/A8-clear-by-another-instance-is-told", [Entries, SharedInstances], told_by_another_instance),
];

fn hundred() -> State {
    (0..100).map(|i| (key(format!("{}/{i}", i % 3)), value(i))).collect()
}

async fn removes_every_entry(context: Context) -> Outcome {
    let instance = context.open().await?;
    let (entries, other) = (instance.entries(), instance.entries());
    let mut all = hundred();
    all.extend(["\0", "a\u{10ffff}", "%", "Z"].map(|path| (key(path), value(path))));
    all.insert(key("x".repeat(context.max_key_len())), value("long"));
    all.insert(key("\u{10ffff}".repeat(context.max_key_len() / 4)), value("last"));
    set_all(&*entries, all.clone()).await?;
    entries.clear().await?;
    for entries in [entries, other] {
        ensure_eq!(entries.list_sorted(&Key::root()).await?, [], "the keys after `clear`");
        for k in all.keys() {
            ensure_eq!(entries.find(k).await?, None, "`find` of {} after `clear`", shown(k));
        }
    }
    Ok(())
}

async fn removes_no_content(context: Context) -> Outcome {
    let instance = context.open().await?;
    let (entries, content) = (instance.entries(), instance.content());
    set_all(&*entries, hundred()).await?;
    let stored = content.add(value("content")).await?;
    entries.clear().await?;
    ensure_eq!(entries.list_sorted(&Key::root()).await?, [], "the keys after `clear`");
    ensure_eq!(content.find(&stored).await?, Some(value("content")), "content after `clear` of the entries");
    Ok(())
}

async fn of_nothing(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    entries.clear().await?;
    entries.clear().await?;
    ensure_eq!(entries.list_sorted(&Key::root()).await?, [], "the keys after `clear`");
    Ok(())
}

async fn set_afterwards(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    for round in 0..context.rounds(8) {
        set_all(&*entries, hundred()).await?;
        entries.clear().await?;
        let fresh = key(format!("0/{}", round % 4 * 3));
        let created = entries.test_and_set(&fresh, None, Some(value(round))).await?;
        ensure!(created.is_applied(), "{} after `clear`: {}", shown(&fresh), shown(&created));
        let left = entries.entries_sorted(&Key::root()).await?;
        ensure_eq!(left, [(fresh, value(round))], "the entries once one was set after `clear`");
    }
    Ok(())
}

async fn reopened(context: Context) -> Outcome {
    let instance = context.open().await?;
    set_all(&*instance.entries(), hundred()).await?;
    instance.close().await?;
    drop(instance);
    let instance = context.open().await?;
    instance.entries().clear().await?;
    let after = key("0/0");
    instance.entries().set(&after, value("after")).await?;
    instance.close().await?;
    drop(instance);
    let entries = context.open().await?.entries();
    let left = entries.entries_sorted(&Key::root()).await?;
    ensure_eq!(left, [(after, value("after"))], "the entries when the store is opened again");
    Ok(())
}

/// How many clears are to have met a write, for what is there to go wrong with them; and how many there are.
const CLEARS: Hopes = Hopes { floor: 10, enough: 30, rounds: [10, 1_000] };

/// Beside a key that is set over and over, `clear` removes all that stayed, and brings nothing back.
async fn amid_writes(context: Context) -> Outcome {
    let instance = context.open().await?;
    let (entries, counter) = (instance.entries(), key("0/counter"));
    let mut follower = Follower::from_nothing(&context, &*entries, &Scope::everything()).await?;
    let luck = context.luck(CLEARS);
    let last = Arc::new(AtomicU64::new(0));
    let counting = {
        let (entries, counter, last) = (instance.entries(), counter.clone(), Arc::clone(&last));
        over_and_over(move |_| {
            let (entries, counter, last) = (Arc::clone(&entries), counter.clone(), Arc::clone(&last));
            async move {
                let next = last.load(Ordering::Relaxed) + 1;
                insist(|| entries.set(&counter, value(next))).await?;
                last.store(next, Ordering::Relaxed);
                Ok(())
            }
        })
        .await?
    };
    let clearing = async {
        for _ in luck.rounds() {
            clear_beside(&instance, &counter, &last, &luck).await?;
        }
        Ok(())
    };
    counting.meanwhile(clearing).await?;
    let last = last.load(Ordering::Relaxed);
    let left: State = entries.entries_sorted(&Key::root()).await?.into_iter().collect();
    ensure!(
        left.values().all(|left| *left == value(last)),
        "something else is left than the last number: {}",
        shown(&left)
    );
    follower.converge(&left).await?;
    luck.judge("clears had a write beside them")
}

/// Clears a store in which nobody else writes but the one who counts.
async fn clear_beside(instance: &Instance, counter: &Key, last: &AtomicU64, luck: &Luck) -> Outcome {
    let entries = instance.entries();
    set_all(&*entries, hundred().into_iter().take(10)).await?;
    let before = number(insist(|| entries.find(counter)).await?.as_ref())?;
    let counted = last.load(Ordering::Relaxed);
    insist(|| entries.clear()).await?;
    if last.load(Ordering::Relaxed) > counted {
        luck.meet();
    }
    for (k, left) in entries.entries_sorted(&Key::root()).await? {
        ensure!(k == *counter, "{} was there all through a `clear`, and is there afterwards", shown(&k));
        let left = number(Some(&left))?;
        ensure!(left >= before, "after a `clear` the counter is {left}, and was {before} before");
    }
    Ok(())
}

async fn watches_stay(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    set_all(&*entries, hundred()).await?;
    let (everything, one) = (Scope::everything(), Scope::key("0/0"));
    let mut all = Follower::current(&context, &*entries, &everything, &hundred()).await?;
    let mut one = Follower::known(&context, &*entries, &one, &hundred()).await?;
    entries.clear().await?;
    all.converge(&State::new()).await?;
    one.converge(&State::new()).await?;
    ensure_eq!((all.changes(), one.changes()), (100, 1), "the changes told of all entries and of one");
    set_all(&*entries, hundred()).await?;
    all.converge(&hundred()).await?;
    one.converge(&hundred()).await
}

async fn told_by_another_instance(context: Context) -> Outcome {
    let (one, two) = (context.open().await?, context.open().await?);
    set_all(&*one.entries(), hundred()).await?;
    let mut follower = Follower::from_nothing(&context, &*two.entries(), &Scope::everything()).await?;
    follower.converge(&hundred()).await?;
    one.entries().clear().await?;
    follower.converge(&State::new()).await?;
    let after = State::from([(key("after"), value(1))]);
    set_all(&*one.entries(), after.clone()).await?;
    follower.converge(&after).await
}
