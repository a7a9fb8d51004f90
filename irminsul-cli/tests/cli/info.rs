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
fn info_leaves_the_counting_out_when_told_to() {
    let json = Sandbox::new().ok(&["info", "mem:", "--no-count", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["durability"], "Volatile");
    assert!(json["entries"].is_null() && json["content"].is_null());
}
