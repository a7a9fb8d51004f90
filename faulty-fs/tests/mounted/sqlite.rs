//! The proof by an engine that is known to be right: SQLite loses what it may lose, and nothing else.

use std::{fs, path::Path};

use faulty_fs::{Failure, Fault, Keep, Loss, Op};
use rusqlite::{Connection, params};

use crate::{
    Claim,
    role::{Role, say},
    test_disk::TestDisk,
};

pub(crate) const CLAIMS: &[(&str, Claim)] = &[
    ("sqlite::a_synced_log_keeps_every_acknowledged_row", a_synced_log_keeps_every_acknowledged_row),
    ("sqlite::a_synced_journal_keeps_every_acknowledged_row", a_synced_journal_keeps_every_acknowledged_row),
    ("sqlite::an_unsynced_log_loses_acknowledged_rows", an_unsynced_log_loses_acknowledged_rows),
    (
        "sqlite::a_journal_whose_removal_is_not_synced_takes_a_row_back",
        a_journal_whose_removal_is_not_synced_takes_a_row_back,
    ),
    ("sqlite::processes_share_the_mapped_index_of_the_log", processes_share_the_mapped_index_of_the_log),
    ("sqlite::a_failed_sync_is_an_error", a_failed_sync_is_an_error),
    ("sqlite::a_full_disk_is_an_error", a_full_disk_is_an_error),
];

/// The number of losses of a trial, so that a long run can ask for more.
fn rounds() -> u64 {
    const VARIABLE: &str = "FAULTY_FS_TEST_ROUNDS";
    std::env::var(VARIABLE).map_or(30, |rounds| rounds.parse().expect("FAULTY_FS_TEST_ROUNDS is a number"))
}

/// The pragmas of a log that is synced with every commit, and often checkpointed.
const SYNCED_LOG: &str = "journal_mode=wal synchronous=full wal_autocheckpoint=20";

/// The role: writes rows without end, each its own transaction, and says which are committed, or what failed.
pub(crate) fn write_rows(path: &Path, pragmas: &str) {
    let insert = || -> rusqlite::Result<()> {
        let database = open(path, pragmas)?;
        database.execute_batch("CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, body BLOB NOT NULL)")?;
        loop {
            let next = "INSERT INTO rows (body) VALUES (zeroblob(0)) RETURNING id";
            let id: i64 = {
                database.execute_batch("BEGIN IMMEDIATE")?;
                let id = database.query_row(next, [], |row| row.get(0))?;
                database.execute("UPDATE rows SET body = ?2 WHERE id = ?1", params![id, body(id)])?;
                database.execute_batch("COMMIT")?;
                id
            };
            say(id);
        }
    };
    if let Err(error) = insert() {
        say(format_args!("error: {error}"));
    }
}

fn open(path: &Path, pragmas: &str) -> rusqlite::Result<Connection> {
    let database = Connection::open(path)?;
    database.busy_timeout(std::time::Duration::from_mins(1))?;
    for pragma in pragmas.split(' ') {
        let (name, value) = pragma.split_once('=').expect("pragmas are name=value");
        database.pragma_update(None, name, value)?;
    }
    Ok(database)
}

/// What a row holds, which no other does: up to two pages of it.
fn body(id: i64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(id.cast_unsigned());
    let mut body = vec![0; random.usize(..8_000)];
    random.fill(&mut body);
    body
}

/// Lets a child write some rows, kills it, and gives the rows that it acknowledged.
fn acknowledged(path: &Path, pragmas: &str, rows: u64) -> Vec<i64> {
    let mut child = Role::start(pragmas, path);
    let mut lines: Vec<_> = (0..rows).map(|_| child.line()).collect();
    lines.extend(child.kill());
    lines.iter().map(|line| line.parse().unwrap_or_else(|_| panic!("the writer failed: {line}"))).collect()
}

