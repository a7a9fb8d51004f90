//! L3: what is under way when a handle or an instance is closed.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, join_all},
};
use store_api::{Effect, Error, ErrorKind, Result};
use tokio::task::yield_now;

use crate::{
    case::{Case, case},
    clients::{all, both},
    context::Context,
    failure::{Failure, Outcome, ensure},
    handles::{Handles, Write},
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

/// Writes, some at a time, until a write is `Closed`.
async fn write_until_closed(handles: Arc<Handles>, client: usize, closed: Arc<AtomicBool>) -> Outcome<Known> {
    let mut known = Vec::new();
    for round in 0.. {
        let after = closed.load(Ordering::SeqCst);
        let writes = handles.writes(client, round);
        let answers = join_all(writes.iter().map(|write| handles.write(write))).await;
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
async fn read_until_closed(handles: Arc<Handles>, there: Vec<Write>, closed: Arc<AtomicBool>) -> Outcome<Known> {
    for write in there.iter().cycle() {
        let after = closed.load(Ordering::SeqCst);
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

/// Lets `close` fall among the reads and writes of several clients, and gives what they know of what they wrote.
pub(super) async fn close_amid(
    context: &Context,
    round: usize,
    handles: Handles,
    close: impl FnOnce(Arc<Handles>) -> BoxFuture<'static, Outcome>,
) -> Outcome<Known> {
    const WRITERS: usize = 2;
    let yields = fastrand::Rng::with_seed(context.seed().wrapping_add(round as u64)).usize(..200);
    let (handles, closed) = (Arc::new(handles), Arc::new(AtomicBool::new(false)));
    let there = handles.writes(round * (WRITERS + 1), 0);
    for write in &there {
        handles.write(write).await?;
    }
    let mut clients: Vec<BoxFuture<'static, Outcome<Known>>> = Vec::new();
    clients.push(read_until_closed(Arc::clone(&handles), there, Arc::clone(&closed)).boxed());
    for writer in 1..=WRITERS {
        let client = round * (WRITERS + 1) + writer;
        clients.push(write_until_closed(Arc::clone(&handles), client, Arc::clone(&closed)).boxed());
    }
    let (context, close) = (context.clone(), close(handles));
    let closing = async move {
        for _ in 0..yields {
            yield_now().await;
        }
        let done = context.soon("the return of `close` amid operations", close).await;
        closed.store(true, Ordering::SeqCst);
        done?
    };
    let ((), known) = both(closing, all(clients)).await?;
    Ok(Known(known.into_iter().flat_map(|known| known.0).collect()))
}

async fn in_flight_at_the_close_of_a_handle(context: Context) -> Outcome {
    let instance = context.open().await?;
    let mut known = Vec::new();
    for round in 0..context.rounds(10) {
        let handles = Handles::of(&instance);
        known.push(close_amid(&context, round, handles, |handles| async move { handles.close().await }.boxed()).await?);
    }
    // What was under way has come to its end.
    instance.sync().await?;
    for known in known {
        known.ensure(&Handles::of(&instance), "another handle").await?;
    }
    Ok(())
}

async fn in_flight_at_the_close_of_an_instance(context: Context) -> Outcome {
    let observer = Handles::of(&context.open().await?);
    for round in 0..context.rounds(5) {
        let instance = context.open().await?;
        let handles = Handles::of(&instance);
        let close = |_| async move { Ok(instance.close().await?) }.boxed();
        let known = close_amid(&context, round, handles, close).await?;
        known.ensure(&observer, "another instance").await?;
    }
    Ok(())
}
