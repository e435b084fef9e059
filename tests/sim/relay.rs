//! A room that spans workers: what crosses, how often, in which order, and what a broken link does.

use std::collections::BTreeMap;
use std::time::Duration;

use fanlight::counts::DropReason;
use fanlight::ids::{Identity, RoomName, TrackId};
use fanlight::model::{Notice, ParticipantInfo, Reason, Retry};
use fanlight::worker::command::{Answer, Command, Event, Question, Request};

use str0m::media::{MediaKind, Mid};

use crate::support::peer::Wishes;
use crate::viewer;
use crate::world::World;

const WATCHER: Wishes = Wishes { audio: false, video: false, seats: 1, data: false };
const WHOLE: Wishes = Wishes { audio: true, video: true, seats: 4, data: true };

/// One publishes on `stage`, two watch on each worker in `workers`, everything flows.
fn broadcast(seed: u64, stage: usize, workers: &[usize]) -> (World, usize, Vec<usize>) {
    let mut world = World::new(seed, 4);
    let ada = world.join_at(stage, "r", "ada", WHOLE);
    world.on_air(ada);
    let mut viewers = Vec::new();
    for worker in workers {
        for _ in 0..2 {
            let name = format!("v{}", viewers.len());
            viewers.push(world.join_at(*worker, "r", &name, WATCHER));
        }
    }
    world.run(2_000);
    (world, ada, viewers)
}

fn packets_sent(world: &World, n: usize) -> u64 {
    world.members[&n].peer.streams.iter().map(|stream| stream.seq).sum()
}

fn own_tracks(world: &World, n: usize) -> Vec<TrackId> {
    let Event::Joined { me, .. } = &world.members[&n].events[0] else { panic!("no welcome") };
    me.tracks.iter().map(|track| track.id).collect()
}

#[test]
fn a_packet_crosses_once_to_each_worker_however_many_watch_there() {
    let (mut world, ada, viewers) = broadcast(71, 0, &[1, 2, 3, 1]);
    world.forget_received();
    world.copies.clear();
    let before = packets_sent(&world, ada);
    world.run(2_000);
    let sent = usize::try_from(packets_sent(&world, ada) - before).unwrap();
    assert!(sent > 200, "{sent}");
    for to in 1..4 {
        let copies = world.copies(0, to);
        assert!(copies.abs_diff(sent) <= 3, "{copies} copies of {sent} packets to worker {to}");
    }
    assert_eq!(world.copies.len(), 3, "{:?}", world.copies);
    for viewer in viewers {
        let heard = world.heard(viewer, world.mark(ada));
        assert!(heard.abs_diff(sent) <= 6, "{viewer} got {heard} of {sent}");
    }
    viewer::check(&world, 0);
}

#[test]
fn packets_of_an_annex_go_straight_to_who_wants_them_and_not_over_the_home() {
    let (mut world, ada, viewers) = broadcast(72, 1, &[0, 2]);
    world.copies.clear();
    world.run(1_000);
    assert!(world.copies(1, 0) > 100 && world.copies(1, 2) > 100, "{:?}", world.copies);
    assert_eq!(world.copies.len(), 2, "nothing to worker 3, nothing twice: {:?}", world.copies);
    for viewer in viewers {
        assert!(world.frames(viewer, world.mark(ada)) > 60);
    }
}

#[test]
fn nobody_watching_on_a_worker_means_nothing_sent_there() {
    let (mut world, ada, viewers) = broadcast(73, 2, &[1]);
    for viewer in &viewers {
        let session = world.members[viewer].id;
        world.command(Command::Leave { session, reason: Reason::Client });
    }
    world.copies.clear();
    world.run(500);
    assert!(world.copies.is_empty(), "{:?}", world.copies);
    assert_eq!(world.drops(DropReason::RelayStale), 0);
    let late = world.join_at(1, "r", "late", WATCHER);
    let mark = world.mark(ada);
    world.until(|world| world.frames(late, mark) > 5, "the worker is sent the track again");
    viewer::check(&world, 0);
}

