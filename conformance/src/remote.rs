//! The entries of a store, as another process has it open: what is called here is called there, and answered back. So a
//! call is recorded before it is sent, and a return after the answer came, which is as sound as calling the store here.

use std::{
    sync::Mutex,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use store_api::{
    AtomicWrite, Effect, EntryRead, EntryStream, Error, ErrorKind, Init, Key, KeyStream, Result, TestAndSet, Watch,
    WatchId,
};

use crate::{
    child::{Child, hear, say},
    context::key,
    failure::{Failure, Kind, Outcome},
    lock::lock,
    operations::value,
    roles::Cue,
};

/// The role of the other process: to do what it hears.
pub(crate) async fn serve(cue: Cue) -> Outcome {
    let instance = cue.open().await?;
    let entries = instance.entries();
    say(SERVING);
    loop {
        let call: Call = serde_json::from_str(&hear()).map_err(Failure::harness)?;
        let answer = call.answer(&*entries).await.or_else(|error| {
            let unknown = error.effect() == Effect::Unknown;
            if error.is_retryable() { Ok(Answer::Unavailable { unknown }) } else { Err(error) }
        })?;
        say(serde_json::to_string(&answer).map_err(Failure::harness)?);
    }
}

const SERVING: &str = "serving";

/// A call, with values that are texts.
#[derive(Serialize, Deserialize)]
enum Call {
    Mem(String),
    Find(String),
    Set(String, String),
    TestAndSet(String, Option<String>, Option<String>),
    Remove(String),
    Clear,
}

#[derive(Serialize, Deserialize)]
enum Answer {
    Mem(bool),
    Found(Option<String>),
    Done,
    Applied,
    Mismatch(Option<String>),
    /// An error that may pass by itself; all others end the other process.
    Unavailable {
        unknown: bool,
    },
}

impl Call {
    async fn answer(self, entries: &dyn AtomicWrite) -> Result<Answer> {
        Ok(match self {
            Self::Mem(at) => Answer::Mem(entries.mem(&key(at)).await?),
            Self::Find(at) => Answer::Found(texts(entries.find(&key(at)).await?.as_ref())),
            Self::Set(at, set) => {
                entries.set(&key(at), value(set)).await?;
                Answer::Done
            }
            Self::TestAndSet(at, test, set) => {
                match entries.test_and_set(&key(at), test.map(value), set.map(value)).await? {
                    TestAndSet::Applied => Answer::Applied,
                    TestAndSet::Mismatch { current } => Answer::Mismatch(texts(current.as_ref())),
                }
            }
            Self::Remove(at) => {
                entries.remove(&key(at)).await?;
                Answer::Done
            }
            Self::Clear => {
                entries.clear().await?;
                Answer::Done
            }
        })
    }
}

fn text(value: &Bytes) -> String {
    String::from_utf8_lossy(value).into_owned()
}

fn texts(value: Option<&Bytes>) -> Option<String> {
    value.map(text)
}

/// The other process, on this side.
pub(crate) struct Remote {
    child: Mutex<Child>,
    /// Why it answers no more.
    failure: Mutex<Option<Failure>>,
}

impl Remote {
    /// Waits until a child that plays [`serve`] has the store open.
    pub(crate) fn new(mut child: Child) -> Outcome<Self> {
        child.until(SERVING)?;
        Ok(Self { child: Mutex::new(child), failure: Mutex::new(None) })
    }

    /// The failure that it ended with, if it did.
    pub(crate) fn ended(&self) -> Outcome {
        lock(&self.failure).clone().map_or(Ok(()), Err)
    }

    /// How that ended which was asked of it: where it does not answer any more, why it does not.
    pub(crate) fn answered<T>(&self, asked: Outcome<T>) -> Outcome<T> {
        self.ended()?;
        asked
    }

    /// Kills it after a while, whatever it does then.
    pub(crate) fn kill_within(&self, moment: Duration) -> JoinHandle<Outcome> {
        let killer = lock(&self.child).killer();
        std::thread::spawn(move || {
            let began = Instant::now();
            while began.elapsed() < moment {
                std::hint::spin_loop();
            }
            killer.kill()
        })
    }

    /// Demands that it ended, and with it what was asked of it, since it was killed.
    pub(crate) fn was_killed(&self, asked: Outcome) -> Outcome {
        match (asked, self.ended()) {
            // Its end accuses nobody: the system might have killed it.
            (Err(_), Err(end)) if end.kind() == Kind::Inconclusive => Ok(()),
            (_, Err(end)) => Err(end),
            (asked, Ok(())) => asked.and_then(|()| Err(Failure::harness("a process that was killed answers"))),
        }
    }

    fn ask(&self, call: &Call) -> Result<Answer> {
        let asked = || {
            let line = serde_json::to_string(call).map_err(Failure::harness)?;
            let mut child = lock(&self.child);
            child.tell(&line)?;
            serde_json::from_str(&child.line()?).map_err(Failure::harness)
        };
        match asked() {
            Ok(Answer::Unavailable { unknown }) => {
                let effect = if unknown { Effect::Unknown } else { Effect::NotApplied };
                Err(Error::new(ErrorKind::Unavailable, "another process was told to try again").with_effect(effect))
            }
            Ok(answer) => Ok(answer),
            Err(failure) => {
                lock(&self.failure).get_or_insert(failure);
                Err(Error::new(ErrorKind::Other, "another process does not answer").with_effect(Effect::Unknown))
            }
        }
    }
}

/// An answer to something else than was asked.
fn astray<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Other, "another process answered something else").with_effect(Effect::Unknown))
}

