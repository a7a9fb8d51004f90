//! A5, E1 and E2: bad input is an error that says what to do, shows no value, and had no effect.

use std::error::Error as _;

use irminsul::{Bytes, ContentKey, Effect, Error, ErrorKind, Init, Key, MAX_VALUE_LEN, prelude::*};

use crate::store::{Store, key, value};

contract! { on every store:
    a5_a_refused_write_says_that_it_did_not_happen,
    e1_a_known_state_outside_the_scope_is_refused,
    e1_a_known_state_that_names_a_key_twice_is_refused,
    e2_errors_are_one_line_and_show_no_value,
}

async fn a5_a_refused_write_says_that_it_did_not_happen(store: Store) {
    let instance = store.open().await;
    let (entries, content) = (instance.entries(), instance.content());
    let too_long = Bytes::from(vec![0; MAX_VALUE_LEN + 1]);
    let refusals = [
        entries.set(&Key::root(), value("1")).await.unwrap_err(),
        entries.set(&key("k"), too_long.clone()).await.unwrap_err(),
        content.add(too_long).await.unwrap_err(),
        {
            entries.close().await.unwrap();
            entries.set(&key("k"), value("1")).await.unwrap_err()
        },
    ];
    for refusal in refusals {
        assert_eq!(refusal.effect(), Effect::NotApplied, "{refusal}");
        assert!(!refusal.is_retryable(), "{refusal}");
    }
    assert!(instance.entries().list_sorted(&Key::root()).await.unwrap().is_empty());
}

async fn e1_a_known_state_outside_the_scope_is_refused(store: Store) {
    let entries = store.open().await.entries();
    for outside in ["b", "ab", "a-", "A", "a\0"] {
        let init = Init::Known(vec![(key("a/b"), value("1")), (key(outside), value("1"))]);
        assert_eq!(entries.watch(&key("a"), init).await.unwrap_err().kind(), ErrorKind::InvalidInput, "{outside:?}");
    }
    let init = Init::Known(vec![(Key::root(), value("1"))]);
    let refusal = entries.watch(&Key::root(), init).await.unwrap_err();
    assert!(matches!(refusal.kind(), ErrorKind::InvalidInput | ErrorKind::InvalidKey), "the empty path is no entry");
}

async fn e1_a_known_state_that_names_a_key_twice_is_refused(store: Store) {
    let entries = store.open().await.entries();
    for second in ["1", "2"] {
        let init = Init::Known(vec![(key("a"), value("1")), (key("b"), value("1")), (key("a"), value(second))]);
        assert_eq!(entries.watch(&Key::root(), init).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

/// An error with all that lies beneath it, as a log shows it.
fn shown(error: &Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(beneath) = source {
        text = format!("{text} {beneath} {beneath:?}");
        source = beneath.source();
    }
    text
}

async fn e2_errors_are_one_line_and_show_no_value(store: Store) {
    const SECRET: &str = "correct horse battery staple";
    let instance = store.open().await;
    let (entries, content) = (instance.entries(), instance.content());
    let long_secret = Bytes::from(SECRET.repeat(MAX_VALUE_LEN / SECRET.len() + 1));
    let awkward = key("a key\nof two lines");
    let false_key: ContentKey = content.unsafe_add(content.hash_function().hash(b"true"), value(SECRET)).await.unwrap();
    let mut errors = vec![
        entries.set(&awkward, long_secret.clone()).await.unwrap_err(),
        entries.test_and_set(&awkward, Some(value(SECRET)), Some(long_secret.clone())).await.unwrap_err(),
        entries.test_and_set(&Key::root(), Some(value(SECRET)), Some(value(SECRET))).await.unwrap_err(),
        entries.watch(&key("scope"), Init::Known(vec![(awkward.clone(), value(SECRET))])).await.unwrap_err(),
        content.add(long_secret).await.unwrap_err(),
        content.find(&false_key).await.unwrap_err(),
    ];
    instance.close().await.unwrap();
    errors.push(entries.set(&awkward, value(SECRET)).await.unwrap_err());
    errors.push(content.add(value(SECRET)).await.unwrap_err());
    for error in errors {
        assert_eq!(error.to_string().lines().count(), 1, "E2: {error}");
        assert!(!shown(&error).contains("horse"), "E2: a value is shown by an error of kind {:?}", error.kind());
    }
}
