//! Other processes: the running program itself, started again to play a role on the same store.

use std::{
    env,
    io::{BufRead, BufReader, Write, stdin, stdout},
    os::unix::process::ExitStatusExt,
    panic::AssertUnwindSafe,
    process::{Child as Process, ChildStdin, Command, ExitStatus, Stdio, exit},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::{runtime::Builder, task::block_in_place};

use crate::{
    SharedFactory, children,
    clients::FreeToGo,
    failure::{Failure, Outcome},
    measured::Measured,
    patience::{Patience, TICK, heed_disk},
    roles::{self, Cue},
};

/// Holds the [`Part`] of a child.
const PART: &str = "IRMINSUL_CONFORMANCE_CHILD";

/// Whether this program starts as a child when it is asked to.
static ANSWERS: AtomicBool = AtomicBool::new(false);

/// What a child is to do.
#[derive(Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) factory: String,
    pub(crate) token: String,
    pub(crate) role: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) seed: u64,
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
            say(format_args!("{FAILED}{}", failure.to_line()));
            1
        }
    });
}

/// Precedes the failure that a child says at its end.
const FAILED: &str = "failed: ";

/// The failure in a line of a child.
fn failed(line: &str) -> Option<Failure> {
    Failure::from_line(line.strip_prefix(FAILED)?)
}

fn play(factory: Option<SharedFactory>, part: Part) -> Outcome {
    let Part { factory: name, token, role, arguments, seed } = part;
    let factory = factory.ok_or_else(|| Failure::harness(format_args!("no factory is named {name}")))?;
    heed_disk(factory.disk());
    let role = roles::by_name(&role).ok_or_else(|| Failure::harness(format_args!("no such role: {role}")))?;
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(Failure::harness)?;
    let playing = AssertUnwindSafe(role(Cue { factory, token, arguments, seed, calls: Arc::default() })).catch_unwind();
    runtime.block_on(playing).unwrap_or_else(|panic| Err(Failure::of_panic(&*panic)))
}

/// Says a line to whoever started this process, at once.
pub(crate) fn say(line: impl std::fmt::Display) {
    let mut stdout = stdout().lock();
    if writeln!(stdout, "{line}").and_then(|()| stdout.flush()).is_err() {
        // Nobody listens: the case has ended.
        exit(1);
    }
}

/// Says that what takes long goes on: who waits for a line has its whole patience again.
pub(crate) fn say_step() {
    say(STEP);
}

const STEP: &str = "step";

/// Waits for the next line from whoever started this process.
pub(crate) fn hear() -> String {
    let mut line = String::new();
    if stdin().read_line(&mut line).is_ok_and(|_| line.ends_with('\n')) {
        line.pop();
        return line;
    }
    // The case has ended.
    exit(1)
}

/// Waits until the case lets all children go on together.
pub(crate) fn wait_to_go() {
    say(READY);
    hear();
}

const READY: &str = "ready";

/// A child that was slow once is not waited for as long again.
const LONGEST_MOMENT: Duration = Duration::from_millis(100);

/// Another process on the same store; killed when dropped.
#[derive(Debug)]
pub(crate) struct Child {
    process: Process,
    input: ChildStdin,
    lines: Receiver<String>,
    patience: Duration,
    measured: Arc<Measured>,
}

impl Child {
    /// Starts it, also below another program, which is given this one as its last argument.
    pub(crate) fn start(
        part: &Part,
        below: Option<Command>,
        patience: Duration,
        measured: Arc<Measured>,
    ) -> Outcome<Self> {
        if !ANSWERS.load(Ordering::Acquire) {
            return Err(Failure::untested(
                "no other process: this program does not call `conformance::child` in `main`",
            ));
        }
        let _free = FreeToGo::now();
        let process = env::current_exe()
            .and_then(|program| {
                let mut command = match below {
                    Some(mut below) => {
                        below.arg(program);
                        below
                    }
                    None => Command::new(program),
                };
                command.env(PART, serde_json::to_string(part)?).stdin(Stdio::piped()).stdout(Stdio::piped());
                children::start(&mut command)
            })
            .map_err(|error| Failure::harness(format_args!("a child process did not start: {error}")))?;
        Self::of(process, patience, measured)
    }

