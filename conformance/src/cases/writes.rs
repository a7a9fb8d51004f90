//! A1 to A5: what a write does when nobody is beside it, and that whoever looks afterwards sees it.

use std::sync::Arc;

use bytes::Bytes;
use store_api::{AtomicWrite, EntryReadExt, Key, TestAndSet};

use crate::{
    case::{Case, case},
    context::{Context, key},
    failure::{Outcome, ensure, ensure_eq},
    operations::{insist, put, value},
    show::shown,
};

pub(super) const CASES: &[Case] = &[
    case!("atomic/A1-every-handle-sees-what-another-wrote", [Entries], seen_by_handles),
    case!("atomic/A1-every-instance-sees-what-another-wrote", [Entries, SharedInstances], seen_by_instances),
    case!("atomic/A2-test-and-set-truth-table", [Entries], truth_table),
    case!("atomic/A2-long-values-are-compared-to-the-last-byte", [Entries], long_values),
    case!("atomic/A3-setting-what-is-there-changes-nothing", [Entries], setting_what_is_there),
    case!("atomic/A4-a-mismatch-never-takes-effect", [Entries], mismatches),
    case!("atomic/A5-an-own-write-is-no-mismatch", [Entries], own_writes),
];

/// Some values, near to each other, and absence.
fn near_values() -> Vec<Option<Bytes>> {
    let texts = ["", "\0", "0", "00", "a", "a\0", "a ", "A", "ab"];
    [None].into_iter().chain(texts.map(|text| Some(value(text)))).collect()
}

async fn seen_by_handles(context: Context) -> Outcome {
    let instance = context.open().await?;
    seen_by_all(&context, [instance.entries(), instance.entries(), instance.entries()]).await
}

async fn seen_by_instances(context: Context) -> Outcome {
    let (one, two) = (context.open().await?, context.open().await?);
    seen_by_all(&context, [one.entries(), two.entries(), two.entries()]).await
}

/// Whoever keeps what it saw or wrote in a cache is asked after another one changed it, by each kind of read and write.
async fn seen_by_all(context: &Context, handles: [Arc<dyn AtomicWrite>; 3]) -> Outcome {
    let (k, mut random) = (key("k"), context.random());
    let mut current = None;
    for round in 0..context.rounds(60) {
        let writer = random.usize(..handles.len());
        let next = (random.u32(..4) > 0).then(|| value(round));
        let how = write(&*handles[writer], &k, current.as_ref(), next.clone(), &mut random).await?;
        current = next;
        for turn in 0..handles.len() {
            let reader = (writer + 1 + turn) % handles.len();
            let asked = format!("round {round}: handle {reader} after handle {writer} did `{how}`");
            look(&*handles[reader], &k, current.as_ref(), &mut random)
                .await
                .map_err(|failure| failure.within(asked))?;
        }
    }
    Ok(())
}

/// Writes in a random way; gives the name of it.
async fn write(
    entries: &dyn AtomicWrite,
    k: &Key,
    current: Option<&Bytes>,
    next: Option<Bytes>,
    random: &mut fastrand::Rng,
) -> Outcome<&'static str> {
    if random.bool() {
        let verdict = entries.test_and_set(k, current.cloned(), next).await?;
        ensure!(verdict.is_applied(), "`test_and_set` of the current value: {}", shown(&verdict));
        return Ok("test_and_set");
    }
    match next {
        Some(value) => entries.set(k, value).await?,
        None if random.bool() => entries.clear().await?,
        None => entries.remove(k).await?,
    }
    Ok("set, remove or clear")
}

/// Looks in a random way, and only once, so that one look does not freshen what the next one sees.
async fn look(entries: &dyn AtomicWrite, k: &Key, due: Option<&Bytes>, random: &mut fastrand::Rng) -> Outcome {
    match random.u32(..6) {
        0 => ensure_eq!(entries.mem(k).await?, due.is_some(), "`mem`"),
        1 | 2 => ensure_eq!(entries.find(k).await?.as_ref(), due, "`find`"),
        3 => ensure_eq!(entries.list_sorted(&Key::root()).await?.len(), usize::from(due.is_some()), "`list`: keys"),
        4 => {
            let all: Vec<_> = due.into_iter().map(|value| (k.clone(), value.clone())).collect();
            ensure_eq!(entries.entries_sorted(k).await?, all, "`entries`");
        }
        _ => {
            let verdict = entries.test_and_set(k, Some(value("never")), Some(value("either"))).await?;
            ensure_eq!(verdict, TestAndSet::Mismatch { current: due.cloned() }, "`test_and_set` of another value");
        }
    }
    Ok(())
}

