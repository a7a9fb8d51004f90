//! How the watches of this instance hear of changes: its own as they commit, those of other processes from the log.
//!
//! The hub wants, per key, an unbroken chain of changes. A mirror of the watched keys, with the sequence number that was
//! last fed of each, makes one of what the log says: the log has the keys that changed and not what they were.

mod mirror;

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError},
    thread,
    time::Duration,
};

use backend_kit::{Gate, Hub, Priming, Scope, Wakers, offload};
use bytes::Bytes;
use store_api::{Error, ErrorKind, Init, Key, Result};
use tokio::sync::watch;

use self::mirror::Mirror;
use crate::connection::Location;

/// A change that this instance committed.
pub(crate) enum Fed {
    Changed { key: Key, seq: u64, prior: Option<Prior>, new: Option<Bytes> },
    Cleared { seq: u64 },
}

/// What an entry was before a change: the sequence number of its last change, and the value where it is known.
pub(crate) struct Prior {
    pub(crate) seq: u64,
    pub(crate) value: Option<Bytes>,
}

pub(crate) struct Observer {
    hub: Arc<Hub>,
    poll: Duration,
    busy: Duration,
    mirror: Mutex<Mirror>,
    poller: Mutex<Poller>,
    poller_changed: Condvar,
    // Behind the connection: a temporary file is removed when it is closed.
    location: Arc<Location>,
}

/// What the poller's thread is told.
#[derive(Default)]
struct Poller {
    /// Turns to `true`, or is closed, when the thread has ended; `None` before it was started.
    ended: Option<watch::Receiver<bool>>,
    stopped: bool,
    /// Look at once.
    nudged: bool,
}

impl Observer {
    pub(crate) fn new(location: Arc<Location>, hub: Arc<Hub>, poll: Duration, busy: Duration) -> Self {
        Self {
            location,
            hub,
            poll,
            busy,
            mirror: Mutex::default(),
            poller: Mutex::default(),
            poller_changed: Condvar::new(),
        }
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.hub.is_watched()
    }

    /// Tells what this instance committed, in the order of the commits: who is to be woken.
    ///
    /// A commit does not wait for a watch that begins, nor for the poller: what is not fed here is in the log, and the
    /// poller is asked to read it.
    pub(crate) fn feed(&self, fed: Vec<Fed>) -> Wakers {
        if fed.is_empty() || !self.hub.is_watched() {
            return Wakers::default();
        }
        let mut mirror = match self.mirror.try_lock() {
            Ok(mirror) => mirror,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                self.nudge();
                return Wakers::default();
            }
        };
        mirror.feed(&self.hub, fed)
    }

    /// Begins a watch. It reads the store: call it on a thread that may block.
    ///
    /// The mirror is brought up to date first, and the watch registered before anything else can be fed: so its baseline
    /// is the state of one snapshot, and what is fed next is not in it (W1, W2).
    pub(crate) fn register(
        self: &Arc<Self>,
        handle: &Arc<Gate>,
        scope: &Scope,
        init: Init<Vec<(Key, Bytes)>>,
    ) -> Result<Priming> {
        // Before the snapshot: a commit behind it sees that somebody watches, and is fed or read from the log.
        let prepared = self.hub.prepare(handle, scope.clone(), init)?;
        self.start_poller()?;
        let mut wakers = Wakers::default();
        let mut mirror = self.mirror();
        let registered = mirror.in_snapshot(self, |mirror, snapshot| {
            mirror.catch_up(&self.hub, snapshot, &mut wakers)?;
            mirror.cover(snapshot, scope)?;
            let priming = prepared.register()?;
            if priming.wants_current_state() {
                snapshot.entries_in(scope, |key, seq, value| priming.offer(&key, seq, value))?;
            }
            Ok(priming)
        });
        drop(mirror);
        wakers.wake();
        registered
    }

    fn start_poller(self: &Arc<Self>) -> Result<()> {
        let mut poller = self.poller();
        if poller.stopped {
            return Err(Error::closed());
        }
        poller.nudged = true;
        self.poller_changed.notify_one();
        if poller.ended.is_some() {
            return Ok(());
        }
        let observer = Arc::clone(self);
        let (ending, ended) = watch::channel(false);
        let run = move || {
            observer.run_poller();
            // A temporary store goes with its last owner, which is not to be a thread that nobody waits for.
            drop(observer);
            // Receivers that are gone wait for nothing.
            let _ = ending.send(true);
        };
        thread::Builder::new()
            .name("irminsul-poll".into())
            .spawn(run)
            .map_err(|error| Error::new(ErrorKind::Other, "no thread could be started").with_source(error))?;
        poller.ended = Some(ended);
        Ok(())
    }

    fn nudge(&self) {
        self.poller().nudged = true;
        self.poller_changed.notify_one();
    }

    /// Ends the poller's thread, without waiting for it.
    pub(crate) fn stop(&self) {
        self.poller().stopped = true;
        self.poller_changed.notify_one();
    }

    /// Ends the poller's thread, and closes the connection.
    pub(crate) async fn close(self: &Arc<Self>) {
        self.stop();
        let ended = self.poller().ended.clone();
        if let Some(mut ended) = ended {
            // An error means that the thread is gone without saying so, which is an end too.
            let _ = ended.wait_for(|ended| *ended).await;
        }
        // A watch may be about to begin, and holds the mirror while it reads.
        let observer = Arc::clone(self);
        let closed = offload(move || observer.mirror().close()).await;
        if closed.is_err() {
            self.mirror().close();
        }
    }

    fn run_poller(&self) {
        let mut well = true;
        while self.wait_for_poll() {
            let looked = self.look();
            // A fault is told once; the watches go on, and catch up when it has passed (W10).
            if let Err(error) = &looked
                && well
            {
                self.hub.fault(error).wake();
            }
            well = looked.is_ok();
        }
        self.mirror().connection = None;
    }

    /// Waits for the next look; `false` when there is none.
    fn wait_for_poll(&self) -> bool {
        let mut poller = self.poller();
        loop {
            if poller.stopped {
                return false;
            }
            if std::mem::take(&mut poller.nudged) {
                return true;
            }
            let (woken, over) = if self.hub.is_watched() {
                let waited = self.poller_changed.wait_timeout(poller, self.poll);
                let (poller, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                (poller, timeout.timed_out())
            } else {
                (self.poller_changed.wait(poller).unwrap_or_else(PoisonError::into_inner), false)
            };
            poller = woken;
            if over && !poller.stopped {
                return true;
            }
        }
    }

    /// Feeds what other instances committed.
    fn look(&self) -> Result<()> {
        let mut wakers = Wakers::default();
        let mut mirror = self.mirror();
        let looked = if self.hub.is_watched() {
            mirror.look(self, &mut wakers)
        } else {
            mirror.forget();
            Ok(())
        };
        drop(mirror);
        wakers.wake();
        looked
    }

    fn mirror(&self) -> MutexGuard<'_, Mirror> {
        self.mirror.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poller(&self) -> MutexGuard<'_, Poller> {
        self.poller.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
