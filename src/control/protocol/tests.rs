use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::config::{DoorLimits, MediaLimits};
use crate::forward::layers::Target;
use crate::ids::{Identity, WorkerId};
use crate::model::{
    Bandwidth, Connection, ParticipantInfo, Quality, Reason, Retry, Speaker, TrackInfo,
};
use crate::worker::command::StreamState;

fn fixtures() -> BTreeMap<String, Value> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/protocol");
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        all.insert(name, serde_json::from_str(&text).unwrap());
    }
    all
}

fn track(number: u32, source: Source, muted: bool, size: Option<(u16, u16)>) -> TrackInfo {
    TrackInfo {
        id: id(number),
        source,
        kind: source.kind(),
        name: None,
        muted,
        width: size.map(|size| size.0),
        height: size.map(|size| size.1),
    }
}

fn id(number: u32) -> TrackId {
    TrackId { worker: WorkerId(0), number }
}

fn ada() -> ParticipantInfo {
    ParticipantInfo {
        identity: Identity::new("ada-3f9c").unwrap(),
        name: DisplayName::new("Ada").unwrap(),
        joined_at: 1_795_510_000_000,
        tracks: vec![
            track(1, Source::Microphone, false, None),
            track(2, Source::Camera, false, Some((640, 360))),
        ],
    }
}

/// What a client is told of its own network and of others'.
fn adapted() -> (Connection, ViewerStats) {
    let who = || Identity::new("ada-3f9c").unwrap();
    let connection = Connection {
        identity: who(),
        level: Quality::Poor,
        reason: "Many packets are lost on the way.",
    };
    let stats = ViewerStats {
        identity: who(),
        bandwidth: Bandwidth {
            estimate: 1_200_000,
            loss: 0.25,
            rtt: Some(Duration::from_millis(25)),
            ..Bandwidth::default()
        },
        seats: vec![SeatStats {
            track: id(2),
            mid: "3".to_owned(),
            wanted: Some(360),
            served: Some(Target { layer: 1, temporal: 2 }),
            bitrate: 150_000,
            reason: "bandwidth",
        }],
    };
    (connection, stats)
}

fn events() -> Vec<(&'static str, u64, Event)> {
    let who = || Identity::new("ada-3f9c").unwrap();
    let me = ParticipantInfo {
        identity: Identity::new("sam-81b2").unwrap(),
        name: DisplayName::new("Sam").unwrap(),
        joined_at: 1_795_510_012_000,
        tracks: vec![track(3, Source::Microphone, true, None)],
    };
    let sdp = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n".to_owned();
    let tracks = vec![("mic".to_owned(), id(3)), ("cam".to_owned(), id(4))];
    let answer = SdpAnswer { nid: 1, sdp, tracks };
    let seats = Seats {
        rev: 3,
        want: 8,
        occupied: vec![("2".to_owned(), id(1)), ("3".to_owned(), id(2))],
        unseated: vec![id(9)],
    };
    let notice = |notice| Event::Notice(Arc::new(notice));
    let state = |number, viewer| {
        Event::StreamState(StreamState {
            track: id(number),
            viewer,
            active: false,
            reason: "codec",
        })
    };
    let missing = Refusal::new(ErrorCode::NoSuchTrack, "There is no track t0-9 of yours.");
    let slower = Refusal {
        retry_after_ms: Some(1_000),
        ..Refusal::new(ErrorCode::RateLimited, "More than 50 messages in a second.")
    };
    let joined = Event::Joined {
        participants: vec![ada()],
        me,
        answer: Some(answer.clone()),
        seats: seats.clone(),
    };
    let (connection, stats) = adapted();
    vec![
        ("welcome", 0, joined),
        ("answer", 0, Event::Answer(SdpAnswer { nid: 2, ..answer })),
        ("ok", 0, Event::Done { id: 4 }),
        ("error", 0, Event::Refused { id: Some(5), refusal: missing }),
        ("error-retry", 0, Event::Refused { id: None, refusal: slower }),
        ("seats", 1, Event::Seats(seats)),
        ("joined", 2, notice(Notice::Joined(ada()))),
        ("leaving", 3, notice(Notice::Leaving { identity: who(), reason: Reason::Client })),
        ("left", 4, notice(Notice::Left { identity: who(), reason: Reason::Client })),
        (
            "published",
            5,
            notice(Notice::Published { identity: who(), track: ada().tracks[1].clone() }),
        ),
        ("unpublished", 6, notice(Notice::Unpublished { identity: who(), track: id(2) })),
        (
            "trackUpdated",
            7,
            notice(Notice::TrackUpdated {
                identity: who(),
                track: track(1, Source::Microphone, true, None),
            }),
        ),
        ("speakers", 0, Event::Speakers(Arc::from([Speaker { identity: who(), level: 0.5 }]))),
        ("streamState", 8, state(2, None)),
        ("streamState-publisher", 9, state(3, Some(who()))),
        ("layers", 10, Event::Layers { track: id(4), rids: vec!["q".to_owned(), "h".to_owned()] }),
        ("quality", 0, Event::Quality(connection)),
        ("stats", 0, Event::Stats { id: 9, stats: Box::new(stats) }),
        (
            "goodbye",
            11,
            Event::Goodbye {
                reason: Reason::ServerShutdown,
                retry: Retry::Rejoin,
                after_ms: 1_000,
            },
        ),
    ]
}

