//! An object store: ours beside `object_store` itself, both on a real server that is far away.

use std::{error::Error as StdError, sync::Arc, time::Duration};

use backend_s3::{S3, S3Options};
use benches::{Remote, Traffic, measure_remote};
use bytes::Bytes;
use conformance::proxy::{Fault, Proxy};
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::{
    ObjectStore, ObjectStoreExt, PutMode, UpdateVersion,
    aws::{AmazonS3, AmazonS3Builder},
    path::Path,
};
use store_api::{Append, AtomicWrite, Backend, Error, ErrorKind, HashFunction, Key, Result};
use test_servers::{Kind, Shared};
use tokio::task::spawn_blocking;

use crate::missing;

pub(crate) const OURS: &str = "irminsul s3";
const RAW: &str = "object_store";

const FIND: &str = "find";
const SET: &str = "set";
pub(crate) const TEST_AND_SET: &str = "test-and-set of a known key";
const LIST: &str = "list of 100";
const ADD: &str = "add of 4 KiB";
pub(crate) const BATCH: &str = "batch of 1,000 x 128 bytes";
const FIND_CONTENT: &str = "find of content";

/// How much later each request arrives: about the way to another city and back.
const FAR_AWAY: Duration = Duration::from_millis(10);
/// How many requests of a batch the raw engine has under way.
const AT_ONCE: usize = 64;
const LISTED: usize = 100;
const BATCHED: u64 = 1000;

/// Counts what goes through a proxy.
struct Way(Proxy);

impl Traffic for Way {
    fn requests(&self) -> u64 {
        self.0.requests()
    }

    fn bytes(&self) -> u64 {
        self.0.bytes()
    }
}

/// Does each operation so often, batches a tenth of it; nothing where no server can be started.
pub(crate) async fn measure(times: u64) -> Result<Vec<Remote>> {
    let server = match spawn_blocking(|| Shared::get(Kind::SeaweedFs)).await.map_err(failed)? {
        Ok(server) => server,
        Err(error) => {
            missing(&format!("no object store: {error}"))?;
            return Ok(Vec::new());
        }
    };
    let endpoint = server.endpoint();
    let proxy = Proxy::start(([127, 0, 0, 1], endpoint.port()).into(), 1).await.map_err(failed)?;
    proxy.sometimes(1.0, Fault::Delayed(FAR_AWAY), |_| true);
    let [(_, id), (_, secret)] = endpoint.credentials();
    let store = AmazonS3Builder::new()
        .with_endpoint(endpoint.url_through(proxy.address().port()))
        .with_allow_http(true)
        .with_bucket_name(endpoint.bucket())
        .with_region("us-east-1")
        .with_access_key_id(id)
        .with_secret_access_key(secret)
        .build()
        .map_err(failed)?;
    let (store, way) = (Arc::new(store), Way(proxy));
    let prefix = format!("bench-{:016x}", fastrand::u64(..));

    let s3 = S3Options::over(Arc::clone(&store) as Arc<dyn ObjectStore>).prefix(&prefix);
    let opened = s3.clone().open().await?;
    let mut found = ours(&opened, &way, times).await?;
    opened.close().await?;
    s3.destroy().await?;

    let below = Path::from(format!("{prefix}-raw"));
    found.extend(raw(&store, &below, &way, times).await.map_err(failed)?);
    let objects = store.list(Some(&below)).map_ok(|object| object.location).boxed();
    store.delete_stream(objects).try_collect::<Vec<_>>().await.map_err(failed)?;
    // Each operation of ours beside the raw one.
    let operations = [FIND, SET, TEST_AND_SET, LIST, ADD, BATCH, FIND_CONTENT];
    found.sort_by_key(|remote| operations.iter().position(|operation| *operation == remote.operation));
    Ok(found)
}

