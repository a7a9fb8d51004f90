//! The comparison: our backends beside the engines below them and beside their peers, in one run on one machine.
//!
//! `scripts/bench` runs it in full. Without `--bench`, which cargo passes to a benchmark, it runs each part once in its
//! shortest form: a test that none rots.

#[path = "../../engines/mod.rs"]
mod engines;
mod growing;
mod peers;
mod remote;
mod singles;
mod subjects;
mod syncing;
mod targets;

use std::{
    fs,
    num::NonZeroU64,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use benches::{
    DeliveryPlan, Feeds, GrowthPlan, Load, Machine, Measure, Measured, Plan, Progress, Report, SlowPlan, StallPlan,
    Workload, delivery, load, slow, stall,
};
use clap::Parser;
use store_api::{Durability, Error, ErrorKind, Result};

use self::{
    subjects::{Subjects, feeds, sleepers},
    syncing::Counting,
};

/// Compare the backends of irminsul with the engines below them and with their peers
#[derive(Parser)]
#[command(name = "comparison")]
struct Arguments {
    /// A first impression in two minutes
    #[arg(long)]
    quick: bool,
    /// Where the stores lie while they are measured: on the disk that matters [default: the temporary directory]
    #[arg(long, value_name = "DIR")]
    place: Option<PathBuf>,
    /// Write report.html, report.json and report.md into a directory
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Where criterion left what the micro benchmarks measured
    #[arg(long, value_name = "DIR")]
    criterion: Option<PathBuf>,
    /// How many runs there are of each row, of which the median counts [default: 5, or 1 with --quick]
    #[arg(long, value_name = "N")]
    runs: Option<NonZeroU64>,
    /// Up to how many records stores grow
    #[arg(long, value_name = "N", default_value_t = 10_000_000)]
    largest: u64,
    /// Measure the growth of one subject and write it to standard output: what this program asks of a copy of itself
    #[arg(long, value_name = "SUBJECT", hide = true)]
    grow: Option<String>,
    /// What cargo passes to a benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// How thorough each part is.
struct Plans {
    load: Plan,
    stall: StallPlan,
    delivery: DeliveryPlan,
    slow: SlowPlan,
    growth: GrowthPlan,
    /// How often each operation is done behind a network.
    remote: u64,
}

impl Arguments {
    fn plans(&self) -> Plans {
        let (mut load, watchers, changes, records): (Plan, &[usize], _, &[u64]) = match (self.bench, self.quick) {
            (false, _) => (Plan::quick(Duration::from_millis(20)), &[0, 1, 10], 10, &[500, 1000]),
            (true, true) => (Plan::quick(Duration::from_millis(160)), &[0, 1, 100], 100, &[1000, 10_000]),
            (true, false) => (Plan::full(), &[0, 1, 100, 10_000], 1000, &[10_000, 100_000, 1_000_000, 10_000_000]),
        };
        load.runs = self.runs.map_or(load.runs, NonZeroU64::get);
        let value_len = load.value_len;
        let records = records.iter().copied().filter(|count| *count <= self.largest).collect();
        let duration = load.duration;
        let slept_through = if !self.bench {
            100
        } else if self.quick {
            5000
        } else {
            50_000
        };
        // A percentile of 99.9 asks for ten thousand wakes and more, one in a millisecond.
        let stalled = if self.bench && !self.quick { Duration::from_secs(20) } else { duration };
        let mut stall = StallPlan { load: load.clone() };
        stall.load.duration = stalled;
        Plans {
            load,
            stall,
            delivery: DeliveryPlan { watchers: watchers.to_vec(), changes, value_len },
            slow: SlowPlan { changes: slept_through, value_len: 1024 },
            growth: GrowthPlan { records, value_len, duration },
            remote: if self.bench && !self.quick { 100 } else { 10 },
        }
    }

    /// What measures it again.
    fn command(&self) -> String {
        let quick = if self.quick { " --quick" } else { "" };
        let place = self.place.as_ref();
        let place = place.map_or_else(String::new, |place| format!("IRMINSUL_BENCH_PLACE='{}' ", place.display()));
        let largest = if self.largest < 10_000_000 { format!(" --largest {}", self.largest) } else { String::new() };
        let runs = self.runs.map_or_else(String::new, |runs| format!(" --runs {runs}"));
        format!("{place}scripts/bench{quick}{runs}{largest}")
    }
}

fn main() -> ExitCode {
    // This program is also the one that serves the file system that counts syncs.
    if let Some(ended) = faulty_fs::serve_if_asked() {
        return ended;
    }
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime starts");
    match runtime.block_on(run(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let source = std::error::Error::source(&error).map_or_else(String::new, |source| format!(": {source}"));
            eprintln!("comparison: {error}{source}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<()> {
    let scratch = match &arguments.place {
        Some(place) => tempfile::tempdir_in(place),
        None => tempfile::tempdir(),
    };
    let scratch = scratch.map_err(|source| refused("the directory of the stores", source))?;
    let plans = arguments.plans();
    if let Some(name) = &arguments.grow {
        return growing::grow(name, scratch.path(), &plans.growth).await;
    }
    let report = measure(arguments, &plans, scratch.path()).await?;
    println!("{report}");
    if let Some(failed) = report.failed.first() {
        return Err(Error::new(ErrorKind::Other, format!("a part of the run failed, {}: {}", failed.what, failed.why)));
    }
    let unequal = report.subjects.iter().find(|subject| subject.is_checked == Some(false));
    unequal.map_or(Ok(()), |subject| {
        let message = format!("{} is not as durable as its table says: see its syncs", subject.facts.name);
        Err(Error::new(ErrorKind::Other, message))
    })
}

async fn measure(arguments: &Arguments, plans: &Plans, place: &Path) -> Result<Report> {
    let subjects = Subjects::all(plans.load.value_len)?;
    let machine = Machine::before(place, "the directory of the stores")?;
    let mut report = Report::new(arguments.command(), machine, plans.load.clone());
    let loads: Vec<Vec<&dyn Measured>> =
        [Durability::Power, Durability::Process, Durability::Volatile].map(|level| subjects.with(level)).into();
    let loads = || loads.iter().map(|subjects| Load { subjects, workloads: &Workload::ALL, plan: &plans.load });
    let feeds = feeds();
    let growing = growing::SUBJECTS.len();
    let steps = 1
        + sleepers().len()
        + feeds.len() * plans.delivery.watchers.len()
        + subjects.ours().len()
        + growing
        + subjects.all.len();
    let progress = Progress::start(loads().map(|load| load.runs()).sum::<u64>() + steps as u64);

    if let Some(directory) = &arguments.criterion {
        report.singles = singles::read(directory)?;
    }
    let counting = Counting::mount()?;
    for subject in &subjects.all {
        let syncs = counting.count(&**subject, &plans.load, &progress).await?;
        report.subjects.push(Measure::new(subject.facts(), syncs));
    }
    report.subjects.push(Measure::new(peers::broadcast::Broadcast.facts(), None));
    for level in loads() {
        let found = load(level, place, &progress).await;
        let rows = report.take("a table of loads", found).unwrap_or_default();
        report.load.extend(rows);
        keep(&mut report, arguments)?;
    }
    for feed in feeds {
        let found = delivery(&*feed, place, &plans.delivery, &progress).await;
        let rows = report.take(format!("delivery: {}", feed.facts().name), found).unwrap_or_default();
        report.deliveries.extend(rows);
        keep(&mut report, arguments)?;
    }
    for feed in sleepers() {
        let found = slow(&*feed, place, &plans.slow, &progress).await;
        let rows = report.take(format!("a watcher that never looks: {}", feed.facts().name), found);
        report.slow.extend(rows);
        keep(&mut report, arguments)?;
    }
    for subject in subjects.ours() {
        let found = stall(subject, place, &plans.stall, &progress).await;
        let rows = report.take(format!("a neighbour of {}", subject.facts().name), found);
        report.stalls.extend(rows);
        keep(&mut report, arguments)?;
    }
    for subject in growing::SUBJECTS {
        let found = growing::in_a_process(subject, arguments, &progress);
        let rows = report.take(format!("growth: {subject}"), found);
        report.growth.extend(rows);
        keep(&mut report, arguments)?;
    }
    progress.doing("object stores");
    let found = remote::measure(plans.remote).await;
    report.remote = report.take("object stores", found).unwrap_or_default();
    keep(&mut report, arguments)?;
    progress.done();
    Ok(report.ended())
}

/// Writes what there is, after each part: what ends a run takes none of it away.
fn keep(report: &mut Report, arguments: &Arguments) -> Result<()> {
    report.headlines = targets::of(report);
    let Some(directory) = &arguments.report else { return Ok(()) };
    fs::create_dir_all(directory).map_err(|source| refused("the directory of the report", source))?;
    for (name, text) in report.clone().ended().files() {
        fs::write(directory.join(name), text).map_err(|source| refused("the report", source))?;
    }
    Ok(())
}

/// Says what the run goes on without; that is an error where nothing may be missing.
fn missing(what: &str) -> Result<()> {
    if std::env::var_os("IRMINSUL_EQUIPPED").is_some() {
        return Err(Error::new(ErrorKind::Unsupported, what.to_owned()));
    }
    eprintln!("comparison: {what}");
    Ok(())
}

fn refused(what: &str, source: std::io::Error) -> Error {
    Error::new(ErrorKind::Other, format!("{what}: the file system refused")).with_source(source)
}
