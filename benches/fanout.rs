//! One packet in, N out, through a whole worker without sockets.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]

mod support;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use support::Scene;

fn fanout(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fanout");
    for viewers in [1usize, 10, 100] {
        let mut scene = Scene::broadcast(viewers);
        let packets = scene.video();
        let sent: usize = packets.iter().map(|packet| scene.pass(packet)).sum();
        assert!(sent >= viewers, "{sent} datagrams for {viewers} viewers");
        let scene = std::cell::RefCell::new(scene);
        group.throughput(Throughput::Elements(viewers as u64));
        group.bench_function(BenchmarkId::from_parameter(format!("sinks={viewers}")), |bencher| {
            bencher.iter_batched(
                || scene.borrow_mut().video(),
                |packets| {
                    let mut scene = scene.borrow_mut();
                    packets.iter().map(|packet| scene.pass(packet)).sum::<usize>()
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, fanout);
criterion_main!(benches);
