//! A store whose entries are kept in a log on disk, and what its author can forget of what disks do.
//!
//! The state is the sound store's, in memory; the log is what is left of it. It is written anew at each open, so that
//! nothing rests on what a crash or a failed sync left.

use std::{
    fs::{self, File},
    io::{self, Seek, SeekFrom, Write},
    marker::PhantomData,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex as StdMutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::TryStreamExt;
use store_api::{
    AtomicWrite, Backend, ContentHash, Durability, Effect, Error, ErrorKind, Guarantees, HashFunction, Indexable, Key,
    MAX_VALUE_LEN, Result, TestAndSet,
};
use tokio::sync::Mutex;

use super::{Bug, twist::Twist};
use crate::{Factory, Settings, lock::lock};

pub(super) const BUGS: &[Bug] = &[
    bug!(
        "failed-sync-forgotten",
        "After a failed sync the store goes on as if nothing had been.",
        ["error/E3-a-failed-sync-refuses-writes-until-a-reopen"],
        on Filed Logged<FailedSyncForgotten>
    ),
    bug!(
        "sync-behind-a-failed-one",
        "`sync` does not look whether an earlier one failed.",
        ["error/E3-a-failed-sync-refuses-writes-until-a-reopen"],
        on Filed Logged<SyncBehindAFailedOne>
    ),
    bug!(
        "cleared-behind-a-failed-sync",
        "`clear` does not look whether a sync failed.",
        ["error/E3-a-failed-sync-refuses-writes-until-a-reopen"],
        on Filed Logged<ClearedBehindAFailedSync>
    ),
    bug!(
        "failed-sync-acknowledged",
        "Whether a sync failed is not looked at.",
        [
            "error/E3-a-failed-sync-refuses-writes-until-a-reopen",
            "atomic/A10-nothing-is-shown-that-is-not-synced",
        ],
        on Filed Logged<FailedSyncAcknowledged>
    ),
    bug!(
        "nothing-synced",
        "A store that declares that it survives a power loss has forgotten to sync.",
        [
            "atomic/A10-a-power-loss-loses-nothing-acknowledged",
            "atomic/A10-nothing-is-shown-that-is-not-synced",
            "atomic/A10-a-sync-lies-between-each-write-and-its-answer",
        ],
        on Filed Logged<NothingSynced>
    ),
    bug!(
        "no-op-not-synced",
        "A no-op is answered before what it saw is synced.",
        ["atomic/A10-nothing-is-shown-that-is-not-synced"],
        on Filed Logged<NoOpNotSynced>
    ),
    bug!(
        "rename-not-synced",
        "A file is renamed, and its directory not synced.",
        ["atomic/A10-a-power-loss-loses-nothing-acknowledged"],
        on Filed Logged<RenameNotSynced>
    ),
    bug!(
        "short-write-taken-for-whole",
        "A write to a file that took a part of the bytes is taken for the whole.",
        ["atomic/A10-short-writes-lose-nothing"],
        on Filed Logged<ShortWriteTakenForWhole>
    ),
    bug!(
        "ended-by-a-full-disk",
        "A write that finds no room on the disk is the last that the store takes.",
        [
            "error/E1-a-full-disk-is-no-space-until-there-is-room",
            "watch/W10-a-watch-goes-on-behind-a-full-disk",
        ],
        on Filed Logged<EndedByAFullDisk>
    ),
    bug!(
        "no-checksum",
        "What is on disk has no checksum.",
        [
            "atomic/A12-a-value-that-rotted-is-corrupt",
            "atomic/A12-a-key-that-rotted-has-no-value",
            "atomic/A12-rot-is-never-another-value",
            "atomic/A12-rot-in-each-file-is-told",
        ],
        on Filed Logged<NoChecksum>
    ),
    bug!(
        "rot-is-a-panic",
        "What rotted on disk ends in a panic.",
        ["atomic/A12-rot-in-each-file-is-told"],
        on Filed Logged<RotIsAPanic>
    ),
    bug!(
        "rot-takes-memory",
        "As much memory is taken as what rotted asks for.",
        ["atomic/A12-rot-in-each-file-is-told"],
        on Filed Logged<RotTakesMemory>
    ),
    bug!(
        "rot-of-what-is-not-said",
        "A store that rotted refuses to open, and does not say which file it is about.",
        ["atomic/A12-rot-in-each-file-is-told"],
        on Filed Logged<RotOfWhatIsNotSaid>
    ),
    bug!(
        "clear-in-memory",
        "`clear` removes the entries from memory, and not from disk.",
        [
            "atomic/A8-what-was-cleared-is-gone-when-reopened",
            "atomic/A10-a-killed-writer-brings-back-nothing-cleared",
            "atomic/A10-a-power-loss-brings-back-nothing-cleared",
        ],
        on Filed Logged<ClearInMemory>
    ),
    bug!(
        "second-open-not-refused",
        "Two instances have a store open that is one's at a time.",
        [
            "handle/L4-a-second-instance-is-in-use-until-the-first-is-closed",
            "handle/L4-another-process-is-told-that-it-is-in-use",
        ],
        on Filed Logged<SecondOpenNotRefused>
    ),
    bug!(
        "second-open-refused-late",
        "A second open waits for ten seconds before it is refused.",
        ["handle/L4-a-second-instance-is-in-use-until-the-first-is-closed"],
        on Filed waits Logged<SecondOpenRefusedLate>
    ),
    bug!(
        "removed-log-unnoticed",
        "Of its files a store looks for the lock alone.",
        ["atomic/A10-a-store-that-was-removed-acknowledges-nothing"],
        on Filed Logged<RemovedLogUnnoticed>
    ),
    bug!(
        "tidied-in-place",
        "When a store is closed, its log is emptied and then written anew.",
        [
            "atomic/A10-a-kill-amid-closing-and-opening-loses-nothing",
            "atomic/A10-a-power-loss-amid-closing-and-opening-loses-nothing",
        ],
        on Filed Logged<TidiedInPlace>
    ),
    bug!(
        "opened-in-place",
        "When a store is opened, its log is emptied and then written anew.",
        [
            "handle/L4-a-store-opens-after-a-kill-while-it-was-opened",
            "handle/L4-a-store-opens-after-a-power-loss-while-it-was-opened",
        ],
        on Filed Logged<OpenedInPlace>
    ),
];

fn has_a_name(file: &File) -> bool {
    file.metadata().is_ok_and(|file| file.nlink() > 0)
}

/// What the author of a log has to think of.
pub(super) trait Care: Default + Send + Sync {
    fn write(mut log: &File, record: &[u8]) -> io::Result<()> {
        log.write_all(record)
    }

    fn sum(change: &[u8]) -> ContentHash {
        HashFunction::Blake3.hash(change)
    }

    fn keeps(_: &Change) -> bool {
        true
    }

    fn sync(file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn sync_names(directory: &Path) -> io::Result<()> {
        Self::sync(&File::open(directory)?)
    }

    fn lock(file: &File) -> Result<()> {
        file.try_lock().map_err(|error| Error::new(ErrorKind::InUse, "the store is open already").with_source(error))
    }

    /// Whether the files of a store still have names.
    fn are_in_place(log: &File, locked: &File) -> bool {
        has_a_name(log) && has_a_name(locked)
    }

    /// What is said of a log that is not what was written.
    fn rotten(path: &Path) -> Error {
        Error::new(ErrorKind::Corrupt, "the log is not what was written").with_key(path.display())
    }

    /// Whether a change, or a sync where there is none, is refused once a sync has failed.
    fn is_refused_behind_a_failed_sync(_: Option<&Change>) -> bool {
        true
    }

    /// How long an open waits before it is refused.
    const REFUSED_AFTER: Duration = Duration::ZERO;

    /// Whether a failed sync ends all writing.
    const STOPS: bool = true;

    /// Whether a write that finds no room ends all writing.
    const ENDS_WHEN_FULL: bool = false;

    /// Whether what is being synced is taken for done.
    const TAKES_FOR_DONE: bool = false;

    /// Whether the log is written anew at a close, in its own place.
    const TIDIES: bool = false;

    /// Whether it is at an open.
    const OPENS_IN_PLACE: bool = false;

    /// Whether a log that has become long is written anew.
    const COMPACTS: bool = false;

    /// How much memory an open store keeps for what it may need.
    const CACHE: usize = 0;

    /// Whether the removal of files is declared to be overlooked.
    const OVERLOOKS: bool = false;
}

#[derive(Default)]
pub(super) struct AllCare;

impl Care for AllCare {}

/// What engines do that reuse their space, with memory in store, and that look for none of their files.
#[derive(Default)]
pub(super) struct Thrifty;

impl Care for Thrifty {
    fn are_in_place(_: &File, _: &File) -> bool {
        true
    }

    const COMPACTS: bool = true;
    const CACHE: usize = 1 << 30;
    const OVERLOOKS: bool = true;
}

#[derive(Default)]
struct FailedSyncForgotten;

impl Care for FailedSyncForgotten {
    const STOPS: bool = false;
}

#[derive(Default)]
struct SyncBehindAFailedOne;

impl Care for SyncBehindAFailedOne {
    fn is_refused_behind_a_failed_sync(change: Option<&Change>) -> bool {
        change.is_some()
    }
}

#[derive(Default)]
struct ClearedBehindAFailedSync;

impl Care for ClearedBehindAFailedSync {
    fn is_refused_behind_a_failed_sync(change: Option<&Change>) -> bool {
        change != Some(&Change::Clear)
    }
}

#[derive(Default)]
struct FailedSyncAcknowledged;

impl Care for FailedSyncAcknowledged {
    fn sync(file: &File) -> io::Result<()> {
        let _ = file.sync_all();
        Ok(())
    }
}

#[derive(Default)]
struct NothingSynced;

impl Care for NothingSynced {
    fn sync(_: &File) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Default)]
struct NoOpNotSynced;

impl Care for NoOpNotSynced {
    const TAKES_FOR_DONE: bool = true;
}

#[derive(Default)]
struct RenameNotSynced;

impl Care for RenameNotSynced {
    fn sync_names(_: &Path) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Default)]
