//! L3: what is under way when a handle or an instance is closed.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use futures_util::{
    FutureExt, TryFutureExt,
    future::{BoxFuture, join_all},
};
use store_api::{Effect, Error, ErrorKind, Result};
use tokio::task::yield_now;

use crate::{
    case::{Case, case},
    clients::{all, both, is_given_up},
    context::Context,
    failure::{Failure, Outcome, ensure},
    handles::{Handles, Write},
    luck::{Hopes, Luck},
};

pub(super) const CASES: &[Case] = &[
    case!("handle/L3-in-flight-at-the-close-of-a-handle", [], in_flight_at_the_close_of_a_handle),
    case!("handle/L3-in-flight-at-the-close-of-an-instance", [SharedInstances], in_flight_at_the_close_of_an_instance),
];

/// What clients know of their writes when a close fell among them: what was acknowledged, and how the rest was refused.
pub(super) struct Known(Vec<(Write, Result<()>)>);

impl Known {
    /// Demands of a store that what was acknowledged is there, and that what was not applied is not.
    pub(super) async fn ensure(&self, handles: &Handles, who: &str) -> Outcome {
        for (write, answer) in &self.0 {
            match answer {
                Ok(()) => {
                    ensure!(handles.has(write).await?, "{who} lacks {write:?}, which was acknowledged beside a close");
                }
                Err(error) if error.effect() == Effect::NotApplied => {
                    let there = handles.has(write).await?;
                    ensure!(!there, "{who} has {write:?}, which was refused beside a close as not applied: {error}");
                }
                // A service may take it up while it is looked for (A9).
                Err(_) => {}
            }
        }
        Ok(())
    }
}

fn is_closed(error: &Error) -> bool {
    error.kind() == ErrorKind::Closed
}

/// How far a close is that falls among operations.
struct Close {
    /// How many writes were answered before it.
    answered: AtomicUsize,
    /// Whether nobody is to wait for more of them: who writes or reads has failed.
    given_up: AtomicBool,
    begun: AtomicBool,
    done: AtomicBool,
    /// Counts the writes that were under way when it began.
    luck: Arc<Luck>,
}

/// Writes, some at a time, until a write is `Closed`.
async fn write_until_closed(handles: Arc<Handles>, client: usize, close: Arc<Close>) -> Outcome<Known> {
    let mut known = Vec::new();
    for round in 0.. {
        let (before, after) = (!close.begun.load(Ordering::SeqCst), close.done.load(Ordering::SeqCst));
        let writes = handles.writes(client, round);
        let answers = join_all(writes.iter().map(|write| handles.write(write))).await;
        if before && close.begun.load(Ordering::SeqCst) {
            close.luck.meet();
        }
        close.answered.fetch_add(1, Ordering::SeqCst);
        let end = answers.iter().any(|answer| answer.as_ref().is_err_and(is_closed));
        for (write, answer) in writes.into_iter().zip(answers) {
            match &answer {
                Err(error) if !is_closed(error) && !error.is_retryable() => return Err(error.clone().into()),
                Ok(()) if after => {
                    return Err(Failure::broken(format_args!("L1: {write:?} succeeds after `close` has returned")));
                }
                _ => known.push((write, answer)),
            }
        }
        if end {
            break;
        }
    }
    Ok(Known(known))
}

/// Reads what is there until a read is `Closed`.
async fn read_until_closed(handles: Arc<Handles>, there: Vec<Write>, close: Arc<Close>) -> Outcome<Known> {
    for write in there.iter().cycle() {
        let after = close.done.load(Ordering::SeqCst);
        match handles.read(write).await {
            Ok(_) if after => return Err(Failure::broken("L1: a read succeeds after `close` has returned")),
            Ok(read) => ensure!(read, "A11: a read beside a close says that {write:?} is absent"),
            Err(error) if is_closed(&error) => break,
            Err(error) if error.is_retryable() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Known(Vec::new()))
}

/// How often writes are to be under way when a close begins.
pub(super) const IN_FLIGHT: Hopes = Hopes { floor: 5, enough: 10, rounds: [10, 100] };
pub(super) const IN_FLIGHT_AND_REOPENED: Hopes = Hopes { floor: 3, enough: 5, rounds: [5, 50] };

pub(super) fn judge(luck: &Luck) -> Outcome {
    luck.judge("writes were under way when a close began")
}

/// Lets `close` fall among the reads and writes of several clients, and gives what they know of what they wrote.
pub(super) async fn close_amid(
    context: &Context,
    luck: &Arc<Luck>,
    round: usize,
    handles: Handles,
    close: impl FnOnce(Arc<Handles>) -> BoxFuture<'static, Outcome>,
) -> Outcome<Known> {
    const WRITERS: usize = 2;
    let after = fastrand::Rng::with_seed(context.seed().wrapping_add(round as u64)).usize(1..20);
    let [given_up, begun, done] = [false; 3].map(AtomicBool::new);
    let closing = Close { answered: AtomicUsize::new(0), given_up, begun, done, luck: Arc::clone(luck) };
    let (handles, closing) = (Arc::new(handles), Arc::new(closing));
    let there = handles.writes(round * (WRITERS + 1), 0);
    for write in &there {
        handles.write(write).await?;
    }
    let mut clients: Vec<BoxFuture<'static, Outcome<Known>>> = Vec::new();
    let gives_up = Arc::clone(&closing);
    clients.push(read_until_closed(Arc::clone(&handles), there, Arc::clone(&closing)).boxed());
    for writer in 1..=WRITERS {
        let client = round * (WRITERS + 1) + writer;
        clients.push(write_until_closed(Arc::clone(&handles), client, Arc::clone(&closing)).boxed());
    }
    let clients = clients.into_iter().map(move |client| {
        let closing = Arc::clone(&gives_up);
        client.inspect_err(move |_| closing.given_up.store(true, Ordering::SeqCst))
    });
    let (context, close) = (context.clone(), close(handles));
    let closes = async move {
        let is_over = || closing.given_up.load(Ordering::SeqCst) || is_given_up();
        while closing.answered.load(Ordering::SeqCst) < after && !is_over() {
            yield_now().await;
        }
        closing.begun.store(true, Ordering::SeqCst);
        let done = context.soon("the return of `close` amid operations", close).await;
        closing.done.store(true, Ordering::SeqCst);
        done?
    };
    let ((), known) = both(closes, all(clients)).await?;
    Ok(Known(known.into_iter().flat_map(|known| known.0).collect()))
}

async fn in_flight_at_the_close_of_a_handle(context: Context) -> Outcome {
    let instance = context.open().await?;
    let mut known = Vec::new();
    let luck = context.luck(IN_FLIGHT);
    for round in luck.rounds() {
        let close = |handles: Arc<Handles>| async move { handles.close().await }.boxed();
        known.push(close_amid(&context, &luck, round, Handles::of(&instance), close).await?);
    }
    // What was under way has come to its end.
    instance.sync().await?;
    for known in known {
        known.ensure(&Handles::of(&instance), "another handle").await?;
    }
    judge(&luck)
}

async fn in_flight_at_the_close_of_an_instance(context: Context) -> Outcome {
    let observer = Handles::of(&context.open().await?);
    let luck = context.luck(IN_FLIGHT_AND_REOPENED);
    for round in luck.rounds() {
        let instance = context.open().await?;
        let handles = Handles::of(&instance);
        let close = |_| async move { Ok(instance.close().await?) }.boxed();
        let known = close_amid(&context, &luck, round, handles, close).await?;
        known.ensure(&observer, "another instance").await?;
    }
    judge(&luck)
}