#[test]
fn keyframe_wishes_of_many_viewers_on_other_workers_make_one_request() {
    let (mut world, ada, viewers) = broadcast(74, 0, &[1, 2, 3, 1]);
    world.run(1_000);
    world.members.get_mut(&ada).unwrap().peer.keyframe_requests.clear();
    let now = world.now;
    for viewer in &viewers {
        let member = world.members.get_mut(viewer).unwrap();
        let mid = member.seats.occupied.last().unwrap().0.clone();
        member.peer.ask_keyframe(&mid);
        member.peer.handle_time(now);
    }
    world.run(400);
    assert_eq!(world.members[&ada].peer.keyframe_requests.len(), 1);
}

#[test]
fn an_identity_is_unique_in_the_whole_room() {
    let mut world = World::new(75, 4);
    let watcher = world.join_at(3, "r", "mina", WHOLE);
    let first = world.join_at(1, "r", "ada", WHOLE);
    let second = world.join_at(2, "r", "ada", WHOLE);
    let last = world.members[&first].events.last().unwrap();
    assert!(
        matches!(
            last,
            Event::Goodbye { reason: Reason::DuplicateIdentity, retry: Retry::None, .. }
        ),
        "{last:?}"
    );
    let Event::Joined { participants, .. } = &world.members[&second].events[0] else { panic!() };
    assert_eq!(participants.len(), 1, "who was thrown out is not listed");
    assert!(world.notices(second).is_empty(), "nor spoken of");
    let kinds: Vec<bool> =
        world.notices(watcher).iter().map(|notice| matches!(notice, Notice::Joined(_))).collect();
    assert_eq!(kinds, [true, false, false, true]);
}

#[test]
fn members_are_counted_over_all_workers() {
    let mut world = World::new(76, 4);
    world.max_members = 3;
    for (worker, name) in ["ada", "kofi", "mina"].into_iter().enumerate() {
        world.join_at(worker, "r", name, WATCHER);
    }
    for worker in [0, 3] {
        let n = world.join_at(worker, "r", "late", WATCHER);
        let first = &world.members[&n].events[0];
        assert!(matches!(first, Event::Refused { id: None, .. }), "{first:?}");
        assert!(world.members[&n].over);
    }
    world.max_members = 4;
    let n = world.join_at(3, "r", "late", WATCHER);
    assert!(matches!(world.members[&n].events[0], Event::Joined { .. }));
}

#[test]
fn who_muted_is_silent_everywhere_from_the_answer_on_though_the_home_is_far() {
    let (mut world, ada, viewers) = broadcast(77, 1, &[0, 2]);
    world.hop = Duration::from_millis(30);
    world.run(100);
    for track in own_tracks(&world, ada) {
        world.request(ada, Request::Mute { track, muted: true });
    }
    world.copies.clear();
    world.run(1_000);
    assert!(world.copies.is_empty(), "not one packet left the publisher's worker");
    for track in own_tracks(&world, ada) {
        world.request(ada, Request::Mute { track, muted: false });
    }
    world.forget_received();
    world.run(1_500);
    for viewer in viewers {
        assert!(world.frames(viewer, world.mark(ada)) > 20);
    }
    viewer::check(&world, 0);
}

#[test]
fn a_publisher_that_leaves_frees_its_seats_on_all_workers() {
    let (mut world, ada, viewers) = broadcast(78, 2, &[0, 1, 3]);
    world.hop = Duration::from_millis(20);
    let session = world.members[&ada].id;
    world.command(Command::Leave { session, reason: Reason::Client });
    world.run(200);
    for viewer in &viewers {
        assert!(world.members[viewer].seats.occupied.is_empty());
        let told = world.notices(*viewer);
        assert!(matches!(told.last(), Some(Notice::Left { reason: Reason::Client, .. })));
    }
    world.copies.clear();
    world.run(500);
    assert!(world.copies.is_empty());
}

