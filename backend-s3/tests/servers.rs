//! What needs a server of its own: one that breaks its promise, and one that is killed.

use std::{collections::BTreeMap, process::ExitCode, sync::Arc, time::Duration};

use backend_s3::S3Options;
use bytes::Bytes;
use libtest_mimic::{Arguments, Trial};
use object_store::{ClientOptions, RetryConfig, aws::AmazonS3Builder};
use store_api::{AtomicWrite, Backend, Effect, EntryRead, ErrorKind, Key, TestAndSet};
use test_servers::{Kind, Server, with_credentials};
use tokio::{
    sync::watch,
    task::{JoinSet, spawn_blocking},
};

fn main() -> ExitCode {
    if let Some(ended) = with_credentials(&[Kind::SeaweedFs]).expect("this program runs") {
        return ended;
    }
    let trials = vec![
        trial("a_service_that_ignores_conditions_is_refused", a_service_that_ignores_conditions_is_refused),
        trial(
            "a5_a_server_that_is_killed_and_restarted_loses_no_count_and_adds_none",
            a5_counts_outlive_a_killed_server,
        ),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn trial<F: Future<Output = ()>>(name: &str, test: impl FnOnce() -> F + Send + 'static) -> Trial {
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(test());
        Ok(())
    })
}

async fn start(kind: Kind) -> Server {
    spawn_blocking(move || Server::start(kind).unwrap()).await.unwrap()
}

async fn a_service_that_ignores_conditions_is_refused() {
    let server = start(Kind::S3rver).await;
    let endpoint = server.endpoint();
    // The environment has the credentials of the other server.
    let [(_, id), (_, secret)] = endpoint.credentials();
    let client = AmazonS3Builder::new()
        .with_endpoint(endpoint.url())
        .with_bucket_name(endpoint.bucket())
        .with_access_key_id(id)
        .with_secret_access_key(secret)
        .with_client_options(ClientOptions::new().with_allow_http(true))
        .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() });
    let error = S3Options::over(Arc::new(client.build().unwrap())).open().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("lacks a guarantee"), "{error}");
}

/// What one client did to a counter: how often it counted, and how often it does not know whether it did.
#[derive(Default)]
struct Counted {
    surely: u64,
    perhaps: u64,
}

/// Counts until the server was restarted, and so often at the least.
async fn count(entries: Arc<dyn AtomicWrite>, key: Key, times: u64, restarted: watch::Receiver<bool>) -> Counted {
    let mut counted = Counted::default();
    let mut test: Option<Bytes> = None;
    while counted.surely < times || !*restarted.borrow() {
        let before: u64 = test.as_ref().map_or(0, |value| std::str::from_utf8(value).unwrap().parse().unwrap());
        match entries.test_and_set(&key, test.clone(), Some((before + 1).to_string().into())).await {
            Ok(TestAndSet::Applied) => {
                counted.surely += 1;
                test = Some((before + 1).to_string().into());
            }
            Ok(TestAndSet::Mismatch { current }) => test = current,
            Err(error) => {
                assert!(error.is_retryable(), "{error}");
                counted.perhaps += u64::from(error.effect() == Effect::Unknown);
            }
        }
    }
    counted
}

async fn a5_counts_outlive_a_killed_server() {
    let mut server = start(Kind::SeaweedFs).await;
    let endpoint = server.endpoint();
    let options = || {
        let options = S3Options::new(endpoint.bucket()).endpoint(endpoint.url()).region("us-east-1");
        options.prefix("counted").busy(Duration::from_mins(2))
    };
    let keys = ["a", "b"].map(|path| Key::new(path).unwrap());
    let mut clients = JoinSet::new();
    let (restarted, told) = watch::channel(false);
    for _ in 0..2 {
        let entries = options().open().await.unwrap().atomic_write().unwrap();
        for key in keys.clone() {
            let (entries, told) = (Arc::clone(&entries), told.clone());
            clients.spawn(async move { (key.clone(), count(entries, key, 30, told).await) });
        }
    }
    let reader = options().open().await.unwrap().atomic_write().unwrap();
    let value = async |key: &Key| -> u64 {
        match reader.find(key).await {
            Ok(Some(value)) => std::str::from_utf8(&value).unwrap().parse().unwrap(),
            Ok(None) => 0,
            Err(error) => panic!("{error}"),
        }
    };
    while value(&keys[0]).await < 15 {}
    let restart = move || {
        server.kill().unwrap();
        server.restart().unwrap();
        server
    };
    let server = spawn_blocking(restart).await.unwrap();
    restarted.send_replace(true);
    let mut bounds = BTreeMap::from(keys.clone().map(|key| (key, Counted::default())));
    while let Some(ended) = clients.join_next().await {
        let (key, counted) = ended.unwrap();
        let sum = bounds.get_mut(&key).unwrap();
        sum.surely += counted.surely;
        sum.perhaps += counted.perhaps;
    }
    for (key, Counted { surely, perhaps }) in bounds {
        let there = value(&key).await;
        assert!((surely..=surely + perhaps).contains(&there), "{there} of {surely}, and perhaps {perhaps} more");
    }
    drop(server);
}
