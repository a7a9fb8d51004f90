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
    CheckedSubject, DeliveryPlan, DynSubject, Load, Machine, NullStore, Plan, Progress, Report, StallPlan, Watched,
    Workload, by_durability, measure_delivery, measure_stall,
};
use clap::Args;
use futures_util::future::join_all;
use irminsul::{Address, Durability, Registry};

use self::stores::Benched;
use crate::{
    failure::Failure,
    file::{create_directory, write_file},
    outcome::Outcome,
    output::Output,
    scratch_stores::ScratchStores,
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
    /// Only these workloads, by the names that reports use, such as find,ycsb-b
    #[arg(long = "workload", value_name = "NAME", value_delimiter = ',', value_parser = workload)]
    workloads: Vec<Workload>,
    /// Write report.html, report.json and report.md into a directory
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
}

/// How long a run of `--quick` is: a median of many operations.
const QUICK: Duration = Duration::from_millis(200);

impl Bench {
    pub(crate) async fn run(self, registry: &Registry, output: &mut Output) -> Result<Outcome, Failure> {
        let plan = self.plan()?;
        if let Some(directory) = &self.report {
            create_directory(directory)?;
        }
        let stores: Vec<Arc<ScratchStores>> =
            self.stores.iter().map(|address| Arc::new(ScratchStores::new(registry, address))).collect();
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

    async fn measure(&self, registry: &Registry, stores: &[Arc<ScratchStores>], plan: Plan) -> Result<Report, Failure> {
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
        let nothing = NullStore { value: vec![b'.'; plan.value_len].into() };
        let benched: Vec<&Benched> = benched.iter().collect();
        let subjects: Vec<&dyn DynSubject> =
            benched.iter().map(|store| store as &dyn DynSubject).chain([&nothing as &dyn DynSubject]).collect();
        let levels = by_durability(&subjects);
        let workloads = self.workloads();
        let loads = levels
            .each_ref()
            .map(|(durability, subjects)| (*durability, Load { subjects, workloads: &workloads, plan: &plan }));
        let watch = DeliveryPlan { watchers: vec![0, 1, 100], changes: 200, value_len: plan.value_len };
        let others = benched.len() * (watch.watchers.len() + 1);
        let progress = Progress::start(loads.iter().map(|(_, load)| load.runs()).sum::<u64>() + others as u64);

        let mut report = Report::new(self.command(), machine, plan.clone());
        report.subjects = subjects.iter().map(|subject| CheckedSubject::new(subject.facts(), None)).collect();
        for (durability, load) in loads {
            report.take_loads(durability, benches::measure_load(load, place, &progress).await);
        }
        for store in benched {
            let name = store.facts().name;
            let found = measure_delivery(&Watched(store), place, &watch, &progress).await;
            report.take(format!("delivery: {name}"), found, |report| &mut report.deliveries);
            let found =
                measure_stall(&store, place, &StallPlan { load: plan.clone() }, &progress).await.map(|row| vec![row]);
            report.take(format!("a neighbour of {name}"), found, |report| &mut report.stalls);
        }
        Ok(report.ended())
    }

    /// Those that were asked for, in the order in which they are due: some insert.
    fn workloads(&self) -> Vec<Workload> {
        let asked = |workload: &Workload| self.workloads.is_empty() || self.workloads.contains(workload);
        Workload::ALL.into_iter().filter(asked).collect()
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
        let workloads: Vec<String> = self.workloads.iter().map(|workload| as_argument(*workload)).collect();
        let workloads = (!workloads.is_empty()).then(|| workloads.join(","));
        let options = [("--clients", clients), ("--value", value), ("--records", records), ("--workload", workloads)];
        for (option, given) in options {
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

/// A workload by its name, with dashes or spaces between its words.
fn workload(name: &str) -> Result<Workload, String> {
    let name = name.to_lowercase().replace(' ', "-");
    Workload::ALL.into_iter().find(|workload| as_argument(*workload) == name).ok_or_else(|| {
        let names = Workload::ALL.map(as_argument).join(", ");
        format!("the workloads are {names}")
    })
}

fn as_argument(workload: Workload) -> String {
    workload.name().to_lowercase().replace(' ', "-")
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
