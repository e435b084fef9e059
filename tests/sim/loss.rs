//! Networks that lose, delay and double.

use crate::viewer;
use crate::world::{Weather, World};

fn storm(seed: u64, weather: Weather) {
    let mut world = World::new(seed);
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

#[test]
fn five_per_cent_of_loss_is_repaired_both_ways() {
    for seed in [31, 32, 33] {
        storm(seed, Weather { loss: 5, ..Weather::default() });
    }
}

#[test]
fn reordering_and_doubling_change_nothing_that_a_viewer_sees() {
    for seed in [34, 35, 36] {
        storm(seed, Weather { twice: 10, jitter: 30, ..Weather::default() });
    }
}

#[test]
fn under_loss_no_stream_runs_backwards_and_each_begins_with_a_keyframe() {
    for seed in [37, 38] {
        let mut world = World::new(seed);
        world.weather = Weather { loss: 5, twice: 5, jitter: 20 };
        let all: Vec<usize> = ["a", "b", "c"].map(|name| world.join_whole("r", name)).into();
        for n in &all {
            world.on_air(*n);
        }
        world.run(6_000);
        viewer::check(&world, 60);
    }
}
