//! Addresses and the registry: what opens, what is refused, scratch stores and their end, a stranger's engine.

#![cfg(feature = "mem")]

use std::sync::Arc;

use async_trait::async_trait;
use irminsul::{
    Address, AddressOptions, Backend, Durability, ErrorKind, HashFunction, Key, Opener, OptionSpec, OptionValues,
    Registry, Result, Visibility, mem::MemOptions, prelude::*,
};

fn key(path: &str) -> Key {
    Key::new(path).unwrap()
}

async fn refused(registry: &Registry, address: &str) -> (ErrorKind, String) {
    let error = registry.open(address).await.err().unwrap_or_else(|| panic!("{address} was opened"));
    (error.kind(), error.to_string())
}

#[tokio::test]
async fn a_private_store_is_nobody_elses_and_a_named_one_is_shared() {
    let (a, b) = (irminsul::open("mem:").await.unwrap(), irminsul::open("mem:").await.unwrap());
    a.atomic_write().unwrap().set(&key("k"), "v".into()).await.unwrap();
    assert!(!b.atomic_write().unwrap().mem(&key("k")).await.unwrap());
    assert_eq!(a.guarantees().visibility, Visibility::Instance);

    // Opening is a future that another thread can take.
    let c = tokio::spawn(irminsul::open("mem:")).await.unwrap().unwrap();
    assert!(!c.atomic_write().unwrap().mem(&key("k")).await.unwrap());

    let name = "mem:a_private_store_is_nobody_elses_and_a_named_one_is_shared";
    let (a, b) = (irminsul::open(name).await.unwrap(), irminsul::open(name.to_owned()).await.unwrap());
    a.atomic_write().unwrap().set(&key("k"), "v".into()).await.unwrap();
    assert!(b.atomic_write().unwrap().mem(&key("k")).await.unwrap());
    assert_eq!(a.guarantees().durability, Durability::Volatile);
}

#[tokio::test]
async fn options_reach_the_engine() {
    let store = irminsul::open("mem:?hash=sha256&batch=100&verify=off&poll=20&busy=100").await.unwrap();
    let content = store.indexable().unwrap();
    assert_eq!(content.hash_function(), HashFunction::Sha256);
    let batch = content.begin().await.unwrap();
    assert_eq!(batch.add("12345".into()).await.unwrap_err().kind(), ErrorKind::ValueTooLarge);
    let hash = HashFunction::Sha256.hash(b"true");
    let unchecked = content.unsafe_add(hash, "false".into()).await.unwrap();
    assert_eq!(content.find(&unchecked).await.unwrap().unwrap(), "false");
}

