//! `verify`.

use irminsul::HashFunction;

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
        "{\"entries\":{\"count\":2,\"bytes\":28},\"content\":{\"count\":2,\"bytes\":25},\"corrupt\":0}\n"
    );
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
