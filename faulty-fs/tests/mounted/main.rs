//! The mounted file system under real system calls and a real engine. The target is its own child: with a role in the
//! environment it plays that, otherwise it runs the trials. Where FUSE is missing every trial shows as ignored, with
//! the reason.

use std::{path::PathBuf, process::ExitCode};

use faulty_fs::{FaultyFs, MountError};
use libtest_mimic::{Arguments, Completion, Trial};

use crate::test_disk::TestDisk;

mod faults;
mod files;
mod losses;
mod program;
mod role;
mod sqlite;
mod test_disk;

/// What a trial runs.
type Claim = fn(&TestDisk);

fn main() -> ExitCode {
    if let Some(served) = faulty_fs::serve_if_asked() {
        return served;
    }
    if let Some(role) = role::assigned() {
        return role::play(&role);
    }
    let mounted = FaultyFs::mount_temporary();
    // The trials know the place only: the guard stays here, to be dropped before the process ends.
    let mount = mounted.as_ref().map(|mounted| mounted.path().to_owned()).map_err(Missing::from);
    let claims = [files::CLAIMS, losses::CLAIMS, faults::CLAIMS, sqlite::CLAIMS, program::CLAIMS];
    let trials = claims.iter().copied().flatten().map(|(name, claim)| trial(name, *claim, mount.clone())).collect();
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    drop(mounted);
    conclusion.exit_code()
}

/// Why there is no mount.
#[derive(Clone)]
struct Missing {
    reason: String,
    untested: bool,
}

impl From<&MountError> for Missing {
    fn from(error: &MountError) -> Self {
        Self { reason: error.to_string(), untested: error.is_unavailable() }
    }
}

/// A trial on a disk of its own.
fn trial(name: &str, claim: Claim, mount: Result<PathBuf, Missing>) -> Trial {
    let disk = name.replace("::", "-");
    Trial::ignorable_test(name, move || match mount {
        Ok(mount) => {
            claim(&TestDisk::new(&mount, &disk));
            Ok(Completion::Completed)
        }
        Err(missing) if missing.untested => Ok(Completion::ignored_with(format!("untested: {}", missing.reason))),
        Err(missing) => Err(missing.reason.into()),
    })
}
