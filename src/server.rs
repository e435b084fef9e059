//! Puts the parts together, and takes them apart in order.

#![expect(clippy::print_stdout, reason = "where to go is said to a person, not to a log")]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;
use crate::control::listen::Listeners;
use crate::control::{App, certificate};
use crate::io::{MediaConfig, MediaPlane};

/// From the first signal to the end. `docker stop` kills after ten seconds.
const GOODBYES: Duration = Duration::from_secs(6);

/// Fewer descriptors than this do not carry the thousand members that a room may have.
const FEW_DESCRIPTORS: u64 = 4_096;

/// A running server.
#[derive(Debug)]
pub struct Server {
    app: App,
    media: MediaPlane,
    local: SocketAddr,
}

impl Server {
    /// Opens the port and starts everything behind it.
    ///
    /// # Errors
    /// One sentence that says what an operator can change.
    pub async fn start(mut config: Config) -> anyhow::Result<Self> {
        let certificate = certificate::load_or_make(&config)?;
        let port = config.bind.port();
        let listeners = Listeners::bind(config.bind)
            .with_context(|| format!("cannot listen on {} (is port {port} taken?)", config.bind))?;
        config.bind.set_port(listeners.port()?);
        let media = MediaPlane::start(&MediaConfig {
            bind: config.bind,
            workers: config.workers,
            limits: config.media.clone(),
        })
        .with_context(|| {
            format!("cannot open UDP {} (is port {} taken?)", config.bind, config.bind.port())
        })?;
        let local = config.bind;
        let app = App::new(config, certificate.names, media.workers.clone(), media.joiner.clone());
        listeners.serve(&app, certificate.acceptor);
        app.tracker.spawn(crate::control::rooms::sweep(app.clone()));
        Ok(Self { app, media, local })
    }

    /// The address that was bound.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Says good-bye to everybody and ends, in about six seconds at the latest.
    pub async fn stop(self) {
        let Self { app, media, .. } = self;
        app.stop_accepting();
        let stopped = tokio::task::spawn_blocking(move || media.stop(GOODBYES / 2));
        if stopped.await.is_err() {
            tracing::error!("a media thread panicked while stopping");
        }
        app.tracker.close();
        if tokio::time::timeout(GOODBYES / 2, app.tracker.wait()).await.is_err() {
            tracing::warn!("some clients did not take their good-bye in time");
        }
    }
}

/// Runs the server until it is told to stop.
///
/// # Errors
/// It cannot start.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for Ctrl-C")?;
    raise_descriptors();
    let server = Server::start(config).await?;
    announce(server.local_addr());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping; a second signal ends at once");
    tokio::select! {
        () = server.stop() => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Takes as many descriptors as the system grants: each connection needs one, and the soft limit
/// is 1,024 on most machines, for the sake of programs that use `select`.
fn raise_descriptors() {
    let limits = getrlimit(Resource::Nofile);
    let most = Rlimit { current: limits.maximum, maximum: limits.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, most) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
    if let Some(few) = limits.maximum.filter(|most| *most < FEW_DESCRIPTORS) {
        tracing::warn!(limit = few, "few open files are allowed, so few clients too");
    }
}

/// Prints where to go.
fn announce(local: SocketAddr) {
    let port = local.port();
    let everywhere = local.ip().is_unspecified();
    if everywhere || local.ip().is_loopback() {
        println!("Fanlight is open: http://localhost:{port}/");
    }
    let own = if_addrs::get_if_addrs().unwrap_or_default();
    let outer = own.iter().map(if_addrs::Interface::ip).filter(|ip| !ip.is_loopback());
    for ip in outer.filter(|ip| ip.is_ipv4() && (everywhere || *ip == local.ip())) {
        println!(
            "From other devices: https://{ip}:{port}/ (the browser warns once: the certificate is this machine's own)"
        );
    }
}

/// Asks a server on this machine whether it is well.
///
/// # Errors
/// It is not, or there is none.
pub async fn ask_health(bind: SocketAddr) -> anyhow::Result<()> {
    let port = bind.port();
    let ip = if bind.ip().is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { bind.ip() };
    let address = SocketAddr::new(ip, port);
    let ask = async {
        let stream = TcpStream::connect(address).await.context("no server answers")?;
        let io = hyper_util::rt::TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
        tokio::spawn(connection);
        let request = hyper::Request::get("/healthz")
            .header("host", format!("localhost:{port}"))
            .body(http_body_util::Empty::<hyper::body::Bytes>::new())?;
        let response = sender.send_request(request).await?;
        if !response.status().is_success() {
            bail!("the server is not well: {}", response.status());
        }
        Ok(())
    };
    tokio::time::timeout(Duration::from_secs(3), ask).await.context("no answer in three seconds")?
}
