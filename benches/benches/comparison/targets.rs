//! What the backends are meant to reach beside the others, and what they do.

use benches::{
    Headline, Measured, Report,
    Target::{AtLeast, AtMost},
    Workload,
};

use crate::{engines::map, peers::broadcast, remote, subjects::name};

/// What OCaml's Irmin took in memory on such a machine, another time: the operation, with values of 128 bytes, and
/// microseconds. Indicative, since neither the run nor the language is the same.
const IRMIN: [(&str, f64); 8] = [
    ("find, hit", 0.24),
    ("set", 0.92),
    ("test_and_set, applied", 1.16),
    ("test_and_set, mismatch", 0.59),
    ("list of all", 192.0),
    ("content, add", 1.10),
    ("content, find", 0.98),
    ("content, batch", 1200.0),
];

/// Each target, with what the report has of it.
pub(crate) fn of(report: &Report) -> Vec<Headline> {
    let mut found = Vec::new();
    let mut add = |what: String, target, measured: Option<Measured>| {
        found.push(Headline::new(what, target, measured));
    };
    let rate = |workload, one, other| report.throughput_ratio(workload, one, other).map(Measured::from);
    for (ours, raw, many) in [(name::SQLITE, name::RAW_SQLITE, 20.0), (name::ROCKSDB, name::RAW_ROCKSDB, 1.4)] {
        let raw_by = |clients| rate(Workload::Set, (ours, clients), (raw, clients));
        add(format!("{ours}: durable set by 64 clients, beside {raw} by 64"), AtLeast(many), raw_by(64));
        add(format!("{ours}: durable set by 1 client, beside {raw}"), AtLeast(0.85), raw_by(1));
    }
    let one_by_one = rate(Workload::Set, (name::ROCKSDB, 512), (name::RAW_ROCKSDB, 1));
    add(
        format!("{}: durable set by 512 clients, beside {} one by one", name::ROCKSDB, name::RAW_ROCKSDB),
        AtLeast(80.0),
        one_by_one,
    );
    for (ours, raw, most) in
        [(name::ROCKSDB_RELAXED, name::RAW_ROCKSDB_RELAXED, 1.4), (name::SQLITE_RELAXED, name::RAW_SQLITE_RELAXED, 1.6)]
    {
        let time = report.time_ratio(Workload::Find, ours, raw);
        add(format!("{ours}: time of a cached find, beside {raw}"), AtMost(most), time.map(Into::into));
    }
    for (ours, raw) in [
        (name::ROCKSDB_RELAXED, name::RAW_ROCKSDB_RELAXED),
        (name::SQLITE_RELAXED, name::RAW_SQLITE_RELAXED),
        (name::MEM, map::NAME),
    ] {
        // Of what takes less than a microsecond, two looks at the clock are a good part; below, there is one in many turns.
        if ours != name::MEM {
            let time = report.time_ratio(Workload::Set, ours, raw);
            add(format!("{ours}: time of a set that is not synced, beside {raw}"), AtMost(3.0), time.map(Into::into));
        }
        let many = rate(Workload::Set, (ours, 64), (raw, 64));
        add(format!("{ours}: set by 64 clients that is not synced, beside {raw}"), AtLeast(1.0), many);
    }
    for (ours, raw, most) in [("mem", map::NAME, 2.0), ("sqlite", "raw SQLite", 1.6), ("rocksdb", "raw RocksDB", 1.4)] {
        let time =
            |operation, len| Some(report.single(operation, ours, len)?.over(report.single(operation, raw, len)?));
        let one = format!("{ours}, one call after another");
        add(format!("{one}: time of a find, beside {raw}"), AtMost(most), time("find, hit", 128));
        add(format!("{one}: time of a set, beside {raw}"), AtMost(3.0), time("set", 128));
        for (len, called) in [(128, "128 bytes"), (4096, "4 KiB")] {
            let batch = time("content, batch", len);
            add(format!("{ours}: time of a batch of 1,000 x {called}, beside {raw}"), AtMost(1.2), batch);
        }
    }
    for (operation, irmin) in IRMIN {
        let time = report.single(operation, "mem", 128).map(|time| time.over(irmin.into()));
        add(
            format!("mem, one call after another: time of `{operation}`, beside Irmin's, elsewhere"),
            AtMost(1.0),
            time,
        );
    }
    for ours in [name::SQLITE, name::ROCKSDB] {
        for peer in [name::REDB, name::FJALL] {
            let many = rate(Workload::TestAndSet, (ours, 64), (peer, 64));
            add(format!("{ours}: durable test-and-set by 64 clients, beside {peer}"), AtLeast(1.0), many);
        }
    }
    for (ours, sled) in
        [(name::SQLITE_RELAXED, name::SLED), (name::ROCKSDB_RELAXED, name::SLED), (name::MEM, name::SLED_UNFLUSHED)]
    {
        let many = rate(Workload::TestAndSet, (ours, 64), (sled, 64));
        add(format!("{ours}: test-and-set by 64 clients, beside {sled}"), AtLeast(1.0), many);
    }
    let delivered = |subject| {
        let of = |delivery: &&benches::Delivery| delivery.subject == subject && delivery.watchers == 1;
        Some(report.deliveries.iter().find(of)?.delivery?.p50_us)
    };
    let watch = delivered(name::MEM).zip(delivered(broadcast::NAME)).map(|(ours, bare)| (ours / bare).into());
    add(format!("{}: delivery to 1 watcher, beside {}", name::MEM, broadcast::NAME), AtMost(2.0), watch);
    let ours =
        |operation| report.behind_a_network(operation, remote::OURS).map(|remote| Measured::from(remote.requests));
    add(
        format!("{}: requests for a test-and-set of a known key", remote::OURS),
        AtMost(1.0),
        ours(remote::TEST_AND_SET),
    );
    let each = ours(remote::BATCH).map(|requests| requests.times(0.001));
    add(format!("{}: requests for each value of a batch of 1,000", remote::OURS), AtMost(0.01), each);
    for stall in &report.stalls {
        let more = stall.more_us().map(|more| more / 1000.0);
        let what = format!("{}: a neighbour waits longer than beside the same work, p99.9", stall.subject);
        found.push(Headline::new(what, AtMost(1.0), more).in_unit("ms"));
    }
    for wrapped in ["mem, traced", "mem, prefixed"] {
        for operation in ["find, hit", "set"] {
            let more = report
                .single(operation, wrapped, 128)
                .zip(report.single(operation, "mem", 128))
                .map(|(with, without)| with.minus(without).times(1000.0));
            let what = format!("{wrapped}: how much longer a {operation} takes than without it");
            found.push(Headline::new(what, AtMost(40.0), more).in_unit("ns"));
        }
    }
    found
}
