//! Networks of all kinds, and what each viewer is sent through them.

use std::time::{Duration, Instant};

use fanlight::model::Intent;
use fanlight::worker::command::{Event, Request};

use crate::decoder::{Pictures, picture};
use crate::support::camera::LAYERS;
use crate::support::peer::Wishes;
use crate::viewer;
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

const LINKS: [u64; 6] = [300_000, 500_000, 700_000, 1_000_000, 2_000_000, 5_000_000];

/// `FANLIGHT_LINKS=450000,480000` shows what becomes of others.
fn a_constant_link_is_used_and_not_flooded(workers: u8) {
    #[expect(clippy::disallowed_methods, reason = "other links on wish")]
    let wished = std::env::var("FANLIGHT_LINKS").unwrap_or_default();
    for bps in wished.split(',').filter_map(|bps| bps.parse().ok()) {
        constant(84, workers, bps);
    }
    if !wished.is_empty() {
        return;
    }
    let mut changes = Vec::new();
    for bps in LINKS {
        for seed in [84, 85, 86] {
            let [used, lost, sound, switches] = constant(seed, workers, bps);
            assert!(used >= 85.0, "{used:.0} % of what fits into {bps} bit/s");
            assert!(lost < 1.0, "{lost:.2} % lost by us on {bps} bit/s");
            assert!(sound > 99.0, "{sound:.1} % of the sound on {bps} bit/s");
            assert!(switches <= 2.0, "{switches} switches in 20 s on {bps} bit/s");
            changes.push(switches);
        }
    }
    let mean = changes.iter().sum::<f64>() / changes.len() as f64;
    assert!(mean < 0.5, "{mean:.1} switches in 20 s, in the mean of all links");
}

fn random_loss_is_repaired(workers: u8) {
    for (loss, least) in [(1, 99.0), (5, 97.0), (10, 97.0)] {
        let (mut world, viewer, _) = two(85, workers);
        // The engine asks five times for a packet, in a quarter of a second, and browsers ten
        // times: for what still lacks then a keyframe is asked for here.
        world.members.get_mut(&viewer).unwrap().peer.patience = Duration::from_millis(250);
        world.run(3_000);
        world.weather = Weather { delay: 24, loss, ..Weather::default() };
        let from = world.now;
        world.run(20_000);
        let to = world.now;
        // What was lost last is still to be repaired.
        world.weather.loss = 0;
        world.run(1_000);
        let seen = picture(&world, viewer);
        let shown = seen.between(from, to).count();
        let share = percent(shown as f64 / (shown + seen.undecodable + seen.torn) as f64);
        println!("{loss} % both ways: {share:.1} % of {shown} frames");
        assert!(share >= least, "{share:.1} % of the frames that were sent");
        assert!(shown >= 200, "{shown} of 500 frames");
    }
}

/// Rates of nine good viewers, in bit/s, with a tenth beside them whose link has this width.
fn nine_beside(workers: u8, width: u64) -> Vec<f64> {
    let mut world = World::new(86, workers);
    world.weather = Weather { delay: 10, ..Weather::default() };
    world.simulcast = true;
    let viewers: Vec<usize> = (0..10).map(|n| world.join("r", &format!("v{n}"), WATCHER)).collect();
    let ada = world.join("r", "ada", PUBLISHER);
    world.until(|w| w.members.values().all(|m| m.peer.connected), "the media paths stand");
    world.on_air(ada);
    world.narrow(viewers[0], width, QUEUE);
    world.run(5_000);
    let from = world.now;
    world.run(10_000);
    let of = |n: &usize| rate(&picture(&world, *n), from, world.now);
    viewers.iter().skip(1).map(of).collect()
}

fn one_slow_viewer_changes_nothing_for_nine_others(workers: u8) {
    let alone = nine_beside(workers, 50_000_000);
    let beside = nine_beside(workers, 200_000);
    for (alone, beside) in alone.iter().zip(&beside) {
        let change = percent((alone - beside).abs() / alone);
        assert!(change < 2.0, "{change:.1} %: {alone:.0} and {beside:.0} bit/s");
    }
}

/// Three people of one household.
fn viewers_behind_one_link_share_it_and_all_see_and_hear(workers: u8) {
    let mut world = World::new(90, workers);
    world.weather = Weather { delay: 10, ..Weather::default() };
    world.simulcast = true;
    let viewers: Vec<usize> = (0..3).map(|n| world.join("r", &format!("v{n}"), WATCHER)).collect();
    let ada = world.join("r", "ada", PUBLISHER);
    world.until(|w| w.members.values().all(|m| m.peer.connected), "the media paths stand");
    world.on_air(ada);
    world.share(&viewers, 1_500_000, QUEUE);
    world.run(20_000);
    let from = world.now;
    world.share(&viewers, 1_500_000, QUEUE);
    world.run(20_000);
    let lost = percent(world.link_loss(viewers[0]));
    let mut all = 0.0;
    for n in &viewers {
        let seen = picture(&world, *n);
        let (rate, sound) =
            (rate(&seen, from, world.now), percent(heard(&world, *n, from, world.now)));
        let freeze = seen.longest_freeze(from, world.now);
        println!("{n}: {rate:.0} bit/s, {sound:.1} % of the sound, {freeze:?}");
        assert!(rate > 60_000.0, "{n} sees next to nothing: {rate:.0} bit/s");
        assert!(sound > 98.0, "{n} heard {sound:.1} %");
        all += rate;
    }
    println!("{all:.0} of 1,500,000 bit/s, {lost:.2} % lost");
    assert!(all > 600_000.0, "{all:.0} bit/s used");
    assert!(lost < 1.0, "{lost:.2} % lost");
}

