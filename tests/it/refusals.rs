//! Each code that a client can provoke, and each way in which its socket is closed.

use std::time::Duration;

use futures_util::SinkExt as _;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::client::{TestServer, config};

fn hello(with: &Value) -> Value {
    let mut data = json!({ "protocols": ["1"], "room": "r", "name": "n" });
    for (key, value) in with.as_object().unwrap() {
        data[key] = value.clone();
    }
    data
}

#[tokio::test]
async fn a_refused_hello_says_why_and_closes() {
    let server = TestServer::start("hello").await;
    let offer = json!({ "nid": 1, "sdp": "v=1", "tracks": [] });
    for (with, code, place) in [
        (json!({ "protocols": ["9"] }), "unsupported-protocol", ""),
        (json!({ "identity": "me" }), "not-allowed", "data.identity"),
        (json!({ "name": "" }), "bad-message", "data.name"),
        (json!({ "name": 7 }), "bad-message", "data.name"),
        (json!({ "room": "a b" }), "bad-message", "data.room"),
        (json!({ "offer": offer }), "negotiation-failed", "Line 1"),
        (json!({ "offer": { "nid": 1, "sdp": "x".repeat(400_000) } }), "too-large", "bytes"),
        (
            json!({ "offer": { "nid": 1, "sdp": "m=audio 9 X 0\n".repeat(161) } }),
            "too-many",
            "m-lines",
        ),
    ] {
        let mut socket = server.socket().await;
        let id = socket.send("hello", hello(&with)).await;
        let error = socket.next("error").await;
        assert_eq!((&error["id"], &error["data"]["code"]), (&id.into(), &code.into()), "{error}");
        let message = error["data"]["message"].as_str().unwrap();
        assert!(message.contains(place), "{message}");
        assert_eq!(socket.closed().await, 4400);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_room_that_is_full_and_a_flood_of_joins_and_rooms_are_refused() {
    let mut config = config("full");
    config.doors.count_loopback = true;
    config.doors.members = 1;
    config.doors.rooms = 2;
    config.doors.joins = 6;
    let server = TestServer::with(config).await;
    let (_ada, _) = server.join("r", "Ada").await;
    let refused = async |room: &str| {
        let mut socket = server.socket().await;
        socket.send("hello", hello(&json!({ "room": room }))).await;
        socket.any().await["data"]["code"].clone()
    };
    assert_eq!(refused("r").await, "room-full");
    assert_eq!(refused("second").await, Value::Null, "welcome");
    assert_eq!(refused("third").await, "rate-limited");
    for _ in 5..=6 {
        assert_eq!(refused("r").await, "room-full");
    }
    let mut seventh = server.socket().await;
    seventh.send("hello", hello(&json!({}))).await;
    let error = seventh.next("error").await;
    assert_eq!(error["data"]["code"], "rate-limited");
    assert_eq!(error["data"]["retryAfterMs"], 1_000, "a browser can read it: {error}");
    assert_eq!(seventh.closed().await, 4400);
    server.stop().await;
}

#[tokio::test]
async fn whoever_breaks_the_protocol_is_closed_with_its_own_code() {
    let mut config = config("codes");
    config.doors.hello = Duration::from_millis(300);
    let server = TestServer::with(config).await;
    let mut silent = server.socket().await;
    assert_eq!(silent.closed().await, 4408);
    for first in ["{", "[]", r#"{"type":"mute"}"#, "nonsense"] {
        let mut socket = server.socket().await;
        socket.raw(first).await;
        assert_eq!(socket.closed().await, 4400, "{first}");
    }
    let mut binary = server.socket().await;
    binary.line.send(Message::binary(vec![1])).await.unwrap();
    assert_eq!(binary.closed().await, 1003);
    let mut long = server.socket().await;
    long.raw(&"x".repeat(512 * 1024 + 1)).await;
    assert_eq!(long.closed().await, 1009);
    let mut text = server.socket().await;
    let frame = Frame::message(vec![0xff, 0xfe], OpCode::Data(Data::Text), true);
    text.line.send(Message::Frame(frame)).await.unwrap();
    assert_eq!(text.closed().await, 1007);
    let (mut member, _) = server.join("r", "n").await;
    member
        .raw(&json!({ "type": "mute", "data": { "trackId": "x".repeat(70_000) } }).to_string())
        .await;
    assert_eq!(member.closed().await, 1009, "64 KiB for everything but offers");
    server.stop().await;
}

#[tokio::test]
async fn bad_messages_are_named_and_the_tenth_closes() {
    let server = TestServer::start("bad").await;
    let (mut socket, _) = server.join("r", "n").await;
    let deep = format!(r#"{{"type":"x","data":{}1{}}}"#, r#"{"a":"#.repeat(16), "}".repeat(16));
    for (text, place) in [
        (r#"{"type":"mute","id":1,"data":{"trackId":7}}"#, "data.trackId"),
        (
            r#"{"type":"mute","id":2,"data":{"trackId":"t0-1","trackId":"t0-1"}}"#,
            "data.trackId: stands twice",
        ),
        (deep.as_str(), "deeper than 16"),
        (r#"{"type":"nonsense","id":3}"#, "there is no message nonsense"),
        (r#"{"type":"seated","data":{"rev":"x"}}"#, "data.rev"),
        (r#"{"type":"mute","id":4,"data":{"trackId":"t0-1"}}"#, "muted"),
        (r#"{"type":"candidate","data":{"candidate":7}}"#, "data.candidate"),
    ] {
        socket.raw(text).await;
        let error = socket.next("error").await;
        assert_eq!(error["data"]["code"], "bad-message", "{text}");
        assert!(error["data"]["message"].as_str().unwrap().contains(place), "{error}");
    }
    socket.raw(r#"{"type":"nonsense"}"#).await;
    for _ in 0..3 {
        socket.raw(r#"{"type":7}"#).await;
    }
    assert_eq!(socket.closed().await, 4400);
    server.stop().await;
}

#[tokio::test]
async fn a_flood_is_told_once_and_then_closed() {
    let server = TestServer::start("flood").await;
    let (mut socket, _) = server.join("r", "n").await;
    for n in 0..400 {
        let ping = json!({ "type": "ping", "data": { "ts": n } }).to_string();
        if socket.line.send(Message::text(ping)).await.is_err() {
            break;
        }
    }
    let error = socket.next("error").await;
    assert_eq!(error["data"]["code"], "rate-limited");
    assert_eq!(error["data"]["retryable"], true);
    assert_eq!(socket.closed().await, 4429);
    server.stop().await;
}

#[tokio::test]
async fn requests_about_what_is_not_there_are_refused_by_code() {
    let server = TestServer::start("missing").await;
    let (mut socket, _) = server.join("r", "n").await;
    for (kind, data) in [
        ("mute", json!({ "trackId": "t0-99", "muted": true })),
        ("unpublish", json!({ "trackId": "t0-99" })),
        ("unpublish", json!({ "trackId": "nonsense" })),
    ] {
        let id = socket.send(kind, data).await;
        let error = socket.next("error").await;
        assert_eq!((&error["id"], &error["data"]["code"]), (&id.into(), &"no-such-track".into()));
    }
    for n in 1..=6 {
        socket.send("offer", json!({ "nid": n, "sdp": "v=0", "tracks": [] })).await;
        let code = socket.next("error").await["data"]["code"].clone();
        assert_eq!(code, if n <= 5 { "negotiation-failed" } else { "rate-limited" }, "offer {n}");
    }
    server.stop().await;
}

#[tokio::test]
async fn every_request_with_an_id_has_its_answer() {
    let server = TestServer::start("answers").await;
    let (mut socket, _) = server.join("r", "n").await;
    let candidate = json!({ "candidate": "candidate:1 1 udp 1 192.0.2.1 9 typ host", "mid": "0", "ufrag": "a" });
    let id = socket.send("candidate", candidate).await;
    assert_eq!(socket.next("ok").await["id"], id);
    let id = socket.send("ping", json!({ "ts": 1234 })).await;
    assert_eq!(socket.next("pong").await["data"]["ts"], 1234);
    assert_eq!(socket.next("ok").await["id"], id);
    let id = socket.send("seated", json!({ "rev": 0 })).await;
    assert_eq!(socket.next("ok").await["id"], id);
    server.stop().await;
}
