//! The program in a checkout of its own: what it tells, and what it refuses before anything is built.

use std::{fs, path::Path, process::Command};

use tempfile::TempDir;

/// A checkout with one file, the target of a fuzzer.
fn checkout() -> TempDir {
    let root = TempDir::new().unwrap();
    fs::create_dir_all(root.path().join("fuzz/targets")).unwrap();
    fs::write(root.path().join(".gitignore"), "/target/\n").unwrap();
    git(root.path(), &["init", "--quiet"]);
    commit(root.path(), "fuzz/targets/key.rs");
    root
}

fn git(root: &Path, arguments: &[&str]) {
    let mut git = Command::new("git");
    git.args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]).args(arguments);
    assert!(git.current_dir(root).status().unwrap().success());
}

fn commit(root: &Path, file: &str) {
    fs::write(root.join(file), "anything").unwrap();
    git(root, &["add", "--all"]);
    git(root, &["commit", "--quiet", "--message", file]);
}

/// How the program ended, and what it said.
fn soak(root: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut soak = Command::new(env!("CARGO_BIN_EXE_irminsul-soak"));
    let output = soak.args(arguments).current_dir(root).env("CARGO_TARGET_DIR", "target").output().unwrap();
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

/// Writes what was done of the row `mem`.
fn done(root: &Path, text: &str) {
    let (_, said) = soak(root, &["--list"]);
    let digest = said.lines().find_map(|line| Some(line.split_once(", code ")?.1)).unwrap();
    let row = root.join("target/soak").join(digest).join("mem");
    fs::create_dir_all(&row).unwrap();
    fs::write(row.join("done.json"), text).unwrap();
}

#[test]
fn what_was_done_counts_until_the_code_is_another() {
    let checkout = checkout();
    let root = checkout.path();
    let one_step = r#"{"steps":1,"took":{"secs":60,"nanos":0},"untested":0,"kills":0,"power_losses":0,"growth":null,
        "inputs":{},"cases":0,"catching_none":0,"replays":[],"failures":[]}"#;
    done(root, one_step);
    commit(root, "README.md");
    let (code, said) = soak(root, &["--list", "--only", "mem", "--only", "load-"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("\nmem                         1 of  100, 0 untested  not finished, about 99 min left\n"),
        "{said}"
    );
    assert!(said.contains("\nload-mem ") && !said.contains("\nsqlite "), "{said}");
    commit(root, "fuzz/targets/frame.rs");
    let (_, said) = soak(root, &["--list", "--only", "mem"]);
    assert!(said.contains("\nmem                         0 of  100, 0 untested  not begun\n"), "{said}");
}

#[test]
fn what_it_cannot_run_is_refused_with_what_to_do() {
    let checkout = checkout();
    let root = checkout.path();
    let refused = |arguments: &[&str], wanted: &str| {
        let (code, said) = soak(root, arguments);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(wanted), "{said}");
    };
    refused(&["ten"], "invalid value 'ten' for '[MINUTES]'");
    refused(&["--only", "mme"], "scripts/soak: --only: no row has \"mme\" in its name; the rows are mem, ");
    done(root, "{\"steps\": 1");
    refused(&["1"], "mem/done.json is garbled: remove ");
    refused(&["--list"], "mem/done.json is garbled: remove ");
    fs::write(root.join("a.rs"), "").unwrap();
    refused(&["1"], "scripts/soak: the tree differs from its commit");
}
