//! What a power loss takes, and what it leaves.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
};

use faulty_fs::{Keep, Loss, Mode};
use rustix::{fs::OFlags, io::Errno};

use crate::{
    Claim,
    test_disk::{TestDisk, errno},
};

pub(crate) const CLAIMS: &[(&str, Claim)] = &[
    ("losses::only_what_was_synced_is_found", only_what_was_synced_is_found),
    ("losses::a_new_name_needs_a_sync_of_its_directory", a_new_name_needs_a_sync_of_its_directory),
    ("losses::any_sync_commits_the_names_of_a_journalled_disk", any_sync_commits_the_names_of_a_journalled_disk),
    ("losses::a_replaced_file_is_the_old_or_the_new_one", a_replaced_file_is_the_old_or_the_new_one),
    ("losses::an_unsynced_removal_is_undone", an_unsynced_removal_is_undone),
    ("losses::synchronous_writes_survive", synchronous_writes_survive),
    ("losses::handles_of_before_are_dead", handles_of_before_are_dead),
    ("losses::no_cached_page_of_before_shows", no_cached_page_of_before_shows),
    ("losses::everything_can_survive", everything_can_survive),
    ("losses::pages_survive_whole_and_in_any_order", pages_survive_whole_and_in_any_order),
    ("losses::torn_pages_survive_in_sectors", torn_pages_survive_in_sectors),
    ("losses::a_seed_replays_a_loss", a_seed_replays_a_loss),
];

