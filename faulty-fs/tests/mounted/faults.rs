//! What fails on command, and how the control file answers.

use std::{
    fs::{self, File},
    io::{Read, Write},
    os::unix::fs::FileExt,
    thread,
    time::{Duration, Instant},
};

use faulty_fs::{ControlError, Failure, Fault, Loss, Op, Pages};
use rustix::io::Errno;

use crate::{
    Claim,
    test_disk::{TestDisk, errno},
};

pub(crate) const CLAIMS: &[(&str, Claim)] = &[
    ("faults::each_operation_fails_on_command", each_operation_fails_on_command),
    ("faults::each_error_can_be_had", each_error_can_be_had),
    ("faults::a_fault_concerns_its_paths_and_its_disk", a_fault_concerns_its_paths_and_its_disk),
    (
        "faults::a_failed_sync_loses_the_pages_and_the_next_hides_it",
        a_failed_sync_loses_the_pages_and_the_next_hides_it,
    ),
    ("faults::a_failed_sync_can_leave_the_pages_dirty", a_failed_sync_can_leave_the_pages_dirty),
    ("faults::a_late_failure_holds_up_nobody_else", a_late_failure_holds_up_nobody_else),
    ("faults::a_short_write_takes_a_part", a_short_write_takes_a_part),
    ("faults::a_full_disk_refuses_what_takes_space", a_full_disk_refuses_what_takes_space),
    ("faults::a_cached_file_fails_to_be_read", a_cached_file_fails_to_be_read),
    ("faults::operations_are_counted", operations_are_counted),
    ("faults::each_handle_of_the_control_file_has_its_answer", each_handle_of_the_control_file_has_its_answer),
    ("faults::a_refused_command_says_why", a_refused_command_says_why),
];

fn each_operation_fails_on_command(disk: &TestDisk) {
    fs::write(disk.path("file"), "data").unwrap();
    fs::create_dir(disk.path("dir")).unwrap();
    let file = disk.open("file");
    let path = |name: &str| disk.path(name);
    let operations: [(Op, &dyn Fn() -> std::io::Result<()>); 14] = [
        (Op::Open, &|| File::open(path("file")).map(drop)),
        (Op::Read, &|| file.read_at(&mut [0], 0).map(drop)),
        (Op::Write, &|| file.write_at(b"x", 0).map(drop)),
        (Op::Truncate, &|| file.set_len(1)),
        (Op::Allocate, &|| Ok(rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 9)?)),
        (Op::Fsync, &|| file.sync_data()),
        (Op::SyncDir, &|| File::open(path("dir"))?.sync_all()),
        (Op::Create, &|| File::create_new(path("created")).map(drop)),
        (Op::Link, &|| fs::hard_link(path("file"), path("linked"))),
        (Op::Mkdir, &|| fs::create_dir(path("made"))),
        (Op::Rename, &|| fs::rename(path("file"), path("renamed"))),
        (Op::Unlink, &|| fs::remove_file(path("file"))),
        (Op::Rmdir, &|| fs::remove_dir(path("dir"))),
        (Op::List, &|| fs::read_dir(path("dir")).and_then(|mut entries| entries.next().transpose()).map(drop)),
    ];
    for (op, operation) in operations {
        let faults = disk.stats().faults;
        disk.inject(Fault::new(op, Failure::Eio));
        assert_eq!(errno(operation()), Errno::IO, "{op:?}");
        disk.clear();
        assert!(disk.stats().faults > faults);
    }
    assert_eq!(disk.names(), ["dir", "file"], "what failed had no effect");
    assert_eq!(disk.read("file"), b"data");
}

fn each_error_can_be_had(disk: &TestDisk) {
    let file = disk.open("file");
    for (failure, expected) in [
        (Failure::Eio, Errno::IO),
        (Failure::Enospc, Errno::NOSPC),
        (Failure::Edquot, Errno::DQUOT),
        (Failure::Erofs, Errno::ROFS),
        (Failure::Eacces, Errno::ACCESS),
    ] {
        disk.inject(Fault::new(Op::Write, failure).times(1));
        assert_eq!(errno(file.write_at(b"x", 0)), expected);
    }
    file.write_all_at(b"x", 0).unwrap();
}

fn a_fault_concerns_its_paths_and_its_disk(disk: &TestDisk) {
    let other = disk.sibling("other");
    fs::create_dir(disk.path("dir")).unwrap();
    disk.inject(Fault::new(Op::Write, Failure::Eio).path("dir/fi"));
    assert_eq!(errno(fs::write(disk.path("dir/file"), "x")), Errno::IO);
    fs::write(disk.path("dir/other"), "x").unwrap();
    fs::create_dir(other.path("dir")).unwrap();
    fs::write(other.path("dir/file"), "x").unwrap();
}

fn a_failed_sync_loses_the_pages_and_the_next_hides_it(disk: &TestDisk) {
    disk.write_synced("file", b"old");
    disk.sync_dir("");
    let file = disk.open("file");
    file.write_all_at(b"new", 0).unwrap();
    disk.inject(Fault::new(Op::Fsync, Failure::Eio).times(1));
    assert_eq!(errno(file.sync_all()), Errno::IO);
    file.sync_all().unwrap();
    assert_eq!(disk.read("file"), b"new", "the cache keeps what was written");
    disk.lose();
    assert_eq!(disk.read("file"), b"old");
}

