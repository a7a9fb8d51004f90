//! What a case works with: its store, its random choices, how thorough it is, and the equipment.

use std::{
    ops::Deref,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, atomic::AtomicUsize},
    time::{Duration, Instant},
};

use store_api::{AtomicWrite, Backend, ErrorKind, Guarantees, HashFunction, Indexable, Key, Result};
use tempfile::TempDir;
use tokio::task::yield_now;

use crate::{
    Growth, Place, Profile, Settings, SharedFactory, Site,
    calls::Calls,
    case::{Claims, Pace},
    child::{Child, Part},
    children,
    disk::Disk,
    failure::{Failure, Outcome, demanded_here},
    lock::lock,
    luck::{Hopes, Luck, Times},
    measured::Measured,
    patience,
};

/// How long a quick run tries its luck, and how long where it needs more of it.
const A_MOMENT: Duration = Duration::from_millis(60);
const A_WHILE: Duration = Duration::from_millis(1_500);

/// How long it tries that of processes, which meet less often.
const A_WHILE_OF_PROCESSES: Duration = Duration::from_secs(10);

/// So many times as long luck is tried in a run that does more rounds: each of them is done in any case.
const LONGER: u32 = 2;

/// What a quick run may spend in one case on waiting for the lag of watches, and the rounds that it does in any case.
const ROUNDS_OF_LAG: Duration = Duration::from_millis(200);
const FEWEST: usize = 3;

/// How long is waited at most where it matters little.
const HURRY: Duration = Duration::from_secs(1);

/// A case's view of the run; a clone is the same.
#[derive(Clone)]
pub(crate) struct Context {
    run: Arc<Run>,
    /// The store of the case.
    token: String,
    /// Whether what it waits for matters little.
    hurried: bool,
    /// Where its files lie, if the case chose that.
    ground: Ground,
}

/// Where the files of a store lie; it is removed with its last clone.
#[derive(Clone)]
enum Ground {
    Anywhere,
    Disk(Disk),
    Directory(Arc<TempDir>),
}

/// A store of the case; it is dropped before its ground.
struct Made {
    site: Site,
    _ground: Ground,
}

/// A case that is running.
struct Run {
    conditions: Conditions,
    stores: Mutex<Vec<Made>>,
}

impl Deref for Run {
    type Target = Conditions;

    fn deref(&self) -> &Conditions {
        &self.conditions
    }
}

/// What a case is run with.
pub(crate) struct Conditions {
    pub(crate) factory: SharedFactory,
    pub(crate) claims: Claims,
    /// Takes in what the case asks of its stores.
    pub(crate) calls: Arc<Calls>,
    /// Takes in what the case tells its report besides the verdict.
    pub(crate) measured: Arc<Measured>,
    pub(crate) seed: u64,
    pub(crate) profile: Profile,
    pub(crate) patience: Duration,
    pub(crate) faulty_fs: Result<PathBuf, String>,
}

impl Context {
    /// With an empty store.
    pub(crate) async fn new(conditions: Conditions) -> Outcome<Self> {
        Self::at(Arc::new(Run { conditions, stores: Mutex::default() }), Ground::Anywhere).await
    }

    async fn at(run: Arc<Run>, ground: Ground) -> Outcome<Self> {
        let place = ground.directory().map_or(Place::Anywhere, Place::Directory);
        if matches!(place, Place::Directory(_)) && !run.claims.heeds_places() {
            return Err(Failure::harness(
                "the factory does not heed `Place::Directory`: after the first writes that directory was empty",
            ));
        }
        let site = run.factory.create(place).await.map_err(|error| match (error.kind(), place) {
            (ErrorKind::Unsupported, Place::Directory(_)) => {
                Failure::untested("the factory cannot place a store in a given directory")
            }
            _ => Failure::harness(format_args!("the factory made no store: {error}")),
        })?;
        let token = site.token().to_owned();
        let made = Made { site, _ground: ground.clone() };
        lock(&run.stores).push(made);
        Ok(Self { run, token, ground, hurried: false })
    }

