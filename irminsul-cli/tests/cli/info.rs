//! `info`.

use crate::sandbox::Sandbox;

#[test]
fn info_tells_what_a_store_promises_and_holds() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["put", "sqlite:a.db?hash=sha256", "key", "value"]);
    sandbox.ok(&["add", "sqlite:a.db", &sandbox.write("file", "1234")]);
    let table = sandbox.ok(&["info", "sqlite:a.db"]);
    for fact in ["sqlite:a.db", "Power", "Host", "Exact", "others' 50 ms", "sha256", "1 (5 B)", "1 (4 B)"] {
        assert!(table.contains(fact), "{fact}: {table}");
    }
    let json: serde_json::Value = serde_json::from_str(&sandbox.ok(&["info", "sqlite:a.db", "--json"])).unwrap();
    assert_eq!(json["scheme"], "sqlite");
    assert_eq!(json["hash"], "sha256");
    assert_eq!(json["watch_lag_others_ms"], 50);
    assert_eq!(json["entries"], serde_json::json!({"count": 1, "bytes": 5}));
    assert_eq!(json["content"], serde_json::json!({"count": 1, "bytes": 4}));
}

#[test]
fn info_counts_requests_when_asked_and_an_engine_on_files_sends_none() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["put", "sqlite:a.db", "key", "value"]);
    let plain: serde_json::Value = serde_json::from_str(&sandbox.ok(&["info", "sqlite:a.db", "--json"])).unwrap();
    assert!(plain["requests"].is_null());
    let counted = sandbox.ok(&["info", "sqlite:a.db", "--json", "--requests"]);
    let counted: serde_json::Value = serde_json::from_str(&counted).unwrap();
    assert_eq!(counted["requests"], serde_json::json!({}));
    assert!(sandbox.ok(&["info", "sqlite:a.db", "--requests"]).contains("requests"));
}

#[test]
fn info_leaves_the_counting_out_when_told_to() {
    let json = Sandbox::new().ok(&["info", "mem:", "--no-count", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["durability"], "Volatile");
    assert!(json["entries"].is_null() && json["content"].is_null());
}

#[test]
fn info_of_a_damaged_store_tells_its_facts_and_counts_what_is_corrupt() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["put", "sqlite:a.db", "damaged", "the value of an entry"]);
    sandbox.ok(&["put", "sqlite:a.db", "sound", "value"]);
    sandbox.ok(&["add", "sqlite:a.db", &sandbox.write("one", "the value of content"), &sandbox.write("two", "1234")]);
    sandbox.damage("a.db", "the value of an entry");
    sandbox.damage("a.db", "the value of content");
    let table = sandbox.run(&["info", "sqlite:a.db"]).expect(1);
    for fact in ["Power", "blake3", "1 (5 B)", "1 (4 B)", "2, named by `irminsul verify`"] {
        assert!(table.contains(fact), "{fact}: {table}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&sandbox.run(&["info", "sqlite:a.db", "--json"]).expect(1)).unwrap();
    assert_eq!(json["entries"], serde_json::json!({"count": 1, "bytes": 5}));
    assert_eq!(json["corrupt"], 2);
    assert_eq!(sandbox.ok(&["info", "sqlite:a.db", "--no-count"]).matches("verify").count(), 0);
}

#[test]
fn info_counts_rotten_content_as_corrupt_also_when_the_store_does_not_verify() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["add", "sqlite:a.db", &sandbox.write("one", "the value of content"), &sandbox.write("two", "1234")]);
    sandbox.damage("a.db", "the value of content");
    let json = sandbox.run(&["info", "sqlite:a.db?verify=off", "--json"]).expect(1);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["content"], serde_json::json!({"count": 1, "bytes": 4}));
    assert_eq!(json["corrupt"], 1);
}