struct ShortWriteTakenForWhole;

impl Care for ShortWriteTakenForWhole {
    fn write(mut log: &File, record: &[u8]) -> io::Result<()> {
        log.write(record).map(drop)
    }
}

#[derive(Default)]
struct EndedByAFullDisk;

impl Care for EndedByAFullDisk {
    const ENDS_WHEN_FULL: bool = true;
}

#[derive(Default)]
struct NoChecksum;

impl Care for NoChecksum {
    fn sum(_: &[u8]) -> ContentHash {
        ContentHash::new([0; ContentHash::LEN])
    }
}

#[derive(Default)]
struct RotIsAPanic;

impl Care for RotIsAPanic {
    fn rotten(_: &Path) -> Error {
        panic!("the log is not what was written")
    }
}

#[derive(Default)]
struct RotTakesMemory;

impl Care for RotTakesMemory {
    fn rotten(path: &Path) -> Error {
        // The compiler must not see that nobody looks into it.
        let taken = std::hint::black_box(vec![0_u8; 2 << 30]);
        Error::new(ErrorKind::Corrupt, format!("{} bytes are missing", taken.len())).with_key(path.display())
    }
}

#[derive(Default)]
struct RotOfWhatIsNotSaid;

impl Care for RotOfWhatIsNotSaid {
    fn rotten(_: &Path) -> Error {
        Error::new(ErrorKind::Corrupt, "something is not what was written")
    }
}

