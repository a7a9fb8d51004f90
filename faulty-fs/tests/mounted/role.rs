//! Another process of this target, playing a role on a path.

use std::{
    env,
    fs::File,
    io::{BufRead, BufReader, Write, stdin, stdout},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::Duration,
};

use rustix::fs::{FlockOperation, fcntl_lock};

use crate::{program, sqlite};

/// The variable that names the role.
const ROLE: &str = "FAULTY_FS_TEST_ROLE";

/// The variable with the path that it is played on.
const PATH: &str = "FAULTY_FS_TEST_PATH";

/// After which a line that must come has not come.
const PATIENCE: Duration = Duration::from_mins(2);

/// The role that this process was started for.
pub(crate) fn assigned() -> Option<String> {
    env::var(ROLE).ok()
}

/// Plays a role to its end.
pub(crate) fn play(role: &str) -> ExitCode {
    let path = PathBuf::from(env::var_os(PATH).expect("a role has a path"));
    match role {
        "lock" => hold_locks(&path),
        "mount" => program::mount(&path),
        pragmas => sqlite::write_rows(&path, pragmas),
    }
    ExitCode::SUCCESS
}

/// Says a line at once.
pub(crate) fn say(line: impl std::fmt::Display) {
    let mut stdout = stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).expect("the trial listens");
}

/// Stays until the trial ends this process, or itself.
pub(crate) fn stay() {
    stdin().read_line(&mut String::new()).expect("the trial holds the other end");
}

fn hold_locks(path: &Path) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
    file.try_lock().unwrap();
    say("posix and flock held");
    stay();
}

/// A running child; killed when dropped.
pub(crate) struct Role {
    process: Child,
    lines: Receiver<String>,
}

impl Role {
    /// Starts a child that plays a role.
    pub(crate) fn start(role: &str, path: &Path) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        Self::run(command.env(ROLE, role).env(PATH, path))
    }

    /// Starts a program.
    pub(crate) fn run(command: &mut Command) -> Self {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = process.stdout.take().unwrap();
        let (send, lines) = channel();
        std::thread::spawn(move || {
            // A line that a kill cut short is not one that the child had finished writing.
            let mut output = BufReader::new(output);
            let mut line = String::new();
            while output.read_line(&mut line).is_ok_and(|len| len > 0) && line.ends_with('\n') {
                line.pop();
                if send.send(std::mem::take(&mut line)).is_err() {
                    break;
                }
            }
        });
        Self { process, lines }
    }

    /// The next line that it says.
    pub(crate) fn line(&self) -> String {
        self.next_line().expect("the child ended")
    }

    /// The next line, or none when every process that could say one has ended.
    pub(crate) fn next_line(&self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("the child said nothing for {PATIENCE:?}"),
        }
    }

    /// Waits until it says `expected`.
    pub(crate) fn until(&self, expected: &str) {
        while self.line() != expected {}
    }

    /// Kills it, and gives what it said that was not read.
    pub(crate) fn kill(&mut self) -> Vec<String> {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        std::iter::from_fn(|| self.next_line()).collect()
    }

    pub(crate) fn process(&mut self) -> &mut Child {
        &mut self.process
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        // It has ended, or a trial failed: either way there is nobody left to tell.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