    /// Another store of the same backend, empty and apart from this one.
    pub(crate) async fn another_store(&self) -> Outcome<Self> {
        Self::at(Arc::clone(&self.run), Ground::Anywhere).await
    }

    /// An empty store whose files lie on a disk that forgets and fails on command.
    pub(crate) async fn store_on_disk(&self) -> Outcome<Self> {
        let mount_point = self.run.faulty_fs.as_ref().map_err(Failure::untested)?;
        Self::at(Arc::clone(&self.run), Ground::Disk(Disk::create(mount_point, Arc::clone(&self.run.measured))?)).await
    }

    /// The disk of a context that [`store_on_disk`](Self::store_on_disk) gave.
    pub(crate) fn disk(&self) -> &Disk {
        let Ground::Disk(disk) = &self.ground else { panic!("a store on a disk of its own") };
        disk
    }

    /// An empty store whose files lie in a directory of the case's own.
    pub(crate) async fn store_in_directory(&self) -> Outcome<Self> {
        let directory = TempDir::with_prefix("irminsul-conformance-").map_err(Failure::harness)?;
        Self::at(Arc::clone(&self.run), Ground::Directory(Arc::new(directory))).await
    }

    /// The directory of the store's files, where the case chose that.
    pub(crate) fn directory(&self) -> &Path {
        self.ground.directory().expect("a store in a directory of its own")
    }

    /// A new instance of the store.
    pub(crate) async fn open(&self) -> Outcome<Instance> {
        let opened = self.try_open(&Settings::default()).await;
        opened.map_err(|error| Failure::from(error).within("open"))
    }

    /// A new instance with other settings than the backend's own; a backend without them is not accused.
    pub(crate) async fn open_with(&self, settings: &Settings) -> Outcome<Instance> {
        match self.try_open(settings).await {
            Err(error) if error.kind() == ErrorKind::Unsupported => Err(Failure::unsupported(error)),
            opened => opened.map_err(|error| Failure::from(error).within("open")),
        }
    }

    /// A new instance of a store that nobody closed, though nobody has it any more: where one instance is allowed, it may
    /// need a moment to let go of it, and a service a moment to be reached again.
    #[track_caller]
    pub(crate) fn open_when_free(&self, what: &str) -> impl Future<Output = Outcome<Instance>> {
        let settings = Settings::default();
        demanded_here(async move {
            let refused = Mutex::new(None);
            let opening = async {
                loop {
                    match self.try_open(&settings).await {
                        Err(error) if error.kind() == ErrorKind::InUse || error.is_retryable() => {
                            *lock(&refused) = Some(error);
                            yield_now().await;
                        }
                        opened => return opened,
                    }
                }
            };
            let opened = self.soon(what, opening).await.map_err(|late| match &*lock(&refused) {
                Some(error) => late.with_details(format_args!("the last answer: {error:#?}")),
                None => late,
            });
            opened?.map_err(|error| Failure::from(error).within(what))
        })
    }

    /// What an `open` answers.
    pub(crate) async fn try_open(&self, settings: &Settings) -> Result<Instance> {
        // A sound store whose lock is gone with its file would be in use.
        children::wait_while_one_starts();
        Ok(Instance(self.run.calls.open(self.run.factory.open(&self.token, settings)).await?))
    }

    pub(crate) fn guarantees(&self) -> Guarantees {
        self.run.claims.guarantees
    }

    /// Whether a store that was created with a hash function is one that [`open`](Self::open) may refuse.
    pub(crate) fn insists_on_other_than(&self, function: HashFunction) -> bool {
        self.run.factory.insists_on().hash.is_some_and(|own| own != function)
    }

    /// Whether the store declares that it does not see a file of this name removed.
    pub(crate) fn overlooks(&self, file: &str) -> bool {
        self.run.factory.overlooks(file)
    }

    /// How many bytes the longest key has.
    pub(crate) fn max_key_len(&self) -> usize {
        self.run.factory.max_key_len()
    }

