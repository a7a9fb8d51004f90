//! What holds of the answers of a service, whatever bytes they are.

use std::{cell::Cell, fmt::Write};

use bytes::Bytes;
use object_store::path::Path;
use quick_xml::escape::escape;

use super::{
    answer::{Answer, MAX_CODE_LEN, MAX_LINE_LEN, STATUS, one_line},
    page::legible,
};

/// A page of a listing: of any bytes no more is left than there was; and of a page of names, one on each line, those that
/// can be read, in their order, and all that is beside them.
pub fn listing(bytes: &[u8]) {
    let told = Cell::new(0);
    let left = legible(Bytes::copy_from_slice(bytes), |name| told.set(told.get() + name.len()));
    assert!(left.len() + told.get() <= bytes.len());
    let Ok(names) = std::str::from_utf8(bytes) else { return };
    let can_be_read = |name: &&str| Path::parse(name).is_ok();
    let left = legible(page_of(names.lines()).into(), |name| assert!(!name.is_empty()));
    assert_eq!(left, page_of(names.lines().filter(can_be_read)));
}

fn page_of<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let mut page = String::from("<ListBucketResult><Name>a//b</Name>");
    for name in names {
        // Writing to a string does not fail.
        let _ = write!(page, "<Contents><Key>{}</Key><Size>1</Size></Contents>", escape(name));
    }
    page + "<IsTruncated>true</IsTruncated></ListBucketResult>"
}

/// What an error of the client shows, whose end is the body of an answer: what is told of it is one short line, of a status
/// and a code alone.
pub fn error_body(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for shown in [text.clone().into_owned(), format!("{STATUS}{text}"), format!("{STATUS}404 Not Found: {text}")] {
        let line = one_line(&shown);
        assert!(line.chars().count() <= MAX_LINE_LEN && !line.contains(char::is_control), "{line:?}");
        assert!(!line.contains("://"), "{line:?}");
        let Some(answer) = Answer::parse(&shown) else { continue };
        let cause = answer.cause();
        assert!(cause.len() <= "status 12345, ".len() + MAX_CODE_LEN, "{cause:?}");
        assert!(cause.chars().all(|shown| shown.is_ascii_alphanumeric() || shown == ' ' || shown == ','), "{cause:?}");
        let _ = answer.kind();
    }
}
