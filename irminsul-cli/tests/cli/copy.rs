//! `copy`.

use std::{fs, path::Path, process::Child, thread, time::Duration};

use irminsul::{Bytes, EntryReadExt, HashFunction, IndexedExt, Key};

use crate::sandbox::Sandbox;

const SRC: &str = "sqlite:src.db";
const DST: &str = "sqlite:dst.db";

const ENTRIES: usize = 3000;
const CONTENT: usize = 800;

fn key(path: &str) -> Key {
    Key::new(path).unwrap()
}

/// A store of some 30 MiB, most of it content: several batches.
fn large_store(sandbox: &Sandbox) {
    sandbox.with_store("src.db", async |store| {
        let (entries, content) = (store.atomic_write().unwrap(), store.indexable().unwrap());
        let add = async |batch: std::sync::Arc<dyn irminsul::Batch>| {
            for i in 0..CONTENT {
                batch.add(Bytes::from(format!("{i:0>40}").repeat(1000))).await?;
            }
            Ok::<_, irminsul::Error>(())
        };
        content.batch(add).await.unwrap();
        let writes: Vec<_> = (0..ENTRIES)
            .map(|i| {
                let entries = entries.clone();
                tokio::spawn(
                    async move { entries.set(&key(&format!("e/{i}")), Bytes::from(format!("{i:0>400}"))).await },
                )
            })
            .collect();
        for write in writes {
            write.await.unwrap().unwrap();
        }
    });
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

#[test]
fn copy_moves_everything_and_copies_nothing_twice() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["put", SRC, "text", "value"]);
    sandbox.ok(&["put", SRC, "bytes", "--file", &sandbox.write("bytes", [0xff, 0])]);
    sandbox.ok(&["put", SRC, "empty", ""]);
    let added = sandbox.ok(&["add", SRC, &sandbox.write("file", "content")]);
    let (_, hash_and_file) = added.split_once('\t').unwrap();
    let hash = &hash_and_file[..64];

    assert_eq!(
        sandbox.ok(&["copy", SRC, DST]),
        "content: 1 (7 B) copied, 0 already there; entries: 3 (7 B) copied, 0 already there; SRC and DST agree\n"
    );
    assert_eq!(sandbox.ok(&["get", DST, "text"]), "value");
    assert_eq!(sandbox.run(&["get", DST, "bytes"]).stdout, [0xff, 0]);
    assert_eq!(sandbox.ok(&["get", DST, "empty"]), "");
    assert_eq!(sandbox.ok(&["cat", DST, hash]), "content");
    assert_eq!(
        sandbox.ok(&["copy", SRC, DST, "--json"]),
        "{\"content\":{\"copied\":{\"count\":0,\"bytes\":0},\"present\":1},\
         \"entries\":{\"copied\":{\"count\":0,\"bytes\":0},\"present\":3},\"problems\":0}\n"
    );
}

#[test]
fn a_copy_that_was_killed_goes_on_when_it_is_run_again() {
    let sandbox = Sandbox::new();
    large_store(&sandbox);
    let mut killed = 0;
    for mebibytes in [1, 5, 12, 20, 27, 31, 33, 34] {
        let mut copy = sandbox.spawn(&["copy", SRC, DST]);
        let written = || size(&sandbox.path("dst.db")) + size(&sandbox.path("dst.db-wal"));
        while written() < mebibytes << 20 && copy.try_wait().unwrap().is_none() {
            // A pause between two looks, which leaves the processor to the copy.
            thread::park_timeout(Duration::from_millis(1));
        }
        copy.kill().unwrap();
        killed += usize::from(copy.wait().unwrap().code().is_none());
    }
    assert!(killed > 0, "no copy was killed before its end");

    let copied = sandbox.ok(&["copy", SRC, DST]);
    assert!(copied.ends_with("SRC and DST agree\n"), "{copied}");
    let verified = sandbox.ok(&["verify", DST]);
    assert_eq!(verified, sandbox.ok(&["verify", SRC]));
    assert!(verified.starts_with("entries: 3,000 ") && verified.contains("content: 800 "), "{verified}");
    assert_eq!(sandbox.sorted(&["ls", DST, "-l"]), sandbox.sorted(&["ls", SRC, "-l"]));
}

#[test]
fn a_missing_target_is_created_with_the_hash_function_of_the_source() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["add", "sqlite:src.db?hash=sha256", &sandbox.write("file", "content")]);
    sandbox.ok(&["copy", SRC, DST]);
    assert!(sandbox.ok(&["info", DST, "--json"]).contains("\"hash\":\"sha256\""));
}

#[test]
fn another_hash_function_is_refused_with_both_named_and_nothing_written() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["put", SRC, "key", "value"]);
    let stated = sandbox.run(&["copy", SRC, "sqlite:dst.db?hash=sha256"]);
    stated.refused("blake3");
    stated.refused("sha256");
    assert!(!sandbox.path("dst.db").exists());

    sandbox.ok(&["put", "sqlite:dst.db?hash=sha256", "other", "value"]);
    let created = sandbox.run(&["copy", SRC, DST, "--into-existing"]);
    created.refused("SRC hashes content with blake3 and DST with sha256");
    assert_eq!(sandbox.ok(&["ls", DST]), "other\n");
}

