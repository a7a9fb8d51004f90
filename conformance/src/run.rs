//! Runs cases, each in a runtime of its own with a store of its own, and turns how they end into a report.

use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, sync_channel},
    },
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use store_api::{Backend, Guarantees};
use tempfile::TempDir;
use tokio::{
    runtime::{Builder, Runtime},
    task::spawn,
};

use crate::{
    BackendReport, CaseReport, Context, Factory, Options, Place, Profile, Progress, Report, Settings, SharedFactory,
    Verdict,
    calls::Calls,
    case::{Case, Claims},
    cases,
    clients::on_any_core,
    context::{Conditions, key},
    failure::{Failure, Kind, Outcome},
    fnv::fnv1a,
    lock::lock,
    measured::Measured,
    operations::value,
    patience::{Patience, TICK, heed_disk, soon},
};

/// A case hangs if its store answers nothing for this many times the patience. What a case has to wait for itself, it
/// waits for with the patience.
const HANGS: u32 = 10;

/// A case whose store goes on answering is given up after this many times [`HANGS`], times the rounds of its profile.
const ENDLESS: u32 = 12;

/// The longest key of the suite, in bytes: a factory must take that.
const LONGEST_KEY: usize = 64;

/// Puts a backend through the suite.
///
/// Blocks until it is done, on threads of its own: not to be called from an async task.
///
/// ```
/// # use std::sync::Arc;
/// # fn example(factory: Arc<dyn conformance::Factory>) {
/// let report = conformance::run(&factory, &conformance::Options::new());
/// println!("{report}");
/// assert!(report.passed());
/// # }
/// ```
#[must_use]
pub fn run(factory: &SharedFactory, options: &Options) -> Report {
    let began = Instant::now();
    let mut seed = options.seed.wrapping_add(options.first_pass);
    let mut report = pass(factory, options, seed);
    while matches!(options.profile, Profile::Soak(limit) if began.elapsed() < limit) {
        seed = seed.wrapping_add(1);
        report = report.and(pass(factory, options, seed));
    }
    report
}

fn pass(factory: &SharedFactory, options: &Options, seed: u64) -> Report {
    let runner = Runner::new(factory, options, seed);
    let backend = BackendReport { name: factory.name(), declares: runner.declares(), passes: 1, cases: runner.all() };
    Report {
        suite: env!("CARGO_PKG_VERSION"),
        profile: options.profile.to_string(),
        seed: options.seed,
        cases: options.cases.clone(),
        backends: vec![backend],
    }
}

/// One backend, about to be tested.
pub(crate) struct Runner {
    factory: SharedFactory,
    options: Options,
    seed: u64,
    /// What it claims, or why it could not be asked.
    claims: Result<Claims, String>,
}

impl Runner {
    pub(crate) fn new(factory: &SharedFactory, options: &Options, seed: u64) -> Self {
        heed_disk(factory.disk());
        let calls = Arc::new(Calls::default());
        let probe = probe(Arc::clone(factory), Arc::clone(&calls), options.patience);
        let claims = in_runtime(&calls, options.patience.saturating_mul(HANGS), ENDLESS, probe);
        let claims = claims.map_err(|failure| format!("the store could not be opened: {failure}"));
        Self { factory: Arc::clone(factory), options: options.clone(), seed, claims }
    }

    fn declares(&self) -> Option<Guarantees> {
        self.claims.as_ref().ok().map(|claims| claims.guarantees)
    }

