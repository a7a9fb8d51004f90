//! What a panic in an application's own code says, with its trace: no value that the code had at hand (E2).

#![cfg(feature = "mem")]

use std::{
    env,
    hint::black_box,
    process::{Command, Output},
    sync::Arc,
};

use bytes::Bytes;
use conformance::disclosed;
use irminsul::{Init, Key, mem::MemOptions, prelude::*};

/// Set in the process that panics.
const CHILD: &str = "IRMINSUL_PANICS";
const VALUE: &str = "v2hidden8value3of6an5application";

/// Runs a test of this program in a process of its own, with all that a panic can tell.
fn output_of(test: &str) -> Output {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, "1")
        .env("RUST_BACKTRACE", "full")
        .output()
        .unwrap()
}

#[track_caller]
fn expect_panic_without_value(output: &Output, said: &str) {
    for text in [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)) {
        assert_eq!(disclosed(&text, [VALUE]), None, "the value is shown:\n{text}");
    }
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains(said) && told.contains("stack backtrace:"), "{told}");
}

fn key() -> Key {
    Key::new("key").unwrap()
}

async fn store() -> Arc<dyn AtomicWrite> {
    let store = MemOptions::new().open().await.unwrap();
    let entries = store.atomic_write().unwrap();
    entries.set(&key(), VALUE.into()).await.unwrap();
    entries
}

#[tokio::test]
async fn e2_a_handler_that_panics_shows_no_value() {
    let said = "a handler gives up";
    if env::var_os(CHILD).is_none() {
        return expect_panic_without_value(&output_of("e2_a_handler_that_panics_shows_no_value"), said);
    }
    let entries = store().await;
    let handler = move |event| async move {
        black_box(&event);
        panic!("{said}");
    };
    let mut guard = entries.on_change(&Key::root(), Init::Current, handler).await.unwrap();
    println!("{}", guard.ended().await.unwrap_err());
}

#[tokio::test]
async fn e2_an_update_that_panics_shows_no_value() {
    let said = "an update gives up";
    if env::var_os(CHILD).is_none() {
        return expect_panic_without_value(&output_of("e2_an_update_that_panics_shows_no_value"), said);
    }
    let next = |held: Option<Bytes>| -> Option<Bytes> {
        black_box(&held);
        panic!("{said}");
    };
    let updated = store().await.update(&key(), next).await;
    println!("{updated:?}");
}