    /// The seed of this case.
    pub(crate) fn seed(&self) -> u64 {
        self.run.seed
    }

    /// Random choices that the run's seed repeats.
    pub(crate) fn random(&self) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.run.seed)
    }

    /// How often to do what a quick run does `quick` times.
    pub(crate) fn rounds(&self, quick: usize) -> usize {
        self.run.profile.rounds(quick)
    }

    /// How often to do something that waits for a watch of another instance each time: fewer where the declared lag is
    /// long.
    pub(crate) fn rounds_across_instances(&self, quick: usize) -> usize {
        let lag = self.guarantees().watch_lag.others.unwrap_or_default();
        let affordable = ROUNDS_OF_LAG.as_nanos().checked_div(lag.as_nanos());
        let affordable = affordable.and_then(|rounds| rounds.try_into().ok()).unwrap_or(usize::MAX);
        self.rounds(quick.min(affordable.max(FEWEST)))
    }

    /// The numbers of rounds of what depends on luck: `least` of them, and as many more, up to `most`, as a fast store
    /// does in a moment.
    pub(crate) fn rounds_for_a_moment(&self, least: usize, most: usize) -> impl Iterator<Item = usize> + Send + use<> {
        self.rounds_within(A_MOMENT, least, most)
    }

    /// The same where luck needs longer than a moment, since others have the cores most of the time.
    pub(crate) fn rounds_for_a_while(&self, least: usize, most: usize) -> impl Iterator<Item = usize> + Send + use<> {
        self.rounds_within(A_WHILE, least, most)
    }

    /// What counts how often something met that depends on luck, and says how long to go on for it.
    pub(crate) fn luck(&self, hopes: Hopes) -> Arc<Luck> {
        self.luck_at(Pace::Clients, hopes)
    }

    /// The same of what meets as often as this.
    pub(crate) fn luck_at(&self, pace: Pace, hopes: Hopes) -> Arc<Luck> {
        let Hopes { floor, enough, rounds } = hopes;
        // What shows something in a quick run does so in a long one, which has not so much longer.
        let floor = self.run.claims.meetings(floor, pace, self.patience());
        let hopes = Hopes { floor, enough: self.rounds(enough), rounds: rounds.map(|rounds| self.rounds(rounds)) };
        let a_while = match pace {
            Pace::Clients => A_WHILE,
            Pace::Processes => A_WHILE_OF_PROCESSES,
        };
        let [moment, a_while, at_last] = [A_MOMENT, a_while, self.patience()].map(|time| self.thoroughly(time));
        Arc::new(Luck::new(hopes, Times { moment, a_while, at_last }, Arc::clone(&self.run.measured)))
    }

    /// A time for a quick run, and a longer one for a thorough one.
    fn thoroughly(&self, quick: Duration) -> Duration {
        let by = if self.rounds(1) > 1 { LONGER } else { 1 };
        quick.saturating_mul(by)
    }

    fn rounds_within(&self, time: Duration, least: usize, most: usize) -> impl Iterator<Item = usize> + Send + use<> {
        let (least, most) = (self.rounds(least), self.rounds(most));
        let time = self.thoroughly(time);
        let began = Instant::now();
        (0..most).take_while(move |round| *round < least || began.elapsed() < time)
    }

    /// How long what must happen is waited for.
    pub(crate) fn patience(&self) -> Duration {
        let patience = if self.hurried { self.run.patience.min(HURRY) } else { self.run.patience };
        self.run.claims.patience(patience)
    }

    /// The same with little patience, for repeating what has failed: not for a verdict.
    pub(crate) fn hurried(&self) -> Self {
        Self { hurried: true, ..self.clone() }
    }

    /// Waits for what must happen.
    #[track_caller]
    pub(crate) fn soon<T>(&self, what: &str, future: impl Future<Output = T>) -> impl Future<Output = Outcome<T>> {
        patience::soon(self.patience(), what, future)
    }

    /// Waits for what is not to be waited for: well before its time is up it is there.
    #[track_caller]
    pub(crate) fn at_once<T>(&self, what: &str, future: impl Future<Output = T>) -> impl Future<Output = Outcome<T>> {
        patience::soon(self.patience() / 4, what, future)
    }

    /// Waits for what another instance is to know within the lag that the store declares, and some answers; and the rest of
    /// the machine may be busy meanwhile.
    #[track_caller]
    pub(crate) fn within_the_lag<T>(
        &self,
        what: &str,
        future: impl Future<Output = T>,
    ) -> impl Future<Output = Outcome<T>> {
        let declared = self.guarantees().watch_lag.others.unwrap_or_default();
        let patience = self.patience();
        let late = self.run.claims.answers().saturating_add(declared).saturating_add(patience / 4);
        patience::soon(patience.min(late), what, future)
    }

    /// Waits for what may take long, as long as `steps` grows meanwhile.
    #[track_caller]
    pub(crate) fn steadily<T>(
        &self,
        what: &str,
        steps: &AtomicUsize,
        future: impl Future<Output = T>,
    ) -> impl Future<Output = Outcome<T>> {
        patience::steadily(self.patience(), what, steps, future)
    }

    /// Starts another process that plays `role` on the store: a name of [`roles`](crate::roles), and what it asks for.
    pub(crate) fn child(&self, role: &str, arguments: &[&str]) -> Outcome<Child> {
        Child::start(&self.part(role, arguments), None, self.patience(), Arc::clone(&self.run.measured))
    }

    /// The same below another program, which is given this one as its last argument.
    pub(crate) fn child_below(&self, program: Command, role: &str, arguments: &[&str]) -> Outcome<Child> {
        Child::start(&self.part(role, arguments), Some(program), self.patience(), Arc::clone(&self.run.measured))
    }

    fn part(&self, role: &str, arguments: &[&str]) -> Part {
        Part {
            factory: self.run.factory.name(),
            token: self.token.clone(),
            role: role.to_owned(),
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            seed: self.run.seed,
        }
    }

    /// Reports by how much a process grew that was loaded.
    pub(crate) fn grew(&self, growth: Growth) {
        self.run.measured.grew(growth);
    }

    /// Removes the stores of the case.
    pub(crate) async fn destroy(self) -> Outcome {
        let stores = std::mem::take(&mut *lock(&self.run.stores));
        let mut outcome = Ok(());
        for Made { site, _ground } in stores {
            let destroyed = self.run.factory.destroy(site).await;
            let destroyed =
                destroyed.map_err(|error| Failure::harness(format_args!("a store was not removed: {error}")));
            // One that stays keeps no other from being removed.
            outcome = outcome.and(destroyed);
        }
        outcome
    }
}

impl Ground {
    fn directory(&self) -> Option<&Path> {
        match self {
            Self::Anywhere => None,
            Self::Disk(disk) => Some(disk.directory()),
            Self::Directory(directory) => Some(directory.path()),
        }
    }
}

/// What one `open` gave.
#[derive(Clone)]
pub(crate) struct Instance(Arc<dyn Backend>);

impl Instance {
    pub(crate) fn new(backend: Arc<dyn Backend>) -> Self {
        Self(backend)
    }

    pub(crate) fn backend(&self) -> Arc<dyn Backend> {
        Arc::clone(&self.0)
    }

    /// A new handle of the entries.
    pub(crate) fn entries(&self) -> Arc<dyn AtomicWrite> {
        self.0.atomic_write().expect("a case that needs entries runs where they are")
    }

    /// A new handle of the content.
    pub(crate) fn content(&self) -> Arc<dyn Indexable> {
        self.0.indexable().expect("a case that needs content runs where it is")
    }
}

impl Deref for Instance {
    type Target = dyn Backend;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

/// A key that is known to be valid.
pub(crate) fn key(path: impl AsRef<str>) -> Key {
    Key::new(path).expect("the suite's own keys are valid")
}
