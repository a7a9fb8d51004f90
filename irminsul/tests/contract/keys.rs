//! K1 to K3 and V1: every valid key works, the empty path is no entry, and a value is 0 to 64 MiB.

use std::collections::BTreeMap;

use irminsul::{
    AtomicWrite, Bytes, ContentKey, Effect, EntryRead, ErrorKind, Init, Key, MAX_VALUE_LEN, TestAndSet, prelude::*,
};

use crate::store::{Store, entries_sorted, key, set_all, value};

contract! { on every store:
    k1_the_longest_keys_work,
    k2_every_valid_key_is_an_entry_of_its_own,
    k2_removing_one_key_leaves_its_neighbours,
    k3_the_empty_path_reads_as_absent,
    k3_the_empty_path_is_refused_as_an_entry,
    k3_the_empty_path_as_a_scope_means_everything,
    v1_an_empty_value_is_not_absent,
    v1_the_longest_value_is_kept,
    v1_a_longer_value_is_refused_and_nothing_written,
    v1_a_longer_content_is_refused_and_nothing_written,
    w12_listing_counts_whole_steps,
}

/// Keys that trip escaping, collation, pattern matching, path handling and ranges.
const TRICKY: &[&str] = &[
    ".",
    "..",
    "...",
    "a/..",
    "a/../b",
    "../../etc",
    "~",
    "-",
    "--",
    "%",
    "%2F",
    "%2f",
    "a%2Fb",
    "%00",
    "%%",
    "_",
    "a_b",
    "*",
    "?",
    "[a]",
    "a",
    "A",
    "a/b",
    "A/b",
    "a/B",
    "a/b/c",
    "ab",
    "a-",
    "a-b",
    "a.",
    "a0",
    "a0b",
    "a!",
    "a b",
    " ",
    " a",
    "a ",
    "a /b",
    "a\0",
    "a\0b",
    "a/\0",
    "\0",
    "\0\0",
    "\u{1}",
    "\u{7f}",
    "\n",
    "a\n",
    "\r\n",
    "\t",
    "\\",
    "a\\b",
    "'",
    "''",
    "\"",
    "`",
    ";",
    "#",
    "&",
    "=",
    "+",
    "$",
    "<>",
    "|",
    ":",
    "C:",
    "CON",
    "nul",
    ".tmp",
    "\u{e9}",
    "e\u{301}",
    "\u{df}",
    "\u{1e9e}",
    "ss",
    "SS",
    "I",
    "i",
    "\u{130}",
    "\u{131}",
    "\u{212a}",
    "k",
    "K",
    "\u{65e5}\u{672c}",
    "\u{1f984}",
    "\u{feff}",
    "\u{fffd}",
    "\u{ffff}",
    "\u{10ffff}",
    "a/\u{10ffff}",
    "a\u{10ffff}",
    "\u{202e}",
    "0",
    "00",
    "1",
    "-1",
    "1.0",
    "1e3",
    "null",
    "true",
    "entries",
    "content",
    "changes",
    "meta",
    "a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a",
];

/// Each tricky key with a value of its own.
fn tricky() -> BTreeMap<Key, Bytes> {
    TRICKY.iter().enumerate().map(|(i, path)| (key(path), value(i))).collect()
}

async fn k1_the_longest_keys_work(store: Store) {
    let entries = store.open().await.entries();
    let len = store.max_key_len();
    let one_step = "x".repeat(len);
    let many_steps = format!("{}{}", "a/".repeat((len - 1) / 2), "b".repeat(len - (len - 1) / 2 * 2));
    let multi_byte = format!("{}{}", "x".repeat(len % 4), "\u{1f984}".repeat(len / 4));
    let last_byte_differs = format!("{}y", "x".repeat(len - 1));
    for path in [&one_step, &many_steps, &multi_byte, &last_byte_differs] {
        assert_eq!(path.len(), len);
        entries.set(&key(path), value(path)).await.unwrap();
    }
    for path in [&one_step, &many_steps, &multi_byte, &last_byte_differs] {
        assert_eq!(entries.find(&key(path)).await.unwrap(), Some(value(path)));
        assert_eq!(entries.list_sorted(&key(path)).await.unwrap(), [key(path)]);
    }
    assert_eq!(entries.list_sorted(&Key::root()).await.unwrap().len(), 4);
    assert_eq!(entries.list_sorted(&key("a")).await.unwrap(), [key(&many_steps)]);
}

