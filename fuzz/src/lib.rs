//! What holds of bytes from outside, whatever they are: one function for each parser of such bytes. It panics where the
//! promise is broken, which is how a fuzzer and a test are told.
//!
//! Parsers that are nobody's interface come through doors of their crates, the modules `fuzzing`, behind features of that
//! name.

#![expect(clippy::missing_panics_doc, reason = "a panic is what each of them is for")]

use std::time::Duration;

use backend_kit::{frame as checked, range_below};
use conformance::history::{History, Limits, Verdict, check};
use irminsul::{Address, AddressOptions, ContentKey, Error, ErrorKind, Key, OptionSpec, OptionValues};

pub use backend_rocksdb::fuzzing::{marker as rocksdb_marker, records as rocksdb_records, row as rocksdb_row};
pub use backend_s3::fuzzing::{
    entry as s3_entry, entry_name as s3_entry_name, error_body as s3_error_body, header as s3_header,
    listing as s3_listing, locator as s3_locator, pack as s3_pack, pack_name as s3_pack_name, root as s3_root,
    run as s3_run,
};
pub use irminsul_cli::fuzzing::records;

/// A target: the name of its program and of its corpus, and its function.
pub type Target = (&'static str, fn(&[u8]));

macro_rules! targets {
    ($($name:ident),+ $(,)?) => {
        /// Every target.
        pub const TARGETS: &[Target] = &[$((stringify!($name), $name)),+];
    };
}

targets!(
    address,
    content_key,
    frame,
    history,
    key,
    records,
    rocksdb_marker,
    rocksdb_records,
    rocksdb_row,
    s3_entry,
    s3_entry_name,
    s3_error_body,
    s3_header,
    s3_listing,
    s3_locator,
    s3_pack,
    s3_pack_name,
    s3_root,
    s3_run,
);

/// A path, and one below it behind a line break: keys and their steps, scopes and ranges agree (K1, K3, W12).
pub fn key(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (path, below) = text.split_once('\n').unwrap_or((text, text));
    let Some(key) = key_of(path) else { return };
    assert_eq!(key.steps().collect::<Vec<_>>().join("/"), path);
    assert!(key.steps().all(|step| !step.is_empty()));
    assert_eq!(key.parent().is_none(), key.is_root());
    assert!(key.ancestors().all(|scope| Key::new(scope).is_ok_and(|scope| scope.covers(&key))));
    assert_eq!(key.ancestors().count(), key.steps().count() + 1);
    let Some(other) = key_of(below) else { return };
    let in_range = std::ops::RangeBounds::contains(&range_below(&key), &other.to_string());
    assert_eq!(in_range || key == other, key.covers(&other));
    assert_eq!(other.strip_prefix(&key).is_some(), key.covers(&other));
    if let Ok(joined) = key.join(below) {
        assert!(key.covers(&joined));
        assert_eq!(joined.strip_prefix(&key), Some(other));
    }
}

fn key_of(path: &str) -> Option<Key> {
    match Key::new(path) {
        Ok(key) => {
            assert!(key.as_str() == path && path.len() <= Key::MAX_LEN);
            Some(key)
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::InvalidKey);
            is_one_short_line(&error);
            None
        }
    }
}

/// A content key, as bytes and as text: what is one is made of itself.
pub fn content_key(bytes: &[u8]) {
    match ContentKey::from_bytes(bytes) {
        Ok(key) => {
            assert_eq!(key.to_bytes(), bytes);
            is_read_back(&key);
        }
        Err(error) => is_refused(&error),
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match text.parse::<ContentKey>() {
        Ok(key) => {
            assert_eq!(key.to_string(), text.to_ascii_lowercase().trim_end_matches('.'));
            is_read_back(&key);
        }
        Err(error) => is_refused(&error),
    }
}

fn is_read_back(key: &ContentKey) {
    let from_text: ContentKey = key.to_string().parse().expect("the text of a key");
    let from_bytes = ContentKey::from_bytes(&key.to_bytes()).expect("the bytes of a key");
    for read in [from_text, from_bytes] {
        assert!(read == *key && read.locator() == key.locator());
    }
}

/// The options of every shape.
const TABLE: &[OptionSpec] = &[
    OptionSpec::HASH,
    OptionSpec::VERIFY,
    OptionSpec::BATCH,
    OptionSpec::POLL,
    OptionSpec::BUSY,
    OptionSpec::new("endpoint", OptionValues::Text, "none", "the address of a service"),
];

/// An address and its options: what is one has a text that is its own and is one line; what is none is told in one short
/// line (E2).
pub fn address(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let address: Address = match text.parse() {
        Ok(address) => address,
        Err(error) => return is_refused(&error),
    };
    let shown = address.to_string();
    assert!(!shown.contains(char::is_control), "{shown:?}");
    assert_eq!(shown.parse::<Address>().as_ref().ok(), Some(&address), "{shown:?}");
    let options = match AddressOptions::of(&address, TABLE) {
        Ok(options) => options,
        Err(error) => return is_refused(&error),
    };
    assert!(options.choice("hash").is_none_or(|name| address.option("hash") == Some(name)));
    assert_eq!(options.switch("verify").is_some(), address.option("verify").is_some());
    assert!(options.duration("poll").is_none_or(|time| time >= Duration::from_millis(1)));
    assert_eq!(options.duration("busy").is_some(), address.option("busy").is_some());
    assert_eq!(options.text("endpoint"), address.option("endpoint"));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    assert_eq!(options.bytes("batch").is_some(), address.option("batch").is_some_and(digits));
}

/// How long a key is, the key, and a frame or a value: a frame that opens is the one of its key and value, and of no other
/// key (A12).
pub fn frame(bytes: &[u8]) {
    let Some((&len, rest)) = bytes.split_first() else { return };
    let Some((key, value)) = rest.split_at_checked(len.into()) else { return };
    if let Ok(opened) = checked::open(key, value) {
        assert_eq!(checked::seal(key, opened), value);
    }
    let sealed = checked::seal(key, value);
    assert_eq!(sealed.len(), checked::len(value.len()));
    assert_eq!(checked::open(key, &sealed).ok(), Some(value));
    assert!(checked::open(&[key, b"."].concat(), &sealed).is_err());
    for cut in [sealed.len() - 1, checked::CHECKSUM_LEN - 1] {
        assert!(checked::open(key, &sealed[..cut]).is_err());
    }
}

/// A history: what is one is written as what is read alike, and has a verdict within its limits.
pub fn history(bytes: &[u8]) {
    let history = match History::read(bytes) {
        Ok(history) => history,
        Err(error) => {
            let shown = error.to_string();
            assert!(shown.len() < 600 && !shown.contains(char::is_control), "{shown:?}");
            return;
        }
    };
    let mut written = Vec::new();
    history.write(&mut written).expect("memory takes all");
    assert_eq!(History::read(&written[..]).ok().as_ref(), Some(&history));
    let limits = Limits::default().time(Duration::from_millis(20)).memory(8 << 20);
    if let Verdict::NotLinearizable(violation) = check(&history, limits) {
        assert!(!violation.witness(limits).to_string().is_empty());
    }
}

fn is_refused(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    is_one_short_line(error);
}

/// A key has up to 255 bytes, and each may be escaped.
fn is_one_short_line(error: &Error) {
    let shown = error.to_string();
    assert!(shown.len() < 255 * 10 + 400 && !shown.contains(char::is_control), "{shown:?}");
}
