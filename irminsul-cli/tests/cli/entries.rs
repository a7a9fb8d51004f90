//! `get`, `put`, `cas`, `rm`, `ls` and `clear`.

use crate::sandbox::Sandbox;

const STORE: &str = "sqlite:a.db";

#[test]
fn get_writes_what_put_set_byte_for_byte() {
    let sandbox = Sandbox::new();
    let bytes = [0, 0xff, b'\n', b'%', 0x80];
    sandbox.ok(&["put", STORE, "text", "value"]);
    sandbox.ok(&["put", STORE, "empty", ""]);
    sandbox.ok(&["put", STORE, "negative", "-5"]);
    sandbox.ok(&["put", STORE, "file", "--file", &sandbox.write("bytes", bytes)]);
    sandbox.run_with_stdin(&["put", STORE, "stdin", "-"], &bytes).expect(0);
    assert_eq!(sandbox.ok(&["get", STORE, "text"]), "value");
    assert_eq!(sandbox.ok(&["get", STORE, "empty"]), "");
    assert_eq!(sandbox.ok(&["get", STORE, "negative"]), "-5");
    assert_eq!(sandbox.run(&["get", STORE, "file"]).stdout, bytes);
    assert_eq!(sandbox.run(&["get", STORE, "stdin"]).stdout, bytes);
}

#[test]
fn the_words_of_the_library_are_understood() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["set", STORE, "key", "value"]);
    assert_eq!(sandbox.ok(&["find", STORE, "key"]), "value");
    assert_eq!(sandbox.ok(&["list", STORE]), "key\n");
    sandbox.ok(&["test_and_set", STORE, "key", "--test", "value", "--set", "other"]);
    sandbox.ok(&["remove", STORE, "key"]);
    assert_eq!(sandbox.ok(&["list", STORE]), "");
}

#[test]
fn get_of_an_absent_key_exits_1_with_nothing_on_standard_output() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["put", STORE, "a/b", "value"]);
    for absent in ["a", "b", ""] {
        let ran = sandbox.run(&["get", STORE, absent]);
        assert!(ran.stderr.contains("no entry"), "{}", ran.stderr);
        assert_eq!(ran.expect(1), "", "{absent:?}");
    }
}

#[test]
fn put_without_a_value_says_what_to_give_and_creates_nothing() {
    let sandbox = Sandbox::new();
    sandbox.run(&["put", STORE, "key"]).refused("--file FILE");
    assert!(!sandbox.path("a.db").exists());
}

#[test]
fn cas_sets_and_removes_what_matches() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.ok(&["cas", STORE, "key", "--absent", "--set", "1"]), "");
    assert_eq!(sandbox.ok(&["cas", STORE, "key", "--test", "1", "--set", "-2"]), "");
    assert_eq!(sandbox.ok(&["get", STORE, "key"]), "-2");
    assert_eq!(sandbox.ok(&["cas", STORE, "key", "--test", "-2", "--remove"]), "");
    sandbox.run(&["get", STORE, "key"]).expect(1);
}

#[test]
fn cas_takes_binary_values_from_files() {
    let sandbox = Sandbox::new();
    let (old, new) = (sandbox.write("old", [0xff]), sandbox.write("new", [0xfe, 0]));
    sandbox.ok(&["put", STORE, "key", "--file", &old]);
    sandbox.ok(&["cas", STORE, "key", "--test-file", &old, "--set-file", &new]);
    assert_eq!(sandbox.run(&["get", STORE, "key"]).stdout, [0xfe, 0]);
}

#[test]
fn cas_takes_either_value_from_standard_input() {
    let sandbox = Sandbox::new();
    sandbox.run_with_stdin(&["cas", STORE, "key", "--absent", "--set-file", "-"], &[0xff]).expect(0);
    assert_eq!(sandbox.run(&["get", STORE, "key"]).stdout, [0xff]);
    sandbox.run_with_stdin(&["cas", STORE, "key", "--test-file", "-", "--set", "2"], &[0xff]).expect(0);
    assert_eq!(sandbox.ok(&["get", STORE, "key"]), "2");
}