#[derive(Default)]
struct ClearInMemory;

impl Care for ClearInMemory {
    fn keeps(change: &Change) -> bool {
        *change != Change::Clear
    }
}

#[derive(Default)]
struct SecondOpenNotRefused;

impl Care for SecondOpenNotRefused {
    fn lock(_: &File) -> Result<()> {
        Ok(())
    }
}

#[derive(Default)]
struct SecondOpenRefusedLate;

impl Care for SecondOpenRefusedLate {
    const REFUSED_AFTER: Duration = Duration::from_secs(10);
}

#[derive(Default)]
struct RemovedLogUnnoticed;

impl Care for RemovedLogUnnoticed {
    fn are_in_place(_: &File, locked: &File) -> bool {
        has_a_name(locked)
    }
}

#[derive(Default)]
struct TidiedInPlace;

impl Care for TidiedInPlace {
    const TIDIES: bool = true;
}

#[derive(Default)]
struct OpenedInPlace;

impl Care for OpenedInPlace {
    const OPENS_IN_PLACE: bool = true;
}

/// What a record of the log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Put(Key, Option<Bytes>),
    Clear,
}

impl Change {
    const CLEAR: u8 = 0;
    const SET: u8 = 1;
    const REMOVE: u8 = 2;

    fn to_bytes(&self) -> Vec<u8> {
        let Self::Put(key, state) = self else { return vec![Self::CLEAR] };
        let kind = if state.is_some() { Self::SET } else { Self::REMOVE };
        let key = key.as_str().as_bytes();
        let len = u8::try_from(key.len()).expect("a key has no more bytes");
        [&[kind, len], key, state.as_deref().unwrap_or_default()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        if *kind == Self::CLEAR {
            return Some(Self::Clear);
        }
        let (len, rest) = rest.split_first()?;
        let (key, value) = rest.split_at_checked(usize::from(*len))?;
        let key = Key::new(std::str::from_utf8(key).ok()?).ok()?;
        Some(Self::Put(key, (*kind == Self::SET).then(|| Bytes::copy_from_slice(value))))
    }

    async fn apply(self, on: &dyn AtomicWrite) -> Result<()> {
        match self {
            Self::Put(key, Some(value)) => on.set(&key, value).await,
            Self::Put(key, None) => on.remove(&key).await,
            Self::Clear => on.clear().await,
        }
    }
}

/// A length, a sum, and a change.
fn record<C: Care>(change: &Change) -> Vec<u8> {
    let change = change.to_bytes();
    let len = u32::try_from(change.len()).expect("a value has no more bytes");
    [&len.to_le_bytes(), C::sum(&change).as_ref(), &change].concat()
}

/// The first change of a log, and what is behind it, if its record is whole.
fn whole<C: Care>(log: &[u8]) -> Option<(Change, &[u8])> {
    let (len, rest) = log.split_first_chunk()?;
    let (sum, rest) = rest.split_first_chunk::<{ ContentHash::LEN }>()?;
    let (change, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    if C::sum(change) != ContentHash::new(*sum) {
        return None;
    }
    Some((Change::from_bytes(change)?, rest))
}

/// Whether there is a record behind what is none: each is synced before the next, so that only the last can be torn.
fn is_rotten<C: Care>(log: &[u8]) -> bool {
    (0..log.len()).any(|at| whole::<C>(&log[at..]).is_some())
}

/// A log that is open.
struct Log {
    file: File,
    path: PathBuf,
    /// How long it was when it was written anew.
    began_with: u64,
    stopped: bool,
    locked: File,
    _cache: Vec<u8>,
}

/// A disk may be as slow.
const SLOW: Duration = Duration::from_millis(20);

/// A log with fewer bytes is not compacted.
const SHORT: u64 = 16 << 10;

impl Drop for Log {
    fn drop(&mut self) {
        // To close it is not enough: a child that is being started has it open, too.
        let _ = self.locked.unlock();
    }
}

impl Log {
    /// Takes the store for its own, applies what is in its log, and writes that anew.
    async fn open<C: Care>(path: &Path, entries: &dyn AtomicWrite) -> Result<Self> {
        let failed = |error| Error::new(ErrorKind::Other, "the log cannot be opened").with_source(error);
        let locked = File::create(path.with_added_extension("lock")).map_err(failed)?;
        if let Err(refused) = C::lock(&locked) {
            tokio::time::sleep(C::REFUSED_AFTER).await;
            return Err(refused);
        }
        let written = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read.map_err(failed)?,
        };
        let mut rest = &written[..];
        while let Some((change, behind)) = whole::<C>(rest) {
            change.apply(entries).await?;
            rest = behind;
        }
        if is_rotten::<C>(rest) {
            return Err(C::rotten(path));
        }
        let records = records::<C>(entries).await?;
        let file = write_anew::<C>(path, &records).map_err(failed)?;
        let (path, began_with) = (path.to_owned(), records.len() as u64);
        let log = Self { file, path, began_with, stopped: false, locked, _cache: vec![0; C::CACHE] };
        if C::OPENS_IN_PLACE {
            log.tidy::<C>(entries, 5 * SLOW).await?;
        }
        Ok(log)
    }

    /// Writes what is there in the place of the log.
    async fn tidy<C: Care>(&self, entries: &dyn AtomicWrite, pause: Duration) -> Result<()> {
        let failed = |error| Error::new(ErrorKind::Other, "the log cannot be tidied").with_source(error);
        let records = records::<C>(entries).await?;
        let mut file = &self.file;
        file.set_len(0).and_then(|()| C::sync(file)).map_err(failed)?;
        tokio::time::sleep(pause).await;
        file.rewind().and_then(|()| file.write_all(&records)).and_then(|()| C::sync(file)).map_err(failed)
    }

    /// Writes the log anew where most of it is about what is no more. It goes on as it is where there is no room.
    async fn compact<C: Care>(&mut self, entries: &dyn AtomicWrite) -> Result<()> {
        let failed = |error| Error::new(ErrorKind::Other, "the log cannot be compacted").with_source(error);
        if self.stopped || self.file.metadata().map_err(failed)?.len() < 2 * self.began_with + SHORT {
            return Ok(());
        }
        let records = records::<C>(entries).await?;
        match write_anew::<C>(&self.path, &records) {
            Ok(file) => (self.file, self.began_with) = (file, records.len() as u64),
            Err(full) if full.kind() == io::ErrorKind::StorageFull && has_a_name(&self.file) => {
                // Where not even its name found room there is nothing to remove.
                let _ = fs::remove_file(beside(&self.path));
            }
            Err(error) => {
                self.stopped = true;
                return Err(failed(error));
            }
        }
        Ok(())
    }

    /// Refuses a change, or a sync, once a sync has failed.
    fn goes_on<C: Care>(&self, change: Option<&Change>) -> Result<()> {
        if self.stopped && C::is_refused_behind_a_failed_sync(change) {
            return Err(Error::new(ErrorKind::Poisoned, "a sync failed: open the store again"));
        }
        Ok(())
    }

    fn keep<C: Care>(&mut self, change: &Change) -> Result<()> {
        self.goes_on::<C>(Some(change))?;
        if !C::are_in_place(&self.file, &self.locked) {
            return Err(Error::new(ErrorKind::Other, "a file of the store was removed: open it again"));
        }
        if !C::keeps(change) {
            return Ok(());
        }
        let kept = match self.write::<C>(&record::<C>(change)) {
            Err(full) if full.kind() == io::ErrorKind::StorageFull && !C::ENDS_WHEN_FULL => {
                return Err(Error::new(ErrorKind::NoSpace, "the disk is full").with_source(full));
            }
            written => written.and_then(|()| C::sync(&self.file)),
        };
        kept.map_err(|error| {
            self.stopped = C::STOPS;
            let failed = Error::new(ErrorKind::Other, "the log cannot be written").with_source(error);
            failed.with_effect(Effect::Unknown)
        })
    }

    /// Writes a record; where there is no room for it nothing is left of it.
    fn write<C: Care>(&self, record: &[u8]) -> io::Result<()> {
        let mut file = &self.file;
        let end = file.metadata()?.len();
        let written = C::write(file, record);
        if written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::StorageFull) {
            file.set_len(end)?;
            file.seek(SeekFrom::Start(end))?;
        }
        written
    }
}

