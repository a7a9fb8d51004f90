//! How a group of writes becomes one write of RocksDB's: decided, written, then told.
//!
//! It is the only writer, so that what it read stays so until it writes (A2). RocksDB appends a write to its log, syncs
//! that if it is asked to, and only then shows it: no read finds what is not synced (A10).

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use backend_kit::{Addition, Change, Decision, Engine, Failure, Hub, Old, Patience, ROW_BYTES, Test, Wakers, frame};
use bytes::Bytes;
use foldhash::fast::RandomState;
use rocksdb::{ReadOptions, WriteBatch, WriteOptions};
use store_api::{ContentHash, Error, ErrorKind, HashFunction, Key, Result, TestAndSet};

use crate::{
    atomic_write::{names_in, open_frame},
    database::{Database, Found, Lease, Space, Tier},
    error::{from_rocksdb, is_beyond_quota, is_fatal, is_full, no_room, not_applied, room_unseen, would_block},
    indexable::value_under,
    refusal::{End, Met, Refusal, Says},
    row::Row,
};

/// How often it is asked whether it writes again.
const ASKS: Duration = Duration::from_millis(10);

/// What RocksDB begins a batch with.
const BATCH_HEADER: usize = 12;

/// Behind every key: no UTF-8 has this byte.
const BEHIND_ALL: [u8; 1] = [0xff];

/// What the committer writes.
pub(crate) enum Write {
    Entry { key: Key, test: Test, set: Option<Bytes> },
    Clear,
    Content(Vec<Addition>),
    Sync,
}

/// The one that writes. Its answer to a write that tests nothing is `Applied`.
pub(crate) struct Writer {
    database: Arc<Database>,
    hub: Arc<Hub>,
    hash: HashFunction,
    options: WriteOptions,
    /// For a write of nothing.
    probing: WriteOptions,
    /// Whether each write syncs.
    syncs: bool,
    /// RocksDB takes nothing until it has found room, or has compacted.
    refusal: Option<Refusal>,
}

impl Writer {
    pub(crate) fn new(database: Arc<Database>, hub: Arc<Hub>, hash: HashFunction, syncs: bool) -> Self {
        // A wait of RocksDB's own cannot be ended, not even by a close.
        let mut options = WriteOptions::default();
        options.set_no_slowdown(true);
        options.set_sync(syncs);
        let mut probing = WriteOptions::default();
        probing.set_no_slowdown(true);
        Self { database, hub, hash, options, probing, syncs, refusal: None }
    }

    fn write_group(
        &mut self,
        lease: &Lease<'_>,
        group: &[&Write],
        patience: Patience,
        told: &mut Wakers,
    ) -> Result<Vec<Result<TestAndSet>>, Failure> {
        // No watch begins in the middle of a group: who is found to watch a key here is all who is told of it behind the
        // write. On an async worker nobody is waited for.
        let order = match patience {
            Patience::Wait => self.database.hold_order(),
            Patience::None => self.database.try_hold_order().ok_or(Failure::WouldBlock)?,
        };
        let look = match (&self.refusal, self.syncs) {
            (Some(_), _) => Look::Far,
            (None, true) => Look::Near,
            (None, false) => Look::NearIfAlone,
        };
        let bytes = group.iter().map(|write| Self::bytes_of(write)).sum();
        let mut decided = Decided::new(lease, &self.hub, self.hash, patience, look, bytes);
        let answers = group.iter().map(|write| decided.decide(write)).collect::<Result<_, Failure>>()?;
        let Decided { batch, entries, content, is_cleared, .. } = decided;
        // Where each write syncs, all that was acknowledged is synced.
        let flushes = !self.syncs && group.iter().any(|write| matches!(write, Write::Sync));
        if self.refusal.is_some() && (flushes || !batch.is_empty()) {
            return Err(Failure::WouldBlock);
        }
        // Before they are removed: what cannot be read could not be told, and whoever watches would keep it for ever.
        let cleared = if is_cleared { self.watched_names(lease).map_err(Failure::Failed)? } else { Vec::new() };
        if !batch.is_empty() {
            lease.write(batch, &self.options, rows_of(&entries, &content)).map_err(|error| {
                self.refusal = (is_full(&error) || would_block(&error)).then(|| Refusal::new(Instant::now()));
                failed(error)
            })?;
        }
        let seq = lease.rocksdb().latest_sequence_number();
        tell(&self.hub, seq, &entries, cleared, told);
        drop(order);
        if flushes {
            // The writes of the group are in effect: it has not failed.
            lease.rocksdb().flush_wal(true).map_err(|error| Failure::SyncFailed(from_rocksdb(error)))?;
        }
        Ok(answers)
    }

