//! Real sockets, real threads: what a member says and sends reaches the others.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::UdpSocket;
use tokio_tungstenite::tungstenite::Message;

use crate::client::{LIMIT, Socket, TestServer, config};
use crate::support::peer::{Peer, Wishes};

/// A client with a UDP socket of its own.
struct Person {
    peer: Peer,
    udp: UdpSocket,
    socket: Socket,
    welcome: Value,
    published: Option<Instant>,
}

impl Person {
    async fn join(server: &TestServer, room: &str, name: &str) -> Self {
        let wishes = Wishes { audio: true, video: true, seats: 2, data: true };
        Self::join_with(server, room, name, wishes).await
    }

    async fn join_with(server: &TestServer, room: &str, name: &str, wishes: Wishes) -> Self {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut peer = Peer::new(udp.local_addr().unwrap(), now());
        let (nid, sdp, _) = peer.offer(wishes);
        let mids: Vec<String> = peer.streams.iter().map(|stream| stream.mid.to_string()).collect();
        let tracks = json!([
            { "mid": mids[0], "cid": "mic", "source": "microphone" },
            { "mid": mids[1], "cid": "cam", "source": "camera" },
        ]);
        let mut socket = server.socket().await;
        let offer = json!({ "nid": nid, "sdp": sdp, "tracks": tracks });
        let data = json!({ "protocols": ["1"], "room": room, "name": name, "offer": offer });
        socket.send("hello", data).await;
        let welcome = socket.next("welcome").await;
        peer.accept(welcome["data"]["answer"]["sdp"].as_str().unwrap());
        Self { peer, udp, socket, welcome, published: None }
    }

    /// Sends and receives for a moment.
    async fn breathe(&mut self) {
        self.peer.handle_time(now());
        for (to, bytes) in std::mem::take(&mut self.peer.out) {
            self.udp.send_to(&bytes, to).await.unwrap();
        }
        let mut buffer = [0; 2_000];
        let received = self.udp.recv_from(&mut buffer);
        if let Ok(Ok((len, from))) = tokio::time::timeout(Duration::from_millis(5), received).await
        {
            self.peer.handle_datagram(from, &buffer[..len], now());
        }
        while let Ok((len, from)) = self.udp.try_recv_from(&mut buffer) {
            self.peer.handle_datagram(from, &buffer[..len], now());
        }
    }

    /// Sends sound and a frame, as far apart from the last as a camera's are: what it carries is
    /// estimated from how packets follow each other.
    async fn publish(&mut self, mark: u8) {
        while self.published.is_some_and(|at| at.elapsed() < Duration::from_millis(33)) {
            self.breathe().await;
        }
        self.published = Some(now());
        self.peer.send(0, mark, 1, now());
        self.peer.send(1, mark, 3, now());
        self.breathe().await;
    }
}

#[expect(clippy::disallowed_methods, reason = "these clients live in real time")]
fn now() -> Instant {
    Instant::now()
}

/// Lets everybody breathe until something holds.
async fn until(people: &mut [Person], holds: impl Fn(&[Person]) -> bool, what: &str) {
    let from = now();
    while !holds(people) {
        assert!(from.elapsed() < LIMIT, "never came to be: {what}");
        for person in people.iter_mut() {
            person.breathe().await;
        }
    }
}

#[tokio::test]
async fn two_members_over_real_sockets_see_and_hear_each_other() {
    let server = TestServer::start("media").await;
    let mut people =
        vec![Person::join(&server, "r", "Ada").await, Person::join(&server, "r", "Kofi").await];
    until(&mut people, |all| all.iter().all(|p| p.peer.connected), "both media paths").await;
    let rev = people[1].socket.next("seats").await["data"]["rev"].clone();
    people[1].socket.raw(&json!({ "type": "seated", "data": { "rev": rev } }).to_string()).await;
    let from = now();
    while people[1].peer.received.len() < 60 {
        assert!(from.elapsed() < LIMIT, "{} packets came", people[1].peer.received.len());
        people[0].publish(7).await;
        people[1].breathe().await;
    }
    let received = &people[1].peer.received;
    assert!(received.iter().all(|packet| packet.payload.last() == Some(&7)));
    assert!(received.iter().any(|packet| packet.payload.len() > 100), "pictures");
    assert!(received.iter().any(|packet| packet.payload.len() < 100), "sound");
    let both = r#"fanlight_participants{state="connected"} 2"#;
    server.metrics_until(|text| text.contains(both)).await;
    server.stop().await;
}

