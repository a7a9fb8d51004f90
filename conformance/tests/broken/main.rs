//! The suite, tested: each broken store is caught by the cases that are said to catch it, the sound ones below them by
//! none of these, and the table of them in the documentation is the one that is tested.
//!
//! `IRMINSUL_SEEDS` sets with how many seeds each pair is tried, one by default, and `IRMINSUL_FIRST_SEED` the first of
//! them. `IRMINSUL_MATRIX=whole` prints, instead, which cases catch which store, and fails where a case catches none, or not
//! what the table says; with a pattern it looks at those cases only.

mod sound;

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    ops::Range,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use conformance::{
    Options, SharedFactory, Verdict,
    broken::{self, Broken, Bug},
};
use faulty_fs::FaultyFs;
use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::sound::SoundFactory;

/// What must happen on a sound store happens long before; a broken one is not worth a longer wait.
const PATIENCE: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    if let Some(served) = faulty_fs::serve_if_asked() {
        return served;
    }
    conformance::child(|name| broken::all().chain(broken::sound()).find(|bug| bug.name == name).map(factory));
    match run() {
        Ok(ended) => ended,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs what the environment asks for, with disks that forget and fail on command where the system lets it mount them.
fn run() -> Result<ExitCode, String> {
    let options = Options::new().mounting(FaultyFs::mount_temporary).jobs(1);
    if let Ok(cases) = env::var("IRMINSUL_MATRIX") {
        let pattern = if cases == "whole" { "" } else { &cases };
        return Ok(matrix(&options.patience(PATIENCE).seed(0), pattern));
    }
    let seeds = broken::seeds_from_env()?;
    Ok(libtest_mimic::run(&Arguments::from_args(), trials(&options, &seeds)).exit_code())
}

fn trials(options: &Options, seeds: &Range<u64>) -> Vec<Trial> {
    let patient = options.clone().patience(PATIENCE);
    let caught = broken::all().flat_map(|bug| broken::trials(bug, &sound_for(bug), &patient, seeds));
    let passed = broken::sound().flat_map(|sound| cases_on(sound).into_iter().map(move |case| (sound, case))).map(
        |(sound, case)| {
            let (options, seeds) = (options.clone(), seeds.clone());
            Trial::ignorable_test(format!("{}::{case}", sound.name), move || passes(sound, case, &options, seeds))
        },
    );
    let documented = Trial::test("the-documentation-has-this-table", documentation_is_current);
    caught.chain(passed).chain([documented]).collect()
}

/// The cases that catch a bug on stores of this kind.
fn cases_on(sound: &Bug) -> BTreeSet<&'static str> {
    broken::all().filter(|bug| bug.on == sound.on).flat_map(|bug| bug.caught_by).copied().collect()
}

fn sound_for(bug: &Bug) -> SharedFactory {
    Arc::new(SoundFactory(bug.on))
}

fn factory(bug: &'static Bug) -> SharedFactory {
    Arc::new(Broken::new(bug, sound_for(bug)))
}

/// A sound store is caught by no case; one that does not apply to it may be about what a bug claims.
fn passes(sound: &'static Bug, case: &str, options: &Options, seeds: Range<u64>) -> Result<Completion, Failed> {
    for seed in seeds {
        let report = broken::ended(&factory(sound), case, options.clone().seed(seed))?;
        match report.verdict {
            Verdict::Pass => {}
            Verdict::Untested => return broken::untested(report),
            Verdict::Unsupported => {
                let reason = report.reason.unwrap_or_default();
                return Ok(Completion::ignored_with(format!("unsupported: {reason}")));
            }
            other => return Err(format!("{} is sound, and yet with seed {seed}: {other}: {report}", sound.name).into()),
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

/// Every case, of those that are asked for, against every store. A case that catches none is a failure, and so is one that
/// does not catch what the table says.
fn matrix(options: &Options, pattern: &str) -> ExitCode {
    let mut caught: BTreeMap<&str, BTreeSet<&str>> =
        conformance::case_ids(pattern).map(|case| (case, BTreeSet::new())).collect();
    let mut ended = ExitCode::SUCCESS;
    for bug in broken::all() {
        eprintln!("{}", bug.name);
        let report = conformance::run(&factory(bug), &options.clone().case(pattern));
        for case in report.backends.iter().flat_map(|backend| &backend.cases) {
            let due = bug.caught_by.contains(&case.id);
            match case.verdict {
                Verdict::Fail => drop(caught.entry(case.id).or_default().insert(bug.name)),
                Verdict::Untested if due => eprintln!("{} was not tried: {case}", case.id),
                _ if due => {
                    eprintln!("{} does not catch {}, as the table says: {case}", case.id, bug.name);
                    ended = ExitCode::FAILURE;
                }
                _ => {}
            }
        }
    }
    for (case, stores) in caught {
        println!("{case}\t{}", stores.iter().copied().collect::<Vec<_>>().join(" "));
        if stores.is_empty() {
            eprintln!("{case} catches no broken store");
            ended = ExitCode::FAILURE;
        }
    }
    ended
}