    /// The names of all entries that somebody watches.
    fn watched_names(&self, lease: &Lease<'_>) -> Result<Vec<Key>> {
        let mut names = Vec::new();
        for scope in self.hub.outermost_scopes() {
            names_in(lease, &scope, &mut names)?;
        }
        Ok(names)
    }

    /// What a group is answered that is not written: what needs no write succeeds, and the rest is refused with this error.
    fn answer_each(
        &mut self,
        lease: &Lease<'_>,
        group: &[&Write],
        error: &Error,
        told: &mut Wakers,
    ) -> Vec<Result<TestAndSet>> {
        let answer = |write| match self.write_group(lease, &[write], Patience::Wait, told) {
            Ok(mut answers) => answers.remove(0),
            Err(Failure::WouldBlock) => Err(error.clone()),
            Err(failure) => Err(failure.into_error()),
        };
        group.iter().copied().map(answer).collect()
    }

    /// Returns when RocksDB writes again. Behind a full disk it finds out by itself that there is room, and the write that
    /// asks for it succeeds.
    fn await_writes(&mut self, lease: &Lease<'_>) -> Result<(), Failure> {
        loop {
            let mut probe = WriteBatch::default();
            probe.put_log_data([]);
            let Err(error) = lease.rocksdb().write_opt(probe, &self.probing) else {
                self.refusal = None;
                return Ok(());
            };
            let says = match (would_block(&error), is_full(&error)) {
                (true, true) => Says::StalledByFull,
                (true, false) => Says::Stalled,
                (false, true) if !is_beyond_quota(&error) => Says::Full,
                (false, _) => return Err(failed(error)),
            };
            let now = Instant::now();
            let met = Met {
                says,
                has_room: lease.has_room(),
                work: lease.work().map_err(Failure::Failed)?,
                is_closing: lease.is_closing(),
            };
            match self.refusal.get_or_insert_with(|| Refusal::new(now)).end(now, met) {
                None => thread::sleep(ASKS),
                Some(End::NoRoom) => return Err(Failure::Failed(no_room(error))),
                Some(End::Stuck) => return Err(Failure::Failed(not_applied(error))),
                // Nothing was applied, and the refusal is over as soon as a later group finds that it is.
                Some(End::RoomUnseen) => return Err(Failure::Failed(room_unseen(error))),
                Some(End::Closed) => return Err(Failure::Failed(Error::closed().with_source(error))),
            }
        }
    }
}

impl Engine for Writer {
    type Write = Write;
    type Outcome = TestAndSet;

    fn bytes_of(write: &Write) -> usize {
        match write {
            Write::Entry { key, test, set } => key.as_str().len() + test.bytes(set.as_ref()) + ROW_BYTES,
            Write::Content(additions) => additions.iter().map(Addition::bytes).sum(),
            Write::Clear | Write::Sync => 0,
        }
    }

    fn commit(
        &mut self,
        group: &[&Write],
        patience: Patience,
        told: &mut Wakers,
    ) -> Result<Vec<Result<TestAndSet>>, Failure> {
        let database = Arc::clone(&self.database);
        let lease = database.lease().map_err(Failure::Failed)?;
        lease.check_in_place().map_err(Failure::Failed)?;
        loop {
            match self.write_group(&lease, group, patience, told) {
                // Nothing of it was written: it is decided once more.
                Err(Failure::WouldBlock) if patience == Patience::Wait && self.refusal.is_some() => {
                    match self.await_writes(&lease) {
                        Err(Failure::Failed(error)) => return Ok(self.answer_each(&lease, group, &error, told)),
                        waited => waited?,
                    }
                }
                written => return written,
            }
        }
    }
}

