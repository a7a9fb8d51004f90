//! It is a file system: what POSIX programs rely on.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink},
    thread,
};

use rustix::{
    fs::{FallocateFlags, FlockOperation, RenameFlags, fallocate, fcntl_lock, renameat_with, statvfs},
    io::Errno,
};

use crate::{
    Claim,
    role::Role,
    test_disk::{TestDisk, errno},
};

pub(crate) const CLAIMS: &[(&str, Claim)] = &[
    ("files::what_is_written_is_read_back", what_is_written_is_read_back),
    ("files::appends_from_many_threads_all_arrive", appends_from_many_threads_all_arrive),
    ("files::holes_read_as_zeros_and_take_no_space", holes_read_as_zeros_and_take_no_space),
    ("files::truncation_cuts_and_regrows_with_zeros", truncation_cuts_and_regrows_with_zeros),
    ("files::rename_replaces", rename_replaces),
    ("files::rename_can_refuse_to_replace_and_can_exchange", rename_can_refuse_to_replace_and_can_exchange),
    ("files::an_unlinked_file_lives_while_it_is_open", an_unlinked_file_lives_while_it_is_open),
    ("files::hard_links_are_one_file", hard_links_are_one_file),
    ("files::symlinks_lead_on", symlinks_lead_on),
    ("files::a_listing_holds_what_was_there_all_through", a_listing_holds_what_was_there_all_through),
    ("files::a_full_directory_is_not_removed", a_full_directory_is_not_removed),
    ("files::allocation_grows_or_keeps_the_size", allocation_grows_or_keeps_the_size),
    ("files::permissions_owners_and_times_are_kept", permissions_owners_and_times_are_kept),
    ("files::locks_exclude_other_processes", locks_exclude_other_processes),
    ("files::space_is_counted", space_is_counted),
    ("files::disks_are_apart", disks_are_apart),
];

fn what_is_written_is_read_back(disk: &TestDisk) {
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|index| (index % 251) as u8).collect();
    fs::write(disk.path("file"), &bytes).unwrap();
    assert_eq!(disk.read("file"), bytes);
    let file = disk.open("file");
    file.write_all_at(b"middle", 1_500_000).unwrap();
    let mut found = [0; 8];
    file.read_exact_at(&mut found, 1_499_999).unwrap();
    assert_eq!(&found[1..7], b"middle");
}

fn appends_from_many_threads_all_arrive(disk: &TestDisk) {
    const THREADS: usize = 4;
    const LINES: usize = 200;
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut file = OpenOptions::new().append(true).create(true).open(disk.path("log")).unwrap();
                for _ in 0..LINES {
                    file.write_all(b"a line of the log\n").unwrap();
                }
            });
        }
    });
    let log = String::from_utf8(disk.read("log")).unwrap();
    assert_eq!(log.lines().filter(|line| *line == "a line of the log").count(), THREADS * LINES);
}

fn holes_read_as_zeros_and_take_no_space(disk: &TestDisk) {
    let file = disk.open("sparse");
    file.write_all_at(b"end", 1 << 30).unwrap();
    let metadata = file.metadata().unwrap();
    assert_eq!(metadata.len(), (1 << 30) + 3);
    assert_eq!(metadata.blocks(), 8);
    let mut found = [1; 100];
    file.read_exact_at(&mut found, 12_345).unwrap();
    assert_eq!(found, [0; 100]);
}

fn truncation_cuts_and_regrows_with_zeros(disk: &TestDisk) {
    fs::write(disk.path("file"), vec![7; 10_000]).unwrap();
    let file = disk.open("file");
    file.set_len(5_000).unwrap();
    file.set_len(10_000).unwrap();
    let found = disk.read("file");
    assert_eq!(found[..5_000], [7; 5_000]);
    assert_eq!(found[5_000..], [0; 5_000]);
    drop(File::create(disk.path("file")).unwrap());
    assert_eq!(disk.read("file"), b"");
}

fn rename_replaces(disk: &TestDisk) {
    fs::write(disk.path("old"), "old").unwrap();
    fs::write(disk.path("new"), "new").unwrap();
    let mut replaced = File::open(disk.path("old")).unwrap();
    fs::rename(disk.path("new"), disk.path("old")).unwrap();
    assert_eq!(disk.names(), ["old"]);
    assert_eq!(disk.read("old"), b"new");
    let mut found = String::new();
    replaced.read_to_string(&mut found).unwrap();
    assert_eq!(found, "old", "who has it open still reads what was replaced");
    fs::create_dir(disk.path("dir")).unwrap();
    assert_eq!(errno(fs::rename(disk.path("old"), disk.path("dir"))), Errno::ISDIR);
    assert_eq!(errno(fs::rename(disk.path("dir"), disk.path("old"))), Errno::NOTDIR);
}

fn rename_can_refuse_to_replace_and_can_exchange(disk: &TestDisk) {
    fs::write(disk.path("a"), "a").unwrap();
    fs::write(disk.path("b"), "b").unwrap();
    let dir = File::open(&disk.dir).unwrap();
    assert_eq!(renameat_with(&dir, "a", &dir, "b", RenameFlags::NOREPLACE), Err(Errno::EXIST));
    renameat_with(&dir, "a", &dir, "b", RenameFlags::EXCHANGE).unwrap();
    assert_eq!((disk.read("a"), disk.read("b")), (b"b".to_vec(), b"a".to_vec()));
}