#[tokio::test]
async fn an_option_that_is_wrong_lists_those_that_there_are() {
    let registry = Registry::default();
    let known =
        "the options of `mem` are hash=blake3|sha256, verify=on|off, batch=BYTES, poll=MS (at least 1), busy=MS";
    for (address, expected, remedy) in [
        ("mem:?hsah=blake3", "the option `hsah` is not known", known),
        ("mem:?hash=md5", "the option `hash` is not well-formed", "it is written hash=blake3|sha256"),
        ("mem:?verify=true", "the option `verify` is not well-formed", "it is written verify=on|off"),
        ("mem:?batch=-1", "the option `batch` is not well-formed", "it is written batch=BYTES"),
        ("mem:?batch=", "the option `batch` is not well-formed", "it is written batch=BYTES"),
        ("mem:?poll=0", "the option `poll` is not well-formed", "it is written poll=MS (at least 1)"),
        ("mem:?poll=20ms", "the option `poll` is not well-formed", "it is written poll=MS (at least 1)"),
        ("mem:?busy=99999999999999999999", "the option `busy` is not well-formed", "it is written busy=MS"),
    ] {
        let (kind, shown) = refused(&registry, address).await;
        assert_eq!(kind, ErrorKind::InvalidInput, "{address}");
        assert_eq!(shown, format!("{expected}; {remedy}"));
        assert_eq!(registry.scratch(address).await.unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(registry.destroy(address).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn the_crate_page_has_a_row_for_each_option() {
    let page = include_str!("../src/lib.rs");
    let registry = Registry::default();
    for scheme in registry.schemes() {
        for option in registry.options(scheme).unwrap() {
            assert!(page.contains(&format!("//! | `{}` |", option.name)), "{scheme}: {option}");
        }
    }
}

#[tokio::test]
async fn a_default_is_added_where_the_scheme_has_the_option_and_the_address_does_not_state_it() {
    let mut registry = Registry::default();
    registry.register("shelves", Shelves).unwrap();
    assert!(registry.has_option("shelves", "shelf"));
    assert!(!registry.has_option("shelves", "poll") && !registry.has_option("nothing", "shelf"));
    for (address, expected) in [
        ("shelves:books", "shelves:books?shelf=low"),
        ("shelves:books?shelf=high", "shelves:books?shelf=high"),
        ("mem:books", "mem:books"),
        ("nothing:books", "nothing:books"),
    ] {
        assert_eq!(registry.with_default(address, "shelf", "low").unwrap().to_string(), expected);
    }
    assert_eq!(registry.with_default("books", "shelf", "low").unwrap_err().kind(), ErrorKind::InvalidInput);
    registry.open_existing("mem:").await.unwrap();
}

#[tokio::test]
async fn an_unknown_scheme_lists_those_that_there_are() {
    let registry = Registry::default();
    let schemes = registry.schemes().collect::<Vec<_>>().join(", ");
    let (kind, shown) = refused(&registry, "postgres://host/db").await;
    assert_eq!(kind, ErrorKind::InvalidInput);
    assert_eq!(shown, format!("the scheme `postgres` is not known; the schemes compiled in are {schemes}"));
}

#[tokio::test]
async fn a_scheme_whose_feature_is_off_names_it() {
    let registry = Registry::empty();
    for (address, feature) in [("mem:", "mem"), ("sqlite:x", "sqlite")] {
        let (kind, shown) = refused(&registry, address).await;
        assert_eq!(kind, ErrorKind::Unsupported, "{address}");
        assert!(shown.contains(&format!("needs the cargo feature `{feature}`")), "{shown}");
        assert!(shown.ends_with("the schemes compiled in are none"), "{shown}");
    }
}

#[tokio::test]
async fn a_scratch_store_in_memory_is_fresh_and_keeps_the_options() {
    let registry = Registry::default();
    for (address, is_shared) in [("mem:?hash=sha256", false), ("mem:name?hash=sha256", true)] {
        let (a, b) = (registry.scratch(address).await.unwrap(), registry.scratch(address).await.unwrap());
        assert_eq!(a != b, is_shared);
        assert_eq!(a.option("hash"), Some("sha256"));
        let (first, again) = (registry.open(&a).await.unwrap(), registry.open(&a).await.unwrap());
        first.atomic_write().unwrap().set(&key("k"), "v".into()).await.unwrap();
        assert_eq!(again.atomic_write().unwrap().mem(&key("k")).await.unwrap(), is_shared);
        registry.destroy(&a).await.unwrap();
        registry.destroy(&a).await.unwrap();
    }
    for address in ["mem:name", "mem:irminsul-scratch-", "mem:irminsul-scratch-0123456789abcdeg"] {
        assert_eq!(registry.destroy(address).await.unwrap_err().kind(), ErrorKind::InvalidInput, "{address}");
    }
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn a_scratch_store_of_files_lies_in_the_directory_that_it_is_given() {
    let registry = Registry::default();
    let directory = tempfile::tempdir().unwrap();
    for address in ["sqlite:elsewhere.db?sync=off&create=off", "sqlite:?sync=off"] {
        let scratch = registry.scratch_in(address, directory.path()).await.unwrap();
        assert_eq!(scratch.option("sync"), Some("off"));
        let store = registry.open(&scratch).await.unwrap();
        store.atomic_write().unwrap().set(&key("k"), "v".into()).await.unwrap();
        let files = || std::fs::read_dir(directory.path()).unwrap().count();
        assert!(files() > 0);
        store.close().await.unwrap();
        registry.destroy(&scratch).await.unwrap();
        assert_eq!(files(), 0);
    }
    for address in ["mem:", "mem:name"] {
        let refused = registry.scratch_in(address, directory.path()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported, "{address}");
    }
}

#[tokio::test]
async fn an_engine_with_files_says_on_which_disk_its_scratch_stores_are() {
    let registry = Registry::default();
    assert_eq!(registry.scratch_disk("mem:name").unwrap(), None);
    assert_eq!(registry.scratch_disk("mem:?colour=red").unwrap_err().kind(), ErrorKind::InvalidInput);
    #[cfg(feature = "sqlite")]
    for (address, disk) in
        [("sqlite:", std::env::temp_dir()), ("sqlite:a.db", ".".into()), ("sqlite:/data/a.db", "/data".into())]
    {
        assert_eq!(registry.scratch_disk(address).unwrap(), Some(disk), "{address}");
    }
}

/// A stranger's engine: entries in memory, with options of its own.
struct Shelves;

#[async_trait]
impl Opener for Shelves {
    fn options(&self) -> &'static [OptionSpec] {
        const { &[OptionSpec::HASH, OptionSpec::new("shelf", OptionValues::Text, "top", "which shelf")] }
    }

    async fn open(&self, address: &Address, options: &AddressOptions) -> Result<Arc<dyn Backend>> {
        let name = options.text("shelf").unwrap_or("top");
        Ok(Arc::new(MemOptions::named(format!("{}/{name}", address.location())).open().await?))
    }

    async fn scratch(&self, address: &Address) -> Result<Address> {
        address.clone().with_option("shelf", "scratch")
    }

    async fn destroy(&self, _: &Address) -> Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_strangers_engine_opens_by_its_scheme() {
    let mut registry = Registry::default();
    registry.register("shelves", Shelves).unwrap();
    assert!(registry.schemes().any(|scheme| scheme == "shelves"));
    assert_eq!(registry.options("shelves").unwrap()[1].to_string(), "shelf=TEXT");
    let scratch = registry.scratch("Shelves:books").await.unwrap();
    assert_eq!(scratch.to_string(), "shelves:books?shelf=scratch");
    registry.open(&scratch).await.unwrap().atomic_write().unwrap().set(&key("k"), "v".into()).await.unwrap();
    let (_, shown) = refused(&registry, "shelves:?shlef=x").await;
    assert!(shown.ends_with("the options of `shelves` are hash=blake3|sha256, shelf=TEXT"), "{shown}");
}

/// An engine whose stores are opened, and no more.
struct Opens;

#[async_trait]
impl Opener for Opens {
    fn options(&self) -> &'static [OptionSpec] {
        &[]
    }

    async fn open(&self, address: &Address, _: &AddressOptions) -> Result<Arc<dyn Backend>> {
        Ok(Arc::new(MemOptions::named(address.location()).open().await?))
    }
}

#[tokio::test]
async fn an_engine_that_makes_no_stores_to_try_says_so() {
    let mut registry = Registry::empty();
    registry.register("opens", Opens).unwrap();
    registry.open("opens:a").await.unwrap();
    assert_eq!(registry.scratch_disk("opens:a").unwrap(), None);
    let refused = [registry.scratch("opens:a").await.map(drop), registry.destroy("opens:a").await];
    for refused in refused {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("no stores to try"), "{error}");
    }
}

#[tokio::test]
async fn a_scheme_that_is_taken_or_is_none_is_refused() {
    let mut registry = Registry::default();
    let before = registry.clone();
    for scheme in ["mem", "MEM", "a b", ""] {
        assert_eq!(registry.register(scheme, Shelves).unwrap_err().kind(), ErrorKind::InvalidInput, "{scheme}");
    }
    registry.register("shelves", Shelves).unwrap();
    assert_eq!(before.options("shelves"), None, "a clone is a value of its own");
    assert_eq!(format!("{:?}", Registry::empty()), "{}");
}

#[test]
#[should_panic = "does not declare the option `sync`"]
fn an_opener_that_asks_for_what_its_table_lacks_hears_of_it() {
    let options = AddressOptions::of(&"mem:".parse().unwrap(), &[OptionSpec::HASH]).unwrap();
    let _ = options.choice("sync");
}
