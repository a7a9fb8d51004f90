//! What a page of a listing tells without the objects whose names cannot be read: `a//b`, `./a`. The store makes no such
//! name, and the client of a service would refuse the whole page for one.

use std::ops::Range;

use bytes::Bytes;
use object_store::path::Path;
use quick_xml::{Reader, escape::unescape, events::Event};

/// What an object is, and its name, on S3 and on Azure.
const OBJECTS: [&[u8]; 2] = [b"Contents", b"Blob"];
const NAMES: [&[u8]; 2] = [b"Key", b"Name"];
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The page, as far as its names can be read; `tell` hears of the others. One that is no XML stays as it is, for whoever
/// refuses it.
pub(super) fn legible(page: Bytes, tell: impl Fn(&str)) -> Bytes {
    // Azure begins with it, and the reader's positions do not count it.
    let page = if page.starts_with(BYTE_ORDER_MARK) { page.slice(BYTE_ORDER_MARK.len()..) } else { page };
    let foreign = std::str::from_utf8(&page).ok().and_then(illegible).unwrap_or_default();
    if foreign.is_empty() {
        return page;
    }
    let mut kept = Vec::with_capacity(page.len());
    let mut end = 0;
    for (name, object) in foreign {
        tell(&name);
        kept.extend_from_slice(&page[end..object.start]);
        end = object.end;
    }
    kept.extend_from_slice(&page[end..]);
    kept.into()
}

/// Such names, and where their objects are; `None` when it is no XML.
fn illegible(page: &str) -> Option<Vec<(String, Range<usize>)>> {
    let mut reader = Reader::from_str(page);
    let mut found = Vec::new();
    let mut object: Option<Object> = None;
    loop {
        let from = position(&reader)?;
        match reader.read_event().ok()? {
            Event::Start(tag) if OBJECTS.contains(&tag.name().as_ref()) => {
                object = Some(Object { from, name: None });
            }
            Event::Start(tag) if NAMES.contains(&tag.name().as_ref()) => {
                let Some(object) = &mut object else { continue };
                let name = reader.read_text(tag.name()).ok()?.decode().ok()?;
                object.name.get_or_insert_with(|| name.into_owned());
            }
            Event::End(tag) if OBJECTS.contains(&tag.name().as_ref()) => {
                if let Some(Object { from, name: Some(name) }) = object.take()
                    && !is_legible(&name)
                {
                    found.push((name, from..position(&reader)?));
                }
            }
            Event::Eof => return Some(found),
            _ => {}
        }
    }
}

/// An object that is being read.
struct Object {
    from: usize,
    /// As it is written in the page, once that was read.
    name: Option<String>,
}

fn position(reader: &Reader<&[u8]>) -> Option<usize> {
    usize::try_from(reader.buffer_position()).ok()
}

/// One with an entity that nobody knows is left to whoever refuses it.
fn is_legible(name: &str) -> bool {
    unescape(name).map_or(true, |name| Path::parse(name).is_ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn s3(names: &[&str]) -> String {
        let object = |name: &&str| format!("<Contents><Key>{name}</Key></Contents>");
        let objects: String = names.iter().map(object).collect();
        format!("<ListBucketResult><Name>a//b</Name>{objects}<IsTruncated>true</IsTruncated></ListBucketResult>")
    }

    fn azure(names: &[&str]) -> String {
        let blob = |name: &&str| format!("<Blob><Name>{name}</Name><Metadata><Name>a//b</Name></Metadata></Blob>");
        let blobs: String = names.iter().map(blob).collect();
        format!("<EnumerationResults><Prefix>a//b</Prefix><Blobs>{blobs}</Blobs></EnumerationResults>")
    }

    fn shown(page: &str) -> String {
        String::from_utf8(legible(Bytes::from(page.to_owned()), |_| {}).to_vec()).unwrap()
    }

    #[test]
    fn names_that_cannot_be_read_are_left_out_and_all_else_stays() {
        let names = ["p/a", "p//b", "p/./c", "../d", "p/e&amp;", "p/&#10;f", "p/g"];
        for page in [s3, azure] {
            assert_eq!(shown(&page(&names)), page(&["p/a", "p/e&amp;", "p/g"]));
            assert_eq!(shown(&page(&["p//b"])), page(&[]));
        }
    }

    #[test]
    fn a_byte_order_mark_and_lines_move_no_names() {
        let lines = |names: &[&str]| azure(names).replace("</Blob>", "</Blob>\n  ");
        let marked = format!("\u{feff}{}", lines(&["p/a", "p//b", "p/c"]));
        assert_eq!(shown(&marked), lines(&["p/a", "p/c"]).replace("<Blob><Name>p/c", "\n  <Blob><Name>p/c"));
    }

    #[test]
    fn what_is_no_page_stays_as_it_is() {
        for page in [
            "",
            "<<<&&&",
            "<a><Contents><Key>a//b</Key>",
            "<Contents><Key>a//b</Contents></Key>",
            "\u{0}",
            &s3(&["&a;//b"]),
        ] {
            assert_eq!(shown(page), page);
        }
        let bytes = Bytes::from_static(b"<a>\xff</a>");
        assert_eq!(legible(bytes.clone(), |_| {}), bytes);
    }

    const LEGIBLE: [&str; 5] = ["p/a", "p/b&amp;c", "p", "p/..d", "p/e&lt;/Key&gt;"];
    const ILLEGIBLE: [&str; 5] = ["p//a", "p/./b", "../c", "..", "p/&#10;d"];

    proptest! {
        #[test]
        fn whatever_a_page_names_just_what_can_be_read_is_left(picks in proptest::collection::vec((any::<bool>(), 0_usize..5), 0..30)) {
            let names: Vec<_> = picks.iter().map(|&(legible, i)| if legible { LEGIBLE[i] } else { ILLEGIBLE[i] }).collect();
            let left: Vec<_> = picks.iter().filter(|(legible, _)| *legible).map(|&(_, i)| LEGIBLE[i]).collect();
            prop_assert_eq!(shown(&s3(&names)), s3(&left));
            prop_assert_eq!(shown(&azure(&names)), azure(&left));
        }

        #[test]
        fn of_any_page_no_more_is_left_than_there_was(page in "(<Contents>|</Contents>|<Key>|</Key>|a//b|&amp;|<!\\[CDATA\\[|\\]\\]>|<!--|-->|<x/>){0,30}") {
            prop_assert!(shown(&page).len() <= page.len());
        }
    }
}
