//! The mirror: what was fed to the hub of the watched keys, and how it is brought up to date.

use std::collections::{BTreeMap, HashSet};

use backend_kit::{Change, Hub, Old, Scope, Wakers};
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};
use store_api::{Error, Key, Result};

use super::{Fed, Observer};
use crate::{
    connection::retry_while_busy,
    error::{from_sqlite, malformed},
    schema::{NO_KEY, key_of, key_range, last_seq, open_frame, seq_of},
};

/// What was fed to the hub, of the watched keys.
#[derive(Default)]
pub(super) struct Mirror {
    pub(super) connection: Option<Connection>,
    closed: bool,
    /// The sequence number of the last snapshot: all changes up to it are fed.
    as_of: u64,
    /// SQLite's mark of that moment; it moves when another connection commits.
    data_version: i64,
    scopes: Scopes,
    /// The hub's, when the scopes were last compared with what is watched.
    generation: u64,
    /// The keys in these scopes that are there, with the sequence number of the change that was fed last.
    keys: BTreeMap<Key, u64>,
}

/// Scopes that were watched when they were last looked at.
#[derive(Default)]
struct Scopes {
    keys: HashSet<Key>,
    paths: HashSet<Key>,
}

impl Scopes {
    fn cover(&self, key: &Key) -> bool {
        self.keys.contains(key) || key.ancestors().any(|path| self.paths.contains(path))
    }

    fn cover_all_of(&self, scope: &Scope) -> bool {
        match scope {
            Scope::Key(key) => self.cover(key),
            Scope::Under(path) => path.ancestors().any(|path| self.paths.contains(path)),
        }
    }

    fn insert(&mut self, scope: Scope) {
        match scope {
            Scope::Key(key) => self.keys.insert(key),
            Scope::Under(path) => self.paths.insert(path),
        };
    }

    fn len(&self) -> usize {
        self.keys.len() + self.paths.len()
    }

    fn iter(&self) -> impl Iterator<Item = Scope> {
        let keys = self.keys.iter().cloned().map(Scope::Key);
        keys.chain(self.paths.iter().cloned().map(Scope::Under))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        let mut collected = Self::default();
        scopes.into_iter().for_each(|scope| collected.insert(scope));
        collected
    }
}

impl Mirror {
    /// Feeds changes of this instance, unless a snapshot had them already.
    pub(super) fn feed(&mut self, hub: &Hub, fed: Vec<Fed>) -> Wakers {
        let mut wakers = Wakers::default();
        for fed in fed {
            match fed {
                Fed::Changed { key, seq, prior, new } => {
                    if seq > self.as_of && self.scopes.cover(&key) {
                        let known = prior.filter(|prior| Some(&prior.seq) == self.keys.get(&key));
                        let value = known.and_then(|prior| prior.value);
                        wakers.extend([self.change(hub, key, seq, value, new)]);
                    }
                }
                Fed::Cleared { seq } if seq > self.as_of => {
                    for (key, _) in std::mem::take(&mut self.keys) {
                        let old = Old::Present(None);
                        wakers.extend([hub.publish(&Change { key, seq, old, new: None })]);
                    }
                }
                Fed::Cleared { .. } => {}
            }
        }
        wakers
    }

    /// Feeds one change, as the next in its key's chain. `value` is what the mirror's state of the key was, if known.
    fn change(&mut self, hub: &Hub, key: Key, seq: u64, value: Option<Bytes>, new: Option<Bytes>) -> Wakers {
        let known = match new {
            Some(_) => self.keys.insert(key.clone(), seq),
            None => self.keys.remove(&key),
        };
        let old = match known {
            None if new.is_none() => return Wakers::default(),
            None => Old::Absent,
            Some(_) => Old::Present(value),
        };
        hub.publish(&Change { key, seq, old, new })
    }

