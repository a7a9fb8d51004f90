//! L4, L5 and A10: opening again, opening what must be refused; that `sync` succeeds (E1), and that all instances declare
//! the same (L2), whether or not anything is declared to survive.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use futures_util::{FutureExt, future::try_join_all};
use store_api::{EntryReadExt, HashFunction, Key, Visibility};

use super::closing::{IN_FLIGHT_AND_REOPENED, close_amid, judge};
use crate::{
    Settings,
    case::{Case, case},
    clients::{all, both},
    content::listed,
    context::{Context, Instance, key},
    failure::{Failure, Outcome, ensure, ensure_eq, expect_error},
    files::Files,
    handles::{Handles, Write},
    operations::{put, set_all, value},
};

pub(super) const CASES: &[Case] = &[
    case!("handle/L4-an-open-right-after-close-finds-what-was-written", [Reopens], reopened),
    case!("handle/L4-a-reopened-store-has-the-last-state-of-every-key", [Entries, Reopens], last_states),
    case!("handle/L4-a-close-amid-writes-keeps-what-was-acknowledged", [Reopens], closed_amid_writes),
    case!("handle/L4-a-second-instance-is-in-use-until-the-first-is-closed", [LoneInstance, Reopens], in_use),
    case!("handle/L5-another-hash-function-is-incompatible", [Content, Reopens], another_hash_function),
    case!("handle/L5-a-store-that-is-refused-is-left-untouched", [Content, Embedded, Reopens], left_untouched),
    case!(
        "handle/L5-another-hash-function-than-that-of-an-open-instance-is-incompatible",
        [Content, SharedInstances],
        another_hash_function_beside
    ),
    case!("atomic/A10-a-store-dropped-without-close-keeps-what-was-acknowledged", [Reopens], dropped),
    case!("error/E1-sync-succeeds-amid-writes", [], sync_amid_writes),
    case!("handle/L2-every-instance-declares-the-same", [], declared),
];

async fn write_all(handles: &Handles, writes: &[Write]) -> Outcome {
    try_join_all(writes.iter().map(|write| handles.write(write))).await?;
    Ok(())
}

async fn ensure_all_there(handles: &Handles, writes: &[Write], who: &str) -> Outcome {
    for write in writes {
        ensure!(handles.has(write).await?, "{who} lacks {write:?}, which was acknowledged");
    }
    Ok(())
}

async fn reopened(context: Context) -> Outcome {
    let mut written: Vec<Write> = Vec::new();
    // What was closed holds nothing up, though somebody has it still.
    let mut closed = Vec::new();
    for round in 0..context.rounds(10) {
        let instance = context.open().await?;
        let handles = Handles::of(&instance);
        ensure_all_there(&handles, &written, "a reopened store").await?;
        let writes = handles.writes(0, round);
        write_all(&handles, &writes).await?;
        written.extend(writes);
        ensure_lists_only(&instance, &written).await?;
        instance.close().await?;
        closed.push((instance, handles));
    }
    Ok(())
}

async fn ensure_lists_only(instance: &Instance, written: &[Write]) -> Outcome {
    if let Some(entries) = instance.atomic_write() {
        let due = written.iter().filter(|write| matches!(write, Write::Entry(_))).count();
        ensure_eq!(entries.entries_sorted(&Key::root()).await?.len(), due, "how many entries a reopened store has");
    }
    if let Some(content) = instance.indexable() {
        let due = written.iter().filter(|write| matches!(write, Write::Content(..))).count();
        ensure_eq!(listed(&*content).await?.len(), due, "how many values a reopened store has");
    }
    Ok(())
}

