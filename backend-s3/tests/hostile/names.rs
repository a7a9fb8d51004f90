//! Keys, prefixes and addresses that would like to be more than a name.

use backend_s3::S3Options;
use libtest_mimic::Trial;
use store_api::{Backend, EntryRead, ErrorKind};

use crate::{
    VALUE,
    scene::{expect_clear, key, options},
    server::Server,
    trial,
};

const KEYS: [&str; 14] = [
    "../../outside",
    "..",
    ".",
    "%2e%2e/%2e%2e/outside",
    "%2F%2Foutside",
    "a?delete&versionId=1",
    "a#fragment",
    "a b+c&d=e;f",
    "a\r\nX-Amz-Acl: public-read\r\n\r\nDELETE /bucket HTTP/1.1",
    "a\0b",
    "http:\\\\elsewhere\\bucket",
    "'; DROP TABLE entries; --",
    "</Key><Key>outside</Key>",
    "\u{202e}\u{feff}\u{e9}e\u{301}",
];

/// What is no prefix, and no name of a bucket.
const NO_NAMES: [&str; 10] = [
    "../outside",
    "a/../../outside",
    "a/./b",
    "a?list-type=2",
    "a#b",
    "a%2e%2e",
    "a\r\nHost: elsewhere",
    "a b",
    "user@elsewhere",
    "a:80",
];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("k2_no_key_reaches_outside_of_the_prefix", inside),
        trial("what_is_no_prefix_is_refused_before_anything_is_sent", prefixes),
        trial("what_is_no_bucket_is_refused_before_anything_is_sent", buckets),
        trial("what_is_no_region_and_no_endpoint_is_refused", places),
    ]
}

async fn inside() {
    let server = Server::start().await;
    let store = options(&server).open().await.unwrap();
    let entries = store.atomic_write().unwrap();
    for path in KEYS {
        entries.set(&key(path), format!("{VALUE} {path}").into()).await.unwrap();
    }
    for path in KEYS {
        let found = entries.find(&key(path)).await.unwrap();
        assert_eq!(found.as_deref(), Some(format!("{VALUE} {path}").as_bytes()), "{path:?}");
    }
    let names = server.names();
    let entries: Vec<_> = names.iter().filter(|name| name.starts_with("store/entries/")).collect();
    assert_eq!(entries.len(), KEYS.len(), "{names:?}");
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_/".contains(&byte);
    assert!(names.iter().all(|name| name.starts_with("store/") && name.bytes().all(plain)), "{names:?}");
}

async fn expect_refused(what: &str, options: S3Options) {
    let refused = options.open().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{what:?}: {refused}");
    expect_clear(what, &refused);
}

async fn prefixes() {
    let server = Server::start().await;
    for prefix in NO_NAMES {
        expect_refused(prefix, options(&server).prefix(prefix)).await;
    }
    assert_eq!(server.connections(), 0);
}

async fn buckets() {
    let server = Server::start().await;
    let endpoint = format!("http://{}", server.address);
    for bucket in NO_NAMES.into_iter().chain(["", ".", "..", "a/b", "/a"]) {
        expect_refused(bucket, S3Options::new(bucket).endpoint(&endpoint)).await;
    }
    assert_eq!(server.connections(), 0);
}

async fn places() {
    for region in ["", "xn--a", "x.elsewhere.example/", "eu west", "a\r\nb", "a@b", "a?b", "a#b"] {
        expect_refused(region, S3Options::new("bucket").region(region)).await;
    }
    let no_urls = ["", "127.0.0.1:1", "localhost:1", "http://", "/tmp/x", "http://127.0.0.1:99999", "http://[::1"];
    for endpoint in no_urls.into_iter().chain(["http://h:1:5", "http://1.2.3.4.5", "http://xn--a", "ftp://host"]) {
        expect_refused(endpoint, S3Options::new("bucket").endpoint(endpoint)).await;
    }
    for bucket in ["xn--a", "a.xn--"] {
        expect_refused(bucket, S3Options::new(bucket)).await;
    }
    for endpoint in ["http://a b", "http://a\r\nb", "http://user:hidden@host", "http://host/?a=b", "http://host/#a"] {
        expect_refused(endpoint, S3Options::new("bucket").endpoint(endpoint)).await;
    }
}
