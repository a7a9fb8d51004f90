//! What `RUST_LOG` shows.

use crate::sandbox::{Ran, Sandbox};

fn put_with_log(level: &str) -> Ran {
    let sandbox = Sandbox::new();
    let ran: Ran =
        sandbox.command(&["put", "sqlite:a.db", "key", "S3CRET"]).env("RUST_LOG", level).output().unwrap().into();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    ran
}

#[test]
fn the_log_names_each_operation_and_its_store_and_shows_no_value() {
    let log = put_with_log("irminsul=info").stderr;
    for operation in ["set", "close"] {
        let named = format!("db.operation.name=\"{operation}\"");
        assert!(log.lines().any(|line| line.contains(&named) && line.contains("\"sqlite\"")), "{operation}: {log}");
    }
    let everything = put_with_log("trace").stderr;
    assert!(everything.contains("db.operation.name=\"set\"") && !everything.contains("S3CRET"), "{everything}");
}

#[test]
fn the_log_is_empty_where_all_is_well_and_nothing_was_asked_for() {
    assert_eq!(put_with_log("").stderr, "");
}