async fn truth_table(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    let k = key("k");
    for current in near_values() {
        for test in near_values() {
            for set in near_values() {
                put(&*entries, &k, current.clone()).await?;
                let verdict = entries.test_and_set(&k, test.clone(), set.clone()).await?;
                let asked = format!("current {}, test {}, set {}", shown(&current), shown(&test), shown(&set));
                let (due, after) = if current == test {
                    (TestAndSet::Applied, set)
                } else {
                    (TestAndSet::Mismatch { current: current.clone() }, current.clone())
                };
                ensure_eq!(verdict, due, "{asked}");
                ensure_eq!(entries.find(&k).await?, after, "{asked}: what is there afterwards");
            }
        }
    }
    Ok(())
}

/// A value, and others that differ from it in one byte or in their length.
fn nearly_the_same(len: usize) -> [Bytes; 6] {
    let changed = |at: usize| {
        let mut bytes = vec![7; len];
        bytes[at] ^= 0x80;
        Bytes::from(bytes)
    };
    [
        vec![7; len].into(),
        vec![7; len + 1].into(),
        vec![7; len - 1].into(),
        changed(0),
        changed(len / 2),
        changed(len - 1),
    ]
}

/// Long ones are compared elsewhere than short ones, by a digest, or part by part.
async fn long_values(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    for len in [64, 5_000, 70_000, 300_000] {
        let k = key(len.to_string());
        let values = nearly_the_same(len);
        let current = &values[0];
        entries.set(&k, current.clone()).await?;
        for (i, test) in values.iter().enumerate().skip(1) {
            let verdict = entries.test_and_set(&k, Some(test.clone()), Some(value("set"))).await?;
            let due = TestAndSet::Mismatch { current: Some(current.clone()) };
            ensure_eq!(verdict, due, "{len} bytes, tested for variant {i} of them");
        }
        let verdict = entries.test_and_set(&k, Some(current.clone()), Some(values[5].clone())).await?;
        ensure!(verdict.is_applied(), "{len} bytes, tested for themselves: {}", shown(&verdict));
        ensure_eq!(entries.find(&k).await?, Some(values[5].clone()), "{len} bytes, their last one changed");
    }
    Ok(())
}

async fn setting_what_is_there(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    let (k, absent) = (key("k"), key("absent"));
    entries.set(&k, value("v")).await?;
    let before = entries.entries_sorted(&Key::root()).await?;
    entries.set(&k, value("v")).await?;
    entries.remove(&absent).await?;
    let same = entries.test_and_set(&k, Some(value("v")), Some(value("v"))).await?;
    let none = entries.test_and_set(&absent, None, None).await?;
    ensure!(same.is_applied() && none.is_applied(), "setting what is there is a mismatch");
    ensure_eq!(entries.entries_sorted(&Key::root()).await?, before, "the entries afterwards");
    Ok(())
}

/// What was a mismatch stays one, also when the key becomes what was tested for.
async fn mismatches(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    let (one, two) = (|| Some(value("one")), || Some(value("two")));
    let keys: Vec<Key> = (0..context.rounds(20)).map(|i| key(i.to_string())).collect();
    for k in &keys {
        entries.set(k, value("one")).await?;
        for (test, set) in [(two(), Some(value("wrong"))), (None, Some(value("wrong"))), (two(), None)] {
            let verdict = entries.test_and_set(k, test, set).await?;
            ensure_eq!(verdict, TestAndSet::Mismatch { current: one() }, "a compare with another value");
        }
        ensure_eq!(entries.find(k).await?, one(), "after mismatches");
        entries.set(k, value("two")).await?;
        ensure_eq!(entries.find(k).await?, two(), "once the key is what earlier mismatches had tested for");
    }
    for k in &keys {
        ensure_eq!(entries.find(k).await?, two(), "{} at the end", shown(k));
    }
    Ok(())
}

/// A client that has a key to itself is told of no mismatch: what it would be told is there is its own write, sent twice.
async fn own_writes(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    let k = key("k");
    let mut there = None;
    for round in 0..context.rounds(100) {
        let set = (round % 5 < 4).then(|| value(round));
        let verdict = insist(|| entries.test_and_set(&k, there.clone(), set.clone())).await?;
        ensure!(verdict.is_applied(), "nobody else writes this key, and yet: {}", shown(&verdict));
        there = set;
    }
    Ok(())
}
