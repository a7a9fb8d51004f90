//! Waiting for what must happen, without accusing a backend of a machine that is slow.

use std::{
    collections::BTreeSet,
    fs,
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

/// Begins what is said of what took too long.
const LATE: &str = "not within ";

/// Whether a reason says that something took too long.
#[cfg(feature = "broken-stores")]
pub(crate) fn is_of_patience(reason: &str) -> bool {
    reason.contains(LATE)
}

/// How often the control timer fires.
pub(crate) const TICK: Duration = Duration::from_millis(20);

/// After which a wait that got nowhere says nothing: so many times the patience, by the clock.
const STARVED: u32 = 20;

/// A disk that takes so long for one page is too busy to accuse a backend on it.
const SLOW_SYNC: Duration = Duration::from_secs(1);

/// So much processor time the controlling thread uses up at the end of a wait; where it takes so long until it was given
/// that, the cores are too busy to accuse a backend that computes beside it.
const COMPUTING: Duration = Duration::from_millis(20);
const SLOW_COMPUTING: Duration = Duration::from_millis(200);

/// How much of a patience is used up, told by a control timer.
///
/// The ticks that came are counted, and not the time: a machine that keeps the timer waiting may keep the backend waiting,
/// too. Where the ticks hardly come at all the wait is
/// given up without a verdict.
///
/// Cores and disk may be busy while the timer is on time: who sleeps most of the time is woken before those that compute. So
/// at the end, and only there, since it costs something, the thread computes for a moment, and a page is synced: where one
/// of these is slow, too, there is no verdict.
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
            return Err(self.used_up(what, control_computing(), control_sync));
        }
        if self.began.elapsed() >= self.limit.saturating_mul(STARVED) {
            return Err(Failure::inconclusive(format_args!("the machine was too slow to wait for: {what}")));
        }
        Ok(())
    }

    #[track_caller]
    fn used_up(&self, what: &str, computing: Duration, sync: impl FnOnce() -> io::Result<Duration>) -> Failure {
        if computing >= SLOW_COMPUTING {
            let control = format_args!("{computing:?} passed until a thread had {COMPUTING:?} of a core");
            return Failure::inconclusive(format_args!("{control}, beside: {what}"));
        }
        match sync() {
            Ok(took) if took < SLOW_SYNC => Failure::broken(format_args!("{LATE}{:?}: {what}", self.limit)),
            Ok(took) => Failure::inconclusive(format_args!("the disk took {took:?} to sync a page, beside: {what}")),
            Err(error) => Failure::inconclusive(format_args!("the disk takes no page ({error}), beside: {what}")),
        }
    }
}

/// How long it takes until this thread was given a moment of a core; nothing where the system does not tell.
fn control_computing() -> Duration {
    /// A count that stands still is not waited for.
    const LONGEST: Duration = Duration::from_secs(2);
    let began = Instant::now();
    let Some(before) = computed() else { return Duration::ZERO };
    let used = || computed().unwrap_or_default().saturating_sub(before);
    while began.elapsed() < LONGEST && used() < COMPUTING {}
    // A count that stands still tells nothing.
    if used().is_zero() { Duration::ZERO } else { began.elapsed() }
}

/// How much processor time this thread has had, where the system counts that.
fn computed() -> Option<Duration> {
    let counted = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanos = counted.split_whitespace().next()?.parse().ok()?;
    (nanos > 0).then(|| Duration::from_nanos(nanos))
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
        let kind = |control| patience.used_up("what never comes", Duration::ZERO, || control).kind();
        assert_eq!(kind(Ok(SLOW_SYNC)), Kind::Inconclusive);
        assert_eq!(kind(Err(io::ErrorKind::StorageFull.into())), Kind::Inconclusive);
        assert_eq!(kind(Ok(Duration::ZERO)), Kind::Broken);
    }

    #[test]
    fn nobody_is_accused_of_cores_that_are_busy() {
        let patience = Patience::new(Duration::ZERO);
        let kind = |computing| patience.used_up("what never comes", computing, || Ok(Duration::ZERO)).kind();
        assert_eq!(kind(SLOW_COMPUTING), Kind::Inconclusive);
        assert_eq!(kind(COMPUTING), Kind::Broken);
    }

    #[cfg(feature = "broken-stores")]
    #[test]
    fn what_took_too_long_is_told_from_other_failures() {
        let late = Patience::new(Duration::ZERO).used_up("a change", Duration::ZERO, || Ok(Duration::ZERO));
        assert!(is_of_patience(&late.within("step 3").to_string()));
        assert!(!is_of_patience("W4: 3 told after 4"));
    }

    #[test]
    fn a_moment_of_a_core_takes_that_long_by_the_clock() {
        /// The count is as old as the last time that the scheduler looked at the thread.
        const OLD: Duration = Duration::from_millis(15);
        let took = control_computing();
        assert!(took.is_zero() || took + OLD >= COMPUTING, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_waited_for_is_demanded_where_the_wait_is_asked_for() {
        let here = line!() + 1;
        let late = soon(Duration::from_millis(100), "what never comes", pending::<()>()).await;
        let late = late.expect_err("it never comes").into_inner();
        assert_eq!(late.location, format!("{}:{here}", file!()));
    }
}
