//! `bench`: how fast stores are, on this machine, by their addresses.

mod stores;

use std::{
    io,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use benches::{
    DeliveryPlan, Load, Machine, Measure, Measured, Nothing, Plan, Progress, Report, StallPlan, Watched, Workload,
    delivery, stall,
};
use clap::Args;
use futures_util::future::join_all;
use irminsul::{Address, Durability, Registry};

use self::stores::Benched;
use super::conform::Tested;
use crate::{
    failure::Failure,
    file::{create_directory, write_file},
    outcome::Outcome,
    output::Output,
    signal::told_to_end,
};

/// Measure how fast stores are on this machine: throughput, percentiles, watches, and what their load does to others
///
/// It works on fresh stores beside or below each address, leaves what is there alone, and removes them again, also when it
/// is interrupted. Stores are compared with those of the same durability, which is the one that they declare; a store that
/// does nothing shows the cost of measuring.
#[derive(Args)]
pub(crate) struct Bench {
    /// The addresses of the stores
    #[arg(value_name = "STORE", required = true)]
    stores: Vec<Address>,
    /// A first impression in a few seconds for each store, instead of a minute
    #[arg(long)]
    quick: bool,
    /// How many clients a store has at a time, such as 1,64
    #[arg(long, value_name = "N", value_delimiter = ',')]
    clients: Vec<NonZeroUsize>,
    /// How many bytes a value has [default: 128]
    #[arg(long, value_name = "BYTES")]
    value: Option<usize>,
    /// How many records a store has before it is measured [default: 10000, or 1000 with --quick]
    #[arg(long, value_name = "N")]
    records: Option<NonZeroUsize>,
    /// Write report.html, report.json and report.md into a directory
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
}

/// The tables: what is in one is as durable.
const LEVELS: [Durability; 4] = [Durability::Power, Durability::Process, Durability::Volatile, Durability::Service];

/// How long a run of `--quick` is: a median of many operations.
const QUICK: Duration = Duration::from_millis(200);

impl Bench {
    pub(crate) async fn run(self, registry: &Registry, output: &mut Output) -> Result<Outcome, Failure> {
        let plan = self.plan()?;
        if let Some(directory) = &self.report {
            create_directory(directory)?;
        }
        let stores: Vec<Arc<Tested>> =
            self.stores.iter().map(|address| Arc::new(Tested::new(registry, address))).collect();
        let ended = tokio::select! {
            signal = told_to_end() => signal.map_or_else(|error| Err(Failure::Signal(error)), |()| Err(Failure::Interrupted)),
            measured = self.measure(registry, &stores, plan) => measured,
        };
        // A store that hangs would hold this up: a second signal ends it.
        tokio::select! {
            _ = told_to_end() => {}
            _ = join_all(stores.iter().map(|store| store.remove_all())) => {}
        }
        let report = ended?;
        self.write(&report, output)?;
        report.check()?;
        Ok(Outcome::Fine)
    }

    fn plan(&self) -> Result<Plan, Failure> {
        if (1..self.stores.len()).any(|index| self.stores[..index].contains(&self.stores[index])) {
            return Err(Failure::refused("a store is named twice: name it once"));
        }
        let mut plan = if self.quick { Plan::quick(QUICK) } else { Plan::full() };
        if let Some(largest) = self.clients.iter().max() {
            plan.clients.clone_from(&self.clients);
            plan.typical_clients = *largest;
        }
        plan.value_len = self.value.unwrap_or(plan.value_len);
        plan.records = self.records.map_or(plan.records, NonZeroUsize::get);
        plan.check()?;
        Ok(plan)
    }

    async fn measure(&self, registry: &Registry, stores: &[Arc<Tested>], plan: Plan) -> Result<Report, Failure> {
        let mut benched = Vec::new();
        for (store, address) in stores.iter().zip(&self.stores) {
            benched.push(Benched::probe(Arc::clone(store), registry, address).await?);
        }
        let scratch = tempfile::tempdir().map_err(temporary)?;
        let place = scratch.path();
        let machine = match beside_a_file(&benched, &self.stores) {
            Some(beside) => {
                let beside = tempfile::tempdir_in(beside).map_err(temporary)?;
                Machine::before(beside.path(), "a directory beside the first store in files")?
            }
            None => Machine::before(place, "the temporary directory")?,
        };
        let nothing = Nothing { value: vec![b'.'; plan.value_len].into() };
        let benched: Vec<&Benched> = benched.iter().collect();
        let subjects: Vec<&dyn Measured> =
            benched.iter().map(|store| store as &dyn Measured).chain([&nothing as &dyn Measured]).collect();
        let levels = LEVELS
            .map(|level| subjects.iter().copied().filter(|subject| subject.facts().durability == level).collect());
        let loads = || levels.iter().map(|subjects: &Vec<_>| Load { subjects, workloads: &Workload::ALL, plan: &plan });
        let watch = DeliveryPlan { watchers: vec![0, 1, 100], changes: 200, value_len: plan.value_len };
        let others = benched.len() * (watch.watchers.len() + 1);
        let progress = Progress::start(loads().map(|load| load.runs()).sum::<u64>() + others as u64);

        let mut report = Report::new(self.command(), machine, plan.clone());
        report.subjects = subjects.iter().map(|subject| Measure::new(subject.facts(), None)).collect();
        for (durability, load) in LEVELS.into_iter().zip(loads()) {
            report.take_loads(durability, benches::load(load, place, &progress).await);
        }
        for store in benched {
            let name = store.facts().name;
            let found = delivery(&Watched(store), place, &watch, &progress).await;
            report.take(format!("delivery: {name}"), found, |report| &mut report.deliveries);
            let found = stall(&store, place, &StallPlan { load: plan.clone() }, &progress).await.map(|row| vec![row]);
            report.take(format!("a neighbour of {name}"), found, |report| &mut report.stalls);
        }
        Ok(report.ended())
    }

    /// What measures it again.
    fn command(&self) -> String {
        let mut command = "irminsul bench".to_owned();
        if self.quick {
            command += " --quick";
        }
        let clients: Vec<String> = self.clients.iter().map(ToString::to_string).collect();
        let clients = (!clients.is_empty()).then(|| clients.join(","));
        let value = self.value.map(|len| len.to_string());
        let records = self.records.map(|records| records.to_string());
        for (option, given) in [("--clients", clients), ("--value", value), ("--records", records)] {
            command.extend(given.map(|given| format!(" {option} {given}")));
        }
        command.extend(self.stores.iter().map(|store| format!(" {}", quoted(&store.to_string()))));
        command
    }

    fn write(&self, report: &Report, output: &mut Output) -> Result<(), Failure> {
        output.line(report.to_string().trim_end())?;
        let Some(directory) = &self.report else { return Ok(()) };
        for (name, text) in report.files() {
            let path = directory.join(name);
            write_file(&path, &text)?;
            output.line(format_args!("written: {}", path.display()))?;
        }
        Ok(())
    }
}

/// The directory of the first store that lies in files.
fn beside_a_file<'a>(benched: &[Benched], stores: &'a [Address]) -> Option<&'a Path> {
    let lies_in_files = |store: &Benched| matches!(store.durability(), Durability::Power | Durability::Process);
    let (_, address) = benched.iter().zip(stores).find(|(store, _)| lies_in_files(store))?;
    let directory = Path::new(address.location()).parent()?;
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    directory.is_dir().then_some(directory)
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ":/._-=,@%+".contains(c);
    if word.chars().all(is_plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

fn temporary(source: io::Error) -> Failure {
    Failure::Write { what: "into the temporary directory".into(), source }
}