    /// Feeds what was committed since the last look, if anything was.
    pub(super) fn look(&mut self, observer: &Observer, wakers: &mut Wakers) -> Result<()> {
        observer.location.check_in_place()?;
        let connection = self.connection(observer)?;
        // Read before the snapshot: what is committed in between moves it, and is looked at the next time.
        let version = retry_while_busy(observer.busy, || data_version(connection)).map_err(from_sqlite)?;
        if version == self.data_version {
            return Ok(());
        }
        self.in_snapshot(observer, |mirror, snapshot| {
            mirror.drop_spare_scopes(&observer.hub);
            mirror.catch_up(&observer.hub, snapshot, wakers)?;
            mirror.data_version = version;
            Ok(())
        })
    }

    /// Nothing is watched.
    pub(super) fn forget(&mut self) {
        self.scopes = Scopes::default();
        self.keys = BTreeMap::new();
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
        self.connection = None;
    }

    fn connection(&mut self, observer: &Observer) -> Result<&Connection> {
        if self.closed {
            return Err(Error::closed());
        }
        if self.connection.is_none() {
            self.connection = Some(observer.location.connect_to_read()?);
        }
        self.connection.as_ref().ok_or_else(Error::closed)
    }

    /// Runs `read` while one snapshot of the store is held.
    pub(super) fn in_snapshot<T>(
        &mut self,
        observer: &Observer,
        read: impl FnOnce(&mut Self, &Snapshot<'_>) -> Result<T>,
    ) -> Result<T> {
        self.connection(observer)?;
        // Taken out, so that the mirror can change while the snapshot is read.
        let Some(connection) = self.connection.take() else { return Err(Error::closed()) };
        let result = match retry_while_busy(observer.busy, || Snapshot::begin(&connection)) {
            Ok(snapshot) => read(self, &snapshot),
            Err(error) => Err(from_sqlite(error)),
        };
        // One whose snapshot could not be ended is of no more use.
        self.connection = connection.is_autocommit().then_some(connection);
        result
    }

    /// Feeds what differs between what was fed and the snapshot. A failure leaves it half done, and can be repeated.
    pub(super) fn catch_up(&mut self, hub: &Hub, snapshot: &Snapshot<'_>, wakers: &mut Wakers) -> Result<()> {
        if self.scopes.len() > 0 {
            for key in self.candidates(snapshot)? {
                wakers.extend([self.compare(hub, snapshot, key)?]);
            }
        }
        self.as_of = snapshot.last;
        Ok(())
    }

    /// The watched keys that may differ: those in the log, or all where it does not reach back.
    fn candidates(&self, snapshot: &Snapshot<'_>) -> Result<Vec<Key>> {
        if snapshot.floor > self.as_of {
            return self.all(snapshot);
        }
        match snapshot.changed_since(self.as_of)? {
            Ok(mut keys) => {
                keys.retain(|key| self.scopes.cover(key));
                Ok(keys)
            }
            // A row of the log has rotted: nobody knows whose change it was.
            Err(_) => self.all(snapshot),
        }
    }

    /// The watched keys that differ between the mirror and the snapshot.
    fn all(&self, snapshot: &Snapshot<'_>) -> Result<Vec<Key>> {
        let mut keys: HashSet<Key> = self.keys.keys().cloned().collect();
        for scope in self.scopes.iter() {
            snapshot.keys_in(&scope, |key, seq| {
                if self.keys.get(&key) == Some(&seq) {
                    keys.remove(&key);
                } else {
                    keys.insert(key);
                }
            })?;
        }
        Ok(keys.into_iter().collect())
    }

    /// Feeds one key, if the snapshot has a newer state of it.
    fn compare(&mut self, hub: &Hub, snapshot: &Snapshot<'_>, key: Key) -> Result<Wakers> {
        let (seq, value) = match snapshot.find(&key)? {
            Some((seq, Ok(_))) if self.keys.get(&key).is_some_and(|fed| *fed >= seq) => return Ok(Wakers::default()),
            Some((seq, Ok(value))) => (seq, Some(value)),
            Some((_, Err(error))) => {
                // The chain stays as it was, for the write that repairs it.
                return Ok(hub.fault_of(&key, &error));
            }
            None => (snapshot.last, None),
        };
        Ok(self.change(hub, key, seq, None, value))
    }

    /// Mirrors a scope from here on.
    pub(super) fn cover(&mut self, snapshot: &Snapshot<'_>, scope: &Scope) -> Result<()> {
        if self.scopes.cover_all_of(scope) {
            return Ok(());
        }
        // Of a scope that could not be read nothing stays: nobody would keep it up to date.
        let mut keys = Vec::new();
        snapshot.keys_in(scope, |key, seq| keys.push((key, seq)))?;
        self.keys.extend(keys);
        self.scopes.insert(scope.clone());
        Ok(())
    }

    /// Keeps no scope that nobody watches any longer.
    fn drop_spare_scopes(&mut self, hub: &Hub) {
        let generation = hub.generation();
        if self.generation == generation {
            return;
        }
        self.generation = generation;
        self.scopes = hub.scopes().into_iter().collect();
        let scopes = &self.scopes;
        self.keys.retain(|key, _| scopes.cover(key));
    }
}

fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}

