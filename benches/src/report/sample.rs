//! A small report that the tests look at.

use std::time::Duration;

use store_api::Durability;

use super::{CheckedSubject, Failed, Headline, Latency, Report, Run, Series, Single, headline::Target};
use crate::{Delivery, Driven, Facts, Growth, Machine, Plan, Remote, Role, Slow, Stage, Stall, Syncs, Workload};

pub(super) fn facts(name: &str, role: Role) -> Facts {
    Facts {
        name: name.into(),
        role,
        durability: Durability::Power,
        visibility: None,
        cache: "64 MiB".into(),
        version: "1.2.3".into(),
        driven: if role == Role::Ours { Driven::Tasks } else { Driven::Threads },
        beside: (role == Role::Ours).then(|| "raw".into()),
        note: None,
    }
}

fn series(subject: &str, clients: usize, rates: &[f64]) -> Series {
    let run = |&per_second: &f64| Run { per_second, latency: LATENCY };
    Series { subject: subject.into(), workload: Workload::Set, clients, runs: rates.iter().map(run).collect() }
}

pub(super) const LATENCY: Latency =
    Latency { count: 5000, p50_us: 10.0, p90_us: 15.0, p99_us: 20.0, p999_us: 100.0, max_us: 1000.0 };

fn stage(records: u64) -> Stage {
    Stage {
        records,
        filled_per_second: 5000.0,
        find: LATENCY,
        set: LATENCY,
        resident_bytes: Some(records * 300),
        disk_bytes: None,
        reopen_us: None,
    }
}

pub(super) fn report() -> Report {
    Report {
        version: "0.0.0",
        command: "irminsul bench <mem:>".into(),
        machine: Machine::sample(),
        plan: Plan::quick(Duration::from_millis(100)),
        subjects: vec![
            CheckedSubject::new(facts("ours", Role::Ours), Some(Syncs { writes: 100, syncs: 101 })),
            CheckedSubject::new(facts("raw", Role::Raw), None),
        ],
        singles: vec![Single {
            operation: "find".into(),
            subject: "ours".into(),
            value_len: 128,
            median_us: 0.5.into(),
        }],
        load: vec![
            series("ours", 1, &[100.0]),
            series("ours", 64, &[3000.0, 2000.0, 2000.0]),
            series("raw", 1, &[110.0]),
        ],
        deliveries: vec![Delivery {
            subject: "ours".into(),
            watchers: 1,
            changes: 10,
            publish: LATENCY,
            delivery: Some(LATENCY),
        }],
        slow: vec![Slow { subject: "ours".into(), changes: 1000, published_bytes: 1 << 20, grown_bytes: Some(4096) }],
        stalls: vec![Stall {
            subject: "ours".into(),
            clients: 64,
            cores: Some(1.5),
            wakes: 20_000,
            work_cores: Some(1.45),
            beside_store: LATENCY,
            beside_work: Some(LATENCY),
        }],
        growth: vec![Growth { subject: "ours".into(), stages: vec![stage(10_000), stage(100_000)] }],
        remote: vec![Remote {
            operation: "set".into(),
            subject: "ours".into(),
            times: 10,
            requests: 1.0,
            bytes: 400.0,
            p50_us: 12_000.0,
        }],
        headlines: vec![Headline::new("ours beside raw", Target::AtLeast(2.0), Some(3.0))],
        failed: vec![Failed { what: "growth of raw".into(), why: "no room".into() }],
    }
}