async fn k2_every_valid_key_is_an_entry_of_its_own(store: Store) {
    let entries = store.open().await.entries();
    let all = tricky();
    assert_eq!(all.len(), TRICKY.len(), "the list names no key twice");
    set_all(&*entries, all.clone()).await;
    for (key, value) in &all {
        assert_eq!(entries.find(key).await.unwrap().as_ref(), Some(value), "{key:?}");
        assert!(entries.mem(key).await.unwrap(), "{key:?}");
    }
    assert_eq!(entries_sorted(&*entries, &Key::root()).await, all.into_iter().collect::<Vec<_>>());
}

async fn k2_removing_one_key_leaves_its_neighbours(store: Store) {
    let entries = store.open().await.entries();
    let mut all = tricky();
    set_all(&*entries, all.clone()).await;
    for path in TRICKY.iter().step_by(2) {
        entries.remove(&key(path)).await.unwrap();
        all.remove(*path);
        assert_eq!(entries.find(&key(path)).await.unwrap(), None, "{path:?}");
    }
    assert_eq!(entries_sorted(&*entries, &Key::root()).await, all.into_iter().collect::<Vec<_>>());
}

async fn k3_the_empty_path_reads_as_absent(store: Store) {
    let entries = store.open().await.entries();
    entries.set(&key("a"), value("1")).await.unwrap();
    assert!(!entries.mem(&Key::root()).await.unwrap());
    assert_eq!(entries.find(&Key::root()).await.unwrap(), None);
}

async fn k3_the_empty_path_is_refused_as_an_entry(store: Store) {
    let entries = store.open().await.entries();
    let root = Key::root();
    let refusals = [
        entries.set(&root, value("1")).await.unwrap_err(),
        entries.test_and_set(&root, None, Some(value("1"))).await.unwrap_err(),
        entries.test_and_set(&root, Some(value("1")), None).await.unwrap_err(),
        entries.test_and_set(&root, None, None).await.unwrap_err(),
        entries.remove(&root).await.unwrap_err(),
        entries.watch_key(&root, Init::Current).await.unwrap_err(),
        entries.watch_key(&root, Init::Known(None)).await.unwrap_err(),
    ];
    for refusal in refusals {
        assert_eq!((refusal.kind(), refusal.effect()), (ErrorKind::InvalidKey, Effect::NotApplied), "{refusal}");
    }
    assert!(entries.list_sorted(&root).await.unwrap().is_empty());
}

async fn k3_the_empty_path_as_a_scope_means_everything(store: Store) {
    let entries = store.open().await.entries();
    set_all(&*entries, ["a", "b/c", "\0"].map(|path| (key(path), value(path)))).await;
    assert_eq!(entries.list_sorted(&Key::root()).await.unwrap(), [key("\0"), key("a"), key("b/c")]);
    assert_eq!(entries_sorted(&*entries, &Key::root()).await.len(), 3);
}

async fn v1_an_empty_value_is_not_absent(store: Store) {
    let instance = store.open().await;
    let (entries, content) = (instance.entries(), instance.content());
    let (k, empty) = (key("k"), Bytes::new());
    entries.set(&k, empty.clone()).await.unwrap();
    assert!(entries.mem(&k).await.unwrap());
    assert_eq!(entries.find(&k).await.unwrap(), Some(empty.clone()));
    assert_eq!(entries_sorted(&*entries, &k).await, [(k.clone(), empty.clone())]);
    assert_eq!(
        entries.test_and_set(&k, None, Some(value("1"))).await.unwrap(),
        TestAndSet::Mismatch { current: Some(empty.clone()) }
    );
    entries.remove(&k).await.unwrap();
    assert_eq!(
        entries.test_and_set(&k, Some(empty.clone()), Some(value("1"))).await.unwrap(),
        TestAndSet::Mismatch { current: None }
    );
    assert_eq!(entries.find(&k).await.unwrap(), None);

    let stored = content.add(empty.clone()).await.unwrap();
    assert_eq!(content.find(&stored).await.unwrap(), Some(empty));
}