#[tokio::test]
async fn rooms_are_spread_and_a_datagram_on_the_wrong_socket_finds_its_owner() {
    let mut config = config("spread");
    config.workers = 4;
    let server = TestServer::with(config).await;
    let mut people = Vec::new();
    for n in 0..8 {
        people.push(Person::join(&server, &format!("room{n}"), "Ada").await);
    }
    until(&mut people, |all| all.iter().all(|p| p.peer.connected), "all media paths").await;
    let workers: std::collections::BTreeSet<String> = people
        .iter()
        .map(|p| p.welcome["data"]["me"]["tracks"][0]["id"].as_str().unwrap()[..2].to_owned())
        .collect();
    assert_eq!(workers.len(), 4, "eight rooms on four workers: {workers:?}");
    // The kernel spreads datagrams over the sockets as it likes.
    let none = "fanlight_datagrams_handed_over_total 0\n";
    server.metrics_until(|text| !text.contains(none)).await;
    server.stop().await;
}

/// The worker of a person's session, from the ids of its tracks.
fn worker_of(person: &Person) -> String {
    person.welcome["data"]["me"]["tracks"][0]["id"].as_str().unwrap()[..2].to_owned()
}

#[tokio::test]
async fn a_room_that_outgrows_one_worker_goes_on_on_another() {
    let mut config = config("span");
    config.media.room_packets = 8;
    let server = TestServer::with(config).await;
    let mut people =
        vec![Person::join(&server, "r", "Ada").await, Person::join(&server, "r", "Kofi").await];
    until(&mut people, |all| all.iter().all(|p| p.peer.connected), "both media paths").await;
    assert_eq!(worker_of(&people[0]), worker_of(&people[1]), "a small room stays together");
    let from = now();
    while !people.iter().any(|person| worker_of(person) != worker_of(&people[0])) {
        assert!(from.elapsed() < LIMIT, "nobody was placed elsewhere");
        let spoken = now();
        while spoken.elapsed() < Duration::from_millis(700) {
            people[0].publish(7).await;
            for person in &mut people[1..] {
                person.breathe().await;
            }
        }
        people.push(Person::join(&server, "r", "Mina").await);
    }
    until(&mut people, |all| all.iter().all(|p| p.peer.connected), "all media paths").await;
    let last = people.len() - 1;
    let from = now();
    let seen = |person: &Person, mark| {
        let is = |p: &&crate::support::peer::Received| {
            p.payload.last() == Some(&mark) && p.payload.len() > 100
        };
        person.peer.received.iter().filter(is).count()
    };
    while seen(&people[last], 7) < 30 || seen(&people[0], 9) < 30 {
        assert!(from.elapsed() < LIMIT, "media crosses both ways");
        people[0].publish(7).await;
        people[last].publish(9).await;
    }
    let room = server.get("/v1/rooms/r").await.json();
    assert_eq!(room["participants"].as_array().unwrap().len(), people.len());
    assert!(room["participants"].as_array().unwrap().iter().all(|p| p["connected"] == true));
    let text = server.metrics_until(|text| text.contains("fanlight_rooms_spanning 1")).await;
    assert!(!text.contains("fanlight_relay_packets_total{direction=\"in\"} 0\n"), "{text}");
    assert!(text.contains("fanlight_relay_links_broken_total 0\n"));
    server.stop().await;
}

#[tokio::test]
async fn an_answer_names_the_address_by_which_the_page_was_found() {
    let mut config = config("reach");
    config.public_ips = vec!["192.0.2.77".parse().unwrap()];
    let server = TestServer::with(config).await;
    let person = Person::join(&server, "r", "Ada").await;
    let sdp = person.welcome["data"]["answer"]["sdp"].as_str().unwrap();
    for address in ["127.0.0.1", "192.0.2.77"] {
        let candidate = format!(" {address} {} typ host", server.port);
        assert!(sdp.contains(&candidate), "{address} is no candidate in {sdp}");
    }
    assert!(!sdp.contains("typ srflx"));
    let stranger: SocketAddr = server.address();
    assert_eq!(stranger.port(), server.port);
    server.stop().await;
}

