//! The suite, tested: each broken store is caught by the cases that are said to catch it, and the table of them in the
//! documentation is the one that is tested.
//!
//! `IRMINSUL_SEEDS` sets with how many seeds each pair is tried, one by default; `IRMINSUL_MATRIX=whole` prints, instead,
//! which cases catch which store, and those that catch none.

mod sound;

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use conformance::{
    Options, Report, SharedFactory, Verdict,
    broken::{self, Broken, Bug},
};
use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::sound::SoundFactory;

/// What must happen on a sound store happens long before; a broken one is not worth a longer wait.
const PATIENCE: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    conformance::child(|name| broken::all().find(|bug| bug.name == name).map(factory));
    if env::var("IRMINSUL_MATRIX").is_ok_and(|what| what == "whole") {
        return print_matrix();
    }
    let seeds = match env::var("IRMINSUL_SEEDS").map_or(Ok(1), |seeds| seeds.parse()) {
        Ok(seeds) => seeds,
        Err(error) => {
            eprintln!("IRMINSUL_SEEDS: {error}: how many seeds to try each broken store with");
            return ExitCode::FAILURE;
        }
    };
    let caught = broken::all().flat_map(|bug| {
        bug.caught_by.iter().map(move |case| {
            Trial::ignorable_test(format!("{}::{case}", bug.name), move || is_caught(bug, case, seeds))
        })
    });
    let documented = Trial::test("the-documentation-has-this-table", documentation_is_current);
    libtest_mimic::run(&Arguments::from_args(), caught.chain([documented]).collect()).exit_code()
}

fn factory(bug: &'static Bug) -> SharedFactory {
    Arc::new(Broken::new(bug, Arc::new(SoundFactory(bug.on))))
}

fn run(bug: &'static Bug, options: Options) -> Report {
    conformance::run(&factory(bug), &options.patience(PATIENCE).jobs(1))
}

/// A store is caught with every seed.
fn is_caught(bug: &'static Bug, case: &'static str, seeds: u64) -> Result<Completion, Failed> {
    for seed in 0..seeds {
        let report = run(bug, Options::new().case(case).seed(seed));
        let found = report.backends.iter().flat_map(|backend| &backend.cases).find(|report| report.id == case);
        let found = found.ok_or_else(|| format!("the case {case} was not run"))?;
        match found.verdict {
            Verdict::Fail => {}
            Verdict::Untested => return Ok(Completion::ignored_with(found.reason.clone().unwrap_or_default())),
            other => return Err(format!("{} is not caught with seed {seed}, but: {other}: {found}", bug.name).into()),
        }
    }
    Ok(Completion::Completed)
}

fn documentation_is_current() -> Result<(), Failed> {
    let written = include_str!("../../../docs/broken-stores.md");
    if written == broken::table() {
        Ok(())
    } else {
        Err("docs/broken-stores.md is not current: it says how to make it".into())
    }
}

/// Every case against every store.
fn print_matrix() -> ExitCode {
    let mut caught: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for bug in broken::all() {
        let report = run(bug, Options::new().seed(0));
        let cases = report.backends.iter().flat_map(|backend| &backend.cases);
        for case in cases {
            let stores = caught.entry(case.id).or_default();
            if case.verdict == Verdict::Fail {
                stores.insert(bug.name);
            }
        }
        eprintln!("{}", bug.name);
    }
    for (case, stores) in caught {
        println!("{case}\t{}", stores.into_iter().collect::<Vec<_>>().join(" "));
    }
    ExitCode::SUCCESS
}
