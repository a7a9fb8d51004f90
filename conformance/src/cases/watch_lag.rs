//! W5 and W11: how late a watch tells a change, against the lag that the backend declares.

use std::{pin::pin, time::Duration};

use store_api::AtomicWrite;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    case::{Case, case},
    context::{Context, key},
    failure::{Failure, Outcome},
    following::{Follower, Scope, State},
    operations::value,
    patience::{Patience, TICK},
};

pub(super) const CASES: &[Case] = &[
    case!("watch/W5-own-changes-are-told-within-the-declared-lag", [Entries], own),
    case!("watch/W11-changes-of-others-are-told-within-the-declared-lag", [Entries, SharedInstances], others),
];

/// What a backend may be late beyond what it declares and a few requests: a thread that waits for its turn.
const ALLOWED: Duration = Duration::from_secs(1);

/// How many requests a backend may be late beyond what it declares: one that is on its way when the change comes, the one
/// that sees it, and one that reads what it saw.
const REQUESTS: u32 = 3;

/// How often a change is told before a backend is late: it is the quickest that counts. One that asks the store every so
/// often takes nearly that long each time, since each change follows on the telling of the one before.
const CHANGES: usize = 4;

/// How late the quickest of some changes was told, without what requests took beside it, by a control timer: while that is
/// late, too, nothing is counted.
async fn quickest(context: &Context, watcher: &dyn AtomicWrite, writer: &dyn AtomicWrite) -> Outcome<Duration> {
    let k = key("k");
    let mut follower = Follower::from_nothing(context, watcher, &Scope::everything()).await?;
    follower.catch_up().await?;
    let mut quickest = Duration::MAX;
    for change in 0..CHANGES {
        writer.set(&k, value(change)).await?;
        let due: State = [(k.clone(), value(change))].into();
        let (late, told) = ticks(context, async {
            while *follower.state() != due {
                follower.read().await?;
            }
            Ok(())
        })
        .await;
        told.map_err(|failure| follower.late(failure))??;
        // A store whose pace changes amid the run is measured by the pace that it has here.
        let (request, found) = ticks(context, async { Ok(watcher.find(&k).await?) }).await;
        found??;
        quickest = quickest.min(late.saturating_sub(request * REQUESTS));
    }
    Ok(quickest)
}

/// How many ticks of the control timer passed until a future was done, as a time, and what it answered, if it was soon.
async fn ticks<T>(context: &Context, future: impl Future<Output = Outcome<T>>) -> (Duration, Outcome<Outcome<T>>) {
    let mut future = pin!(future);
    let mut passed = Duration::ZERO;
    let mut patience = Patience::new(context.patience());
    let mut control = interval(TICK);
    control.set_missed_tick_behavior(MissedTickBehavior::Delay);
    control.tick().await;
    loop {
        tokio::select! {
            biased;
            output = &mut future => return (passed, Ok(output)),
            _ = control.tick() => {
                passed += TICK;
                if let Err(late) = patience.tick("W5: a change is told") {
                    return (passed, Err(late));
                }
            }
        }
    }
}

#[track_caller]
fn expect_within(declared: Duration, quickest: Duration) -> Outcome {
    if quickest <= declared.saturating_add(ALLOWED) {
        return Ok(());
    }
    let late = format!("{CHANGES} changes were told {quickest:?} late or later");
    Err(Failure::broken(format_args!("{late}, where the declared lag is {declared:?}")))
}

async fn own(context: Context) -> Outcome {
    let instance = context.open().await?;
    let quickest = quickest(&context, &*instance.entries(), &*instance.entries()).await?;
    expect_within(context.guarantees().watch_lag.own, quickest)
}

async fn others(context: Context) -> Outcome {
    let Some(declared) = context.guarantees().watch_lag.others else {
        return Err(Failure::broken("W11: it declares that instances share a store, but no lag of their watches"));
    };
    let (watching, writing) = (context.open().await?, context.open().await?);
    let quickest = quickest(&context, &*watching.entries(), &*writing.entries()).await?;
    expect_within(declared, quickest)
}