fn failed(error: rocksdb::Error) -> Failure {
    if would_block(&error) {
        Failure::WouldBlock
    } else if is_fatal(&error) {
        Failure::SyncFailed(from_rocksdb(error))
    } else {
        Failure::Failed(not_applied(error))
    }
}

/// What the writes of a group come to.
struct Decided<'l, 'w> {
    lease: &'l Lease<'l>,
    hub: &'l Hub,
    hash: HashFunction,
    tier: Tier,
    /// Somebody watches something.
    is_watched: bool,
    is_cleared: bool,
    look: Look,
    entries: HashMap<Key, Pending, RandomState>,
    content: HashMap<ContentHash, &'w Addition, RandomState>,
    batch: WriteBatch,
}

/// Where a writer looks for the hash of a value before it writes that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// In memory, where it is not one of many: to look for all of them costs more than to write them unsynced.
    NearIfAlone,
    /// In memory: to read from the disk costs more than to write.
    Near,
    /// On the disk, too: nothing can be written.
    Far,
}

/// An entry that a group writes.
struct Pending {
    /// Its state before the group, where somebody watches it.
    old: Option<Old>,
    new: Option<Bytes>,
}

impl<'l, 'w> Decided<'l, 'w> {
    /// For a group that holds so many bytes.
    fn new(
        lease: &'l Lease<'l>,
        hub: &'l Hub,
        hash: HashFunction,
        patience: Patience,
        look: Look,
        bytes: usize,
    ) -> Self {
        Self {
            lease,
            hub,
            hash,
            tier: if patience == Patience::Wait { Tier::Disk } else { Tier::Memory },
            is_watched: hub.is_watched(),
            is_cleared: false,
            look,
            entries: HashMap::default(),
            content: HashMap::default(),
            batch: WriteBatch::with_capacity_bytes(BATCH_HEADER + bytes),
        }
    }

    /// What a write answers once the group is written. An outer error is the group's.
    fn decide(&mut self, write: &'w Write) -> Result<Result<TestAndSet>, Failure> {
        match write {
            Write::Entry { key, test, set } => self.decide_entry(key, test, set.as_ref()),
            Write::Content(additions) => self.decide_content(additions),
            Write::Clear => {
                self.clear();
                Ok(Ok(TestAndSet::Applied))
            }
            Write::Sync => Ok(Ok(TestAndSet::Applied)),
        }
    }

    fn decide_entry(&mut self, key: &Key, test: &Test, set: Option<&Bytes>) -> Result<Result<TestAndSet>, Failure> {
        let is_watched = self.is_watched && self.hub.covers(key);
        // What is there is of no concern to a write that asks for nothing, where nobody is told: to write the same again
        // changes nothing that can be seen (A3).
        let (old, current) = match test {
            Test::Any if !is_watched => (None, None),
            _ => match self.before(key, is_watched)? {
                // Bytes that rotted are no value to compare with; a write that asks for none replaces them.
                (_, Err(error)) if !matches!(test, Test::Any) => return Ok(Err(error.with_key(key))),
                (old, Err(_)) => (old, None),
                (old, Ok(current)) => (old, Some(current)),
            },
        };
        let decision = match &current {
            Some(current) => Decision::of(test, current.as_deref(), set.map(|set| &**set)),
            None => Decision::Replace,
        };
        Ok(Ok(match decision {
            Decision::Mismatch => TestAndSet::Mismatch { current: current.flatten() },
            Decision::Unchanged => TestAndSet::Applied,
            Decision::Replace => {
                self.replace(key, old, set);
                TestAndSet::Applied
            }
        }))
    }

    /// The state of an entry before this group, and before this write. An inner error is the entry's own.
    fn before(&self, key: &Key, is_watched: bool) -> Result<(Option<Old>, Result<Option<Bytes>>), Failure> {
        if let Some(pending) = self.entries.get(key) {
            return Ok((pending.old.clone(), Ok(pending.new.clone())));
        }
        if self.is_cleared && !is_watched {
            return Ok((None, Ok(None)));
        }
        let stored = self.stored(key)?;
        let old = is_watched.then(|| stored.as_ref().map_or(Old::Present(None), |value| value.clone().into()));
        Ok((old, if self.is_cleared { Ok(None) } else { stored }))
    }

