//! Bugs of handles, of opening again, and of what is promised about it.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use store_api::{
    AtomicWrite, Backend, Durability, Error, ErrorKind, Guarantees, Indexable, Init, Key, KeyStream, Result, Watch,
};

use super::{Bug, twist::{Twist, lock}};
use crate::{Factory, Settings};

pub(super) const BUGS: &[Bug] = &[
    bug!(
        "closed-entries-answer",
        "A closed handle of the entries answers as before.",
        ["handle/L1-every-operation-of-closed-entries-is-closed"],
        ClosedAnswer
    ),
    bug!(
        "closed-content-answers",
        "A closed handle of the content answers as before.",
        ["handle/L1-every-operation-of-closed-content-is-closed"],
        ClosedAnswer
    ),
    bug!(
        "close-forgets-handles",
        "The handles of a closed instance answer as before.",
        ["handle/L1-every-handle-of-a-closed-instance-is-closed"],
        CloseForgetsHandles
    ),
    bug!(
        "closed-acknowledges",
        "A write that meets the close of its handle is acknowledged and forgotten.",
        ["handle/L3-in-flight-at-the-close-of-a-handle"],
        ClosedAcknowledges
    ),
    bug!(
        "close-ends-lists-silently",
        "A listing ends, when its handle is closed, as if that were all.",
        ["handle/L1-closing-ends-open-lists-of-entries"],
        CloseEndsListsSilently
    ),
    bug!(
        "close-reaches-another-handle",
        "Closing a handle closes all handles of the store.",
        [
            "handle/L2-other-handles-of-the-entries-do-not-notice-a-close",
            "watch/W10-close-ends-the-watches-of-its-handle-and-no-others"
        ],
        CloseReachesAnotherHandle
    ),
    bug!(
        "another-hash-function-accepted",
        "A store is opened as if it had the hash function that is asked for.",
        ["handle/L5-another-hash-function-is-incompatible"],
        on Durable AnotherHashFunctionAccepted
    ),
    bug!(
        "last-write-lost-at-close",
        "The last write is kept in memory until the next one.",
        ["handle/L4-an-open-right-after-close-finds-what-was-written"],
        on Durable LastWriteInMemory
    ),
    bug!(
        "acknowledged-before-it-is-written",
        "The last write is kept in memory until the next one, and so lost by a killed process.",
        ["atomic/A10-a-killed-writer-loses-nothing-acknowledged"],
        on Durable LastWriteInMemory
    ),
    bug!(
        "acknowledged-before-it-is-synced",
        "A store that syncs nothing declares that it survives a power loss.",
        ["atomic/A10-a-power-loss-loses-nothing-acknowledged"],
        on Unsynced DeclaresPower
    ),
    bug!(
        "rot-is-absent",
        "A value that rotted reads as absent.",
        ["atomic/A12-a-value-that-rotted-is-corrupt"],
        on Durable ErrorIsAbsent
    ),
    bug!(
        "error-is-absent",
        "A value that the disk does not give reads as absent.",
        ["atomic/A11-an-unreadable-disk-is-an-error"],
        on Durable ErrorIsAbsent
    ),
    bug!(
        "panics-on-bad-input",
        "A watch that knows a key outside its scope panics.",
        ["error/E1-a-known-state-outside-the-scope-is-refused"],
        PanicsOnBadInput
    ),
    bug!(
        "value-in-an-error",
        "An error shows the value that it was about.",
        ["error/E2-errors-of-entries-are-one-line-and-show-no-value"],
        ValueInAnError
    ),
    bug!(
        "error-of-two-lines",
        "An error is displayed on two lines.",
        ["error/E2-errors-of-entries-are-one-line-and-show-no-value"],
        ErrorOfTwoLines
    ),
];

#[derive(Default)]
struct ClosedAnswer;

#[async_trait]
impl Twist for ClosedAnswer {
    async fn close_entries(&self, _: &Arc<dyn AtomicWrite>) -> Result<()> {
        Ok(())
    }

    async fn close_content(&self, _: &Arc<dyn Indexable>) -> Result<()> {
        Ok(())
    }
}

#[derive(Default)]
struct CloseForgetsHandles;

#[async_trait]
impl Twist for CloseForgetsHandles {
    async fn close_backend(&self, on: &dyn Backend) -> Result<()> {
        on.sync().await
    }
}

#[derive(Default)]
struct CloseEndsListsSilently;

#[async_trait]
impl Twist for CloseEndsListsSilently {
    fn list(&self, on: &Arc<dyn AtomicWrite>, under: &Key) -> KeyStream {
        let goes_on = |key: &Result<Key>| !matches!(key, Err(error) if error.kind() == ErrorKind::Closed);
        Box::pin(on.list(under).take_while(move |key| std::future::ready(goes_on(key))))
    }
}

