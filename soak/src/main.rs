//! The long runs, which CI has no time for. `scripts/soak` starts it at the top of the checkout.

mod clock;
mod code;
mod faulty;
mod logs;
mod programs;
mod rows;
mod state;
mod steps;
mod summary;

use std::{fs, num::NonZero, process::ExitCode, thread::available_parallelism, time::Duration};

use anyhow::{Context, Result};
use clap::Parser;

use crate::{
    clock::Clock,
    code::Code,
    faulty::Disks,
    programs::Programs,
    rows::{Row, Work},
    state::State,
    steps::Runner,
    summary::Outcome,
};

/// The long runs, which CI has no time for: the conformance suite with many seeds on stores that are sound and on broken
/// ones, every case on every broken store, load, the hostile and faulty object stores, the fuzzer
///
/// What was done is kept by what the code is, documents and benchmarks left out, and the next run goes on there. The
/// summary ends with rows for the figures in docs/reliability.md. A signal ends the time early.
///
/// Exit codes: 0 all was run and nothing failed; 1 something did; 2 it cannot run; 3 something is left to be run, or could
/// not be for want of equipment.
#[derive(Parser)]
#[command(name = "scripts/soak", bin_name = "scripts/soak")]
struct Arguments {
    /// How many minutes it may run, behind what it builds
    #[arg(default_value_t = 60)]
    minutes: u32,
    /// How many steps are made at once, of different rows [default: one for each core]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZero<usize>>,
    /// Only the row of this name, or, where none has it, those whose name contains it; with several, any of them
    #[arg(long, value_name = "PATTERN")]
    only: Vec<String>,
    /// Tell what is done of each row and what is left, and run nothing
    #[arg(long)]
    list: bool,
    /// How cargo is to build what is run
    #[arg(last = true, hide = true)]
    build: Vec<String>,
}

fn main() -> ExitCode {
    if let Some(served) = faulty_fs::serve_if_asked() {
        return served;
    }
    match run(&Arguments::parse()) {
        Ok(outcome) => outcome.into(),
        Err(error) => {
            eprintln!("scripts/soak: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<Outcome> {
    let all = rows::all(fuzz_targets()?);
    let chosen = rows::chosen(&all, &arguments.only)?;
    let code = Code::of_head()?;
    let state = State::of(&code.digest)?;
    say("rows", &code);
    if arguments.list {
        tell(&state, &chosen, 1)?;
        return Ok(Outcome::Complete);
    }
    code::refuse_changes()?;
    let _held = state.hold()?;
    let jobs = arguments.jobs.or_else(|| available_parallelism().ok()).map_or(1, NonZero::get);
    println!("{}", summary::estimate(&state.done_of(&chosen)?, jobs));
    println!("building (the first time RocksDB, too: 10 to 20 minutes)");
    let programs = Programs::build(&chosen, &arguments.build)?;
    make_steps(&state, &programs, &chosen, arguments.minutes, jobs)?;

    say("summary", &code);
    tell(&state, &chosen, jobs)?;
    say("figures for docs/reliability.md", &code);
    for (what, figure) in summary::figures(&state.done_of(&all)?) {
        println!("| {what} | `scripts/soak` | {figure} |");
    }
    Ok(summary::outcome(&state.done_of(&chosen)?))
}

fn make_steps(state: &State, programs: &Programs, rows: &[Row], minutes: u32, jobs: usize) -> Result<()> {
    let clock = Clock::start(Duration::from_mins(minutes.into()))?;
    let need_disks = rows.iter().any(|row| matches!(row.work, Work::Suite { .. }));
    let disks = if need_disks { Disks::find()? } else { None };
    Runner { state, programs, disks: disks.as_ref(), clock: &clock, minutes }.run(rows, jobs)
}

fn say(what: &str, code: &Code) {
    println!("\n== {what} of commit {}, code {}", code.commit, code.digest);
}

fn tell(state: &State, rows: &[Row], jobs: usize) -> Result<()> {
    let rows = state.done_of(rows)?;
    for row in &rows {
        println!("{}", summary::line(row));
    }
    println!("{}", summary::estimate(&rows, jobs));
    Ok(())
}

fn fuzz_targets() -> Result<u32> {
    let folder = "fuzz/targets";
    let files = fs::read_dir(folder).with_context(|| format!("no {folder} here: start scripts/soak"))?;
    Ok(files.map(|_| 1).sum())
}
