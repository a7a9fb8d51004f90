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
    CheckedSubject, DeliveryPlan, DynSubject, Feeds, GrowthPlan, Load, Machine, Plan, Progress, Report, SlowPlan,
    StallPlan, Workload, by_durability, caught, measure_delivery, measure_slow, measure_stall,
};
use clap::Parser;
use store_api::{Error, ErrorKind, Result};

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
            eprintln!("comparison: {}", benches::with_causes(&error));
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
    report.check()?;
    let unequal = report.subjects.iter().find(|subject| subject.is_checked == Some(false));
    unequal.map_or(Ok(()), |subject| {
        let message = format!("{} is not as durable as its table says: see its syncs", subject.facts.name);
        Err(Error::new(ErrorKind::Other, message))
    })
}

/// A run under way. What its parts find goes into the report, which is kept after each of them.
struct Run<'a> {
    arguments: &'a Arguments,
    report: Report,
    progress: Progress,
    /// How many steps are over.
    steps: u64,
}

impl Run<'_> {
    /// Takes the rows of a part of so many steps; one that failed is named and has none, and the others go on.
    fn take<R>(
        &mut self,
        what: impl Into<String>,
        steps: usize,
        found: Result<Vec<R>>,
        rows: fn(&mut Report) -> &mut Vec<R>,
    ) -> Result<()> {
        self.report.take(what, found, rows);
        self.over(steps as u64)
    }

    fn over(&mut self, steps: u64) -> Result<()> {
        self.steps += steps;
        self.progress.reached(self.steps);
        keep(&mut self.report, self.arguments)
    }
}

async fn measure(arguments: &Arguments, plans: &Plans, place: &Path) -> Result<Report> {
    let subjects = Subjects::all(plans.load.value_len)?;
    let all: Vec<&dyn DynSubject> = subjects.all.iter().map(|subject| &**subject).collect();
    let levels = by_durability(&all);
    let loads = levels.each_ref().map(|(level, subjects)| {
        let load = Load { subjects: subjects.as_slice(), workloads: &Workload::ALL, plan: &plans.load };
        (*level, load)
    });
    let (feeds, sleepers, ours, watchers) = (feeds(), sleepers(), subjects.ours(), plans.delivery.watchers.len());
    let others =
        subjects.all.len() + feeds.len() * watchers + sleepers.len() + ours.len() + growing::SUBJECTS.len() + 1;
    let steps = loads.iter().map(|(_, load)| load.runs()).sum::<u64>() + others as u64;

    let machine = Machine::before(place, "the directory of the stores")?;
    let report = Report::new(arguments.command(), machine, plans.load.clone());
    let mut run = Run { arguments, report, progress: Progress::start(steps), steps: 0 };
    if let Some(directory) = &arguments.criterion {
        run.report.singles = singles::read(directory)?;
    }
    let counting = Counting::mount()?;
    for subject in &subjects.all {
        let syncs = counting.count(&**subject, &plans.load, &run.progress).await?;
        run.report.subjects.push(CheckedSubject::new(subject.facts(), syncs));
    }
    run.report.subjects.push(CheckedSubject::new(peers::broadcast::Broadcast.facts(), None));
    run.over(subjects.all.len() as u64)?;
    for (level, load) in loads {
        run.report.take_loads(level, benches::measure_load(load, place, &run.progress).await);
        run.over(load.runs())?;
    }
    for feed in feeds {
        let found = caught(measure_delivery(&*feed, place, &plans.delivery, &run.progress)).await;
        run.take(format!("delivery: {}", feed.facts().name), watchers, found, |report| &mut report.deliveries)?;
    }
    for feed in sleepers {
        let found = caught(measure_slow(&*feed, place, &plans.slow, &run.progress)).await.map(|row| vec![row]);
        run.take(format!("a watcher that never looks: {}", feed.facts().name), 1, found, |report| &mut report.slow)?;
    }
    for subject in ours {
        let found = caught(measure_stall(subject, place, &plans.stall, &run.progress)).await.map(|row| vec![row]);
        run.take(format!("a neighbour of {}", subject.facts().name), 1, found, |report| &mut report.stalls)?;
    }
    for subject in growing::SUBJECTS {
        let found = growing::in_a_process(subject, arguments, &run.progress).map(|row| vec![row]);
        run.take(format!("growth: {subject}"), 1, found, |report| &mut report.growth)?;
    }
    run.progress.doing("object stores");
    let found = caught(remote::measure(plans.remote)).await;
    run.take("object stores", 1, found, |report| &mut report.remote)?;
    Ok(run.report.ended())
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
