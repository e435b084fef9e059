//! Two copies of one room, without workers: what crosses between them, and when.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::fanout::{Passing, Watchers};
use super::messages::{Lanes, Message};
use super::*;
use crate::counts::DropReason;
use crate::forward::packet::{Packet, Pictures};
use crate::forward::rewrite::Numbers;
use crate::model::{Bandwidth, Intent};
use crate::relay::inlet::InletId;
use crate::wire::data::{Frame, write_client_message};

const HOME: WorkerId = WorkerId(0);
const ANNEX: WorkerId = WorkerId(1);

/// Notes what is sent.
#[derive(Debug, Default)]
struct Noted {
    sent: Vec<(MemberKey, u8)>,
    numbers: Vec<u64>,
    relayed: Vec<(WorkerId, u8, u8)>,
}

impl Watchers for Noted {
    fn spares(&self, _: MemberKey) -> Option<DropReason> {
        None
    }
    fn send(&mut self, to: MemberKey, _: SeatIndex, packets: &[(&Packet, Numbers)]) {
        self.sent.extend(packets.iter().map(|(packet, _)| (to, packet.layer)));
        self.numbers.extend(packets.iter().map(|(_, numbers)| numbers.seq));
    }
    fn relay(&mut self, to: &Outlet, layers: &Summary, packet: &Packet) {
        self.relayed.push((to.to, packet.layer, layers.live));
    }
    fn dropped(&mut self, _: DropReason, _: usize) {}
}

/// Send queues without an end, unless said otherwise.
#[derive(Debug, Default)]
struct Queues {
    full: Vec<MemberKey>,
    closed: Vec<MemberKey>,
    queued: HashMap<MemberKey, Vec<Vec<u8>>>,
}

impl Lanes for Queues {
    fn is_open(&self, key: MemberKey, _: bool) -> bool {
        !self.closed.contains(&key)
    }
    fn has_room(&self, key: MemberKey, _: usize) -> bool {
        !self.full.contains(&key)
    }
    fn push(&mut self, key: MemberKey, _: bool, frame: Arc<[u8]>) {
        self.queued.entry(key).or_default().push(frame.to_vec());
    }
    fn give_up(&mut self, key: MemberKey) {
        self.closed.push(key);
    }
}

fn room(here: WorkerId) -> Room {
    Room::new(RoomConfig {
        name: RoomName::new("r").unwrap(),
        here,
        home: here == HOME,
        created_at: 0,
        max_seats: 4,
        loudest: 3,
        first_seq: 1,
    })
}

fn key(n: u32) -> MemberKey {
    MemberKey { index: n, generation: 0 }
}

fn camera() -> TrackInfo {
    TrackInfo {
        id: TrackId { worker: HOME, number: 1 },
        source: crate::model::Source::Camera,
        kind: Kind::Video,
        name: None,
        muted: false,
        width: None,
        height: None,
    }
}

fn info(name: &str, tracks: Vec<TrackInfo>) -> ParticipantInfo {
    ParticipantInfo {
        identity: Identity::new(name).unwrap(),
        name: DisplayName::new(name).unwrap(),
        joined_at: 0,
        tracks,
    }
}

/// Ada publishes at the home, Kofi watches at the annex.
fn two_copies(now: Instant) -> (Room, Room) {
    let (mut home, mut annex) = (room(HOME), room(ANNEX));
    for room in [&mut home, &mut annex] {
        let here = room.here;
        let member = |session, at: WorkerId, info| NewMember {
            session: SessionId(session),
            at,
            key: (at == here).then(|| key(u32::try_from(session).unwrap())),
            info,
            lines: Vec::new(),
        };
        room.admit(member(1, HOME, info("ada", vec![camera()])), now);
        room.admit(member(2, ANNEX, info("kofi", Vec::new())), now);
    }
    annex.equip(key(2), 1, vec![Codec::H264], now);
    annex.connected(key(2), now);
    annex.seated(key(2), 9, now);
    annex.handle_time(now);
    (home, annex)
}

fn wish(room: &mut Room, now: Instant) -> Option<u8> {
    let wishes = std::iter::from_fn(|| room.poll_wish(now));
    let last = wishes.filter(|event| matches!(event, RoomEvent::Wish { .. })).last();
    match last {
        Some(RoomEvent::Wish { at, layers, .. }) => {
            assert_eq!(at, HOME);
            Some(layers)
        }
        _ => None,
    }
}

