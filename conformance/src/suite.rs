//! The suite as a test target: one test per case, with the filters and formats that test runners know.

use std::{
    collections::BTreeMap,
    env,
    process::ExitCode,
    sync::{Arc, Mutex},
};

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::{CaseReport, Crashes, Options, Profile, SharedFactory, Verdict, lock::lock, run::Runner};

/// Holds the profile of the native tests; `quick` where it is not set.
const PROFILE: &str = "IRMINSUL_PROFILE";
/// Holds their seed.
const SEED: &str = "IRMINSUL_SEED";
/// Holds the mount point of a `faulty-fs`.
const FAULTY_FS: &str = "IRMINSUL_FAULTY_FS";

/// Set where nothing may be missing, as in CI: what is untested for want of equipment has failed then.
pub(crate) const EQUIPPED: &str = "IRMINSUL_EQUIPPED";

/// The `main` of a test target with `harness = false`: one test per case, over each of the factories.
///
/// ```no_run
/// # struct MyFactory;
/// # #[async_trait::async_trait]
/// # impl conformance::Factory for MyFactory {
/// #     fn name(&self) -> String { unimplemented!() }
/// #     async fn create(&self, _: conformance::Place<'_>) -> store_api::Result<conformance::Site> { unimplemented!() }
/// #     async fn open(&self, _: &str, _: &conformance::Settings) -> store_api::Result<std::sync::Arc<dyn store_api::Backend>> { unimplemented!() }
/// # }
/// conformance::suite!(MyFactory);
/// # // The macro's `main` is the example's.
/// ```
///
/// The environment sets what a test runner has no words for: `IRMINSUL_PROFILE` (`quick`, `standard`), `IRMINSUL_SEED`,
/// `IRMINSUL_FAULTY_FS` with the mount point of a faulty file system, and `IRMINSUL_EQUIPPED` where no equipment may be
/// missing: what is untested fails then.
#[macro_export]
macro_rules! suite {
    ($($factory:expr),+ $(,)?) => {
        fn main() -> ::std::process::ExitCode {
            $crate::main(&[$(::std::sync::Arc::new($factory)),+], $crate::Options::from_env)
        }
    };
}

impl Options {
    /// What the environment asks for, as described at [`suite!`](crate::suite).
    ///
    /// # Errors
    ///
    /// A line that says which variable is ill-formed and what it may be.
    pub fn from_env() -> Result<Self, String> {
        let mut options = Self::new();
        if let Ok(profile) = env::var(PROFILE) {
            options = options.profile(match profile.parse().map_err(|error| format!("{PROFILE}: {error}"))? {
                Profile::Soak(_) => return Err(format!("{PROFILE}: soak is for `run`; tests are quick or standard")),
                profile => profile,
            });
        }
        if let Ok(seed) = env::var(SEED) {
            options = options.seed(seed.parse().map_err(|_| format!("{SEED}: {seed:?} is not a number"))?);
        }
        if let Some(mount_point) = env::var_os(FAULTY_FS) {
            options = options.faulty_fs(mount_point);
        }
        Ok(options)
    }
}

