//! What a violation is shown by.

use conformance::history::{History, Limits, Verdict, Witness, check};

/// The witness of a history of the key `k`, given by the process and the other fields of each line.
fn witness(lines: &[(u64, &str)]) -> Witness {
    let line = |(process, fields): &(u64, &str)| match fields.strip_prefix("call ") {
        Some(call) => format!("{{\"process\":{process},\"event\":\"call\",\"key\":\"k\",\"op\":{call}}}\n"),
        None => format!("{{\"process\":{process},\"event\":{fields}}}\n"),
    };
    let history = History::read(lines.iter().map(line).collect::<String>().as_bytes()).unwrap();
    match check(&history, Limits::default()) {
        Verdict::NotLinearizable(violation) => violation.witness(Limits::default()),
        verdict => panic!("{verdict:?}"),
    }
}

const DONE: &str = r#""return""#;
const FIND: &str = r#"call "find""#;

#[test]
fn a_stale_read_is_shown_with_the_write_that_it_missed() {
    let witness = witness(&[
        (1, r#"call "set","value":"old""#),
        (1, DONE),
        (3, FIND),
        (1, r#"call "set","value":"new""#),
        (1, DONE),
        (2, FIND),
        (3, r#""return","value":"old""#),
        (2, r#""return","value":"old""#),
    ]);
    let expected = r#"
key "k", absent at first: 2 of its 4 operations; no other wrote what these can have seen
  process 1    ├ set "new" ┤
  process 2                 ┣ find → "old" ┫  ◀ impossible
No order of these operations explains why process 2 found "old"."#;
    assert_eq!(witness.to_string(), expected.trim_start(), "{witness}");
}

#[test]
fn a_lost_update_is_shown_with_both_that_met_the_same_value() {
    let witness = witness(&[
        (1, r#"call "mem""#),
        (1, r#""return","present":false"#),
        (1, r#"call "test_and_set","test":null,"set":"1""#),
        (2, r#"call "test_and_set","test":null,"set":"2""#),
        (2, r#""return","applied":true"#),
        (1, r#""return","applied":true"#),
    ]);
    let expected = r#"
key "k", absent at first: 2 of its 3 operations; no other wrote what these can have seen
  process 1    ┣ test absent set "1" → applied ━━┫  ◀ impossible
  process 2     ├ test absent set "2" → applied ┤
No order of these operations explains why process 1 found the key absent and replaced it."#;
    assert_eq!(witness.to_string(), expected.trim_start(), "{witness}");
    let bars: Vec<_> = witness.bars.iter().map(|bar| (bar.process, bar.start, bar.end, bar.impossible)).collect();
    assert_eq!(bars, [(1, 0, Some(3), true), (2, 1, Some(2), false)]);
}

#[test]
fn what_is_too_wide_is_numbered_and_goes_on_below() {
    let (lost, set) = (r#"call "set","value":"1""#, r#"call "set","value":"0""#);
    let mut lines: Vec<_> = (1..=9).map(|process| (process, lost)).collect();
    for process in 11..=20 {
        let found = r#""return","value":"1""#;
        lines.extend([(process, set), (process, DONE), (process, FIND), (process, found)]);
    }
    let witness = witness(&lines);
    let drawing = witness.to_string();
    assert!(drawing.lines().all(|line| line.chars().count() <= 120), "{drawing}");
    let (first_band, rest) = drawing.split_once("\n\n").unwrap();
    assert!(first_band.contains("  process 12                  ├ 11 ┤├ 12 ┤\n"), "{drawing}");
    assert!(rest.contains("┣ 28 ┫  ◀ impossible\n    1  process 1: set \"1\" → ?\n"), "{drawing}");
    assert!(rest.contains("   28  process 20: find → \"1\"  ◀ impossible\n"), "{drawing}");
}

#[test]
fn a_compare_whose_test_plays_no_part_is_shown_without_it() {
    let witness = witness(&[
        (1, r#"call "set","value":"1""#),
        (1, DONE),
        (1, r#"call "test_and_set","test":"1","set":"2""#),
        (1, r#""return","applied":true"#),
        (2, FIND),
        (2, r#""return","value":"1""#),
    ]);
    assert_eq!(witness.bars[0].label, r#"test .. set "2" → applied"#, "{witness}");
    assert_eq!(witness.bars.len(), 2, "{witness}");
}

#[test]
fn a_mismatch_that_met_what_it_was_tested_for_contradicts_itself() {
    let witness = witness(&[
        (1, r#"call "test_and_set","test":"1","set":"2""#),
        (1, r#""return","applied":false,"current":"1""#),
    ]);
    assert_eq!(witness.sentence, r#"Process 1 tested for "1" and was told that it was not there, but "1"."#);
}

#[test]
fn long_and_binary_values_are_told_short_and_apart() {
    let (one, other) = (format!("x{}x", "1".repeat(50)), format!("x{}1x", "1".repeat(50)));
    let mismatch = witness(&[
        (1, &format!(r#"call "test_and_set","test":"{one}","set":{{"base64":"/wA="}}"#)),
        (1, &format!(r#""return","applied":false,"current":"{other}""#)),
    ]);
    assert_eq!(
        mismatch.bars[0].label, r##"test "x1111..1111x" set "\xff\x00" → found "x1111..1111x"#2"##,
        "{mismatch}"
    );
}

#[test]
fn a_witness_is_data_for_a_report() {
    let witness = witness(&[(1, r#"call "find""#), (1, r#""return","value":"1""#)]);
    assert_eq!(
        serde_json::to_value(&witness).unwrap(),
        serde_json::json!({
            "key": "k",
            "bars": [{ "process": 1, "start": 0, "end": 1, "label": "find → \"1\"", "impossible": true }],
            "of": 1,
            "sentence": "No order of these operations explains why process 1 found \"1\".",
        })
    );
}
