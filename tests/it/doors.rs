//! One port: plain, TLS, neither; pages; who may ask for what under which name.

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use crate::client::{LIMIT, TestServer, config, request};

/// A visitor who clicks the warning away.
#[derive(Debug)]
struct Trusting;

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

#[tokio::test]
async fn the_page_is_served_with_a_strict_policy_and_an_etag() {
    let server = TestServer::start("page").await;
    let page = server.get("/").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.header("content-type").starts_with("text/html"));
    let policy = page.header("content-security-policy");
    assert!(policy.contains("default-src 'self'") && !policy.contains("unsafe"), "{policy}");
    assert!(!page.body.contains("<script>") && !page.body.contains("style="), "no inline code");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    let etag = page.header("etag").to_owned();
    let again = server.http("GET", "/", &[("if-none-match", &etag)]).await;
    assert_eq!(again.status, StatusCode::NOT_MODIFIED);
    assert_eq!(server.get("/r/blue-otter").await.body, page.body);
    let sdk = server.get("/sdk/v1/fanlight.js").await;
    assert_eq!(sdk.status, StatusCode::OK);
    assert!(sdk.header("content-type").contains("javascript"), "{:?}", sdk.headers);
    assert_eq!(sdk.header("access-control-allow-origin"), "*");
    server.stop().await;
}

#[tokio::test]
async fn unknown_paths_lead_home_and_unclean_ones_nowhere() {
    let server = TestServer::start("paths").await;
    for path in ["/foo", "/foo/bar", "/r/", "/r/a/b", "/jsconfig"] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{path}");
        assert_eq!(answer.header("location"), "/");
    }
    for path in [
        "/x.js",
        "/sdk/v1/none",
        "/sdk/v2/fanlight.js",
        "/a//b",
        "/%2e%2e/",
        "/a/../b",
        "/jsconfig.json",
        "/r/a.b",
    ] {
        assert_eq!(server.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    let api = server.get("/v1/nothing").await;
    assert_eq!(api.status, StatusCode::NOT_FOUND);
    assert_eq!(api.json()["code"], "no-such-address");
    for path in ["/", "/healthz", "/v1/rooms"] {
        let answer = server.http("POST", path, &[]).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert!(answer.header("allow").contains("GET"), "{path}: {:?}", answer.headers);
    }
    server.stop().await;
}

#[tokio::test]
async fn the_first_byte_tells_tls_from_plain_and_plain_is_for_loopback_names() {
    let server = TestServer::start("tls").await;
    let host = format!("10.9.8.7:{}", server.port);
    let moved = server.http("GET", "/r/x?y", &[("host", &host)]).await;
    assert_eq!(moved.status, StatusCode::PERMANENT_REDIRECT);
    assert_eq!(moved.header("location"), format!("https://{host}/r/x?y"));
    let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting))
        .with_no_client_auth();
    let stream = TcpStream::connect(server.address()).await.unwrap();
    let name = ServerName::try_from("meet.example").unwrap();
    let stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await.unwrap();
    let page = request(stream, &host, ("GET", "/"), &[]).await;
    assert_eq!(page.status, StatusCode::OK, "HTTPS serves every known name");
    server.stop().await;
}

#[tokio::test]
async fn a_name_that_nobody_gave_the_server_is_misdirected() {
    let server = TestServer::start("host").await;
    for host in ["evil.example", "localhost.evil.example"] {
        let answer = server.http("GET", "/", &[("host", host)]).await;
        assert_eq!(answer.status, StatusCode::MISDIRECTED_REQUEST, "{host}");
        assert!(answer.body.contains("--domain"), "the flag is named: {}", answer.body);
    }
    let known = server.http("GET", "/", &[("host", "meet.example")]).await;
    assert_eq!(known.status, StatusCode::PERMANENT_REDIRECT, "known, and sent to HTTPS");
    let two = server.http("GET", "/", &[("host", "localhost"), ("host", "localhost")]).await;
    assert_eq!(two.status, StatusCode::BAD_REQUEST);
    server.stop().await;
}

#[tokio::test]
async fn other_sites_may_not_use_the_server() {
    let server = TestServer::start("origin").await;
    let own = format!("http://localhost:{}", server.port);
    for origin in ["https://evil.example", "null", "http://localhost", "https://localhost.evil.com"]
    {
        let answer = server.http("GET", "/v1/rooms", &[("origin", origin)]).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{origin}");
        assert_eq!(answer.json()["code"], "not-allowed");
    }
    let cross = server.http("GET", "/v1/rooms", &[("sec-fetch-site", "cross-site")]).await;
    assert_eq!(cross.status, StatusCode::FORBIDDEN);
    for origin in [own.as_str(), "https://product.example"] {
        let same = server.http("GET", "/v1/rooms", &[("origin", origin)]).await;
        assert_eq!(same.status, StatusCode::OK, "{origin}");
    }
    server.stop().await;
}

/// Sends bytes and reads until the server closes.
async fn knock(server: &TestServer, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(LIMIT, stream.read_to_end(&mut answer)).await;
    // A reset is a close too.
    let _ = read.expect("the server closes");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn openers_that_say_nothing_or_nonsense_are_cut_and_hold_up_nobody() {
    let mut config = config("openers");
    config.doors.first_byte = Duration::from_millis(300);
    config.doors.http_head = Duration::from_millis(500);
    config.doors.tls_handshake = Duration::from_millis(500);
    let server = TestServer::with(config).await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(TcpStream::connect(server.address()).await.unwrap());
    }
    assert_eq!(server.get("/healthz").await.status, StatusCode::OK, "fifty silent ones wait");
    assert_eq!(knock(&server, b"").await, "");
    assert_eq!(knock(&server, &[0x80, 1, 2]).await, "");
    assert_eq!(knock(&server, b"\r\n").await, "");
    assert_eq!(knock(&server, &[0x16, 3, 1]).await, "", "half a handshake");
    let _ = knock(&server, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ").await;
    let smuggled = "POST /v1/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let answer = knock(&server, smuggled.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 4") && answer.contains("connection: close"), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "no second answer: {answer}");
    let head = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    assert!(knock(&server, head.as_bytes()).await.starts_with("HTTP/1.1 431"));
    let path = format!(
        "GET /{} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        "x".repeat(9_000)
    );
    assert!(knock(&server, path.as_bytes()).await.starts_with("HTTP/1.1 414"));
    let metrics = server.get("/metrics").await.body;
    assert!(metrics.contains(r#"fanlight_refused_total{reason="first_byte"}"#), "{metrics}");
    drop(silent);
    server.stop().await;
}

#[tokio::test]
async fn an_address_has_as_many_connections_as_it_may() {
    let mut config = config("connections");
    config.doors.count_loopback = true;
    config.doors.connections = 3;
    let server = TestServer::with(config).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).await.unwrap();
        held.push(stream);
    }
    assert_eq!(
        knock(&server, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await,
        "",
        "the fourth"
    );
    drop(held.pop());
    let opened = async {
        while knock(&server, b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .await
            .is_empty()
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, opened).await.expect("one that closed makes room");
    server.stop().await;
}
