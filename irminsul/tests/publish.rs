//! The example `publish`, which the project's README shows, run as a program.
#![cfg(feature = "sqlite")]

mod program;

use std::{fs, path::Path, process::Command};

use self::program::program;

#[test]
fn the_readme_shows_the_example() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let example = fs::read_to_string(root.join("examples/publish.rs")).unwrap();
    let (_, program) = example.split_once("\n\n").expect("what it is about stands above it");
    let readme = fs::read_to_string(root.join("../README.md")).unwrap();
    assert!(readme.contains(&format!("```rust\n{program}```")), "copy examples/publish.rs into README.md");
}

#[test]
fn what_is_published_once_is_there_the_second_time() {
    let folder = tempfile::tempdir().unwrap();
    let run = || {
        let output = Command::new(program("publish")).current_dir(&folder).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let (first, second) = (run(), run());
    let page = first.lines().next().and_then(|line| line.strip_prefix("published ")).expect("it is published");
    assert!(!page.is_empty());
    let [_, told] = first.lines().collect::<Vec<_>>()[..] else { panic!("two lines: {first}") };
    assert!(told.starts_with("pages/home: "), "{told}");
    assert_eq!(second, format!("it is there already\n{told}\n"));
}
