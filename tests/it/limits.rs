//! What one address may take up, seen from outside. Loopback is counted like anybody here.

use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};

use crate::client::{LIMIT, TestServer, config};

const ASK: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Whether a new connection is answered.
async fn is_served(server: &TestServer) -> bool {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let mut answer = Vec::new();
    let asked = async {
        stream.write_all(ASK).await?;
        stream.read_to_end(&mut answer).await
    };
    // A reset is a close too.
    let _ = tokio::time::timeout(LIMIT, asked).await.expect("an answer or a close");
    !answer.is_empty()
}

async fn until_served(server: &TestServer) {
    let served = async {
        while !is_served(server).await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, served).await.expect("there is room again");
}

#[tokio::test]
async fn a_web_socket_is_an_open_connection_for_as_long_as_it_lives() {
    let mut config = config("open-sockets");
    config.doors.count_loopback = true;
    config.doors.connections = 2;
    let server = TestServer::with(config).await;
    let (ada, _) = server.join("r", "Ada").await;
    let (kofi, _) = server.join("r", "Kofi").await;
    assert!(!is_served(&server).await, "two are open");
    ada.close().await;
    until_served(&server).await;
    drop(kofi);
    server.stop().await;
}

#[tokio::test]
async fn an_address_has_few_connections_that_say_nothing() {
    let mut config = config("silent");
    config.doors.count_loopback = true;
    config.doors.undecided_per_address = 2;
    let server = TestServer::with(config).await;
    let silent = [
        TcpStream::connect(server.address()).await.unwrap(),
        TcpStream::connect(server.address()).await.unwrap(),
    ];
    assert!(!is_served(&server).await, "two wait already");
    drop(silent);
    until_served(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn an_address_opens_so_many_connections_in_ten_seconds() {
    let mut config = config("new-connections");
    config.doors.count_loopback = true;
    config.doors.new_connections = 3;
    let server = TestServer::with(config).await;
    for n in 0..3 {
        assert!(is_served(&server).await, "connection {n}");
    }
    assert!(!is_served(&server).await);
    server.stop().await;
}

#[tokio::test]
async fn a_client_on_a_slow_line_lives_while_its_message_comes() {
    let mut config = config("slow-line");
    config.doors.ping_timeout = Duration::from_millis(400);
    config.doors.grace = Duration::from_secs(1);
    let server = TestServer::with(config).await;
    let (mut socket, _) = server.join("r", "n").await;
    let text = json!({ "type": "ping", "id": 9, "data": { "ts": "x".repeat(20_000) } }).to_string();
    let mut frame = Frame::message(text, OpCode::Data(Data::Text), true);
    frame.header_mut().mask = Some([1, 2, 3, 4]);
    let mut bytes = Vec::new();
    frame.format(&mut bytes).unwrap();
    // Longer than the timeout, and nothing is read meanwhile, so that no pong goes out.
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    for part in bytes.chunks(1_000) {
        pace.tick().await;
        socket.line.get_mut().write_all(part).await.unwrap();
    }
    assert_eq!(socket.next("ok").await["id"], 9);
    server.stop().await;
}

#[tokio::test]
async fn only_a_client_that_is_silent_is_asked_and_lives_if_it_answers() {
    let mut config = config("asked");
    config.doors.ping_every = Duration::from_secs(1);
    config.doors.ping_timeout = Duration::from_secs(3);
    let server = TestServer::with(config).await;
    let (mut socket, _) = server.join("r", "n").await;
    // Longer than it may be silent, in steps that are far shorter.
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    for _ in 0..15 {
        pace.tick().await;
        let id = socket.send("ping", json!({ "ts": 1 })).await;
        loop {
            let frame = socket.frame().await;
            assert!(!frame.is_ping(), "one that says that it is there is not asked");
            let Ok(text) = frame.to_text() else { continue };
            if text.contains("\"ok\"") && text.contains(&format!("\"id\":{id}")) {
                break;
            }
        }
    }
    // Reading answers a ping; after three seconds it would be lost without that.
    for _ in 0..3 {
        while !socket.frame().await.is_ping() {}
    }
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_falls_silent_is_lost() {
    let mut config = config("silence");
    config.doors.ping_timeout = Duration::from_millis(400);
    config.doors.grace = Duration::from_millis(100);
    let server = TestServer::with(config).await;
    let (zombie, _) = server.join("r", "Zombie").await;
    server
        .metrics_until(|text| text.contains("fanlight_participants{state=\"connecting\"} 1"))
        .await;
    server
        .metrics_until(|text| text.contains("fanlight_participants{state=\"connecting\"} 0"))
        .await;
    drop(zombie);
    server.stop().await;
}

#[tokio::test]
async fn a_close_is_answered_by_a_close() {
    let server = TestServer::start("close").await;
    let (mut socket, _) = server.join("r", "n").await;
    let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    socket.line.close(Some(frame)).await.unwrap();
    let all = async {
        while let Some(message) = socket.line.next().await {
            message.unwrap();
        }
    };
    tokio::time::timeout(LIMIT, all).await.expect("an end in order");
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_stops_waits_for_no_hello() {
    let server = TestServer::start("hello-at-the-end").await;
    let mut socket = server.socket().await;
    let stopping = tokio::spawn(server.stop());
    assert_eq!(socket.closed().await, 1001);
    stopping.await.unwrap();
}
