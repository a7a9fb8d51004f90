//! How long the checker takes for histories of 10,000 operations, by the share of unknown outcomes.

use std::hint::black_box;

use conformance::history::{Limits, check};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

#[path = "../tests/histories/simulation.rs"]
mod simulation;

use simulation::ten_thousand_operations;

fn linearizable(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("check 10,000 operations, 16 clients, 2 keys");
    group.sample_size(10);
    for loss in [0, 1, 8] {
        let history = ten_thousand_operations(loss, 1);
        group.bench_with_input(BenchmarkId::new("lost of 256", loss), &history, |bencher, history| {
            bencher.iter(|| check(black_box(history), Limits::default()));
        });
    }
}

criterion_group!(benches, linearizable);
criterion_main!(benches);