/// The records of what is there.
async fn records<C: Care>(entries: &dyn AtomicWrite) -> Result<Vec<u8>> {
    let state: Vec<(Key, Bytes)> = entries.entries(&Key::root()).try_collect().await?;
    let records = state.into_iter().map(|(key, value)| record::<C>(&Change::Put(key, Some(value))));
    Ok(records.collect::<Vec<_>>().concat())
}

/// Where a log is written anew.
fn beside(path: &Path) -> PathBuf {
    path.with_added_extension("anew")
}

fn write_anew<C: Care>(path: &Path, records: &[u8]) -> io::Result<File> {
    let beside = beside(path);
    let mut file = File::create(&beside)?;
    file.write_all(records)?;
    C::sync(&file)?;
    fs::rename(&beside, path)?;
    path.parent().map_or(Ok(()), C::sync_names)?;
    Ok(file)
}

/// Keeps the entries in a log.
#[derive(Default)]
pub(super) struct Logged<C> {
    log: Mutex<Option<Log>>,
    /// What is being logged.
    under_way: StdMutex<Option<Change>>,
    care: PhantomData<C>,
}

impl<C: Care> Logged<C> {
    /// Changes the log, and then the state.
    async fn change(&self, log: &mut Option<Log>, on: &Arc<dyn AtomicWrite>, change: Change) -> Result<()> {
        // What the store refuses is not logged.
        on.mem(&Key::root()).await?;
        let log = log.as_mut().ok_or_else(Error::closed)?;
        if C::COMPACTS {
            log.compact::<C>(&**on).await?;
        }
        if C::TAKES_FOR_DONE {
            *lock(&self.under_way) = Some(change.clone());
            tokio::time::sleep(SLOW / 10).await;
        }
        let kept = log.keep::<C>(&change);
        lock(&self.under_way).take();
        kept?;
        change.apply(&**on).await
    }

