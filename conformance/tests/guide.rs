//! What the guide for backend authors and the README say, held against what is there.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

const GUIDE: &str = "docs/writing-a-backend.md";
const README: &str = "conformance/README.md";
const TEMPLATE: &str = "examples/backend-template";

fn path(of: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(of)
}

fn text(of: &str) -> String {
    fs::read_to_string(path(of)).unwrap_or_else(|error| panic!("{of}: {error}"))
}

/// The code blocks of a language.
fn blocks<'p>(page: &'p str, language: &str) -> Vec<&'p str> {
    let fence = format!("```{language}\n");
    page.split(fence.as_str()).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

/// All that is written in a folder's Rust files.
fn sources(folder: &Path) -> String {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let texts = entries.map(|path| if path.is_dir() { sources(&path) } else { fs::read_to_string(path).unwrap() });
    texts.collect()
}

#[test]
fn the_guides_code_is_the_templates() {
    let template: String = ["src", "tests"].map(|folder| sources(&path(TEMPLATE).join(folder))).concat();
    let guide = text(GUIDE);
    let blocks = blocks(&guide, "rust");
    assert!(blocks.len() >= 5, "the guide shows the template's code");
    for block in blocks {
        assert!(template.contains(block), "the template has this no more:\n{block}");
    }
}

#[test]
fn the_guides_manifest_has_what_the_template_depends_on() {
    fn dependencies(manifest: &str) -> BTreeSet<&str> {
        let named = manifest.lines().filter(|line| line.contains(" = ") && !line.starts_with("name"));
        named.filter_map(|line| line.split(['.', ' ']).next()).collect()
    }
    fn from_dependencies_on(manifest: &str) -> &str {
        let (_, rest) = manifest.split_once("[dependencies]").expect("dependencies");
        rest.split_once("[lints]").map_or(rest, |(dependencies, _)| dependencies)
    }
    let manifest = text(&format!("{TEMPLATE}/Cargo.toml"));
    let guide = text(GUIDE);
    let [shown] = blocks(&guide, "toml")[..] else { panic!("one manifest is shown") };
    let shown: BTreeSet<&str> =
        dependencies(from_dependencies_on(shown)).iter().map(|name| name.trim_start_matches("irminsul-")).collect();
    assert_eq!(shown, dependencies(from_dependencies_on(&manifest)));
}

#[test]
fn the_cases_that_are_named_exist() {
    for page in [GUIDE, README] {
        let page = text(page);
        let is_id = |word: &&str| {
            word.split_once('/').is_some_and(|(area, case)| {
                let clause = case.split('-').next().unwrap_or_default();
                area.chars().all(|c| c.is_ascii_lowercase()) && conformance::Clause::by_id(clause).is_some()
            })
        };
        let named: Vec<&str> = page.split([' ', '\n', '`']).filter(is_id).collect();
        assert!(!named.is_empty(), "cases are named");
        for case in named {
            assert!(conformance::case_ids(case).next().is_some(), "no case is named {case}");
        }
    }
}
