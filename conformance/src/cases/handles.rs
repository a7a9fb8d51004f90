//! L1 and L2: closed handles, and those beside them.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use futures_util::{Stream, StreamExt, TryStreamExt, future::try_join_all};
use store_api::{
    Append, AtomicWrite, Diff, Effect, EntryReadExt, ErrorKind, Event, Indexable, Indexed, Init, Key, Result, WatchId,
};

use crate::{
    case::{Case, case},
    clients::both,
    content::{Way, add_all, add_beside_a_batch, ensure_all_found, ensure_found, ensure_listed},
    context::{Context, key},
    failure::{Failure, Outcome, ensure, ensure_eq, expect_error},
    following::next_item,
    handles::{Handles, Write},
    operations::{increment, set_all, value},
};

pub(super) const CASES: &[Case] = &[
    case!("handle/L1-every-operation-of-closed-entries-is-closed", [Entries], closed_entries),
    case!("handle/L1-every-operation-of-closed-content-is-closed", [Content], closed_content),
    case!("handle/L1-every-handle-of-a-closed-instance-is-closed", [], closed_instance),
    case!("handle/L1-closing-ends-open-lists-of-entries", [Entries], open_lists_of_entries),
    case!("handle/L1-closing-ends-open-lists-of-content", [Content], open_lists_of_content),
    case!("handle/L1-closing-again-is-fine", [], closing_again),
    case!("handle/L2-other-handles-of-the-entries-do-not-notice-a-close", [Entries], other_handles_of_entries),
    case!("handle/L2-other-handles-of-the-content-do-not-notice-a-close", [Content], other_handles_of_content),
    case!("handle/L2-other-instances-do-not-notice-a-close", [SharedInstances], other_instances),
    case!("handle/L2-writes-go-on-amid-closes-of-other-handles", [], amid_closes_of_handles),
    case!("handle/L2-writes-go-on-amid-closes-of-other-instances", [SharedInstances], amid_closes_of_instances),
    case!("handle/L2-a-handle-outlives-its-dropped-instance", [], dropped_instance),
    case!("handle/L2-an-instance-that-is-alone-sees-no-other-store", [LoneInstance], alone),
];

