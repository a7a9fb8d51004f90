//! A case in a process of its own: as another user, or where it may mount file systems that vanish with it.

use std::{
    env,
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use rustix::process::geteuid;
use tempfile::TempDir;
use tokio::runtime::Builder;

/// The variable that names the case; the folder that it has for itself is that for temporary files.
const CASE: &str = "IRMINSUL_TEST_CASE";

/// After which a case has failed, however slow the machine.
const LIMIT: Duration = Duration::from_mins(4);

/// The user and the group that own nothing.
const NOBODY: u32 = 65534;

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) place: Place,
    /// Makes what the case finds in its folder.
    pub(crate) prepare: fn(&Path),
    pub(crate) act: fn(PathBuf),
}

#[derive(Clone, Copy)]
pub(crate) enum Place {
    /// A process like this one.
    Here,
    /// Two of them at once, on the same folder.
    Twice,
    /// A process of a user who has no more rights than the files say: root has.
    Nobody,
    /// A process that may mount, and whose mounts nobody else sees: they are gone with it, however it ends.
    Mounting,
}

impl Case {
    /// Runs the case, and fails unless it succeeds.
    pub(crate) fn start(&self) {
        let directory = TempDir::new().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        (self.prepare)(directory.path());
        let processes = if matches!(self.place, Place::Twice) { 2 } else { 1 };
        let started = (0..processes).map(|_| {
            let mut command = self.place.command();
            command.env(CASE, self.name).env("TMPDIR", directory.path()).current_dir("/");
            let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            piped.spawn().unwrap_or_else(|error| panic!("{command:?} could not be started: {error}"))
        });
        for process in started.collect::<Vec<_>>() {
            let output = process.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "the process of this case failed: {}\n{said}", output.status);
        }
        unseal(directory.path());
    }
}

/// Lets the folder be removed, by its owner too, with those in it.
fn unseal(directory: &Path) {
    let folders = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    for folder in folders.chain([directory.to_owned()]) {
        fs::set_permissions(folder, Permissions::from_mode(0o700)).unwrap();
    }
}

impl Place {
    fn command(self) -> Command {
        let root = geteuid().is_root();
        match self {
            Self::Nobody if root => {
                // By this path it can be executed whoever may enter the folders above it.
                let mut command = Command::new("/proc/self/exe");
                command.uid(NOBODY).gid(NOBODY);
                command
            }
            Self::Here | Self::Twice | Self::Nobody => Command::new("/proc/self/exe"),
            Self::Mounting => {
                let mut command = Command::new("unshare");
                command.arg("--mount");
                if !root {
                    // Whoever is not root is root in a namespace of users, and may mount there.
                    command.args(["--user", "--map-root-user"]);
                }
                command.arg(env::current_exe().unwrap());
                command
            }
        }
    }
}

/// Plays the case that this process was started for; `false` if it was started for none.
pub(crate) fn play_assigned(cases: &[Case]) -> bool {
    let Ok(name) = env::var(CASE) else { return false };
    let case = cases.iter().find(|case| case.name == name).expect("a case of this name");
    (case.act)(env::temp_dir());
    true
}

/// Runs a case to its end.
pub(crate) fn run(case: impl Future<Output = ()>) {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let ended = runtime.block_on(async { tokio::time::timeout(LIMIT, case).await });
    assert!(ended.is_ok(), "the case did not end within {LIMIT:?}");
}

/// Mounts a file system, in a process that may.
pub(crate) fn mount<'a>(arguments: impl IntoIterator<Item = &'a str>, at: &Path) {
    let output = Command::new("mount").args(arguments).arg(at).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "mounting needs root, or namespaces of users: {said}");
}