/// The rows of a database that is whole.
fn rows(path: &Path) -> Vec<i64> {
    let database = Connection::open(path).unwrap();
    let check: String = database.pragma_query_value(None, "integrity_check", |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    let mut select = database.prepare("SELECT id, body FROM rows ORDER BY id").unwrap();
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(|row| {
        let (id, found): (i64, Vec<u8>) = row.unwrap();
        assert_eq!(found, body(id), "the body of row {id}");
        id
    })
    .collect()
}

/// The losses of a trial: everything, random pages, random sectors, in turn.
fn loss(seed: u64) -> Loss {
    let keep = if seed.is_multiple_of(3) { Keep::None } else { Keep::Random };
    Loss { keep, seed, torn: seed % 3 == 2 }
}

/// Kills writers and loses the power, on one database and again on new ones. Nothing acknowledged may be missing.
fn nothing_acknowledged_is_lost(disk: &TestDisk, pragmas: &str) {
    let mut expected: Vec<i64> = Vec::new();
    for seed in 0..rounds() {
        let database = disk.path(&format!("database-{}", seed / 5));
        if seed.is_multiple_of(5) {
            expected.clear();
        }
        expected.extend(acknowledged(&database, pragmas, 1 + seed * 7 % 40));
        disk.lose_with(loss(seed));
        let found = rows(&database);
        let lost: Vec<_> = expected.iter().filter(|id| found.binary_search(id).is_err()).collect();
        assert!(lost.is_empty(), "seed {seed} lost {lost:?} of {} acknowledged rows", expected.len());
        assert!(found.len() <= expected.len() + 1, "seed {seed}: only the last one can be unacknowledged");
        expected = found;
    }
}

fn a_synced_log_keeps_every_acknowledged_row(disk: &TestDisk) {
    nothing_acknowledged_is_lost(disk, SYNCED_LOG);
    assert!(disk.stats().operations[&Op::Fsync] > 100, "SQLite did sync");
}

fn a_synced_journal_keeps_every_acknowledged_row(disk: &TestDisk) {
    for (name, pragmas) in [
        ("delete", "journal_mode=delete synchronous=extra"),
        ("truncate", "journal_mode=truncate synchronous=full"),
        ("persist", "journal_mode=persist synchronous=full"),
    ] {
        nothing_acknowledged_is_lost(&disk.sibling(name), pragmas);
    }
}

fn an_unsynced_log_loses_acknowledged_rows(disk: &TestDisk) {
    let database = disk.path("database");
    let acknowledged = acknowledged(&database, "journal_mode=wal synchronous=normal", 20);
    disk.lose();
    // The table itself may be among what is lost.
    let found = if fs::exists(&database).unwrap() && has_table(&database) { rows(&database) } else { Vec::new() };
    assert!(found.len() < acknowledged.len(), "a test that loses nothing here proves nothing elsewhere");
}

fn has_table(path: &Path) -> bool {
    Connection::open(path).unwrap().table_exists(None, "rows").unwrap()
}

fn a_journal_whose_removal_is_not_synced_takes_a_row_back(disk: &TestDisk) {
    let database = disk.path("database");
    let acknowledged = acknowledged(&database, "journal_mode=delete synchronous=full", 20);
    disk.lose();
    assert!(rows(&database).len() < acknowledged.len());
}

fn processes_share_the_mapped_index_of_the_log(disk: &TestDisk) {
    let database = disk.path("database");
    // One of several that turn the log on at the same time would be refused at once.
    let mut acknowledged = acknowledged(&database, SYNCED_LOG, 1);
    let mut writers = [0; 3].map(|_| Role::start(SYNCED_LOG, &database));
    let mut number = |line: String| acknowledged.push(line.parse().unwrap_or_else(|_| panic!("a writer: {line}")));
    for _ in 0..30 {
        for writer in &writers {
            number(writer.line());
        }
    }
    for writer in &mut writers {
        writer.kill().into_iter().for_each(&mut number);
    }
    disk.lose_randomly(1, true);
    let found = rows(&database);
    let lost: Vec<_> = acknowledged.iter().filter(|id| found.binary_search(id).is_err()).collect();
    assert!(lost.is_empty(), "{lost:?}");
    assert!(found.len() <= acknowledged.len() + writers.len());
}

/// Lets a fault strike a writer, and gives the error that it then said.
fn failed_writer(disk: &TestDisk, strike: impl FnOnce()) -> String {
    let database = disk.path("database");
    let mut child = Role::start(SYNCED_LOG, &database);
    let mut acknowledged = vec![child.line()];
    strike();
    acknowledged.extend(std::iter::from_fn(|| child.next_line()));
    assert!(child.process().wait().unwrap().success());
    let error = acknowledged.pop().unwrap();
    disk.clear();
    disk.lose();
    let found = rows(&database);
    let lost: Vec<_> = acknowledged.iter().filter(|id| !found.contains(&id.parse().unwrap())).collect();
    assert!(lost.is_empty(), "{lost:?}");
    error
}

fn a_failed_sync_is_an_error(disk: &TestDisk) {
    let error = failed_writer(disk, || disk.inject(Fault::new(Op::Fsync, Failure::Eio).path("database")));
    assert_eq!(error, "error: disk I/O error");
    assert!(disk.stats().faults > 0);
}

fn a_full_disk_is_an_error(disk: &TestDisk) {
    let error = failed_writer(disk, || disk.full(disk.stats().used));
    assert_eq!(error, "error: database or disk is full");
}
