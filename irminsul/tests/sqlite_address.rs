//! The addresses of SQLite: what opens, what the options do, scratch stores and what is left of them.

#![cfg(feature = "sqlite")]

use std::{fs, path::Path};

use irminsul::{Address, Durability, ErrorKind, HashFunction, Key, Registry, Visibility, prelude::*};
use tempfile::TempDir;

fn key() -> Key {
    Key::new("k").unwrap()
}

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn address(path: &Path) -> Address {
    Address::new("sqlite", path.to_str().unwrap()).unwrap()
}

async fn set(address: &Address) {
    let store = irminsul::open(address).await.unwrap();
    store.atomic_write().unwrap().set(&key(), "v".into()).await.unwrap();
    store.close().await.unwrap();
}

async fn is_set(address: &Address) -> bool {
    let store = irminsul::open(address).await.unwrap();
    let set = store.atomic_write().unwrap().mem(&key()).await.unwrap();
    store.close().await.unwrap();
    set
}

fn files(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn every_spelling_of_a_path_is_one_file() {
    let directory = directory();
    let path = directory.path().join("50% of a&b?#@.db");
    set(&address(&path)).await;
    let escaped = format!("sqlite://{}/50%25 of a%26b%3F%23%40.db?create=off", directory.path().display());
    assert!(is_set(&escaped.parse().unwrap()).await);
    assert_eq!(files(directory.path()), ["50% of a&b?#@.db"]);
}

#[tokio::test]
async fn a_store_that_has_to_exist_is_not_created_unless_its_address_says_so() {
    let (registry, directory) = (Registry::default(), directory());
    let address = address(&directory.path().join("store.db"));
    let missing = registry.open_existing(&address).await;
    assert_eq!(missing.err().unwrap().kind(), ErrorKind::InvalidInput);
    assert!(files(directory.path()).is_empty());

    let created = registry.open_existing(address.clone().with_option("create", "on").unwrap()).await.unwrap();
    created.close().await.unwrap();
    registry.open_existing(&address).await.unwrap().close().await.unwrap();
}

#[tokio::test]
async fn a_bare_address_is_a_temporary_store() {
    let store = irminsul::open("sqlite:").await.unwrap();
    store.atomic_write().unwrap().set(&key(), "v".into()).await.unwrap();
    assert_eq!(store.guarantees().visibility, Visibility::Instance);
}

#[tokio::test]
async fn options_reach_the_engine() {
    let directory = directory();
    let address = address(&directory.path().join("store.db"));
    let missing = irminsul::open(address.clone().with_option("create", "off").unwrap()).await;
    assert_eq!(missing.err().unwrap().kind(), ErrorKind::InvalidInput);
    assert!(files(directory.path()).is_empty());

    let created = address.clone().with_option("hash", "sha256").unwrap().with_option("sync", "off").unwrap();
    let store = irminsul::open(&created).await.unwrap();
    assert_eq!(store.guarantees().durability, Durability::Process);
    store.close().await.unwrap();

    let store = irminsul::open(address.clone().with_option("poll", "7").unwrap()).await.unwrap();
    assert_eq!(store.guarantees().durability, Durability::Power);
    assert_eq!(store.guarantees().watch_lag.others.unwrap().as_millis(), 7);
    assert_eq!(store.indexable().unwrap().hash_function(), HashFunction::Sha256);
    store.close().await.unwrap();

    let other_hash = irminsul::open(address.with_option("hash", "blake3").unwrap()).await;
    assert_eq!(other_hash.err().unwrap().kind(), ErrorKind::Incompatible);
}

#[tokio::test]
async fn what_is_synced_is_said_in_the_words_of_all_engines_or_in_those_of_sqlite() {
    let directory = directory();
    let address = address(&directory.path().join("store.db"));
    for (word, durability) in [
        ("on", Durability::Power),
        ("full", Durability::Power),
        ("off", Durability::Process),
        ("normal", Durability::Process),
    ] {
        let store = irminsul::open(address.clone().with_option("sync", word).unwrap()).await.unwrap();
        assert_eq!(store.guarantees().durability, durability, "{word}");
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn an_option_that_is_wrong_says_what_there_is() {
    let refusal = async |address: &str| {
        let error = irminsul::open(address).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        error.to_string()
    };
    assert_eq!(
        refusal("sqlite:x?sync=half").await,
        "the option `sync` is not well-formed; it is written sync=on|off|full|normal"
    );
    assert_eq!(
        refusal("sqlite:x?snyc=on").await,
        "the option `snyc` is not known; the options of `sqlite` are hash=blake3|sha256, verify=on|off, \
         batch=BYTES, poll=MS (at least 1), busy=MS, sync=on|off|full|normal, create=on|off"
    );
}

#[tokio::test]
async fn a_scratch_store_lies_beside_and_goes_with_all_its_files() {
    let (registry, directory) = (Registry::default(), directory());
    let own = address(&directory.path().join("own.db")).with_option("sync", "off").unwrap();
    set(&own).await;

    let scratch = registry.scratch(own.clone().with_option("create", "off").unwrap()).await.unwrap();
    assert_ne!(scratch, registry.scratch(&own).await.unwrap());
    assert_eq!(Path::new(scratch.location()).parent(), Some(directory.path()));
    assert_eq!(scratch.options().collect::<Vec<_>>(), [("sync", "off")]);
    assert!(!is_set(&scratch).await);
    set(&scratch).await;
    assert!(is_set(&scratch).await);

    let open = registry.open(&scratch).await.unwrap();
    open.atomic_write().unwrap().set(&key(), "with a log".into()).await.unwrap();
    assert!(files(directory.path()).len() > 2, "the log lies beside the database");
    registry.destroy(&scratch).await.unwrap();
    assert_eq!(files(directory.path()), ["own.db"]);
    drop(open);
    registry.destroy(&scratch).await.unwrap();
    assert!(is_set(&own).await);
}

#[tokio::test]
async fn a_scratch_store_of_a_bare_address_goes_with_its_directory() {
    let registry = Registry::default();
    let scratch = registry.scratch("sqlite:?sync=off").await.unwrap();
    let directory = Path::new(scratch.location()).parent().unwrap();
    assert!(directory.is_dir());
    set(&scratch).await;
    assert!(is_set(&scratch).await);
    registry.destroy(&scratch).await.unwrap();
    assert!(!directory.exists());
    registry.destroy(&scratch).await.unwrap();
}

#[test]
fn scratch_stores_outside_a_runtime_are_refused() {
    let registry = Registry::default();
    let made = futures_executor::block_on(registry.scratch("sqlite:")).map(drop);
    let removed = futures_executor::block_on(registry.destroy("sqlite:irminsul-scratch-0123456789abcdef"));
    for refused in [made, removed] {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("tokio runtime"), "{error}");
    }
}

#[tokio::test]
async fn only_what_scratch_made_is_destroyed() {
    let (registry, directory) = (Registry::default(), directory());
    let named_alike = directory.path().join("irminsul-scratch-mine");
    fs::create_dir(&named_alike).unwrap();
    for path in [directory.path().join("own.db"), named_alike.join("store.db")] {
        set(&address(&path)).await;
        assert_eq!(registry.destroy(address(&path)).await.unwrap_err().kind(), ErrorKind::InvalidInput);
        assert!(path.exists());
    }
    assert_eq!(registry.destroy("sqlite:").await.unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn a_scratch_directory_with_something_else_in_it_keeps_that() {
    let registry = Registry::default();
    let scratch = registry.scratch("sqlite:").await.unwrap();
    set(&scratch).await;
    let directory = Path::new(scratch.location()).parent().unwrap();
    let foreign = directory.join("foreign");
    fs::write(&foreign, "").unwrap();
    assert_eq!(registry.destroy(&scratch).await.unwrap_err().kind(), ErrorKind::Other);
    assert_eq!(files(directory), ["foreign"]);
    fs::remove_file(foreign).unwrap();
    registry.destroy(&scratch).await.unwrap();
}

#[tokio::test]
async fn the_typed_options_open_the_same_store() {
    let directory = directory();
    let path = directory.path().join("store.db");
    let store = irminsul::sqlite::SqliteOptions::new(&path).sync(false).open().await.unwrap();
    store.atomic_write().unwrap().set(&key(), "v".into()).await.unwrap();
    store.close().await.unwrap();
    assert!(is_set(&address(&path)).await);
}
