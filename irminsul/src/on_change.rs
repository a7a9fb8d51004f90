//! A handler for the events of a watch, in a task of its own.

use std::fmt;

use bytes::Bytes;
use tokio::{
    runtime,
    task::{JoinError, JoinHandle},
};

use crate::{EntryRead, Error, ErrorKind, Event, Init, Key, Result, Watch, WatchId};

/// Convenience over [`EntryRead`] that needs a tokio runtime.
pub trait OnChangeExt: EntryRead {
    /// Calls `handler` for each event at and below a path, one at a time, in a task of its own.
    ///
    /// # Behavior
    ///
    /// - The events are those of [`watch`](EntryRead::watch), errors included.
    /// - A handler that is slow or panics hurts no other watch and no writer (W8); while it runs, events are conflated
    ///   (W7).
    /// - It ends when the guard is dropped, when the watch ends, or when the handler panics.
    ///
    /// To follow one key, give a [`watch_key`](EntryRead::watch_key) to [`OnChange::spawn`].
    ///
    /// ```
    /// use irminsul::{Event, Init, Key, prelude::*};
    /// use tokio::sync::mpsc;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> irminsul::Result<()> {
    /// let store = irminsul::open("mem:").await?.atomic_write().expect("mem has entries");
    /// let (told, mut changes) = mpsc::unbounded_channel();
    /// let guard = store
    ///     .on_change(&Key::root(), Init::Current, move |event| {
    ///         if let Ok(Event::Changed { key, .. }) = event {
    ///             told.send(key).expect("the receiver lives");
    ///         }
    ///         async {}
    ///     })
    ///     .await?;
    /// store.set(&Key::new("greeting")?, "hello".into()).await?;
    /// assert_eq!(changes.recv().await, Some(Key::new("greeting")?));
    /// drop(guard);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "subscribe")]
    fn on_change<H, F>(
        &self,
        under: &Key,
        init: Init<Vec<(Key, Bytes)>>,
        handler: H,
    ) -> impl Future<Output = Result<OnChange>> + Send
    where
        H: FnMut(Result<Event>) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        async move { OnChange::spawn(self.watch(under, init).await?, handler) }
    }
}

impl<T: EntryRead + ?Sized> OnChangeExt for T {}

/// A running handler. Dropping this stops it, at the next `await` of the handler, and ends its watch.
#[must_use = "a handler stops when its guard is dropped"]
pub struct OnChange {
    watch: WatchId,
    state: State,
}

enum State {
    Running(JoinHandle<Result<()>>),
    Ended(Result<()>),
}

impl OnChange {
    /// Calls `handler` for each event of a watch, in a task of its own.
    ///
    /// # Errors
    ///
    /// `Unsupported` outside a tokio runtime; the watch ends.
    pub fn spawn<H, F>(watch: Watch, handler: H) -> Result<Self>
    where
        H: FnMut(Result<Event>) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = runtime::Handle::try_current().map_err(|_| {
            Error::new(ErrorKind::Unsupported, "a handler needs a tokio runtime: call this from within one")
        })?;
        Ok(Self { watch: watch.id(), state: State::Running(runtime.spawn(handle(watch, handler))) })
    }

    /// The id of the watch, to `unwatch` it by: the handler has then seen its last event once [`ended`](Self::ended) returns.
    #[must_use]
    pub fn watch_id(&self) -> WatchId {
        self.watch
    }

    /// Waits until the handler will not be called again. Dropping the future stops nothing.
    ///
    /// # Errors
    ///
    /// `Closed` when the store's handle was closed, `Other` when the handler panicked. Fine after an `unwatch`.
    pub async fn ended(&mut self) -> Result<()> {
        let outcome = match &mut self.state {
            State::Running(task) => task.await.unwrap_or_else(|stopped| Err(stopped_early(&stopped))),
            State::Ended(outcome) => return outcome.clone(),
        };
        self.state = State::Ended(outcome.clone());
        outcome
    }

    /// Stops the handler, and returns when it is not running any more.
    pub async fn stop(mut self) {
        if let State::Running(task) = &mut self.state {
            task.abort();
            // Either outcome means that it stopped.
            let _ = task.await;
        }
    }
}

impl Drop for OnChange {
    fn drop(&mut self) {
        if let State::Running(task) = &self.state {
            task.abort();
        }
    }
}

impl fmt::Debug for OnChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnChange").field("watch", &self.watch).finish_non_exhaustive()
    }
}

async fn handle<H, F>(mut watch: Watch, mut handler: H) -> Result<()>
where
    H: FnMut(Result<Event>) -> F,
    F: Future<Output = ()>,
{
    let mut outcome = Ok(());
    while let Some(event) = watch.next().await {
        outcome = match &event {
            Err(error) if error.kind() == ErrorKind::Closed => Err(error.clone()),
            _ => Ok(()),
        };
        handler(event).await;
    }
    outcome
}

/// What a panic says may be a value, so that it is not passed on (E2).
fn stopped_early(error: &JoinError) -> Error {
    let why = if error.is_panic() { "the handler panicked" } else { "the runtime stopped the handler" };
    Error::new(ErrorKind::Other, why).with_operation("on_change")
}
