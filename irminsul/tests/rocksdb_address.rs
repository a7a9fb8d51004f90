//! The addresses of RocksDB: what opens, what the options do, scratch stores and what is left of them.

#![cfg(feature = "rocksdb")]

use std::{fs, path::Path};

use irminsul::{Address, Durability, ErrorKind, HashFunction, Key, Registry, prelude::*};
use tempfile::TempDir;

fn key() -> Key {
    Key::new("k").unwrap()
}

fn address(directory: &TempDir) -> Address {
    Address::new("rocksdb", directory.path().join("store").to_str().unwrap()).unwrap()
}

async fn refusal(address: &str) -> (ErrorKind, String) {
    let error = irminsul::open(address).await.err().unwrap();
    (error.kind(), error.to_string())
}

#[tokio::test]
async fn options_reach_the_engine() {
    let directory = TempDir::new().unwrap();
    let address = address(&directory);
    let with = |option: &str, value: &str| address.clone().with_option(option, value).unwrap();
    let missing = irminsul::open(with("create", "off")).await;
    assert_eq!(missing.err().unwrap().kind(), ErrorKind::InvalidInput);
    assert!(fs::read_dir(directory.path()).unwrap().next().is_none());

    let created =
        with("hash", "sha256").with_option("sync", "off").unwrap().with_option("compression", "zstd").unwrap();
    let store = irminsul::open(&created).await.unwrap();
    assert_eq!(store.guarantees().durability, Durability::Process);
    store.atomic_write().unwrap().set(&key(), "v".into()).await.unwrap();
    store.close().await.unwrap();

    let store = irminsul::open(with("cache", "1000000")).await.unwrap();
    assert_eq!(store.guarantees().durability, Durability::Power);
    assert_eq!(store.indexable().unwrap().hash_function(), HashFunction::Sha256);
    assert_eq!(store.atomic_write().unwrap().find(&key()).await.unwrap().unwrap(), "v");
    store.close().await.unwrap();

    let other_hash = irminsul::open(with("hash", "blake3")).await;
    assert_eq!(other_hash.err().unwrap().kind(), ErrorKind::Incompatible);
}

#[tokio::test]
async fn a_store_without_a_folder_is_refused() {
    let (kind, shown) = refusal("rocksdb:").await;
    assert_eq!(kind, ErrorKind::InvalidInput);
    assert!(shown.contains("rocksdb:data/app"), "{shown}");
}

#[tokio::test]
async fn an_unknown_choice_lists_the_known_ones() {
    let (kind, shown) = refusal("rocksdb:x?compression=gzip").await;
    assert_eq!(kind, ErrorKind::InvalidInput);
    assert!(shown.contains("none") && shown.contains("lz4") && shown.contains("zstd"), "{shown}");
}

#[tokio::test]
async fn a_scratch_store_lies_beside_and_leaves_nothing() {
    let directory = TempDir::new().unwrap();
    let (registry, address) = (Registry::default(), address(&directory));
    let store = registry.open(&address).await.unwrap();
    store.atomic_write().unwrap().set(&key(), "v".into()).await.unwrap();
    let scratch = registry.scratch(&address).await.unwrap();
    let other = registry.open(&scratch).await.unwrap();
    assert!(!other.atomic_write().unwrap().mem(&key()).await.unwrap());
    other.close().await.unwrap();
    assert_eq!(Path::new(scratch.location()).parent(), Some(directory.path()));
    registry.destroy(&scratch).await.unwrap();
    registry.destroy(&scratch).await.unwrap();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    assert_eq!(registry.destroy(&address).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert!(store.atomic_write().unwrap().mem(&key()).await.unwrap());
}
