//! Other processes: the running program itself, started again to play a role on the same store.

use std::{
    env,
    io::{BufRead, BufReader, Write, stdin, stdout},
    process::{Child as Process, ChildStdin, Command, Stdio, exit},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use crate::{
    Settings, SharedFactory,
    context::Instance,
    failure::{Failure, Outcome},
    patience::{Patience, TICK},
    roles,
};

/// Holds the [`Part`] of a child.
const PART: &str = "IRMINSUL_CONFORMANCE_CHILD";

/// Whether this program starts as a child when it is asked to.
static ANSWERS: AtomicBool = AtomicBool::new(false);

/// What a child is to do.
#[derive(Serialize, Deserialize)]
struct Part {
    factory: String,
    token: String,
    role: String,
    arguments: Vec<String>,
    seed: u64,
}

/// Plays the part of another process, where the suite started this program as one; then it does not return. Call it
/// first thing in `main`, before anything is printed or a thread is started: a program that does not is never a child,
/// and the cases that need other processes are untested.
///
/// `factory` gives the factory of a name, as [`Factory::name`](crate::Factory::name) has it. The [`suite!`](crate::suite)
/// macro calls this itself.
pub fn child(factory: impl FnOnce(&str) -> Option<SharedFactory>) {
    ANSWERS.store(true, Ordering::Release);
    let Some(part) = env::var_os(PART) else { return };
    let played = serde_json::from_slice(part.as_encoded_bytes())
        .map_err(Failure::harness)
        .and_then(|part: Part| play(factory(&part.factory), part));
    exit(match played {
        Ok(()) => 0,
        Err(failure) => {
            say(format_args!("{FAILED}{failure}"));
            1
        }
    });
}

/// Precedes what a child says when it ends with a failure.
const FAILED: &str = "failed: ";

fn play(factory: Option<SharedFactory>, part: Part) -> Outcome {
    let Part { factory: name, token, role, arguments, seed } = part;
    let factory = factory.ok_or_else(|| Failure::harness(format_args!("no factory is named {name}")))?;
    let role = roles::by_name(&role).ok_or_else(|| Failure::harness(format_args!("no such role: {role}")))?;
    Runtime::new().map_err(Failure::harness)?.block_on(async move {
        let instance = Instance::new(factory.open(&token, &Settings::default()).await?);
        role(roles::Cue { instance, arguments, seed }).await
    })
}

/// Says a line to whoever started this process, at once.
pub(crate) fn say(line: impl std::fmt::Display) {
    let mut stdout = stdout().lock();
    if writeln!(stdout, "{line}").and_then(|()| stdout.flush()).is_err() {
        // Nobody listens: the case has ended.
        exit(1);
    }
}

/// Waits until the case lets all children go on together.
pub(crate) fn wait_to_go() {
    say(READY);
    if stdin().read_line(&mut String::new()).is_ok_and(|read| read > 0) {
        return;
    }
    exit(1);
}

const READY: &str = "ready";

/// Another process on the same store; killed when dropped.
#[derive(Debug)]
pub(crate) struct Child {
    process: Process,
    input: ChildStdin,
    lines: Receiver<String>,
    patience: Duration,
}

impl Child {
    pub(crate) fn start(
        factory: &str,
        token: &str,
        role: &str,
        arguments: &[&str],
        seed: u64,
        patience: Duration,
    ) -> Outcome<Self> {
        if !ANSWERS.load(Ordering::Acquire) {
            return Err(Failure::untested(
                "no other process: this program does not call `conformance::child` in `main`",
            ));
        }
        let part = Part {
            factory: factory.to_owned(),
            token: token.to_owned(),
            role: role.to_owned(),
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            seed,
        };
        let mut process = env::current_exe()
            .and_then(|program| {
                Command::new(program)
                    .env(PART, serde_json::to_string(&part)?)
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .spawn()
            })
            .map_err(|error| Failure::harness(format_args!("a child process did not start: {error}")))?;
        let (input, output) = (process.stdin.take(), process.stdout.take());
        let (input, output) = input.zip(output).ok_or_else(|| Failure::harness("a child process without pipes"))?;
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
        Ok(Self { process, input, lines, patience })
    }

    /// Lets a child go on that waits for it.
    pub(crate) fn go(&mut self) -> Outcome {
        writeln!(self.input, "go").map_err(|error| Failure::broken(format_args!("a child process ended: {error}")))
    }

    /// The next line that it says.
    pub(crate) fn line(&self) -> Outcome<String> {
        let mut patience = Patience::new(self.patience);
        loop {
            match self.lines.recv_timeout(TICK) {
                Ok(line) => {
                    return match line.strip_prefix(FAILED) {
                        Some(failure) => Err(Failure::broken(format_args!("in another process: {failure}"))),
                        None => Ok(line),
                    };
                }
                Err(RecvTimeoutError::Timeout) => patience.tick("another line from a child process")?,
                Err(RecvTimeoutError::Disconnected) => return Err(Failure::broken("a child process ended")),
            }
        }
    }

    /// The lines that it has said and that were not read.
    pub(crate) fn said(&self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    /// Waits until it is ready to go on with others.
    pub(crate) fn until_ready(&self) -> Outcome {
        self.until(READY)
    }

    /// Waits until it says `expected`.
    pub(crate) fn until(&self, expected: &str) -> Outcome {
        while self.line()? != expected {}
        Ok(())
    }

    /// Waits for its end, which must be a success; the lines that were not read.
    pub(crate) fn finish(mut self) -> Outcome<Vec<String>> {
        let mut lines = Vec::new();
        let mut patience = Patience::new(self.patience);
        loop {
            match self.lines.recv_timeout(TICK) {
                Ok(line) => lines.push(line),
                Err(RecvTimeoutError::Timeout) => patience.tick("the end of a child process")?,
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let status = self.process.wait().map_err(Failure::harness)?;
        if status.success() {
            return Ok(lines);
        }
        let failure = lines.iter().find_map(|line| line.strip_prefix(FAILED));
        let failure = failure.map_or_else(|| status.to_string(), str::to_owned);
        Err(Failure::broken(format_args!("in another process: {failure}")))
    }

    /// Stops it, wherever it is.
    pub(crate) fn stop(&self) -> Outcome {
        self.signal(Signal::STOP)
    }

    /// Lets it run on.
    pub(crate) fn resume(&self) -> Outcome {
        self.signal(Signal::CONT)
    }

    /// Kills it (SIGKILL), and gives what it said that was not read.
    pub(crate) fn kill(mut self) -> Outcome<Vec<String>> {
        self.process.kill().map_err(Failure::harness)?;
        self.process.wait().map_err(Failure::harness)?;
        Ok(self.lines.iter().collect())
    }

    fn signal(&self, signal: Signal) -> Outcome {
        kill_process(Pid::from_child(&self.process), signal).map_err(Failure::harness)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It has ended, or a case failed: either way there is nobody left to tell.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
