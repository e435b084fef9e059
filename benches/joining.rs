//! Answering a first offer, and reading what a client says.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]

mod support;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use support::Scene;
use support::peer::{Peer, Wishes};

fn answer(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("answer");
    let scene = Scene::new();
    for seats in [2usize, 4, 24] {
        let wishes = Wishes { audio: true, video: true, seats, data: true };
        let address = std::net::SocketAddr::from(([10, 0, 0, 2], 40_000));
        let (_, sdp, _) = Peer::new(address, scene.now).offer(wishes);
        group.bench_function(BenchmarkId::new("pairs", seats), |bencher| {
            bencher.iter_batched(
                || (),
                |()| scene.open(std::hint::black_box(&sdp), 1),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, answer);
criterion_main!(benches);
