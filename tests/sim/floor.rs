//! Who is heard in a room with many microphones, and from which syllable on.

use std::time::Duration;

use fanlight::counts::DropReason;
use fanlight::ids::TrackId;
use fanlight::model::Intent;
use fanlight::worker::command::{Event, Request};

use crate::support::peer::Wishes;
use crate::viewer;
use crate::world::{Weather, World};

const TALKER: Wishes = Wishes { audio: true, video: false, seats: 8, data: false };

/// A fan in the background.
const NOISE: i8 = -70;
const LOUD: i8 = -20;

/// So many people with open microphones that send noise.
fn table(seed: u64, workers: u8, people: usize) -> (World, Vec<usize>) {
    table_with(TALKER, seed, workers, people)
}

fn table_with(wishes: Wishes, seed: u64, workers: u8, people: usize) -> (World, Vec<usize>) {
    let mut world = World::new(seed, workers);
    world.hop = Duration::from_millis(1);
    let all: Vec<usize> = (0..people).map(|n| world.join("r", &format!("p{n}"), wishes)).collect();
    for n in &all {
        world.until(|world| world.members[n].peer.connected, "the media path stands");
        let member = world.members.get_mut(n).unwrap();
        member.peer.level = NOISE;
        member.speaks = true;
    }
    world.run(1_500);
    (world, all)
}

fn level(world: &mut World, n: usize, level: i8) {
    world.members.get_mut(&n).unwrap().peer.level = level;
}

fn microphone(world: &World, n: usize) -> TrackId {
    let Event::Joined { me, .. } = &world.members[&n].events[0] else { panic!("no welcome") };
    me.tracks[0].id
}

/// Whom each of the others heard in the next second, whole or not at all.
fn heard_in_a_second(world: &mut World, all: &[usize]) -> Vec<usize> {
    world.run(100);
    world.forget_received();
    world.run(1_000);
    let mut heard = Vec::new();
    for speaker in all {
        let others = all.iter().filter(|n| *n != speaker);
        let counts: Vec<usize> = others.map(|n| world.heard(*n, world.mark(*speaker))).collect();
        let whole = counts.iter().all(|count| (49..=51).contains(count));
        assert!(whole || counts.iter().all(|count| *count == 0), "{speaker}: {counts:?}");
        if whole {
            heard.push(*speaker);
        }
    }
    heard
}

fn of_eight_people_the_four_that_speak_are_heard_and_nobody_else(workers: u8) {
    let (mut world, all) = table(91, workers, 8);
    for n in &all[4..] {
        level(&mut world, *n, LOUD);
        world.run(100);
    }
    assert_eq!(heard_in_a_second(&mut world, &all), all[4..]);
    let before = world.drops(DropReason::Quiet);
    world.run(1_000);
    let quiet = world.drops(DropReason::Quiet) - before;
    assert!(quiet.abs_diff(4 * 7 * 50) <= 4 * 7 * 2, "{quiet} copies were held back");
    level(&mut world, all[1], LOUD);
    assert_eq!(heard_in_a_second(&mut world, &all), all[4..], "while they speak");
    level(&mut world, all[5], NOISE);
    world.run(1_000);
    let heard = heard_in_a_second(&mut world, &all);
    assert_eq!(heard, [all[1], all[4], all[6], all[7]], "who fell silent gives way");
    viewer::check(&world, 0);
}

