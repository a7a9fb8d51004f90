//! `add`, `cat` and `index`.

use std::fs::File;

use irminsul::HashFunction;

use crate::sandbox::{Ran, Sandbox};

const STORE: &str = "sqlite:a.db";

/// The columns of a line of `add`.
fn columns(line: &str) -> [&str; 3] {
    line.split('\t').collect::<Vec<_>>().try_into().unwrap()
}

#[test]
fn add_writes_key_hash_and_file_and_cat_gives_the_content_by_either() {
    let sandbox = Sandbox::new();
    sandbox.write("one", "first");
    sandbox.write("two\n", [0xff, 0]);
    let added = sandbox.ok(&["add", STORE, "one", "two\n"]);
    let lines: Vec<_> = added.lines().map(columns).collect();
    assert_eq!(lines.iter().map(|[_, _, file]| *file).collect::<Vec<_>>(), ["one", "two\\n"]);
    assert_eq!(lines[0][1], HashFunction::Blake3.hash(b"first").to_string());
    for ([key, hash, _], value) in lines.iter().zip([&b"first"[..], &[0xff, 0]]) {
        assert_eq!(sandbox.run(&["cat", STORE, key]).stdout, value);
        assert_eq!(sandbox.run(&["cat", STORE, hash]).stdout, value);
        assert_eq!(sandbox.ok(&["index", STORE, hash]), format!("{key}\n"));
        assert_eq!(sandbox.ok(&["index", STORE, key]), format!("{key}\n"));
    }
}

#[test]
fn add_reads_standard_input_and_writes_json_for_programs() {
    let sandbox = Sandbox::new();
    let added = sandbox.run_with_stdin(&["add", STORE, "-", "--json"], b"value").expect(0);
    let hash = HashFunction::Blake3.hash(b"value").to_string();
    assert!(added.contains(&format!("\"hash\":\"{hash}\",\"file\":\"-\"")), "{added}");
    assert_eq!(sandbox.ok(&["cat", STORE, &hash]), "value");
}

#[test]
fn add_stores_more_files_than_one_batch_takes() {
    let sandbox = Sandbox::new();
    let files: Vec<_> = (0..1100).map(|i| sandbox.write(&format!("f{i}"), i.to_string())).collect();
    let args: Vec<_> = ["add", STORE].into_iter().chain(files.iter().map(String::as_str)).collect();
    assert_eq!(sandbox.ok(&args).lines().count(), files.len());
    let summary = sandbox.ok(&["info", STORE, "--json"]);
    assert!(summary.contains("\"content\":{\"count\":1100,"), "{summary}");
}

#[test]
fn add_stores_a_file_that_the_store_takes_in_no_batch() {
    let sandbox = Sandbox::new();
    let (small, large) = (sandbox.write("small", "1234"), sandbox.write("large", "12345678"));
    let added = sandbox.ok(&["add", "sqlite:a.db?batch=102", &small, &large, &small]);
    for [key, _, file] in added.lines().map(columns) {
        assert_eq!(sandbox.ok(&["cat", STORE, key]).len(), if file == large { 8 } else { 4 });
    }
}

#[test]
fn add_stores_nothing_of_the_files_that_it_did_not_write_out() {
    let sandbox = Sandbox::new();
    sandbox.write("one", "first");
    let directory = File::open(sandbox.path("")).unwrap();
    let ran: Ran = sandbox.command(&["add", STORE, "one", "-"]).stdin(directory).output().unwrap().into();
    ran.refused("cannot read standard input");
    let hash = HashFunction::Blake3.hash(b"first").to_string();
    sandbox.run(&["index", STORE, &hash]).expect(1);
}

#[test]
fn add_writes_out_what_it_stored_because_a_file_went_alone() {
    let sandbox = Sandbox::new();
    let (small, large) = (sandbox.write("small", "1234"), sandbox.write("large", "12345678"));
    let directory = File::open(sandbox.path("")).unwrap();
    let args = ["add", "sqlite:a.db?batch=102", &small, &large, "-"];
    let ran: Ran = sandbox.command(&args).stdin(directory).output().unwrap().into();
    let files = ran.expect(2);
    assert_eq!(files.lines().map(|line| columns(line)[2]).collect::<Vec<_>>(), [small, large]);
}

#[test]
fn content_that_is_not_there_exits_1() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["put", STORE, "key", "value"]);
    let hash = HashFunction::Blake3.hash(b"other").to_string();
    assert_eq!(sandbox.run(&["cat", STORE, &hash]).expect(1), "");
    assert_eq!(sandbox.run(&["index", STORE, &hash]).expect(1), "");
}
