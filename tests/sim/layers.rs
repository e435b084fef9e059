//! Layers in one stream, through real engines: a browser's recorded VP9 and AV1 from a client that
//! negotiates the dependency descriptor, to one that reads it.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};

use fanlight::ids::{DisplayName, Identity, RoomName, SessionId, WorkerId};
use fanlight::model::Intent;
use fanlight::session::{Engine, Offer, Session, SessionConfig};
use fanlight::wire::descriptor::{Descriptor, URI};
use fanlight::worker::command::{Command, Join, NewTrack, Opened, Request, Seats};
use fanlight::worker::demux::ufrag_prefix;
use str0m::format::Codec;
use str0m::rtp::{Extension, ExtensionSerializer, ExtensionValues, RtpWrite};
use str0m::{Candidate, Rtc};

use crate::support::peer::{Peer, Received, Wishes};
use crate::world::{Member, World};

/// A descriptor's bytes beside a packet.
struct Raw(Vec<u8>);

/// The extension as a browser has it; passes on what comes.
#[derive(Debug)]
struct Kept(Sender<Vec<u8>>);

impl ExtensionSerializer for Kept {
    fn write_to(&self, buf: &mut [u8], values: &ExtensionValues) -> usize {
        let Some(Raw(bytes)) = values.user_values.get() else { return 0 };
        buf[..bytes.len()].copy_from_slice(bytes);
        bytes.len()
    }

    fn parse_value(&self, buf: &[u8], _: &mut ExtensionValues) -> bool {
        self.0.send(buf.to_vec()).is_ok()
    }

    fn is_video(&self) -> bool {
        true
    }

    fn is_audio(&self) -> bool {
        false
    }

    fn requires_two_byte_form(&self, values: &ExtensionValues) -> bool {
        values.user_values.get::<Raw>().is_some_and(|raw| raw.0.len() > 16)
    }
}

/// A packet of a recording.
struct Packet {
    timestamp: u32,
    marker: bool,
    payload: Vec<u8>,
    descriptor: Vec<u8>,
}

fn recording(text: &str) -> Vec<Packet> {
    let bytes = |hex: &str| -> Vec<u8> {
        let pairs = hex.as_bytes().chunks_exact(2);
        let text = pairs.map(|pair| std::str::from_utf8(pair).unwrap());
        text.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    };
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let packets = lines.map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        Packet {
            timestamp: fields[1].parse().unwrap(),
            marker: fields[2] == "1",
            payload: bytes(fields[4]),
            descriptor: bytes(fields[5]),
        }
    });
    packets.collect()
}

fn open(world: &World, n: usize, sdp: &str, nid: u64, tracks: Vec<NewTrack>) -> Opened {
    let config = SessionConfig {
        ufrag_prefix: ufrag_prefix(WorkerId(0)),
        ufrag_rest: format!("layers{n:04}"),
        password: "0123456789abcdef01234567".to_owned(),
        local: vec![world.server()],
        outside: Vec::new(),
        data_bytes: 64 * 1024,
    };
    let publishes: Vec<_> =
        tracks.iter().map(|track| (track.mid.clone(), track.source.kind())).collect();
    let offer = Offer { sdp, publishes: &publishes };
    let engine = Engine::new().unwrap();
    let (session, sdp) = Session::open(&engine, &config, &offer, world.now).unwrap();
    Opened { session, nid, sdp, tracks }
}

/// Somebody who offers one video codec and the extension.
fn join(world: &mut World, n: usize, codec: Codec, wishes: Wishes) -> Receiver<Vec<u8>> {
    let address = SocketAddr::from(([10, 0, 1, u8::try_from(n).unwrap()], 40_000));
    let mut peer = Peer::new(address, world.now);
    let (keeps, kept) = channel();
    peer.rtc = Rtc::builder()
        .set_rtp_mode(true)
        .clear_codecs()
        .enable_opus(true, false)
        .enable_vp9(codec == Codec::Vp9)
        .enable_av1(codec == Codec::Av1)
        .set_extension(12, Extension::with_serializer(URI, Kept(keeps)))
        .build(world.now);
    peer.rtc.add_local_candidate(Candidate::host(address, "udp").unwrap());
    peer.height = Some(540);
    let (nid, sdp, tracks) = peer.offer(wishes);
    let opened = open(world, n, &sdp, nid, tracks);
    assert!(opened.sdp.contains(URI), "it is agreed");
    let name = format!("n{n}");
    let join = Join {
        session: SessionId(n as u64),
        room: RoomName::new("r").unwrap(),
        home: WorkerId(0),
        identity: Identity::new(&name).unwrap(),
        name: DisplayName::new(&name).unwrap(),
        joined_at: 1_000 + n as u64,
        max_members: world.max_members,
        media: Some(Box::new(opened)),
    };
    let member = Member {
        peer,
        id: SessionId(n as u64),
        events: Vec::new(),
        seats: Seats::default(),
        over: false,
        obedient: true,
        speaks: false,
        films: false,
        mark: 0,
        worker: 0,
    };
    world.members.insert(n, member);
    world.command(Command::Join(join));
    kept
}