async fn last_states(context: Context) -> Outcome {
    let mut random = context.random();
    let mut model: BTreeMap<Key, Bytes> = BTreeMap::new();
    for round in 0..context.rounds(4) {
        let instance = context.open().await?;
        let entries = instance.entries();
        let there = entries.entries_sorted(&Key::root()).await?;
        let due: Vec<(Key, Bytes)> = model.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        ensure_eq!(there, due, "the entries of a reopened store");
        if round % 4 == 2 {
            entries.clear().await?;
            model.clear();
        }
        let fresh: Vec<_> = (0..30).map(|i| (key(format!("k/{i}")), value(format_args!("{round} {i}")))).collect();
        set_all(&*entries, fresh.clone()).await?;
        model.extend(fresh);
        for _ in 0..12 {
            let k = key(format!("k/{}", random.usize(..40)));
            let next = random.bool().then(|| value("v".repeat(random.usize(..2000))));
            put(&*entries, &k, next.clone()).await?;
            match next {
                Some(value) => model.insert(k, value),
                None => model.remove(&k),
            };
        }
        instance.close().await?;
    }
    Ok(())
}

async fn closed_amid_writes(context: Context) -> Outcome {
    let luck = context.luck(IN_FLIGHT_AND_REOPENED);
    for round in luck.rounds() {
        let instance = context.open().await?;
        let handles = Handles::of(&instance);
        let close = |_| async move { Ok(instance.close().await?) }.boxed();
        let known = close_amid(&context, &luck, round, handles, close).await?;
        let instance = context.open().await?;
        known.ensure(&Handles::of(&instance), "a store reopened right after a close amid writes").await?;
        instance.close().await?;
    }
    judge(&luck)
}

async fn in_use(context: Context) -> Outcome {
    let instance = context.open().await?;
    let handles = Handles::of(&instance);
    let writes = handles.writes(0, 0);
    write_all(&handles, &writes).await?;
    for _ in 0..3 {
        let second = context.at_once("L4: an answer to a second open", context.try_open(&Settings::default())).await?;
        expect_error!(second, InUse, "a second open, while an instance has the store to itself");
    }
    let more = handles.writes(1, 0);
    write_all(&handles, &more).await?;
    ensure_all_there(&handles, &writes, "an instance, after others were refused,").await?;
    instance.close().await?;
    let instance =
        context.open().await.map_err(|failure| failure.within("right after the first instance was closed"))?;
    ensure_all_there(&Handles::of(&instance), &[writes, more].concat(), "the next instance").await?;
    Ok(instance.close().await?)
}

/// A store that is refused is byte for byte what it was.
async fn left_untouched(context: Context) -> Outcome {
    for (has, asked) in pairs_of_functions() {
        let store = context.store_in_directory().await?;
        let instance = store.open_with(&Settings { hash: Some(has), ..Settings::default() }).await?;
        let handles = Handles::of(&instance);
        write_all(&handles, &handles.writes(0, 0)).await?;
        instance.close().await?;
        drop((handles, instance));
        let before = Files::of(store.directory())?;
        ensure_incompatible(&store, has, asked).await?;
        let after = Files::of(store.directory())?;
        if let Some(changed) = after.differs_from(&before) {
            return Err(Failure::broken(format_args!(
                "L5: a refused open left {} another than it was",
                changed.display()
            )));
        }
    }
    Ok(())
}

/// Asks for another hash function than the store has: refused, with both named.
async fn ensure_incompatible(context: &Context, has: HashFunction, asked: HashFunction) -> Outcome {
    let settings = Settings { hash: Some(asked), ..Settings::default() };
    let refusal = expect_error!(
        context.try_open(&settings).await,
        Incompatible,
        "an open with {asked} of a store whose hash function is {has}"
    );
    let text = refusal.to_string();
    ensure!(
        text.contains(has.name()) && text.contains(asked.name()),
        "the error must name both {has} and {asked}, and is: {text}"
    );
    Ok(())
}

fn pairs_of_functions() -> impl Iterator<Item = (HashFunction, HashFunction)> {
    let all = || HashFunction::ALL.iter().copied();
    all().flat_map(move |has| all().filter(move |asked| *asked != has).map(move |asked| (has, asked)))
}

