//! Runs cases, each in a runtime of its own with a store of its own, and turns how they end into a report.

use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc::{RecvTimeoutError, sync_channel},
    },
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use store_api::Guarantees;
use tokio::runtime::{Builder, Runtime};

use crate::{
    BackendReport, CaseReport, Context, Factory, Options, Place, Profile, Progress, Report, Settings, SharedFactory,
    Verdict,
    case::{Case, Claims},
    cases,
    context::Conditions,
    failure::{Failure, Kind, Outcome, panic_message},
    patience::{Patience, TICK},
};

/// After which a case that does not end has failed, however slow the machine; told by a control timer.
const LIMIT: Duration = Duration::from_mins(5);

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
        let claims = in_runtime(LIMIT, probe(Arc::clone(factory)));
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
                        let report = self.one(case);
                        reports.lock().unwrap_or_else(PoisonError::into_inner).insert(index, report);
                    }
                });
            }
        });
        reports.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
    }

    /// Why a case does not apply.
    pub(crate) fn lack(&self, case: &Case) -> Option<&'static str> {
        self.claims.as_ref().ok().and_then(|claims| claims.lack(case))
    }

    /// Runs one case.
    pub(crate) fn one(&self, case: &'static Case) -> CaseReport {
        let began = Instant::now();
        let ended = match (&self.claims, self.lack(case)) {
            (Err(error), _) => Err(Failure::harness(error)),
            (Ok(_), Some(lack)) => Err(Failure::unsupported(lack)),
            (Ok(claims), None) => self.body(case, claims),
        };
        let report = self.report(case, ended, began.elapsed());
        if report.verdict != Verdict::Unsupported {
            self.options.tell(Progress::Ended { backend: self.factory.name(), case: Box::new(report.clone()) });
        }
        report
    }

    fn body(&self, case: &'static Case, claims: &Claims) -> Outcome {
        let conditions = Conditions {
            factory: Arc::clone(&self.factory),
            guarantees: claims.guarantees,
            seed: seed_of(self.seed, case.id),
            profile: self.options.profile,
            patience: self.options.patience,
            faulty_fs: self.options.faulty_fs.clone(),
        };
        in_runtime(LIMIT, async move {
            let context = Context::new(conditions).await?;
            let ended = AssertUnwindSafe((case.body)(context.clone())).catch_unwind().await;
            let ended = ended
                .unwrap_or_else(|panic| Err(Failure::broken(format_args!("E1: a panic: {}", panic_message(&*panic)))));
            // A failure of the case says more than what it left behind.
            let destroyed = context.destroy().await;
            ended.and(destroyed)
        })
    }

    fn report(&self, case: &'static Case, ended: Outcome, duration: Duration) -> CaseReport {
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

/// The seed of a case in a run, so that each case makes choices of its own, whichever others run.
fn seed_of(run: u64, id: &str) -> u64 {
    // FNV-1a: stable over versions of the language, so that a seed in a report stays good.
    id.bytes().fold(run ^ 0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// What the backend claims, asked of a store that is made for it.
async fn probe(factory: Arc<dyn Factory>) -> Outcome<Claims> {
    let site = factory.create(Place::Anywhere).await?;
    let backend = factory.open(site.token(), &Settings::default()).await?;
    let claims = Claims::of(&*backend);
    backend.close().await?;
    drop(backend);
    factory.destroy(site).await?;
    Ok(claims)
}

/// Runs a future in a runtime of its own, and fails it when it does not end, also when it never yields.
fn in_runtime<T: Send + 'static>(
    limit: Duration,
    future: impl Future<Output = Outcome<T>> + Send + 'static,
) -> Outcome<T> {
    let runtime: Runtime =
        Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(Failure::harness)?;
    let (send, ended) = sync_channel(1);
    runtime.spawn(async move {
        // Nobody listens any more where it came too late.
        let _ = send.send(future.await);
    });
    let mut patience = Patience::new(limit);
    let outcome = loop {
        match ended.recv_timeout(TICK) {
            Ok(outcome) => break outcome,
            Err(RecvTimeoutError::Timeout) => {
                if let Err(late) = patience.tick("the end of the case") {
                    break Err(late);
                }
            }
            Err(RecvTimeoutError::Disconnected) => break Err(Failure::broken("E1: a panic ended the case")),
        }
    };
    runtime.shutdown_background();
    outcome
}