/// One after the other speaks for 800 ms, and rests so long after that. Prints what of the onsets is
/// lost, and asserts that it is next to nothing.
fn onsets(world: &mut World, all: &[usize], rest: u64) {
    let (mut lost, mut waited) = (Vec::new(), Vec::new());
    for (round, speaker) in all.iter().cycle().skip(4).take(18).enumerate() {
        // Half of them send noise before, the others nothing at all (discontinuous transmission).
        if round % 2 == 1 {
            world.members.get_mut(speaker).unwrap().speaks = false;
            world.run(700);
        }
        let onset = world.members[speaker].peer.streams[0].timestamp.wrapping_add(960);
        let from = world.now;
        world.forget_received();
        world.members.get_mut(speaker).unwrap().speaks = true;
        level(world, *speaker, LOUD);
        world.run(800);
        level(world, *speaker, NOISE);
        let mark = world.mark(*speaker);
        for viewer in all.iter().filter(|n| *n != speaker) {
            let received = &world.members[viewer].peer.received;
            let own = received.iter().filter(|packet| packet.payload.last() == Some(&mark));
            let sent = own.map(|packet| {
                let at = u32::from_be_bytes(packet.payload[4..8].try_into().unwrap());
                (at.wrapping_sub(onset).cast_signed(), packet.at - from)
            });
            let of_it: Vec<_> = sent.filter(|(since, _)| *since >= 0).collect();
            let first = of_it.iter().min().copied();
            let (since, at) = first.expect("everybody hears the speaker in the end");
            let count = i32::try_from(of_it.len()).unwrap();
            assert!(count + since / 960 >= 39, "{count} of 40 packets");
            lost.push(since / 48);
            waited.push(at.as_millis());
        }
        viewer::check(world, 0);
        // Another moment of the home's looks each time.
        world.run(rest + 20 * (round as u64 % 10));
    }
    lost.sort_unstable();
    waited.sort_unstable();
    let (median, worst) = (lost[lost.len() / 2], lost[lost.len() - 1]);
    let (usual, longest) = (waited[waited.len() / 2], waited[waited.len() - 1]);
    println!("{} onsets: lost {median} ms median, {worst} ms at most;", lost.len());
    println!("the first syllable came after {usual} ms median, {longest} ms at most");
    assert!(median < 20, "{median} ms of the onset are lost in the median: {lost:?}");
    assert!(worst <= 40, "{lost:?}");
    assert!(longest < 400, "{waited:?}");
}

fn a_newly_elected_speaker_is_heard_from_the_first_syllable_on(workers: u8) {
    let (mut world, all) = table(92, workers, 9);
    onsets(&mut world, &all, 500);
}

fn who_speaks_up_without_a_seat_is_heard_from_the_first_syllable_on(workers: u8) {
    // Of six people everybody is heard, of nine only who has the floor.
    for people in [6, 9] {
        let few = Wishes { seats: 3, ..TALKER };
        let (mut world, all) = table_with(few, 98, workers, people);
        // A seat changes hands for a speaker once in two seconds.
        world.run(1_000);
        onsets(&mut world, &all, 1_500);
    }
}

fn in_a_small_room_everybody_is_heard_and_nothing_held_back(workers: u8) {
    let (mut world, all) = table(93, workers, 5);
    assert_eq!(heard_in_a_second(&mut world, &all), all);
    assert_eq!(world.drops(DropReason::Quiet), 0);
    viewer::check(&world, 0);
}

fn a_room_is_small_again_once_enough_have_muted(workers: u8) {
    let (mut world, all) = table(94, workers, 8);
    level(&mut world, all[7], LOUD);
    world.run(500);
    assert_eq!(heard_in_a_second(&mut world, &all).len(), 4);
    let mute = |world: &mut World, n: usize, muted: bool| {
        let track = microphone(world, n);
        world.request(n, Request::Mute { track, muted });
    };
    mute(&mut world, all[0], true);
    mute(&mut world, all[1], true);
    let everybody = heard_in_a_second(&mut world, &all);
    assert_eq!(everybody, all[2..], "six are open, all of them are heard");
    viewer::check(&world, 0);
    mute(&mut world, all[0], false);
    let heard = heard_in_a_second(&mut world, &all);
    assert_eq!(heard.len(), 4, "seven are open: {heard:?}");
    assert!(heard.contains(&all[7]), "who spoke last is among them");
    viewer::check(&world, 0);
}