fn packet(layer: u8, keyframe: bool, now: Instant) -> Packet {
    Packet {
        kind: Kind::Video,
        codec: Codec::H264,
        layer,
        temporal: 0,
        sync: false,
        seq: 1_000,
        timestamp: 1,
        clock_rate: 90_000,
        marker: true,
        stacked: false,
        pictures: Pictures::None,
        frame: None,
        descriptor: None,
        keyframe,
        level: None,
        voice: None,
        orientation: None,
        arrived: now,
        captured: None,
        wallclock: now,
        payload: Arc::from([0; 100]),
    }
}

fn pass(room: &mut Room, live: Option<u8>, packet: Packet, now: Instant) -> Noted {
    let mut noted = Noted::default();
    let track = camera().id;
    let far = live.map(|live| Summary { live, there: live, ..Summary::default() });
    let passing = Passing { room: 0, slot: TrackSlot(0), track, far, packet };
    room.forward(&[passing], &mut noted, now);
    room.handle_time(now);
    noted
}

#[test]
fn a_worker_is_sent_the_layers_that_it_wishes_and_what_lives_if_those_are_dead() {
    let t = crate::test_clock();
    let (mut home, _) = two_copies(t);
    home.wish(camera().id, Outlet { to: ANNEX, inlet: InletId::default(), layers: 0b100 });
    for layer in 0..3 {
        pass(&mut home, None, packet(layer, true, t), t);
    }
    let relayed =
        |home: &mut Room, layer, now| pass(home, None, packet(layer, false, now), now).relayed;
    assert_eq!(relayed(&mut home, 0, t), []);
    assert_eq!(relayed(&mut home, 2, t), [(ANNEX, 2, 0b111)]);
    let later = t + Duration::from_secs(2);
    pass(&mut home, None, packet(1, false, later), later);
    assert_eq!(relayed(&mut home, 0, later), [(ANNEX, 0, 0b011)], "the large one is gone");
    home.forget_worker(ANNEX);
    assert_eq!(relayed(&mut home, 0, later), []);
}

#[test]
fn a_copy_wishes_for_what_its_viewers_are_sent_or_wait_for_and_no_more() {
    let t = crate::test_clock();
    let (_, mut annex) = two_copies(t);
    assert_eq!(wish(&mut annex, t), Some(u8::MAX), "nothing is known of the layers yet");
    assert_eq!(pass(&mut annex, Some(0b111), packet(0, true, t), t).sent, [(key(2), 0)]);
    assert_eq!(wish(&mut annex, t), Some(0b101), "one is sent, the largest is waited for");
    assert_eq!(pass(&mut annex, Some(0b111), packet(2, true, t), t).sent, [(key(2), 2)]);
    assert_eq!(wish(&mut annex, t), Some(0b100));
    assert_eq!(wish(&mut annex, t), None);
    pass(&mut annex, Some(0b011), packet(1, false, t), t);
    assert_eq!(wish(&mut annex, t), Some(0b110), "the largest died");
    annex.leave(SessionId(2), crate::model::Reason::Client, t);
    assert_eq!(wish(&mut annex, t), Some(0), "nobody watches");
}

/// Its first packet was lost on the way from its publisher, and sent again.
#[test]
fn a_keyframe_whose_first_packet_comes_last_is_sent_whole() {
    let t = crate::test_clock();
    let (_, mut annex) = two_copies(t);
    let take = |annex: &mut Room, seq, layer| {
        let packet = Packet { seq, ..packet(layer, seq % 100 == 0, t) };
        pass(annex, Some(0b111), packet, t).numbers
    };
    assert_eq!(take(&mut annex, 1_000, 0), [1], "the smallest layer is better than none");
    assert_eq!(take(&mut annex, 1_998, 2), [0; 0]);
    for seq in [2_001, 2_002, 2_004] {
        assert_eq!(take(&mut annex, seq, 2), [0; 0], "nobody could decode it");
    }
    assert_eq!(take(&mut annex, 2_000, 2), [2, 3, 4, 6]);
    assert_eq!(take(&mut annex, 2_003, 2), [5]);
    assert_eq!(take(&mut annex, 2_005, 2), [7]);
}

