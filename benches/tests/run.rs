//! A run on a store that does nothing: every part works, and the report has what was asked for.

use std::time::Duration;

use benches::{Load, Measured, Nothing, Plan, Progress, StallPlan, Workload, load, stall};
use bytes::Bytes;
use tempfile::TempDir;

fn nothing(plan: &Plan) -> Nothing {
    Nothing { value: Bytes::from(vec![b'.'; plan.value_len]) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_workload_runs_with_each_number_of_clients() {
    let place = TempDir::new().unwrap();
    let plan = Plan::quick(Duration::from_millis(10));
    let subject = nothing(&plan);
    let subjects: [&dyn Measured; 1] = [&subject];
    let asked = Load { subjects: &subjects, workloads: &Workload::ALL, plan: &plan };
    let found = load(asked, place.path(), &Progress::none()).await.unwrap();
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
    let found = stall(&nothing(&plan), place.path(), &StallPlan { load: plan }, &Progress::none()).await.unwrap();
    assert!(found.beside_store.max_us > 0.0);
}

#[test]
fn more_clients_than_records_are_refused() {
    let mut plan = Plan::quick(Duration::from_millis(10));
    plan.records = 63;
    assert!(plan.check().unwrap_err().to_string().contains("64 clients"));
}