#[test]
fn cas_that_does_not_match_exits_1_and_writes_the_current_value() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["put", STORE, "key", "current"]);
    assert_eq!(sandbox.run(&["cas", STORE, "key", "--test", "other", "--set", "x"]).expect(1), "current");
    assert_eq!(sandbox.run(&["cas", STORE, "key", "--absent", "--set", "x"]).expect(1), "current");
    assert_eq!(sandbox.ok(&["get", STORE, "key"]), "current");

    let absent = sandbox.run(&["cas", STORE, "nothing", "--test", "", "--set", "x"]);
    assert!(absent.stderr.contains("no entry"), "{}", absent.stderr);
    assert_eq!(absent.expect(1), "");
}

#[test]
fn cas_tells_programs_an_empty_value_from_none() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["put", STORE, "empty", ""]);
    sandbox.ok(&["put", STORE, "bytes", "--file", &sandbox.write("bytes", [0xff])]);
    let cas = |key| sandbox.run(&["cas", STORE, key, "--test", "x", "--remove", "--json"]).expect(1);
    assert_eq!(cas("empty"), "{\"applied\":false,\"value\":\"\"}\n");
    assert_eq!(cas("bytes"), "{\"applied\":false,\"value_base64\":\"/w==\"}\n");
    assert_eq!(cas("nothing"), "{\"applied\":false}\n");
    assert_eq!(sandbox.ok(&["cas", STORE, "empty", "--test", "", "--remove", "--json"]), "{\"applied\":true}\n");
}

#[test]
fn rm_removes_a_key_and_does_not_mind_an_absent_one() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["put", STORE, "key", "value"]);
    sandbox.ok(&["rm", STORE, "key"]);
    sandbox.ok(&["rm", STORE, "key"]);
    sandbox.run(&["get", STORE, "key"]).expect(1);
}

#[test]
fn ls_lists_the_keys_at_and_below_a_path() {
    let sandbox = Sandbox::new();
    for key in ["a", "a/b", "ab", "c d"] {
        sandbox.ok(&["put", STORE, key, "12345"]);
    }
    assert_eq!(sandbox.sorted(&["ls", STORE]), ["a", "a/b", "ab", "c d"]);
    assert_eq!(sandbox.sorted(&["ls", STORE, "a"]), ["a", "a/b"]);
    assert_eq!(sandbox.ok(&["ls", STORE, "nothing"]), "");
    assert_eq!(sandbox.ok(&["ls", STORE, "c d", "--long"]), "         5 c d\n");
    assert_eq!(sandbox.ok(&["ls", STORE, "c d", "--json"]), "{\"key\":\"c d\"}\n");
    assert_eq!(sandbox.ok(&["ls", STORE, "c d", "--json", "-l"]), "{\"key\":\"c d\",\"bytes\":5}\n");
}

#[test]
fn ls_escapes_for_people_what_would_move_a_terminal_and_is_exact_for_programs() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["put", STORE, "a\n\u{1b}[2J\\", ""]);
    assert_eq!(sandbox.ok(&["ls", STORE]), "a\\n\\u{1b}[2J\\\\\n");
    assert_eq!(sandbox.ok(&["ls", STORE, "--json"]), "{\"key\":\"a\\n\\u001b[2J\\\\\"}\n");
}

#[test]
fn clear_asks_for_a_confirmation() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["put", STORE, "key", "value"]);
    sandbox.run(&["clear", STORE]).refused("--yes");
    assert_eq!(sandbox.ok(&["ls", STORE]), "key\n");
    sandbox.ok(&["clear", STORE, "--yes"]);
    assert_eq!(sandbox.ok(&["ls", STORE]), "");
}

#[test]
fn a_key_that_looks_like_an_option_stands_behind_two_dashes() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["put", STORE, "--", "--key", "--value"]);
    assert_eq!(sandbox.ok(&["get", STORE, "--", "--key"]), "--value");
}
