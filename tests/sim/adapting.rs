//! Networks of all kinds, and what each viewer is sent through them.

use std::time::{Duration, Instant};

use crate::decoder::{Pictures, picture};
use crate::support::camera::LAYERS;
use crate::support::peer::Wishes;
use crate::world::{Weather, World};

const WATCHER: Wishes = Wishes { audio: false, video: false, seats: 1, data: false };
const PUBLISHER: Wishes = Wishes { audio: true, video: true, seats: 1, data: false };

/// How much a narrow link holds before it drops.
const QUEUE: Duration = Duration::from_millis(100);

/// Somebody with a layered camera, and somebody who watches; twenty milliseconds apart.
fn two(seed: u64, workers: u8) -> (World, usize, usize) {
    let mut world = World::new(seed, workers);
    world.weather = Weather { delay: 10, ..Weather::default() };
    world.simulcast = true;
    let viewer = world.join("r", "viewer", WATCHER);
    let ada = world.join("r", "ada", PUBLISHER);
    world.until(|w| w.members.values().all(|m| m.peer.connected), "the media paths stand");
    world.on_air(ada);
    (world, viewer, ada)
}

/// Sound that came, of what was sent, between two moments.
fn heard(world: &World, n: usize, from: Instant, to: Instant) -> f64 {
    let packets = world.members[&n].peer.received.iter();
    let sound = packets.filter(|p| p.payload.len() < 100 && (from..to).contains(&p.at)).count();
    sound as f64 / ((to - from).as_millis() / 20) as f64
}

/// Bits of shown pictures in a second.
fn rate(pictures: &Pictures, from: Instant, to: Instant) -> f64 {
    let bytes: usize = pictures.between(from, to).map(|shown| shown.bytes).sum();
    bytes as f64 * 8.0 / (to - from).as_secs_f64()
}

fn percent(share: f64) -> f64 {
    share * 100.0
}

/// What the best layers that fit into a link take of it, in bit/s: the sound and headers beside.
fn best_fit(link: u64) -> f64 {
    let video = link.saturating_sub(50_000);
    let whole = LAYERS.map(|(_, bps)| bps);
    let most = whole.into_iter().filter(|bps| bps * 107 / 100 <= video).max();
    most.map_or(0.0, |bps| bps as f64)
}

fn after_a_step_down_sound_goes_on_and_a_small_picture_comes_and_after_a_step_up_the_best_is_back(
    workers: u8,
) {
    for seed in [81, 82, 83] {
        let (mut world, viewer, _) = two(seed, workers);
        world.narrow(viewer, 3_000_000, QUEUE);
        world.run(10_000);
        let down = world.now;
        world.narrow(viewer, 300_000, QUEUE);
        world.run(20_000);
        let up = world.now;
        world.narrow(viewer, 3_000_000, QUEUE);
        world.run(20_000);
        let end = world.now;
        let seen = picture(&world, viewer);
        assert!(seen.switches(down - Duration::from_secs(5), down) == 0, "it had settled");
        let concealed = 1.0 - heard(&world, viewer, down, up);
        assert!(concealed < 0.02, "{:.1} % of the sound was lost", percent(concealed));
        let low = seen.first_of(0, down).unwrap() - down;
        assert!(low < Duration::from_secs(2), "the low layer came after {low:?}");
        let freeze = seen.longest_freeze(down, up);
        assert!(freeze < Duration::from_secs(1), "the picture stood for {freeze:?}");
        let back = seen.first_of(2, up).unwrap() - up;
        assert!(back < Duration::from_secs(12), "the best layer came after {back:?}");
        assert_eq!(
            seen.between(end - Duration::from_secs(5), end).filter(|s| s.mark.layer == 2).count(),
            125
        );
        println!(
            "concealed {:.1} %, low after {low:?}, freeze {freeze:?}, back after {back:?}",
            percent(concealed)
        );
    }
}

/// One constant link: how much of the best fit was used, what we lost, what was heard, and how
/// often the layer changed once it had settled.
fn constant(seed: u64, workers: u8, bps: u64) -> [f64; 4] {
    let (mut world, viewer, _) = two(seed, workers);
    world.narrow(viewer, bps, QUEUE);
    world.run(20_000);
    let from = world.now;
    world.narrow(viewer, bps, QUEUE);
    world.run(20_000);
    let seen = picture(&world, viewer);
    let used = percent(rate(&seen, from, world.now) / best_fit(bps));
    let lost = percent(world.link_loss(viewer));
    let sound = percent(heard(&world, viewer, from, world.now));
    let switches = seen.switches(from, world.now) as f64;
    println!(
        "{bps} bit/s: {used:.0} % of the best fit, {lost:.2} % lost by us, {sound:.1} % of the \
         sound, {switches} switches in 20 s"
    );
    [used, lost, sound, switches]
}

/// Each run within bounds, and the mean of all: the engine throws dice of its own.
fn a_constant_link_is_used_and_not_flooded(workers: u8) {
    let mut all = Vec::new();
    for bps in [300_000, 500_000, 700_000, 1_000_000, 2_000_000, 5_000_000] {
        for seed in [84, 85, 86] {
            let run = constant(seed, workers, bps);
            let [used, lost, sound, switches] = run;
            assert!(used >= 55.0, "{used:.0} % of what fits into {bps} bit/s");
            assert!(lost < 5.0, "{lost:.2} % lost by us on {bps} bit/s");
            assert!(sound > 94.0, "{sound:.1} % of the sound on {bps} bit/s");
            assert!(switches <= 4.0, "{switches} switches in 20 s on {bps} bit/s");
            all.push(run);
        }
    }
    let mean = |n: usize| all.iter().map(|run| run[n].min(100.0)).sum::<f64>() / all.len() as f64;
    assert!(mean(0) >= 85.0, "{:.0} % of what fits", mean(0));
    assert!(mean(1) < 1.0, "{:.2} % lost by us", mean(1));
    assert!(mean(2) > 99.0, "{:.1} % of the sound", mean(2));
    assert!(mean(3) < 1.5, "{:.1} switches in 20 s", mean(3));
}

fn random_loss_is_repaired(workers: u8) {
    for (loss, least) in [(1, 99.0), (5, 97.0), (10, 90.0)] {
        let (mut world, viewer, _) = two(85, workers);
        world.run(3_000);
        world.weather = Weather { delay: 24, loss, ..Weather::default() };
        let from = world.now;
        world.run(20_000);
        let seen = picture(&world, viewer);
        let shown = seen.between(from, world.now).count();
        let share = percent(shown as f64 / (shown + seen.undecodable + seen.torn) as f64);
        println!("{loss} % both ways: {share:.1} % of {shown} frames");
        assert!(share >= least, "{share:.1} % of the frames that were sent");
        assert!(shown >= 200, "{shown} of 500 frames");
    }
}

crate::scenes! {
    after_a_step_down_sound_goes_on_and_a_small_picture_comes_and_after_a_step_up_the_best_is_back,
    a_constant_link_is_used_and_not_flooded,
    random_loss_is_repaired,
}
