//! The records of RocksDB's manifest and write-ahead logs, as far as it takes to keep RocksDB from one that it reads without
//! end.
//!
//! Where a record of a recycled log follows one that is of none, RocksDB (11.8, `db/log_reader.cc`) calls it bad, does not
//! move on, and reads it again. No store has such a record, since its logs are not recycled: a byte rotted there.
//!
//! A file is blocks of 32 KiB, and each is records one behind the other: a checksum of what follows the length (4 bytes), the
//! length of the payload (2 bytes), a type (1 byte), the payload. Behind a record that is not whole RocksDB reads no more of
//! the block, and goes on with the next.

use std::io::{self, Read};

use crc_fast::{CrcAlgorithm, checksum};

pub(crate) const BLOCK: usize = 32 * 1024;
const HEADER: usize = 7;
const LENGTH: usize = 4;
pub(crate) const TYPE: usize = 6;

/// The types of a recycled log's records.
pub(crate) const RECYCLED: [u8; 6] = [5, 6, 7, 8, 11, 131];

/// What is added to a checksum that lies in a file, behind a rotation.
const MASK: u32 = 0xa282_ead8;

/// Where the first record is that says it is of a recycled log, in bytes.
pub(crate) fn first_recycled(mut file: impl Read) -> io::Result<Option<u64>> {
    let mut block = Vec::with_capacity(BLOCK);
    let mut begin = 0;
    loop {
        block.clear();
        file.by_ref().take(BLOCK as u64).read_to_end(&mut block)?;
        if let Some(at) = first_recycled_in(&block) {
            return Ok(Some(begin + at as u64));
        }
        if block.len() < BLOCK {
            return Ok(None);
        }
        begin += BLOCK as u64;
    }
}

fn first_recycled_in(block: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(header) = block.get(at..at + HEADER) {
        if RECYCLED.contains(&header[TYPE]) {
            return Some(at);
        }
        let end = at + HEADER + usize::from(u16::from_le_bytes([header[LENGTH], header[LENGTH + 1]]));
        if masked_checksum(block.get(at + TYPE..end)?) != header[..LENGTH] {
            return None;
        }
        at = end;
    }
    None
}

/// A record with its checksum.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn seal(kind: u8, payload: &[u8]) -> Vec<u8> {
    let told = [&[kind], payload].concat();
    let len = u16::try_from(payload.len()).expect("a payload fits into a block").to_le_bytes();
    [&masked_checksum(&told)[..], &len, &told].concat()
}

fn masked_checksum(bytes: &[u8]) -> [u8; 4] {
    let crc = u32::try_from(checksum(CrcAlgorithm::Crc32Iscsi, bytes)).expect("it has 32 bits");
    crc.rotate_right(15).wrapping_add(MASK).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: u8 = 1;

    fn found(parts: &[Vec<u8>]) -> Option<u64> {
        first_recycled(&*parts.concat()).unwrap()
    }

    /// Filled up to its end, where no header has room any more.
    fn block() -> Vec<u8> {
        let mut block = seal(FULL, &vec![7; BLOCK - HEADER - 3]);
        block.resize(BLOCK, 0);
        block
    }

    #[test]
    fn a_record_of_a_recycled_log_is_found_wherever_it_is() {
        for kind in RECYCLED {
            let rotten = seal(kind, b"x");
            assert_eq!(found(&[seal(FULL, b"abc"), rotten.clone()]), Some(10));
            assert_eq!(found(&[block(), seal(FULL, b""), rotten.clone()]), Some(BLOCK as u64 + 7));
            assert_eq!(found(&[block(), rotten]), Some(BLOCK as u64));
        }
    }

    #[test]
    fn sound_files_and_such_as_were_torn_have_none() {
        let sound = [seal(FULL, b"abc"), seal(130, b"info"), seal(10, b"time")].concat();
        assert_eq!(found(&[]), None);
        for len in 0..sound.len() {
            assert_eq!(found(&[sound[..len].to_vec()]), None, "{len} bytes");
        }
        // Behind what was torn nothing tells a record from a payload.
        let mut torn = seal(FULL, b"abc");
        torn[8] ^= 1;
        assert_eq!(found(&[torn, seal(5, b"")]), None);
        assert_eq!(found(&[vec![0; 100], seal(5, b"")]), None);
        assert_eq!(found(&[block(), vec![0; BLOCK], block()]), None);
    }
}
