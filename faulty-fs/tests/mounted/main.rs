//! The mounted file system under real system calls and a real engine. The target is its own child: with a role in the
//! environment it plays that, otherwise it runs the trials. Where FUSE is missing every trial shows as ignored, with
//! the reason.

use std::{path::Path, process::ExitCode};

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
    let claims = [files::CLAIMS, losses::CLAIMS, faults::CLAIMS, sqlite::CLAIMS, program::CLAIMS];
    let trial = |&(name, claim): &(&'static str, Claim)| {
        (name, move |mount: &Path, disk: &str| claim(&TestDisk::new(mount, disk)))
    };
    faulty_fs::run_trials(claims.iter().copied().flatten().map(trial))
}
