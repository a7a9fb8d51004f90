//! Bugs as tests: each case that is said to catch one has to.

use std::{env, fmt::Display, num::NonZeroU64, ops::Range, process::ExitCode, str::FromStr, sync::Arc};

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use super::{Broken, Bug, all};
use crate::{CaseReport, Crashes, Options, SharedFactory, Verdict, suite::EQUIPPED};

/// Holds with how many seeds each bug is tried.
const SEEDS: &str = "IRMINSUL_SEEDS";
/// Holds the first of them.
const FIRST_SEED: &str = "IRMINSUL_FIRST_SEED";

/// The seeds with which each bug is tried: as many as `IRMINSUL_SEEDS` says, from `IRMINSUL_FIRST_SEED` on; where they
/// are not set one, and from zero.
///
/// # Errors
///
/// A line that says what they may be.
pub fn seeds_from_env() -> Result<Range<u64>, String> {
    seeds(env::var(FIRST_SEED).ok().as_deref(), env::var(SEEDS).ok().as_deref())
}

fn seeds(first: Option<&str>, number: Option<&str>) -> Result<Range<u64>, String> {
    let first = parsed(FIRST_SEED, first, 0_u64, "the first of the seeds")?;
    let number = parsed(SEEDS, number, NonZeroU64::MIN, "with how many seeds to try each broken store")?;
    let end = first.checked_add(number.get()).ok_or_else(|| format!("{FIRST_SEED}: there are no such seeds"))?;
    Ok(first..end)
}

fn parsed<T: FromStr<Err: Display>>(variable: &str, value: Option<&str>, unset: T, what: &str) -> Result<T, String> {
    value.map_or(Ok(unset), |value| value.parse().map_err(|error| format!("{variable}: {error}: {what}")))
}

/// The `main` of a test target that puts a bug, by its name, on stores of an engine of one's own: the tests are those of
/// [`trials`], with the seeds that the environment names ([`seeds_from_env`]).
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
            let trials = trials(bug, sound, &options, &seeds);
            libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// One test for each case that is to catch a bug, put on the stores of `sound`: it has to with every seed, and says in how
/// many crashes it did. That something was late is no reason, but for a bug that keeps somebody waiting.
#[must_use]
pub fn trials(bug: &'static Bug, sound: &SharedFactory, options: &Options, seeds: &Range<u64>) -> Vec<Trial> {
    let trial = |case: &&'static str| {
        let (case, options, sound, seeds) = (*case, options.clone(), Arc::clone(sound), seeds.clone());
        let name = format!("{}::{case}", bug.name);
        Trial::ignorable_test(name.clone(), move || {
            let broken: SharedFactory = Arc::new(Broken::new(bug, sound));
            let mut all = Crashes::default();
            for seed in seeds.clone() {
                let report = ended(&broken, case, options.clone().seed(seed))?;
                all += report.crashes;
                match report.verdict {
                    Verdict::Fail if bug.waits || !report.is_late() => {}
                    Verdict::Fail => {
                        return Err(format!("{name} is caught for being late, which it is not about: {report}").into());
                    }
                    Verdict::Untested => return untested(report),
                    other => {
                        return Err(format!("{name} is not caught with seed {seed}, but: {other}: {report}").into());
                    }
                }
            }
            if all != Crashes::default() {
                let times = seeds.end - seeds.start;
                eprintln!("{name}: caught {times} times in {} kills, {} power losses", all.kills, all.power_losses);
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
    Ok(Completion::ignored_with(format!("untested: {}", report.reason.unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_as_many_as_asked_for_from_the_first_on() {
        assert_eq!(seeds(None, None), Ok(0..1));
        assert_eq!(seeds(None, Some("20")), Ok(0..20));
        assert_eq!(seeds(Some("7"), None), Ok(7..8));
        assert_eq!(seeds(Some("7"), Some("2")), Ok(7..9));
        for (first, number) in
            [(None, Some("0")), (None, Some("all")), (Some("-1"), None), (Some(&*u64::MAX.to_string()), None)]
        {
            let refused = seeds(first, number).expect_err("no seeds");
            assert!(refused.starts_with(if number.is_some() { SEEDS } else { FIRST_SEED }), "{refused}");
        }
    }
}
