//! Coming, going, and what everybody is told of it.

use fanlight::ids::{Identity, RoomName};
use fanlight::model::{Notice, Reason, Retry};
use fanlight::worker::command::{Answer, Command, Event, Question, Request};

use crate::support::peer::Wishes;
use crate::viewer;
use crate::world::World;

fn notices(world: &World, n: usize) -> Vec<Notice> {
    world.notices(n)
}

fn three_members_see_and_hear_each_other_and_nobody_else_does(workers: u8) {
    let mut world = World::new(1, workers);
    let all: Vec<usize> = ["ada", "kofi", "mina"].map(|name| world.join_whole("r", name)).into();
    let stranger = world.join_whole("other", "eve");
    for n in &all {
        world.on_air(*n);
    }
    world.run(3_000);
    for viewer in &all {
        for publisher in &all {
            let mark = world.mark(*publisher);
            let frames = world.frames(*viewer, mark);
            if viewer == publisher {
                assert_eq!(world.heard(*viewer, mark), 0, "nobody gets their own");
            } else {
                assert!(frames > 60, "{viewer} saw {frames} frames of {publisher} in 3 s");
            }
        }
    }
    assert!(world.members[&stranger].peer.received.is_empty(), "another room is another world");
    viewer::check(&world, 0);
    let report = world.report();
    assert_eq!((report.rooms, report.connected), (2, 4));
    assert_eq!(report.tracks_in.video, 4);
}

fn a_late_joiner_has_a_picture_within_half_a_second(workers: u8) {
    let mut world = World::new(2, workers);
    let first = world.join_whole("r", "ada");
    world.on_air(first);
    world.run(2_000);
    let late =
        world.join("r", "late", Wishes { audio: false, video: false, seats: 4, data: false });
    let mark = world.mark(first);
    let took = world.until(|world| world.frames(late, mark) > 0, "the first frame");
    assert!(took.as_millis() <= 500, "it took {took:?}");
    world.run(500);
    viewer::check(&world, 0);
}

fn the_welcome_lists_who_was_there_and_the_others_are_told_once(workers: u8) {
    let mut world = World::new(3, workers);
    let ada = world.join_whole("r", "ada");
    let kofi = world.join_whole("r", "kofi");
    let Event::Joined { participants, me, seats, .. } = &world.members[&kofi].events[0] else {
        panic!("the first event is the welcome");
    };
    assert_eq!(participants.len(), 1);
    assert_eq!(participants[0].identity.as_str(), "ada");
    assert_eq!(participants[0].tracks.len(), 2);
    assert_eq!(me.tracks.len(), 2);
    assert_eq!(seats.occupied.len(), 2, "ada sits in the first seat");
    let told = notices(&world, ada);
    assert_eq!(told.len(), 1, "{told:?}");
    let place = |is: fn(&Event) -> bool| world.members[&ada].events.iter().rposition(is).unwrap();
    let joined = place(|event| matches!(event, Event::Notice(_)));
    let seated = place(|event| matches!(event, Event::Seats(_)));
    assert!(joined < seated, "who sits there is known before the seat is told");
    assert!(matches!(&told[0], Notice::Joined(info) if info.tracks.len() == 2));
}

fn leaving_is_announced_while_the_leaver_is_listed_and_told_after(workers: u8) {
    let mut world = World::new(4, workers);
    let ada = world.join_whole("r", "ada");
    let kofi = world.join_whole("r", "kofi");
    let session = world.members[&kofi].id;
    world.command(Command::Leave { session, reason: Reason::Client });
    let told = notices(&world, ada);
    let kinds: Vec<&str> = told
        .iter()
        .map(|notice| match notice {
            Notice::Joined(_) => "joined",
            Notice::Leaving { reason: Reason::Client, .. } => "leaving",
            Notice::Left { reason: Reason::Client, .. } => "left",
            _ => "other",
        })
        .collect();
    assert_eq!(kinds, ["joined", "leaving", "left"]);
    assert!(world.members[&ada].seats.occupied.is_empty(), "the seat is free again");
    assert!(world.members[&kofi].over);
}

fn closing_the_peer_connection_is_leaving(workers: u8) {
    let mut world = World::new(5, workers);
    let ada = world.join_whole("r", "ada");
    let kofi = world.join_whole("r", "kofi");
    world.run(300);
    let now = world.now;
    world.members.get_mut(&kofi).unwrap().peer.close(now);
    let left = |world: &World| {
        notices(world, ada).iter().any(|n| matches!(n, Notice::Left { reason: Reason::Client, .. }))
    };
    let took = world.until(left, "ada is told");
    assert!(took.as_millis() <= 100, "it took {took:?}");
}

fn without_a_media_path_a_session_ends_after_fifteen_seconds(workers: u8) {
    let mut world = World::new(6, workers);
    let n = world.join("r", "ada", Wishes { audio: true, video: false, seats: 1, data: false });
    world.weather.loss = 100;
    let took = world.until(|world| world.members[&n].over, "good-bye");
    assert!((14_900..15_200).contains(&took.as_millis()), "{took:?}");
    let last = world.members[&n].events.last().unwrap();
    let failed = |event: &Event| {
        matches!(event, Event::Goodbye { reason: Reason::MediaFailed, retry: Retry::Rejoin, .. })
    };
    assert!(failed(last), "{last:?}");
}

