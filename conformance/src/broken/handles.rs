//! Bugs of handles, of opening again, and of what is promised about it.

use std::{
    collections::{BTreeMap, HashSet},
    fs::File,
    os::fd::IntoRawFd,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use store_api::{
    AtomicWrite, Backend, ContentKey, ContentKeyStream, ContentRead, Durability, Error, ErrorKind, Guarantees,
    Indexable, Init, Key, KeyStream, Result, TestAndSet, Visibility, Watch,
};
use tokio::task::yield_now;

use super::{
    Bug,
    twist::{OpenBatch, Twist},
    writes::{Nth, address_of},
};
use crate::{Factory, Settings, lock::lock};

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
        ["handle/L3-in-flight-at-the-close-of-a-handle", "handle/L3-in-flight-at-the-close-of-an-instance"],
        ClosedAcknowledges
    ),
    bug!(
        "close-ends-lists-silently",
        "A listing ends, when its handle is closed, as if that were all.",
        ["handle/L1-closing-ends-open-lists-of-entries", "handle/L1-closing-ends-open-lists-of-content"],
        CloseEndsListsSilently
    ),
    bug!(
        "close-reaches-another-handle",
        "Closing a handle closes all handles of the store.",
        [
            "handle/L2-other-handles-of-the-entries-do-not-notice-a-close",
            "watch/W10-close-ends-the-watches-of-its-handle-and-no-others",
            "handle/L2-other-instances-do-not-notice-a-close",
            "handle/L2-writes-go-on-amid-closes-of-other-handles",
            "handle/L2-writes-go-on-amid-closes-of-other-instances",
            "watch/W10-close-ends-no-watch-of-another-instance"
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
        [
            "handle/L4-an-open-right-after-close-finds-what-was-written",
            "handle/L4-a-reopened-store-has-the-last-state-of-every-key",
            "atomic/A10-a-store-dropped-without-close-keeps-what-was-acknowledged",
            "atomic/A2-any-operations-answer-as-a-map-would-when-reopened",
        ],
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
        [
            "atomic/A10-a-power-loss-loses-nothing-acknowledged",
            "atomic/A10-nothing-is-shown-that-is-not-synced",
            "atomic/A10-a-sync-lies-between-each-write-and-its-answer",
        ],
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
        "error-of-content-is-absent",
        "Content that the disk does not give reads as absent.",
        ["atomic/A11-an-unreadable-disk-is-an-error"],
        on Durable ErrorOfContentIsAbsent
    ),
    bug!(
        "failed-sync-not-told",
        "`sync` says that it succeeded when it failed.",
        ["error/E3-a-failed-sync-refuses-writes-until-a-reopen"],
        on Unsynced FailedSyncNotTold
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
        [
            "error/E2-errors-of-entries-are-one-line-and-show-no-value",
            "error/E2-errors-of-content-are-one-line-and-show-no-value"
        ],
        ValueInAnError
    ),
    bug!(
        "refused-open-leaves-a-mark",
        "An `open` that is refused leaves a file beside the store.",
        ["handle/L5-a-store-that-is-refused-is-left-untouched"],
        on Durable RefusedOpenLeavesAMark
    ),
    bug!(
        "value-in-the-error-of-an-open",
        "An `open` that is refused shows a value of the store.",
        ["error/E2-an-open-that-is-refused-shows-no-value"],
        on Durable ValueInTheErrorOfAnOpen
    ),
    bug!(
        "close-reaches-other-content",
        "To close a handle of the content closes every one that there is.",
        ["handle/L2-other-handles-of-the-content-do-not-notice-a-close"],
        CloseReachesOtherContent
    ),
    bug!(
        "error-of-two-lines",
        "An error is displayed on two lines.",
        ["error/E2-errors-of-entries-are-one-line-and-show-no-value"],
        ErrorOfTwoLines
    ),
    bug!(
        "known-twice-accepted",
        "A watch that knows a key twice believes what it was told last.",
        ["error/E1-a-known-state-that-names-a-key-twice-is-refused"],
        KnownTwiceAccepted
    ),
    bug!(
        "handle-leaves-a-file-open",
        "Some handles of the entries open a file, and their end does not close it.",
        ["handle/L2-what-comes-and-goes-leaves-nothing-behind"],
        HandleLeavesAFileOpen
    ),
    bug!(
        "instance-leaves-a-file-open",
        "Each instance opens a file, and its end does not close it.",
        ["handle/L2-what-comes-and-goes-leaves-nothing-behind"],
        InstanceLeavesAFileOpen
    ),
    bug!(
        "ended-handles-are-kept",
        "What belonged to a handle of the entries is kept until the instance is gone.",
        ["handle/L2-what-comes-and-goes-leaves-nothing-behind"],
        EndedHandlesAreKept
    ),
    bug!("close-twice-fails", "To close again is an error.", ["handle/L1-closing-again-is-fine"], CloseTwiceFails),
    bug!(
        "hash-function-ignored",
        "A store is opened without looking at the hash function that is asked for.",
        [
            "index/I1-the-hash-function-is-the-one-that-was-asked-for",
            "handle/L5-another-hash-function-than-that-of-an-open-instance-is-incompatible",
        ],
        HashFunctionIgnored
    ),
    bug!(
        "declares-by-turns",
        "Every other time a store declares another lag.",
        ["handle/L2-every-instance-declares-the-same"],
        DeclaresByTurns
    ),
    bug!(
        "declares-to-be-alone",
        "A store that instances share declares that they do not.",
        ["handle/L2-an-instance-that-is-alone-sees-no-other-store"],
        DeclaresToBeAlone
    ),
    bug!(
        "one-sync-at-a-time",
        "A `sync` beside another one fails.",
        ["error/E1-sync-succeeds-amid-writes"],
        OneSyncAtATime
    ),
    bug!(
        "sync-does-nothing",
        "`sync` of a store that syncs nothing by itself does nothing.",
        ["atomic/A10-what-was-synced-survives-a-power-loss"],
        on Unsynced SyncDoesNothing
    ),
    bug!(
        "failed-write-acknowledged",
        "A write that the disk refuses is acknowledged.",
        [
            "error/E1-a-full-disk-is-no-space-until-there-is-room",
            "error/E1-a-small-disk-that-is-full-is-no-space-until-there-is-room",
            "error/E3-a-failed-sync-refuses-writes-until-a-reopen",
            "atomic/A5-a-disk-that-takes-no-changes-loses-nothing",
            "atomic/A10-a-store-that-was-removed-acknowledges-nothing",
        ],
        on Durable FailedWriteAcknowledged
    ),
    bug!(
        "lock-outlives-its-holder",
        "What was open when its process was killed is in use for ever.",
        [
            "handle/L4-a-store-opens-after-a-kill-while-it-was-opened",
            "handle/L4-a-store-opens-after-a-power-loss-while-it-was-opened",
        ],
        on Durable waits LockOutlivesItsHolder
    ),
    bug!(
        "closed-acknowledges-on-disk",
        "A write that meets the close of its file is acknowledged and forgotten.",
        ["handle/L4-a-close-amid-writes-keeps-what-was-acknowledged"],
        on Durable ClosedAcknowledges
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

    fn keys(&self, on: &Arc<dyn Indexable>) -> ContentKeyStream {
        let goes_on = |key: &Result<ContentKey>| !matches!(key, Err(error) if error.kind() == ErrorKind::Closed);
        Box::pin(on.keys().take_while(move |key| std::future::ready(goes_on(key))))
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

    async fn close_backend(&self, on: &dyn Backend) -> Result<()> {
        let handles = std::mem::take(&mut *lock(&self.handles));
        for handle in handles {
            handle.close().await?;
        }
        on.close().await
    }
}

#[derive(Default)]
struct CloseReachesOtherContent {
    handles: Mutex<Vec<Arc<dyn Indexable>>>,
}

#[async_trait]
impl Twist for CloseReachesOtherContent {
    fn indexable(&self, on: &dyn Backend) -> Option<Arc<dyn Indexable>> {
        let handle = on.indexable()?;
        lock(&self.handles).push(Arc::clone(&handle));
        Some(handle)
    }

    async fn close_content(&self, _: &Arc<dyn Indexable>) -> Result<()> {
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
struct RefusedOpenLeavesAMark;

#[async_trait]
impl Twist for RefusedOpenLeavesAMark {
    async fn open(&self, sound: &dyn Factory, token: &str, settings: &Settings) -> Result<Arc<dyn Backend>> {
        let opened = sound.open(token, settings).await;
        if opened.is_err() {
            std::fs::write(format!("{token}.refused"), "it was another one's")
                .map_err(|error| Error::new(ErrorKind::Other, "the mark cannot be written").with_source(error))?;
        }
        opened
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
    async fn open(&self, sound: &dyn Factory, token: &str, settings: &Settings) -> Result<Arc<dyn Backend>> {
        self.take();
        sound.open(token, settings).await
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
struct ErrorOfContentIsAbsent;

#[async_trait]
impl Twist for ErrorOfContentIsAbsent {
    async fn content_find(&self, on: &Arc<dyn Indexable>, key: &ContentKey) -> Result<Option<Bytes>> {
        Ok(on.find(key).await.unwrap_or_default())
    }
}

#[derive(Default)]
struct FailedSyncNotTold;

#[async_trait]
impl Twist for FailedSyncNotTold {
    async fn sync(&self, on: &dyn Backend) -> Result<()> {
        let _ = on.sync().await;
        Ok(())
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

    async fn add(&self, on: &Arc<dyn Indexable>, value: Bytes) -> Result<ContentKey> {
        let shown = String::from_utf8_lossy(&value[..value.len().min(100)]).into_owned();
        on.add(value).await.map_err(|error| Error::new(error.kind(), format!("cannot add {shown}")))
    }
}

#[derive(Default)]
struct ValueInTheErrorOfAnOpen {
    last: Mutex<Bytes>,
}

#[async_trait]
impl Twist for ValueInTheErrorOfAnOpen {
    async fn open(&self, sound: &dyn Factory, token: &str, settings: &Settings) -> Result<Arc<dyn Backend>> {
        let shown = String::from_utf8_lossy(&lock(&self.last)).into_owned();
        sound.open(token, settings).await.map_err(|error| Error::new(error.kind(), format!("cannot read {shown}")))
    }

    async fn add(&self, on: &Arc<dyn Indexable>, value: Bytes) -> Result<ContentKey> {
        *lock(&self.last) = value.clone();
        on.add(value).await
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

#[derive(Default)]
struct KnownTwiceAccepted;

#[async_trait]
impl Twist for KnownTwiceAccepted {
    async fn watch(&self, on: &Arc<dyn AtomicWrite>, under: &Key, init: Init<Vec<(Key, Bytes)>>) -> Result<Watch> {
        let init = match init {
            Init::Known(state) => Init::Known(state.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect()),
            Init::Current => Init::Current,
        };
        on.watch(under, init).await
    }
}

/// Where no more can be opened enough is left.
fn leave_a_file_open() {
    if let Ok(file) = File::open("/dev/null") {
        let _ = file.into_raw_fd();
    }
}

#[derive(Default)]
struct HandleLeavesAFileOpen(Nth);

impl Twist for HandleLeavesAFileOpen {
    fn atomic_write(&self, on: &dyn Backend) -> Option<Arc<dyn AtomicWrite>> {
        if self.0.of(200) {
            leave_a_file_open();
        }
        on.atomic_write()
    }
}

#[derive(Default)]
struct InstanceLeavesAFileOpen;

#[async_trait]
impl Twist for InstanceLeavesAFileOpen {
    async fn open(&self, sound: &dyn Factory, token: &str, settings: &Settings) -> Result<Arc<dyn Backend>> {
        leave_a_file_open();
        sound.open(token, settings).await
    }
}

#[derive(Default)]
struct EndedHandlesAreKept(Mutex<Vec<Vec<u8>>>);

impl Twist for EndedHandlesAreKept {
    fn entries_dropped(&self, _: &Arc<dyn AtomicWrite>) {
        // Written to: otherwise it takes no memory.
        lock(&self.0).push(vec![1; 8 * 1024]);
    }

    fn backend_dropped(&self, _: &dyn Backend) {
        lock(&self.0).clear();
    }
}

#[derive(Default)]
struct CloseTwiceFails {
    /// By address.
    closed: Mutex<HashSet<usize>>,
}

#[async_trait]
impl Twist for CloseTwiceFails {
    async fn close_entries(&self, on: &Arc<dyn AtomicWrite>) -> Result<()> {
        if lock(&self.closed).insert(address_of(on)) { on.close().await } else { Err(Error::closed()) }
    }
}

#[derive(Default)]
struct HashFunctionIgnored;

#[async_trait]
impl Twist for HashFunctionIgnored {
    async fn open(&self, sound: &dyn Factory, token: &str, settings: &Settings) -> Result<Arc<dyn Backend>> {
        sound.open(token, &Settings { hash: None, ..settings.clone() }).await
    }
}

#[derive(Default)]
struct DeclaresByTurns(Nth);

impl Twist for DeclaresByTurns {
    fn guarantees(&self, on: &dyn Backend) -> Guarantees {
        let mut guarantees = on.guarantees();
        if self.0.of(2) {
            guarantees.watch_lag.own += Duration::from_secs(1);
        }
        guarantees
    }
}

#[derive(Default)]
struct DeclaresToBeAlone;

impl Twist for DeclaresToBeAlone {
    fn guarantees(&self, on: &dyn Backend) -> Guarantees {
        let Guarantees { durability, index, watch_lag, .. } = on.guarantees();
        Guarantees::new(durability, Visibility::Instance, index, watch_lag)
    }
}

#[derive(Default)]
struct OneSyncAtATime {
    syncing: AtomicBool,
}

#[async_trait]
impl Twist for OneSyncAtATime {
    async fn sync(&self, on: &dyn Backend) -> Result<()> {
        if self.syncing.swap(true, Ordering::AcqRel) {
            return Err(Error::new(ErrorKind::Other, "another sync is under way"));
        }
        yield_now().await;
        let synced = on.sync().await;
        self.syncing.store(false, Ordering::Release);
        synced
    }
}

#[derive(Default)]
struct SyncDoesNothing;

#[async_trait]
impl Twist for SyncDoesNothing {
    async fn sync(&self, _: &dyn Backend) -> Result<()> {
        Ok(())
    }
}

#[derive(Default)]
struct FailedWriteAcknowledged;

#[async_trait]
impl Twist for FailedWriteAcknowledged {
    async fn set(&self, on: &Arc<dyn AtomicWrite>, key: &Key, value: Bytes) -> Result<()> {
        acknowledged(on.set(key, value).await, ())
    }

    async fn test_and_set(
        &self,
        on: &Arc<dyn AtomicWrite>,
        key: &Key,
        test: Option<Bytes>,
        set: Option<Bytes>,
    ) -> Result<TestAndSet> {
        acknowledged(on.test_and_set(key, test, set).await, TestAndSet::Applied)
    }

    async fn remove(&self, on: &Arc<dyn AtomicWrite>, key: &Key) -> Result<()> {
        acknowledged(on.remove(key).await, ())
    }

    async fn commit(&self, on: &OpenBatch) -> Result<()> {
        acknowledged(on.batch.commit().await, ())
    }
}

/// What a write answers that does not look at what the disk said.
fn acknowledged<T>(written: Result<T>, done: T) -> Result<T> {
    match written {
        Err(error) if matches!(error.kind(), ErrorKind::NoSpace | ErrorKind::Poisoned | ErrorKind::Other) => Ok(done),
        written => written,
    }
}

#[derive(Default)]
struct LockOutlivesItsHolder {
    locked: Mutex<Option<PathBuf>>,
}

#[async_trait]
impl Twist for LockOutlivesItsHolder {
    async fn open(&self, sound: &dyn Factory, token: &str, settings: &Settings) -> Result<Arc<dyn Backend>> {
        let path = PathBuf::from(format!("{token}.lock"));
        let in_use = |error| Error::new(ErrorKind::InUse, "the store is locked").with_source(error);
        File::create_new(&path).and_then(|file| file.sync_all()).map_err(in_use)?;
        let directory = path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all());
        directory.map_err(in_use)?;
        *lock(&self.locked) = Some(path);
        sound.open(token, settings).await
    }

    async fn close_backend(&self, on: &dyn Backend) -> Result<()> {
        on.close().await?;
        let locked = lock(&self.locked).take();
        let removed = locked.map_or(Ok(()), std::fs::remove_file);
        removed.map_err(|error| Error::new(ErrorKind::Other, "the lock was not removed").with_source(error))
    }
}
