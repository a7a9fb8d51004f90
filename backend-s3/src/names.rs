//! How a key becomes the name of an object, and back: plain characters only, so that every key works on every service
//! (K2).
//!
//! | part of a name | made of |
//! |---|---|
//! | a step | `a-z`, `0-9` and `-` as they are, any other byte as `_` and two hexadecimal digits |
//! | the last step | the same, and a `_` behind it: `a` lies beside `a/b` where names are those of files and folders |
//! | a long step | parts of 198 bytes with `__` behind each but the last: a segment has at most 200 bytes |
//!
//! Upper case is escaped, for services that fold it, and so is the dot, which some do not want at the end. The longest
//! name has 785 bytes.

use std::fmt::Write as _;

use store_api::Key;

const ENTRIES: &str = "entries";
/// A segment without its mark: some services keep segments as file names, of 255 bytes at the most.
const PART_LEN: usize = 198;
const CONTINUED: &str = "__";
const LAST: char = '_';

/// The name of the object that keeps the entry.
pub(crate) fn of_entry(key: &Key) -> String {
    let mut name = of_scope(key);
    name.push(LAST);
    name
}

/// What the names of all entries below a path begin with, before a `/`. The entry of the path itself is not among them.
pub(crate) fn of_scope(under: &Key) -> String {
    let mut name = ENTRIES.to_owned();
    for step in under.steps() {
        let mut rest = escape(step);
        while rest.len() > PART_LEN {
            let tail = rest.split_off(PART_LEN);
            name.extend(["/", &rest, CONTINUED]);
            rest = tail;
        }
        name.extend(["/", &rest]);
    }
    name
}

/// The key of an entry, from the name of its object; `None` for a name that [`of_entry`] makes of no key.
pub(crate) fn key_of(name: &str) -> Option<Key> {
    let path = name.strip_prefix(ENTRIES)?.strip_prefix('/')?.strip_suffix(LAST)?;
    let path: String = path.split_inclusive('/').map(|part| part.strip_suffix("__/").unwrap_or(part)).collect();
    let key = Key::new(unescape(&path)?).ok().filter(|key| !key.is_root())?;
    // One name for each key, whatever else could be read as it.
    (of_entry(&key) == name).then_some(key)
}

fn escape(step: &str) -> String {
    let mut escaped = String::with_capacity(step.len());
    for byte in step.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' => escaped.push(byte.into()),
            _ => {
                // Writing to a string does not fail.
                let _ = write!(escaped, "_{byte:02x}");
            }
        }
    }
    escaped
}

fn unescape(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((plain, escaped)) = rest.split_once('_') {
        bytes.extend_from_slice(plain.as_bytes());
        bytes.push(u8::from_str_radix(escaped.get(..2)?, 16).ok()?);
        rest = &escaped[2..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn key(path: &str) -> Key {
        Key::new(path).unwrap()
    }

    #[test]
    fn names_can_be_read() {
        assert_eq!(of_entry(&key("users/42/name")), "entries/users/42/name_");
        assert_eq!(of_entry(&key("A b/..")), "entries/_41_20b/_2e_2e_");
        assert_eq!(of_scope(&Key::root()), "entries");
    }

    #[test]
    fn k2_an_entry_lies_beside_those_below_it_and_outside_of_its_own_scope() {
        let (a, below, beside) = (of_entry(&key("a")), of_entry(&key("a/b")), of_entry(&key("ab")));
        assert!(below.starts_with("entries/a/") && !a.starts_with("entries/a/") && !beside.starts_with("entries/a/"));
        assert!(!below.starts_with(&format!("{a}/")), "a file is no folder");
    }

    #[test]
    fn k2_the_longest_keys_have_short_segments_and_bounded_names() {
        let steps = vec!["\u{1}"; 128].join("/");
        for path in ["\u{1}".repeat(255), "a".repeat(255), steps, format!("{}/b", "\u{e9}".repeat(126))] {
            let name = of_entry(&key(&path));
            assert!(name.len() <= 785, "{} bytes", name.len());
            assert!(name.split('/').all(|segment| segment.len() <= 200), "{name}");
            assert_eq!(key_of(&name).unwrap().as_str(), path);
        }
    }

    #[test]
    fn a_foreign_name_is_no_key() {
        let long = format!("entries/{}_", "a".repeat(199));
        for name in [
            "entries/a",
            "entries/A_",
            "entries/_61_",
            "entries/_4_",
            "entries/_c3_",
            "entries/_",
            "other/a_",
            "",
            &long,
        ] {
            assert_eq!(key_of(name), None, "{name}");
        }
    }

    fn steps() -> impl Strategy<Value = String> {
        let step = prop_oneof!["[a-cA-C0-9._ %-]{1,4}", "[^/]{1,12}", "_{1,3}", "[a\u{e9}_]{60,120}"];
        proptest::collection::vec(step, 1..5).prop_map(|steps| steps.join("/"))
    }

    proptest! {
        #[test]
        fn k2_every_key_round_trips(path in steps()) {
            let Ok(key) = Key::new(&path) else { return Ok(()) };
            let name = of_entry(&key);
            prop_assert!(name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'/')));
            prop_assert!(name.split('/').all(|segment| (1..=200).contains(&segment.len())));
            prop_assert_eq!(key_of(&name), Some(key));
        }

        #[test]
        fn k2_no_two_keys_share_a_name_and_no_name_is_a_folder_of_another(paths in proptest::collection::vec(steps(), 2..6)) {
            let keys = paths.iter().filter_map(|path| Key::new(path).ok());
            let names: HashMap<String, Key> = keys.clone().map(|key| (of_entry(&key), key)).collect();
            for (name, key) in keys.map(|key| (of_entry(&key), key)) {
                prop_assert_eq!(&names[&name], &key);
                let folder = format!("{name}/");
                prop_assert!(names.keys().all(|other| !other.starts_with(&folder)));
            }
        }

        #[test]
        fn w12_a_scope_is_a_folder(scope in steps(), path in steps()) {
            let (Ok(scope), Ok(key)) = (Key::new(&scope), Key::new(&path)) else { return Ok(()) };
            let folder = format!("{}/", of_scope(&scope));
            prop_assert_eq!(of_entry(&key).starts_with(&folder), scope.covers(&key) && scope != key);
            if let Ok(below) = scope.join_key(&key) {
                prop_assert!(of_entry(&below).starts_with(&folder));
            }
        }

        #[test]
        fn any_name_is_read_or_refused(name in "entries/[a-z_/%A-F0-9]{0,12}_?") {
            if let Some(key) = key_of(&name) {
                prop_assert_eq!(of_entry(&key), name);
            }
        }
    }
}