fn an_unlinked_file_lives_while_it_is_open(disk: &TestDisk) {
    let mut file = disk.open("file");
    file.write_all(b"before").unwrap();
    let used = disk.stats().used;
    fs::remove_file(disk.path("file")).unwrap();
    assert_eq!(disk.names(), [""; 0]);
    file.write_all(b" and after").unwrap();
    file.sync_all().unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    let mut found = String::new();
    file.read_to_string(&mut found).unwrap();
    assert_eq!(found, "before and after");
    assert_eq!(file.metadata().unwrap().nlink(), 0);
    assert_eq!(disk.stats().used, used);
}

fn hard_links_are_one_file(disk: &TestDisk) {
    fs::write(disk.path("one"), "one").unwrap();
    fs::hard_link(disk.path("one"), disk.path("two")).unwrap();
    fs::write(disk.path("two"), "changed").unwrap();
    assert_eq!(disk.read("one"), b"changed");
    assert_eq!(fs::metadata(disk.path("one")).unwrap().nlink(), 2);
    fs::remove_file(disk.path("one")).unwrap();
    assert_eq!(disk.read("two"), b"changed");
    assert_eq!(fs::metadata(disk.path("two")).unwrap().nlink(), 1);
}

fn symlinks_lead_on(disk: &TestDisk) {
    fs::write(disk.path("file"), "here").unwrap();
    symlink("file", disk.path("link")).unwrap();
    assert_eq!(disk.read("link"), b"here");
    assert_eq!(fs::read_link(disk.path("link")).unwrap().to_str(), Some("file"));
}

fn a_listing_holds_what_was_there_all_through(disk: &TestDisk) {
    const STAYING: usize = 1_000;
    for index in 0..STAYING {
        fs::write(disk.path(&format!("stays-{index}")), "").unwrap();
        fs::write(disk.path(&format!("goes-{index}")), "").unwrap();
    }
    let mut staying = 0;
    for (index, entry) in fs::read_dir(&disk.dir).unwrap().enumerate() {
        if index < STAYING {
            fs::remove_file(disk.path(&format!("goes-{index}"))).unwrap();
        }
        staying += usize::from(entry.unwrap().file_name().to_str().unwrap().starts_with("stays-"));
    }
    assert_eq!(staying, STAYING);
    fs::remove_dir_all(&disk.dir).unwrap();
    assert!(!disk.dir.exists());
}

fn a_full_directory_is_not_removed(disk: &TestDisk) {
    fs::create_dir_all(disk.path("a/b")).unwrap();
    assert_eq!(errno(fs::remove_dir(disk.path("a"))), Errno::NOTEMPTY);
    fs::rename(disk.path("a/b"), disk.path("c")).unwrap();
    fs::remove_dir(disk.path("a")).unwrap();
    assert_eq!(disk.names(), ["c"]);
    assert_eq!(errno(fs::rename(disk.path("c"), disk.path("c/inside"))), Errno::INVAL);
}

fn allocation_grows_or_keeps_the_size(disk: &TestDisk) {
    let file = disk.open("file");
    fallocate(&file, FallocateFlags::KEEP_SIZE, 0, 100_000).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 0);
    fallocate(&file, FallocateFlags::empty(), 0, 100_000).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 100_000);
    let punched = fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, 4096);
    assert_eq!(punched, Err(Errno::OPNOTSUPP));
}

fn permissions_owners_and_times_are_kept(disk: &TestDisk) {
    let file = disk.open("file");
    file.set_permissions(fs::Permissions::from_mode(0o640)).unwrap();
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    file.set_modified(time).unwrap();
    let metadata = fs::metadata(disk.path("file")).unwrap();
    assert_eq!(metadata.mode() & 0o7777, 0o640);
    assert_eq!(metadata.modified().unwrap(), time);
    assert_eq!(metadata.uid(), rustix::process::getuid().as_raw());
}

fn locks_exclude_other_processes(disk: &TestDisk) {
    let file = disk.open("file");
    let mut child = Role::start("lock", &disk.path("file"));
    child.until("posix and flock held");
    assert_eq!(fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive), Err(Errno::AGAIN));
    assert!(matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock)));
    child.kill();
    fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
    file.try_lock().unwrap();
}

fn space_is_counted(disk: &TestDisk) {
    disk.full(1 << 20);
    let before = statvfs(&disk.dir).unwrap();
    assert_eq!(before.f_blocks * before.f_frsize, 1 << 20);
    fs::write(disk.path("file"), vec![1; 40_960]).unwrap();
    let after = statvfs(&disk.dir).unwrap();
    assert_eq!(before.f_bavail - after.f_bavail, 11, "ten pages, and the file");
    fs::remove_file(disk.path("file")).unwrap();
    assert_eq!(statvfs(&disk.dir).unwrap().f_bavail, before.f_bavail);
}

fn disks_are_apart(disk: &TestDisk) {
    let other = disk.sibling("other");
    fs::write(disk.path("file"), "x").unwrap();
    other.write_synced("file", b"y");
    assert_eq!(errno(fs::rename(disk.path("file"), other.path("moved"))), Errno::XDEV);
    assert_eq!(errno(fs::hard_link(disk.path("file"), other.path("linked"))), Errno::XDEV);
    other.lose();
    assert_eq!(other.names(), [""; 0]);
    assert_eq!(disk.read("file"), b"x");
}
