//! A test target whose trials have a disk each.

use std::{env, path::Path, process::ExitCode};

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::{FaultyFs, MountError, serve_if_asked};

/// Says that no equipment may be missing.
const EQUIPPED: &str = "IRMINSUL_EQUIPPED";

/// The `main` of a test target: mounts a file system, and runs each trial with the mount point and the name of a disk that
/// is its own. Where FUSE is missing every trial shows as ignored, with the reason, or fails where `IRMINSUL_EQUIPPED` is in
/// the environment.
pub fn run_trials<T>(trials: impl IntoIterator<Item = (&'static str, T)>) -> ExitCode
where
    T: FnOnce(&Path, &str) + Send + 'static,
{
    if let Some(served) = serve_if_asked() {
        return served;
    }
    let mounted = FaultyFs::mount_temporary();
    // The trials know the place only: the guard stays here, to be dropped before the process ends.
    let mount = mounted.as_ref().map(|mounted| mounted.path().to_owned()).map_err(unmounted);
    let trial = |(name, trial): (&'static str, T)| {
        let mount = mount.clone();
        Trial::ignorable_test(name, move || match mount {
            Ok(mount) => {
                trial(&mount, &name.replace("::", "-"));
                Ok(Completion::Completed)
            }
            Err(why) => why.map(Completion::ignored_with).map_err(Failed::from),
        })
    };
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials.into_iter().map(trial).collect());
    drop(mounted);
    conclusion.exit_code()
}

/// Why there is no mount: what lets a trial be ignored, or what fails it.
fn unmounted(error: &MountError) -> Result<String, String> {
    let is_ignored = error.is_unavailable() && env::var_os(EQUIPPED).is_none();
    if is_ignored { Ok(format!("untested: {error}")) } else { Err(error.to_string()) }
}