    fn replace(&mut self, key: &Key, old: Option<Old>, set: Option<&Bytes>) {
        let name = key.as_str().as_bytes();
        match set {
            Some(value) => self.batch.put(name, frame::seal(name, value)),
            None => self.batch.delete(name),
        }
        match self.entries.entry(key.clone()) {
            Entry::Occupied(mut pending) => pending.get_mut().new = set.cloned(),
            Entry::Vacant(vacant) => {
                vacant.insert(Pending { old, new: set.cloned() });
            }
        }
    }

    /// The value of a key before this group. An inner error is the entry's own.
    fn stored(&self, key: &Key) -> Result<Result<Option<Bytes>>, Failure> {
        match self.lease.get(Space::Entries, key.as_str().as_bytes(), self.tier) {
            Ok(Found::Answer(None)) => Ok(Ok(None)),
            Ok(Found::Answer(Some(frame))) => {
                Ok(open_frame(key, &frame).map(|value| Some(Bytes::copy_from_slice(value))))
            }
            Ok(Found::NotInMemory) => Err(Failure::WouldBlock),
            Err(error) => Ok(Err(error)),
        }
    }

    /// One record, however much it removes.
    fn clear(&mut self) {
        let rows = self.lease.range(ReadOptions::default(), Space::Entries, &[], None);
        let any = rows.key().is_some() || rows.status().is_err() || !self.entries.is_empty();
        drop(rows);
        if any {
            self.batch.delete_range::<&[u8]>(&[], &BEHIND_ALL);
            self.is_cleared = true;
            self.entries.values_mut().for_each(|pending| pending.new = None);
        }
    }

    /// All of them are looked at before any is taken: if one cannot be, none is (I7).
    fn decide_content(&mut self, additions: &'w [Addition]) -> Result<Result<TestAndSet>, Failure> {
        let mut taken = Vec::with_capacity(additions.len());
        for addition in additions {
            match self.takes(addition, additions.len() == 1)? {
                Ok(true) => taken.push(addition),
                Ok(false) => {}
                Err(error) => return Ok(Err(error)),
            }
        }
        // RocksDB finds the place of a row sooner when it comes behind the one before it.
        taken.sort_unstable_by_key(|addition| addition.hash);
        let (hashes, content) = (self.lease.family(Space::Hashes), self.lease.family(Space::Content));
        for Addition { hash, value, .. } in &taken {
            let row = Row::of(value);
            if row == Row::Apart {
                self.batch.put_cf(content, hash.as_bytes(), value);
            }
            self.batch.put_cf(hashes, hash.as_bytes(), row.seal());
        }
        self.content.extend(taken.into_iter().map(|addition| (addition.hash, addition)));
        Ok(Ok(TestAndSet::Applied))
    }

    /// Whether an addition is written. One whose hash is not looked for is: it may take the place of whatever is there.
    fn takes(&self, addition: &Addition, is_alone: bool) -> Result<Result<bool>, Failure> {
        if let Some(present) = self.content.get(&addition.hash) {
            return Ok(Ok(addition.replaces(self.hash, present.trusted, &present.value)));
        }
        if !addition.trusted {
            return self.is_news(addition, self.tier);
        }
        // A long one was looked for before it queued: here it is found if another was faster.
        let tier = match self.look {
            Look::Far => self.tier,
            Look::NearIfAlone if !is_alone => return Ok(Ok(true)),
            Look::Near | Look::NearIfAlone => Tier::Memory,
        };
        match self.is_news(addition, tier) {
            Err(Failure::WouldBlock) => Ok(Ok(true)),
            looked => looked,
        }
    }

    /// Whether it is not what is there, as far as its hash is looked for. Where that is found, to read the value costs less
    /// than to write it.
    fn is_news(&self, addition: &Addition, look: Tier) -> Result<Result<bool>, Failure> {
        // What is there is compared, not trusted: it may have been added under a false hash, or have rotted (I2, I4).
        let replaces = |present: &[u8]| addition.replaces(self.hash, false, present);
        match value_under(self.lease, &addition.hash, [look, self.tier], replaces) {
            Ok(Found::Answer(replaces)) => Ok(Ok(replaces.unwrap_or(true))),
            Ok(Found::NotInMemory) => Err(Failure::WouldBlock),
            // Bytes that rotted give way to the value that has the hash.
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                Ok(Ok(addition.trusted || self.hash.hash(&addition.value) == addition.hash))
            }
            Err(error) => Ok(Err(error)),
        }
    }
}

