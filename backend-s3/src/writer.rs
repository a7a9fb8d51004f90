//! How an entry is written: every write is a conditional PUT upon what was seen of its object, tried until there is a
//! verdict that the object store itself gave.
//!
//! A refusal or a lost answer is no verdict. What happened is in the object: it names the last write of each instance,
//! and so tells whether this one took place (A5). A PUT whose answer was lost may still land later, after this call has ended;
//! then its condition decides. The version that it asks for was that of one write and never comes back: objects are not
//! deleted, and no two writes have the same bytes. So it takes effect if and only if nobody has written since, whole
//! and at most once (A9), and there is no going round from A to B to A.

use std::sync::Arc;

use backend_kit::{Decision, Test, offload};
use bytes::Bytes;
use object_store::PutPayload;
use store_api::{Effect, Error, ErrorKind, Key, Result, TestAndSet};
use tokio::time::{Instant, timeout_at};

use crate::{
    Instance,
    client::{Failure, FailureKind, Version, back_off, owned},
    entries::{State, seal},
    frame::Frame,
    turns::Turn,
};

/// What a write is tried upon.
struct Base {
    state: Arc<State>,
    /// Read since the call began. What is not may be old: it answers nothing (A1).
    is_read: bool,
}

/// What became of a write.
enum Settled {
    /// It took effect.
    Applied,
    /// Another write came before it, so that it never does. This is what is there.
    Overtaken(Arc<State>),
}

/// What an object says about a write that may have happened.
#[derive(Debug, PartialEq, Eq)]
enum Trace {
    /// It is there, or it was, and others followed.
    Landed,
    /// Others followed upon its base: its condition will never hold again.
    Overtaken,
    /// The base is still there: it may yet land.
    Open,
    /// So many other instances followed upon its base that the object does not say.
    Lost,
}

impl Trace {
    fn of(write: &Frame, base: &State, current: &State) -> Self {
        let told = match current {
            State::Kept { frame, .. } => frame.tells_of(write, base.frame()),
            State::Nothing => Some(false),
            State::Rotten { .. } => None,
        };
        match told {
            Some(true) => Self::Landed,
            _ if base.version() == current.version() => Self::Open,
            Some(false) => Self::Overtaken,
            None => Self::Lost,
        }
    }
}

impl Instance {
    /// Waits for the key's turn to be written; its place in the queue is taken by the call itself.
    pub(crate) fn turn(&self, key: &Key, patience: Instant) -> impl Future<Output = Result<Turn>> + Send + use<> {
        let turn = self.turns.take(key);
        async move { timeout_at(patience, turn).await.map_err(|_| contended()) }
    }

    /// Sets or removes an entry, if the test holds. Its writer has the key's turn.
    pub(crate) async fn write_entry(
        &self,
        key: &Key,
        test: &Test,
        set: Option<Bytes>,
        patience: Instant,
    ) -> Result<TestAndSet> {
        let mut base = self.guess(key, test);
        let (mut losses, mut is_rested, mut is_late) = (0, true, false);
        loop {
            self.gate.check()?;
            let tried = match base.take() {
                Some(base) => base,
                None => Base { state: self.entries.read_until(key, patience).await?, is_read: true },
            };
            match decide(test, &tried.state, set.as_ref()).await {
                Ok(Decision::Replace) if is_late => return Err(contended()),
                Ok(Decision::Replace) => {}
                _ if !tried.is_read => continue,
                Ok(Decision::Unchanged) => return Ok(TestAndSet::Applied),
                Ok(Decision::Mismatch) => return Ok(TestAndSet::Mismatch { current: tried.state.value()?.cloned() }),
                Err(error) => return Err(error),
            }
            if !is_rested {
                back_off(losses).await;
                is_rested = true;
                continue;
            }
            match self.replace(key, &tried, set.clone(), patience).await? {
                Settled::Applied => return Ok(TestAndSet::Applied),
                // What came before may be a verdict.
                Settled::Overtaken(state) => base = Some(Base { state, is_read: true }),
            }
            // The first loss is mostly that of an old guess. Then there are others, who need not come back all at once.
            losses += 1;
            is_rested = losses == 1;
            is_late = Instant::now() >= patience;
        }
    }

    /// What to try a write upon without a read.
    fn guess(&self, key: &Key, test: &Test) -> Option<Base> {
        let state = self.entries.guess(key, matches!(test, Test::Is(None)))?;
        Some(Base { state, is_read: false })
    }

