//! What the loads leave out: whether a key is there, its removal, and lists of keys.

use benches::{Client, StoreClient};
use futures_util::TryStreamExt;
use rusqlite::params;
use store_api::{Key, Result};

use crate::engines::{failed, map, rocksdb, sqlite, unsupported};

/// A client that can be asked for its keys alone.
pub(crate) trait Keyed: Client {
    /// Whether a key is there.
    async fn mem(&mut self, key: &Key) -> Result<bool>;

    /// Removes a key, whatever it has.
    async fn remove(&mut self, key: &Key) -> Result<()>;

    /// Reads the keys below another, and says how many they are.
    async fn list(&mut self, under: &Key) -> Result<usize>;
}

impl Keyed for StoreClient {
    async fn mem(&mut self, key: &Key) -> Result<bool> {
        self.entries().mem(key).await
    }

    async fn remove(&mut self, key: &Key) -> Result<()> {
        self.entries().remove(key).await
    }

    async fn list(&mut self, under: &Key) -> Result<usize> {
        self.entries().list(under).try_fold(0, async |count, _| Ok(count + 1)).await
    }
}

impl Keyed for map::Shared {
    async fn mem(&mut self, key: &Key) -> Result<bool> {
        Ok(self.0.contains_key(key))
    }

    async fn remove(&mut self, key: &Key) -> Result<()> {
        self.0.remove(key);
        Ok(())
    }

    async fn list(&mut self, _: &Key) -> Result<usize> {
        unsupported("a hash map has no ranges")
    }
}

impl Keyed for rocksdb::Shared {
    async fn mem(&mut self, key: &Key) -> Result<bool> {
        self.0.database.get_pinned(key.as_str()).map(|found| found.is_some()).map_err(failed)
    }

    async fn remove(&mut self, key: &Key) -> Result<()> {
        self.0.database.delete_opt(key.as_str(), &self.how()).map_err(failed)
    }

    async fn list(&mut self, under: &Key) -> Result<usize> {
        // RocksDB reads keys with their values.
        self.scan(under).await
    }
}

impl Keyed for sqlite::Connected {
    async fn mem(&mut self, key: &Key) -> Result<bool> {
        let mut select = self.prepared("SELECT 1 FROM entries WHERE key = ?1").map_err(failed)?;
        select.exists([key.as_str().as_bytes()]).map_err(failed)
    }

    async fn remove(&mut self, key: &Key) -> Result<()> {
        let mut delete = self.prepared("DELETE FROM entries WHERE key = ?1").map_err(failed)?;
        delete.execute([key.as_str().as_bytes()]).map(drop).map_err(failed)
    }

    async fn list(&mut self, under: &Key) -> Result<usize> {
        let (from, to) = (format!("{under}/"), format!("{under}0"));
        let mut select =
            self.prepared("SELECT key FROM entries WHERE key >= ?1 AND key < ?2 ORDER BY key").map_err(failed)?;
        let rows = select.query_map(params![from.as_bytes(), to.as_bytes()], |row| row.get::<_, Vec<u8>>(0));
        rows.and_then(|mut rows| rows.try_fold(0, |count, row| row.map(|_| count + 1))).map_err(failed)
    }
}