async fn ours(s3: &S3, way: &Way, times: u64) -> Result<Vec<Remote>> {
    let lacks = || Error::new(ErrorKind::Unsupported, "the store has both contracts");
    let (entries, content) = s3.atomic_write().zip(s3.indexable()).ok_or_else(lacks)?;
    let key = Key::new("known")?;
    let value = |time: u64| Bytes::from(format!("{time:0128}"));
    entries.set(&key, value(0)).await?;
    for listed in 0..LISTED {
        entries.set(&Key::new(format!("listed/{listed}"))?, value(0)).await?;
    }
    let under = Key::new("listed")?;
    let mut rows = vec![
        measure_remote(FIND, OURS, way, times, async |_| entries.find(&key).await.map(drop)).await?,
        measure_remote(SET, OURS, way, times, async |time| entries.set(&key, value(time + 1)).await).await?,
    ];
    let applied = async |time: u64| {
        let outcome = entries.test_and_set(&key, Some(value(times + time)), Some(value(times + time + 1))).await?;
        assert!(outcome.is_applied(), "nobody else writes");
        Ok(())
    };
    rows.push(measure_remote(TEST_AND_SET, OURS, way, times, applied).await?);
    let listed = async |_| {
        assert_eq!(entries.list(&under).count().await, LISTED, "what was set is listed");
        Ok(())
    };
    rows.push(measure_remote(LIST, OURS, way, times, listed).await?);
    let mut keys = Vec::new();
    let add = async |time: u64| content.add(Bytes::from(format!("{time:04096}"))).await.map(|key| keys.push(key));
    rows.push(measure_remote(ADD, OURS, way, times, add).await?);
    let batch = async |time: u64| {
        let batch = content.begin().await?;
        for each in 0..BATCHED {
            batch.add(value(time * BATCHED + each)).await?;
        }
        batch.commit().await
    };
    rows.push(measure_remote(BATCH, OURS, way, times.div_ceil(10), batch).await?);
    let mut known = keys.iter().cycle();
    let find = async |_| {
        let found = content.find(known.next().expect("some were added")).await?;
        assert!(found.is_some(), "what was added is found");
        Ok(())
    };
    rows.push(measure_remote(FIND_CONTENT, OURS, way, times, find).await?);
    Ok(rows)
}

/// The same as one would do it by hand, an object for each value.
async fn raw(
    store: &AmazonS3,
    below: &Path,
    way: &Way,
    times: u64,
) -> Result<Vec<Remote>, Box<dyn StdError + Send + Sync>> {
    let key = below.clone().join("known");
    let value = |time: u64| Bytes::from(format!("{time:0128}"));
    let mut version: UpdateVersion = store.put(&key, value(0).into()).await?.into();
    for listed in 0..LISTED {
        store.put(&below.clone().join("listed").join(listed.to_string()), value(0).into()).await?;
    }
    let read = async |path: &Path| store.get(path).await.map_err(failed)?.bytes().await.map_err(failed).map(drop);
    let write = async |path: &Path, value: Bytes| store.put(path, value.into()).await.map_err(failed);
    let mut rows = vec![
        measure_remote(FIND, RAW, way, times, async |_| read(&key).await).await?,
        measure_remote(SET, RAW, way, times, async |time| {
            version = write(&key, value(time + 1)).await?.into();
            Ok(())
        })
        .await?,
    ];
    let conditional = async |time: u64| {
        let put = store.put_opts(&key, value(times + time + 1).into(), PutMode::Update(version.clone()).into());
        version = put.await.map_err(failed)?.into();
        Ok(())
    };
    rows.push(measure_remote(TEST_AND_SET, RAW, way, times, conditional).await?);
    let under = below.clone().join("listed");
    let listed = async |_| {
        assert_eq!(store.list(Some(&under)).count().await, LISTED, "what was put is listed");
        Ok(())
    };
    rows.push(measure_remote(LIST, RAW, way, times, listed).await?);
    let of = |value: &Bytes| below.clone().join("content").join(HashFunction::Blake3.hash(value).to_string());
    let long = |time: u64| Bytes::from(format!("{time:04096}"));
    let add = async |time: u64| write(&of(&long(time)), long(time)).await.map(drop);
    rows.push(measure_remote(ADD, RAW, way, times, add).await?);
    let batch = async |time: u64| {
        let puts = (0..BATCHED).map(|each| {
            let value = value(time * BATCHED + each);
            async { write(&of(&value), value).await.map(drop) }
        });
        stream::iter(puts).buffer_unordered(AT_ONCE).try_collect().await
    };
    rows.push(measure_remote(BATCH, RAW, way, times.div_ceil(10), batch).await?);
    rows.push(measure_remote(FIND_CONTENT, RAW, way, times, async |time| read(&of(&long(time))).await).await?);
    Ok(rows)
}

/// What lies below tells what it had: nothing of it is a secret here.
fn failed(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
    Error::new(ErrorKind::Other, "the object store of the benchmarks").with_source(error)
}
