//! Runs: where the values of many packs lie, sorted by hash, in blocks that are read one at a time.
//!
//! What says which runs there are, and where their blocks begin, is the [root](super::root). A run can be made anew from
//! the packs, so that its loss costs requests and nothing else.

use std::{cmp::Reverse, ops::Range};

use backend_kit::frame;
use bytes::{Buf, BufMut, Bytes};
use store_api::ContentHash;

use super::place::Place;

/// A value's hash, and where it lies.
pub(crate) type Record = (ContentHash, Place);

/// Where a value lies, by records in the order of their hashes.
pub(crate) fn place_in(records: &[Record], hash: &ContentHash) -> Option<Place> {
    records.binary_search_by_key(hash, |(hash, _)| *hash).ok().map(|at| records[at].1)
}

pub(super) const RECORD_LEN: usize = ContentHash::LEN + Place::LEN;
const BLOCK_RECORDS: usize = 1024;
const BLOCK_LEN: usize = BLOCK_RECORDS * RECORD_LEN;

/// How many records runs have at the most: 65 MiB, which a merge holds in memory.
pub(crate) const MAX_RECORDS: usize = 1 << 20;

/// The folder of the runs and of their root, below the store's prefix.
pub(crate) const FOLDER: &str = "index";

/// What the root says about a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    nonce: u128,
    records: u32,
    blocks: Vec<Block>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Block {
    first: ContentHash,
    checksum: [u8; frame::CHECKSUM_LEN],
}

/// The best record of each hash, in the order of the hashes.
pub(crate) fn best_of_each(mut records: Vec<Record>) -> Vec<Record> {
    records.sort_unstable_by_key(|(hash, place)| (*hash, Reverse(place.rank())));
    records.dedup_by_key(|(hash, _)| *hash);
    records
}

impl Run {
    /// A run of records, each hash once and in their order, with its object's bytes. No other run has its nonce.
    pub(crate) fn seal(nonce: u128, records: &[Record]) -> (Self, Bytes) {
        let mut bytes = Vec::with_capacity(records.len() * RECORD_LEN);
        for (hash, place) in records {
            bytes.extend_from_slice(hash.as_bytes());
            place.put(&mut bytes);
        }
        let blocks = records.iter().step_by(BLOCK_RECORDS).zip(bytes.chunks(BLOCK_LEN));
        let block = |((first, _), bytes): (&Record, _)| Block { first: *first, checksum: checksum(nonce, bytes) };
        let blocks = blocks.map(block).collect();
        let records = u32::try_from(records.len()).expect("a run's records are counted in 32 bits");
        (Self { nonce, records, blocks }, bytes.into())
    }

    /// The name of its object.
    pub(crate) fn object(&self) -> String {
        object(self.nonce)
    }

    pub(crate) fn records(&self) -> usize {
        self.records as usize
    }

    /// How many bytes its object has.
    pub(crate) fn len(&self) -> u64 {
        (self.records() * RECORD_LEN) as u64
    }

    pub(crate) fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// The block that a hash is in, if it is in any.
    pub(crate) fn block_of(&self, hash: &ContentHash) -> Option<usize> {
        self.blocks.partition_point(|block| block.first <= *hash).checked_sub(1)
    }

    /// Where a block lies in the object.
    pub(crate) fn range(&self, block: usize) -> Range<u64> {
        let end = (block + 1) * BLOCK_LEN;
        (block * BLOCK_LEN) as u64..(end as u64).min(self.len())
    }

    /// The records of a block, or `None` when its bytes are damaged.
    pub(crate) fn open_block(&self, block: usize, bytes: &[u8]) -> Option<Vec<Record>> {
        if self.blocks.get(block)?.checksum != checksum(self.nonce, bytes) {
            return None;
        }
        bytes.chunks(RECORD_LEN).map(parse_record).collect()
    }

    /// The records of the whole object, or `None` when its bytes are damaged.
    pub(crate) fn open(&self, bytes: &[u8]) -> Option<Vec<Record>> {
        if bytes.len() as u64 != self.len() {
            return None;
        }
        let mut records = Vec::with_capacity(self.records());
        for (block, bytes) in bytes.chunks(BLOCK_LEN).enumerate() {
            records.append(&mut self.open_block(block, bytes)?);
        }
        Some(records)
    }

    pub(super) fn put(&self, to: &mut impl BufMut) {
        to.put_u128(self.nonce);
        to.put_u32(self.records);
        for block in &self.blocks {
            to.put_slice(block.first.as_bytes());
            to.put_slice(&block.checksum);
        }
    }

    pub(super) fn get(from: &mut &[u8]) -> Option<Self> {
        let (nonce, records) = (from.try_get_u128().ok()?, from.try_get_u32().ok()?);
        let mut blocks = Vec::new();
        for _ in 0..(records as usize).div_ceil(BLOCK_RECORDS) {
            let (first, checksum) = from.split_at_checked(ContentHash::LEN)?;
            let first = ContentHash::try_from(first).ok()?;
            let (checksum, rest) = checksum.split_first_chunk()?;
            *from = rest;
            blocks.push(Block { first, checksum: *checksum });
        }
        Some(Self { nonce, records, blocks })
    }
}

fn object(nonce: u128) -> String {
    format!("{FOLDER}/{nonce:032x}")
}

/// Whether this is the name of a run's object.
pub(crate) fn is_object(name: &str) -> bool {
    let nonce = name.rsplit_once('/').and_then(|(_, nonce)| u128::from_str_radix(nonce, 16).ok());
    // One text for each number.
    nonce.is_some_and(|nonce| object(nonce) == name)
}

fn parse_record(record: &[u8]) -> Option<Record> {
    let (hash, mut place) = record.split_first_chunk()?;
    Some((ContentHash::new(*hash), Place::get(&mut place)?))
}

pub(super) fn checksum(nonce: u128, block: &[u8]) -> [u8; frame::CHECKSUM_LEN] {
    frame::checksum(&nonce.to_be_bytes(), block)
}