#[test]
fn an_operator_sees_the_whole_room_and_acts_on_all_of_it() {
    let (mut world, ada, viewers) = broadcast(79, 1, &[0, 2, 3]);
    let name = RoomName::new("r").unwrap();
    let Answer::Room(Some(room)) = world.ask(Question::Room(name.clone())) else { panic!() };
    assert_eq!(room.participants.len(), 7);
    assert!(room.participants.iter().all(|member| member.connected));
    for member in &room.participants[1..] {
        let receiving: Vec<u32> = member.receiving.iter().map(|(_, count)| *count).collect();
        assert_eq!(receiving, [1, 1], "{}", member.info.identity.as_str());
    }
    let Answer::Rooms(rooms) = world.ask(Question::Rooms) else { panic!() };
    assert_eq!((rooms.len(), rooms[0].participants.len()), (1, 7));
    assert_eq!((world.report().rooms, world.report().spanning), (1, 1));
    let remove = Question::Remove(name.clone(), Identity::new("v4").unwrap());
    assert_eq!(world.ask(remove), Answer::Done(true));
    assert!(world.members[&viewers[4]].over);
    assert_eq!(world.ask(Question::CloseRoom(name)), Answer::Done(true));
    for n in viewers.iter().chain([&ada]) {
        assert!(world.members[n].over, "{n}");
    }
    assert_eq!(world.report().rooms, 0);
}

#[test]
fn speakers_are_decided_once_and_everybody_is_told_the_same() {
    let mut world = World::new(80, 4);
    let all: Vec<usize> =
        ["a", "b", "c", "d"].iter().map(|name| world.join("r", name, WHOLE)).collect();
    world.run(1_000);
    for n in &all {
        world.members.get_mut(n).unwrap().speaks = true;
        world.run(700);
        world.members.get_mut(n).unwrap().speaks = false;
        world.run(900);
    }
    let told = |n: &usize| -> Vec<String> {
        let speakers = |event: &Event| match event {
            Event::Speakers(list) => Some(format!("{list:?}")),
            _ => None,
        };
        world.members[n].events.iter().filter_map(speakers).collect()
    };
    let first = told(&all[0]);
    for name in ["a", "b", "c", "d"] {
        assert!(first.iter().any(|list| list.contains(&format!("\"{name}\""))), "{name} spoke");
    }
    for n in &all[1..] {
        assert_eq!(told(n), first);
    }
}

/// What somebody who was told all this must take the room for.
fn view(world: &World, n: usize) -> BTreeMap<String, ParticipantInfo> {
    let mut room = BTreeMap::new();
    let mut welcomed = false;
    for event in &world.members[&n].events {
        match event {
            Event::Joined { participants, .. } => {
                welcomed = true;
                for info in participants {
                    room.insert(info.identity.as_str().to_owned(), info.clone());
                }
            }
            Event::Notice(notice) => {
                assert!(welcomed, "the welcome comes first");
                apply(&mut room, notice);
            }
            _ => {}
        }
    }
    room
}

fn apply(room: &mut BTreeMap<String, ParticipantInfo>, notice: &Notice) {
    match notice {
        Notice::Joined(info) => {
            let before = room.insert(info.identity.as_str().to_owned(), info.clone());
            assert!(before.is_none(), "{info:?} was there already");
        }
        Notice::Leaving { identity, .. } => assert!(room.contains_key(identity.as_str())),
        Notice::Left { identity, .. } => {
            assert!(room.remove(identity.as_str()).is_some(), "{identity:?} was not there");
        }
        Notice::Published { identity, track } => {
            room.get_mut(identity.as_str()).unwrap().tracks.push(track.clone());
        }
        Notice::Unpublished { identity, track } => {
            let tracks = &mut room.get_mut(identity.as_str()).unwrap().tracks;
            let before = tracks.len();
            tracks.retain(|known| known.id != *track);
            assert_eq!(tracks.len() + 1, before, "{track} was there");
        }
        Notice::TrackUpdated { identity, track } => {
            let tracks = &mut room.get_mut(identity.as_str()).unwrap().tracks;
            *tracks.iter_mut().find(|known| known.id == track.id).unwrap() = track.clone();
        }
    }
}