/// As long as a value may be, and different in every page of it.
fn longest() -> Bytes {
    (0..MAX_VALUE_LEN / 8).flat_map(|i| (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).collect()
}

async fn v1_the_longest_value_is_kept(store: Store) {
    let instance = store.open().await;
    let (entries, content) = (instance.entries(), instance.content());
    let longest = longest();
    assert_eq!(longest.len(), MAX_VALUE_LEN);
    entries.set(&key("k"), longest.clone()).await.unwrap();
    assert!(entries.find(&key("k")).await.unwrap().as_ref() == Some(&longest));
    let removed = entries.test_and_set(&key("k"), Some(longest.clone()), None).await.unwrap();
    assert!(removed.is_applied(), "the longest value equals itself");
    let stored = content.add(longest.clone()).await.unwrap();
    assert!(content.find(&stored).await.unwrap() == Some(longest));
}

async fn v1_a_longer_value_is_refused_and_nothing_written(store: Store) {
    let entries = store.open().await.entries();
    let too_long = Bytes::from(vec![0; MAX_VALUE_LEN + 1]);
    entries.set(&key("k"), value("before")).await.unwrap();
    let refusals = [
        entries.set(&key("k"), too_long.clone()).await.unwrap_err(),
        entries.set(&key("other"), too_long.clone()).await.unwrap_err(),
        entries.test_and_set(&key("k"), Some(value("before")), Some(too_long.clone())).await.unwrap_err(),
        entries.test_and_set(&key("other"), None, Some(too_long)).await.unwrap_err(),
    ];
    for refusal in refusals {
        assert_eq!((refusal.kind(), refusal.effect()), (ErrorKind::ValueTooLarge, Effect::NotApplied), "{refusal}");
    }
    assert_eq!(entries_sorted(&*entries, &Key::root()).await, [(key("k"), value("before"))]);
}

async fn v1_a_longer_content_is_refused_and_nothing_written(store: Store) {
    let content = store.open().await.content();
    let too_long = Bytes::from(vec![0; MAX_VALUE_LEN + 1]);
    let hash = content.hash_function().hash(&too_long);
    let batch = content.begin().await.unwrap();
    let refusals = [
        content.add(too_long.clone()).await.unwrap_err(),
        content.unsafe_add(hash, too_long.clone()).await.unwrap_err(),
        batch.add(too_long.clone()).await.unwrap_err(),
        batch.unsafe_add(hash, too_long).await.unwrap_err(),
    ];
    for refusal in refusals {
        assert_eq!((refusal.kind(), refusal.effect()), (ErrorKind::ValueTooLarge, Effect::NotApplied), "{refusal}");
    }
    batch.commit().await.unwrap();
    assert_eq!(content.index(&hash).await.unwrap(), None);
    assert!(!content.mem(&ContentKey::from(hash)).await.unwrap());
}

async fn w12_listing_counts_whole_steps(store: Store) {
    let entries = store.open().await.entries();
    let all = tricky();
    set_all(&*entries, all.clone()).await;
    let scopes = all.keys().flat_map(|key| key.ancestors().map(str::to_owned).collect::<Vec<_>>());
    for scope in scopes.chain(["absent".into(), "a/absent".into(), "a/b/c/d".into()]) {
        let scope = key(&scope);
        let below: Vec<Key> = all.keys().filter(|key| scope.covers(key)).cloned().collect();
        assert_eq!(entries.list_sorted(&scope).await.unwrap(), below, "under {scope:?}");
    }
}
