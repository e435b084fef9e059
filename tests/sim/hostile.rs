//! Each fence of the media port: what it keeps out, and that the call goes on.

use std::net::SocketAddr;

use fanlight::counts::DropReason;
use fanlight::worker::Input;

use crate::support::peer::Wishes;
use crate::world::World;

fn stranger(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 9, 9, 9], port))
}

fn drops(world: &World, reason: DropReason) -> u64 {
    world.drops(reason)
}

fn binding_request(username: Option<&[u8]>) -> Vec<u8> {
    let mut body = Vec::new();
    if let Some(name) = username {
        body.extend_from_slice(&[0, 6]);
        body.extend_from_slice(&u16::try_from(name.len()).unwrap().to_be_bytes());
        body.extend_from_slice(name);
        body.resize(body.len().next_multiple_of(4), 0);
        body.extend_from_slice(&[0, 8, 0, 20]);
        body.extend_from_slice(&[0x55; 20]);
    }
    let mut bytes = vec![0, 1];
    bytes.extend_from_slice(&u16::try_from(body.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(&[0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    bytes.extend_from_slice(&body);
    bytes
}

/// An RTP packet whose header is right and whose rest is noise.
fn forged_rtp(pt: u8, ssrc: u32, mid_id: u8, mid: &str) -> Vec<u8> {
    let mut bytes = vec![0x90, pt, 0, 1, 0, 0, 0, 1];
    bytes.extend_from_slice(&ssrc.to_be_bytes());
    bytes.extend_from_slice(&[0xbe, 0xde, 0, 1, (mid_id << 4) | (mid.len() as u8 - 1)]);
    bytes.extend_from_slice(mid.as_bytes());
    bytes.resize(20, 0);
    bytes.resize(120, 0x5a);
    bytes
}

fn strangers_get_no_answer_and_leave_no_trace(workers: u8) {
    let mut world = World::new(51, workers);
    let addresses = world.report().addresses;
    let dtls = {
        let mut d = vec![22, 254, 253];
        d.resize(60, 0);
        d
    };
    for bytes in [vec![0x80; 100], vec![0x80, 200, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], dtls] {
        world.inject(stranger(1), bytes);
    }
    world.inject(stranger(1), binding_request(Some(b"00nobody:x")));
    world.inject(stranger(1), vec![0xff; 40]);
    world.inject(stranger(1), vec![0x80; 1_501]);
    world.inject(stranger(1), binding_request(None)[..19].to_vec());
    world.run(50);
    assert_eq!(drops(&world, DropReason::Stranger), 3);
    assert_eq!(drops(&world, DropReason::UfragUnknown), 1);
    assert_eq!(drops(&world, DropReason::Unclassified), 2);
    assert_eq!(drops(&world, DropReason::StunMalformed), 1);
    assert_eq!(world.report().totals.datagrams_out, 0);
    assert_eq!(world.report().addresses, addresses);
}

fn plain_stun_is_answered_ten_times_a_second_and_never_an_error(workers: u8) {
    let mut world = World::new(52, workers);
    for port in 0..12 {
        world.inject(stranger(port), binding_request(None));
    }
    world.run(20);
    assert_eq!(world.stun_replies, 10);
    assert_eq!(drops(&world, DropReason::StunRate), 2);
    world.run(1_000);
    world.inject(stranger(1), binding_request(None));
    world.run(20);
    assert_eq!(world.stun_replies, 11);
}

fn a_request_signed_with_another_password_binds_no_address(workers: u8) {
    let mut world = World::new(53, workers);
    let ada = world.join_whole("r", "ada");
    let known = world.report().addresses;
    world.inject(stranger(7), binding_request(Some(b"00user0001:x")));
    world.run(50);
    assert_eq!(drops(&world, DropReason::StunIntegrity), 1);
    assert_eq!(world.report().addresses, known);
    assert!(world.members[&ada].peer.connected);
}

fn a_name_of_a_neighbour_is_handed_over_once_and_never_back(workers: u8) {
    let mut world = World::new(54, workers);
    world.inject(stranger(7), binding_request(Some(b"01other:x")));
    world.inject(stranger(7), binding_request(Some(b"77other:x")));
    world.run(20);
    assert_eq!(world.handed_over, 1);
    let bytes = binding_request(Some(b"01other:x"));
    let (from, to, now) = (stranger(7), world.server(), world.now);
    world.workers[0].handle(Input::Datagram { from, to, bytes: &bytes, handed_over: true }, now);
    world.collect();
    assert_eq!(world.handed_over, 1, "a datagram crosses once");
}

fn a_forged_ssrc_with_the_right_mid_does_not_silence_its_publisher(workers: u8) {
    let mut world = World::new(55, workers);
    let ada = world.join_whole("r", "ada");
    let kofi = world.join_whole("r", "kofi");
    world.on_air(ada);
    world.run(2_000);
    let (address, audio, video, mark) = {
        let member = &world.members[&ada];
        let mids: Vec<String> = member.peer.streams.iter().map(|s| s.mid.to_string()).collect();
        (member.peer.address, mids[0].clone(), mids[1].clone(), member.mark)
    };
    let before = world.heard(kofi, mark);
    for (ssrc, pt, mid) in [(0xdead_0001, 111, &audio), (0xdead_0002, 96, &video)] {
        for id in 1..=14 {
            world.inject(address, forged_rtp(pt, ssrc + u32::from(id) * 256, id, mid));
        }
    }
    world.run(2_000);
    assert!(drops(&world, DropReason::SsrcUnproven) >= 14);
    let heard = world.heard(kofi, mark) - before;
    assert!(heard >= 230, "{heard} of 250 packets came in the two seconds after");
}

fn a_record_before_the_client_hello_does_not_stop_the_handshake(workers: u8) {
    let mut world = World::new(56, workers);
    let n = world.join("r", "ada", Wishes { audio: true, video: false, seats: 1, data: true });
    let address = world.members[&n].peer.address;
    for kind in [20u8, 21, 22, 23] {
        let mut record = vec![kind, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 40, 11];
        record.resize(53, 0);
        for _ in 0..40 {
            world.inject(address, record.clone());
        }
    }
    // A whole Certificate message in the clear, as soon as the address is known and after.
    let mut record = vec![22u8, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0x78];
    record.extend_from_slice(&[11, 0, 3, 0x6c, 0, 0, 0, 0, 0, 0, 3, 0x6c]);
    record.resize(13 + 888, 1);
    while world.report().addresses == 0 {
        world.step();
    }
    world.inject(address, record.clone());
    world.step();
    assert!(!world.members[&n].peer.connected, "too late to matter");
    world.until(|world| world.members[&n].peer.connected, "the handshake completes");
    assert!(drops(&world, DropReason::DtlsBeforeHello) >= 1);
}

fn rtp_that_cannot_be_read_and_rtcp_without_end_are_dropped(workers: u8) {
    let mut world = World::new(57, workers);
    let ada = world.join_whole("r", "ada");
    let address = world.members[&ada].peer.address;
    world.inject(address, vec![0x9f; 14]);
    let mut long = vec![0x80, 200, 0xff, 0xff];
    long.resize(60, 0);
    world.inject(address, long);
    world.run(20);
    assert_eq!(drops(&world, DropReason::RtpMalformed), 2);
    let mut report = vec![0x80, 201, 0, 1];
    report.resize(40, 0);
    for _ in 0..400 {
        world.inject(address, report.clone());
    }
    world.run(20);
    assert!(drops(&world, DropReason::RtcpRate) >= 190);
    world.run(1_000);
    assert!(!world.members[&ada].over);
}

fn foreign_channels_are_closed_and_the_twentieth_ends_the_session(workers: u8) {
    let mut world = World::new(58, workers);
    let ada = world.join_whole("r", "ada");
    let kofi = world.join_whole("r", "kofi");
    world.run(200);
    for n in 0..25 {
        let now = world.now;
        let peer = &mut world.members.get_mut(&ada).unwrap().peer;
        peer.rtc.direct_api().create_data_channel(str0m::channel::ChannelConfig {
            label: format!("mine{n}"),
            ..Default::default()
        });
        peer.handle_time(now);
    }
    world.until(|world| world.members[&ada].over, "the session ends");
    assert!(!world.members[&kofi].over);
}

fn an_offer_with_candidates_sends_nothing_to_them(workers: u8) {
    let mut world = World::new(59, workers);
    let mut peer = crate::support::peer::Peer::new(stranger(5), world.now);
    let (nid, sdp, tracks) =
        peer.offer(Wishes { audio: true, video: false, seats: 1, data: false });
    let victim = "a=candidate:9 1 udp 2130706431 10.66.66.66 9 typ host\r\n";
    let sdp = sdp.replacen("a=mid:", &format!("{victim}a=mid:"), 1);
    let opened = world.open(&sdp, nid, tracks).unwrap();
    assert!(sdp.contains("10.66.66.66"));
    assert!(!opened.sdp.contains("10.66.66.66"));
    let join = fanlight::worker::command::Join {
        session: fanlight::ids::SessionId(99),
        room: fanlight::ids::RoomName::new("r").unwrap(),
        home: fanlight::ids::WorkerId(0),
        identity: fanlight::ids::Identity::new("x").unwrap(),
        name: fanlight::ids::DisplayName::new("x").unwrap(),
        joined_at: 0,
        max_members: 10,
        media: Some(Box::new(opened)),
    };
    world.command(fanlight::worker::command::Command::Join(join));
    world.run(5_000);
    assert_eq!(world.report().totals.datagrams_out, 0, "media goes to who proved itself");
}

crate::scenes! {
    strangers_get_no_answer_and_leave_no_trace,
    plain_stun_is_answered_ten_times_a_second_and_never_an_error,
    a_request_signed_with_another_password_binds_no_address,
    a_name_of_a_neighbour_is_handed_over_once_and_never_back,
    a_forged_ssrc_with_the_right_mid_does_not_silence_its_publisher,
    a_record_before_the_client_hello_does_not_stop_the_handshake,
    rtp_that_cannot_be_read_and_rtcp_without_end_are_dropped,
    foreign_channels_are_closed_and_the_twentieth_ends_the_session,
    an_offer_with_candidates_sends_nothing_to_them,
}
