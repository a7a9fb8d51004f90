//! What a case works with: its store, its random choices, how thorough it is, and the equipment.

use std::{
    ops::Deref,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicUsize},
    time::{Duration, Instant},
};

use store_api::{AtomicWrite, Backend, ErrorKind, Guarantees, Indexable, Key, Result};

use crate::{
    Place, Profile, Settings, SharedFactory, Site,
    child::Child,
    disk::Disk,
    failure::{Failure, Outcome},
    patience,
};

/// What a quick run may spend in one case on rounds that improve its luck.
const TIME_FOR_ROUNDS: Duration = Duration::from_millis(60);

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
    /// The disk that the store lies on, where the case asked for one that forgets and fails.
    disk: Option<Disk>,
    /// Whether what it waits for matters little.
    hurried: bool,
}

struct Run {
    factory: SharedFactory,
    guarantees: Guarantees,
    seed: u64,
    profile: Profile,
    patience: Duration,
    mount_point: Option<PathBuf>,
    sites: Mutex<Vec<Site>>,
}

/// What a case is run with.
pub(crate) struct Conditions {
    pub(crate) factory: SharedFactory,
    pub(crate) guarantees: Guarantees,
    pub(crate) seed: u64,
    pub(crate) profile: Profile,
    pub(crate) patience: Duration,
    pub(crate) mount_point: Option<PathBuf>,
}

impl Context {
    /// With an empty store.
    pub(crate) async fn new(conditions: Conditions) -> Outcome<Self> {
        let Conditions { factory, guarantees, seed, profile, patience, mount_point } = conditions;
        let sites = Mutex::new(Vec::new());
        let run = Run { factory, guarantees, seed, profile, patience, mount_point, sites };
        Self::at(Arc::new(run), Place::Anywhere, None).await
    }

    async fn at(run: Arc<Run>, place: Place<'_>, disk: Option<Disk>) -> Outcome<Self> {
        let site = run.factory.create(place).await.map_err(|error| match (error.kind(), place) {
            (ErrorKind::Unsupported, Place::Directory(_)) => {
                Failure::untested("the factory cannot place a store in a given directory")
            }
            _ => Failure::harness(format_args!("the factory made no store: {error}")),
        })?;
        let token = site.token().to_owned();
        run.sites.lock().unwrap_or_else(PoisonError::into_inner).push(site);
        Ok(Self { run, token, disk, hurried: false })
    }

    /// Another store of the same backend, empty and apart from this one.
    pub(crate) async fn another_store(&self) -> Outcome<Self> {
        Self::at(Arc::clone(&self.run), Place::Anywhere, None).await
    }

    /// An empty store whose files lie on a disk that forgets and fails on command.
    pub(crate) async fn store_on_disk(&self) -> Outcome<Self> {
        let Some(mount_point) = &self.run.mount_point else {
            return Err(Failure::untested("no faulty-fs is mounted: see `Options::faulty_fs`"));
        };
        let disk = Disk::create(mount_point)?;
        let directory = disk.directory()?;
        Self::at(Arc::clone(&self.run), Place::Directory(&directory), Some(disk)).await
    }

    /// The disk of a context that [`store_on_disk`](Self::store_on_disk) gave.
    pub(crate) fn disk(&self) -> &Disk {
        self.disk.as_ref().expect("a store on a disk")
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

    /// What an `open` answers.
    pub(crate) async fn try_open(&self, settings: &Settings) -> Result<Instance> {
        Ok(Instance(self.run.factory.open(&self.token, settings).await?))
    }

    pub(crate) fn guarantees(&self) -> Guarantees {
        self.run.guarantees
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

    /// The same for what depends on luck: on a store that is quick with them more rounds, as many as the time of a case
    /// allows. Gives their numbers.
    pub(crate) fn rounds_and_more(&self, quick: usize) -> impl Iterator<Item = usize> + use<> {
        let (rounds, began) = (self.rounds(quick), Instant::now());
        let time = TIME_FOR_ROUNDS * u32::try_from(self.rounds(1)).unwrap_or(u32::MAX);
        (0..).take_while(move |round| *round < rounds || began.elapsed() < time)
    }

    /// How often to do what waits each time until a watch hears of another instance.
    pub(crate) fn rounds_across(&self, quick: usize) -> usize {
        let lag = self.run.guarantees.watch_lag.others.unwrap_or_default();
        let affordable = ROUNDS_OF_LAG.as_nanos().checked_div(lag.as_nanos());
        let affordable = affordable.and_then(|rounds| rounds.try_into().ok()).unwrap_or(usize::MAX);
        self.rounds(quick.min(affordable.max(FEWEST)))
    }

    /// How long what must happen is waited for.
    pub(crate) fn patience(&self) -> Duration {
        // A change of another instance may be late by the declared lag, and the wait must be longer than that.
        let lag = self.run.guarantees.watch_lag.others.unwrap_or_default() * 10;
        let patience = if self.hurried { self.run.patience.min(HURRY) } else { self.run.patience };
        patience + lag
    }

    /// The same with little patience, for repeating what has failed: not for a verdict.
    pub(crate) fn hurried(&self) -> Self {
        Self { hurried: true, ..self.clone() }
    }

    /// Waits for what must happen.
    pub(crate) async fn soon<T>(&self, what: &str, future: impl Future<Output = T>) -> Outcome<T> {
        patience::soon(self.patience(), what, future).await
    }

    /// Waits for what may take long, as long as `steps` grows meanwhile.
    pub(crate) async fn steadily<T>(
        &self,
        what: &str,
        steps: &AtomicUsize,
        future: impl Future<Output = T>,
    ) -> Outcome<T> {
        patience::steadily(self.patience(), what, steps, future).await
    }

    /// Starts another process that plays `role` on the store: a name of [`roles`](crate::roles), and what it asks for.
    pub(crate) fn child(&self, role: &str, arguments: &[&str]) -> Outcome<Child> {
        Child::start(&self.run.factory.name(), &self.token, role, arguments, self.run.seed, self.patience())
    }

    /// Removes the stores of the case.
    pub(crate) async fn destroy(self) -> Outcome {
        let sites = std::mem::take(&mut *self.run.sites.lock().unwrap_or_else(PoisonError::into_inner));
        for site in sites {
            let destroyed = self.run.factory.destroy(site).await;
            destroyed.map_err(|error| Failure::harness(format_args!("a store was not removed: {error}")))?;
        }
        Ok(())
    }
}

/// What one `open` gave.
#[derive(Clone)]
pub(crate) struct Instance(Arc<dyn Backend>);

impl Instance {
    pub(crate) fn new(backend: Arc<dyn Backend>) -> Self {
        Self(backend)
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