/// A read transaction: one state of the store.
pub(super) struct Snapshot<'c> {
    connection: &'c Connection,
    /// Changes up to this one are no longer in the log.
    floor: u64,
    last: u64,
}

impl<'c> Snapshot<'c> {
    fn begin(connection: &'c Connection) -> rusqlite::Result<Self> {
        connection.prepare_cached("BEGIN")?.execute([])?;
        // From here on it is ended, also when reading fails.
        let mut snapshot = Self { connection, floor: 0, last: 0 };
        let mut floor = connection.prepare_cached("SELECT floor FROM state")?;
        snapshot.floor = floor.query_row([], |row| row.get::<_, i64>(0))?.max(0).unsigned_abs();
        snapshot.last = last_seq(connection)?.unsigned_abs();
        Ok(snapshot)
    }

    /// The keys in the log; the inner error is about a row of it.
    fn changed_since(&self, seq: u64) -> Result<Result<Vec<Key>>> {
        let read = || {
            let mut changed = self.connection.prepare_cached("SELECT DISTINCT key FROM changes WHERE seq > ?1")?;
            let rows = changed.query_map([seq.cast_signed()], |row| Ok(key_of(row.get_ref(0)?)))?;
            rows.collect::<rusqlite::Result<Result<Vec<_>>>>()
        };
        read().map_err(from_sqlite)
    }

    /// An entry with the sequence number of its last change; an inner error is about its bytes.
    fn find(&self, key: &Key) -> Result<Option<(u64, Result<Bytes>)>> {
        let read = || {
            let mut find = self.connection.prepare_cached("SELECT seq, frame FROM entries WHERE key = ?1")?;
            let entry = find.query_row([key.as_str().as_bytes()], |row| {
                let value = open_frame(key, row.get_ref(1)?).map(Bytes::copy_from_slice);
                let seq = seq_of(row, 0);
                let value = if seq == 0 { Err(malformed()) } else { value };
                Ok((seq, value.map_err(|error| error.with_key(key))))
            });
            entry.optional()
        };
        read().map_err(from_sqlite)
    }

    /// The keys in a scope with the sequence numbers of their last changes.
    fn keys_in(&self, scope: &Scope, mut visit: impl FnMut(Key, u64)) -> Result<()> {
        self.rows_in(scope, "SELECT key, seq", |key, row| {
            visit(key, seq_of(row, 1));
            Ok(Ok(()))
        })
    }

