//! What holds of the store's own files and rows, whatever bytes they are: each function panics where it does not. What a
//! parser sees only behind a checksum is given the right one, since no fuzzer finds it.

use backend_kit::frame;
use store_api::ErrorKind;

use crate::{
    folder::{MARKER, parse_marker, seal_marker},
    records::{BLOCK, RECYCLED, TYPE, first_recycled, seal},
    row::Row,
};

/// The marker, as it is and behind its checksum: what is one was written as it is, but for its blanks; anything else is
/// `Corrupt` or `Incompatible`, in one short line.
pub fn marker(bytes: &[u8]) {
    for marker in [bytes, &frame::seal(MARKER.as_bytes(), bytes)] {
        match parse_marker(marker) {
            Ok(hash) => assert_eq!(parse_marker(&seal_marker(hash)).ok(), Some(hash)),
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Incompatible), "{error:?}");
                let shown = error.to_string();
                assert!(shown.len() < 400 && !shown.contains(char::is_control), "{shown:?}");
            }
        }
    }
}

/// A row of short content: what opens is sealed as it is; anything else is `Corrupt`.
pub fn row(bytes: &[u8]) {
    match Row::open(bytes) {
        Ok(row) => assert_eq!(row.seal(), bytes),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt),
    }
}

/// A log of RocksDB, as it is, and made of records with their checksums, of which each is its type, its length and its
/// payload: what is found is the first record of a recycled log, whatever comes behind it.
pub fn records(bytes: &[u8]) {
    let found = |log: &[u8]| first_recycled(log).expect("memory can be read");
    if let Some(at) = found(bytes) {
        let kind = usize::try_from(at).expect("it is in memory") + TYPE;
        assert!(RECYCLED.contains(&bytes[kind]));
        assert_eq!(found(&bytes[..=kind]), Some(at));
        assert_eq!(found(&bytes[..kind]), None);
    }
    let (mut log, mut first, mut rest) = (Vec::new(), None, bytes);
    while let [kind, len, behind @ ..] = rest {
        let (payload, behind) = behind.split_at(behind.len().min((*len).into()));
        let record = seal(*kind, payload);
        if log.len() + record.len() > BLOCK {
            break;
        }
        if first.is_none() && RECYCLED.contains(kind) {
            first = Some(log.len() as u64);
        }
        log.extend(record);
        rest = behind;
    }
    assert_eq!(found(&log), first);
}