/// The rows that a group leaves behind and that may be long, each with the length of its value.
fn rows_of<'g>(
    entries: &'g HashMap<Key, Pending, RandomState>,
    content: &'g HashMap<ContentHash, &Addition, RandomState>,
) -> impl Iterator<Item = (Space, &'g [u8], usize)> {
    let entries = entries.iter().map(|(key, Pending { new, .. })| {
        (Space::Entries, key.as_str().as_bytes(), new.as_ref().map_or(0, |value| frame::len(value.len())))
    });
    let content = content.iter().map(|(hash, addition)| (Space::Content, &hash.as_bytes()[..], addition.value.len()));
    entries.chain(content)
}

/// Tells the watches what a group changed; `cleared` has the names of what a `clear` in it removed, as far as it is
/// watched.
fn tell(hub: &Hub, seq: u64, entries: &HashMap<Key, Pending, RandomState>, cleared: Vec<Key>, told: &mut Wakers) {
    let mut publish = |key: Key, old: Old, new: Option<Bytes>| {
        told.extend([hub.publish(&Change { key, seq, old, new })]);
    };
    for (key, Pending { old, new }) in entries {
        if let Some(old) = old
            && *old != Old::from(new.clone())
        {
            publish(key.clone(), old.clone(), new.clone());
        }
    }
    for key in cleared {
        if !entries.contains_key(&key) {
            publish(key, Old::Present(None), None);
        }
    }
}

#[cfg(test)]
mod tests {
    use backend_kit::{Gate, OFFLOAD_LEN, Scope};
    use rocksdb::perf::{PerfContext, PerfMetric, PerfStatsLevel, set_perf_stats};
    use store_api::Init;
    use tempfile::TempDir;

    use super::*;
    use crate::{RocksdbOptions, database::Flush, refusal::Work};

    fn set(path: &str, value: &'static str) -> Write {
        Write::Entry { key: Key::new(path).unwrap(), test: Test::Any, set: Some(value.into()) }
    }

    fn test_and_set(path: &str, test: Option<&'static str>, set: Option<&'static str>) -> Write {
        let [test, set] = [test, set].map(|value| value.map(Bytes::from));
        Write::Entry { key: Key::new(path).unwrap(), test: Test::Is(test), set }
    }

    fn open_in(directory: &TempDir, syncs: bool) -> (Arc<Database>, Arc<Hub>, Writer) {
        let options = RocksdbOptions::new(directory.path().join("store"));
        let database = Arc::new(Database::open(&options).unwrap().0);
        let hub = Arc::new(Hub::new());
        let writer = Writer::new(Arc::clone(&database), Arc::clone(&hub), HashFunction::default(), syncs);
        (database, hub, writer)
    }

    #[test]
    fn a_write_that_asks_for_nothing_reads_what_is_there_only_for_those_who_watch_it() {
        let directory = TempDir::new().unwrap();
        let commit = |writer: &mut Writer, write: &Write, patience| {
            writer.commit(&[write], patience, &mut Wakers::default()).map(|answers| answers.len())
        };
        let (database, _, mut writer) = open_in(&directory, false);
        for path in ["watched", "other"] {
            commit(&mut writer, &set(path, "old"), Patience::Wait).unwrap();
        }
        database.close(Flush::Yes);

        // Nothing is in memory.
        let (_database, hub, mut writer) = open_in(&directory, false);
        let watched = Scope::Key(Key::new("watched").unwrap());
        let _watch = hub.register(&Gate::new(), watched, Init::Current).unwrap();
        let blocked = commit(&mut writer, &set("watched", "new"), Patience::None);
        assert!(matches!(blocked, Err(Failure::WouldBlock)), "{blocked:?}");
        assert_eq!(commit(&mut writer, &set("other", "new"), Patience::None).unwrap(), 1);
    }