    /// The entries in a scope with the sequence numbers of their last changes.
    pub(super) fn entries_in(&self, scope: &Scope, mut visit: impl FnMut(Key, u64, Bytes)) -> Result<()> {
        self.rows_in(scope, "SELECT key, seq, frame", |key, row| {
            let value = match open_frame(&key, row.get_ref(2)?) {
                Ok(value) => Bytes::copy_from_slice(value),
                Err(error) => return Ok(Err(error.with_key(key))),
            };
            // An entry whose own number has rotted is at least older than any change to come.
            visit(key, seq_of(row, 1).max(1), value);
            Ok(Ok(()))
        })
    }

    fn rows_in(
        &self,
        scope: &Scope,
        select: &str,
        mut visit: impl FnMut(Key, &rusqlite::Row<'_>) -> rusqlite::Result<Result<()>>,
    ) -> Result<()> {
        let (from, to) = match scope {
            Scope::Under(path) => key_range(path),
            Scope::Key(_) => (NO_KEY.into(), NO_KEY.into()),
        };
        let mut read = || {
            let sql = format!("{select} FROM entries WHERE key = ?1 OR (key >= ?2 AND key < ?3)");
            let mut rows = self.connection.prepare_cached(&sql)?;
            let mut rows = rows.query(params![scope.path().as_str().as_bytes(), from, to])?;
            while let Some(row) = rows.next()? {
                let Ok(key) = key_of(row.get_ref(0)?) else {
                    // It is nobody's key, so that nobody's watch can tell of it; `list` does.
                    tracing::warn!("a key of the store is damaged");
                    continue;
                };
                let visited = visit(key, row)?;
                if visited.is_err() {
                    return Ok(visited);
                }
            }
            Ok(Ok(()))
        };
        read().map_err(from_sqlite)?
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        // If it cannot be ended, whoever has the connection closes that.
        if let Err(error) = self.connection.execute_batch("COMMIT") {
            tracing::warn!(error = %error, "a snapshot could not be ended");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use backend_kit::Gate;
    use store_api::{ErrorKind, Init};

    use super::*;
    use crate::{connection::Location, schema};

    #[test]
    fn a_watch_that_is_refused_leaves_nothing_in_the_mirror() {
        let location = Arc::new(Location::find(None, true).unwrap());
        let connection = location.connect_to_write().unwrap();
        schema::prepare(&connection, None).unwrap();
        connection.execute("INSERT INTO entries (key, seq, frame) VALUES (CAST('a' AS BLOB), 1, x'')", []).unwrap();
        let hub = Arc::new(Hub::new());
        // So that the poller does not forget all of it.
        let handle = Gate::new();
        let _beside = hub.prepare(&handle, Scope::Key(Key::new("b").unwrap()), Init::Current).unwrap();
        let observer = Arc::new(Observer::new(location, hub, Duration::from_mins(1), Duration::ZERO));
        let known = Init::Known(vec![(Key::new("b").unwrap(), Bytes::new())]);
        let refusal = observer.register(&handle, &Scope::Under(Key::new("a").unwrap()), known).unwrap_err();
        assert_eq!(refusal.kind(), ErrorKind::InvalidInput);
        let mirror = observer.mirror();
        assert!(mirror.keys.is_empty() && mirror.scopes.len() == 0);
    }

    #[test]
    fn w3_of_a_scope_that_cannot_be_read_to_its_end_nothing_stays_in_the_mirror() {
        let connection = Connection::open_in_memory().unwrap();
        // The second row cannot be read: there is no such absolute value.
        let entries = "CREATE TABLE rows (name TEXT, number INTEGER);
            INSERT INTO rows VALUES ('a', 1), ('b', -9223372036854775808);
            CREATE VIEW entries AS SELECT CAST(name AS BLOB) AS key, abs(number) AS seq FROM rows;
            BEGIN";
        connection.execute_batch(entries).unwrap();
        let snapshot = Snapshot { connection: &connection, floor: 0, last: 0 };
        let mut mirror = Mirror::default();
        mirror.cover(&snapshot, &Scope::Under(Key::root())).unwrap_err();
        assert!(mirror.keys.is_empty() && mirror.scopes.len() == 0);
    }
}
