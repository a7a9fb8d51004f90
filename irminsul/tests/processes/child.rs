//! Another process of this test, playing a role, and what the trials may do to it.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::roles;

/// After which a line that must come has not come.
const PATIENCE: Duration = Duration::from_mins(2);

/// A running child; killed when dropped.
pub(crate) struct Role {
    process: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Role {
    /// Starts a child that plays `role` on the store at `address`.
    pub(crate) fn start(role: &str, address: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .env(roles::ROLE, role)
            .env(roles::ADDRESS, address)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
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
        Self { process, input, lines }
    }

    /// Lets a child go on that waits for it.
    pub(crate) fn go(&mut self) {
        writeln!(self.input, "go").unwrap();
    }

    /// The next line that it says.
    pub(crate) fn line(&self) -> String {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("the child said nothing for {PATIENCE:?}"),
            Err(RecvTimeoutError::Disconnected) => panic!("the child ended"),
        }
    }

    /// Waits until it says `expected`.
    pub(crate) fn until(&self, expected: &str) {
        while self.line() != expected {}
    }

    /// Waits for its end, which must be a success.
    pub(crate) fn finish(mut self) {
        let status = self.process.wait().unwrap();
        assert!(status.success(), "the child failed: {status}");
    }

    /// Stops it, wherever it is.
    pub(crate) fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it run on.
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills it, and gives what it said that was not read.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.lines.iter().collect()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        // It has ended, or a trial failed: either way there is nobody left to tell.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