fn a_pinned_participant_is_heard_by_who_pinned_it_though_it_is_quiet(workers: u8) {
    let (mut world, all) = table(95, workers, 8);
    for n in &all[4..] {
        level(&mut world, *n, LOUD);
    }
    world.run(1_000);
    let pin = |world: &mut World, pinned: bool| {
        let track = microphone(world, all[0]);
        let intent = Intent { track, height: 0, priority: 0, pinned };
        world.request(all[1], Request::Intents(vec![intent]));
        world.run(100);
    };
    let mark = world.mark(all[0]);
    for pinned in [true, false, true] {
        pin(&mut world, pinned);
        world.forget_received();
        world.run(1_000);
        let counts = [world.heard(all[1], mark), world.heard(all[2], mark)];
        assert_eq!(counts, [if pinned { 50 } else { 0 }, 0]);
        viewer::check(&world, 0);
    }
    // Once it is heard by everybody, it is sent to each once.
    level(&mut world, all[4], NOISE);
    world.run(600);
    level(&mut world, all[0], LOUD);
    assert!(heard_in_a_second(&mut world, &all).contains(&all[0]));
    assert_eq!(world.drops(DropReason::Duplicate), 0);
    viewer::check(&world, 0);
}

fn on_a_bad_network_what_is_heard_has_no_holes_but_those_of_the_network(workers: u8) {
    let (mut world, all) = table(96, workers, 9);
    for speaker in &all {
        // A stream's very first packets are lost to this client if a later one overtakes them.
        level(&mut world, *speaker, LOUD);
        world.run(500);
        level(&mut world, *speaker, NOISE);
        world.run(1_000);
    }
    world.weather = Weather { loss: 2, delay: 10, twice: 2, jitter: 25 };
    world.hop = Duration::from_millis(5);
    for round in 0..12 {
        let speaker = all[(round * 5) % all.len()];
        level(&mut world, speaker, LOUD);
        world.forget_received();
        world.run(1_500);
        level(&mut world, speaker, NOISE);
        let mark = world.mark(speaker);
        for viewer in all.iter().filter(|n| **n != speaker) {
            let heard = world.heard(*viewer, mark);
            assert!(heard >= 65, "{viewer} heard {heard} of 75 packets of {speaker}");
        }
        // Lost on the way in and on the way out, of at most four streams.
        viewer::check(&world, 20);
    }
}

fn who_comes_late_to_a_worker_that_had_nobody_hears_the_same_as_all(workers: u8) {
    let mut world = World::new(97, workers);
    let first: Vec<usize> =
        (0..8).map(|n| world.join_at(0, "r", &format!("p{n}"), TALKER)).collect();
    world.run(1_000);
    for n in &first {
        let member = world.members.get_mut(n).unwrap();
        member.peer.level = if *n < 5 { NOISE } else { LOUD };
        member.speaks = true;
    }
    world.run(500);
    let last = usize::from(workers) - 1;
    let late = world.join_at(last, "r", "late", Wishes { audio: false, ..TALKER });
    world.until(|world| world.members[&late].peer.connected, "the media path stands");
    world.run(1_000);
    let all = [&first[..], &[late]].concat();
    let heard = heard_in_a_second(&mut world, &all);
    assert_eq!(heard.len(), 4, "three, and one that kept its place: {heard:?}");
    assert!(first[5..].iter().all(|n| heard.contains(n)), "{heard:?}");
    viewer::check(&world, 0);
}

crate::scenes! {
    of_eight_people_the_four_that_speak_are_heard_and_nobody_else,
    a_newly_elected_speaker_is_heard_from_the_first_syllable_on,
    who_speaks_up_without_a_seat_is_heard_from_the_first_syllable_on,
    in_a_small_room_everybody_is_heard_and_nothing_held_back,
    a_room_is_small_again_once_enough_have_muted,
    a_pinned_participant_is_heard_by_who_pinned_it_though_it_is_quiet,
    on_a_bad_network_what_is_heard_has_no_holes_but_those_of_the_network,
    who_comes_late_to_a_worker_that_had_nobody_hears_the_same_as_all,
}
