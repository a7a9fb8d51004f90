//! What is refused: each with one line that says what to do, and with nothing created or changed.

use std::fs;

use irminsul::MAX_VALUE_LEN;

use crate::sandbox::Sandbox;

#[test]
fn what_is_not_an_address_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.run(&["get", "a.db", "key"]).refused("scheme:location");
    sandbox.run(&["get", "nothing:a.db", "key"]).refused("the schemes compiled in are ");
    sandbox.run(&["put", "sqlite:a.db?colour=red", "key", "v"]).refused("sync=on|off|full|normal");
    sandbox.run(&["put", "sqlite:a.db?sync=perhaps", "key", "v"]).refused("sync=on|off|full|normal");
    assert!(!sandbox.path("a.db").exists());
}

#[test]
fn a_credential_in_an_address_is_not_shown() {
    let ran = Sandbox::new().run(&["get", "s3://user:S3CRET@bucket", "key"]);
    ran.refused("carries no credentials");
    assert!(!ran.stderr.contains("S3CRET"), "{}", ran.stderr);
}

#[test]
fn an_invalid_key_or_hash_is_refused() {
    let sandbox = Sandbox::new();
    for key in ["/a", "a/", "a//b"] {
        sandbox.run(&["put", "mem:", key, "v"]).refused("no empty step");
    }
    sandbox.run(&["put", "mem:", &"x".repeat(256), "v"]).refused("256 bytes is longer than the 255");
    sandbox.run(&["cat", "mem:", "abc"]).refused("64 hexadecimal digits");
    sandbox.run(&["index", "mem:", "abc"]).refused("64 hexadecimal digits");
}

#[test]
fn an_argument_that_is_refused_is_named_and_its_value_is_not_shown() {
    let ran = Sandbox::new().run(&["watch", "mem:", "--count", "S3CRET"]);
    ran.refused("--count <N>: invalid digit");
    assert!(!ran.stderr.contains("S3CRET"), "{}", ran.stderr);
}

#[test]
fn the_empty_path_as_an_entry_is_refused_and_creates_nothing() {
    let sandbox = Sandbox::new();
    for args in [
        &["put", "sqlite:a.db", "", "value"][..],
        &["cas", "sqlite:a.db", "", "--absent", "--set", "value"],
        &["rm", "sqlite:a.db", ""],
    ] {
        sandbox.run(args).refused("<KEY>: the empty path is no entry");
    }
    assert!(!sandbox.path("a.db").exists());
}

#[test]
fn standard_input_that_would_be_read_twice_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.run(&["add", "sqlite:a.db", "-", "-"]).refused("only once");
    assert!(!sandbox.path("a.db").exists());
    sandbox.ok(&["put", "sqlite:a.db", "key", "value"]);
    sandbox.run(&["cas", "sqlite:a.db", "key", "--test-file", "-", "--set-file", "-"]).refused("only once");
}

#[test]
fn a_command_that_only_reads_or_removes_creates_no_store() {
    let sandbox = Sandbox::new();
    let (store, hash) = ("sqlite:a.db", "0".repeat(64));
    for args in [
        &["get", store, "key"][..],
        &["ls", store],
        &["cat", store, &hash],
        &["index", store, &hash],
        &["info", store],
        &["verify", store],
        &["watch", store],
        &["rm", store, "key"],
        &["clear", store, "--yes"],
        &["cas", store, "key", "--test", "a", "--set", "b"],
        &["copy", store, "sqlite:b.db"],
    ] {
        sandbox.run(args).refused("does not exist");
        assert_eq!(fs::read_dir(sandbox.path("")).unwrap().count(), 0, "{args:?}");
    }
}

#[test]
fn a_file_that_cannot_be_a_value_is_refused() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("directory")).unwrap();
    sandbox.write("sound", "value");
    fs::File::create(sandbox.path("long")).unwrap().set_len(MAX_VALUE_LEN as u64 + 1).unwrap();
    for (file, expected) in [
        ("directory", "cannot read \"directory\""),
        ("missing", "cannot read \"missing\""),
        ("long", "longer than a value may be"),
    ] {
        sandbox.run(&["put", "sqlite:a.db", "key", "--file", file]).refused(expected);
        sandbox.run(&["cas", "sqlite:a.db", "key", "--absent", "--set-file", file]).refused(expected);
        sandbox.run(&["add", "sqlite:a.db", "sound", file]).refused(expected);
    }
    assert!(!sandbox.path("a.db").exists());
}

#[test]
fn a_path_that_is_no_store_is_refused_and_left_as_it_is() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("directory")).unwrap();
    let text = "This is a text, and no database.\n".repeat(100);
    sandbox.write("text", &text);
    for store in ["sqlite:directory", "sqlite:text", "sqlite:missing/a.db"] {
        sandbox.run(&["put", store, "key", "value"]).refused("sqlite");
    }
    assert_eq!(fs::read_to_string(sandbox.path("text")).unwrap(), text);
    assert!(!sandbox.path("missing").exists());
}

#[test]
fn a_store_of_another_hash_function_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["put", "sqlite:a.db", "key", "value"]);
    let ran = sandbox.run(&["get", "sqlite:a.db?hash=sha256", "key"]);
    ran.refused("sha256");
    ran.refused("blake3");
}

#[test]
fn an_unknown_command_is_an_error_of_usage() {
    let sandbox = Sandbox::new();
    for args in
        [&["frobnicate"][..], &["get", "mem:"], &[], &["cas", "mem:", "key"], &["watch", "mem:", "--count", "0"]]
    {
        assert_eq!(sandbox.run(args).code, Some(2), "{args:?}");
    }
}

#[test]
fn the_help_lists_the_schemes_and_their_options() {
    let help = Sandbox::new().ok(&["--help"]);
    for word in ["verify", "mem:", "sqlite:", "sync=on|off|full|normal"] {
        assert!(help.contains(word), "{word}: {help}");
    }
}