    fn of(mut process: Process, patience: Duration, measured: Arc<Measured>) -> Outcome<Self> {
        let (input, output) = (process.stdin.take(), process.stdout.take());
        let (input, output) = input.zip(output).ok_or_else(|| Failure::harness("a child process without pipes"))?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            // A line that a kill cut short is not one that the child had finished writing.
            let mut output = BufReader::new(output);
            let mut line = String::new();
            while output.read_line(&mut line).is_ok_and(|len| len > 0) && line.ends_with('\n') {
                line.pop();
                if sender.send(std::mem::take(&mut line)).is_err() {
                    break;
                }
            }
        });
        Ok(Self { process, input, lines, patience, measured })
    }

    /// Lets a child go on that waits for it.
    pub(crate) fn go(&mut self) -> Outcome {
        self.tell("go")
    }

    /// Says a line to it.
    pub(crate) fn tell(&mut self, line: &str) -> Outcome {
        writeln!(self.input, "{line}").map_err(|error| self.ended().within(error))
    }

    /// The next line that it says.
    #[track_caller]
    pub(crate) fn line(&mut self) -> Outcome<String> {
        match self.next_line()? {
            Some(line) => Ok(line),
            None => Err(self.ended()),
        }
    }

    /// Waits until it is ready to go on with others.
    #[track_caller]
    pub(crate) fn until_ready(&mut self) -> Outcome {
        self.until(READY)
    }

    /// Waits until it says `expected`.
    #[track_caller]
    pub(crate) fn until(&mut self, expected: &str) -> Outcome {
        while self.line()? != expected {}
        Ok(())
    }

    /// Waits for its end, which must be a success; the lines that were not read.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Outcome<Vec<String>> {
        let mut lines = Vec::new();
        while let Some(line) = self.next_line()? {
            lines.push(line);
        }
        match self.end()? {
            End::Done => Ok(lines),
            end => Err(end.unexpected()),
        }
    }

    /// Kills it (SIGKILL) when it has said so many lines and a random part of a moment more has passed, which is as long as
    /// the longest wait for one of them was, where that is longer than `moment`. Gives all its lines. One that came to its
    /// end by itself is not accused.
    #[track_caller]
    pub(crate) fn kill_after(self, lines: usize, random: &mut fastrand::Rng, moment: Duration) -> Outcome<Vec<String>> {
        Ok(self.cut_off_after(lines, random, moment)?.lines)
    }

    /// The same, and whether the kill came before its end.
    #[track_caller]
    pub(crate) fn cut_off_after(self, lines: usize, random: &mut fastrand::Rng, moment: Duration) -> Outcome<CutOff> {
        let mut said = Vec::with_capacity(lines);
        let mut longest = Duration::ZERO;
        let mut asked = Instant::now();
        while said.len() < lines
            && let Some(line) = self.next_line()?
        {
            // The first comes when the child has started.
            if !said.is_empty() {
                longest = longest.max(asked.elapsed());
            }
            asked = Instant::now();
            said.push(line);
        }
        // Nothing is waited for: the kill is to hit the child anywhere between two lines.
        let moment = moment.max(longest.min(LONGEST_MOMENT)).mul_f64(random.f64());
        let began = Instant::now();
        while began.elapsed() < moment {
            std::hint::spin_loop();
        }
        let measured = Arc::clone(&self.measured);
        let (end, lines) = self.end_now()?;
        let killed = matches!(end, End::Killed);
        if killed {
            measured.count_kill();
        }
        said.extend(lines);
        Ok(CutOff { lines: said, killed })
    }

    /// Kills it (SIGKILL), and gives what it said that was not read.
    #[track_caller]
    pub(crate) fn kill(self) -> Outcome<Vec<String>> {
        Ok(self.end_now()?.1)
    }

    /// Kills it, and says how it ended.
    #[track_caller]
    fn end_now(mut self) -> Outcome<(End, Vec<String>)> {
        self.process.kill().map_err(Failure::harness)?;
        let end = self.end()?;
        let lines: Vec<String> = self.lines.iter().filter(|line| line != STEP).collect();
        if let Some(failure) = lines.iter().find_map(|line| failed(line)) {
            return Err(failure);
        }
        match end {
            End::Done | End::Killed => Ok((end, lines)),
            End::Crashed(_) => Err(end.unexpected().within("before it was killed")),
        }
    }

    /// Waits until it is gone, and says how.
    fn end(&mut self) -> Outcome<End> {
        children::forget(&self.process);
        let status = self.process.wait().map_err(Failure::harness)?;
        Ok(match status.signal() {
            _ if status.success() => End::Done,
            Some(signal) if signal == Signal::KILL.as_raw() => End::Killed,
            _ => End::Crashed(status),
        })
    }

    /// The next line that it says but for steps, unless it has ended.
    #[track_caller]
    fn next_line(&self) -> Outcome<Option<String>> {
        let mut patience = Patience::new(self.patience);
        loop {
            // What else the case does goes on meanwhile.
            match block_in_place(|| self.lines.recv_timeout(TICK)) {
                Ok(line) if line == STEP => patience = Patience::new(self.patience),
                Ok(line) => return failed(&line).map_or(Ok(Some(line)), Err),
                Err(RecvTimeoutError::Timeout) => patience.tick("another line from a child process")?,
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
    }

    /// The failure of a case whose child is not there any more: what it failed with, where it said that.
    #[track_caller]
    fn ended(&mut self) -> Failure {
        if let Some(failure) = self.lines.iter().find_map(|line| failed(&line)) {
            return failure;
        }
        match self.end() {
            Ok(end) => end.unexpected(),
            Err(failure) => failure,
        }
    }

    /// Stops it, wherever it is.
    pub(crate) fn stop(&self) -> Outcome {
        self.signal(Signal::STOP)
    }

    /// Lets it run on.
    pub(crate) fn resume(&self) -> Outcome {
        self.signal(Signal::CONT)
    }

    /// What kills it while others talk to it.
    pub(crate) fn killer(&self) -> Killer {
        Killer { process: Pid::from_child(&self.process), measured: Arc::clone(&self.measured) }
    }

    fn signal(&self, signal: Signal) -> Outcome {
        kill_process(Pid::from_child(&self.process), signal).map_err(Failure::harness)
    }
}

/// Kills a child, which is not waited for meanwhile: until then nobody else has its number.
#[derive(Debug)]
pub(crate) struct Killer {
    process: Pid,
    measured: Arc<Measured>,
}

impl Killer {
    pub(crate) fn kill(self) -> Outcome {
        kill_process(self.process, Signal::KILL).map_err(Failure::harness)?;
        self.measured.count_kill();
        Ok(())
    }
}

/// What is left of a child that was to be killed.
#[derive(Debug)]
pub(crate) struct CutOff {
    /// All that it said.
    pub(crate) lines: Vec<String>,
    /// Whether it had not come to its end by itself.
    pub(crate) killed: bool,
}

/// How a process ended.
#[derive(Debug)]
enum End {
    Done,
    /// By the suite, or by the system.
    Killed,
    Crashed(ExitStatus),
}

impl End {
    /// The failure of a case that asked for another end.
    #[track_caller]
    fn unexpected(&self) -> Failure {
        match self {
            Self::Done => Failure::broken("another process ended early"),
            Self::Killed => {
                Failure::inconclusive("the system killed another process, as it does where memory runs out")
            }
            Self::Crashed(status) => Failure::broken(format_args!("another process ended: {status}")),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It has ended, or a case failed: either way there is nobody left to tell.
        let _ = self.process.kill();
        children::forget(&self.process);
        let _ = self.process.wait();
    }
}

/// A shell in the place of a child.
#[cfg(test)]
pub(crate) fn shell(script: &str) -> Child {
    let process = Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    Child::of(process.expect("a shell"), Duration::from_mins(5), Arc::default()).expect("it has pipes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Kind;

    fn kind_of<T: std::fmt::Debug>(outcome: Outcome<T>) -> Kind {
        outcome.expect_err("it must not pass").kind()
    }

    #[test]
    fn a_process_that_the_system_killed_accuses_nobody() {
        const KILLED: &str = "kill -KILL $$";
        assert_eq!(kind_of(shell(KILLED).line()), Kind::Inconclusive);
        assert_eq!(kind_of(shell(KILLED).until_ready()), Kind::Inconclusive);
        assert_eq!(kind_of(shell(KILLED).finish()), Kind::Inconclusive);
    }

    #[test]
    fn a_process_that_crashes_accuses_the_store() {
        const CRASHED: &str = "kill -ABRT $$";
        assert_eq!(kind_of(shell(CRASHED).line()), Kind::Broken);
        assert_eq!(kind_of(shell(CRASHED).finish()), Kind::Broken);
    }

    #[test]
    fn a_process_that_ends_early_accuses_the_store() {
        assert_eq!(kind_of(shell("exit 0").line()), Kind::Broken);
    }
}
