//! An object store: ours beside what one would do by hand with `object_store` itself and with OpenDAL, all on a real server
//! that is far away.

mod by_hand;

use std::{error::Error as StdError, sync::Arc, time::Duration};

use backend_s3::{S3, S3Options};
use benches::{Remote, Traffic, measure_remote};
use bytes::Bytes;
use conformance::proxy::{Fault, Proxy};
use futures_util::{StreamExt, TryStreamExt};
use object_store::{ObjectStore, aws::AmazonS3Builder, path::Path};
use opendal::{Operator, services};
use store_api::{Append, AtomicWrite, Backend, Error, ErrorKind, Key, Result};
use test_servers::{Kind, Shared};
use tokio::task::spawn_blocking;

use crate::missing;

pub(crate) const OURS: &str = "irminsul s3";

const FIND: &str = "find";
const SET: &str = "set";
pub(crate) const TEST_AND_SET: &str = "test-and-set of a known key";
const LIST: &str = "list of 100";
const ADD: &str = "add of 4 KiB";
pub(crate) const BATCH: &str = "batch of 1,000 x 128 bytes";
const FIND_CONTENT: &str = "find of content";

/// How much later each request arrives: about the way to another city and back.
const FAR_AWAY: Duration = Duration::from_millis(10);
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
    let url = endpoint.url_through(proxy.address().port());
    let store = AmazonS3Builder::new()
        .with_endpoint(&url)
        .with_allow_http(true)
        .with_bucket_name(endpoint.bucket())
        .with_region("us-east-1")
        .with_access_key_id(id)
        .with_secret_access_key(secret)
        .build()
        .map_err(failed)?;
    opendal::install_default();
    let service = services::S3::default().endpoint(&url).bucket(endpoint.bucket()).region("us-east-1");
    let service = service.access_key_id(id).secret_access_key(secret).disable_config_load();
    let operator = Operator::new(service).map_err(failed)?;
    let (store, way) = (Arc::new(store), Way(proxy));
    let prefix = format!("bench-{:016x}", fastrand::u64(..));

    let s3 = S3Options::over(Arc::clone(&store) as Arc<dyn ObjectStore>).prefix(&prefix);
    let opened = s3.clone().open().await?;
    let mut found = ours(&opened, &way, times).await?;
    opened.close().await?;
    s3.destroy().await?;

    let below = format!("{prefix}-by-hand");
    found.extend(by_hand::measure("object_store", &*store, &format!("{below}/object_store"), &way, times).await?);
    found.extend(by_hand::measure("OpenDAL", &operator, &format!("{below}/opendal"), &way, times).await?);
    let objects = store.list(Some(&Path::from(below))).map_ok(|object| object.location).boxed();
    store.delete_stream(objects).try_collect::<Vec<_>>().await.map_err(failed)?;
    // Each operation of ours beside the others'.
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

/// What lies below tells what it had: nothing of it is a secret here.
fn failed(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
    Error::new(ErrorKind::Other, "the object store of the benchmarks").with_source(error)
}
