//! Calls whose future is kept on its way and not polled: what it has under way holds up no other call (A7), and no close
//! (L3). An application keeps such a future wherever a loop body waits beside a stream of them.

use std::{pin::Pin, sync::Arc};

use bytes::Bytes;
use futures_util::{FutureExt, TryStreamExt, future::BoxFuture};
use store_api::{AtomicWrite, ContentKey, Error, ErrorKind, Indexable, IndexedExt, Init, Key, Result};

use crate::{
    case::{Case, case},
    context::{Context, key},
    failure::{Outcome, ensure},
    handles::Handles,
    operations::{poll_up_to, value},
};

pub(super) const CASES: &[Case] = &[
    case!("atomic/A7-calls-on-entries-that-nobody-polls-hold-up-no-other", [Entries], on_entries),
    case!("atomic/A7-calls-on-content-that-nobody-polls-hold-up-no-other", [Content], on_content),
    case!("handle/L3-calls-that-nobody-polls-hold-up-no-close", [], beside_a_close),
];

/// So many of each call: more than twice as many as a store has of what they wait for, which it would give to all of them.
const KEPT: usize = 40;

/// After how many polls they are kept. Most calls wait once or twice.
const POLLS: usize = 3;

type Call = BoxFuture<'static, Result<()>>;

/// Long enough for a store to read it off its caller.
fn long() -> Bytes {
    vec![b'x'; 300_000].into()
}

/// What it came to; a store that was too busy for it has answered, too.
fn answered(answer: Result<()>) -> Outcome {
    match answer {
        Err(error) if error.is_retryable() => Ok(()),
        answer => Ok(answer?),
    }
}

/// One of each kind of call on the entries.
fn calls_on_entries(entries: &Arc<dyn AtomicWrite>, number: usize) -> Vec<(&'static str, Call)> {
    let call = |make: fn(Arc<dyn AtomicWrite>, usize) -> Call| make(Arc::clone(entries), number);
    vec![
        ("list", call(|on, _| async move { on.list(&Key::root()).try_next().await.map(drop) }.boxed())),
        ("entries", call(|on, _| async move { on.entries(&Key::root()).try_next().await.map(drop) }.boxed())),
        ("mem", call(|on, _| async move { on.mem(&key("long")).await.map(drop) }.boxed())),
        ("find", call(|on, _| async move { on.find(&key("long")).await.map(drop) }.boxed())),
        ("watch", call(|on, _| async move { on.watch(&Key::root(), Init::Current).await.map(drop) }.boxed())),
        ("set", call(|on, number| async move { on.set(&key("k"), value(number)).await }.boxed())),
        ("test_and_set", call(|on, _| async move { on.test_and_set(&key("k"), None, None).await.map(drop) }.boxed())),
        ("remove", call(|on, _| async move { on.remove(&key("k")).await }.boxed())),
    ]
}

/// One of each kind of call on the content. What is looked up was added by another instance, or never.
fn calls_on_content(content: &Arc<dyn Indexable>, number: usize) -> Vec<(&'static str, Call)> {
    let call = |make: fn(Arc<dyn Indexable>, usize) -> Call| make(Arc::clone(content), number);
    vec![
        ("keys", call(|on, _| async move { on.keys().try_next().await.map(drop) }.boxed())),
        ("index", call(|on, _| async move { on.index(&on.hash_function().hash(b"absent")).await.map(drop) }.boxed())),
        ("mem", call(|on, _| async move { on.mem(&by_hash(&*on)).await.map(drop) }.boxed())),
        ("find", call(|on, _| async move { on.find(&by_hash(&*on)).await.map(drop) }.boxed())),
        ("add", call(|on, number| async move { on.add(value(number)).await.map(drop) }.boxed())),
        (
            "commit",
            call(|on, _| {
                async move { on.batch(|batch| async move { batch.add(long()).await }).await.map(drop) }.boxed()
            }),
        ),
    ]
}

fn by_hash(content: &dyn Indexable) -> ContentKey {
    content.hash_function().hash(&long()).into()
}

/// Polls each call up to so many times, and gives those that are not over by then.
async fn keep(context: &Context, calls: Vec<(&'static str, Call)>, polls: usize) -> Outcome<Vec<(&'static str, Call)>> {
    let mut kept = Vec::new();
    for (name, mut call) in calls {
        let what = format!("`{name}` goes on beside calls that nobody polls");
        match context.soon(&what, poll_up_to(Pin::new(&mut call), polls)).await? {
            Some(answer) => answered(answer)?,
            None => kept.push((name, call)),
        }
    }
    Ok(kept)
}

/// Keeps many calls, and demands that others come to their end, and they themselves when they are polled again.
async fn hold_up_no_other(
    context: &Context,
    polls: usize,
    calls: impl Fn(usize) -> Vec<(&'static str, Call)>,
) -> Outcome {
    let kept = keep(context, (0..KEPT).flat_map(&calls).collect(), polls).await?;
    for (name, call) in calls(KEPT).into_iter().chain(kept) {
        answered(context.soon(&format!("the end of `{name}` beside calls that nobody polls"), call).await?)?;
    }
    Ok(())
}

/// Fills a store, for instances that did not see it happen.
async fn fill(context: &Context) -> Outcome {
    let instance = context.open().await?;
    let handles = Handles::of(&instance);
    if let Some(entries) = &handles.entries {
        entries.set(&key("long"), long()).await?;
    }
    if let Some(content) = &handles.content {
        content.add(long()).await?;
    }
    Ok(instance.close().await?)
}

async fn on_entries(context: Context) -> Outcome {
    fill(&context).await?;
    for polls in 1..=POLLS {
        let instance = context.open().await?;
        let entries = instance.entries();
        hold_up_no_other(&context, polls, |number| calls_on_entries(&entries, number)).await?;
        instance.close().await?;
    }
    Ok(())
}

async fn on_content(context: Context) -> Outcome {
    fill(&context).await?;
    for polls in 1..=POLLS {
        let instance = context.open().await?;
        let content = instance.content();
        // Of another round nothing is known.
        let first = polls * 1_000;
        hold_up_no_other(&context, polls, |number| calls_on_content(&content, first + number)).await?;
        instance.close().await?;
    }
    Ok(())
}

fn is_closed(answer: &Result<()>) -> bool {
    answer.as_ref().err().map(Error::kind) == Some(ErrorKind::Closed)
}

async fn beside_a_close(context: Context) -> Outcome {
    fill(&context).await?;
    for polls in 1..=POLLS {
        let instance = context.open().await?;
        let Handles { entries, content } = Handles::of(&instance);
        let calls = |number| {
            let on_entries = entries.iter().flat_map(move |entries| calls_on_entries(entries, number));
            let on_content = content.iter().flat_map(move |content| calls_on_content(content, number));
            on_entries.chain(on_content)
        };
        let kept = keep(&context, (0..KEPT).flat_map(calls).collect(), polls).await?;
        context.soon("the return of `close` beside calls that nobody polls", instance.close()).await??;
        for (name, call) in kept {
            let answer = context.soon(&format!("the end of `{name}`, kept beside a close"), call).await?;
            let ended = is_closed(&answer) || answered(answer.clone()).is_ok();
            ensure!(ended, "`{name}`, under way at a close, came to {answer:?}");
        }
    }
    Ok(())
}