async fn another_hash_function(context: Context) -> Outcome {
    for (has, asked) in pairs_of_functions() {
        let store = context.another_store().await?;
        let settings = Settings { hash: Some(has), ..Settings::default() };
        let instance = store.open_with(&settings).await?;
        let handles = Handles::of(&instance);
        let writes = handles.writes(0, 0);
        write_all(&handles, &writes).await?;
        instance.close().await?;
        for _ in 0..2 {
            ensure_incompatible(&store, has, asked).await?;
        }
        for settings in [settings, Settings::default()] {
            if settings.hash.is_none() && context.insists_on_other_than(has) {
                continue;
            }
            let instance = store.open_with(&settings).await?;
            ensure_eq!(instance.content().hash_function(), has, "the hash function of a store after a refused open");
            ensure_all_there(&Handles::of(&instance), &writes, "a store, after a refused open,").await?;
            ensure_lists_only(&instance, &writes).await?;
            instance.close().await?;
        }
    }
    Ok(())
}

async fn another_hash_function_beside(context: Context) -> Outcome {
    for (has, asked) in pairs_of_functions() {
        let store = context.another_store().await?;
        let settings = Settings { hash: Some(has), ..Settings::default() };
        let instance = store.open_with(&settings).await?;
        let handles = Handles::of(&instance);
        let writes = handles.writes(0, 0);
        write_all(&handles, &writes).await?;
        ensure_incompatible(&store, has, asked).await?;
        ensure_all_there(&handles, &writes, "an instance, after another open was refused,").await?;
        let same = store.open_with(&settings).await?;
        ensure_all_there(&Handles::of(&same), &writes, "an instance with the hash function that the store has").await?;
    }
    Ok(())
}

async fn dropped(context: Context) -> Outcome {
    const OPENING: &str = "an open after all handles were dropped";
    let mut written = Vec::new();
    for round in 0..context.rounds(6) {
        let instance = context.open_when_free(OPENING).await?;
        let handles = Handles::of(&instance);
        ensure_all_there(&handles, &written, "a store opened after all handles were dropped").await?;
        let writes = handles.writes(0, round);
        write_all(&handles, &writes).await?;
        written.extend(writes);
        drop(instance);
        drop(handles);
    }
    let instance = context.open_when_free(OPENING).await?;
    ensure_all_there(&Handles::of(&instance), &written, "a store opened after all handles were dropped").await?;
    Ok(instance.close().await?)
}

/// Writes until it is told that there is no need for more.
async fn write_until(over: Arc<AtomicBool>, handles: Handles, client: usize) -> Outcome<Vec<Write>> {
    let mut written = Vec::new();
    for round in 0.. {
        if over.load(Ordering::SeqCst) {
            break;
        }
        let writes = handles.writes(client, round);
        write_all(&handles, &writes).await?;
        written.extend(writes);
    }
    Ok(written)
}

async fn sync_amid_writes(context: Context) -> Outcome {
    let instance = context.open().await?;
    instance.sync().await?;
    let over = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..2).map(|client| write_until(Arc::clone(&over), Handles::of(&instance), client)).collect();
    let (syncing, at, rounds) = (instance.clone(), context.clone(), context.rounds(15));
    let syncs = async move {
        let mut outcome = Ok(());
        for _ in 0..rounds {
            let syncs = async { tokio::try_join!(syncing.sync(), syncing.sync()) };
            outcome = at.soon("the return of `sync` amid writes", syncs).await.and_then(|synced| Ok(synced.map(drop)?));
            if outcome.is_err() {
                break;
            }
        }
        over.store(true, Ordering::SeqCst);
        outcome
    };
    let ((), written) = both(syncs, all(writers)).await?;
    ensure_all_there(&Handles::of(&instance), &written.concat(), "a store that was synced amid writes").await
}

async fn declared(context: Context) -> Outcome {
    let instance = context.open().await?;
    let declared = instance.guarantees();
    ensure_eq!(declared, context.guarantees(), "what an instance of another store declares");
    ensure_eq!(context.another_store().await?.open().await?.guarantees(), declared, "what another store declares");
    ensure!(
        instance.atomic_write().is_some() || instance.indexable().is_some(),
        "a backend with neither an atomic-write store nor an indexable one"
    );
    if declared.visibility == Visibility::Instance {
        return Ok(());
    }
    ensure!(
        declared.watch_lag.others.is_some(),
        "`{}` is declared, and no lag for the changes of other instances, which there can be",
        declared.visibility
    );
    ensure_eq!(context.open().await?.guarantees(), declared, "what another instance of the store declares");
    Ok(())
}
