//! The file format: what is read, and how what is not is told.

use bytes::Bytes;
use conformance::history::{Action, Event, History, Operation, Outcome};
use store_api::Key;

fn problem(text: &str) -> String {
    History::read(text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn every_operation_and_outcome_is_read_back_as_it_was_written() {
    let key = Key::new("a/b").unwrap();
    let binary = Bytes::from_static(&[0xff, 0]);
    let on_key = |operation| Action::Call { key: key.clone(), operation };
    let actions = [
        on_key(Operation::Mem),
        Action::Return(Outcome::Mem(true)),
        on_key(Operation::Find),
        Action::Return(Outcome::Found(None)),
        on_key(Operation::Find),
        Action::Return(Outcome::Found(Some(binary.clone()))),
        on_key(Operation::Set(binary.clone())),
        Action::Return(Outcome::Done),
        on_key(Operation::TestAndSet { test: None, set: Some(binary) }),
        Action::Return(Outcome::Applied),
        on_key(Operation::TestAndSet { test: Some("{\"base64\": \"/w==\"}".into()), set: None }),
        Action::Return(Outcome::Mismatch { current: None }),
        on_key(Operation::TestAndSet { test: Some(Bytes::new()), set: None }),
        Action::Return(Outcome::Mismatch { current: Some(None) }),
        on_key(Operation::TestAndSet { test: None, set: None }),
        Action::Return(Outcome::Mismatch { current: Some(Some("\n".into())) }),
        on_key(Operation::Remove),
        Action::Return(Outcome::Done),
        Action::Call { key: Key::root(), operation: Operation::Clear },
        Action::Unknown,
    ];
    let events = actions.map(|action| Event { process: u64::MAX, action });
    let history = History::try_from(events.to_vec()).unwrap();
    let mut text = Vec::new();
    history.write(&mut text).unwrap();
    assert_eq!(History::read(&*text).unwrap(), history);
}

#[test]
fn a_line_is_written_with_the_fields_of_its_event() {
    let key = Key::new("k").unwrap();
    let call = Action::Call { key, operation: Operation::TestAndSet { test: None, set: Some(vec![0xff].into()) } };
    let returned = Action::Return(Outcome::Mismatch { current: Some(None) });
    let history = History::try_from([call, returned].map(|action| Event { process: 7, action }).to_vec()).unwrap();
    let mut text = Vec::new();
    history.write(&mut text).unwrap();
    assert_eq!(
        String::from_utf8(text).unwrap(),
        concat!(
            r#"{"process":7,"event":"call","op":"test_and_set","key":"k","test":null,"set":{"base64":"/w=="}}"#,
            "\n",
            r#"{"process":7,"event":"return","applied":false,"current":null}"#,
            "\n"
        )
    );
}

#[test]
fn a_line_that_is_no_event_is_told_with_its_number_and_what_is_expected() {
    let open = r#"{"process":1,"event":"call","op":"find","key":"k"}"#;
    for (line, expected) in [
        ("{", "line 3: it is not JSON from column 1 on"),
        ("\"S3CRET\"", "line 3: it is not an object"),
        (r#"{"process":1,"process":1,"event":"unknown"}"#, "each field is there once"),
        (r#"{"process":-1,"event":"unknown"}"#, "`process` must be a whole number from 0 to 2^64 - 1"),
        (r#"{"process":"S3CRET","event":"unknown"}"#, "`process` must be a whole number"),
        (r#"{"event":"unknown"}"#, "`process` must be"),
        (r#"{"process":1}"#, r#"`event` must be "call", "return" or "unknown""#),
        (r#"{"process":1,"event":"S3CRET"}"#, r#"`event` must be "call""#),
        (r#"{"process":2,"event":"call","op":"S3CRET","key":"k"}"#, r#"`op` must be "mem", "find""#),
        (r#"{"process":2,"event":"call","op":"find"}"#, "`key` must be a string"),
        (r#"{"process":2,"event":"call","op":"find","key":"/S3CRET"}"#, "`key` must be a key: at most 255 bytes"),
        (r#"{"process":2,"event":"call","op":"set","key":"k"}"#, "`value` must be a string"),
        (r#"{"process":2,"event":"call","op":"set","key":"k","value":null}"#, "`value` must be a string"),
        (r#"{"process":2,"event":"call","op":"set","key":"k","value":{"base64":"S3CRET!"}}"#, r#"or {"base64": ".."}"#),
        (r#"{"process":2,"event":"call","op":"test_and_set","key":"k","set":"1"}"#, "`test` must be"),
        (
            r#"{"process":2,"event":"call","op":"find","key":"k","val\u0000":"S3CRET"}"#,
            r#"call of find has no field "val\u{0}""#,
        ),
        (r#"{"process":2,"event":"call","op":"clear","key":"k"}"#, "`clear` is called on the empty path"),
        (r#"{"process":1,"event":"call","op":"find","key":"k"}"#, "process 1 calls while its last operation is open"),
        (r#"{"process":1,"event":"return"}"#, "`value` must be a string, {\"base64\": \"..\"}, or null for absent"),
        (r#"{"process":1,"event":"return","value":"1","applied":true}"#, r#"return from find has no field "applied""#),
        (r#"{"process":1,"event":"unknown","value":"1"}"#, r#"has no field "value""#),
        (r#"{"process":2,"event":"return"}"#, "process 2 has no operation open"),
        (r#"{"process":2,"event":"unknown"}"#, "process 2 has no operation open"),
    ] {
        let told = problem(&format!("{open}\n\n{line}\n"));
        assert!(told.contains(expected) && told.starts_with("line 3: "), "{line}: {told}");
        assert!(!told.contains("S3CRET") && told.lines().count() == 1, "{line}: {told}");
    }
}

#[test]
fn a_process_is_not_used_again_after_unknown() {
    let call = r#"{"process":1,"event":"call","op":"mem","key":"k"}"#;
    let told = problem(&format!("{call}\n{{\"process\":1,\"event\":\"unknown\"}}\n{call}\n"));
    assert!(told.contains("line 3: process 1 acts after its `unknown`"), "{told}");
}

#[test]
fn what_is_not_text_is_refused() {
    for bytes in [&b"\xff\xfe"[..], b"\0", b"{\"process\":1e999}", &vec![b'['; 100_000]] {
        assert!(History::read(bytes).is_err());
    }
    assert_eq!(History::read(&b"\n \r\n"[..]).unwrap(), History::default());
}