#[tokio::test]
async fn a_lost_socket_leaves_after_the_grace_time_and_a_closed_one_at_once() {
    let mut config = config("grace");
    config.doors.grace = Duration::from_millis(400);
    let server = TestServer::with(config).await;
    let (mut ada, _) = server.join("r", "Ada").await;
    let (kofi, _) = server.join("r", "Kofi").await;
    let (mina, _) = server.join("r", "Mina").await;
    ada.next("joined").await;
    ada.next("joined").await;
    let from = now();
    drop(kofi);
    assert_eq!(ada.next("leaving").await["data"]["reason"], "timeout");
    assert!(from.elapsed() >= Duration::from_millis(350), "media goes on for the grace time");
    assert_eq!(ada.next("left").await["data"]["reason"], "timeout");
    let closing = tokio::spawn(mina.close());
    assert_eq!(ada.next("left").await["data"]["reason"], "client");
    closing.await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn who_closes_the_peer_connection_has_left_and_is_not_called_slow() {
    let server = TestServer::start("closed-peer").await;
    // With data channels this engine waits for the other side before it says that it closes.
    let wishes = Wishes { audio: true, video: true, seats: 2, data: false };
    let mut people = vec![
        Person::join_with(&server, "r", "Ada", wishes).await,
        Person::join_with(&server, "r", "Kofi", wishes).await,
    ];
    until(&mut people, |all| all.iter().all(|p| p.peer.connected), "both media paths").await;
    people[1].peer.close(now());
    people[1].breathe().await;
    assert_eq!(people[0].socket.next("left").await["data"]["reason"], "client");
    loop {
        match people[1].socket.frame().await {
            Message::Text(text) => assert!(!text.contains("goodbye"), "{text}"),
            Message::Close(frame) => {
                let code = frame.map_or(1005, |frame| u16::from(frame.code));
                break assert_eq!(code, 1000, "the session is over, and nothing is wrong");
            }
            _ => {}
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn who_watches_says_what_is_shown_and_everybody_can_ask_what_is_sent_and_why() {
    let server = TestServer::start("stats").await;
    let mut people =
        vec![Person::join(&server, "r", "Ada").await, Person::join(&server, "r", "Kofi").await];
    until(&mut people, |all| all.iter().all(|p| p.peer.connected), "both media paths").await;
    let from = now();
    while people[1].peer.received.len() < 60 {
        assert!(from.elapsed() < LIMIT, "{} packets came", people[1].peer.received.len());
        people[0].publish(7).await;
        people[1].breathe().await;
    }
    let camera = people[0].welcome["data"]["me"]["tracks"][1]["id"].clone();
    people[1].socket.send("stats", json!({})).await;
    let stats = people[1].socket.next("stats").await;
    let seat = |stats: &Value| {
        let seats = stats["seats"].as_array().unwrap().clone();
        seats.into_iter().find(|seat| seat["trackId"] == camera).unwrap()
    };
    assert_eq!(seat(&stats["data"])["reason"], "none", "{stats}");
    assert_eq!(seat(&stats["data"])["served"]["layer"], 0);
    assert_eq!(seat(&stats["data"])["wanted"], Value::Null, "nothing was said yet");
    assert!(stats["data"]["estimate"].as_u64().unwrap() > 100_000);

    people[1].socket.send("intents", json!({ "tracks": [] })).await;
    people[1].socket.next("ok").await;
    let all = server.get("/v1/rooms/r/stats").await.json();
    let kofi = all["participants"].as_array().unwrap().iter();
    let identity = |p: &&Value| p["identity"] == people[1].welcome["data"]["me"]["identity"];
    let kofi = kofi.filter(identity).collect::<Vec<_>>();
    assert_eq!(kofi.len(), 1, "{all}");
    assert_eq!(seat(kofi[0])["reason"], "notVisible", "{all}");
    let layers = people[0].socket.next("layers").await;
    assert_eq!(layers["data"]["trackId"], camera);
    assert_eq!(layers["data"]["rids"], json!([]), "nobody watches");
    assert_eq!(server.get("/v1/rooms/none/stats").await.status, 404);

    let many: Vec<Value> =
        (0..1_025).map(|n| json!({ "trackId": format!("t0-{n}"), "height": 90 })).collect();
    people[1].socket.send("intents", json!({ "tracks": many })).await;
    assert_eq!(people[1].socket.next("error").await["data"]["code"], "too-many");
    server.stop().await;
}