fn only_what_was_synced_is_found(disk: &TestDisk) {
    let file = disk.open("file");
    file.write_all_at(b"synced", 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir("");
    file.write_all_at(b"gone!!, and longer", 0).unwrap();
    fs::write(disk.path("other"), "gone").unwrap();
    disk.lose();
    assert_eq!(disk.names(), ["file"]);
    assert_eq!(disk.read("file"), b"synced");
    assert_eq!(disk.stats().losses, 1);
}

fn a_new_name_needs_a_sync_of_its_directory(disk: &TestDisk) {
    fs::create_dir(disk.path("dir")).unwrap();
    disk.write_synced("dir/file", b"data");
    disk.sync_dir("dir");
    disk.lose();
    assert_eq!(disk.names(), [""; 0], "the directory's own name was not synced");

    fs::create_dir(disk.path("dir")).unwrap();
    disk.sync_dir("");
    disk.write_synced("dir/file", b"data");
    disk.write_synced("dir/other", b"data");
    fs::remove_file(disk.path("dir/other")).unwrap();
    disk.sync_dir("dir");
    disk.lose();
    assert_eq!(disk.read("dir/file"), b"data");
    assert!(!disk.path("dir/other").exists());
}

fn any_sync_commits_the_names_of_a_journalled_disk(disk: &TestDisk) {
    disk.mode(Mode::Journalled);
    fs::create_dir(disk.path("dir")).unwrap();
    fs::write(disk.path("dir/unsynced"), "data").unwrap();
    disk.write_synced("dir/file", b"data");
    fs::write(disk.path("dir/later"), "data").unwrap();
    disk.lose();
    assert_eq!(disk.read("dir/file"), b"data");
    assert_eq!(disk.read("dir/unsynced"), b"");
    assert!(!disk.path("dir/later").exists());
}

fn a_replaced_file_is_the_old_or_the_new_one(disk: &TestDisk) {
    let mut found_old = false;
    let mut found_new = false;
    for seed in 0..40 {
        disk.write_synced("file", b"old");
        disk.sync_all();
        disk.write_synced("file.new", b"new");
        fs::rename(disk.path("file.new"), disk.path("file")).unwrap();
        disk.lose_randomly(seed, true);
        match disk.read("file").as_slice() {
            b"old" => found_old = true,
            b"new" => {
                found_new = true;
                assert_eq!(disk.names(), ["file"], "never both");
            }
            other => panic!("neither the old nor the new file: {other:?}"),
        }
    }
    assert!(found_old && found_new);

    disk.write_synced("file", b"old");
    disk.write_synced("file.new", b"new");
    fs::rename(disk.path("file.new"), disk.path("file")).unwrap();
    disk.sync_dir("");
    disk.lose();
    assert_eq!(disk.read("file"), b"new");
}

fn an_unsynced_removal_is_undone(disk: &TestDisk) {
    disk.write_synced("file", b"data");
    disk.sync_dir("");
    fs::remove_file(disk.path("file")).unwrap();
    disk.lose();
    assert_eq!(disk.read("file"), b"data");
    fs::remove_file(disk.path("file")).unwrap();
    disk.sync_dir("");
    disk.lose();
    assert_eq!(disk.names(), [""; 0]);
}

fn synchronous_writes_survive(disk: &TestDisk) {
    for flag in [OFlags::SYNC, OFlags::DSYNC] {
        let name = format!("{flag:?}");
        disk.write_synced(&name, b"");
        disk.sync_dir("");
        let flag = flag.bits().cast_signed();
        let mut file = OpenOptions::new().write(true).custom_flags(flag).open(disk.path(&name)).unwrap();
        file.write_all(b"acknowledged").unwrap();
        disk.lose();
        assert_eq!(disk.read(&name), b"acknowledged");
    }
}

fn handles_of_before_are_dead(disk: &TestDisk) {
    disk.write_synced("file", b"synced");
    disk.sync_dir("");
    let mut file = disk.open("file");
    let dir = File::open(&disk.dir).unwrap();
    let before = file.metadata().unwrap().ino();
    disk.lose();
    assert_eq!(errno(file.write(b"late")), Errno::STALE);
    assert_eq!(errno(file.read(&mut [0])), Errno::STALE);
    assert_eq!(errno(file.sync_all()), Errno::STALE);
    assert_eq!(errno(file.set_len(0)), Errno::STALE);
    assert_eq!(errno(dir.sync_all()), Errno::STALE);
    drop(file);
    assert_eq!(disk.read("file"), b"synced");
    assert_ne!(fs::metadata(disk.path("file")).unwrap().ino(), before);
}

fn no_cached_page_of_before_shows(disk: &TestDisk) {
    disk.write_synced("file", &vec![1; 100_000]);
    disk.sync_dir("");
    let file = disk.open("file");
    file.write_all_at(&vec![2; 100_000], 0).unwrap();
    let mut cached = vec![0; 100_000];
    file.read_exact_at(&mut cached, 0).unwrap();
    assert_eq!(cached, vec![2; 100_000]);
    disk.lose();
    assert_eq!(errno(file.read_at(&mut cached, 0)), Errno::STALE);
    assert_eq!(disk.read("file"), vec![1; 100_000]);
}

fn everything_can_survive(disk: &TestDisk) {
    fs::create_dir(disk.path("dir")).unwrap();
    fs::write(disk.path("dir/file"), "data").unwrap();
    disk.lose_with(Loss { keep: Keep::All, ..Loss::default() });
    assert_eq!(disk.read("dir/file"), b"data");
}

/// How the pieces of a file look that was all 1 and synced, and all 2 when the power failed.
fn survivors(disk: &TestDisk, seed: u64, torn: bool, piece: usize) -> Vec<u8> {
    disk.write_synced("file", &vec![1; 64 * 4096]);
    disk.sync_all();
    // In memory already: what the kernel has to fetch in the middle of a page, it writes in two parts.
    disk.open("file").write_all_at(&vec![2; 64 * 4096], 0).unwrap();
    disk.lose_randomly(seed, torn);
    let found = disk.read("file");
    assert_eq!(found.len(), 64 * 4096);
    let whole = |piece: &[u8]| {
        assert!(piece.iter().all(|byte| *byte == piece[0]), "a piece is written whole or not at all");
        piece[0]
    };
    found.chunks(piece).map(whole).collect()
}

fn pages_survive_whole_and_in_any_order(disk: &TestDisk) {
    let losses: Vec<_> = (0..20).map(|seed| survivors(disk, seed, false, 4096)).collect();
    let late_without_early = |pages: &Vec<u8>| pages.windows(2).any(|pair| pair == [1, 2]);
    assert!(losses.iter().any(late_without_early));
    assert!(losses.iter().flatten().any(|page| *page == 1));
}

fn torn_pages_survive_in_sectors(disk: &TestDisk) {
    let torn = |sectors: Vec<u8>| sectors.chunks(8).any(|page| page.contains(&1) && page.contains(&2));
    assert!((0..20).map(|seed| survivors(disk, seed, true, 512)).any(torn));
}

fn a_seed_replays_a_loss(disk: &TestDisk) {
    assert_eq!(survivors(disk, 7, true, 512), survivors(disk, 7, true, 512));
    assert_ne!(survivors(disk, 7, true, 512), survivors(disk, 8, true, 512));
}
