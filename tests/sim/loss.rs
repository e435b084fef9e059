//! Networks that lose, delay and double.

use crate::viewer;
use crate::world::{Weather, World};

fn storm(seed: u64, workers: u8, weather: Weather) {
    let mut world = World::new(seed, workers);
    let all: Vec<usize> = ["a", "b", "c"].map(|name| world.join_whole("r", name)).into();
    for n in &all {
        world.on_air(*n);
    }
    world.run(1_000);
    world.weather = weather;
    world.forget_received();
    world.run(6_000);
    world.weather = Weather::default();
    world.run(1_000);
    for viewer in &all {
        for publisher in all.iter().filter(|n| *n != viewer) {
            let frames = world.frames(*viewer, world.mark(*publisher));
            assert!(frames >= 165, "{frames} of 175 frames came from {publisher} to {viewer}");
        }
    }
    assert!(world.members.values().all(|member| !member.over), "nobody was thrown out");
}

fn five_per_cent_of_loss_is_repaired_both_ways(workers: u8) {
    for seed in [31, 32, 33] {
        storm(seed, workers, Weather { loss: 5, ..Weather::default() });
    }
}

/// Packets of a frame change places, and so do neighbouring packets of sound. Not of different
/// frames: the bandwidth estimator takes 30 ms of jitter for congestion and holds video back.
fn reordering_and_doubling_change_nothing_that_a_viewer_sees(workers: u8) {
    for seed in [34, 35, 36] {
        storm(seed, workers, Weather { twice: 10, jitter: 14, ..Weather::default() });
    }
}

fn under_loss_no_stream_runs_backwards_and_each_begins_with_a_keyframe(workers: u8) {
    for seed in [37, 38] {
        let mut world = World::new(seed, workers);
        world.weather = Weather { loss: 5, twice: 5, jitter: 20, ..Weather::default() };
        let all: Vec<usize> = ["a", "b", "c"].map(|name| world.join_whole("r", name)).into();
        for n in &all {
            world.on_air(*n);
        }
        world.run(6_000);
        viewer::check(&world, 60);
    }
}

crate::scenes! {
    five_per_cent_of_loss_is_repaired_both_ways,
    reordering_and_doubling_change_nothing_that_a_viewer_sees,
    under_loss_no_stream_runs_backwards_and_each_begins_with_a_keyframe,
}
