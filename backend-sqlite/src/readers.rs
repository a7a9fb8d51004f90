//! Connections for reading: a cached point read runs on its caller, and costs no thread hop.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, ThreadId},
    time::Duration,
};

use backend_kit::{Lanes, OFFLOAD_LEN, frame};
use rusqlite::Connection;
use store_api::{Error, MAX_VALUE_LEN, Result};
use tokio::sync::Notify;

use crate::{
    connection::{Location, retry_while_busy},
    error::{from_sqlite, is_busy},
};

/// Idle connections beyond these are closed.
const KEPT: usize = 16;

/// How many bytes of value are read on the caller's thread.
const INLINE_LIMIT: i64 = bytes(OFFLOAD_LEN);

/// The longest value, and the checksum of its frame.
const FRAME_LIMIT: i64 = bytes(frame::len(MAX_VALUE_LEN));

/// A length as SQLite counts it.
#[expect(clippy::cast_possible_wrap, reason = "lengths of values are at most 64 MiB")]
const fn bytes(len: usize) -> i64 {
    len as i64
}

/// A pool of connections, each lent to one read at a time.
pub(crate) struct Readers {
    pool: Mutex<Pool>,
    all_returned: Notify,
    /// Bounds the connections, each of which has files open; a read on its caller has one for a moment only.
    lanes: Lanes,
    busy: Duration,
    // Behind the connections: a temporary file is removed when they are closed.
    location: Arc<Location>,
}

#[derive(Default)]
struct Pool {
    /// Each with the thread that used it last: what it has cached is near that thread's core.
    idle: Vec<(ThreadId, Connection)>,
    lent: usize,
    closed: bool,
}

impl Pool {
    /// One that this thread used last, or another.
    fn take(&mut self) -> Option<Connection> {
        let own = thread::current().id();
        let nearest = self.idle.iter().rposition(|(thread, _)| *thread == own);
        let idle = nearest.map(|at| self.idle.swap_remove(at)).or_else(|| self.idle.pop());
        idle.map(|(_, connection)| connection)
    }
}

/// What a query found.
pub(crate) enum Found<T> {
    /// Its answer; an `Err` is about the data, not about SQLite.
    Answer(Result<T>),
    /// More bytes than it was allowed to read.
    TooLong,
}

/// What a read asks. It is given how many bytes of value it may read, and may be asked more than once.
pub(crate) trait Query<T>: FnMut(&Connection, i64) -> rusqlite::Result<Found<T>> {}

impl<T, Q: FnMut(&Connection, i64) -> rusqlite::Result<Found<T>>> Query<T> for Q {}

impl Readers {
    pub(crate) fn new(location: Arc<Location>, busy: Duration) -> Self {
        Self { location, busy, pool: Mutex::default(), all_returned: Notify::new(), lanes: Lanes::new(KEPT) }
    }

    /// Reads on the caller's thread; what is long, or locked, on one that may block.
    pub(crate) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        mut query: impl Query<T> + Send + 'static,
    ) -> Result<T> {
        // A statement of its own: the connection is back before anything is waited for.
        let found = self.lend()?.ask(&mut query, INLINE_LIMIT);
        match found {
            Ok(Found::Answer(answer)) => answer,
            Ok(Found::TooLong) => self.read_blocking(query).await,
            // Seldom: another process is recovering the log, or removing it as it leaves.
            Err(error) if is_busy(&error) => self.read_blocking(query).await,
            Err(error) => Err(from_sqlite(error)),
        }
    }

    /// Reads on a thread that may block.
    pub(crate) async fn read_blocking<T: Send + 'static>(
        self: &Arc<Self>,
        mut query: impl Query<T> + Send + 'static,
    ) -> Result<T> {
        let readers = Arc::clone(self);
        let read = move || {
            let reader = readers.lend()?;
            match retry_while_busy(readers.busy, || reader.ask(&mut query, FRAME_LIMIT)) {
                Ok(Found::Answer(answer)) => answer,
                Ok(Found::TooLong) => Err(crate::error::malformed()),
                Err(error) => Err(from_sqlite(error)),
            }
        };
        self.lanes.offload(read).await?
    }

    fn lend(self: &Arc<Self>) -> Result<Reader> {
        let connection = {
            let mut pool = self.pool();
            if pool.closed {
                return Err(Error::closed());
            }
            pool.lent += 1;
            pool.take()
        };
        // From here on it is returned, also when connecting fails.
        let mut reader = Reader { readers: Arc::clone(self), connection };
        if reader.connection.is_none() {
            reader.connection = Some(self.location.connect_to_read()?);
        }
        Ok(reader)
    }

    /// Lends no more, and returns when all that were lent are back and closed.
    pub(crate) async fn close(&self) {
        let idle = {
            let mut pool = self.pool();
            pool.closed = true;
            std::mem::take(&mut pool.idle)
        };
        drop(idle);
        loop {
            let returned = self.all_returned.notified();
            if self.pool().lent == 0 {
                return;
            }
            returned.await;
        }
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that was lent. Dropped, it goes back.
struct Reader {
    readers: Arc<Readers>,
    connection: Option<Connection>,
}

impl Reader {
    fn ask<T>(&self, query: &mut impl Query<T>, limit: i64) -> rusqlite::Result<Found<T>> {
        match &self.connection {
            Some(connection) => query(connection, limit),
            None => Ok(Found::Answer(Err(Error::closed()))),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut pool = self.readers.pool();
        let surplus = match self.connection.take() {
            Some(connection) if !pool.closed && pool.idle.len() < KEPT => {
                pool.idle.push((thread::current().id(), connection));
                None
            }
            connection => connection,
        };
        if surplus.is_some() {
            // Closed before it counts as returned: `close` waits until the last is.
            drop(pool);
            drop(surplus);
            pool = self.readers.pool();
        }
        pool.lent -= 1;
        if pool.closed && pool.lent == 0 {
            self.readers.all_returned.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, sync::mpsc};

    use futures_util::{FutureExt, future::join_all};

    use super::*;

    #[tokio::test]
    async fn a_long_read_that_waits_holds_no_connection() {
        let readers = Arc::new(Readers::new(Arc::new(Location::find(None, true).unwrap()), Duration::ZERO));
        let stay = || {
            let (go, wait) = mpsc::channel::<()>();
            let staying = readers.lanes.offload(move || wait.recv());
            (go, Box::pin(staying))
        };
        let (ends, mut all): (Vec<_>, Vec<_>) = (0..KEPT).map(|_| stay()).unzip();
        assert!(all.iter_mut().all(|staying| staying.now_or_never().is_none()));
        let query = |_: &Connection, limit: i64| -> rusqlite::Result<Found<()>> {
            Ok(if limit == INLINE_LIMIT { Found::TooLong } else { Found::Answer(Ok(())) })
        };
        let mut read = pin!(readers.read(query));
        assert!(read.as_mut().now_or_never().is_none());
        assert_eq!(readers.pool().lent, 0);
        drop(ends);
        read.await.unwrap();
        join_all(all).await;
    }
}
