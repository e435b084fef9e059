//! Who sits where, and what a change of occupant does to the stream.

use fanlight::model::Reason;
use fanlight::worker::command::{Command, Event, Request};

use crate::support::peer::Wishes;
use crate::viewer;
use crate::world::World;

const WATCHER: Wishes = Wishes { audio: false, video: false, seats: 1, data: false };

fn a_seat_goes_on_without_a_seam_when_its_occupant_changes(workers: u8) {
    let mut world = World::new(21, workers);
    let viewer = world.join("r", "viewer", WATCHER);
    let ada = world.join_whole("r", "ada");
    world.on_air(ada);
    world.run(2_000);
    let session = world.members[&ada].id;
    world.command(Command::Leave { session, reason: Reason::Client });
    let kofi = world.join_whole("r", "kofi");
    world.on_air(kofi);
    world.run(2_000);
    let (a, k) = (world.mark(ada), world.mark(kofi));
    assert!(world.frames(viewer, a) > 30 && world.frames(viewer, k) > 30);
    let peer = &world.members[&viewer].peer;
    let mut ssrcs: Vec<u32> = peer.received.iter().map(|packet| packet.ssrc).collect();
    ssrcs.sort_unstable();
    ssrcs.dedup();
    assert_eq!(ssrcs.len(), 2, "one SSRC for sound and one for pictures, whoever sits there");
    viewer::check(&world, 0);
}

fn packets_of_a_new_occupant_wait_until_the_client_knows_or_half_a_second(workers: u8) {
    let mut world = World::new(22, workers);
    let viewer = world.join("r", "viewer", WATCHER);
    world.run(500);
    world.members.get_mut(&viewer).unwrap().obedient = false;
    let ada = world.join_whole("r", "ada");
    world.on_air(ada);
    let mark = world.mark(ada);
    let told = world.now;
    world.until(|world| world.heard(viewer, mark) > 0, "packets flow all the same");
    let waited = (world.now - told).as_millis();
    assert!(waited >= 300, "only {waited} ms after the join had been announced");
    world.run(500);
    world.members.get_mut(&viewer).unwrap().obedient = true;
}

fn with_fewer_seats_than_speakers_the_voice_takes_the_seat(workers: u8) {
    let mut world = World::new(23, workers);
    let viewer = world.join("r", "viewer", WATCHER);
    let all: Vec<usize> = ["a", "b", "c"].map(|name| world.join_whole("r", name)).into();
    for n in &all {
        world.members.get_mut(n).unwrap().films = true;
    }
    world.run(3_000);
    let first = world.mark(all[0]);
    assert!(world.frames(viewer, first) > 30, "who came first sits there");
    assert_eq!(world.members[&viewer].seats.unseated.len(), 4, "two pairs have no seat");
    world.members.get_mut(&all[2]).unwrap().speaks = true;
    let speaker = world.mark(all[2]);
    world.until(|world| world.frames(viewer, speaker) > 0, "the speaker is seen");
    let speakers = world.members[&viewer].events.iter().any(|event| {
        matches!(event, Event::Speakers(list) if list.first().is_some_and(|s| s.identity.as_str() == "c"))
    });
    assert!(speakers, "and told of");
    viewer::check(&world, 0);
}

fn seats_grow_by_a_further_offer_and_running_ones_are_untouched(workers: u8) {
    let mut world = World::new(24, workers);
    let viewer = world.join("r", "viewer", Wishes { seats: 4, ..WATCHER });
    let all: Vec<usize> = ["a", "b", "c", "d", "e"].map(|name| world.join_whole("r", name)).into();
    for n in &all {
        world.on_air(*n);
    }
    world.run(1_000);
    assert_eq!(world.members[&viewer].seats.want, 8);
    let (nid, sdp) = world.members.get_mut(&viewer).unwrap().peer.offer_seats(4);
    world.request(viewer, Request::Offer { nid, sdp, tracks: Vec::new() });
    world.run(2_000);
    assert_eq!(world.members[&viewer].seats.occupied.len(), 10);
    assert!(world.members[&viewer].seats.unseated.is_empty());
    for n in &all {
        assert!(world.frames(viewer, world.mark(*n)) > 20, "{n} is seen");
    }
    viewer::check(&world, 0);
}

