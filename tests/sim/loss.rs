//! Networks that lose, delay and double.

use crate::support::peer::Received;
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

/// Of 500 frames of sound, how many a viewer can play when one packet of ten is lost on each way;
/// and how many of them came in time to be played only in later packets.
fn sound_in_a_storm(seed: u64, workers: u8, repeats: bool) -> (usize, usize) {
    let mut world = World::new(seed, workers);
    let speaker = world.join_whole("r", "speaker");
    let viewer = world.join_whole("r", "viewer");
    world.members.get_mut(&speaker).unwrap().peer.repeats = repeats;
    world.on_air(speaker);
    world.weather = Weather { loss: 10, delay: 24, ..Weather::default() };
    // Until it is known that packets are lost.
    world.run(3_000);
    world.forget_received();
    world.run(10_000);
    let mark = world.mark(speaker);
    let received = &world.members[&viewer].peer.received;
    let sound: Vec<_> = received.iter().filter(|p| p.payload == sound(mark, p)).collect();
    (sound.len(), sound.iter().filter(|p| p.again).count())
}

/// What a frame of sound looks like, whenever it was sent.
fn sound(mark: u8, packet: &Received) -> Vec<u8> {
    let mut payload = vec![mark; 40];
    payload[4..8].copy_from_slice(packet.payload.get(4..8).unwrap_or(&[0; 4]));
    payload
}

/// Sent once, nineteen of a hundred would be lost.
fn sound_outlives_a_loss_of_ten_per_cent_both_ways(workers: u8) {
    let runs = [39, 40].map(|seed| sound_in_a_storm(seed, workers, true));
    let (played, again) = (runs[0].0 + runs[1].0, runs[0].1 + runs[1].1);
    println!("{played} of 1,000 frames can be played, {again} of them from later packets");
    assert!(played >= 960, "{played} of 1,000 frames can be played");
    assert!(again >= 50, "{again} frames came in later packets");
}

/// What is lost before the server stays lost, that is ten of a hundred.
fn sound_that_its_publisher_sends_once_is_sent_to_a_lossy_viewer_again(workers: u8) {
    let runs = [41, 42].map(|seed| sound_in_a_storm(seed, workers, false));
    let (played, again) = (runs[0].0 + runs[1].0, runs[0].1 + runs[1].1);
    println!("{played} of 1,000 frames can be played, {again} of them from later packets");
    assert!((850..=940).contains(&played), "{played} of 1,000 frames can be played");
    assert!(again >= 50, "{again} frames came in later packets");
}

crate::scenes! {
    sound_outlives_a_loss_of_ten_per_cent_both_ways,
    sound_that_its_publisher_sends_once_is_sent_to_a_lossy_viewer_again,
    five_per_cent_of_loss_is_repaired_both_ways,
    reordering_and_doubling_change_nothing_that_a_viewer_sees,
    under_loss_no_stream_runs_backwards_and_each_begins_with_a_keyframe,
}