fn a_failed_sync_can_leave_the_pages_dirty(disk: &TestDisk) {
    disk.write_synced("file", b"old");
    disk.sync_dir("");
    let file = disk.open("file");
    file.write_all_at(b"new", 0).unwrap();
    disk.inject(Fault::new(Op::Fsync, Failure::Eio).pages(Pages::Dirty).times(1));
    assert_eq!(errno(file.sync_all()), Errno::IO);
    file.sync_all().unwrap();
    disk.lose();
    assert_eq!(disk.read("file"), b"new");
}

fn a_late_failure_holds_up_nobody_else(disk: &TestDisk) {
    // A machine with much else to do may need longer for the other file than the failure is late.
    let lates = (0..8).map(|power| Duration::from_millis(100 << power));
    assert!(lates.into_iter().any(|late| another_file_is_synced_before_a_failure(disk, late)));
}

fn another_file_is_synced_before_a_failure(disk: &TestDisk, late: Duration) -> bool {
    let (one, other) = (disk.open("one"), disk.open("other"));
    one.write_all_at(b"x", 0).unwrap();
    disk.inject(Fault::new(Op::Fsync, Failure::Eio).late(late).path("one"));
    let (faults, began) = (disk.stats().faults, Instant::now());
    let is_first = thread::scope(|scope| {
        let failing = scope.spawn(|| errno(one.sync_all()));
        while disk.stats().faults == faults {
            thread::yield_now();
        }
        other.write_all_at(b"x", 0).unwrap();
        other.sync_all().unwrap();
        let is_first = !failing.is_finished();
        assert_eq!(failing.join().unwrap(), Errno::IO);
        is_first
    });
    assert!(began.elapsed() >= late);
    disk.clear();
    is_first
}

fn a_short_write_takes_a_part(disk: &TestDisk) {
    let mut file = disk.open("file");
    disk.inject(Fault::short_write().times(1));
    assert_eq!(file.write(&vec![7; 10_001]).unwrap(), 5_001);
    assert_eq!(disk.read("file"), [7; 5_001]);
    disk.inject(Fault::short_write());
    file.write_all(&vec![8; 10_000]).unwrap();
    assert_eq!(disk.read("file"), [[7; 5_001].as_slice(), &vec![8; 10_000]].concat());
}

fn a_full_disk_refuses_what_takes_space(disk: &TestDisk) {
    disk.full(100 << 10);
    let file = disk.open("file");
    file.write_all_at(&vec![1; 40 << 10], 0).unwrap();
    assert_eq!(errno(file.write_all_at(&vec![1; 100 << 10], 40 << 10)), Errno::NOSPC);
    file.write_all_at(&vec![2; 40 << 10], 0).unwrap();
    file.write_all_at(&vec![3; 52 << 10], 40 << 10).unwrap();
    assert_eq!(errno(File::create_new(disk.path("another"))), Errno::NOSPC);
    file.set_len(0).unwrap();
    fs::write(disk.path("another"), vec![1; 50 << 10]).unwrap();
    disk.clear();
    file.write_all_at(&vec![1; 1 << 20], 0).unwrap();
}

fn a_cached_file_fails_to_be_read(disk: &TestDisk) {
    fs::write(disk.path("file"), vec![1; 100_000]).unwrap();
    let file = disk.open("file");
    file.read_exact_at(&mut vec![0; 100_000], 0).unwrap();
    disk.inject(Fault::new(Op::Read, Failure::Eio));
    assert_eq!(errno(file.read_at(&mut vec![0; 100_000], 0)), Errno::IO);
    disk.clear();
    file.read_exact_at(&mut vec![0; 100_000], 0).unwrap();
}

fn operations_are_counted(disk: &TestDisk) {
    let mut file = disk.open("file");
    file.write_all(b"one").unwrap();
    file.write_all(b"two").unwrap();
    file.sync_data().unwrap();
    file.write_all(b"three").unwrap();
    disk.sync_dir("");
    let stats = disk.stats();
    let count = |op: Op| stats.operations.get(&op).copied().unwrap_or_default();
    assert_eq!([count(Op::Create), count(Op::Write), count(Op::Fsync), count(Op::SyncDir)], [1, 3, 1, 1]);
    assert_eq!((stats.unsynced_bytes, stats.unsynced_names), (5, 0));
    assert_eq!(stats.used, 3 * 4096, "the disk's directory, the file, and its page");
}

fn each_handle_of_the_control_file_has_its_answer(disk: &TestDisk) {
    let open = || File::options().read(true).write(true).open(disk.dir.with_file_name(".control")).unwrap();
    thread::scope(|scope| {
        for index in 0..8 {
            scope.spawn(move || {
                let own = disk.sibling(&index.to_string());
                for _ in 0..index {
                    own.lose_with(Loss::default());
                }
                let mut handle = open();
                writeln!(handle, "stats {}", own.name).unwrap();
                let mut answer = String::new();
                handle.read_to_string(&mut answer).unwrap();
                assert!(answer.contains(&format!("\"losses\":{index},")), "{answer}");
            });
        }
    });
}

fn a_refused_command_says_why(disk: &TestDisk) {
    let unknown = disk.control.lose("no-such-disk", Loss::default()).unwrap_err();
    assert!(matches!(&unknown, ControlError::Refused(why) if why.contains("no such disk")), "{unknown}");
    let mut handle = File::options().read(true).write(true).open(disk.dir.with_file_name(".control")).unwrap();
    assert_eq!(errno(handle.write(format!("clear {0}\nlose {0} keep=most\n", disk.name).as_bytes())), Errno::INVAL);
    let mut answer = String::new();
    handle.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "ok\nerror: keep: expected one of none, random, all\n");
}
