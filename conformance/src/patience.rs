//! Waiting for what must happen, without accusing a backend of a machine that is slow.

use std::{
    collections::BTreeSet,
    io::{self, Write},
    path::PathBuf,
    pin::pin,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    failure::{Failure, Outcome, demanded_here},
    lock::lock,
};

/// How often the control timer fires.
pub(crate) const TICK: Duration = Duration::from_millis(20);

/// After which a wait that got nowhere says nothing: so many times the patience, by the clock.
const STARVED: u32 = 20;

/// A disk that takes so long for one page is too busy to accuse a backend on it.
const SLOW_SYNC: Duration = Duration::from_secs(1);

/// How much of a patience is used up, told by a control timer.
///
/// The ticks that came are counted, and not the time: a machine that keeps the timer waiting may keep the backend waiting,
/// too. Where the ticks hardly come at all the wait is
/// given up without a verdict.
///
/// A disk may be busy while the timer is on time. So at the end, and only there, since it costs the disk something, a page is
/// synced: where that is slow, too, there is no verdict.
#[derive(Debug)]
pub(crate) struct Patience {
    limit: Duration,
    used: Duration,
    began: Instant,
}

impl Patience {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, used: Duration::ZERO, began: Instant::now() }
    }

    /// Counts a tick of the control timer; the failure where that was the last.
    #[track_caller]
    pub(crate) fn tick(&mut self, what: &str) -> Outcome {
        self.used = self.used.saturating_add(TICK);
        if self.used >= self.limit {
            return Err(self.used_up(what, &control_sync()));
        }
        if self.began.elapsed() >= self.limit.saturating_mul(STARVED) {
            return Err(Failure::inconclusive(format_args!("the machine was too slow to wait for: {what}")));
        }
        Ok(())
    }

    #[track_caller]
    fn used_up(&self, what: &str, control: &io::Result<Duration>) -> Failure {
        match control {
            Ok(took) if *took < SLOW_SYNC => Failure::broken(format_args!("not within {:?}: {what}", self.limit)),
            Ok(took) => Failure::inconclusive(format_args!("the disk took {took:?} to sync a page, beside: {what}")),
            Err(error) => Failure::inconclusive(format_args!("the disk takes no page ({error}), beside: {what}")),
        }
    }
}

/// A directory on each of the disks that the stores of this process are on.
static DISKS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Accuses nobody on this disk while it is slow.
pub(crate) fn heed_disk(directory: PathBuf) {
    lock(&DISKS).insert(directory);
}

/// How long the slowest of the disks takes to keep a page.
fn control_sync() -> io::Result<Duration> {
    let disks = lock(&DISKS).clone();
    disks.iter().try_fold(Duration::ZERO, |slowest, directory| {
        let began = Instant::now();
        let mut file = tempfile::tempfile_in(directory)?;
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        Ok(slowest.max(began.elapsed()))
    })
}

/// Waits for what may take long, as long as it goes on: from one step to the next it has the whole patience.
#[track_caller]
pub(crate) fn steadily<T>(
    limit: Duration,
    what: &str,
    steps: &AtomicUsize,
    future: impl Future<Output = T>,
) -> impl Future<Output = Outcome<T>> {
    demanded_here(async move {
        let mut future = pin!(future);
        loop {
            let before = steps.load(Ordering::Relaxed);
            match soon(limit, what, &mut future).await {
                Err(_) if steps.load(Ordering::Relaxed) != before => {}
                waited => return waited,
            }
        }
    })
}

/// Waits for what must happen.
#[track_caller]
pub(crate) fn soon<T>(
    limit: Duration,
    what: &str,
    future: impl Future<Output = T>,
) -> impl Future<Output = Outcome<T>> {
    demanded_here(async move {
        // It is polled when it asks to be, not when the control timer fires: a wake that is lost must not go unnoticed.
        let mut future: FuturesUnordered<_> = [future].into_iter().collect();
        let mut patience = Patience::new(limit);
        let mut control = interval(TICK);
        control.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                Some(output) = future.next() => return Ok(output),
                _ = control.tick() => patience.tick(what)?,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;
    use crate::failure::Kind;

    #[tokio::test(start_paused = true)]
    async fn there_is_no_limit_that_is_too_long() {
        let comes = soon(Duration::MAX, "what comes", tokio::time::sleep(3 * TICK)).await;
        assert!(comes.is_ok());
    }

    #[test]
    fn nobody_is_accused_of_a_disk_that_is_slow_or_full() {
        let patience = Patience::new(Duration::ZERO);
        let kind = |control| patience.used_up("what never comes", &control).kind();
        assert_eq!(kind(Ok(SLOW_SYNC)), Kind::Inconclusive);
        assert_eq!(kind(Err(io::ErrorKind::StorageFull.into())), Kind::Inconclusive);
        assert_eq!(kind(Ok(Duration::ZERO)), Kind::Broken);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_waited_for_is_demanded_where_the_wait_is_asked_for() {
        let here = line!() + 1;
        let late = soon(Duration::from_millis(100), "what never comes", pending::<()>()).await;
        let late = late.expect_err("it never comes").into_inner();
        assert_eq!(late.location, format!("{}:{here}", file!()));
    }
}