/// What [`suite!`] expands to, for a program that has something to do of its own before, such as mounting a
/// `faulty-fs`: plays a child where it is one, then runs the tests that the command line asks for.
///
/// `options` is called once, and not in a child; its error is a line for standard error, and fails the tests. One test per
/// case and factory: what passed passes, what the backend does not claim or lacks equipment is ignored with the reason, and
/// the rest fails, which includes a case that is not settled by a second attempt.
///
/// ```no_run
/// # use conformance::{Options, SharedFactory};
/// # fn factory() -> SharedFactory { unimplemented!() }
/// fn main() -> std::process::ExitCode {
///     conformance::main(&[factory()], || Ok(Options::from_env()?.patience(std::time::Duration::from_mins(1))))
/// }
/// ```
///
/// [`suite!`]: crate::suite
pub fn main(factories: &[SharedFactory], options: impl FnOnce() -> Result<Options, String>) -> ExitCode {
    crate::child(|name| factories.iter().find(|factory| factory.name() == name).cloned());
    match options() {
        Ok(options) => {
            let crashes = Arc::default();
            let tests = factories.iter().flat_map(|factory| tests(factory, &options, &crashes)).collect();
            let conclusion = libtest_mimic::run(&Arguments::from_args(), tests);
            tell(&crashes);
            conclusion.exit_code()
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// How often the stores were cut off, by the names of their factories.
type AllCrashes = Mutex<BTreeMap<String, Crashes>>;

fn tell(crashes: &AllCrashes) {
    for (name, Crashes { kills, power_losses }) in &*lock(crashes) {
        eprintln!("{name}: {kills} kills, {power_losses} power losses");
    }
}

fn tests(factory: &SharedFactory, options: &Options, crashes: &Arc<AllCrashes>) -> Vec<Trial> {
    let runner = Arc::new(Runner::new(factory, options, options.seed));
    let (under_nextest, equipped) = (env::var_os("NEXTEST").is_some(), env::var_os(EQUIPPED).is_some());
    let test = |case: &'static crate::case::Case| {
        let (name, runs) = (format!("{}::{}", factory.name(), case.id), Arc::clone(&runner));
        let (factory, crashes) = (factory.name(), Arc::clone(crashes));
        let trial = Trial::ignorable_test(name, move || {
            let report = runs.one(case);
            *lock(&crashes).entry(factory).or_default() += report.crashes;
            completion(&report, equipped)
        });
        // A test that ignores itself says why, but to nextest it has passed: it skips only what is flagged.
        trial.with_ignored_flag(under_nextest && runner.lack(case).is_some())
    };
    runner.asked().map(test).collect()
}

fn completion(report: &CaseReport, equipped: bool) -> Result<Completion, Failed> {
    let reason = report.reason.as_deref().unwrap_or_default();
    match report.verdict {
        Verdict::Pass => Ok(Completion::Completed),
        Verdict::Fail | Verdict::HarnessError => Err(report.to_string().into()),
        Verdict::Inconclusive => Err(format!("not settled: {report}").into()),
        Verdict::Untested if equipped => Err(format!("{EQUIPPED} is set, and yet: untested: {reason}").into()),
        other => Ok(Completion::ignored_with(format!("{other}: {reason}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Crashes;

    fn ended(verdict: Verdict, equipped: bool) -> Result<Completion, Failed> {
        let report = CaseReport {
            id: "atomic/A2-one",
            clause: "A2",
            verdict,
            reason: Some("the reason".into()),
            location: None,
            seed: 7,
            replay: None,
            duration: Duration::ZERO,
            crashes: Crashes::default(),
            met: None,
            growth: None,
            details: None,
            witness: None,
        };
        completion(&report, equipped)
    }

    #[test]
    fn a_native_test_that_is_not_settled_fails_and_one_that_is_ignored_says_why() {
        let Err(failed) = ended(Verdict::Inconclusive, false) else { panic!("it is not settled") };
        let message = failed.message().unwrap_or_default();
        assert!(message.starts_with("not settled: inconclusive: the reason\n"), "{message}");
        for verdict in [Verdict::Unsupported, Verdict::Untested] {
            let Ok(Completion::Ignored { reason }) = ended(verdict, false) else { panic!("{verdict} is ignored") };
            assert_eq!(reason, Some(format!("{verdict}: the reason")));
        }
    }

    #[test]
    fn where_all_equipment_is_to_be_there_what_is_untested_fails() {
        let Err(failed) = ended(Verdict::Untested, true) else { panic!("it is untested") };
        let message = failed.message().unwrap_or_default();
        assert_eq!(message, "IRMINSUL_EQUIPPED is set, and yet: untested: the reason");
        assert!(matches!(ended(Verdict::Unsupported, true), Ok(Completion::Ignored { .. })));
    }
}
