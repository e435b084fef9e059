//! Who gets which picture, for a viewer with fifty seats whose network carries a third of it all.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use fanlight::forward::layers::{Ladder, Rung, Target};
use fanlight::room::allocation::{Ask, Budget, allocate};

/// Six rungs of a camera with three layers, in bit/s.
const RATES: [(u8, u8, u32); 6] = [
    (0, 0, 60_000),
    (0, 1, 90_000),
    (0, 2, 150_000),
    (1, 1, 300_000),
    (1, 2, 500_000),
    (2, 2, 1_500_000),
];

fn ladder(n: u32) -> Ladder {
    let mut ladder = Ladder::default();
    for (layer, temporal, bps) in RATES {
        ladder.push(Rung { target: Target { layer, temporal }, bps: bps + n * 1_000 });
    }
    ladder
}

fn fifty(c: &mut Criterion) {
    let ladders: Vec<Ladder> = (0..50).map(ladder).collect();
    let ask = |(ladder, n): (&'static Ladder, u16)| Ask {
        rungs: ladder.rungs(),
        useful: 6 - usize::from(n % 3),
        held: usize::from(n % 5),
        first: n == 7,
        priority: u8::try_from(n % 3).unwrap(),
        height: 90 + n * 10,
    };
    // Lives as long as the benchmark.
    let ladders: &'static [Ladder] = ladders.leak();
    let asks: Vec<Ask<'_>> = ladders.iter().zip(0..).map(ask).collect();
    let budget = Budget { held: 20_000_000, new: 18_000_000, first: 20_000_000 };
    let mut given = Vec::new();
    c.bench_function("allocation/50 seats", |b| {
        b.iter(|| allocate(black_box(budget), black_box(&asks), &mut given));
    });
}

criterion_group!(benches, fifty);
criterion_main!(benches);
