//! The content, as its handles need it. Its keys have no locator: RocksDB finds a value by its hash.

use std::sync::Arc;

use backend_kit::{Addition, ContentStore, Context, Gate, Page, false_value, offload};
use bytes::Bytes;
use store_api::{ContentHash, ContentKey, Error, ErrorKind, HashFunction, Result};

use crate::{
    Instance, ROCKSDB,
    atomic_write::behind,
    database::{Found, Lease, Space, Tier, ended, for_page},
    error::malformed,
    row::Row,
    writer::Write,
};

/// How many keys a page of a stream has.
const PAGE_KEYS: usize = 1024;

/// Behind this row, whose hash may be damaged.
type Cursor = Option<Vec<u8>>;

impl ContentStore for Instance {
    type Cursor = Cursor;

    fn context(&self) -> Context {
        ROCKSDB
    }

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
        let news = self.news(vec![addition]).await?;
        self.committer.write(Write::Content(news)).await.map(|_| key)
    }

    async fn commit(self: &Arc<Self>, additions: Vec<Addition>) -> Result<()> {
        let news = self.news(additions).await?;
        self.committer.enqueue(Write::Content(news)).await.map(drop)
    }

    async fn page(self: Arc<Self>, from: Self::Cursor) -> Result<Page<ContentKey, Self::Cursor>> {
        offload(move || page(&self.database.lease()?, from)).await?
    }
}

impl Instance {
    /// What is left for the writer, whom others wait for: without the long values that are there already.
    ///
    /// No row of content is ever removed, and a value gives way only to the one that has the hash. So what is found here
    /// stays, or was there while the addition was under way (I4). What is not found may come before the writer does: the
    /// true value is then written once more, and of another one the writer decides.
    async fn news(self: &Arc<Self>, additions: Vec<Addition>) -> Result<Vec<Addition>> {
        if !additions.iter().any(is_long) {
            return Ok(additions);
        }
        if let [addition] = &additions[..]
            && let Found::Answer(held) = holds(&self.database.lease()?, addition, Tier::Memory)?
        {
            return Ok(if held == Some(true) { Vec::new() } else { additions });
        }
        let database = Arc::clone(&self.database);
        offload(move || {
            let lease = database.lease()?;
            let mut news = Vec::new();
            for addition in additions {
                let is_held =
                    is_long(&addition) && matches!(holds(&lease, &addition, Tier::Disk)?, Found::Answer(Some(true)));
                if !is_held {
                    news.push(addition);
                }
            }
            Ok(news)
        })
        .await?
    }
}

fn is_long(addition: &Addition) -> bool {
    Row::of(&addition.value) == Row::Apart
}

/// Whether this value is there under its hash.
fn holds(lease: &Lease<'_>, addition: &Addition, tier: Tier) -> Result<Found<bool>> {
    match value_under(lease, &addition.hash, [tier; 2], |present| *present == *addition.value) {
        // Bytes that rotted are no value.
        Err(error) if error.kind() == ErrorKind::Corrupt => Ok(Found::Answer(None)),
        found => found,
    }
}

/// What `take` makes of the value under a hash. The row of the hash is read as far as the first tier says, and a value that
/// lies apart from it as far as the second does.
pub(crate) fn value_under<T>(
    lease: &Lease<'_>,
    hash: &ContentHash,
    [row_tier, value_tier]: [Tier; 2],
    take: impl FnOnce(&[u8]) -> T,
) -> Result<Found<T>> {
    let row = match lease.get(Space::Hashes, hash.as_bytes(), row_tier)? {
        Found::Answer(Some(row)) => row,
        Found::Answer(None) => return Ok(Found::Answer(None)),
        Found::NotInMemory => return Ok(Found::NotInMemory),
    };
    match Row::open(&row)? {
        Row::Short(value) => Ok(Found::Answer(Some(take(value)))),
        Row::Apart => Ok(match lease.get(Space::Content, hash.as_bytes(), value_tier)? {
            Found::Answer(value) => Found::Answer(value.map(|value| take(&value))),
            Found::NotInMemory => Found::NotInMemory,
        }),
    }
}

fn page(lease: &Lease<'_>, from: Cursor) -> Result<Page<ContentKey, Cursor>> {
    let options = for_page(from.is_none());
    let start = from.map(|last| behind(&last)).unwrap_or_default();
    let mut rows = lease.range(options, Space::Hashes, &start, None);
    let mut page = Page { items: Vec::new(), next: None };
    while let Some(name) = rows.key() {
        lease.check_open()?;
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
    use crate::{Rocksdb, RocksdbOptions};

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

    #[tokio::test]
    async fn the_writer_is_left_with_the_long_values_that_are_not_there() {
        let directory = TempDir::new().unwrap();
        let options = RocksdbOptions::new(directory.path().join("store"));
        let store = options.clone().open().await.unwrap();
        let (mut there, mut news) = (Vec::new(), Vec::new());
        for len in [4 * 1024, 300 * 1024] {
            let value = |byte| Bytes::from(vec![byte; len]);
            let under = |truth: u8, value: Bytes, trusted| Addition {
                hash: store.instance.hash.hash(&vec![truth; len]),
                value,
                trusted,
            };
            there.extend([under(1, value(1), true), under(2, value(3), false)]);
            news.extend([under(2, value(2), true), under(4, value(4), true)]);
        }
        ContentStore::commit(&store.instance, there.clone()).await.unwrap();
        assert_left(&store, &there, &news).await;
        store.close().await.unwrap();
        assert_left(&options.open().await.unwrap(), &there, &news).await;
    }

    async fn assert_left(store: &Rocksdb, there: &[Addition], news: &[Addition]) {
        let left = async |additions: Vec<Addition>| {
            let left = store.instance.news(additions).await.unwrap();
            left.into_iter().map(|addition| addition.value).collect::<Vec<_>>()
        };
        for addition in there {
            assert_eq!(left(vec![addition.clone()]).await.len(), 0, "{addition:?}");
        }
        for addition in news {
            assert_eq!(left(vec![addition.clone()]).await.len(), 1, "{addition:?}");
        }
        let values: Vec<_> = news.iter().map(|addition| addition.value.clone()).collect();
        assert!(left([there, news].concat()).await == values);
    }
}