    /// The cases that were asked for.
    pub(crate) fn asked(&self) -> impl Iterator<Item = &'static Case> {
        let pattern = self.options.cases.as_deref().unwrap_or_default();
        cases::all().filter(|case| case.matches(pattern))
    }

    /// Runs what was asked for, several at a time.
    fn all(&self) -> Vec<CaseReport> {
        let asked: Vec<&Case> = self.asked().collect();
        let cases = asked.iter().filter(|case| self.lack(case).is_none()).count();
        self.options.tell(Progress::Started { backend: self.factory.name(), cases });
        let next = AtomicUsize::new(0);
        let reports = Mutex::new(BTreeMap::new());
        std::thread::scope(|scope| {
            for _ in 0..self.options.jobs.min(asked.len()) {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(case) = asked.get(index) else { break };
                        let report = self.attempt(case);
                        if report.verdict != Verdict::Inconclusive {
                            self.tell(&report);
                        }
                        lock(&reports).insert(index, report);
                    }
                });
            }
        });
        let mut reports = reports.into_inner().unwrap_or_else(PoisonError::into_inner);
        // The machine is theirs alone here, since it may have been what they lacked.
        for (&index, report) in reports.iter_mut().filter(|(_, report)| report.verdict == Verdict::Inconclusive) {
            *report = again(report, self.attempt(asked[index]));
            self.tell(report);
        }
        reports.into_values().collect()
    }

    /// Why a case does not apply.
    pub(crate) fn lack(&self, case: &Case) -> Option<&'static str> {
        self.claims.as_ref().ok().and_then(|claims| claims.lack(case))
    }

    /// Runs one case, and once more where that showed nothing either way.
    pub(crate) fn one(&self, case: &'static Case) -> CaseReport {
        let first = self.attempt(case);
        let report = if first.verdict == Verdict::Inconclusive { again(&first, self.attempt(case)) } else { first };
        self.tell(&report);
        report
    }

    fn attempt(&self, case: &'static Case) -> CaseReport {
        let began = Instant::now();
        let measured = Arc::default();
        let ended = match (&self.claims, self.lack(case)) {
            (Err(error), _) => Err(Failure::harness(error)),
            (Ok(_), Some(lack)) => Err(Failure::unsupported(lack)),
            (Ok(claims), None) => self.body(case, claims, &measured),
        };
        self.report(case, ended, began.elapsed(), &measured)
    }

    fn tell(&self, report: &CaseReport) {
        if report.verdict != Verdict::Unsupported {
            self.options.tell(Progress::Ended { backend: self.factory.name(), case: Box::new(report.clone()) });
        }
    }

    fn body(&self, case: &'static Case, claims: &Claims, measured: &Arc<Measured>) -> Outcome {
        let calls = Arc::new(Calls::default());
        let conditions = Conditions {
            factory: Arc::clone(&self.factory),
            claims: *claims,
            calls: Arc::clone(&calls),
            measured: Arc::clone(measured),
            seed: seed_of(self.seed, case.id),
            profile: self.options.profile,
            patience: self.options.patience,
            faulty_fs: self.options.faulty_fs.clone(),
        };
        let hangs = claims.patience(self.options.patience).saturating_mul(HANGS);
        let endless = u32::try_from(self.options.profile.rounds(1)).unwrap_or(1) * ENDLESS;
        in_runtime(&calls, hangs, endless, async move {
            let context = Context::new(conditions).await?;
            let ended = AssertUnwindSafe((case.body)(context.clone())).catch_unwind().await;
            let ended = ended.unwrap_or_else(|panic| Err(Failure::of_panic(&*panic)));
            let destroyed = context.destroy().await;
            match ended {
                // Says more than what it left behind.
                Err(failure) if matches!(failure.kind(), Kind::Broken | Kind::Harness) => Err(failure),
                ended => destroyed.and(ended),
            }
        })
    }

    fn report(&self, case: &'static Case, ended: Outcome, duration: Duration, measured: &Measured) -> CaseReport {
        let clause = case.clause();
        let passed = CaseReport {
            id: case.id,
            clause,
            verdict: Verdict::Pass,
            reason: None,
            location: None,
            seed: self.seed,
            replay: self.options.replay(&self.factory.name(), self.seed, case.id),
            duration,
            crashes: measured.crashes(),
            met: measured.met(),
            growth: measured.growth(),
            details: None,
            witness: None,
        };
        let Err(failure) = ended else { return passed };
        let failure = failure.into_inner();
        CaseReport {
            verdict: match failure.kind {
                Kind::Broken => Verdict::Fail,
                Kind::Unsupported => Verdict::Unsupported,
                Kind::Untested => Verdict::Untested,
                Kind::Inconclusive => Verdict::Inconclusive,
                Kind::Harness => Verdict::HarnessError,
            },
            reason: Some(failure.message),
            location: (failure.kind != Kind::Unsupported).then_some(failure.location),
            details: (!failure.details.is_empty()).then_some(failure.details),
            witness: failure.witness,
            ..passed
        }
    }
}