/// Demands of operations, by name, that they are refused and had no effect.
fn ensure_refused(answers: impl IntoIterator<Item = (&'static str, Result<()>)>, of: &str) -> Outcome {
    for (operation, answer) in answers {
        let refusal = expect_error!(answer, Closed, "`{operation}` of {of}");
        ensure_eq!(refusal.effect(), Effect::NotApplied, "the effect of `{operation}` of {of}");
    }
    Ok(())
}

async fn ensure_entries_closed(entries: &dyn AtomicWrite, of: &str) -> Outcome {
    let (k, root) = (key("k"), Key::root());
    let answers = [
        ("mem", entries.mem(&k).await.map(drop)),
        ("find", entries.find(&k).await.map(drop)),
        ("find of the empty path", entries.find(&root).await.map(drop)),
        ("list", entries.list(&root).try_collect::<Vec<_>>().await.map(drop)),
        ("list of an absent path", entries.list(&key("absent")).try_collect::<Vec<_>>().await.map(drop)),
        ("entries", entries.entries(&root).try_collect::<Vec<_>>().await.map(drop)),
        ("watch", entries.watch(&root, Init::Current).await.map(drop)),
        ("watch_key", entries.watch_key(&k, Init::Current).await.map(drop)),
        ("unwatch", entries.unwatch(WatchId::unique()).await),
        ("set", entries.set(&k, value("2")).await),
        ("set of what is there", entries.set(&k, value("1")).await),
        ("test_and_set", entries.test_and_set(&k, Some(value("1")), None).await.map(drop)),
        ("test_and_set that mismatches", entries.test_and_set(&k, None, None).await.map(drop)),
        ("remove", entries.remove(&k).await),
        ("remove of an absent key", entries.remove(&key("absent")).await),
        ("clear", entries.clear().await),
    ];
    ensure_refused(answers, of)
}

async fn ensure_content_closed(content: &dyn Indexable, of: &str) -> Outcome {
    let (hash, absent) = (content.hash_function().hash(b"1"), content.hash_function().hash(b"absent"));
    let answers = [
        ("mem", content.mem(&hash.into()).await.map(drop)),
        ("find", content.find(&hash.into()).await.map(drop)),
        ("find of an absent key", content.find(&absent.into()).await.map(drop)),
        ("index", content.index(&hash).await.map(drop)),
        ("keys", content.keys().try_collect::<Vec<_>>().await.map(drop)),
        ("add", content.add(value("2")).await.map(drop)),
        ("add of what is there", content.add(value("1")).await.map(drop)),
        ("unsafe_add", content.unsafe_add(hash, value("1")).await.map(drop)),
        ("begin", content.begin().await.map(drop)),
    ];
    ensure_refused(answers, of)
}

async fn closed_entries(context: Context) -> Outcome {
    let instance = context.open().await?;
    let entries = instance.entries();
    entries.set(&key("k"), value("1")).await?;
    let clone = Arc::clone(&entries);
    entries.close().await?;
    ensure_entries_closed(&*entries, "a closed handle").await?;
    ensure_entries_closed(&*clone, "a clone of a closed handle").await?;
    let there = instance.entries().entries_sorted(&Key::root()).await?;
    ensure_eq!(there, [(key("k"), value("1"))], "the entries, after a closed handle was used");
    Ok(())
}

async fn closed_content(context: Context) -> Outcome {
    let instance = context.open().await?;
    let content = instance.content();
    let stored = content.add(value("1")).await?;
    let batch = content.begin().await?;
    batch.add(value("3")).await?;
    let clone = Arc::clone(&content);
    content.close().await?;
    let of_the_batch = [("add", batch.add(value("2")).await.map(drop)), ("commit", batch.commit().await)];
    ensure_refused(of_the_batch, "a batch of a closed handle")?;
    drop(batch);
    ensure_content_closed(&*content, "a closed handle").await?;
    ensure_content_closed(&*clone, "a clone of a closed handle").await?;
    let staying = instance.content();
    ensure_listed(&*staying, [stored], "another handle").await?;
    ensure_found(&*staying, &stored, &value("1"), "another handle").await
}

async fn closed_instance(context: Context) -> Outcome {
    let instance = context.open().await?;
    let earlier = Handles::of(&instance);
    let watch = match &earlier.entries {
        Some(entries) => Some(entries.watch(&Key::root(), Init::Known(Vec::new())).await?),
        None => None,
    };
    instance.close().await?;
    for handles in [earlier, Handles::of(&instance)] {
        if let Some(entries) = &handles.entries {
            ensure_entries_closed(&**entries, "a handle of a closed instance").await?;
        }
        if let Some(content) = &handles.content {
            ensure_content_closed(&**content, "a handle of a closed instance").await?;
        }
        handles.close().await?;
    }
    ensure_refused([("sync", instance.sync().await)], "a closed instance")?;
    let Some(mut watch) = watch else { return Ok(()) };
    let end = async { while let Some(Ok(Event::CaughtUp)) = watch.next().await {} };
    context.soon("W10: the end of a watch whose instance was closed", end).await
}

/// Demands that a stream that was open at the close gives `Closed`, and ends.
async fn ensure_stream_closed<T>(
    mut stream: impl Stream<Item = Result<T>> + Unpin,
    operation: &'static str,
) -> Outcome {
    let Some(next) = stream.next().await else {
        return Err(Failure::broken(format_args!("an open `{operation}` ends without `Closed`, as if that were all")));
    };
    ensure_refused([(operation, next.map(drop))], "a handle that was closed meanwhile")?;
    ensure!(stream.next().await.is_none(), "an open `{operation}` goes on after `Closed`");
    Ok(())
}

/// Few, so that they fit a page of whatever reads ahead, and more than that.
const OPEN_LISTS: [usize; 2] = [3, 2500];

async fn open_lists_of_entries(context: Context) -> Outcome {
    let instance = context.open().await?;
    for many in OPEN_LISTS {
        let entries = instance.entries();
        set_all(&*entries, (0..many).map(|i| (key(i.to_string()), value(i)))).await?;
        let (mut keys, mut both) = (entries.list(&Key::root()), entries.entries(&Key::root()));
        let untouched = entries.list(&Key::root());
        ensure!(keys.try_next().await?.is_some() && both.try_next().await?.is_some(), "A7: `list` of {many} is empty");
        entries.close().await?;
        ensure_stream_closed(keys, "list").await?;
        ensure_stream_closed(both, "entries").await?;
        ensure_stream_closed(untouched, "list").await?;
    }
    Ok(())
}

async fn open_lists_of_content(context: Context) -> Outcome {
    let instance = context.open().await?;
    for many in OPEN_LISTS {
        let content = instance.content();
        let batch = content.begin().await?;
        add_all(&*batch, (0..many).map(value)).await?;
        batch.commit().await?;
        let batch = content.begin().await?;
        let (mut keys, mut inside) = (content.keys(), batch.keys());
        ensure!(
            keys.try_next().await?.is_some() && inside.try_next().await?.is_some(),
            "A7: `keys` of {many} is empty"
        );
        content.close().await?;
        ensure_stream_closed(keys, "keys").await?;
        ensure_stream_closed(inside, "keys of a batch").await?;
    }
    Ok(())
}

async fn closing_again(context: Context) -> Outcome {
    let instance = context.open().await?;
    let handles = Handles::of(&instance);
    for _ in 0..3 {
        handles.close().await?;
    }
    let (one, other) = context.soon("two closes", async { tokio::join!(instance.close(), instance.close()) }).await?;
    one?;
    other?;
    instance.close().await?;
    handles.close().await
}

async fn other_handles_of_entries(context: Context) -> Outcome {
    let instance = context.open().await?;
    let (closing, staying) = (instance.entries(), instance.entries());
    let mut watch = staying.watch(&Key::root(), Init::Known(Vec::new())).await?;
    let ended = closing.watch(&Key::root(), Init::Current).await?;
    closing.set(&key("k"), value("1")).await?;
    let mut list = staying.list(&Key::root());
    closing.close().await?;
    drop(ended);
    ensure_eq!(staying.find(&key("k")).await?, Some(value("1")), "`find` by another handle");
    ensure_eq!(list.try_next().await?, Some(key("k")), "an open `list` of another handle");
    let verdict = staying.test_and_set(&key("k"), Some(value("1")), Some(value("2"))).await?;
    ensure!(verdict.is_applied(), "A2: a false mismatch by another handle");
    while let Some(event) = next_item(&context, "a change, told to another handle", &mut watch).await? {
        if let Event::Changed { diff: Diff::Added { new } | Diff::Updated { new, .. }, .. } = event?
            && new == value("2")
        {
            return Ok(());
        }
    }
    Err(Failure::broken("the watch of another handle ends"))
}

async fn other_handles_of_content(context: Context) -> Outcome {
    let instance = context.open().await?;
    let (closing, staying) = (instance.content(), instance.content());
    let batch = staying.begin().await?;
    let added = add_all(&*batch, (0..3).map(value)).await?;
    let kept = add_beside_a_batch(&context, &*closing, Way::Add, value("kept")).await?;
    let mut keys = staying.keys();
    closing.close().await?;
    ensure_eq!(keys.try_next().await?, Some(kept), "an open `keys` of another handle");
    ensure_found(&*staying, &kept, &value("kept"), "another handle").await?;
    batch.commit().await?;
    ensure_all_found(&*instance.content(), &added, "a later handle").await
}

async fn other_instances(context: Context) -> Outcome {
    let (closing, staying) = (context.open().await?, context.open().await?);
    let (closed, handles) = (Handles::of(&closing), Handles::of(&staying));
    let (before, after) = (closed.writes(0, 0), handles.writes(1, 0));
    for write in &before {
        closed.write(write).await?;
    }
    closing.close().await?;
    for write in &after {
        handles.write(write).await?;
    }
    let later = Handles::of(&context.open().await?);
    for write in before.iter().chain(&after) {
        for handles in [&handles, &later] {
            ensure!(handles.has(write).await?, "{write:?} is not there for another instance after a close");
        }
    }
    Ok(())
}

/// Writes as long as others open and close, and once behind them, and fails with none.
///
/// `done` counts the rounds of the closes.
async fn write_amid<F>(context: &Context, handles: Handles, done: Arc<AtomicUsize>, closes: F) -> Outcome
where
    F: Future<Output = Outcome> + Send + 'static,
{
    let over = Arc::new(AtomicBool::new(false));
    let (ended, context) = (Arc::clone(&over), context.clone());
    let closes = async move {
        let closes = context.steadily("the return of each close amid the writes of another handle", &done, closes);
        let closed = closes.await;
        ended.store(true, Ordering::SeqCst);
        closed?
    };
    let writes = async move {
        let counter = key("counter");
        let mut count = 0;
        loop {
            let last = over.load(Ordering::SeqCst);
            if let Some(entries) = &handles.entries {
                count += 1;
                let counted = increment(&**entries, &counter, 1).await?;
                ensure_eq!(counted, count, "A1: a counter that only this handle counts");
            }
            handles.write(&Write::Content(Way::Add, value(count))).await?;
            if last {
                return Ok(());
            }
        }
    };
    both(closes, writes).await.map(drop)
}

async fn write_and_close(handles: &Handles, round: usize) -> Outcome {
    let writes = handles.writes(0, round);
    try_join_all(writes.iter().map(|write| handles.write(write))).await?;
    handles.close().await
}

async fn amid_closes_of_handles(context: Context) -> Outcome {
    let instance = context.open().await?;
    let (handles, rounds) = (Handles::of(&instance), context.rounds(15));
    let done = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&done);
    let closes = async move {
        for round in 0..rounds {
            write_and_close(&Handles::of(&instance), round).await?;
            count.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    write_amid(&context, handles, done, closes).await
}

async fn amid_closes_of_instances(context: Context) -> Outcome {
    let handles = Handles::of(&context.open().await?);
    let (opening, rounds) = (context.clone(), context.rounds(5));
    let done = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&done);
    let closes = async move {
        for round in 0..rounds {
            let instance = opening.open().await?;
            write_and_close(&Handles::of(&instance), round).await?;
            instance.close().await?;
            count.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    write_amid(&context, handles, done, closes).await
}

async fn dropped_instance(context: Context) -> Outcome {
    let instance = context.open().await?;
    let handles = Handles::of(&instance);
    drop(instance);
    for write in handles.writes(0, 0) {
        handles.write(&write).await?;
        ensure!(handles.has(&write).await?, "{write:?} is not there for a handle whose instance was dropped");
    }
    Ok(())
}

/// What an instance that is alone wrote is nobody else's: another one is refused, or has a store of its own.
async fn alone(context: Context) -> Outcome {
    let one = context.open().await?;
    let handles = Handles::of(&one);
    for write in handles.writes(0, 0) {
        handles.write(&write).await?;
    }
    let other = match context.try_open(&crate::Settings::default()).await {
        Ok(other) => other,
        Err(error) if error.kind() == ErrorKind::InUse => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let others = Handles::of(&other);
    for write in handles.writes(0, 0) {
        ensure!(!others.has(&write).await?, "{write:?} is there for another instance, though `Instance` is declared");
    }
    Ok(())
}
