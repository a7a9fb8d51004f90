//! What one would do by hand with a library for object stores: an object for each value.

use benches::{Remote, measure_remote};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::{ObjectStore, ObjectStoreExt, PutMode, UpdateVersion, aws::AmazonS3, path::Path};
use opendal::Operator;
use store_api::{HashFunction, Result};

use super::{ADD, BATCH, BATCHED, FIND, FIND_CONTENT, LIST, LISTED, SET, TEST_AND_SET, Way, failed};

/// How many requests of a batch are under way.
const AT_ONCE: usize = 64;

/// Such a library, at a bucket.
pub(super) trait Service {
    /// What an update is conditional on.
    type Version;

    async fn read(&self, path: &str) -> Result<Bytes>;

    async fn write(&self, path: &str, value: Bytes) -> Result<Self::Version>;

    /// Where the object has this version still.
    async fn replace(&self, path: &str, version: &Self::Version, value: Bytes) -> Result<Self::Version>;

    /// How many objects there are.
    async fn count(&self, below: &str) -> Result<usize>;
}

impl Service for AmazonS3 {
    type Version = UpdateVersion;

    async fn read(&self, path: &str) -> Result<Bytes> {
        self.get(&Path::from(path)).await.map_err(failed)?.bytes().await.map_err(failed)
    }

    async fn write(&self, path: &str, value: Bytes) -> Result<UpdateVersion> {
        self.put(&Path::from(path), value.into()).await.map(Into::into).map_err(failed)
    }

    async fn replace(&self, path: &str, version: &UpdateVersion, value: Bytes) -> Result<UpdateVersion> {
        let mode = PutMode::Update(version.clone());
        self.put_opts(&Path::from(path), value.into(), mode.into()).await.map(Into::into).map_err(failed)
    }

    async fn count(&self, below: &str) -> Result<usize> {
        let below = Path::from(below);
        self.list(Some(&below)).try_fold(0, async |count, _| Ok(count + 1)).await.map_err(failed)
    }
}

impl Service for Operator {
    /// The entity tag.
    type Version = String;

    async fn read(&self, path: &str) -> Result<Bytes> {
        Self::read(self, path).await.map(|read| read.to_bytes()).map_err(failed)
    }

    async fn write(&self, path: &str, value: Bytes) -> Result<String> {
        tag(&Self::write(self, path, value).await.map_err(failed)?)
    }

    async fn replace(&self, path: &str, version: &String, value: Bytes) -> Result<String> {
        tag(&self.write_with(path, value).if_match(version).await.map_err(failed)?)
    }

    async fn count(&self, below: &str) -> Result<usize> {
        self.list(&format!("{below}/")).await.map(|entries| entries.len()).map_err(failed)
    }
}

fn tag(written: &opendal::Metadata) -> Result<String> {
    written.etag().map(str::to_owned).ok_or_else(|| failed("no entity tag of what was written"))
}

/// Does each operation so often, batches a tenth of it.
pub(super) async fn measure<S: Service>(
    name: &str,
    service: &S,
    below: &str,
    way: &Way,
    times: u64,
) -> Result<Vec<Remote>> {
    let key = format!("{below}/known");
    let value = |time: u64| Bytes::from(format!("{time:0128}"));
    let mut version = service.write(&key, value(0)).await?;
    let under = format!("{below}/listed");
    for listed in 0..LISTED {
        service.write(&format!("{under}/{listed}"), value(0)).await?;
    }
    let read = async |path: &str| service.read(path).await.map(drop);
    let mut rows = vec![
        measure_remote(FIND, name, way, times, async |_| read(&key).await).await?,
        measure_remote(SET, name, way, times, async |time| {
            version = service.write(&key, value(time + 1)).await?;
            Ok(())
        })
        .await?,
    ];
    let conditional = async |time: u64| {
        version = service.replace(&key, &version, value(times + time + 1)).await?;
        Ok(())
    };
    rows.push(measure_remote(TEST_AND_SET, name, way, times, conditional).await?);
    let listed = async |_| {
        assert_eq!(service.count(&under).await?, LISTED, "what was written is listed");
        Ok(())
    };
    rows.push(measure_remote(LIST, name, way, times, listed).await?);
    let of = |value: &Bytes| format!("{below}/content/{}", HashFunction::Blake3.hash(value));
    let long = |time: u64| Bytes::from(format!("{time:04096}"));
    let add = async |time: u64| service.write(&of(&long(time)), long(time)).await.map(drop);
    rows.push(measure_remote(ADD, name, way, times, add).await?);
    let batch = async |time: u64| {
        let writes = (0..BATCHED).map(|each| {
            let value = value(time * BATCHED + each);
            async { service.write(&of(&value), value).await.map(drop) }
        });
        stream::iter(writes).buffer_unordered(AT_ONCE).try_collect().await
    };
    rows.push(measure_remote(BATCH, name, way, times.div_ceil(10), batch).await?);
    rows.push(measure_remote(FIND_CONTENT, name, way, times, async |time| read(&of(&long(time))).await).await?);
    Ok(rows)
}
