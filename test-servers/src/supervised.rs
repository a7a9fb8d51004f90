//! A process that ends with those who use it, and the locks that say who does.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process},
};

/// What a server's life hangs on: all of them are files.
#[derive(Debug)]
pub(crate) struct Bonds<'p> {
    /// Locked while it is decided that a server begins or ends.
    pub(crate) door: &'p Path,
    /// Locked, shared, by each process that uses the server.
    pub(crate) users: &'p Path,
    /// Removed before the server is ended because nobody uses it.
    pub(crate) mark: &'p Path,
    /// Locked, shared, while the server's files are needed.
    pub(crate) kept: &'p Path,
    /// What the server prints.
    pub(crate) log: &'p Path,
}

/// A running server, in a process group of its own: what interrupts the tests does not reach it, and it ends with them.
#[derive(Debug)]
pub(crate) struct Supervised {
    supervisor: Child,
    server: Pid,
}

impl Supervised {
    /// Starts a server, whose caller holds a lock on `users`. `left_behind` are files that it leaves outside its folder.
    pub(crate) fn start(server: &Command, bonds: &Bonds<'_>, left_behind: &[String]) -> io::Result<Self> {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(include_str!("supervise.sh")).arg("supervise");
        shell.args([bonds.door, bonds.users, bonds.mark, bonds.kept, bonds.log]);
        shell.arg(server.get_program()).args(server.get_args());
        for (name, value) in server.get_envs() {
            shell.env(name, value.unwrap_or_default());
        }
        shell.env("LEFT_BEHIND", left_behind.join(" "));
        if let Some(directory) = server.get_current_dir() {
            shell.current_dir(directory);
        }
        let mut supervisor = shell.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(supervisor.stdout.take().expect("it is piped")).read_line(&mut line)?;
        let server = line.trim().parse().ok().and_then(Pid::from_raw);
        let server = server.ok_or_else(|| io::Error::other("the server's supervisor has ended"))?;
        Ok(Self { supervisor, server })
    }

    /// Whether it has not ended by itself.
    pub(crate) fn is_running(&mut self) -> io::Result<bool> {
        Ok(self.supervisor.try_wait()?.is_none())
    }

    /// Ends it at once (SIGKILL), and returns when it has ended.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        // Its supervisor reaps it, and ends a moment later: while that one runs, the id is the server's, or nobody's.
        if self.is_running()? {
            match kill_process(self.server, Signal::KILL) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            }
            self.supervisor.wait()?;
        }
        Ok(())
    }
}

/// Opens a file to be locked, and makes it if need be. Its content is left alone.
pub(crate) fn lockable(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_ended_by_itself_a_moment_ago_is_killed_without_an_error() {
        let mut server = Command::new("true").spawn().unwrap();
        server.wait().unwrap();
        // A supervisor that has reaped its server, and runs until its input ends.
        let supervisor = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut supervised = Supervised { supervisor, server: Pid::from_child(&server) };
        assert!(supervised.is_running().unwrap());
        supervised.kill().unwrap();
        assert!(!supervised.is_running().unwrap());
    }
}