fn a_storm_of_joins_costs_the_publisher_few_keyframes(workers: u8) {
    let mut world = World::new(87, workers);
    world.simulcast = true;
    let ada = world.join("r", "ada", PUBLISHER);
    let first = world.join("r", "first", WATCHER);
    world.until(|w| w.members.values().all(|m| m.peer.connected), "the media paths stand");
    world.on_air(ada);
    world.run(5_000);
    let before = world.members[&ada].peer.keyframe_requests.len();
    let mut joined = Vec::new();
    for n in 0..40 {
        joined.push((world.join("r", &format!("v{n}"), WATCHER), world.now));
        world.run(125);
    }
    let asked = world.members[&ada].peer.keyframe_requests.len() - before;
    world.run(1_000);
    let mut waits: Vec<Duration> = Vec::new();
    for (viewer, at) in joined {
        let seen = picture(&world, viewer);
        waits.push(seen.shown.first().expect("a picture").at - at);
        assert_eq!(seen.undecodable, 0, "{viewer}");
    }
    waits.sort_unstable();
    let p95 = waits[waits.len() * 95 / 100];
    println!("{asked} keyframe requests for 40 joins; first picture p95 {p95:?}");
    assert!(asked <= 3, "{asked} keyframe requests for 40 joins in five seconds");
    assert!(p95 < Duration::from_millis(500), "first picture p95 {p95:?}");
    assert!(picture(&world, first).undecodable == 0);
}

/// Wishes change four times a second, so that layers do as often as they can. `FANLIGHT_WISHES=3000`
/// makes a thousand switches of it.
fn many_switches_leave_no_frame_that_cannot_be_decoded(workers: u8) {
    #[expect(clippy::disallowed_methods, reason = "a longer run on wish")]
    let wishes = std::env::var("FANLIGHT_WISHES").ok().and_then(|n| n.parse().ok());
    let wishes = wishes.unwrap_or(400);
    let (mut world, viewer, ada) = two(88, workers);
    world.run(2_000);
    let track = world.track_of(viewer, ada);
    let begin = world.now;
    for _ in 0..wishes {
        let height = [90, 180, 360, 720][usize::try_from(world.dice.roll(4)).unwrap()];
        let intent = Intent { track, height, priority: 0, pinned: false };
        world.request(viewer, Request::Intents(vec![intent]));
        world.run(250);
    }
    let seen = picture(&world, viewer);
    let switches = seen.switches(begin, world.now);
    let frozen = seen.frozen_at_switches(begin, world.now);
    println!("{switches} switches, frozen p95 {frozen:?}");
    assert!(switches >= wishes / 8, "{switches} switches");
    assert_eq!(seen.undecodable, 0);
    assert!(frozen < Duration::from_millis(250), "frozen p95 {frozen:?}");
    viewer::check(&world, 0);
}

fn a_picture_that_is_not_shown_is_not_sent_and_the_publisher_is_told(workers: u8) {
    let (mut world, viewer, ada) = two(89, workers);
    world.run(2_000);
    let track = world.track_of(viewer, ada);
    let show = |world: &mut World, height| {
        let intent = Intent { track, height, priority: 0, pinned: false };
        world.request(viewer, Request::Intents(vec![intent]));
    };
    show(&mut world, 0);
    world.run(1_000);
    let hidden = world.now;
    world.run(6_000);
    assert_eq!(picture(&world, viewer).between(hidden, world.now).count(), 0);
    let active =
        |world: &World| world.members[&ada].peer.streams.iter().filter(|s| s.active).count();
    assert_eq!(active(&world), 1, "the sound: nobody watches");
    show(&mut world, 180);
    let shown = world.now;
    world.run(1_000);
    let first = picture(&world, viewer).between(shown, world.now).next().map(|s| s.at - shown);
    assert!(first < Some(Duration::from_millis(300)), "{first:?}");
    world.run(6_000);
    assert_eq!(active(&world), 2, "the smallest layer is tall enough");
    assert!(world.members[&viewer].events.iter().all(|e| !matches!(e, Event::StreamState(_))));
}

crate::scenes! {
    after_a_step_down_sound_goes_on_and_a_small_picture_comes_and_after_a_step_up_the_best_is_back,
    a_constant_link_is_used_and_not_flooded,
    random_loss_is_repaired,
    one_slow_viewer_changes_nothing_for_nine_others,
    viewers_behind_one_link_share_it_and_all_see_and_hear,
    a_storm_of_joins_costs_the_publisher_few_keyframes,
    many_switches_leave_no_frame_that_cannot_be_decoded,
    a_picture_that_is_not_shown_is_not_sent_and_the_publisher_is_told,
}
