//! A load generator: an outsider that speaks the public protocol with peer connections of its own,
//! and counts what came of each packet. It knows nothing of the server's inside.
//!
//! Signaling runs on the calling thread ([`door`], [`websocket`]); media on load threads
//! (`thread`), each with many clients (`client`) that publish (`publisher`) and count
//! ([`hearing`], [`tally`]). What they found becomes a [`report`].

// what is asked for
pub mod options;
pub mod plan;

// the way in
pub mod door;
mod tls;
pub mod websocket;

// media
mod client;
pub mod hearing;
pub mod mark;
mod publisher;
pub mod tally;
mod thread;
mod udp;

// figures
pub mod clock;
pub mod delays;
pub mod proc;
pub mod report;
mod run;
mod table;

use std::io::{self, Write as _};

use clock::Clock;
use door::Door;
use options::Options;
use report::Report;
use websocket::FanlightDoor;

/// What came of a run, for the process's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everybody joined, and the figures are the server's.
    Clean,
    /// Somebody did not join, or was lost.
    Failures,
    /// The client itself stood in the way of the figures.
    Spoiled,
}

/// Runs a load against a Fanlight server and shows the report.
///
/// # Errors
/// A sentence: what was asked for cannot be done, or the server is not there.
pub fn run(options: &Options, port: u16) -> Result<Outcome, String> {
    options.check()?;
    if let Some(pid) = options.pid.filter(|pid| proc::Sample::take(*pid).is_none()) {
        return Err(format!("--pid: there is no process {pid} to be measured"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start: {error}"))?;
    let clock = Clock::start();
    let server = options.server.clone().unwrap_or_else(|| format!("http://127.0.0.1:{port}"));
    let report = runtime.block_on(async {
        let door = FanlightDoor::find(&server, options.insecure, clock).await?;
        door.knock().await?;
        measure(options, door, clock).await
    })?;
    runtime.shutdown_background();
    show(options, &report)?;
    Ok(match &report {
        report if !report.spoiled.is_empty() => Outcome::Spoiled,
        report if report.people.failed > 0 => Outcome::Failures,
        _ => Outcome::Clean,
    })
}

/// Runs a load through any door.
///
/// # Errors
/// A sentence: a thread could not be started, or broke.
pub async fn measure(options: &Options, door: impl Door, clock: Clock) -> Result<Report, String> {
    run::Run::start(options, door, clock)?.measure().await
}

fn show(options: &Options, report: &Report) -> Result<(), String> {
    let json = || {
        let text = serde_json::to_string_pretty(report);
        text.map(|text| text + "\n").map_err(|error| format!("no JSON: {error}"))
    };
    let written = match options.json.as_deref() {
        Some(path) if path.as_os_str() == "-" => io::stdout().write_all(json()?.as_bytes()),
        Some(path) => {
            let text = json()?;
            std::fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))?;
            write!(io::stdout(), "{report}")
        }
        None => write!(io::stdout(), "{report}"),
    };
    written.map_err(|error| format!("cannot write the report: {error}"))
}
