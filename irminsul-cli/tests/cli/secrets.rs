//! No output shows what the environment hides, or a value where none was asked for: standard error and every log, and
//! reports and answers to those who asked for something else (E2).

use std::{fs, path::Path, process::Command};

use conformance::disclosed;

use crate::sandbox::{Ran, Sandbox};

/// What the environment of every command has.
const CREDENTIALS: [(&str, &str); 8] = [
    ("AWS_ACCESS_KEY_ID", "AKIAq7hidden4identity2"),
    ("AWS_SECRET_ACCESS_KEY", "w3hidden9secret5of8the2service"),
    ("AWS_SESSION_TOKEN", "t6hidden1token7of4the9session"),
    ("AZURE_STORAGE_ACCOUNT_KEY", "aDZoaWRkZW44a2V5Nm9mM2F6dXJlMQ=="),
    ("AZURE_STORAGE_KEY", "aDZoaWRkZW44a2V5Nm9mM2F6dXJlMg=="),
    ("AZURE_STORAGE_SAS_KEY", "sv=2026&sig=k2hidden5signature8"),
    ("AZURE_CLIENT_SECRET", "c9hidden3client5secret"),
    ("AWS_SERVER_SIDE_ENCRYPTION_CUSTOMER_KEY_BASE64", "aDdoaWRkZW45Y3VzdG9tZXI0a2V5"),
];
const VALUE: &str = "v2hidden8value3of6an5application";
const OTHER: &str = "o4hidden1other9value";

/// What an answer may show.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    ForNoValue,
    ForValues,
}

fn logged(sandbox: &Sandbox, args: &[&str]) -> Command {
    let mut command = sandbox.command(args);
    command.envs(CREDENTIALS).env("RUST_LOG", "trace").env("RUST_BACKTRACE", "full");
    command
}

#[track_caller]
fn expect_silence(what: &str, text: &str, secrets: impl IntoIterator<Item = &'static str>) {
    assert_eq!(disclosed(text, secrets), None, "{what} shows it:\n{text}");
}

fn credentials() -> impl Iterator<Item = &'static str> {
    CREDENTIALS.iter().map(|(_, secret)| *secret)
}

/// Runs it with all that can be logged, for an exit with this code.
#[track_caller]
fn run(sandbox: &Sandbox, code: i32, asked: Asked, args: &[&str]) -> Ran {
    let ran: Ran = logged(sandbox, args).output().unwrap().into();
    assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.stderr);
    let told = String::from_utf8_lossy(&ran.stdout);
    let what = format!("{args:?}");
    expect_silence(&what, &ran.stderr, credentials().chain([VALUE, OTHER]));
    expect_silence(&what, &told, credentials());
    if asked == Asked::ForNoValue {
        expect_silence(&what, &told, [VALUE, OTHER]);
    }
    ran
}

#[test]
fn no_command_shows_a_credential_and_none_logs_a_value() {
    use Asked::{ForNoValue, ForValues};

    let sandbox = Sandbox::new();
    let (store, file) = ("sqlite:a.db", sandbox.write("file", VALUE));
    run(&sandbox, 0, ForNoValue, &["put", store, "key", VALUE]);
    run(&sandbox, 0, ForNoValue, &["put", store, "key", "--file", &file]);
    run(&sandbox, 0, ForValues, &["get", store, "key"]);
    run(&sandbox, 1, ForNoValue, &["get", store, "absent"]);
    run(&sandbox, 1, ForValues, &["cas", store, "key", "--test", OTHER, "--set", OTHER]);
    run(&sandbox, 0, ForNoValue, &["cas", store, "key", "--test", VALUE, "--set", OTHER]);
    run(&sandbox, 1, ForValues, &["cas", store, "key", "--absent", "--set", VALUE]);
    run(&sandbox, 0, ForNoValue, &["ls", store, "-l"]);
    run(&sandbox, 0, ForNoValue, &["add", store, &file]);
    run(&sandbox, 0, ForNoValue, &["watch", store, "--known", &sandbox.write("nothing", ""), "--count", "1"]);
    run(&sandbox, 0, ForNoValue, &["info", store]);
    run(&sandbox, 0, ForNoValue, &["verify", store, "--json"]);
    run(&sandbox, 0, ForNoValue, &["copy", store, "sqlite:b.db"]);
    run(&sandbox, 0, ForNoValue, &["rm", store, "key"]);
    run(&sandbox, 0, ForNoValue, &["clear", store, "--yes"]);
}

