//! `conform`: the conformance suite, on any store by its address.

mod bars;
mod soak;

use std::{
    num::NonZeroUsize,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Args;
use conformance::{Factory, Options, Profile, Report, SharedFactory, case_ids};
use irminsul::{Address, Registry};
use tokio::sync::oneshot;

use self::{
    bars::Bars,
    soak::{Soak, SoakSettings},
};
use crate::{
    duration::duration,
    failure::Failure,
    file::{create_directory, write_file},
    outcome::Outcome,
    output::Output,
    scratch_stores::{ScratchStores, tidied_up},
    signal::told_to_end,
};

/// Test whether stores keep the contract, clause by clause; exit 1 if one does not, or is not settled
///
/// It works on fresh stores beside or below each address (for a bare `sqlite:`, on files in the directory of temporary files,
/// which promise as much as any other), leaves what is there alone, and removes them again, also when it is interrupted; a
/// second signal ends it at once and leaves them. After an interruption the report has the passes that were complete, and
/// temporary files of the running cases (irminsul-conformance-*, or on the faulty-fs) remain.
#[derive(Args)]
pub(crate) struct Conform {
    /// The addresses of the stores
    #[arg(value_name = "STORE", required_unless_present = "list")]
    stores: Vec<Address>,
    /// How thorough: quick (seconds), standard (some minutes on an embedded engine) or soak (as long as --for)
    #[arg(long, value_name = "PROFILE")]
    profile: Option<Profile>,
    /// How long to go on, such as 90s, 30m or 2h: the suite again and again, each pass with the next seed, and as thorough
    /// as --profile standard unless that says quick [default for --profile soak: 1h]
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    how_long: Option<Duration>,
    /// The seed of all random choices, as a report tells it [default: a random one]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Only the cases whose id contains this, such as atomic/A1- for those of the clause A1; a * stands for any text
    #[arg(long, value_name = "PATTERN")]
    case: Option<String>,
    /// Write report.html and report.json into a directory; a soak goes on there where the last one stopped
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// How many cases run at once [default: the number of cores]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Where a faulty-fs is mounted, for the cases of power loss and failing disks
    #[arg(long, value_name = "MOUNT")]
    faulty_fs: Option<PathBuf>,
    /// Write the ids of the cases, and run none
    #[arg(long)]
    list: bool,
}

impl Conform {
    pub(crate) async fn run(self, registry: &Registry, output: &mut Output) -> Result<Outcome, Failure> {
        let pattern = self.case.as_deref().unwrap_or_default();
        if case_ids(pattern).next().is_none() {
            return Err(no_such_case());
        }
        if self.list {
            case_ids(pattern).try_for_each(|id| output.line(id))?;
            return Ok(Outcome::Fine);
        }
        let stores = self.stores(registry).await?;
        let suite = self.suite(&stores)?;
        let directory = suite.directory.clone();
        let earlier = suite.soak.failures().clone();
        let report = interruptible(suite, &stores).await?;
        output.line(report.to_string().trim_end())?;
        if let Some(directory) = directory {
            output.line(format_args!("written: {}", directory.join(PAGE).display()))?;
            output.line(format_args!("written: {}", directory.join(DATA).display()))?;
        }
        for replay in &earlier {
            output.line(format_args!("failed, or not settled, in an earlier run of this soak: {replay}"))?;
        }
        Ok(if report.passed() && earlier.is_empty() { Outcome::Fine } else { Outcome::Negative })
    }

    /// The profile of one pass, and how long there are more, where it is a soak: a series of runs of one pass, so that the
    /// stores take turns and each pass is kept.
    fn passes(&self) -> (Profile, Option<Duration>) {
        let one = Profile::Soak(Duration::ZERO);
        match (self.profile, self.how_long) {
            (Some(Profile::Soak(hour)), limit) => (one, limit.or(Some(hour))),
            (None, Some(limit)) => (one, Some(limit)),
            (profile, limit) => (profile.unwrap_or_default(), limit),
        }
    }

    /// The stores, each of which can be opened.
    async fn stores(&self, registry: &Registry) -> Result<Vec<Arc<ScratchStores>>, Failure> {
        let mut stores = Vec::new();
        for (index, address) in self.stores.iter().enumerate() {
            if self.stores[..index].contains(address) {
                return Err(Failure::refused("a store is named twice: name it once"));
            }
            let store = ScratchStores::new(registry, address);
            store.check().await?;
            stores.push(Arc::new(store));
        }
        Ok(stores)
    }

    fn suite(&self, stores: &[Arc<ScratchStores>]) -> Result<Suite, Failure> {
        let (profile, how_long) = self.passes();
        if let Some(directory) = &self.report {
            create_directory(directory)?;
        }
        let settings = SoakSettings {
            stores: stores.iter().map(|store| store.name()).collect(),
            profile: profile.to_string(),
            cases: self.case.clone(),
            faulty_fs: self.faulty_fs.is_some(),
        };
        let kept_in = self.report.as_deref().filter(|_| how_long.is_some());
        let soak = Soak::resume(kept_in, settings, self.seed)?;
        let mut options = Options::new().seed(soak.seed()).command(self.command(profile));
        if let Some(pattern) = &self.case {
            options = options.case(pattern);
        }
        if let Some(jobs) = self.jobs {
            options = options.jobs(jobs.get());
        }
        options = match &self.faulty_fs {
            Some(mount_point) => options.faulty_fs(mount_point),
            None => options.without_faulty_fs("name the mount point of a faulty-fs with --faulty-fs"),
        };
        Ok(Suite {
            stores: stores.iter().map(|store| Arc::clone(store) as SharedFactory).collect(),
            options: options.profile(profile),
            limit: how_long.unwrap_or_default(),
            soak,
            directory: self.report.clone(),
        })
    }

    /// How a case is run again, up to the store.
    fn command(&self, profile: Profile) -> Vec<String> {
        // As it was called: a program in no directory of the search path is not found by its name alone.
        let program = std::env::args_os().next().map(|program| program.to_string_lossy().into_owned());
        let mut words = vec![program.unwrap_or_else(|| "irminsul".to_owned()), "conform".to_owned()];
        if profile != Profile::Quick {
            // A pass of a soak is a standard run.
            words.extend(["--profile", "standard"].map(str::to_owned));
        }
        if let Some(mount_point) = &self.faulty_fs {
            words.extend(["--faulty-fs".to_owned(), mount_point.display().to_string()]);
        }
        words
    }
}

fn no_such_case() -> Failure {
    let mut areas: Vec<&str> = case_ids("").filter_map(|id| Some(id.split_once('/')?.0)).collect();
    areas.sort_unstable();
    areas.dedup();
    let areas = areas.join("/, ");
    Failure::refused(format!("--case: no case matches; the areas are {areas}/, and --list writes the ids of all cases"))
}

/// What is to be run, and where it is written.
struct Suite {
    stores: Vec<SharedFactory>,
    options: Options,
    limit: Duration,
    soak: Soak,
    directory: Option<PathBuf>,
}

const PAGE: &str = "report.html";
const DATA: &str = "report.json";

impl Suite {
    /// Runs the suite on each store, and again until the time is over.
    fn run(mut self) -> Result<Report, Failure> {
        let began = Instant::now();
        let mut report = self.pass()?;
        self.write(&report)?;
        while began.elapsed() < self.limit {
            report = report.and(self.pass()?);
            self.write(&report)?;
        }
        Ok(report)
    }

    fn pass(&mut self) -> Result<Report, Failure> {
        let options = self.options.clone().first_pass(self.soak.next_pass());
        let found = self.stores.iter().map(|store| conformance::run(store, &options));
        let report = found.reduce(Report::and).ok_or_else(|| Failure::refused("name a store"))?;
        self.soak.passed(&report)?;
        Ok(report)
    }

    fn write(&self, report: &Report) -> Result<(), Failure> {
        let Some(directory) = &self.directory else { return Ok(()) };
        write_file(&directory.join(DATA), &report.to_json())?;
        write_file(&directory.join(PAGE), &report.to_html())
    }
}

/// Runs the suite on a thread of its own, with bars, until it has ended or is told to end; then the stores are removed.
async fn interruptible(mut suite: Suite, stores: &[Arc<ScratchStores>]) -> Result<Report, Failure> {
    let bars = Arc::new(Bars::start(stores.iter().map(|store| store.name())));
    let told = Arc::clone(&bars);
    suite.options = suite.options.on_progress(move |progress| told.tell(&progress));
    let (done, report) = oneshot::channel();
    // The runtime would wait for a thread of its own, also when it is told to end.
    std::thread::spawn(move || done.send(suite.run()));
    let ended = tokio::select! {
        signal = told_to_end() => signal.map_or_else(|error| Err(Failure::Signal(error)), |()| Err(Failure::Interrupted)),
        report = report => report.unwrap_or_else(|_| Err(Failure::refused("the suite stopped without a report"))),
    };
    bars.clear();
    // What they have open would be written on, or made anew.
    conformance::end_children();
    tidied_up(ended, stores).await
}