    /// The same, unless it is taken for done.
    async fn change_to(&self, on: &Arc<dyn AtomicWrite>, change: Change) -> Result<()> {
        if self.is_under_way(&change) {
            return Ok(());
        }
        self.change(&mut *self.log.lock().await, on, change).await
    }

    /// Whether a change is being logged already; of no store but those that take it for done.
    fn is_under_way(&self, change: &Change) -> bool {
        C::TAKES_FOR_DONE && lock(&self.under_way).as_ref() == Some(change)
    }
}

fn is_refused(key: &Key, state: Option<&Bytes>) -> bool {
    key.is_root() || state.is_some_and(|value| value.len() > MAX_VALUE_LEN)
}

#[async_trait]
impl<C: Care> Twist for Logged<C> {
    async fn open(&self, sound: &dyn Factory, token: &str, settings: &Settings) -> Result<Arc<dyn Backend>> {
        let backend = sound.open(token, settings).await?;
        let entries =
            backend.atomic_write().ok_or_else(|| Error::new(ErrorKind::Unsupported, "there are no entries"))?;
        let log = Log::open::<C>(&PathBuf::from(token), &*entries).await?;
        *self.log.lock().await = Some(log);
        Ok(backend)
    }

    fn guarantees(&self, on: &dyn Backend) -> Guarantees {
        let Guarantees { visibility, index, watch_lag, .. } = on.guarantees();
        Guarantees::new(Durability::Power, visibility, index, watch_lag)
    }

