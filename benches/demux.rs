//! Classify a datagram and find whose it is.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]

mod support;

use std::net::SocketAddr;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fanlight::room::MemberKey;
use fanlight::wire::classify::classify;
use fanlight::wire::stun::Stun;
use fanlight::worker::demux::{Demux, Sources};
use support::Scene;

fn demux(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("demux");
    group.throughput(Throughput::Elements(1));
    let now = Scene::new().now;
    for known in [10u32, 1_000, 100_000] {
        let mut demux = Demux::default();
        let address = |n: u32| SocketAddr::from((n.to_be_bytes(), 40_000));
        for index in 0..known {
            let key = MemberKey { index, generation: 0 };
            demux.bind(address(index), key, &mut Sources::default(), now).unwrap();
        }
        let packet = [0x80u8; 1_200];
        let mut n = 0;
        group.bench_function(BenchmarkId::new("rtp", known), |bencher| {
            bencher.iter(|| {
                n = (n + 7_919) % known;
                (classify(std::hint::black_box(&packet)), demux.owner(address(n)))
            });
        });
    }
    let stun = {
        let mut bytes = vec![0, 1, 0, 16, 0x21, 0x12, 0xa4, 0x42];
        bytes.extend_from_slice(&[7; 12]);
        bytes.extend_from_slice(&[0, 6, 0, 12]);
        bytes.extend_from_slice(b"00abcdef:xyz");
        bytes
    };
    group.bench_function("stun", |bencher| {
        bencher.iter(|| Stun::parse(std::hint::black_box(&stun)).unwrap().username.is_some());
    });
    group.finish();
}

criterion_group!(benches, demux);
criterion_main!(benches);