/// Whatever the world does by chance: somebody comes, leaves, mutes, takes a track away; at times a
/// link breaks.
fn stir(world: &mut World, breaks: bool) {
    let here: Vec<usize> =
        world.members.iter().filter(|(_, member)| !member.over).map(|(n, _)| *n).collect();
    let some = |world: &mut World| here.get(world.dice.roll(here.len() as u64) as usize).copied();
    match world.dice.roll(10) {
        0..=3 if here.len() < 12 && world.members.len() < 200 => {
            let (worker, name) = (world.dice.roll(4) as usize, world.dice.roll(16));
            world.join_at(worker, "r", &format!("p{name}"), WHOLE);
        }
        4..=5 => {
            if let Some(n) = some(world) {
                let session = world.members[&n].id;
                world.command(Command::Leave { session, reason: Reason::Client });
            }
        }
        6 if breaks => {
            let (from, to) = (world.dice.roll(4) as usize, world.dice.roll(4) as usize);
            world.jammed = (from != to).then_some((from, to));
        }
        6..=7 => world.jammed = None,
        _ => {
            let Some(n) = some(world) else { return };
            let Event::Joined { me, .. } =
                &world.members[&n].events.first().cloned().unwrap_or(Event::Done { id: 0 })
            else {
                return;
            };
            let track = me.tracks[world.dice.roll(2) as usize].id;
            let muted = world.dice.roll(2) == 0;
            let request = match world.dice.roll(6) {
                0 => Request::Unpublish { track },
                _ => Request::Mute { track, muted },
            };
            world.request(n, request);
        }
    }
}

/// How many links broke.
fn long_call(seed: u64, breaks: bool) -> u64 {
    let mut world = World::new(seed, 4);
    for _ in 0..120 {
        stir(&mut world, breaks);
        world.hop = Duration::from_millis(world.dice.roll(3) * 10);
        let ms = world.dice.roll(40);
        world.run(ms);
    }
    world.jammed = None;
    world.run(1_000);
    let name = RoomName::new("r").unwrap();
    world.hop = Duration::ZERO;
    world.run(100);
    let Answer::Room(room) = world.ask(Question::Room(name)) else { panic!() };
    let truth: BTreeMap<String, ParticipantInfo> = room
        .into_iter()
        .flat_map(|room| room.participants)
        .map(|member| (member.info.identity.as_str().to_owned(), member.info))
        .collect();
    let here: Vec<usize> =
        world.members.iter().filter(|(_, member)| !member.over).map(|(n, _)| *n).collect();
    assert_eq!(truth.len(), here.len(), "who is there is listed and nobody else");
    for n in here {
        let mut others = truth.clone();
        let Event::Joined { me, .. } = &world.members[&n].events[0] else { panic!("{n}") };
        assert!(others.remove(me.identity.as_str()).is_some());
        assert_eq!(view(&world, n), others, "seed {seed}, member {n}");
    }
    world.report().totals.links_broken
}

#[test]
fn after_a_long_call_everybody_takes_the_room_for_what_it_is() {
    let broken: u64 = (81..84).map(|seed| long_call(seed, false)).sum();
    assert_eq!(broken, 0);
}

#[test]
fn after_a_long_call_over_links_that_break_everybody_takes_the_room_for_what_it_is() {
    let broken: u64 = (91..95).map(|seed| long_call(seed, true)).sum();
    assert!(broken > 0);
}

#[test]
fn a_full_link_ends_the_sessions_that_it_carried_and_nobody_else() {
    for jammed in [(0, 1), (1, 0)] {
        let mut world = World::new(88, 4);
        let ada = world.join_at(0, "r", "ada", WHOLE);
        let kofi = world.join_at(1, "r", "kofi", WHOLE);
        let mina = world.join_at(2, "r", "mina", WHOLE);
        let eve = world.join_at(1, "other", "eve", WHOLE);
        world.on_air(ada);
        world.run(1_000);
        world.jammed = Some(jammed);
        // Something that both must hear of.
        for n in [ada, kofi] {
            let track = own_tracks(&world, n)[0];
            world.request(n, Request::Mute { track, muted: true });
        }
        world.run(100);
        world.jammed = None;
        world.run(1_000);
        let last = world.members[&kofi].events.last().unwrap();
        assert!(
            matches!(last, Event::Goodbye { reason: Reason::Migration, retry: Retry::Rejoin, .. }),
            "{jammed:?}: {last:?}"
        );
        for n in [ada, mina] {
            assert!(!world.members[&n].over);
            let left = |n: &Notice| matches!(n, Notice::Left { identity, .. } if identity.as_str() == "kofi");
            assert_eq!(world.notices(n).iter().filter(|n| left(n)).count(), 1);
        }
        assert!(world.members[&eve].over, "its home was lost too");
        assert!(world.report().totals.links_broken > 0);
        world.forget_received();
        let again = world.join_at(1, "r", "kofi", WHOLE);
        let mark = world.mark(ada);
        world.until(|world| world.frames(again, mark) > 10, "the link carries again");
        assert!(world.frames(mina, mark) > 10);
        assert_eq!(view(&world, again).len(), 2);
    }
}

