//! What holds of packs, of the index and of locators, whatever bytes they are.

use std::sync::Arc;

use bytes::BufMut;
use store_api::{ContentHash, ContentKey};

use super::{
    format::{self, ENTRY_LEN, Tail},
    frame,
    name::PackName,
    place::Place,
    root::{self, Root},
    run::{self, RECORD_LEN, Run},
    view::View,
};

/// The end of a pack, and a footer behind its checksum: what opens says what was sealed, a part of it asks for the rest,
/// and a hash that is looked up has a place of its own.
pub fn pack(bytes: &[u8]) {
    let name = PackName::first(3);
    if let Tail::Longer(needed) = format::open(name, 1 << 20, bytes) {
        assert!(needed > bytes.len() as u64 && needed <= 1 << 20);
    }
    let footer = &bytes[..bytes.len() / ENTRY_LEN * ENTRY_LEN];
    let tail = format::seal_footer(name, footer.to_vec());
    let size = tail.len() as u64;
    let Tail::Index(index) = format::open(name, size, &tail) else { return };
    let mut sealed = Vec::new();
    for (hash, place) in &*index {
        sealed.put_slice(hash.as_bytes());
        place.put_in_pack(&mut sealed);
    }
    assert_eq!(sealed, footer);
    assert!(matches!(format::open(PackName::first(4), size, &tail), Tail::Damaged));
    if !footer.is_empty() {
        assert!(matches!(format::open(name, size, &tail[1..]), Tail::Longer(needed) if needed == size));
        assert!(matches!(format::open(name, size - 1, &tail[1..]), Tail::Damaged));
    }
    let mut view = View::default();
    for (hash, place) in &*index {
        view.remember(*hash, *place);
    }
    view.insert(name, Arc::clone(&index));
    for (hash, _) in &*index {
        for _ in 0..3 {
            let found = view.find(hash).expect("it was inserted");
            assert!(index.contains(&(*hash, found)));
            view.set_rotten(hash, found);
        }
    }
}

/// The name of a pack's object: what is one is the only text for it.
pub fn pack_name(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(name) = PackName::of_object(text) {
        assert_eq!(name.object(), text);
        assert!(*text > *PackName::before(name.epoch));
    }
}

/// The root of the index, as it is and behind its checksum: what opens is sealed as what opens alike, takes memory in
/// proportion, and its runs have their blocks where they can be.
pub fn root(bytes: &[u8]) {
    let sealed = frame::seal(root::KEY, bytes);
    let probes = bytes.as_chunks::<{ ContentHash::LEN }>().0.iter().copied().map(ContentHash::new);
    let probes: Vec<ContentHash> = probes.chain([[0; 32], [255; 32]].map(ContentHash::new)).collect();
    for root in [bytes, &sealed].into_iter().filter_map(Root::open) {
        assert!(Root::open(&root.seal()).as_ref() == Some(&root));
        assert!(root.covers_all_of(&root) && root.runs.iter().all(|run| root.names(run)));
        for run in &root.runs {
            assert!(run.blocks() * ContentHash::LEN <= bytes.len());
            for hash in &probes {
                has_its_block(run, hash);
            }
        }
    }
}

fn has_its_block(run: &Run, hash: &ContentHash) {
    let Some(block) = run.block_of(hash) else { return };
    let range = run.range(block);
    assert!(block < run.blocks() && range.start < range.end);
    assert!(range.end <= (run.records() * RECORD_LEN) as u64);
}

/// A run, made of any records and as any bytes behind their checksum: what opens says what was sealed, and each hash has a
/// place of its own.
pub fn run(bytes: &[u8]) {
    // One block at the most.
    let bytes = &bytes[..bytes.len().min(1024 * RECORD_LEN)];
    let Some(records) = records_of(bytes) else { return };
    let mut sealed = Vec::new();
    for (hash, place) in &records {
        sealed.put_slice(hash.as_bytes());
        place.put(&mut sealed);
    }
    assert_eq!(sealed, bytes);
    let (run, object) = Run::seal(7, &run::best_of_each(records.clone()));
    let opened = run.open(&object).expect("it was sealed");
    assert!(opened.is_sorted_by(|(one, _), (other, _)| one < other));
    for (hash, best) in &opened {
        assert_eq!(run.block_of(hash), Some(0));
        let mut places = records.iter().filter(|(of, _)| of == hash).map(|(_, place)| place);
        assert!(places.all(|place| place.rank() <= best.rank()) && records.contains(&(*hash, *best)));
    }
}

/// The records that any bytes are, as a block whose checksum is right.
fn records_of(bytes: &[u8]) -> Option<Vec<run::Record>> {
    let mut head = Vec::new();
    head.put_u128(7);
    head.put_u32(u32::try_from(bytes.len().div_ceil(RECORD_LEN)).expect("it is short"));
    head.put_bytes(0, ContentHash::LEN);
    head.put_slice(&run::checksum(7, bytes));
    Run::get(&mut &head[..])?.open_block(0, bytes)
}

/// A hash and a locator: a locator that is a place of the hash is made of that place, and is no other hash's (I5).
pub fn locator(bytes: &[u8]) {
    let Some((hash, locator)) = bytes.split_first_chunk() else { return };
    let hash = ContentHash::new(*hash);
    if let Some(key) = ContentKey::with_locator(hash, locator)
        && let Some(place) = Place::of_key(&key)
    {
        assert_eq!(place.to_key(&hash).locator(), key.locator());
    }
    let Some(place) = Place::get(&mut &*locator) else { return };
    let key = place.to_key(&hash);
    assert_eq!(Place::of_key(&key), Some(place));
    assert!(place.range().start <= place.range().end);
    let mut other = *hash.as_bytes();
    other[0] ^= 1;
    let foreign = ContentKey::with_locator(ContentHash::new(other), key.locator()).expect("it fits");
    assert_eq!(Place::of_key(&foreign), None);
}
