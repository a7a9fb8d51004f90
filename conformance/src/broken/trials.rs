//! Bugs as tests: each case that is said to catch one has to.

use std::{env, process::ExitCode, sync::Arc};

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use super::{Broken, Bug, all};
use crate::{CaseReport, Crashes, Options, SharedFactory, Verdict, suite::EQUIPPED};

/// Holds with how many seeds each bug is tried.
const SEEDS: &str = "IRMINSUL_SEEDS";

/// With how many seeds each bug is tried, as `IRMINSUL_SEEDS` says; with one where it is not set.
///
/// # Errors
///
/// A line that says what it may be.
pub fn seeds_from_env() -> Result<u64, String> {
    env::var(SEEDS).map_or(Ok(1), |seeds| {
        seeds.parse().map_err(|error| format!("{SEEDS}: {error}: how many seeds to try each broken store with"))
    })
}

/// The `main` of a test target that puts a bug, by its name, on stores of an engine of one's own: the tests are those of
/// [`trials`], with as many seeds as `IRMINSUL_SEEDS` says.
///
/// # Panics
///
/// There is no bug of that name.
pub fn main(bug: &str, sound: &SharedFactory, options: impl FnOnce() -> Result<Options, String>) -> ExitCode {
    let bug = all().find(|known| known.name == bug).expect("a bug of this name");
    let broken: SharedFactory = Arc::new(Broken::new(bug, Arc::clone(sound)));
    crate::child(|_| Some(broken));
    match options().and_then(|options| Ok((options, seeds_from_env()?))) {
        Ok((options, seeds)) => {
            let trials = trials(bug, sound, &options, seeds);
            libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// One test for each case that is to catch a bug, put on the stores of `sound`: it has to with every seed, and says in how
/// many crashes it did.
#[must_use]
pub fn trials(bug: &'static Bug, sound: &SharedFactory, options: &Options, seeds: u64) -> Vec<Trial> {
    let trial = |case: &&'static str| {
        let (case, options, sound) = (*case, options.clone(), Arc::clone(sound));
        let name = format!("{}::{case}", bug.name);
        Trial::ignorable_test(name.clone(), move || {
            let broken: SharedFactory = Arc::new(Broken::new(bug, sound));
            let mut all = Crashes::default();
            for seed in 0..seeds {
                let report = ended(&broken, case, options.clone().seed(seed))?;
                all += report.crashes;
                match report.verdict {
                    Verdict::Fail => {}
                    Verdict::Untested => return untested(report),
                    other => {
                        return Err(format!("{name} is not caught with seed {seed}, but: {other}: {report}").into());
                    }
                }
            }
            if all != Crashes::default() {
                eprintln!("{name}: caught {seeds} times in {} kills, {} power losses", all.kills, all.power_losses);
            }
            Ok(Completion::Completed)
        })
    };
    bug.caught_by.iter().map(trial).collect()
}

/// How a case ends on the stores of a factory.
///
/// # Errors
///
/// There is no such case.
pub fn ended(factory: &SharedFactory, case: &str, options: Options) -> Result<CaseReport, Failed> {
    let report = crate::run(factory, &options.case(case));
    let cases = report.backends.into_iter().flat_map(|backend| backend.cases);
    cases.into_iter().find(|report| report.id == case).ok_or_else(|| format!("the case {case} was not run").into())
}

/// The end of a test whose case lacks equipment: a failure where `IRMINSUL_EQUIPPED` says that all of it is there.
///
/// # Errors
///
/// The case and what it lacks.
pub fn untested(report: CaseReport) -> Result<Completion, Failed> {
    if env::var_os(EQUIPPED).is_some() {
        return Err(report.to_string().into());
    }
    Ok(Completion::ignored_with(report.reason.unwrap_or_default()))
}
