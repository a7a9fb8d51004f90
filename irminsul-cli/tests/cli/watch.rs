//! `watch`, with the writes made by other processes.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use crate::sandbox::Sandbox;

const STORE: &str = "sqlite:a.db?poll=10";

/// A running watch, and its lines as they come.
struct Watching {
    child: Child,
    lines: Receiver<String>,
}

impl Watching {
    fn start(sandbox: &Sandbox, args: &[&str]) -> Self {
        let args: Vec<_> = ["watch", STORE].iter().chain(args).copied().collect();
        Self::of(&mut sandbox.command(&args))
    }

    fn of(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = channel();
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        Self { child, lines }
    }

    #[track_caller]
    fn tells(&mut self, expected: &str) {
        let line = self.lines.recv_timeout(Duration::from_mins(2));
        assert_eq!(line.as_deref(), Ok(expected));
    }

    /// Its exit code, once all of its lines were read: there must be no other.
    #[track_caller]
    fn ends(mut self) -> Option<i32> {
        let code = self.child.wait().unwrap().code();
        assert_eq!(self.lines.iter().next(), None);
        code
    }

    fn interrupt(&self) {
        self.signal("-INT");
    }

    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // It has ended already where the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn store_with_one_entry() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.ok(&["put", STORE, "there", "1"]);
    sandbox
}

const CAUGHT_UP: &str = r#"{"event":"caught-up"}"#;

#[test]
fn watch_tells_what_other_processes_set_remove_and_clear() {
    let sandbox = store_with_one_entry();
    let mut watching = Watching::start(&sandbox, &["--json"]);
    watching.tells(CAUGHT_UP);
    sandbox.ok(&["put", STORE, "a", "text"]);
    watching.tells(r#"{"event":"added","key":"a","value":"text"}"#);
    sandbox.ok(&["put", STORE, "a", "--file", &sandbox.write("bytes", [0xff])]);
    watching.tells(r#"{"event":"updated","key":"a","value_base64":"/w=="}"#);
    sandbox.ok(&["rm", STORE, "a"]);
    watching.tells(r#"{"event":"removed","key":"a"}"#);
    sandbox.ok(&["clear", STORE, "--yes"]);
    watching.tells(r#"{"event":"removed","key":"there"}"#);
    watching.interrupt();
    assert_eq!(watching.ends(), Some(0));
}

#[test]
fn watch_tells_people_the_key_and_the_size_and_ends_after_a_count() {
    let sandbox = store_with_one_entry();
    let mut watching = Watching::start(&sandbox, &["--known", &sandbox.write("nothing", ""), "--count", "4"]);
    watching.tells("+ there 1 byte");
    sandbox.ok(&["put", STORE, "a\nb", "12345"]);
    watching.tells("+ a\\nb 5 bytes");
    sandbox.ok(&["put", STORE, "a\nb", "123"]);
    watching.tells("~ a\\nb 3 bytes");
    sandbox.ok(&["rm", STORE, "a\nb"]);
    watching.tells("- a\\nb");
    assert_eq!(watching.ends(), Some(0));
}

#[test]
fn a_signal_that_ends_a_watch_leaves_no_temporary_store_behind() {
    for signal in ["-INT", "-TERM"] {
        let sandbox = Sandbox::new();
        let files = || fs::read_dir(sandbox.path("")).unwrap().count();
        let args = ["watch", "sqlite:", "--json"];
        let mut watching = Watching::of(sandbox.command(&args).env("TMPDIR", sandbox.path("")));
        watching.tells(CAUGHT_UP);
        assert_eq!(files(), 1, "{signal}");
        watching.signal(signal);
        assert_eq!(watching.ends(), Some(0), "{signal}");
        assert_eq!(files(), 0, "{signal}");
    }
}

#[test]
fn watch_of_a_path_hears_of_nothing_outside_it() {
    let sandbox = store_with_one_entry();
    let mut scope = Watching::start(&sandbox, &["a", "--json", "--count", "2"]);
    let mut key = Watching::start(&sandbox, &["a", "--key", "--json", "--count", "1"]);
    scope.tells(CAUGHT_UP);
    key.tells(CAUGHT_UP);
    for path in ["ab", "a/b", "a"] {
        sandbox.ok(&["put", STORE, path, ""]);
    }
    scope.tells(r#"{"event":"added","key":"a/b","value":""}"#);
    scope.tells(r#"{"event":"added","key":"a","value":""}"#);
    key.tells(r#"{"event":"added","key":"a","value":""}"#);
    assert_eq!((scope.ends(), key.ends()), (Some(0), Some(0)));
}

#[test]
fn a_watch_that_was_away_goes_on_from_what_it_wrote() {
    let sandbox = store_with_one_entry();
    sandbox.ok(&["put", STORE, "gone", "2"]);
    sandbox.write("seen", "");
    let run = || {
        let watching = Watching::start(&sandbox, &["--json", "--known", "seen"]);
        let mut seen = fs::OpenOptions::new().append(true).open(sandbox.path("seen")).unwrap();
        let mut told = Vec::new();
        while told.last().is_none_or(|line| line != CAUGHT_UP) {
            told.push(watching.lines.recv_timeout(Duration::from_mins(2)).unwrap());
        }
        for line in &told {
            writeln!(seen, "{line}").unwrap();
        }
        watching.interrupt();
        assert_eq!(watching.ends(), Some(0));
        told.pop();
        told.sort_unstable();
        told
    };
    assert_eq!(
        run(),
        [r#"{"event":"added","key":"gone","value":"2"}"#, r#"{"event":"added","key":"there","value":"1"}"#]
    );
    assert_eq!(run(), [""; 0]);
    sandbox.ok(&["put", STORE, "there", "3"]);
    sandbox.ok(&["rm", STORE, "gone"]);
    assert_eq!(run(), [r#"{"event":"removed","key":"gone"}"#, r#"{"event":"updated","key":"there","value":"3"}"#]);
    assert_eq!(run(), [""; 0]);
}

#[test]
fn a_known_state_that_cannot_be_used_is_refused() {
    let sandbox = store_with_one_entry();
    let known = |text: &str, args: &[&str]| {
        sandbox.write("seen", text);
        sandbox.run(&[&["watch", STORE, "--known", "seen"], args].concat())
    };
    let refused = known("{\"event\":\"caught-up\"}\n\n{\"event\":\"added\",\"key\":\"a\",\"value\":\"S3CR", &[]);
    refused.refused("line 3 of \"seen\"");
    assert!(!refused.stderr.contains("S3CR"), "{}", refused.stderr);
    known(r#"{"key":"a","value":""}"#, &["b", "--key"]).refused("other keys");
    known(r#"{"key":"a","value":""}"#, &["b"]).refused("known state");
    sandbox.run(&["watch", STORE, "--known", "missing"]).refused("begin with an empty file");
}