/// What its pictures began with after the first answer may be among what was lost.
#[test]
fn pictures_begin_anew_when_a_flood_comes_and_when_it_has_run_off() {
    let t = crate::test_clock();
    let at = |ms| t + Duration::from_millis(ms);
    let (_, mut annex) = two_copies(t);
    let mut seq = 1_000;
    let mut sent = |annex: &mut Room, keyframe, ms| {
        seq += 1;
        let packet = Packet { seq, ..packet(0, keyframe, at(ms)) };
        pass(annex, Some(0b1), packet, at(ms)).sent.len()
    };
    let carries = |annex: &mut Room, flooded, loss, ms| {
        // It falls each time, which is looked at at once.
        let estimate = 300_000 - 200 * ms;
        let bandwidth = Bandwidth { estimate, flooded, loss, ..Bandwidth::default() };
        annex.carries(key(2), bandwidth, at(ms));
        annex.handle_time(at(ms));
    };
    assert_eq!([sent(&mut annex, true, 0), sent(&mut annex, false, 10)], [1, 1]);
    carries(&mut annex, true, 0.5, 100);
    assert_eq!(sent(&mut annex, false, 110), 3, "all was forgotten");
    carries(&mut annex, true, 0.6, 200);
    assert_eq!(sent(&mut annex, false, 210), 1, "once a flood");
    carries(&mut annex, false, 0.4, 300);
    assert_eq!(sent(&mut annex, false, 310), 5, "the keyframe may be gone");
    carries(&mut annex, false, 0.3, 400);
    assert_eq!(sent(&mut annex, false, 410), 1);
}

#[test]
fn for_who_can_no_longer_begin_with_what_came_before_a_keyframe_is_asked_soon() {
    let t = crate::test_clock();
    let at = |ms| t + Duration::from_millis(ms);
    let (_, mut annex) = two_copies(t);
    pass(&mut annex, Some(0b1), Packet { seq: 1, ..packet(0, true, at(900)) }, at(900));
    pass(&mut annex, Some(0b1), Packet { seq: 2, ..packet(0, false, at(910)) }, at(910));
    let asks = |annex: &mut Room, ms| {
        annex.handle_time(at(ms));
        let mut events = std::iter::from_fn(|| annex.poll_event());
        events.any(|event| matches!(event, RoomEvent::AskFar { .. }))
    };
    let carries = |estimate, flooded| Bandwidth { estimate, flooded, ..Bandwidth::default() };
    while annex.poll_event().is_some() {}
    annex.carries(key(2), carries(200_000, true), at(950));
    assert!(!asks(&mut annex, 950), "the next packet brings the last keyframe");
    annex.carries(key(2), carries(0, false), at(960));
    let asked = (960..1_200).step_by(10).find(|ms| asks(&mut annex, *ms));
    assert_eq!(asked, Some(1_050), "it does not fit any more");
}

#[test]
fn who_begins_again_while_what_came_before_is_on_its_way_waits_for_a_keyframe() {
    let t = crate::test_clock();
    let at = |ms| t + Duration::from_millis(ms);
    let (_, mut annex) = two_copies(t);
    let mut seq = 1_000;
    let mut sent = |annex: &mut Room, packets, ms| {
        let mut one = |n| {
            seq += 1;
            let packet = packet(0, packets > 1 && n == 0, at(ms));
            let packet = Packet { seq, payload: Arc::from([0; 1_200]), ..packet };
            pass(annex, Some(0b1), packet, at(ms)).sent.len()
        };
        (0..packets).map(&mut one).sum::<usize>()
    };
    let show = |annex: &mut Room, height, ms| {
        let intent = Intent { track: camera().id, height, priority: 0, pinned: false };
        annex.intend(key(2), vec![intent], at(ms));
        annex.handle_time(at(ms));
    };
    assert_eq!(sent(&mut annex, 16, 0), 16, "a keyframe");
    let bandwidth = Bandwidth { estimate: 400_000, ..Bandwidth::default() };
    annex.carries(key(2), bandwidth, at(10));
    for (ms, packets) in [(20, 17), (50, 18), (80, 19), (110, 0)] {
        show(&mut annex, 0, ms);
        show(&mut annex, 720, ms + 10);
        assert_eq!(sent(&mut annex, 1, ms + 20), packets, "with what came before, at {ms}");
    }
    assert_eq!(sent(&mut annex, 1, 300), 0, "most of 60 kB are on their way");
    assert_eq!(sent(&mut annex, 1, 500), 0);
    assert_eq!(sent(&mut annex, 1, 700), 23, "half of it has been carried");
}

/// A browser asks five times a second while it waits for one.
#[test]
fn who_was_just_sent_a_keyframe_is_not_sent_another_while_that_is_repaired() {
    let t = crate::test_clock();
    let at = |ms| t + Duration::from_millis(ms);
    let (_, mut annex) = two_copies(t);
    let rtt = Some(Duration::from_millis(50));
    annex.carries(key(2), Bandwidth { rtt, ..Bandwidth::default() }, t);
    pass(&mut annex, Some(0b1), packet(0, true, t), t);
    let mut asked = |ms| {
        while annex.poll_event().is_some() {}
        annex.keyframe_wanted(key(2), SeatIndex(0), at(ms));
        annex.handle_time(at(ms));
        let mut events = std::iter::from_fn(|| annex.poll_event());
        events.any(|event| matches!(event, RoomEvent::AskFar { .. }))
    };
    assert!(!asked(200) && !asked(499));
    assert!(asked(501));
    assert!(!asked(700), "it was asked for");
    assert!(asked(801), "no answer");
}

