//! The time of a run, and the programs that are run in it: none outlives it when a signal ends it.

use std::{
    fs::File,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};

pub(crate) const TICK: Duration = Duration::from_millis(50);

/// How long a program has to end that was told to.
const GRACE: Duration = Duration::from_secs(20);

/// Until when steps are begun: a signal that tells the run to end ends its time.
pub(crate) struct Clock {
    deadline: Instant,
    told_to_end: Arc<AtomicBool>,
}

impl Clock {
    pub(crate) fn start(limit: Duration) -> Result<Self> {
        let told_to_end = Arc::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            flag::register(signal, Arc::clone(&told_to_end))?;
        }
        Ok(Self { deadline: Instant::now() + limit, told_to_end })
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_told_to_end() || Instant::now() >= self.deadline
    }

    pub(crate) fn is_told_to_end(&self) -> bool {
        self.told_to_end.load(Ordering::Relaxed)
    }

    /// Runs a program to its end, also behind that of the time; nothing, where a signal ended it.
    pub(crate) fn run(&self, command: &mut Command, log: &Path) -> Result<Option<ExitStatus>> {
        ended(&mut start(command, log)?, || self.is_told_to_end())
    }

    /// Runs a program; nothing, where it had not ended when the time was over.
    pub(crate) fn run_in_time(&self, command: &mut Command, log: &Path) -> Result<Option<ExitStatus>> {
        ended(&mut start(command, log)?, || self.is_over())
    }
}

/// In a process group of its own: Ctrl-C is for the run, which ends what it started in the right order.
fn start(command: &mut Command, log: &Path) -> Result<Child> {
    let output = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    command.stdin(Stdio::null()).stderr(output.try_clone()?).stdout(output).process_group(0);
    command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))
}

fn ended(child: &mut Child, is_over: impl Fn() -> bool) -> Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if is_over() {
            end(child)?;
            return Ok(None);
        }
        thread::sleep(TICK);
    }
}

/// Tells a program to end, which may have to put things away, and kills what is left of it.
fn end(child: &mut Child) -> Result<()> {
    let group = Pid::from_child(child);
    // Either fails where nothing is left to be told.
    let _ = kill_process(group, Signal::TERM);
    let patience = Instant::now() + GRACE;
    while child.try_wait()?.is_none() && Instant::now() < patience {
        thread::sleep(TICK);
    }
    let _ = kill_process_group(group, Signal::KILL);
    child.wait()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Read};

    use tempfile::TempDir;

    use super::*;

    fn clock(limit: Duration) -> Clock {
        Clock { deadline: Instant::now() + limit, told_to_end: Arc::default() }
    }

    fn shell(script: &str) -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]);
        shell
    }

    #[test]
    fn a_program_ends_by_itself_and_what_it_says_is_kept() {
        let folder = TempDir::new().unwrap();
        let log = folder.path().join("log");
        // Its time is over, and it is not bound by that.
        let status = clock(Duration::ZERO).run(&mut shell("echo one; echo two >&2; exit 7"), &log).unwrap();
        assert_eq!(status.and_then(|status| status.code()), Some(7));
        assert_eq!(fs::read_to_string(&log).unwrap(), "one\ntwo\n");
    }

    #[test]
    fn a_program_that_is_ended_leaves_no_process() {
        let folder = TempDir::new().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let clock = clock(Duration::from_mins(10));
        let mut command = shell("sleep 600 >\"$0\" & wait");
        let mut child = start(command.arg(&pipe), &folder.path().join("log")).unwrap();
        // Opens when the other end is open, and ends when nobody has it open any more.
        let mut held = File::open(&pipe).unwrap();
        clock.told_to_end.store(true, Ordering::Relaxed);
        assert!(clock.is_over());
        assert!(ended(&mut child, || clock.is_told_to_end()).unwrap().is_none());
        assert_eq!(held.read(&mut [0]).unwrap(), 0);
    }
}
