//! Replays the corpora, and what the fuzzers have found: what has held of them goes on to hold, and holds of what lies near.
//!
//! `IRMINSUL_SEEDS` sets how often each input is changed at random, 100 times by default.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};

use irminsul_fuzz::TARGETS;

/// So that they are read in a moment, and kept in a repository.
const MOST_FILES: usize = 200;
const LONGEST: usize = 4 * 1024;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The files, or the folders, in a folder.
fn paths_in(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn stems_in(folder: &Path) -> BTreeSet<String> {
    paths_in(folder).iter().map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

/// The inputs of a target.
fn inputs_of(name: &str) -> impl Iterator<Item = PathBuf> {
    let found = folder("found").join(name);
    let found = if found.exists() { paths_in(&found) } else { Vec::new() };
    paths_in(&folder("corpus").join(name)).into_iter().chain(found)
}

#[test]
fn each_target_holds_of_its_corpus_and_of_what_was_found() {
    for (name, target) in TARGETS {
        for path in inputs_of(name) {
            // Shown where the target panics.
            println!("{}", path.display());
            target(&fs::read(path).unwrap());
        }
    }
}

/// One of the changes that lead from an input to another.
fn change(input: &mut Vec<u8>, other: &[u8], random: &mut fastrand::Rng) {
    let at = random.usize(..=input.len());
    let end = random.usize(at..=input.len().min(at + 40));
    match random.u32(..6) {
        0 => input.truncate(at),
        1 => drop(input.drain(at..end)),
        2 => input.extend_from_within(at..end),
        3 => input.insert(at, random.u8(..)),
        4 => {
            let from = random.usize(..=other.len());
            input.splice(at..end, other[from..].iter().take(40).copied());
        }
        _ => {
            for byte in input[at..end].iter_mut().take(8) {
                *byte ^= 1 << random.u32(..8);
            }
        }
    }
}

#[test]
fn each_target_holds_of_what_lies_near_its_corpus() {
    let seeds = env::var("IRMINSUL_SEEDS").map_or(100, |seeds| seeds.parse().expect("a number of seeds"));
    for (name, target) in TARGETS {
        let inputs: Vec<Vec<u8>> = inputs_of(name).map(|path| fs::read(path).unwrap()).collect();
        for (number, input) in inputs.iter().enumerate() {
            for seed in 0..seeds {
                let mut random = fastrand::Rng::with_seed(seed);
                let other = random.choice(&inputs).unwrap();
                let mut changed = input.clone();
                for _ in 0..random.usize(1..5) {
                    change(&mut changed, other, &mut random);
                }
                // Shown where the target panics.
                println!("{name}, input {number}, seed {seed}: {}", changed.escape_ascii());
                target(&changed);
            }
        }
    }
}

#[test]
fn each_target_has_a_program_and_a_small_corpus() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(stems_in(&folder("targets")), targets);
    assert_eq!(stems_in(&folder("corpus")), targets);
    assert!(stems_in(&folder("found")).is_subset(&targets));
    for target in paths_in(&folder("corpus")) {
        let corpus = paths_in(&target);
        assert!((1..=MOST_FILES).contains(&corpus.len()), "{} files in {}", corpus.len(), target.display());
        for input in corpus {
            assert!(fs::read(&input).unwrap().len() <= LONGEST, "{} is too long", input.display());
        }
    }
}