#[test]
fn a_value_in_the_target_is_overwritten_only_when_told_to() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["put", SRC, "a\n", "source"]);
    sandbox.ok(&["put", SRC, "b", "source"]);
    sandbox.ok(&["put", DST, "a\n", "target"]);
    sandbox.run(&["copy", SRC, DST]).refused("1 entry with another value than SRC, such as a\\n: --overwrite");
    sandbox.run(&["copy", SRC, DST, "--into-existing"]).refused("--overwrite");
    assert_eq!(sandbox.ok(&["ls", DST]), "a\\n\n");
    assert_eq!(sandbox.ok(&["get", DST, "a\n"]), "target");
    sandbox.ok(&["copy", SRC, DST, "--overwrite"]);
    assert_eq!(sandbox.ok(&["get", DST, "a\n"]), "source");
    assert_eq!(sandbox.ok(&["get", DST, "b"]), "source");
}

#[test]
fn entries_that_only_the_target_has_stay_and_only_when_told_to() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["put", SRC, "a", "source"]);
    sandbox.ok(&["put", DST, "mine", "target"]);
    sandbox.run(&["copy", SRC, DST]).refused("1 entry that SRC does not have, such as mine: --into-existing");
    sandbox.run(&["copy", SRC, DST, "--overwrite"]).refused("--into-existing");
    assert_eq!(sandbox.ok(&["ls", DST]), "mine\n");
    sandbox.ok(&["copy", SRC, DST, "--into-existing"]);
    assert_eq!(sandbox.sorted(&["ls", DST]), ["a", "mine"]);
}

#[test]
fn entries_of_the_target_that_differ_and_that_are_extra_are_told_together() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["put", SRC, "a", "source"]);
    for key in ["a", "mine", "mine too"] {
        sandbox.ok(&["put", DST, key, "target"]);
    }
    let ran = sandbox.run(&["copy", SRC, DST]);
    ran.refused("1 entry with another value than SRC, such as a: --overwrite");
    ran.refused("2 entries that SRC does not have, such as mine");
    ran.refused("--into-existing");
}

#[test]
fn what_is_corrupt_is_reported_and_left_out_and_the_rest_is_copied() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["put", SRC, "damaged", "the value of an entry"]);
    sandbox.ok(&["put", SRC, "sound", "value"]);
    sandbox.ok(&["add", SRC, &sandbox.write("one", "the value of content"), &sandbox.write("two", "other")]);
    for value in ["the value of an entry", "the value of content"] {
        sandbox.damage("src.db", value);
    }

    let report = sandbox.run(&["copy", SRC, DST]).expect(1);
    let lines: Vec<_> = report.lines().collect();
    assert!(lines[0].starts_with("content ") && lines[1].starts_with("entry damaged: "), "{report}");
    assert!(lines[2].ends_with("problems: 2") && lines.len() == 3, "{report}");
    assert_eq!(sandbox.ok(&["verify", DST]), "entries: 1 (5 B), content: 1 (5 B), all good\n");
}

#[test]
fn content_that_rotted_in_the_target_is_reported() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["put", SRC, "key", "value"]);
    sandbox.ok(&["add", SRC, &sandbox.write("one", "the value of content"), &sandbox.write("two", "other")]);
    sandbox.ok(&["copy", SRC, DST]);
    sandbox.damage("dst.db", "the value of content");

    let hash = HashFunction::Blake3.hash(b"the value of content");
    for target in [DST, "sqlite:dst.db?verify=off"] {
        let report = sandbox.run(&["copy", SRC, target]).expect(1);
        let lines: Vec<_> = report.lines().collect();
        assert!(lines[0].starts_with(&format!("content {hash}: DST: ")), "{report}");
        assert!(lines[1].ends_with("problems: 1") && lines.len() == 2, "{report}");
    }
}

#[test]
fn the_content_behind_every_name_in_the_target_is_there_when_the_source_was_in_use() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["put", SRC, "first", "value"]);
    sandbox.ok(&["rm", SRC, "first"]);
    let mut copy = None;
    sandbox.with_store("src.db", async |store| {
        let (entries, content) = (store.atomic_write().unwrap(), store.indexable().unwrap());
        let mut names = 0;
        // Some names are there when the copy starts, and more are set while it runs.
        let runs = |copy: &mut Child| copy.try_wait().unwrap().is_none();
        while names < 5000 && copy.as_mut().is_none_or(runs) {
            let added = content.add(Bytes::from(format!("content {names}"))).await.unwrap();
            entries.set(&key(&format!("n/{names}")), added.to_hash().to_string().into()).await.unwrap();
            names += 1;
            if names == 500 {
                copy = Some(sandbox.spawn(&["copy", SRC, DST]));
            }
        }
    });
    let code = copy.unwrap().wait().unwrap().code();
    assert!(matches!(code, Some(0 | 1)), "{code:?}");
    sandbox.with_store("dst.db", async |store| {
        let (entries, content) = (store.atomic_write().unwrap(), store.indexable().unwrap());
        let names = entries.list_sorted(&Key::root()).await.unwrap();
        assert!(names.len() >= 500);
        for name in names {
            let hash = entries.find(&name).await.unwrap().unwrap();
            let hash = std::str::from_utf8(&hash).unwrap().parse().unwrap();
            assert!(content.index(&hash).await.unwrap().is_some(), "{name}");
        }
    });
    let again = sandbox.ok(&["copy", SRC, DST, "--overwrite"]);
    assert!(again.ends_with("SRC and DST agree\n"), "{again}");
}

#[test]
fn what_is_copied_to_memory_is_checked_there() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["put", SRC, "key", "value"]);
    assert!(sandbox.ok(&["copy", SRC, "mem:"]).contains("entries: 1 (5 B) copied"));
}
