//! Data messages: to all, to some, too large, too fast.

use fanlight::wire::data::{Frame, Kind};

use crate::world::World;

fn replies(world: &World, n: usize, kind: Kind) -> Vec<(u32, String)> {
    let reply = |(_, bytes): &(String, Vec<u8>)| {
        let frame = Frame::parse(bytes).ok().filter(|frame| frame.kind == kind)?;
        Some((frame.id, String::from_utf8_lossy(frame.payload).into_owned()))
    };
    world.members[&n].peer.messages.iter().filter_map(reply).collect()
}

fn room_of(world: &mut World, names: &[&str]) -> Vec<usize> {
    let all: Vec<usize> = names.iter().map(|name| world.join_whole("r", name)).collect();
    let open = |world: &World| world.members.values().all(|m| m.peer.channels.len() == 2);
    world.until(open, "all channels are open");
    world.run(200);
    all
}

fn a_message_reaches_everybody_else_once_and_its_sender_is_told_that_it_was_taken(workers: u8) {
    let mut world = World::new(41, workers);
    let all = room_of(&mut world, &["ada", "kofi", "mina"]);
    let eve = world.join_whole("other", "eve");
    for label in ["fanlight.reliable", "fanlight.lossy"] {
        assert!(world.members.get_mut(&all[0]).unwrap().peer.message(
            label,
            7,
            &[],
            label.as_bytes()
        ));
    }
    world.run(500);
    for label in ["fanlight.reliable", "fanlight.lossy"] {
        for n in &all[1..] {
            assert_eq!(world.members[n].peer.count_messages(label.as_bytes()), 1, "{label} to {n}");
        }
        assert_eq!(world.members[&all[0]].peer.count_messages(label.as_bytes()), 0);
    }
    assert_eq!(replies(&world, all[0], Kind::Taken), [(7, "{}".to_owned())]);
    assert!(world.members[&eve].peer.messages.is_empty());
    let (_, bytes) = &world.members[&all[1]].peer.messages[0];
    assert_eq!(Frame::parse(bytes).unwrap().from, "ada");
}

fn a_message_to_some_reaches_them_alone_and_names_who_is_not_there(workers: u8) {
    let mut world = World::new(42, workers);
    let all = room_of(&mut world, &["ada", "kofi", "mina"]);
    let peer = &mut world.members.get_mut(&all[0]).unwrap().peer;
    assert!(peer.message("fanlight.reliable", 8, &["mina", "nobody"], b"psst"));
    world.run(500);
    assert_eq!(world.members[&all[1]].peer.count_messages(b"psst"), 0);
    assert_eq!(world.members[&all[2]].peer.count_messages(b"psst"), 1);
    let taken = replies(&world, all[0], Kind::Taken);
    assert_eq!(taken, [(8, r#"{"unknown":["nobody"]}"#.to_owned())]);
}

fn a_byte_over_the_limit_is_refused_and_nothing_else_is_lost(workers: u8) {
    let mut world = World::new(43, workers);
    let all = room_of(&mut world, &["ada", "kofi"]);
    let (largest, over) = (vec![7; 65_536], vec![8; 65_537]);
    for (id, payload) in [(1, &b"before"[..]), (2, &over), (3, &largest), (4, b"after")] {
        let sent = world.members.get_mut(&all[0]).unwrap().peer.message(
            "fanlight.reliable",
            id,
            &[],
            payload,
        );
        assert!(sent, "message {id} fits the sender's own buffer");
        world.run(1_000);
    }
    let refused = replies(&world, all[0], Kind::Refused);
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].0, 2);
    assert!(refused[0].1.contains("too-large"), "{}", refused[0].1);
    let kofi = &world.members[&all[1]].peer;
    for (payload, count) in [(&b"before"[..], 1), (&over, 0), (&largest, 1), (b"after", 1)] {
        assert_eq!(kofi.count_messages(payload), count);
    }
}

/// A message that can be told from others and is far above one datagram.
fn large(n: u32) -> Vec<u8> {
    let mut payload = n.to_be_bytes().to_vec();
    payload.resize(30_000, 0);
    payload
}

fn what_was_taken_is_delivered_though_the_receiver_is_slow_and_the_sender_waits_for_credit(
    workers: u8,
) {
    let mut world = World::new(44, workers);
    let all = room_of(&mut world, &["ada", "kofi"]);
    let mut sent = 0u32;
    let mut most_ahead = 0;
    world.weather.jitter = 120;
    for _ in 0..400 {
        let payload = large(sent);
        let peer = &mut world.members.get_mut(&all[0]).unwrap().peer;
        if sent < 40 && peer.message("fanlight.reliable", sent, &[], &payload) {
            sent += 1;
        }
        world.run(20);
        let taken = replies(&world, all[0], Kind::Taken).len();
        most_ahead = most_ahead.max(sent as usize - taken);
    }
    world.weather.jitter = 0;
    world.run(10_000);
    let taken = replies(&world, all[0], Kind::Taken).len();
    let refused = replies(&world, all[0], Kind::Refused).len();
    assert!(sent >= 15, "{sent} messages went out");
    assert_eq!(taken + refused, sent as usize, "each message has its answer");
    let delivered = (0..sent)
        .filter(|n| {
            let payload = large(*n);
            world.members[&all[1]].peer.count_messages(&payload) == 1
        })
        .count();
    assert_eq!(delivered, taken, "what was taken came, once");
    assert!(most_ahead > 0);
}

fn a_frame_that_cannot_be_read_is_refused_by_name(workers: u8) {
    let mut world = World::new(45, workers);
    let all = room_of(&mut world, &["ada", "kofi"]);
    let frame = [9, 1, 0, 0, 0, 13, 0, 0, 0, 5, 0, 0, 0];
    assert!(world.members.get_mut(&all[0]).unwrap().peer.raw_message("fanlight.reliable", &frame));
    world.run(300);
    let refused = replies(&world, all[0], Kind::Refused);
    assert_eq!(refused[0].0, 5);
    assert!(refused[0].1.contains("bad-message") && refused[0].1.contains("version 9"));
}

crate::scenes! {
    a_message_reaches_everybody_else_once_and_its_sender_is_told_that_it_was_taken,
    a_message_to_some_reaches_them_alone_and_names_who_is_not_there,
    a_byte_over_the_limit_is_refused_and_nothing_else_is_lost,
    what_was_taken_is_delivered_though_the_receiver_is_slow_and_the_sender_waits_for_credit,
    a_frame_that_cannot_be_read_is_refused_by_name,
}