#[test]
fn no_error_shows_a_value_or_a_credential() {
    use Asked::ForNoValue;

    let sandbox = Sandbox::new();
    run(&sandbox, 0, ForNoValue, &["put", "sqlite:a.db", "key", VALUE]);
    run(&sandbox, 0, ForNoValue, &["add", "sqlite:a.db", &sandbox.write("file", OTHER)]);
    let long = format!("{VALUE}{}", "x".repeat(256));
    run(&sandbox, 2, ForNoValue, &["put", "sqlite:a.db", "", VALUE]);
    run(&sandbox, 2, ForNoValue, &["cas", "sqlite:a.db", "key", "--test", VALUE, "--set", OTHER, VALUE]);
    run(&sandbox, 2, ForNoValue, &["put", "sqlite:missing/a.db", "key", VALUE]);
    run(&sandbox, 2, ForNoValue, &["put", "sqlite:a.db?hash=sha256", "key", VALUE]);
    run(&sandbox, 2, ForNoValue, &["put", "sqlite:a.db?poll=soon", "key", &long]);
    sandbox.damage("a.db", VALUE);
    sandbox.damage("a.db", OTHER);
    run(&sandbox, 2, ForNoValue, &["get", "sqlite:a.db", "key"]);
    run(&sandbox, 1, ForNoValue, &["verify", "sqlite:a.db"]);
    sandbox.write("text", format!("{VALUE}, and no database\n").repeat(100));
    run(&sandbox, 2, ForNoValue, &["get", "sqlite:text", "key"]);
}

#[test]
fn a_credential_in_an_address_is_refused_and_not_repeated() {
    let sandbox = Sandbox::new();
    let secret = "p8hidden2password6";
    for address in [
        format!("s3://id:{secret}@host/bucket"),
        format!("s3://{secret}@bucket/prefix"),
        format!("az://container?account_key={secret}"),
        format!("sqlite:a.db?password={secret}"),
        format!("mem:?{secret}"),
        format!("s3://bucket?endpoint=https://id:{secret}@host"),
        format!("s3://bucket?{secret}=1"),
    ] {
        for args in [&["get", &address, "key"][..], &["conform", &address], &["copy", "mem:", &address]] {
            let ran = run(&sandbox, 2, Asked::ForNoValue, args);
            expect_silence(&address.replace(secret, "*"), &ran.stderr, [secret]);
        }
    }
}

/// The files below a directory, as text.
fn texts(directory: &Path) -> Vec<String> {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()).collect()
}

/// Runs the suite, and looks at its reports and all else that it says. How the cases ended is not asked here.
fn expect_silent_suite(arguments: &[&str]) {
    let sandbox = Sandbox::new();
    let arguments = ["conform", "--report", "out"].iter().chain(arguments).copied().collect::<Vec<_>>();
    let ran: Ran = logged(&sandbox, &arguments).output().unwrap().into();
    assert!(matches!(ran.code, Some(0 | 1)), "{}", ran.stderr);
    let reports = texts(&sandbox.path("out"));
    assert_eq!(reports.len(), 2);
    for text in reports.iter().chain([&ran.stderr, &String::from_utf8_lossy(&ran.stdout).into_owned()]) {
        expect_silence("the report", text, credentials());
    }
}

#[test]
fn a_report_shows_no_credential() {
    expect_silent_suite(&["mem:", "sqlite:a.db", "--case", "atomic/A2-*"]);
    expect_silent_suite(&["sqlite:a.db", "--case", "error/E2-*"]);
    #[cfg(feature = "rocksdb")]
    expect_silent_suite(&["rocksdb:folder", "--case", "error/E2-*"]);
}

#[test]
fn the_whole_suite_shows_no_credential() {
    expect_silent_suite(&["mem:"]);
}
