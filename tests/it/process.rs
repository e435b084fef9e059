//! The real program: how it starts, what it says when it cannot, and how it ends.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::{TestServer, config};

fn program(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanlight"));
    command.args(words).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs to the end; what it said on stderr, and whether it succeeded.
fn run(words: &[&str]) -> (String, bool) {
    let output = program(words).output().unwrap();
    (String::from_utf8_lossy(&output.stderr).into_owned(), output.status.success())
}

#[tokio::test]
async fn what_stands_in_the_way_is_one_sentence_and_a_failure() {
    let server = TestServer::start("taken").await;
    let port = server.port.to_string();
    let dir = config("taken2").data_dir;
    let dir = dir.to_str().unwrap();
    let words = ["--bind", "127.0.0.1", "--port", &port, "--data-dir", dir];
    let (said, ok) = tokio::task::spawn_blocking({
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        move || run(&words.iter().map(String::as_str).collect::<Vec<_>>())
    })
    .await
    .unwrap();
    assert!(!ok && said.contains(&port) && said.contains("taken"), "{said}");
    assert_eq!(said.trim().lines().count(), 1, "{said}");
    let (said, ok) = run(&["--port", "0", "--data-dir", "/dev/null/x"]);
    assert!(!ok && said.contains("/dev/null/x") && said.trim().lines().count() == 1, "{said}");
    let (said, ok) = run(&["--wrong"]);
    assert!(!ok && said.contains("--wrong"), "{said}");
    let (said, ok) = run(&["health", "--port", "1"]);
    assert!(!ok && said.contains("no server answers"), "{said}");
    let _ = std::fs::remove_dir_all(dir);
    server.stop().await;
}

/// A running program and the port that it said.
fn start(name: &str) -> (Child, u16) {
    let dir = config(name).data_dir;
    let words = ["--bind", "127.0.0.1", "--port", "0", "--data-dir", dir.to_str().unwrap()];
    let mut child = program(&words).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let port = line.trim().trim_end_matches('/').rsplit(':').next().unwrap().parse().unwrap();
    (child, port)
}

fn terminate(child: &Child) {
    let kill = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
}

#[tokio::test]
async fn sigterm_says_good_bye_to_everybody_and_exits_0() {
    let (mut child, port) = start("sigterm");
    let url = format!("ws://localhost:{port}/v1/ws");
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (mut line, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    use futures_util::{SinkExt as _, StreamExt as _};
    let hello =
        json!({ "type": "hello", "data": { "protocols": ["1"], "room": "r", "name": "n" } });
    line.send(hello.to_string().into()).await.unwrap();
    line.next().await.unwrap().unwrap();
    #[expect(clippy::disallowed_methods, reason = "how long the program takes is the question")]
    let from = Instant::now();
    terminate(&child);
    let mut said = String::new();
    while let Some(Ok(message)) = line.next().await {
        said.push_str(message.to_text().unwrap_or_default());
    }
    assert!(said.contains("goodbye") && said.contains("server-shutdown"), "{said}");
    let status = tokio::task::spawn_blocking(move || child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(from.elapsed() < Duration::from_secs(8), "{:?}", from.elapsed());
}

#[tokio::test]
async fn a_second_start_keeps_the_certificate() {
    let dir = config("kept").data_dir;
    let mut seen = Vec::new();
    for _ in 0..2 {
        let words = ["--bind", "127.0.0.1", "--port", "0", "--data-dir", dir.to_str().unwrap()];
        let mut child = program(&words).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("http://localhost:"), "{line}");
        terminate(&child);
        let status = child.wait().unwrap();
        let mut errors = String::new();
        child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        assert_eq!(status.code(), Some(0), "{errors}");
        seen.push(std::fs::read(dir.join("certificate.pem")).unwrap());
    }
    assert_eq!(seen[0], seen[1]);
    let _ = std::fs::remove_dir_all(dir);
}
