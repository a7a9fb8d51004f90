//! `verify`.

use std::{fs, path::Path};

use irminsul::{Backend, HashFunction, Key};

use crate::sandbox::Sandbox;

const ENTRY: &str = "the value of an entry";
const CONTENT: &str = "the value of content";

fn store_of_both() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.ok(&["put", "sqlite:a.db", "damaged\n", ENTRY]);
    sandbox.ok(&["put", "sqlite:a.db", "sound", "another"]);
    sandbox.ok(&["add", "sqlite:a.db", &sandbox.write("one", CONTENT), &sandbox.write("two", "other")]);
    sandbox
}

#[test]
fn verify_of_a_sound_store_counts_it() {
    let summary = store_of_both().ok(&["verify", "sqlite:a.db"]);
    assert_eq!(summary, "entries: 2 (28 B), content: 2 (25 B), all good\n");
    assert_eq!(
        store_of_both().ok(&["verify", "sqlite:a.db", "--json"]),
        "{\"entries\":{\"count\":2,\"bytes\":28},\"content\":{\"count\":2,\"bytes\":25},\"corrupt\":0,\
         \"engine_checked\":true}\n"
    );
}

#[test]
fn verify_of_an_engine_without_a_check_of_its_own_says_so() {
    let sandbox = Sandbox::new();
    assert_eq!(
        sandbox.ok(&["verify", "mem:"]),
        "entries: 0 (0 B), content: 0 (0 B), what was read back is good; the engine has no check of its own\n"
    );
    assert!(sandbox.ok(&["verify", "mem:", "--json"]).ends_with(",\"corrupt\":0,\"engine_checked\":false}\n"));
}

#[test]
fn verify_names_a_corrupt_entry_and_goes_on() {
    let sandbox = store_of_both();
    sandbox.damage("a.db", ENTRY);
    let report = sandbox.run(&["verify", "sqlite:a.db"]).expect(1);
    let lines: Vec<_> = report.lines().collect();
    assert!(lines[0].starts_with("entry damaged\\n: "), "{report}");
    assert_eq!(lines[1..], ["entries: 1 (7 B), content: 2 (25 B), corrupt: 1"]);
}

/// Points the first child of an index at its neighbour: what lay below the first is found no more.
fn hide_what_lies_below_the_first(file: &Path) {
    const PAGE: usize = 4096;
    const INTERIOR_OF_AN_INDEX: u8 = 2;
    let mut pages = fs::read(file).unwrap();
    let page = pages.chunks_mut(PAGE).find(|page| page[0] == INTERIOR_OF_AN_INDEX).expect("an index of several pages");
    let cell = |number: usize| usize::from(u16::from_be_bytes([page[12 + 2 * number], page[13 + 2 * number]]));
    let (first, second) = (cell(0), cell(1));
    page.copy_within(second..second + 4, first);
    fs::write(file, pages).unwrap();
}

#[test]
fn verify_tells_of_entries_that_no_read_can_see() {
    let sandbox = Sandbox::new();
    let name = |number: usize| format!("{}{number:03}", "long/".repeat(40));
    sandbox.with_store("a.db", async |store| {
        let entries = store.atomic_write().unwrap();
        for number in 0..200 {
            entries.set(&Key::new(name(number)).unwrap(), "value".into()).await.unwrap();
        }
    });
    assert!(sandbox.ok(&["verify", "sqlite:a.db"]).ends_with(", all good\n"));
    hide_what_lies_below_the_first(&sandbox.path("a.db"));
    sandbox.run(&["get", "sqlite:a.db", &name(0)]).expect(1);

    let report = sandbox.run(&["verify", "sqlite:a.db"]).expect(1);
    let lines: Vec<_> = report.lines().collect();
    assert!(lines[0].starts_with("store sqlite:a.db: ") && lines[0].contains("contradicts itself"), "{report}");
    assert!(lines[1].ends_with(", corrupt: 1"), "{report}");
    assert_eq!(lines.len(), 2, "{report}");
    let json = sandbox.run(&["verify", "sqlite:a.db", "--json"]).expect(1);
    assert!(json.starts_with("{\"item\":\"store\",\"name\":\"sqlite:a.db\","), "{json}");
}

#[test]
fn verify_names_corrupt_content_also_when_the_store_does_not_verify() {
    let sandbox = store_of_both();
    sandbox.damage("a.db", CONTENT);
    let hash = HashFunction::Blake3.hash(CONTENT.as_bytes());
    for store in ["sqlite:a.db", "sqlite:a.db?verify=off"] {
        let report = sandbox.run(&["verify", store]).expect(1);
        let lines: Vec<_> = report.lines().collect();
        assert!(lines[0].starts_with(&format!("content {hash}: ")), "{report}");
        assert_eq!(lines[1..], ["entries: 2 (28 B), content: 1 (5 B), corrupt: 1"]);
    }
    let json = sandbox.run(&["verify", "sqlite:a.db", "--json"]).expect(1);
    assert!(json.starts_with(&format!("{{\"item\":\"content\",\"name\":\"{hash}\",")), "{json}");
}