#[test]
fn a_copy_that_knows_no_layers_asks_for_the_keyframe_of_the_largest() {
    let t = crate::test_clock();
    let (mut home, mut annex) = two_copies(t);
    let soon = t + Duration::from_millis(2);
    let asked = std::iter::from_fn(|| annex.poll_event())
        .find(|event| matches!(event, RoomEvent::AskFar { .. }));
    let highest = crate::relay::message::HIGHEST;
    assert_eq!(asked, Some(RoomEvent::AskFar { at: HOME, track: camera().id, layer: highest }));
    for layer in 0..2 {
        pass(&mut home, None, packet(layer, false, t), t);
    }
    home.keyframe_asked(camera().id, highest, soon);
    home.keyframe_asked(camera().id, highest, soon);
    home.handle_time(soon);
    let asks = std::iter::from_fn(|| home.poll_event())
        .filter(|event| matches!(event, RoomEvent::AskKeyframe { layer: 1, .. }));
    assert_eq!(asks.count(), 1);
}

#[test]
fn a_receiver_elsewhere_that_stays_behind_is_named_to_the_sender_and_the_message_is_not_lost_before()
 {
    let t = crate::test_clock();
    let (mut home, mut annex) = two_copies(t);
    while home.poll_event().is_some() {}
    while annex.poll_event().is_some() {}
    let (mut here, mut there) = (Queues::default(), Queues::default());
    let bytes = write_client_message(7, "chat", &[], b"hi");
    let frame = Frame::parse(&bytes).unwrap();
    home.message(Message { from: key(1), frame: &frame, reliable: true }, &mut here, t);
    let Some(RoomEvent::Say(say)) = home.poll_event() else { panic!("it goes to the annex") };
    there.full.push(key(2));
    annex.hear_say(say, &mut there, t);
    let patience = Duration::from_secs(15);
    annex.retry_messages(&mut there, patience, t + patience / 2);
    assert!(annex.poll_event().is_none(), "it waits");
    assert!(here.queued.is_empty(), "and the sender is told nothing");
    annex.retry_messages(&mut there, patience, t + patience);
    let Some(RoomEvent::Taken { at, taken }) = annex.poll_event() else { panic!("an answer") };
    assert_eq!((at, &taken.lost), (HOME, &vec!["kofi".to_owned()]));
    home.hear_taken(ANNEX, taken, &mut here);
    let reply = &here.queued[&key(1)][0];
    let reply = Frame::parse(reply).unwrap();
    assert_eq!((reply.id, reply.payload), (7, &br#"{"lost":["kofi"]}"#[..]));
}

#[test]
fn a_message_is_answered_though_the_worker_of_its_receivers_is_gone() {
    let t = crate::test_clock();
    let (mut home, _) = two_copies(t);
    let mut here = Queues::default();
    let bytes = write_client_message(7, "chat", &[], b"hi");
    let frame = Frame::parse(&bytes).unwrap();
    home.message(Message { from: key(1), frame: &frame, reliable: true }, &mut here, t);
    assert!(here.queued.is_empty());
    home.forget_worker(ANNEX);
    home.retry_messages(&mut here, Duration::from_secs(15), t);
    assert_eq!(here.queued[&key(1)].len(), 1);
}

#[test]
fn those_who_neither_publish_nor_watch_are_looked_at_seldom_and_together() {
    let t = crate::test_clock();
    let after = |ms| t + Duration::from_millis(ms);
    let mut lobby = room(HOME);
    for n in 1..=3u32 {
        let info = info(&format!("p{n}"), Vec::new());
        let (session, key) = (SessionId(u64::from(n)), Some(key(n)));
        lobby.admit(NewMember { session, at: HOME, key, info, lines: Vec::new() }, t);
    }
    for n in 1..=3u32 {
        lobby.connected(key(n), after(u64::from(n) * 300));
        lobby.handle_time(after(u64::from(n) * 300));
    }
    assert_eq!(lobby.deadline(), Some(after(5_300)), "all with the first of them");

    let (_, mut annex) = two_copies(t);
    assert!(annex.deadline().is_some_and(|at| at <= after(1_000)), "rates change for who watches");
    let soon = after(1_000);
    annex.handle_time(soon);
    assert!(annex.deadline().is_some_and(|at| at <= after(2_000)));
}
