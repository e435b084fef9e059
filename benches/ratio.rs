//! What a worker adds to the engine, as ratios: rounds of both take turns in one process, so that
//! a machine that others use too slows both. Prints a table; takes some minutes.
//!
//! ```text
//! cargo bench --bench ratio              # broadcasts to 10, 50, 200 and 400, two workers, meetings of 10 and 3
//! cargo bench --bench ratio -- 50        # one broadcast, and two workers
//! cargo bench --bench ratio -- meeting   # meetings of 10 and 3
//! ```

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]
#![expect(clippy::print_stdout, reason = "the table is what it is for")]

mod support;

use std::sync::Barrier;
use std::time::Duration;

use support::Scene;
use support::floor::Floor;
use support::meeting::{Cost, Table};

/// Rounds of each, taking turns.
const ROUNDS: usize = 9;

/// Time between two frames of eight packets: 1.4 Mbit/s, which the estimate carries from the start.
const GAP: Duration = Duration::from_micros(53_333);

/// Turns that engine and worker take within a round: what slows this machine for a moment slows both.
const TURNS: usize = 16;

/// Some frames more of a round.
fn go_on(cost: &mut Cost, frames: usize, mut frame: impl FnMut() -> (Duration, usize)) {
    for _ in 0..frames {
        let (took, out) = frame();
        cost.took += took;
        cost.packets += out;
    }
}

fn median(values: &mut [f64]) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2], values[0], values[values.len() - 1])
}

fn row(name: &str, mut values: Vec<f64>, unit: &str) {
    let (middle, least, most) = median(&mut values);
    println!("{name:<52} {middle:>7.2} {unit}  ({least:.2} to {most:.2})");
}

fn compare(viewers: usize, bwe: bool) {
    let mut floor = Floor::new(viewers, bwe);
    let mut scene = Scene::broadcast(viewers);
    let frames = (4_000 / viewers.max(40) / TURNS).max(1);
    let mut by = [(); 4].map(|()| Vec::new());
    for warm in 0..=ROUNDS {
        let mut measured = [Cost::default(); 4];
        for turn in 0..2 * TURNS {
            let together = turn % 2 == 1;
            let [one, worker_one, eight, worker_eight] = &mut measured;
            let (engine, worker) = if together { (eight, worker_eight) } else { (one, worker_one) };
            go_on(engine, frames, || {
                floor.settle(GAP);
                floor.frame(8, together)
            });
            go_on(worker, frames, || {
                scene.settle(GAP);
                scene.frame(8, together)
            });
        }
        if warm > 0 {
            by.iter_mut().zip(measured).for_each(|(list, cost)| list.push(cost.each()));
        }
    }
    let ratio = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a / b).collect::<Vec<_>>();
    let [one, worker_one, eight, worker_eight] = by;
    println!("{viewers} viewers, bandwidth estimation {}", if bwe { "on" } else { "off" });
    row("  worker / engine, one packet per wake", ratio(&worker_one, &one), "");
    row("  worker with eight per wake / engine with one", ratio(&worker_eight, &one), "");
    row("  engine, one packet per wake", one, "µs");
    row("  engine, eight per wake", eight, "µs");
    row("  worker, one packet per wake", worker_one, "µs");
    row("  worker, eight per wake", worker_eight, "µs");
}

/// Packets per second that each of `threads` workers carries, all running at the same time: only
/// the workers' own time counts, not that of the clients that feed them.
fn carried(threads: usize, viewers: usize) -> f64 {
    let start = Barrier::new(threads);
    let rates = std::thread::scope(|scope| {
        let run = || {
            let mut scene = Scene::broadcast(viewers);
            start.wait();
            let (mut time, mut sent) = (Duration::ZERO, 0);
            for _ in 0..200 {
                scene.settle(GAP);
                let (took, out) = scene.frame(8, true);
                time += took;
                sent += out;
            }
            sent as f64 / time.as_secs_f64()
        };
        #[expect(clippy::needless_collect, reason = "all run before the first is waited for")]
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        all.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<f64>>()
    });
    rates.iter().sum()
}

fn cores() {
    let rounds = (0..5).map(|_| (carried(1, 50), carried(2, 50)));
    let (one, ratio): (Vec<f64>, Vec<f64>) = rounds.map(|(one, two)| (one, two / one)).unzip();
    println!("two workers on two threads, 50 viewers each");
    row("  packets of two / packets of one", ratio, "");
    row("  one", one.iter().map(|rate| rate / 1_000.0).collect(), "thousand/s");
}

/// All that a meeting costs the server but system calls: the worker, and its engines alone.
fn meeting(people: usize) {
    let (mut table, mut scene) = (Table::new(people), Scene::meeting(people));
    let rounds = (0..ROUNDS).map(|_| (table.meet(990), scene.meet(990))).collect::<Vec<_>>();
    let (engines, worker) = rounds[ROUNDS - 1];
    println!("meeting of {people}, {} and {} packets a second", engines.packets, worker.packets);
    let all = |of: fn(&(Cost, Cost)) -> f64| rounds.iter().map(of).collect::<Vec<f64>>();
    row("  worker / engines", all(|(engines, worker)| worker.each() / engines.each()), "");
    row("  engines", all(|(engines, _)| engines.each()), "µs");
    row("  worker", all(|(_, worker)| worker.each()), "µs");
}

fn main() {
    let words = || std::env::args().skip(1).filter(|word| !word.starts_with('-'));
    let wanted: Vec<usize> = words().filter_map(|word| word.parse().ok()).collect();
    let meetings = words().any(|word| word == "meeting");
    let wanted = match wanted.is_empty() && !meetings {
        true => vec![10, 50, 200, 400],
        false => wanted,
    };
    for viewers in &wanted {
        compare(*viewers, true);
    }
    if !wanted.is_empty() {
        cores();
    }
    if meetings || words().next().is_none() {
        [10, 3].into_iter().for_each(meeting);
    }
}
