//! What an addition leaves in the log.

use backend_rocksdb::Compression;
use bytes::Bytes;
use fastrand::Rng;
use store_api::{Append, Backend, ContentRead, ErrorKind};

use crate::scene::{Scene, value};

#[tokio::test]
async fn to_add_what_is_there_writes_nothing() {
    for sync in [true, false] {
        let scene = Scene::new();
        let store = scene.options().sync(sync).open().await.unwrap();
        let content = store.indexable().unwrap();
        let values: [Bytes; 2] = [value(1), vec![7; 64 * 1024].into()];
        for value in &values {
            content.add(value.clone()).await.unwrap();
        }
        let logs: Vec<_> = scene.logs().collect();
        for value in values {
            content.add(value).await.unwrap();
        }
        assert!(scene.logs().eq(logs), "with {sync:?}");
    }
}

#[tokio::test]
async fn a_synced_batch_of_what_is_there_writes_nothing() {
    let scene = Scene::new();
    let store = scene.open().await;
    let content = store.indexable().unwrap();
    let mut logs = Vec::new();
    for round in 0..2 {
        let batch = content.begin().await.unwrap();
        for number in 0..10 {
            batch.add(value(number)).await.unwrap();
        }
        batch.commit().await.unwrap();
        let written: Vec<_> = scene.logs().collect();
        assert_eq!(written == logs, round == 1, "in round {round}");
        logs = written;
    }
}

#[tokio::test]
async fn long_content_lies_in_blob_files_compressed_as_the_option_says() {
    // To be found again in itself, which LZ4 does, or in few letters, which it takes Zstandard for.
    let mut random = Rng::with_seed(7);
    let mut value =
        || -> Bytes { (0..64 * 1024).map(|at| if at % 2_048 < 1_024 { 0 } else { random.u8(..16) }).collect() };
    let values: Vec<Bytes> = (0..32).map(|_| value()).collect();
    let whole: usize = values.iter().map(Bytes::len).sum();
    let mut lengths = Vec::new();
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        let scene = Scene::new();
        let store = scene.options().compression(compression).open().await.unwrap();
        let content = store.indexable().unwrap();
        for value in &values {
            content.add(value.clone()).await.unwrap();
        }
        store.close().await.unwrap();
        assert!(scene.len_of("sst") < whole / 100, "{} bytes beside the values", scene.len_of("sst"));
        lengths.push(scene.len_of("blob"));
    }
    let [none, lz4, zstd] = lengths[..] else { panic!("{lengths:?}") };
    assert!(none >= whole && lz4 < whole * 6 / 10 && zstd < whole * 4 / 10, "{lengths:?} of {whole}");
}

#[tokio::test]
async fn i4_a_long_false_value_gives_way_to_the_true_one_and_not_the_other_way_round() {
    for len in [4 * 1024, 300 * 1024] {
        let scene = Scene::new();
        let store = scene.open().await;
        let content = store.indexable().unwrap();
        let [truth, falsehood] = [1, 2].map(|byte| Bytes::from(vec![byte; len]));
        let hash = content.hash_function().hash(&truth);
        for _ in 0..2 {
            let key = content.unsafe_add(hash, falsehood.clone()).await.unwrap();
            assert_eq!(content.find(&key).await.unwrap_err().kind(), ErrorKind::Corrupt);
        }
        for value in [&truth, &falsehood, &truth] {
            let key = content.unsafe_add(hash, value.clone()).await.unwrap();
            assert!(content.find(&key).await.unwrap() == Some(truth.clone()));
        }
    }
}