/// What has no history is not called in another process.
fn unsupported() -> Error {
    Error::new(ErrorKind::Unsupported, "only what a history records is called in another process")
}

#[async_trait]
impl EntryRead for Remote {
    async fn mem(&self, key: &Key) -> Result<bool> {
        let Answer::Mem(there) = self.ask(&Call::Mem(key.to_string()))? else { return astray() };
        Ok(there)
    }

    async fn find(&self, key: &Key) -> Result<Option<Bytes>> {
        let Answer::Found(found) = self.ask(&Call::Find(key.to_string()))? else { return astray() };
        Ok(found.map(value))
    }

    fn list(&self, _under: &Key) -> KeyStream {
        Box::pin(futures_util::stream::iter([Err(unsupported())]))
    }

    fn entries(&self, _under: &Key) -> EntryStream {
        Box::pin(futures_util::stream::iter([Err(unsupported())]))
    }

    async fn watch(&self, _under: &Key, _init: Init<Vec<(Key, Bytes)>>) -> Result<Watch> {
        Err(unsupported())
    }

    async fn watch_key(&self, _key: &Key, _init: Init<Option<Bytes>>) -> Result<Watch> {
        Err(unsupported())
    }

    async fn unwatch(&self, _id: WatchId) -> Result<()> {
        Err(unsupported())
    }
}

#[async_trait]
impl AtomicWrite for Remote {
    async fn set(&self, key: &Key, value: Bytes) -> Result<()> {
        let Answer::Done = self.ask(&Call::Set(key.to_string(), text(&value)))? else { return astray() };
        Ok(())
    }

    async fn test_and_set(&self, key: &Key, test: Option<Bytes>, set: Option<Bytes>) -> Result<TestAndSet> {
        match self.ask(&Call::TestAndSet(key.to_string(), texts(test.as_ref()), texts(set.as_ref())))? {
            Answer::Applied => Ok(TestAndSet::Applied),
            Answer::Mismatch(current) => Ok(TestAndSet::Mismatch { current: current.map(value) }),
            _ => astray(),
        }
    }

    async fn remove(&self, key: &Key) -> Result<()> {
        let Answer::Done = self.ask(&Call::Remove(key.to_string()))? else { return astray() };
        Ok(())
    }

    async fn clear(&self) -> Result<()> {
        let Answer::Done = self.ask(&Call::Clear)? else { return astray() };
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        Err(unsupported())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{child::shell, histories::act, history::Recorder};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_process_that_the_system_kills_amid_calls_accuses_nobody() {
        let remote = Remote::new(shell("echo serving; read call; kill -KILL $$")).expect("it serves");
        let (recorder, random) = (Recorder::new(), fastrand::Rng::with_seed(0));
        let asked = act(&mut recorder.client(), &remote, &[key("a")], random, 10).await;
        let failure = remote.answered(asked).expect_err("it must not pass");
        assert_eq!(failure.kind(), Kind::Inconclusive, "{failure}");
    }
}
