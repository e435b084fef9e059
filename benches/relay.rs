//! One packet in, N out, when half of those who watch sit on another worker: what the packet costs
//! the publisher's worker, and what it costs the other one.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]

mod support;

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use support::spread::Spread;

fn relay(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("relay");
    group.sample_size(20);
    for viewers in [10usize, 100] {
        let half = viewers / 2;
        for (name, near, far, timed) in [
            ("all_here", viewers, 0, 0),
            ("half_elsewhere/here", half, half, 0),
            ("half_elsewhere/elsewhere", half, half, 1),
            ("all_elsewhere/here", 0, viewers, 0),
        ] {
            let mut spread = Spread::new(near, far);
            let passed = (0..20).map(|_| spread.pass()).last().unwrap();
            assert!(passed.received >= viewers, "{passed:?}");
            assert_eq!(passed.relayed, usize::from(far > 0), "one copy, however many watch");
            group.throughput(Throughput::Elements(1));
            group.bench_function(BenchmarkId::new(name, viewers), |bencher| {
                bencher.iter_custom(|rounds| {
                    let (mut took, mut received) = (Duration::ZERO, 0);
                    for _ in 0..rounds {
                        let passed = spread.pass();
                        took += passed.took[timed];
                        received += passed.received as u64;
                    }
                    let expected = rounds * viewers as u64;
                    assert!(received >= expected, "{received} of {expected} packets came");
                    took
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, relay);
criterion_main!(benches);
