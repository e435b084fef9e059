//! The `fanlight` program: chooses what to do and turns its result into an exit code.

use std::process::ExitCode;

use clap::Parser as _;
use fanlight::cli::{Action, Cli};
use fanlight::load::{self, Outcome};
use fanlight::server;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = match tracing_subscriber::EnvFilter::try_new(cli.log()) {
        Ok(filter) => filter,
        Err(error) => return fail(&format!("--log cannot be read: {error}")),
    };
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    if let Action::Load(options) = cli.action() {
        return match load::run(&options, cli.config().bind.port()) {
            Ok(Outcome::Clean) => ExitCode::SUCCESS,
            Ok(Outcome::Failures) => ExitCode::FAILURE,
            Ok(Outcome::Spoiled) => ExitCode::from(3),
            Err(sentence) => fail(&sentence),
        };
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start: {error}")),
    };
    let result = match cli.action() {
        Action::Serve | Action::Load(_) => runtime.block_on(server::run(cli.config())),
        Action::Health => runtime.block_on(server::ask_health(cli.config().bind)),
    };
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{error:#}")),
    }
}

#[expect(clippy::print_stderr, reason = "the one sentence that a person is waiting for")]
fn fail(sentence: &str) -> ExitCode {
    eprintln!("fanlight: {sentence}");
    ExitCode::FAILURE
}