    /// Both found that it was not there.
    #[test]
    fn a_long_value_is_not_written_again_by_the_slower_of_two_additions() {
        for (syncs, len) in [(true, 1024), (true, OFFLOAD_LEN + 1), (false, 1024), (false, OFFLOAD_LEN + 1)] {
            let directory = TempDir::new().unwrap();
            let (database, _, mut writer) = open_in(&directory, syncs);
            let value = Bytes::from(vec![7; len]);
            let addition = Addition { hash: writer.hash.hash(&value), value, trusted: true };
            let mut add = || {
                let write = Write::Content(vec![addition.clone()]);
                let answers = writer.commit(&[&write], Patience::Wait, &mut Wakers::default()).unwrap();
                assert!(answers.into_iter().all(|answer| answer.unwrap().is_applied()));
                database.lease().unwrap().rocksdb().latest_sequence_number()
            };
            let first = add();
            assert_eq!(add(), first, "of {len} bytes, synced: {syncs}");
        }
    }

    /// Writes `old` under `k`, and then `new`.
    fn fill_two_tables(writer: &mut Writer, lease: &Lease<'_>) {
        for value in ["old", "new"] {
            writer.commit(&[&set("k", value)], Patience::Wait, &mut Wakers::default()).unwrap();
            lease.rocksdb().flush().unwrap();
        }
        while lease.work().unwrap() != Work::None {
            thread::yield_now();
        }
    }

    /// With two tables, writes wait for a compaction that never comes.
    fn stall(lease: &Lease<'_>) {
        let stalls = [
            ("level0_file_num_compaction_trigger", "100"),
            ("level0_slowdown_writes_trigger", "2"),
            ("level0_stop_writes_trigger", "2"),
        ];
        lease.rocksdb().set_options_cf(lease.family(Space::Entries), &stalls).unwrap();
    }

    #[test]
    fn a_long_value_whose_change_was_refused_is_not_copied_on_an_async_worker() {
        let directory = TempDir::new().unwrap();
        let (database, _, mut writer) = open_in(&directory, false);
        let lease = database.lease().unwrap();
        fill_two_tables(&mut writer, &lease);
        let value = Some(Bytes::from(vec![7; OFFLOAD_LEN + 1]));
        let long = Write::Entry { key: Key::new("k").unwrap(), test: Test::Any, set: value };
        writer.commit(&[&long], Patience::Wait, &mut Wakers::default()).unwrap();
        stall(&lease);
        let refused = writer.commit(&[&set("k", "short")], Patience::None, &mut Wakers::default());
        assert!(matches!(refused, Err(Failure::WouldBlock)), "{refused:?}");
        set_perf_stats(PerfStatsLevel::EnableCount);
        let mut counts = PerfContext::default();
        counts.reset();
        assert!(matches!(lease.get(Space::Entries, b"k", Tier::Memory), Ok(Found::NotInMemory)));
        assert_eq!(counts.metric(PerfMetric::GetReadBytes), 0);
    }

    #[test]
    fn a3_what_needs_no_write_is_answered_beside_what_is_refused() {
        let directory = TempDir::new().unwrap();
        let (database, _, mut writer) = open_in(&directory, false);
        let lease = database.lease().unwrap();
        fill_two_tables(&mut writer, &lease);
        stall(&lease);
        // They have waited for long.
        writer.refusal = Some(Refusal::new(Instant::now().checked_sub(Duration::from_mins(2)).unwrap()));
        let group = [
            test_and_set("k", Some("old"), None),
            set("other", "value"),
            test_and_set("k", Some("new"), Some("new")),
            Write::Sync,
        ];
        let group: Vec<&Write> = group.iter().collect();
        let answers = writer.commit(&group, Patience::Wait, &mut Wakers::default()).unwrap();
        let answers: Vec<_> = answers.into_iter().map(|answer| answer.map_err(|error| error.kind())).collect();
        // With little room a stall of some seconds counts as one of a full disk.
        let kind = if lease.has_room() { ErrorKind::Unavailable } else { ErrorKind::NoSpace };
        let refused = || Err(kind);
        let mismatch = TestAndSet::Mismatch { current: Some("new".into()) };
        assert_eq!(answers, [Ok(mismatch), refused(), Ok(TestAndSet::Applied), refused()]);
    }
}