#[test]
fn every_message_of_the_server_is_the_one_of_its_fixture() {
    let mut fixtures = fixtures();
    let config = Config {
        bind: SocketAddr::from(([127, 0, 0, 1], 8443)),
        public_ips: Vec::new(),
        data_dir: "x".into(),
        workers: 1,
        domains: Vec::new(),
        origins: Vec::new(),
        media: MediaLimits::default(),
        doors: DoorLimits::default(),
    };
    let room = RoomName::new("blue-otter").unwrap();
    let welcome =
        Welcome { id: Some(1), session: SessionId(7), room: &room, config: &config, node: "n1" };
    let pong = ServerMessage::pong(&json!(1234)).render(&mut 0);
    assert_eq!(pong, fixtures.remove("pong").unwrap()["message"]);
    for (name, mut seq, event) in events() {
        let fixture = fixtures.remove(name).unwrap();
        let message = ServerMessage::of(&event, &welcome).remove(0).render(&mut seq);
        assert_eq!(message, fixture["message"], "{name}");
        assert_eq!(fixture["direction"], "server");
    }
    let left: Vec<&String> =
        fixtures.iter().filter(|(_, f)| f["direction"] == "server").map(|(name, _)| name).collect();
    assert!(left.is_empty(), "fixtures that no event makes: {left:?}");
}

#[test]
fn every_message_of_a_client_is_read() {
    for (name, fixture) in fixtures().iter().filter(|(_, f)| f["direction"] == "client") {
        let envelope = Envelope::read(&fixture["message"].to_string()).unwrap();
        if envelope.kind == "hello" {
            let hello = Hello::read(&envelope).unwrap();
            assert_eq!(hello.room.as_str(), "blue-otter");
            assert_eq!(hello.offer.is_some(), name == "hello");
            continue;
        }
        let message = ClientMessage::read(&envelope).unwrap();
        assert!(!matches!(message, ClientMessage::Unknown), "{name}");
    }
}

#[test]
fn the_document_names_every_fixture() {
    let document = include_str!("../../../docs/protocol.md");
    for name in fixtures().keys() {
        assert!(
            document.contains(&format!("`{name}.json`")),
            "{name}.json is not in docs/protocol.md"
        );
    }
}

#[test]
fn each_wrong_hello_has_its_code_and_place() {
    let hello = |data: Value| {
        let text = json!({ "type": "hello", "data": data }).to_string();
        Hello::read(&Envelope::read(&text).unwrap()).map(|_| ()).unwrap_err()
    };
    let good = json!({ "protocols": ["1"], "room": "r", "name": "n" });
    let with = |key: &str, value: Value| {
        let mut data = good.clone();
        data[key] = value;
        hello(data)
    };
    assert_eq!(with("protocols", json!(["9"])).code, ErrorCode::UnsupportedProtocol);
    assert_eq!(with("identity", json!("me")).code, ErrorCode::NotAllowed);
    for (key, value) in [("room", json!("a b")), ("room", json!("")), ("name", json!("  "))] {
        let refusal = with(key, value);
        assert_eq!(refusal.code, ErrorCode::BadMessage);
        assert!(refusal.message.starts_with(&format!("data.{key}: ")), "{refusal}");
    }
    let tracks =
        json!({ "nid": 1, "sdp": "", "tracks": [{ "mid": "0", "cid": "", "source": "camera" }] });
    assert!(with("offer", tracks).message.starts_with("data.offer.tracks.0.cid"));
    let source =
        json!({ "nid": 1, "sdp": "", "tracks": [{ "mid": "0", "cid": "c", "source": "radio" }] });
    assert!(with("offer", source).message.starts_with("data.offer.tracks[0].source"));
    let many: Vec<Value> =
        (0..17).map(|n| json!({ "mid": "0", "cid": n.to_string(), "source": "camera" })).collect();
    assert_eq!(
        with("offer", json!({ "nid": 1, "sdp": "", "tracks": many })).code,
        ErrorCode::TooMany
    );
}