    async fn replace(&self, key: &Key, base: &Base, set: Option<Bytes>, patience: Instant) -> Result<Settled> {
        let write = base.state.next(self.writer, set)?;
        let payload = seal(key, &write).await?;
        let settled = self.put_and_settle(key, base, &write, &payload, patience).await;
        if settled.is_err() {
            self.entries.forget(key);
        }
        settled
    }

    async fn put_and_settle(
        &self,
        key: &Key,
        base: &Base,
        write: &Frame,
        payload: &PutPayload,
        patience: Instant,
    ) -> Result<Settled> {
        let mut doubt = Doubt::default();
        for attempt in 1.. {
            self.gate.check().map_err(|closed| closed.with_effect(doubt.effect()))?;
            let failure = match self.entries.put(key, payload.clone(), &base.state).await {
                Ok(version) => return Ok(self.applied(key, base, write.clone(), version)),
                Err(failure) => failure,
            };
            doubt.add(&failure)?;
            let current = self.entries.read_until(key, patience).await;
            match current.as_ref().map(|current| Trace::of(write, &base.state, current)) {
                Ok(Trace::Landed) => return Ok(self.landed(key, base, &current?)),
                Ok(Trace::Overtaken) => return Ok(Settled::Overtaken(current?)),
                // What rotted is repaired, whoever wrote it.
                Ok(Trace::Lost) if !doubt.is_ambiguous && current.as_ref().is_ok_and(|current| current.is_rotten()) => {
                    return Ok(Settled::Overtaken(current?));
                }
                // Also when the request was refused: something on the way may have sent it twice, so that this is the
                // answer to the second.
                Ok(Trace::Lost) => return Err(failure.into_error(Effect::Unknown)),
                Ok(Trace::Open) if Instant::now() < patience => back_off(attempt).await,
                Err(_) if doubt.was_sent && Instant::now() < patience => back_off(attempt).await,
                Ok(Trace::Open) | Err(_) => return Err(failure.into_error(doubt.effect())),
            }
        }
        unreachable!("the loop ends by its returns")
    }

    /// Notes and tells what this instance wrote.
    fn applied(&self, key: &Key, base: &Base, mut frame: Frame, version: Version) -> Settled {
        frame.value = frame.value.map(owned);
        self.landed(key, base, &Arc::new(State::Kept { version, frame }))
    }

    fn landed(&self, key: &Key, base: &Base, current: &Arc<State>) -> Settled {
        self.entries.note(key, current);
        self.observer.wrote(key, current, base.state.version());
        Settled::Applied
    }
}

/// What may have become of the requests of one write.
#[derive(Default)]
struct Doubt {
    was_sent: bool,
    is_ambiguous: bool,
}

impl Doubt {
    /// Another request failed. An error that settles nothing and does not pass is the end.
    fn add(&mut self, failure: &Failure) -> Result<()> {
        match failure.kind {
            FailureKind::NotSent => {}
            FailureKind::Refused | FailureKind::Conflict => self.was_sent = true,
            FailureKind::Ambiguous => {
                self.was_sent = true;
                self.is_ambiguous = true;
            }
            _ => return Err(failure.clone().into_error(self.effect())),
        }
        Ok(())
    }

    fn effect(&self) -> Effect {
        if self.was_sent { Effect::Unknown } else { Effect::NotApplied }
    }
}

/// Comparing long values takes long.
async fn decide(test: &Test, state: &Arc<State>, set: Option<&Bytes>) -> Result<Decision> {
    if !test.is_long(set) {
        return decide_in_place(test, state, set);
    }
    let (test, state, set) = (test.clone(), Arc::clone(state), set.cloned());
    offload(move || decide_in_place(&test, &state, set.as_ref())).await?
}

/// An entry that rotted is compared with nothing, and may be replaced (A12).
fn decide_in_place(test: &Test, state: &State, set: Option<&Bytes>) -> Result<Decision> {
    if let (Test::Any, State::Rotten { .. }) = (test, state) {
        return Ok(Decision::Replace);
    }
    let current = state.value()?.map(|value| &value[..]);
    Ok(Decision::of(test, current, set.map(|value| &value[..])))
}

fn contended() -> Error {
    Error::new(ErrorKind::Unavailable, "others write this key all the time; try again")
}
