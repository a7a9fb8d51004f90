//! A store that does not sync each write, and says that it does: the suite must see it lose something, or its cases of
//! power loss would prove nothing.

use std::{process::ExitCode, sync::Arc};

use async_trait::async_trait;
use backend_sqlite::Sync;
use conformance::{Factory, Options, Place, Profile, Settings, SharedFactory, Site, Verdict};
use faulty_fs::{FaultyFs, Mounted};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use store_api::{AtomicWrite, Backend, Durability, Guarantees, Indexable, Result};

use self::factory::SqliteFactory;

#[path = "../conformance/factory.rs"]
#[expect(dead_code, reason = "the temporary store has no disk to lose")]
mod factory;

/// `sync=normal`, declared as `sync=full` is.
struct Boaster(SqliteFactory);

#[async_trait]
impl Factory for Boaster {
    fn name(&self) -> String {
        "boaster".into()
    }

    async fn create(&self, place: Place<'_>) -> Result<Site> {
        self.0.create(place).await
    }

    async fn open(&self, token: &str, settings: &Settings) -> Result<Arc<dyn Backend>> {
        Ok(Arc::new(Boasting(self.0.open(token, settings).await?)))
    }
}

struct Boasting(Arc<dyn Backend>);

#[async_trait]
impl Backend for Boasting {
    fn atomic_write(&self) -> Option<Arc<dyn AtomicWrite>> {
        self.0.atomic_write()
    }

    fn indexable(&self) -> Option<Arc<dyn Indexable>> {
        self.0.indexable()
    }

    fn guarantees(&self) -> Guarantees {
        let mut guarantees = self.0.guarantees();
        guarantees.durability = Durability::Power;
        guarantees
    }

    async fn sync(&self) -> Result<()> {
        self.0.sync().await
    }

    async fn close(&self) -> Result<()> {
        self.0.close().await
    }
}

fn main() -> ExitCode {
    if let Some(served) = faulty_fs::serve_if_asked() {
        return served;
    }
    let boaster: SharedFactory = Arc::new(Boaster(SqliteFactory::File(Sync::Normal)));
    conformance::child(|_| Some(Arc::clone(&boaster)));
    let lost = Trial::ignorable_test("a10_a_store_without_syncs_is_seen_to_lose_something", move || {
        match FaultyFs::mount_temporary() {
            Ok(disks) => loses_something(&boaster, &disks),
            Err(missing) => Ok(Completion::ignored_with(format!("untested: {missing}"))),
        }
    });
    libtest_mimic::run(&Arguments::from_args(), vec![lost]).exit_code()
}

/// Each of the cases fails, but for the one about `sync`, which `sync=normal` keeps as well.
fn loses_something(boaster: &SharedFactory, disks: &Mounted) -> Result<Completion, Failed> {
    let verdict_of = |case: &str| {
        let options = Options::new().profile(Profile::Standard).faulty_fs(disks.path()).case(case);
        let report = conformance::run(boaster, &options);
        let case = report.backends.into_iter().flat_map(|backend| backend.cases).next().ok_or("no such case")?;
        println!("{case}");
        Ok::<_, Failed>(case.verdict)
    };
    let cases = ["A10-a-power-loss-loses-nothing", "X1-a-power-loss", "A10-nothing-is-shown-that-is-not-synced"];
    for case in cases {
        if verdict_of(case)? != Verdict::Fail {
            return Err(format!("{case} saw no loss").into());
        }
    }
    match verdict_of("A10-what-was-synced-survives")? {
        Verdict::Pass => Ok(Completion::Completed),
        other => Err(format!("what was synced is said to be lost: {other}").into()),
    }
}