#[derive(Default)]
struct CloseReachesAnotherHandle {
    handles: Mutex<Vec<Arc<dyn AtomicWrite>>>,
}

#[async_trait]
impl Twist for CloseReachesAnotherHandle {
    fn atomic_write(&self, on: &dyn Backend) -> Option<Arc<dyn AtomicWrite>> {
        let handle = on.atomic_write()?;
        lock(&self.handles).push(Arc::clone(&handle));
        Some(handle)
    }

    async fn close_entries(&self, _: &Arc<dyn AtomicWrite>) -> Result<()> {
        let handles = std::mem::take(&mut *lock(&self.handles));
        for handle in handles {
            handle.close().await?;
        }
        Ok(())
    }
}

#[derive(Default)]
struct AnotherHashFunctionAccepted;

#[async_trait]
impl Twist for AnotherHashFunctionAccepted {
    async fn open(&self, sound: &dyn Factory, token: &str, settings: &Settings) -> Result<Arc<dyn Backend>> {
        match sound.open(token, settings).await {
            Err(error) if error.kind() == ErrorKind::Incompatible => {
                sound.open(token, &Settings { hash: None, ..settings.clone() }).await
            }
            opened => opened,
        }
    }
}

#[derive(Default)]
struct LastWriteInMemory {
    last: Mutex<Option<(Key, Bytes)>>,
}

impl LastWriteInMemory {
    fn take(&self) -> Option<(Key, Bytes)> {
        lock(&self.last).take()
    }
}

#[async_trait]
impl Twist for LastWriteInMemory {
    async fn close_backend(&self, on: &dyn Backend) -> Result<()> {
        self.take();
        on.close().await
    }

    async fn find(&self, on: &Arc<dyn AtomicWrite>, key: &Key) -> Result<Option<Bytes>> {
        let last = lock(&self.last).clone();
        match last {
            Some((written, value)) if written == *key => Ok(Some(value)),
            _ => on.find(key).await,
        }
    }

    async fn set(&self, on: &Arc<dyn AtomicWrite>, key: &Key, value: Bytes) -> Result<()> {
        let before = lock(&self.last).replace((key.clone(), value));
        match before {
            Some((key, value)) => on.set(&key, value).await,
            None => Ok(()),
        }
    }
}

#[derive(Default)]
struct DeclaresPower;

impl Twist for DeclaresPower {
    fn guarantees(&self, on: &dyn Backend) -> Guarantees {
        let Guarantees { visibility, index, watch_lag, .. } = on.guarantees();
        Guarantees::new(Durability::Power, visibility, index, watch_lag)
    }
}

#[derive(Default)]
struct ErrorIsAbsent;

#[async_trait]
impl Twist for ErrorIsAbsent {
    async fn mem(&self, on: &Arc<dyn AtomicWrite>, key: &Key) -> Result<bool> {
        Ok(on.mem(key).await.unwrap_or(false))
    }

    async fn find(&self, on: &Arc<dyn AtomicWrite>, key: &Key) -> Result<Option<Bytes>> {
        Ok(on.find(key).await.unwrap_or_default())
    }
}

#[derive(Default)]
struct PanicsOnBadInput;

#[async_trait]
impl Twist for PanicsOnBadInput {
    async fn watch(&self, on: &Arc<dyn AtomicWrite>, under: &Key, init: Init<Vec<(Key, Bytes)>>) -> Result<Watch> {
        if let Init::Known(state) = &init {
            assert!(state.iter().all(|(key, _)| under.covers(key)), "a key outside the scope");
        }
        on.watch(under, init).await
    }
}

#[derive(Default)]
struct ClosedAcknowledges;

#[async_trait]
impl Twist for ClosedAcknowledges {
    async fn set(&self, on: &Arc<dyn AtomicWrite>, key: &Key, value: Bytes) -> Result<()> {
        match on.set(key, value).await {
            Err(error) if error.kind() == ErrorKind::Closed => Ok(()),
            set => set,
        }
    }
}

#[derive(Default)]
struct ValueInAnError;

#[async_trait]
impl Twist for ValueInAnError {
    async fn set(&self, on: &Arc<dyn AtomicWrite>, key: &Key, value: Bytes) -> Result<()> {
        let shown = String::from_utf8_lossy(&value[..value.len().min(100)]).into_owned();
        on.set(key, value).await.map_err(|error| Error::new(error.kind(), format!("cannot set {shown}")))
    }
}

#[derive(Default)]
struct ErrorOfTwoLines;

#[async_trait]
impl Twist for ErrorOfTwoLines {
    async fn set(&self, on: &Arc<dyn AtomicWrite>, key: &Key, value: Bytes) -> Result<()> {
        on.set(key, value).await.map_err(|error| Error::new(error.kind(), "the write failed:\nit was refused"))
    }
}
