//! Answering a first offer, what the engine alone takes for somebody who joins, and reading what a
//! client says.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]

mod support;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use fanlight::control::envelope::Envelope;
use support::Scene;
use support::floor::join;
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

fn engine(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("engine");
    let provider = str0m::crypto::from_feature_flags();
    let certificate = provider.dtls_provider.generate_certificate().unwrap();
    for pairs in [2usize, 4] {
        group.bench_function(BenchmarkId::new("joins, pairs", pairs), |bencher| {
            bencher.iter_custom(|rounds| (0..rounds).map(|_| join(&certificate, pairs)).sum());
        });
    }
    group.finish();
}

fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    let fixture = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    for (name, text) in [
        ("hello", include_str!("../tests/fixtures/protocol/hello.json")),
        ("mute", include_str!("../tests/fixtures/protocol/mute.json")),
    ] {
        let message = fixture(text)["message"].to_string();
        group.bench_function(name, |bencher| {
            bencher.iter(|| Envelope::read(std::hint::black_box(&message)).unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, answer, engine, parse);
criterion_main!(benches);
