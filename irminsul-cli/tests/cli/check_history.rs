//! `check-history`.

use std::{fs, path::Path};

use crate::sandbox::{Ran, Sandbox};

const SOUND: &str = r#"{"process":1,"event":"call","op":"set","key":"k","value":"1"}
{"process":1,"event":"return"}
{"process":2,"event":"call","op":"find","key":"k"}
{"process":2,"event":"return","value":"1"}
"#;

const STALE: &str = r#"{"process":1,"event":"call","op":"set","key":"k","value":"1"}
{"process":1,"event":"return"}
{"process":2,"event":"call","op":"find","key":"k"}
{"process":2,"event":"return","value":null}
"#;

#[test]
fn check_history_of_linearizable_histories_exits_with_0() {
    let sandbox = Sandbox::new();
    let (sound, empty) = (sandbox.write("sound.jsonl", SOUND), sandbox.write("empty", ""));
    let lines = sandbox.ok(&["check-history", &sound, &empty, "./sound.jsonl"]);
    assert_eq!(lines, "sound.jsonl\tlinearizable\nempty\tlinearizable\n./sound.jsonl\tlinearizable\n");
}

#[test]
fn check_history_of_one_that_is_not_exits_with_1_and_judges_the_others() {
    let sandbox = Sandbox::new();
    let (stale, sound) = (sandbox.write("stale", STALE), sandbox.write("sound", SOUND));
    let lines = sandbox.run(&["check-history", &stale, &sound]).expect(1);
    assert_eq!(lines, "stale\tnot-linearizable\nsound\tlinearizable\n");
}

#[test]
fn check_history_gives_each_recorded_history_its_known_verdict() {
    let histories = concat!(env!("CARGO_MANIFEST_DIR"), "/../conformance/tests/histories");
    let verdicts = fs::read_to_string(Path::new(histories).join("verdicts.tsv")).unwrap();
    let files = verdicts.lines().filter_map(|line| line.split('\t').next());
    let args: Vec<&str> = ["check-history"].into_iter().chain(files).collect();
    assert_eq!(args.len(), 51);
    let ran = Ran::from(Sandbox::new().command(&args).current_dir(histories).output().unwrap());
    assert_eq!(ran.expect(1), verdicts);
}

#[test]
fn check_history_draws_the_impossible_part_below_its_line() {
    let sandbox = Sandbox::new();
    let (stale, sound) = (sandbox.write("stale", STALE), sandbox.write("sound", SOUND));
    let drawn = sandbox.run(&["check-history", "--timeline", &stale, &sound]).expect(1);
    let expected = "stale\tnot-linearizable
key \"k\", absent at first: 2 of its 2 operations
  process 1    ├ set \"1\" ┤
  process 2               ┣ find → absent ┫  ◀ impossible
No order of these operations explains why process 2 found the key absent.

sound\tlinearizable
";
    assert_eq!(drawn, expected);
}

#[test]
fn check_history_as_json_has_the_impossible_part() {
    let sandbox = Sandbox::new();
    let (stale, sound) = (sandbox.write("stale", STALE), sandbox.write("sound", SOUND));
    let lines = sandbox.run(&["check-history", "--json", &sound, &stale]).expect(1);
    let (first, second) = lines.split_once('\n').unwrap();
    assert_eq!(first, r#"{"file":"sound","verdict":"linearizable"}"#);
    assert!(
        second.starts_with(r#"{"file":"stale","verdict":"not-linearizable","witness":{"key":"k","bars":[{"#),
        "{second}"
    );
}

#[test]
fn check_history_reads_standard_input() {
    let sandbox = Sandbox::new();
    let line = sandbox.run_with_stdin(&["check-history", "-"], SOUND.as_bytes()).expect(0);
    assert_eq!(line, "-\tlinearizable\n");
    sandbox.run(&["check-history", "-", "-"]).refused("only once");
}

#[test]
fn check_history_without_time_is_inconclusive_and_says_why() {
    let sandbox = Sandbox::new();
    let ran = sandbox.run(&["check-history", "--budget", "0s", &sandbox.write("sound", SOUND)]);
    assert_eq!(ran.stderr, "irminsul: \"sound\": no verdict within 0ns: allow more time, or check a shorter history\n");
    assert_eq!(ran.expect(1), "sound\tinconclusive\n");
    sandbox.run(&["check-history", "--budget", "soon", "sound"]).refused("a duration is a number with a unit");
}

#[test]
fn check_history_names_the_line_that_it_cannot_read_and_judges_the_others() {
    let sandbox = Sandbox::new();
    let (stale, broken) =
        (sandbox.write("stale", STALE), sandbox.write("broken", format!("{SOUND}\n{{\"process\":1}}\n")));
    let ran = sandbox.run(&["check-history", &broken, "missing", ".", &stale]);
    let errors: Vec<_> = ran.stderr.lines().collect();
    assert!(errors[0].starts_with("irminsul: \"broken\": line 6: `event` must be "), "{}", ran.stderr);
    assert!(errors[1].starts_with("irminsul: cannot read \"missing\": "), "{}", ran.stderr);
    assert!(errors[2].starts_with("irminsul: cannot read \".\": ") && errors.len() == 3, "{}", ran.stderr);
    assert_eq!(ran.expect(2), "stale\tnot-linearizable\n");
}