fn a_client_that_vanishes_is_told_good_bye_after_its_silence(workers: u8) {
    let mut world = World::new(7, workers);
    let n = world.join_whole("r", "ada");
    world.weather.loss = 100;
    world.run(15_000);
    assert!(!world.members[&n].over, "an outage of 15 s is no end");
    world.run(17_000);
    assert!(world.members[&n].over);
}

fn an_empty_room_is_kept_for_twenty_seconds(workers: u8) {
    let mut world = World::new(8, workers);
    let n = world.join_whole("r", "ada");
    let session = world.members[&n].id;
    world.command(Command::Leave { session, reason: Reason::Client });
    world.run(19_000);
    assert_eq!(world.report().rooms, 1);
    world.run(1_500);
    assert_eq!(world.report().rooms, 0);
    assert_eq!(world.report().addresses, 0, "nothing is left of its member");
}

fn an_operator_lists_removes_and_closes(workers: u8) {
    let mut world = World::new(9, workers);
    let ada = world.join_whole("r", "ada");
    let kofi = world.join_whole("r", "kofi");
    let name = RoomName::new("r").unwrap();
    let Answer::Room(Some(room)) = world.ask(Question::Room(name.clone())) else { panic!() };
    assert_eq!(room.participants.len(), 2);
    assert!(room.participants[0].connected);
    let remove = Question::Remove(name.clone(), Identity::new("kofi").unwrap());
    assert_eq!(world.ask(remove.clone()), Answer::Done(true));
    assert_eq!(world.ask(remove), Answer::Done(false));
    let end = world.members[&kofi].events.last().unwrap();
    assert!(matches!(end, Event::Goodbye { reason: Reason::Removed, retry: Retry::None, .. }));
    assert_eq!(world.ask(Question::CloseRoom(name)), Answer::Done(true));
    let end = world.members[&ada].events.last().unwrap();
    assert!(matches!(end, Event::Goodbye { reason: Reason::RoomDeleted, .. }));
    assert_eq!(world.report().rooms, 0);
}

fn a_room_that_is_full_says_so_and_shutting_down_refuses_everybody(workers: u8) {
    let mut world = World::new(10, workers);
    let n = world.join_whole("r", "ada");
    world.shut_down();
    let end = world.members[&n].events.last().unwrap();
    assert!(matches!(
        end,
        Event::Goodbye { reason: Reason::ServerShutdown, retry: Retry::Rejoin, .. }
    ));
    let late = world.join("r", "kofi", Wishes { audio: true, video: false, seats: 1, data: false });
    assert!(matches!(&world.members[&late].events[0], Event::Refused { id: None, .. }));
    assert!(world.members[&late].over);
}

fn muting_stops_every_packet_and_unmuting_begins_with_a_keyframe(workers: u8) {
    let mut world = World::new(11, workers);
    let ada = world.join_whole("r", "ada");
    let kofi = world.join_whole("r", "kofi");
    world.on_air(ada);
    world.run(1_000);
    let Event::Joined { me, .. } = &world.members[&ada].events[0] else { panic!() };
    let tracks: Vec<_> = me.tracks.iter().map(|track| track.id).collect();
    for track in &tracks {
        world.request(ada, Request::Mute { track: *track, muted: true });
    }
    world.run(100);
    let mark = world.mark(ada);
    let before = world.heard(kofi, mark);
    world.run(2_000);
    assert_eq!(world.heard(kofi, mark), before, "no packet of a muted track goes on");
    for track in &tracks {
        world.request(ada, Request::Mute { track: *track, muted: false });
    }
    world.run(1_000);
    assert!(world.heard(kofi, mark) > before + 50);
    viewer::check(&world, 0);
    let updates = notices(&world, kofi);
    let muted = updates.iter().filter(|n| matches!(n, Notice::TrackUpdated { .. })).count();
    assert_eq!(muted, 4);
}

fn a_client_that_is_told_good_bye_sees_its_peer_connection_close(workers: u8) {
    let mut world = World::new(12, workers);
    let ada = world.join_whole("r", "ada");
    let session = world.members[&ada].id;
    world.command(Command::Leave { session, reason: Reason::Removed });
    let took = world.until(|world| world.members[&ada].peer.closed, "the DTLS close");
    assert!(took.as_millis() <= 100, "it took {took:?}");
}

crate::scenes! {
    three_members_see_and_hear_each_other_and_nobody_else_does,
    a_late_joiner_has_a_picture_within_half_a_second,
    the_welcome_lists_who_was_there_and_the_others_are_told_once,
    leaving_is_announced_while_the_leaver_is_listed_and_told_after,
    closing_the_peer_connection_is_leaving,
    without_a_media_path_a_session_ends_after_fifteen_seconds,
    a_client_that_vanishes_is_told_good_bye_after_its_silence,
    an_empty_room_is_kept_for_twenty_seconds,
    an_operator_lists_removes_and_closes,
    a_room_that_is_full_says_so_and_shutting_down_refuses_everybody,
    muting_stops_every_packet_and_unmuting_begins_with_a_keyframe,
    a_client_that_is_told_good_bye_sees_its_peer_connection_close,
}
