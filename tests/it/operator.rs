//! What an operator sees and does, and that nobody else can.

use hyper::StatusCode;

use crate::client::TestServer;

#[tokio::test]
async fn rooms_are_listed_looked_at_and_closed() {
    let server = TestServer::start("rooms").await;
    let (mut ada, welcome) = server.join("blue-otter", "Ada").await;
    let (kofi, _) = server.join("blue-otter", "Kofi").await;
    let list = server.get("/v1/rooms").await.json();
    assert_eq!((&list["count"], &list["participants"]), (&1.into(), &2.into()));
    assert_eq!(list["rooms"][0]["name"], "blue-otter");
    let room = server.get("/v1/rooms/blue-otter").await.json();
    let first = &room["participants"][0];
    assert_eq!(first["identity"], welcome["data"]["me"]["identity"]);
    assert_eq!((&first["name"], &first["connected"]), (&"Ada".into(), &false.into()));
    assert!(first["joinedAt"].as_u64().unwrap() > 1_700_000_000_000);
    let identity = room["participants"][1]["identity"].as_str().unwrap().to_owned();
    let path = format!("/v1/rooms/blue-otter/participants/{identity}");
    assert_eq!(server.http("DELETE", &path, &[]).await.status, StatusCode::NO_CONTENT);
    assert_eq!(server.http("DELETE", &path, &[]).await.status, StatusCode::NOT_FOUND);
    let left = ada.next("left").await;
    assert_eq!(
        (&left["data"]["identity"], &left["data"]["reason"]),
        (&identity.into(), &"removed".into())
    );
    assert_eq!(
        server.http("DELETE", "/v1/rooms/blue-otter", &[]).await.status,
        StatusCode::NO_CONTENT
    );
    let goodbye = ada.next("goodbye").await;
    assert_eq!(goodbye["data"]["reason"], "room-deleted");
    assert_eq!(goodbye["data"]["retry"], "none");
    assert_eq!(ada.closed().await, 1000);
    for method in ["GET", "DELETE"] {
        let gone = server.http(method, "/v1/rooms/blue-otter", &[]).await;
        assert_eq!(gone.status, StatusCode::NOT_FOUND);
        assert_eq!(gone.json()["code"], "no-such-room");
    }
    drop(kofi);
    server.stop().await;
}

#[tokio::test]
async fn whoever_comes_through_a_proxy_is_no_operator() {
    let server = TestServer::start("proxy").await;
    for path in ["/v1/rooms", "/v1/rooms/x", "/metrics"] {
        for header in ["forwarded", "x-forwarded-for", "x-forwarded-port", "via", "x-real-ip"] {
            let answer = server.http("GET", path, &[(header, "127.0.0.1")]).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path} with {header}");
        }
        let named = server.http("GET", path, &[("host", "meet.example")]).await;
        assert_ne!(named.status, StatusCode::OK, "{path} under another name");
    }
    server.stop().await;
}

#[tokio::test]
async fn metrics_count_what_is_there() {
    let server = TestServer::start("metrics").await;
    let (_ada, _) = server.join("r", "Ada").await;
    let text = server.metrics_until(|text| text.contains("fanlight_rooms 1")).await;
    for line in [
        r#"fanlight_participants{state="connecting"} 1"#,
        r#"fanlight_joins_total{result="ok"} 1"#,
        r#"fanlight_dropped_packets_total{reason="ssrc_unproven"} 0"#,
        r#"fanlight_forward_delay_seconds_count{worker="0"} 0"#,
        r#"fanlight_build_info{version="0.1.0"} 1"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("Ada"), "no person in a label");
    server.stop().await;
}

#[tokio::test]
async fn health_and_readiness_are_for_everybody() {
    let server = TestServer::start("health").await;
    for path in ["/healthz", "/readyz"] {
        let answer = server.http("GET", path, &[("x-forwarded-for", "10.0.0.1")]).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
    }
    fanlight::server::ask_health(server.address()).await.unwrap();
    let address = server.address();
    server.stop().await;
    assert!(fanlight::server::ask_health(address).await.is_err());
}