fn an_old_offer_and_a_bent_one_are_refused_and_the_call_goes_on(workers: u8) {
    let mut world = World::new(25, workers);
    let ada = world.join_whole("r", "ada");
    let kofi = world.join_whole("r", "kofi");
    world.on_air(ada);
    for sdp in ["", "v=1", "v=0\r\nm=audio"] {
        let request = Request::Offer { nid: 9, sdp: sdp.to_owned(), tracks: Vec::new() };
        world.request(ada, request);
        let last = world.members[&ada].events.last().unwrap();
        assert!(matches!(last, Event::Refused { id: Some(1), .. }), "{sdp:?}: {last:?}");
    }
    world.request(ada, Request::Offer { nid: 1, sdp: String::new(), tracks: Vec::new() });
    let Event::Refused { refusal, .. } = world.members[&ada].events.last().unwrap() else {
        panic!()
    };
    assert!(refusal.message.contains("not newer"), "{refusal}");
    world.run(2_000);
    assert!(world.frames(kofi, world.mark(ada)) > 30);
}

fn a_storm_of_keyframe_wishes_reaches_the_publisher_twice_a_second(workers: u8) {
    let mut world = World::new(26, workers);
    let ada = world.join_whole("r", "ada");
    world.on_air(ada);
    let viewers: Vec<usize> = (0..8).map(|n| world.join("r", &format!("v{n}"), WATCHER)).collect();
    world.run(2_000);
    world.members.get_mut(&ada).unwrap().peer.keyframe_requests.clear();
    let from = world.now;
    for _ in 0..40 {
        for viewer in &viewers {
            let member = world.members.get_mut(viewer).unwrap();
            let mid = member.seats.occupied.last().unwrap().0.clone();
            member.peer.ask_keyframe(&mid);
            let now = world.now;
            world.members.get_mut(viewer).unwrap().peer.handle_time(now);
        }
        world.run(50);
    }
    let asked = world.members[&ada].peer.keyframe_requests.len();
    let seconds = (world.now - from).as_secs_f64();
    assert!(asked >= 1, "the wish reaches the publisher");
    assert!(asked as f64 <= seconds * 2.0 + 2.0, "{asked} requests in {seconds} s");
}

fn a_further_offer_that_changes_what_was_agreed_is_refused_and_the_call_goes_on(workers: u8) {
    let mut world = World::new(27, workers);
    let ada = world.join_whole("r", "ada");
    let kofi = world.join_whole("r", "kofi");
    world.on_air(ada);
    world.run(500);
    let (_, sdp) = world.members.get_mut(&ada).unwrap().peer.offer_seats(1);
    let at = sdp.find("a=fingerprint:sha-256 ").unwrap() + "a=fingerprint:sha-256 ".len();
    let mut other_print = sdp.clone();
    let digit = if sdp[at..].starts_with("00") { "11" } else { "00" };
    other_print.replace_range(at..at + 2, digit);
    let other_print = other_print.replace(&sdp[at..at + 95], &other_print[at..at + 95]);
    let lines: Vec<&str> = sdp.split("m=").collect();
    let other_order = [lines[0], lines[2], lines[1]].join("m=");
    let both_ways = sdp.replacen("a=recvonly", "a=sendrecv", 1);
    let role = sdp.replace("a=setup:actpass", "a=setup:passive");
    for (nid, sdp, why) in [
        (10, other_print, "fingerprint"),
        (11, other_order, "keep"),
        (12, both_ways, "sendrecv"),
        (13, role, "role"),
    ] {
        let request = Request::Offer { nid, sdp, tracks: Vec::new() };
        world.request(ada, request);
        let Event::Refused { refusal, .. } = world.members[&ada].events.last().unwrap() else {
            panic!("an offer with another {why} was taken");
        };
        assert!(refusal.message.contains(why), "{refusal}");
    }
    world.forget_received();
    world.run(10_000);
    let frames = world.frames(kofi, world.mark(ada));
    assert!(frames > 240, "{frames} frames in the ten seconds after");
}

crate::scenes! {
    a_seat_goes_on_without_a_seam_when_its_occupant_changes,
    packets_of_a_new_occupant_wait_until_the_client_knows_or_half_a_second,
    with_fewer_seats_than_speakers_the_voice_takes_the_seat,
    seats_grow_by_a_further_offer_and_running_ones_are_untouched,
    an_old_offer_and_a_bent_one_are_refused_and_the_call_goes_on,
    a_storm_of_keyframe_wishes_reaches_the_publisher_twice_a_second,
    a_further_offer_that_changes_what_was_agreed_is_refused_and_the_call_goes_on,
}
