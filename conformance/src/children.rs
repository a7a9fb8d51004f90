//! The processes that the suite has running: how they are started, and how all of them are ended.

use std::{
    io,
    process::{Child as Process, Command, Output},
    sync::Mutex,
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::lock::lock;

/// Held while a process is started.
static RUNNING: Mutex<Running> = Mutex::new(Running { processes: Vec::new(), ended: false });

struct Running {
    processes: Vec<Pid>,
    /// Whether all of them were ended: none is started any more.
    ended: bool,
}

/// Starts a process. Whoever did calls [`forget`] before it takes its status.
pub(crate) fn start(command: &mut Command) -> io::Result<Process> {
    let mut running = lock(&RUNNING);
    if running.ended {
        return Err(io::Error::other("the suite was told to end"));
    }
    let process = command.spawn()?;
    running.processes.push(Pid::from_child(&process));
    Ok(process)
}

/// Runs a process to its end.
pub(crate) fn output(command: &mut Command) -> io::Result<Output> {
    let process = start(command)?;
    forget(&process);
    process.wait_with_output()
}

/// Leaves it to whoever started a process to end it: once its status was taken, another one may have its number.
pub(crate) fn forget(process: &Process) {
    let process = Pid::from_child(process);
    lock(&RUNNING).processes.retain(|running| *running != process);
}

/// Waits until no process is being started. One that is has a copy of each open file until its program begins: a lock on
/// a file that was closed meanwhile is still held.
pub(crate) fn wait_while_one_starts() {
    drop(lock(&RUNNING));
}

/// Ends (SIGKILL) the processes that cases have started, and lets them start no more: for a program that gives up a run
/// and removes its stores, which they would go on to write, or make anew.
///
/// The run itself goes on, and its cases fail.
pub fn end_children() {
    let mut running = lock(&RUNNING);
    running.ended = true;
    let processes = std::mem::take(&mut running.processes);
    for process in &processes {
        // Nobody has taken its status, since that waits for the lock; so it is there, dead or alive.
        let _ = kill_process(*process, Signal::KILL);
    }
    drop(running);
    for process in processes {
        // Its case may have taken its status, and then it is gone as well.
        let _ = waitid(WaitId::Pid(process), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
    }
}