/// The second attempt at a case, with what both took and measured.
fn again(first: &CaseReport, mut second: CaseReport) -> CaseReport {
    second.take_in(first);
    second
}

/// The seed of a case in a run, so that each case makes choices of its own, whichever others run.
fn seed_of(run: u64, id: &str) -> u64 {
    fnv1a(run, id.as_bytes())
}

/// What the backend claims, asked of a store that is made for it.
async fn probe(factory: SharedFactory, calls: Arc<Calls>, patience: Duration) -> Outcome<Claims> {
    let longest = factory.max_key_len();
    if longest < LONGEST_KEY {
        let needed = format_args!("its longest key has {longest} bytes, and the suite needs {LONGEST_KEY}");
        return Err(Failure::harness(needed));
    }
    let site = factory.create(Place::Anywhere).await?;
    let asked = async {
        let backend = calls.open(factory.open(site.token(), &Settings::default())).await?;
        let pace = pace(Arc::clone(&backend), patience).await;
        let claims = Claims::of(&*backend, &factory.insists_on(), pace);
        backend.close().await?;
        Ok::<_, Failure>(claims)
    };
    let asked = asked.await;
    let destroyed = factory.destroy(site).await;
    let claims = asked?;
    destroyed?;
    if !claims.guarantees.durability.survives_kill() {
        return Ok(claims);
    }
    Ok(claims.heeding_places(heeds_places(&*factory, &calls, patience).await?))
}

/// Whether a store whose directory was chosen has files there. One that shows nothing of it is not accused here: the
/// cases that choose a directory meet its errors themselves.
async fn heeds_places(factory: &dyn Factory, calls: &Arc<Calls>, patience: Duration) -> Outcome<bool> {
    let directory = TempDir::with_prefix("irminsul-conformance-").map_err(Failure::harness)?;
    let Ok(site) = factory.create(Place::Directory(directory.path())).await else { return Ok(true) };
    let closed = async {
        let backend = calls.open(factory.open(site.token(), &Settings::default())).await?;
        pace(Arc::clone(&backend), patience).await;
        backend.close().await
    };
    let heeded = closed.await.is_err() || directory.path().read_dir().map_err(Failure::harness)?.next().is_some();
    factory.destroy(site).await?;
    Ok(heeded)
}

/// How long a store takes for an answer. What else is to be said of the answers is left to the cases, so here they may be
/// anything; one that hangs has no pace.
async fn pace(store: Arc<dyn Backend>, patience: Duration) -> Duration {
    const QUESTIONS: u32 = 3;
    let began = Instant::now();
    let asked = spawn(async move {
        if let Some(entries) = store.atomic_write() {
            let pace = key("pace");
            entries.set(&pace, value("")).await?;
            entries.find(&pace).await?;
            entries.remove(&pace).await?;
        } else if let Some(content) = store.indexable() {
            for question in 0..QUESTIONS {
                content.add(value(question)).await?;
            }
        }
        Ok::<_, store_api::Error>(())
    });
    let answered = soon(patience, "some answers", asked).await;
    answered.map_or(Duration::ZERO, |_| began.elapsed() / QUESTIONS)
}

/// Runs a future in a runtime of its own, until it ends or is given up: then its threads are left behind, and what they
/// hold.
fn in_runtime<T: Send + 'static>(
    calls: &Calls,
    hangs: Duration,
    endless: u32,
    future: impl Future<Output = Outcome<T>> + Send + 'static,
) -> Outcome<T> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().on_thread_start(on_any_core);
    let runtime: Runtime = builder.build().map_err(Failure::harness)?;
    let (send, ended) = sync_channel(1);
    runtime.spawn(async move {
        // Nobody listens any more where it came too late.
        let _ = send.send(future.await);
    });
    let outcome = the_end(&ended, calls, hangs, endless);
    runtime.shutdown_background();
    outcome
}

