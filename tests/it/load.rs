//! The load generator against a server in this process.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::client::TestServer;

/// Runs `fanlight load` with these words.
async fn load(words: &str, port: u16) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanlight"));
    command.arg("load").args(words.split(' ')).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.arg("--server").arg(format!("http://127.0.0.1:{port}"));
    tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
}

/// The figures of a run. On a machine that is busy with other tests the client may spoil them;
/// then it must say so.
async fn figures(words: &str, port: u16) -> (Value, bool) {
    let output = load(&format!("{words} --json -"), port).await;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let report: Value = serde_json::from_slice(&output.stdout).expect(&errors);
    let spoiled = !report["spoiled"].as_array().unwrap().is_empty();
    assert_eq!(output.status.code(), Some(if spoiled { 3 } else { 0 }), "{report:#}");
    (report, spoiled)
}

#[tokio::test(flavor = "multi_thread")]
async fn three_people_of_a_load_hear_all_of_each_other() {
    let server = TestServer::start("load").await;
    let words = "meeting --people 3 --seconds 2 --settle 1";
    let (report, spoiled) = figures(words, server.port).await;
    assert_eq!(report["people"]["joined"], 3, "{report:#}");
    for kind in ["audio", "video"] {
        let packets = &report[kind];
        let received = packets["received"].as_u64().unwrap();
        assert_eq!((&packets["streams"], &packets["silent"]), (&6.into(), &0.into()), "{packets}");
        assert!(received > 0 && packets["expected"] == received, "{packets}");
        assert_eq!(packets["duplicated"], 0);
        assert_eq!(packets["lost"].as_u64(), (!spoiled).then_some(0), "{packets}");
        let p50 = packets["delayMs"]["p50"].as_f64();
        assert_eq!(p50.is_some_and(|ms| ms > 0.0), !spoiled, "{packets}");
    }
    let sent = report["video"]["sent"].as_u64().unwrap();
    assert!(spoiled || sent.abs_diff(3 * 2 * 150) <= 3 * 5, "{sent} video packets in 2 s");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn simulcast_and_guests_who_come_and_go_are_carried() {
    let server = TestServer::start("guests").await;
    let words = "churn --people 2 --rate 4 --stay 0.5 --seconds 2 --settle 1 --guests-publish \
                 --simulcast --threads 2";
    let (report, _) = figures(words, server.port).await;
    assert_eq!(report["people"]["joined"], 2 + 7, "guests at 0, 0.25, … 1.5 s: {report:#}");
    assert_eq!((&report["video"]["streams"], &report["video"]["silent"]), (&2.into(), &0.into()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_one_sentence_and_a_failure() {
    let output = load("meeting", 1).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("no server") && said.trim().lines().count() == 1, "{said}");
}