    fn overlooks(&self, sound: bool) -> bool {
        sound || C::OVERLOOKS
    }

    async fn sync(&self, on: &dyn Backend) -> Result<()> {
        if let Some(log) = &*self.log.lock().await {
            log.goes_on::<C>(None)?;
        }
        on.sync().await
    }

    async fn close_backend(&self, on: &dyn Backend) -> Result<()> {
        let mut log = self.log.lock().await;
        if let (Some(log), Some(entries), true) = (&*log, on.atomic_write(), C::TIDIES) {
            log.tidy::<C>(&*entries, SLOW).await?;
        }
        on.close().await?;
        log.take();
        Ok(())
    }

    fn indexable(&self, _: &dyn Backend) -> Option<Arc<dyn Indexable>> {
        None
    }

    async fn set(&self, on: &Arc<dyn AtomicWrite>, key: &Key, value: Bytes) -> Result<()> {
        if is_refused(key, Some(&value)) {
            return on.set(key, value).await;
        }
        self.change_to(on, Change::Put(key.clone(), Some(value))).await
    }

    async fn test_and_set(
        &self,
        on: &Arc<dyn AtomicWrite>,
        key: &Key,
        test: Option<Bytes>,
        set: Option<Bytes>,
    ) -> Result<TestAndSet> {
        if is_refused(key, set.as_ref()) {
            return on.test_and_set(key, test, set).await;
        }
        if test == set && self.is_under_way(&Change::Put(key.clone(), set.clone())) {
            return Ok(TestAndSet::Applied);
        }
        let mut log = self.log.lock().await;
        let current = on.find(key).await?;
        if current != test {
            return Ok(TestAndSet::Mismatch { current });
        }
        if current != set {
            self.change(&mut log, on, Change::Put(key.clone(), set)).await?;
        }
        Ok(TestAndSet::Applied)
    }

    async fn remove(&self, on: &Arc<dyn AtomicWrite>, key: &Key) -> Result<()> {
        if is_refused(key, None) {
            return on.remove(key).await;
        }
        self.change_to(on, Change::Put(key.clone(), None)).await
    }

    async fn clear(&self, on: &Arc<dyn AtomicWrite>) -> Result<()> {
        self.change_to(on, Change::Clear).await
    }
}