const LEFT_BEHIND: &str = "its threads and its stores are left behind until the program ends";

/// Waits for the end of a case, also of one that never yields, for as long as the store answers what it is asked.
fn the_end<T>(ended: &Receiver<Outcome<T>>, calls: &Calls, hangs: Duration, endless: u32) -> Outcome<T> {
    let (mut patience, mut whole) = (Patience::new(hangs), Patience::new(hangs.saturating_mul(endless)));
    let mut answers = calls.answers();
    loop {
        match ended.recv_timeout(TICK) {
            Ok(outcome) => return outcome,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(Failure::harness("the factory panicked")),
        }
        let before = std::mem::replace(&mut answers, calls.answers());
        if before != answers {
            patience = Patience::new(hangs);
        }
        let under_way = calls.under_way();
        let what = format!("an answer to {}; {LEFT_BEHIND}", under_way.as_deref().unwrap_or("anything"));
        if let Err(late) = patience.tick(&what) {
            let suite_hangs = late.kind() == Kind::Broken && under_way.is_none();
            let no_end = format_args!("the case does not end, though the store has answered everything; {LEFT_BEHIND}");
            return Err(if suite_hangs { Failure::harness(no_end) } else { late });
        }
        if whole.tick("the end of the case").is_err() {
            let slow = format_args!(
                "the case has not ended within {:?}, and the store still answers: allow more patience; {LEFT_BEHIND}",
                hangs.saturating_mul(endless)
            );
            return Err(Failure::inconclusive(slow));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, ops::Range};

    use async_trait::async_trait;
    use backend_mem::MemOptions;
    use backend_sqlite::SqliteOptions;
    use store_api::{AtomicWrite, Durability, ErrorKind, IndexLevel, Indexable, Result, Visibility, WatchLag};

    use super::*;
    use crate::Site;

    /// Never answers a `sync`, and panics at a `close`.
    struct Broken;

    #[async_trait]
    impl Backend for Broken {
        fn atomic_write(&self) -> Option<Arc<dyn AtomicWrite>> {
            None
        }

        fn indexable(&self) -> Option<Arc<dyn Indexable>> {
            None
        }

        fn guarantees(&self) -> Guarantees {
            let lag = WatchLag::new(Duration::ZERO, None);
            Guarantees::new(Durability::Volatile, Visibility::Instance, IndexLevel::Exact, lag)
        }

        async fn sync(&self) -> Result<()> {
            pending().await
        }

        async fn close(&self) -> Result<()> {
            panic!("a bug of the store")
        }
    }

    /// For what never comes.
    const SOON: Duration = Duration::from_millis(100);

    /// For what comes, also where the trace of a panic is printed on a loaded machine.
    const LATE: Duration = Duration::from_mins(5);

    /// How a case ends that does this to a broken store.
    fn end_of<F>(hangs: Duration, case: impl FnOnce(Arc<dyn Backend>) -> F + Send + 'static) -> (Kind, String)
    where
        F: Future<Output = Outcome> + Send,
    {
        let calls = Arc::new(Calls::default());
        let opening = Arc::clone(&calls);
        let ended = in_runtime(&calls, hangs, 3, async move {
            let store = opening.open(async { Ok(Arc::new(Broken) as Arc<dyn Backend>) }).await?;
            case(store).await
        });
        let failure = ended.expect_err("it must not pass").into_inner();
        (failure.kind, failure.message)
    }

    /// Makes sound stores, and cannot open those whose number is in a range: what asks for the claims has number 0.
    struct Unreachable(Range<usize>, AtomicUsize);

    #[async_trait]
    impl Factory for Unreachable {
        fn name(&self) -> String {
            "unreachable".into()
        }

        async fn create(&self, place: Place<'_>) -> Result<Site> {
            Site::without_files(place)
        }

        async fn open(&self, token: &str, _: &Settings) -> Result<Arc<dyn Backend>> {
            if self.0.contains(&self.1.fetch_add(1, Ordering::SeqCst)) {
                return Err(store_api::Error::new(ErrorKind::Unavailable, "a lost connection"));
            }
            Ok(Arc::new(MemOptions::named(token).open().await?))
        }
    }

    const ONE_CASE: &str = "atomic/A2-test-and-set-truth-table";

    fn run_unreachable(opens: Range<usize>) -> Report {
        let factory: SharedFactory = Arc::new(Unreachable(opens, AtomicUsize::new(0)));
        run(&factory, &Options::new().case(ONE_CASE))
    }

    #[test]
    fn a_case_that_showed_nothing_is_run_once_more() {
        let report = run_unreachable(1..2);
        assert!(report.passed(), "{report}");
    }

    #[test]
    fn a_run_with_a_case_that_showed_nothing_twice_has_not_passed() {
        let report = run_unreachable(1..usize::MAX);
        assert_eq!(report.backends[0].not_settled().count(), 1, "{report}");
        assert!(!report.passed());
    }

    /// Makes stores whose files are not where they were asked for.
    struct Elsewhere;

    #[async_trait]
    impl Factory for Elsewhere {
        fn name(&self) -> String {
            "elsewhere".into()
        }

        async fn create(&self, _: Place<'_>) -> Result<Site> {
            Site::with_files(Place::Anywhere, "store.db")
        }

        async fn open(&self, token: &str, _: &Settings) -> Result<Arc<dyn Backend>> {
            Ok(Arc::new(SqliteOptions::new(token).open().await?))
        }
    }

    #[test]
    fn a_factory_that_puts_files_elsewhere_than_it_was_told_is_at_fault_and_not_the_store() {
        let factory: SharedFactory = Arc::new(Elsewhere);
        let report = run(&factory, &Options::new().case("atomic/A12-a-value-that-rotted-is-corrupt"));
        let [case] = &report.backends[0].cases[..] else { panic!("one case") };
        let reason = case.reason.as_deref().unwrap_or_default();
        assert_eq!(case.verdict, Verdict::HarnessError, "{report}");
        assert!(reason.contains("Place::Directory"), "{reason}");
    }

    #[test]
    fn a_store_that_does_not_answer_is_accused_with_what_it_was_asked() {
        let (kind, message) = end_of(SOON, |store| async move { Ok(store.sync().await?) });
        assert_eq!(kind, Kind::Broken, "{message}");
        assert!(message.contains("1 sync") && message.contains("left behind"), "{message}");
    }

    #[test]
    fn a_store_that_has_answered_everything_is_not_accused_of_a_case_that_hangs() {
        let (kind, message) = end_of(SOON, |_store| pending());
        assert_eq!(kind, Kind::Harness, "{message}");
    }

    #[test]
    fn a_store_that_goes_on_answering_is_not_accused_of_a_case_without_an_end() {
        let (kind, message) = end_of(SOON, |store| async move {
            loop {
                store.guarantees();
                tokio::task::yield_now().await;
            }
        });
        assert_eq!(kind, Kind::Inconclusive, "{message}");
    }

    #[test]
    fn a_panic_is_the_stores_where_a_call_to_it_panicked() {
        let (kind, message) =
            end_of(LATE, |store| async move { Ok(spawn(async move { store.close().await }).await??) });
        assert_eq!((kind, message.as_str()), (Kind::Broken, "E1: a panic: a bug of the store"));
    }

    #[test]
    fn a_panic_of_the_suite_accuses_nobody() {
        let (kind, message) =
            end_of(LATE, |_store| async move { spawn(async { panic!("a bug of the suite") }).await? });
        assert_eq!((kind, message.as_str()), (Kind::Harness, "the suite panicked: a bug of the suite"));
    }
}
