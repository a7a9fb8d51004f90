//! The content, as its handles need it. Its keys have no locator: RocksDB finds a value by its hash.

use std::sync::Arc;

use backend_kit::{Addition, ContentStore, Context, Gate, Page, false_value, offload};
use bytes::Bytes;
use store_api::{ContentHash, ContentKey, Error, ErrorKind, HashFunction, Result};

use crate::{
    Instance, ROCKSDB,
    atomic_write::behind,
    database::{Lease, Space, ended},
    error::malformed,
    row::Row,
    writer::Write,
};

/// How many keys a page of a stream has.
const PAGE_KEYS: usize = 1024;

/// Behind this row, whose hash may be damaged.
type Cursor = Option<Vec<u8>>;

impl ContentStore for Instance {
    const CONTEXT: Context = ROCKSDB;

    type Cursor = Cursor;

    fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    fn hash_function(&self) -> HashFunction {
        self.hash
    }

    fn verifies(&self) -> bool {
        self.options.verify
    }

    fn batch_limit(&self) -> usize {
        self.options.batch_limit
    }

    async fn index(self: &Arc<Self>, hash: &ContentHash) -> Result<Option<ContentKey>> {
        let found = self.read(Space::Hashes, hash.as_bytes(), |_| Ok(())).await?;
        Ok(found.map(|()| (*hash).into()))
    }

    async fn find(self: &Arc<Self>, key: &ContentKey) -> Result<Option<Bytes>> {
        let hash = key.to_hash();
        let function = self.options.verify.then_some(self.hash);
        let take = move |value: &[u8]| match function {
            Some(function) if function.hash(value) != hash => Err(false_value()),
            _ => Ok(Bytes::copy_from_slice(value)),
        };
        let take_short = move |row: &[u8]| match Row::open(row)? {
            Row::Short(value) => take(value).map(Some),
            Row::Apart => Ok(None),
        };
        match self.read(Space::Hashes, hash.as_bytes(), take_short).await? {
            Some(None) => match self.read(Space::Content, hash.as_bytes(), take).await? {
                None => Err(Error::new(ErrorKind::Corrupt, "the value is missing; add it again")),
                found => Ok(found),
            },
            found => Ok(found.flatten()),
        }
    }

    async fn add(self: &Arc<Self>, addition: Addition) -> Result<ContentKey> {
        let key = addition.hash.into();
        self.committer.write(Write::Content(vec![addition])).await.map(|_| key)
    }

    async fn commit(self: &Arc<Self>, additions: Vec<Addition>) -> Result<()> {
        self.committer.enqueue(Write::Content(additions)).await.map(drop)
    }

    async fn page(self: Arc<Self>, from: Self::Cursor) -> Result<Page<ContentKey, Self::Cursor>> {
        offload(move || page(&self.database.lease()?, from)).await?
    }
}

fn page(lease: &Lease<'_>, from: Cursor) -> Result<Page<ContentKey, Cursor>> {
    let start = from.map(|last| behind(&last)).unwrap_or_default();
    let mut rows = lease.range(Space::Hashes, &start, None);
    let mut page = Page { items: Vec::new(), next: None };
    while let Some(name) = rows.key() {
        let hash = ContentHash::try_from(name);
        page.items.push(hash.map(ContentKey::from).map_err(|_| malformed()));
        if page.items.len() == PAGE_KEYS {
            page.next = Some(Some(name.to_owned()));
            return Ok(page);
        }
        rows.next();
    }
    ended(&rows)?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use store_api::{Append, Backend, ContentRead};
    use tempfile::TempDir;

    use super::*;
    use crate::RocksdbOptions;

    #[tokio::test]
    async fn a12_a_damaged_hash_is_told_and_hides_no_other() {
        let directory = TempDir::new().unwrap();
        let store = RocksdbOptions::new(directory.path().join("store")).open().await.unwrap();
        let content = store.indexable().unwrap();
        for value in ["one", "another"] {
            content.add(value.into()).await.unwrap();
        }
        let lease = store.instance.database.lease().unwrap();
        // In front of all hashes.
        lease.rocksdb().put_cf(lease.family(Space::Hashes), b"", b"").unwrap();
        drop(lease);
        let keys: Vec<_> = content.keys().map(|key| key.map(drop).map_err(|error| error.kind())).collect().await;
        assert_eq!(keys, [Err(ErrorKind::Corrupt), Ok(()), Ok(())]);
    }
}