/// What a viewer of a scripted call got: notices, seats, and packets by publisher.
#[derive(Debug, PartialEq)]
struct Got {
    notices: Vec<String>,
    seats: Vec<String>,
    messages: usize,
    packets: Vec<usize>,
}

fn scripted(workers: u8) -> Vec<Got> {
    let mut world = World::new(89, workers);
    let names = ["a", "b", "c", "d", "e"];
    let all: Vec<usize> = names.map(|name| world.join_whole("r", name)).into();
    for n in &all {
        world.on_air(*n);
    }
    world.run(2_000);
    let mute = Request::Mute { track: own_tracks(&world, all[1])[1], muted: true };
    world.request(all[1], mute);
    let unpublish = Request::Unpublish { track: own_tracks(&world, all[2])[0] };
    world.request(all[2], unpublish);
    world.members.get_mut(&all[3]).unwrap().peer.message("fanlight.reliable", 1, &[], b"hi");
    world.run(1_000);
    let session = world.members[&all[4]].id;
    world.command(Command::Leave { session, reason: Reason::Client });
    world.run(1_000);
    viewer::check(&world, 0);
    // The worker's number in a track's id is what differs on purpose.
    let ids: BTreeMap<String, String> = all
        .iter()
        .flat_map(|n| own_tracks(&world, *n).into_iter().zip(0..).map(move |(id, at)| (n, id, at)))
        .map(|(n, id, at)| (id.to_string(), format!("track {at} of {n}")))
        .collect();
    let named = |text: String, id: &TrackId| format!("{text} {}", ids[&id.to_string()]);
    let notice = |notice: &Notice| match notice {
        Notice::Joined(info) => format!("joined {} {}", info.identity.as_str(), info.tracks.len()),
        Notice::Leaving { identity, reason } => format!("leaving {identity:?} {reason:?}"),
        Notice::Left { identity, reason } => format!("left {identity:?} {reason:?}"),
        Notice::Published { track, .. } => named("published".to_owned(), &track.id),
        Notice::Unpublished { track, .. } => named("unpublished".to_owned(), track),
        Notice::TrackUpdated { track, .. } => named(format!("muted {}", track.muted), &track.id),
    };
    let got = |n: &usize| Got {
        notices: world.notices(*n).iter().map(notice).collect(),
        seats: world.members[n]
            .seats
            .occupied
            .iter()
            .map(|(mid, id)| {
                let is = |(known, _): &(Mid, MediaKind)| known.to_string() == *mid;
                let place = world.members[n].peer.mids.iter().position(is);
                named(format!("{place:?}"), id)
            })
            .collect(),
        messages: world.members[n].peer.count_messages(b"hi"),
        packets: all.iter().map(|m| world.heard(*n, world.mark(*m))).collect(),
    };
    all.iter().map(got).collect()
}

#[test]
fn a_viewer_gets_the_same_on_one_worker_and_on_four() {
    let (one, four) = (scripted(1), scripted(4));
    for (n, (one, four)) in one.iter().zip(&four).enumerate() {
        assert_eq!(one.notices, four.notices, "member {n}");
        assert_eq!(one.seats, four.seats, "member {n}");
        assert_eq!(one.messages, four.messages, "member {n}");
        for (one, four) in one.packets.iter().zip(&four.packets) {
            assert!(one.abs_diff(*four) <= 12, "member {n}: {one} packets or {four}");
        }
    }
}
