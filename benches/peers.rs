//! What a packet that reaches somebody costs a server, beside another server: the same load against
//! Fanlight and Janus, which take turns on one core of a machine that others use too, while the
//! load runs on another.
//!
//! ```text
//! cargo bench --bench peers                  # three loads, five rounds of each server
//! cargo bench --bench peers -- meeting 3     # one load, three rounds
//! cargo bench --bench peers -- --quick       # whether it works at all
//! ```

#![expect(clippy::print_stdout, reason = "the table is what it is for")]
#![expect(clippy::print_stderr, reason = "it is a program of its own")]

#[path = "peers/figures.rs"]
mod figures;
#[path = "peers/janus.rs"]
mod janus;
#[path = "peers/servers.rs"]
mod servers;

use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};
use clap::{Args as _, FromArgMatches as _, Parser};
use fanlight::load::clock::Clock;
use fanlight::load::measure;
use fanlight::load::options::Options;
use fanlight::load::report::Report;
use fanlight::load::websocket::FanlightDoor;
use figures::Round;
use janus::JanusDoor;
use servers::{Kind, SERVER_CORE, Server, janus_version, media_address};

/// The core of this process.
const LOAD_CORE: &str = "1";

/// Seconds between the last join and the measurement. Who publishes counts as joined before the peer
/// connection on which it watches stands; one that came later would show as loss. And a server that
/// estimates what a viewer's network carries needs some seconds to find that it carries everything.
const SETTLE: f64 = 8.0;

/// Name, options, and options with few people.
const LOADS: [(&str, &str, &str); 3] = [
    ("meeting", "meeting --people 10", "meeting --people 3"),
    ("rooms", "rooms --rooms 20 --people 3", "rooms --rooms 2 --people 3"),
    (
        "broadcast",
        "broadcast --viewers 100 --video-pps 300",
        "broadcast --viewers 4 --video-pps 300",
    ),
];

/// Server CPU time per delivered packet: Fanlight and Janus under the same load.
#[derive(Parser)]
struct Arguments {
    /// Loads, of meeting, rooms and broadcast [default: all], and the number of rounds [default: 5]
    words: Vec<String>,
    /// Seconds that are measured in each round
    #[arg(long, default_value_t = 6.0)]
    seconds: f64,
    /// Few people, one round, two seconds: to see whether it works
    #[arg(long)]
    quick: bool,
    /// Write all figures of all rounds as JSON to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is to be done.
struct Plan {
    /// Names and options.
    loads: Vec<(&'static str, &'static str)>,
    rounds: usize,
    seconds: f64,
    servers: Vec<Kind>,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    pin()?;
    let plan = Plan::new(&arguments)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut all = Vec::new();
    figures::head();
    for (name, words) in &plan.loads {
        let rounds = runtime.block_on(plan.run(name, words))?;
        let interrupted = rounds.iter().any(|round| round.report.interrupted);
        figures::show(words, &rounds);
        all.extend(rounds);
        if interrupted {
            break;
        }
    }
    if let Some(path) = arguments.json {
        let text = serde_json::to_string_pretty(&all)?;
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Moves this process to its core by starting it anew there.
fn pin() -> anyhow::Result<()> {
    let status = std::fs::read_to_string("/proc/self/status").context("needs Linux")?;
    let cores = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    if cores.map(str::trim) == Some(LOAD_CORE) {
        return Ok(());
    }
    let mut again = Command::new("taskset");
    again.args(["-c", LOAD_CORE]).arg(std::env::current_exe()?).args(std::env::args_os().skip(1));
    Err(again.exec()).context("cannot run taskset (of util-linux), which holds both to their cores")
}

impl Plan {
    fn new(arguments: &Arguments) -> anyhow::Result<Self> {
        let (mut names, mut rounds) = (Vec::new(), if arguments.quick { 1 } else { 5 });
        for word in &arguments.words {
            match word.parse() {
                Ok(0) => bail!("at least one round is needed"),
                Ok(number) => rounds = number,
                Err(_) if LOADS.iter().any(|(name, ..)| name == word) => names.push(word.as_str()),
                Err(_) => {
                    bail!("{word} is neither a load (meeting, rooms, broadcast) nor a number")
                }
            }
        }
        let wanted = LOADS.iter().filter(|(name, ..)| names.is_empty() || names.contains(name));
        let loads =
            wanted.map(|(name, full, few)| (*name, if arguments.quick { *few } else { *full }));
        let seconds = if arguments.quick { 2.0 } else { arguments.seconds };
        let mut servers = vec![Kind::Fanlight];
        let beside = match janus_version() {
            Some(version) => {
                servers.push(Kind::Janus);
                format!("Janus {version}")
            }
            None => "no Janus, for there is no janus on this machine".to_owned(),
        };
        let ours = env!("CARGO_PKG_VERSION");
        println!("Fanlight {ours} and {beside}; {rounds} rounds of {seconds} s of each,");
        println!(
            "median (least to most); servers on core {SERVER_CORE}, load on {LOAD_CORE}; delays p50 / p99\n"
        );
        Ok(Self { loads: loads.collect(), rounds, seconds, servers })
    }

    /// All rounds of one load, the servers taking turns.
    async fn run(&self, name: &str, words: &str) -> anyhow::Result<Vec<Round>> {
        let mut rounds = Vec::new();
        for round in 1..=self.rounds {
            for kind in &self.servers {
                let report = self.round(*kind, words).await?;
                if let Some(complaint) = figures::complaint(&report) {
                    println!("{name}, {}, round {round}: {complaint}", kind.name());
                }
                let interrupted = report.interrupted;
                rounds.push(Round { load: words.to_owned(), server: kind.name(), round, report });
                if interrupted {
                    return Ok(rounds);
                }
            }
        }
        Ok(rounds)
    }

    /// One measurement of a fresh server.
    async fn round(&self, kind: Kind, words: &str) -> anyhow::Result<Report> {
        let clock = Clock::start();
        let server = Server::start(kind, clock).await?;
        let mut options = options(words)?;
        options.seconds = self.seconds;
        options.settle = SETTLE;
        options.pid = Some(server.pid());
        let address = server.address;
        let report = match kind {
            Kind::Fanlight => {
                let door = FanlightDoor::find(&format!("http://{address}"), false, clock).await;
                measure(&options, door.map_err(anyhow::Error::msg)?, clock).await
            }
            Kind::Janus => {
                let media = SocketAddr::from((media_address()?, address.port()));
                let door = JanusDoor { signaling: address, media, clock };
                measure(&options, door, clock).await
            }
        };
        report.map_err(anyhow::Error::msg)
    }
}

fn options(words: &str) -> anyhow::Result<Options> {
    let command = Options::augment_args(clap::Command::new("load")).no_binary_name(true);
    Ok(Options::from_arg_matches(&command.try_get_matches_from(words.split(' '))?)?)
}