/// Sends a recording, picture by picture, to one viewer that shows it at this height; what came, and
/// its descriptors.
fn watch(codec: Codec, text: &str, height: u16) -> (Vec<Received>, Vec<Vec<u8>>) {
    let mut world = World::new(7, 1);
    let viewer = Wishes { audio: false, video: false, seats: 1, data: false };
    let publisher = Wishes { audio: false, video: true, seats: 0, data: false };
    let kept = join(&mut world, 70, codec, viewer);
    join(&mut world, 71, codec, publisher);
    world.until(|w| w.members.values().all(|m| m.peer.connected), "the media paths stand");
    world.until(|w| !w.members[&70].seats.occupied.is_empty(), "it sits");
    let track = world.members[&70].seats.occupied[0].1;
    let intent = Intent { track, height, priority: 0, pinned: false };
    world.request(70, Request::Intents(vec![intent]));
    world.run(100);
    let packets = recording(text);
    let mut timestamp = packets[0].timestamp;
    for (packet, seq) in packets.into_iter().zip(300u64..) {
        if packet.timestamp != timestamp {
            timestamp = packet.timestamp;
            world.run(30);
        }
        let peer = &mut world.members.get_mut(&71).unwrap().peer;
        let pt = peer.rtc.codec_config().find(|p| p.spec().codec == codec).unwrap().pt();
        let mid = peer.streams[0].mid;
        let mut values = ExtensionValues::default();
        values.user_values.set(Raw(packet.descriptor));
        let write = RtpWrite::new(pt, seq.into(), packet.timestamp, world.now, packet.payload)
            .marker(packet.marker)
            .ext_vals(values)
            .nackable(true);
        let mut api = peer.rtc.direct_api();
        api.stream_tx_by_mid(mid, None).unwrap().write_rtp(write);
        let now = world.now;
        peer.handle_time(now);
        world.run(1);
    }
    world.run(1_000);
    let mut received = std::mem::take(&mut world.members.get_mut(&70).unwrap().peer.received);
    // A probe for more bandwidth can be a packet sent once more.
    received.sort_by_key(|packet| packet.seq);
    received.dedup_by_key(|packet| packet.seq);
    (received, kept.try_iter().collect())
}

/// What stands behind the running number of a VP9 picture; AV1 has something else there.
fn behind(payload: &[u8]) -> &[u8] {
    &payload[3..]
}

fn assert_no_hole(received: &[Received]) {
    assert!(received.windows(2).all(|pair| pair[1].seq == pair[0].seq + 1));
}

/// A viewer that wants it all is sent it all once that is measured, with descriptors that tell of it.
fn whole(codec: Codec, text: &str) {
    let sent = recording(text);
    let (received, descriptors) = watch(codec, text, u16::MAX);
    assert_no_hole(&received);
    for (packet, sent) in received.iter().rev().zip(sent.iter().rev()).take(40) {
        assert_eq!(packet.marker, sent.marker);
        assert_eq!(behind(&packet.payload), behind(&sent.payload));
    }
    let mut structure = None;
    for bytes in &descriptors {
        let (_, brought) = Descriptor::parse(bytes, structure.as_ref()).unwrap();
        structure = brought.or(structure);
    }
    assert!(descriptors.len() >= received.len());
    assert!(descriptors[0].len() > 80, "that of a keyframe");
}

#[test]
fn all_layers_and_their_descriptors_reach_who_wants_them() {
    whole(Codec::Vp9, include_str!("../fixtures/descriptors/vp9-l3t3-key.txt"));
    whole(Codec::Av1, include_str!("../fixtures/descriptors/av1-l3t3.txt"));
}

#[test]
fn a_small_picture_is_sent_its_own_layers_alone_and_each_ends() {
    let text = include_str!("../fixtures/descriptors/av1-l3t3.txt");
    let (received, descriptors) = watch(Codec::Av1, text, 100);
    assert_no_hole(&received);
    let (mut structure, mut lowest) = (None, Vec::new());
    for sent in recording(text) {
        let (frame, brought) = Descriptor::parse(&sent.descriptor, structure.as_ref()).unwrap();
        structure = brought.or(structure);
        if frame.spatial == 0 {
            let told = descriptors.contains(&sent.descriptor);
            assert!(told || frame.temporal > 0, "frames keep their numbers");
            lowest.push(sent.payload);
        }
    }
    let late = &received[received.len() / 2..];
    assert!(late.iter().all(|packet| packet.marker && lowest.contains(&packet.payload)));
    assert!(late.len() > 10);
}
