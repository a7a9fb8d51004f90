//! A run on a store that does nothing: every part works, and the report has what was asked for. And one on a store that
//! takes its time, which is what the report has to tell.

use std::{path::Path, time::Duration};

use benches::{
    Client, Driven, DynSubject, Facts, Load, Loaded, NullStore, Plan, Progress, StallPlan, Store, Subject, Workload,
    measure_load, measure_stall,
};
use bytes::Bytes;
use store_api::{Error, ErrorKind, Key, Result, TestAndSet};
use tempfile::TempDir;

fn nothing(plan: &Plan) -> NullStore {
    NullStore { value: Bytes::from(vec![b'.'; plan.value_len]) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_workload_runs_with_each_number_of_clients() {
    let place = TempDir::new().unwrap();
    let plan = Plan::quick(Duration::from_millis(10));
    let subject = nothing(&plan);
    let subjects: [&dyn DynSubject; 1] = [&subject];
    let asked = Load { subjects: &subjects, workloads: &Workload::ALL, plan: &plan };
    let Loaded { series: found, failed, .. } = measure_load(asked, place.path(), &Progress::none()).await;
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(found.len() as u64, asked.runs());
    for workload in Workload::ALL {
        let clients: Vec<usize> =
            found.iter().filter(|series| series.workload == workload).map(|series| series.clients).collect();
        assert_eq!(clients, if workload.is_basic() { vec![1, 64] } else { vec![64] }, "{workload}");
    }
    for series in &found {
        let latency = series.latency();
        assert_eq!(series.runs.len(), 1);
        assert!(latency.p50_us <= latency.p99_us && latency.p99_us <= latency.max_us, "{latency:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_neighbour_of_a_store_is_polled_and_waits_some_time() {
    let place = TempDir::new().unwrap();
    let plan = Plan::quick(Duration::from_millis(50));
    let found =
        measure_stall(&nothing(&plan), place.path(), &StallPlan { load: plan }, &Progress::none()).await.unwrap();
    assert!(found.beside_store.max_us > 0.0);
}

const ANSWER: Duration = Duration::from_millis(5);

/// Answers after a time that is known.
#[derive(Clone)]
struct Slow;

impl Subject for Slow {
    type Store = Self;

    fn facts(&self) -> Facts {
        Facts { name: "slow".into(), ..DynSubject::facts(&NullStore { value: Bytes::new() }) }
    }

    async fn open(&self, _: &Path) -> Result<Self> {
        Ok(Self)
    }
}

impl Store for Slow {
    type Client = Self;

    const DRIVEN: Driven = Driven::Tasks;

    fn client(&self) -> Result<Self> {
        Ok(Self)
    }

    async fn fill(&self, _: Vec<(Key, Bytes)>) -> Result<()> {
        Ok(())
    }

    async fn close(self) -> Result<()> {
        Ok(())
    }
}

impl Client for Slow {
    type Value = Bytes;

    async fn find(&mut self, _: &Key) -> Result<Option<Bytes>> {
        tokio::time::sleep(ANSWER).await;
        Ok(None)
    }

    async fn set(&mut self, _: &Key, _: Bytes) -> Result<()> {
        tokio::time::sleep(ANSWER).await;
        Ok(())
    }

    async fn test_and_set(&mut self, _: &Key, _: Option<Bytes>, _: Option<Bytes>) -> Result<TestAndSet> {
        tokio::time::sleep(ANSWER).await;
        Ok(TestAndSet::Applied)
    }

    async fn scan(&mut self, _: &Key) -> Result<usize> {
        Err(Error::new(ErrorKind::Other, "it has no order"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_store_takes_is_told_by_every_percentile_and_by_the_rate() {
    let place = TempDir::new().unwrap();
    let mut plan = Plan::quick(Duration::from_millis(200));
    plan.clients.truncate(1);
    let workloads = [Workload::Find, Workload::Set, Workload::TestAndSet];
    let asked = Load { subjects: &[&Slow], workloads: &workloads, plan: &plan };
    let Loaded { series: found, failed, .. } = measure_load(asked, place.path(), &Progress::none()).await;
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(found.len(), 3);
    for series in found {
        let latency = series.latency();
        let [p50, max] = [latency.p50_us, latency.max_us].map(|us| us / 1e6);
        // Times have three digits; the machine may be busy, but not for a second each time.
        assert!(p50 >= ANSWER.as_secs_f64() * 0.99 && p50 < 1.0 && max >= p50, "{latency:?}");
        let most = 1.0 / ANSWER.as_secs_f64();
        assert!((1.0..=most * 1.1).contains(&series.per_second()), "{}", series.per_second());
    }
}

#[test]
fn more_clients_than_records_are_refused() {
    let mut plan = Plan::quick(Duration::from_millis(10));
    plan.records = 63;
    assert!(plan.check().unwrap_err().to_string().contains("64 clients"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_fails_is_named_and_the_others_go_on() {
    let place = TempDir::new().unwrap();
    let plan = Plan::quick(Duration::from_millis(10));
    let nothing = nothing(&plan);
    let workloads = [Workload::C, Workload::E, Workload::D];
    let asked = Load { subjects: &[&Slow, &nothing], workloads: &workloads, plan: &plan };
    let Loaded { series, failed, .. } = measure_load(asked, place.path(), &Progress::none()).await;
    let of = |name: &str| series.iter().filter(|series| series.subject == name).map(|series| series.workload).collect();
    let (slow, others): (Vec<Workload>, Vec<Workload>) =
        (of(&DynSubject::facts(&Slow).name), of(&DynSubject::facts(&nothing).name));
    assert_eq!((slow, others), (vec![Workload::C], workloads.to_vec()));
    let [(name, error)] = &failed[..] else { panic!("{failed:?}") };
    assert_eq!((name, error.to_string().contains("it has no order")), (&DynSubject::facts(&Slow).name, true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_of_additions_ends_before_they_fill_memory() {
    let place = TempDir::new().unwrap();
    let mut plan = Plan::quick(Duration::from_mins(1));
    plan.value_len = 1 << 20;
    let nothing = nothing(&plan);
    let asked = Load { subjects: &[&nothing], workloads: &[Workload::Add], plan: &plan };
    let Loaded { series, failed, .. } = measure_load(asked, place.path(), &Progress::none()).await;
    assert!(failed.is_empty(), "{failed:?}");
    // Less than half a second of it, where a minute was allowed.
    let [run] = &series[0].runs[..] else { panic!("{series:?}") };
    assert!((1..100_000).contains(&run.latency.count), "{run:?}");
}
