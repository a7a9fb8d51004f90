//! `bench`: how fast stores are, on this machine, by their addresses.

mod stores;

use std::{
    io,
    num::{NonZeroU64, NonZeroUsize},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use benches::{
    CheckedSubject, DeliveryPlan, DynSubject, Load, Machine, NullStore, Plan, Progress, Report, StallPlan, Watched,
    Workload, by_durability, caught, measure_delivery, measure_stall,
};
use clap::Args;
use irminsul::{Address, Durability, Registry};

use self::stores::Benched;
use crate::{
    failure::{Failure, note},
    file::{create_directory, write_file},
    outcome::Outcome,
    output::Output,
    scratch_stores::{ScratchStores, tidied_up},
    signal::told_to_end,
};

/// Measure how fast stores are on this machine: throughput, percentiles, watches, and what their load does to others
///
/// It works on fresh stores beside or below each address (for a bare `sqlite:`, on files in the directory of temporary files,
/// which promise as much as any other), leaves what is there alone, and removes them again, also when it is interrupted.
/// Stores are compared with those of the same durability, which is the one that they declare, and once all with all; a
/// store that does nothing shows the cost of measuring.
#[derive(Args)]
pub(crate) struct Bench {
    /// The addresses of the stores
    #[arg(value_name = "STORE", required = true)]
    stores: Vec<Address>,
    /// A first impression in a few seconds for each store, instead of a minute
    #[arg(long)]
    quick: bool,
    /// How many clients a store has at a time, such as 1,64; what is measured with one number of them takes the largest
    /// [default: 1,8,64,512, or 1,64 with --quick; the one number is 64]
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clients)]
    clients: Vec<NonZeroUsize>,
    /// How many bytes a value has [default: 128]
    #[arg(long, value_name = "BYTES")]
    value: Option<usize>,
    /// How many records a store has before it is measured [default: 10000, or 1000 with --quick]
    #[arg(long, value_name = "N")]
    records: Option<NonZeroUsize>,
    /// Only these workloads: find, set, test-and-set, contended-test-and-set, ycsb-a, ycsb-b, ycsb-c, ycsb-d, ycsb-e,
    /// ycsb-f, find-content, add [default: all, and then watchers, and a neighbour of the loaded store]
    #[arg(long = "workload", value_name = "NAME", value_delimiter = ',', value_parser = workload)]
    workloads: Vec<Workload>,
    /// Mixes of reads and writes of any record: how many of a hundred operations are reads, such as 80 or 50,95; nothing
    /// else is run unless a --workload is named
    #[arg(long, value_name = "PERCENT", value_delimiter = ',', value_parser = reads)]
    reads: Vec<u8>,
    /// How many runs there are of each, of which the median counts [default: 5, or 1 with --quick]
    #[arg(long, value_name = "N")]
    runs: Option<NonZeroU64>,
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
            measured = caught(self.measure(registry, &stores, plan)) => measured,
        };
        let report = tidied_up(ended, &stores).await?;
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
        plan.runs = self.runs.map_or(plan.runs, NonZeroU64::get);
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
        let in_memory = benched.iter().filter(|store| !store.durability().survives_kill()).count();
        plan.check_memory(in_memory, machine.memory_bytes)?;
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
        let watched: &[&Benched] = if self.is_all() { &benched } else { &[] };
        let others = watched.len() * (watch.watchers.len() + 1);
        let mut report = Report::new(self.command(), machine, plan.clone());
        for warning in report.warnings() {
            note(&warning);
        }
        let progress = Progress::start(loads.iter().map(|(_, load)| load.runs()).sum::<u64>() + others as u64);
        report.subjects = subjects.iter().map(|subject| CheckedSubject::new(subject.facts(), None)).collect();
        for (durability, load) in loads {
            report.take_loads(durability, benches::measure_load(load, place, &progress).await);
        }
        for &store in watched {
            let name = store.facts().name;
            let found = caught(measure_delivery(&Watched(store), place, &watch, &progress)).await;
            report.take(format!("delivery: {name}"), found, |report| &mut report.deliveries);
            let stalled = StallPlan { load: plan.clone() };
            let found = caught(measure_stall(&store, place, &stalled, &progress)).await.map(|row| vec![row]);
            report.take(format!("a neighbour of {name}"), found, |report| &mut report.stalls);
        }
        Ok(report.ended())
    }

    /// Whether nothing in particular was asked for.
    fn is_all(&self) -> bool {
        self.workloads.is_empty() && self.reads.is_empty()
    }

    /// Those that were asked for, in the order in which they are due: some insert.
    fn workloads(&self) -> Vec<Workload> {
        let asked = |workload: &Workload| self.is_all() || self.workloads.contains(workload);
        let mixes = self.reads.iter().map(|&reads| Workload::Mixed { reads });
        mixes.chain(Workload::ALL.into_iter().filter(asked)).collect()
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
        let workloads: Vec<String> = self.workloads.iter().map(|workload| workload.slug()).collect();
        let workloads = (!workloads.is_empty()).then(|| workloads.join(","));
        let reads: Vec<String> = self.reads.iter().map(ToString::to_string).collect();
        let reads = (!reads.is_empty()).then(|| reads.join(","));
        let runs = self.runs.map(|runs| runs.to_string());
        let options = [
            ("--clients", clients),
            ("--value", value),
            ("--records", records),
            ("--workload", workloads),
            ("--reads", reads),
            ("--runs", runs),
        ];
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

fn clients(count: &str) -> Result<NonZeroUsize, String> {
    count.parse().map_err(|_| "give whole numbers from 1 on, such as 1,64".into())
}

/// A workload by its name, with dashes or spaces between its words.
fn workload(name: &str) -> Result<Workload, String> {
    let name = name.to_lowercase().replace(' ', "-");
    Workload::ALL.into_iter().find(|workload| workload.slug() == name).ok_or_else(|| {
        let names = Workload::ALL.map(Workload::slug).join(", ");
        format!("the workloads are {names}")
    })
}

fn reads(percent: &str) -> Result<u8, String> {
    percent
        .parse()
        .ok()
        .filter(|reads| *reads <= 100)
        .ok_or_else(|| "give whole numbers from 0 to 100, such as 80".into())
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

#[cfg(all(test, feature = "mem"))]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    };

    use clap::Parser;
    use irminsul::{AddressOptions, Backend, Error, ErrorKind, Opener, OptionSpec, mem::MemOptions};

    use super::*;
    use crate::failure::with_causes;

    #[derive(Parser)]
    struct Called {
        #[command(flatten)]
        bench: Bench,
    }

    /// What becomes of the stores of a scheme.
    #[derive(Clone, Default)]
    struct Trial {
        opened: Arc<AtomicUsize>,
        left: Arc<Mutex<Vec<Address>>>,
        /// Which open is refused as well as any removal.
        refused: Option<usize>,
        /// Which open panics.
        panics: Option<usize>,
    }

    fn refused<T>(what: &str) -> irminsul::Result<T> {
        Err(Error::new(ErrorKind::Unavailable, format!("the {what} is forbidden")))
    }

    #[async_trait::async_trait]
    impl Opener for Trial {
        fn options(&self) -> &'static [OptionSpec] {
            &[]
        }

        async fn open(&self, _: &Address, _: &AddressOptions) -> irminsul::Result<Arc<dyn Backend>> {
            let number = self.opened.fetch_add(1, Ordering::Relaxed);
            assert!(self.panics != Some(number), "the engine is out of order");
            if self.refused == Some(number) {
                return refused("open");
            }
            Ok(Arc::new(MemOptions::new().open().await?))
        }

        async fn scratch(&self, address: &Address) -> irminsul::Result<Address> {
            let mut left = self.left.lock().unwrap();
            let scratch = address.clone().with_location(format!("trial-{}", left.len()));
            left.push(scratch.clone());
            Ok(scratch)
        }

        async fn destroy(&self, address: &Address) -> irminsul::Result<()> {
            if self.refused.is_some() {
                return refused("removal");
            }
            self.left.lock().unwrap().retain(|left| left != address);
            Ok(())
        }
    }

    async fn failure_of(trial: &Trial) -> Failure {
        let mut registry = Registry::default();
        registry.register("trial", trial.clone()).unwrap();
        let called = Called::parse_from(["bench", "trial:a", "--quick", "--clients", "1", "--records", "10"]);
        let ended = called.bench.run(&registry, &mut Output::to(io::sink())).await;
        let Err(failure) = ended else { panic!("the run did not fail") };
        failure
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_part_that_panics_is_told_of_and_leaves_nothing_behind() {
        // One open is of the probe, one of the loads, one of the watchers.
        for (number, part) in [(1, "loads at durability Volatile: trial:a"), (2, "delivery: trial:a")] {
            let trial = Trial { panics: Some(number), ..Trial::default() };
            let told = with_causes(&failure_of(&trial).await);
            assert!(told.contains(&format!("{part}: it panicked: the engine is out of order")), "{told}");
            assert_eq!(*trial.left.lock().unwrap(), []);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_panic_before_the_first_part_leaves_nothing_behind() {
        let trial = Trial { panics: Some(0), ..Trial::default() };
        let told = with_causes(&failure_of(&trial).await);
        assert!(told.contains("it panicked: the engine is out of order"), "{told}");
        assert_eq!(*trial.left.lock().unwrap(), []);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn why_a_run_failed_is_told_before_what_it_leaves_behind() {
        let failure = failure_of(&Trial { refused: Some(0), ..Trial::default() }).await;
        let Failure::Untidy { failure, left } = failure else { panic!("{failure}") };
        assert!(with_causes(&*failure).contains("the open is forbidden"), "{failure}");
        let [left] = &left[..] else { panic!("{left:?}") };
        assert!(left.starts_with("trial:trial-0 is left: ") && left.contains("the removal is forbidden"), "{left}");
    }
}
