//! What holds of the objects of a bucket, of their names, and of a service's answers, whatever bytes they are: each
//! function panics where it does not. What a parser sees only behind a checksum is given the right one, since no fuzzer
//! finds it.

use bytes::Bytes;
use object_store::path::Path;
use store_api::{ErrorKind, Key};

use crate::{
    frame::{self, Frame, Writer},
    header, names,
};

pub use crate::{
    client::fuzzing::{error_body, listing},
    packs::fuzzing::{locator, pack, pack_name, root, run},
};

fn key(path: &str) -> Key {
    Key::new(path).expect("a key")
}

/// The object of an entry: what opens is one key's alone, is sealed as what opens alike, and can be followed by a write.
pub fn entry(bytes: &[u8]) {
    entry_as_it_is(&Bytes::copy_from_slice(bytes));
    let mut sealed = bytes.to_vec();
    if let Some((sum, rest)) = sealed.split_first_chunk_mut() {
        *sum = frame::checksum(&key("k"), rest, &[]);
    }
    entry_as_it_is(&sealed.into());
}

fn entry_as_it_is(bytes: &Bytes) {
    let Ok(opened) = Frame::open(&key("k"), bytes) else { return };
    assert!(Frame::open(&key("other"), bytes).is_err());
    assert_eq!(opened.value.is_none(), bytes.len() == frame::TOMBSTONE_LEN);
    let again = Frame::open(&key("k"), &opened.seal(&key("k")).into());
    assert!(again.is_ok_and(|again| again == opened));
    assert_ne!(opened.tells_of(&opened, None), Some(false));
    let next = opened.next(Writer::unique().expect("random bytes"), None).expect("random bytes");
    assert!(next.seq > opened.seq && next.tells_of(&next, None) == Some(true));
}

/// The name of an entry's object, or its key: each has the other, and no service takes the name for another.
pub fn entry_name(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for name in [text.to_owned(), format!("entries/{text}_")] {
        if let Some(key) = names::key_of(&name) {
            assert_eq!(names::of_entry(&key), name);
        }
    }
    let Some(key) = Key::new(text).ok().filter(|key| !key.is_root()) else { return };
    let name = names::of_entry(&key);
    assert_eq!(names::key_of(&name).as_ref(), Some(&key));
    assert!(name.len() <= 785 && name.split('/').all(|segment| (1..=200).contains(&segment.len())));
    assert_eq!(Path::from(name.as_str()).as_ref(), name);
    let scope = key.parent().expect("it is not the root");
    assert!(name.starts_with(&format!("{}/", names::of_scope(&scope))));
}

/// The header: what is one was written as it is; anything else is `Incompatible`, in one short line.
pub fn header(bytes: &[u8]) {
    match header::parse(bytes) {
        Ok(function) => assert_eq!(header::seal(function), bytes),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Incompatible);
            let shown = error.to_string();
            assert!(shown.len() < 300 && !shown.contains(char::is_control), "{shown:?}");
        }
    }
}
