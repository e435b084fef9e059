//! By which addresses a client reaches this server: how it found the page is how it finds us.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::App;
use super::guard::Host;
use super::listen::Peer;
use crate::io::joiner::Reach;

/// How long a resolved name is remembered, and how long resolving may take.
const KEEP: Duration = Duration::from_secs(60);
const RESOLVE: Duration = Duration::from_secs(2);

/// Names remembered; only names that the operator gave are ever looked up.
const NAMES: usize = 64;

/// Resolved names.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    known: tokio::sync::Mutex<HashMap<String, (Instant, Vec<IpAddr>)>>,
}

impl Resolver {
    async fn resolve(&self, name: &str) -> Vec<IpAddr> {
        let mut known = self.known.lock().await;
        if let Some((_, ips)) = known.get(name).filter(|(at, _)| at.elapsed() < KEEP) {
            return ips.clone();
        }
        let looked_up = tokio::time::timeout(RESOLVE, tokio::net::lookup_host((name, 0))).await;
        let ips: Vec<IpAddr> = match looked_up {
            Ok(Ok(found)) => found.map(|address| address.ip()).collect(),
            Ok(Err(_)) | Err(_) => Vec::new(),
        };
        if known.len() >= NAMES {
            known.clear();
        }
        known.insert(name.to_owned(), (Instant::now(), ips.clone()));
        ips
    }
}

/// The addresses for one client's answer.
pub(super) async fn reach(app: &App, host: &Host, peer: Peer) -> Reach {
    let default = if peer.tls { 443 } else { 80 };
    let port = host.port.unwrap_or(default);
    let ips = match host.ip() {
        Some(ip) => vec![ip],
        None if host.is_loopback() => vec![Ipv4Addr::LOCALHOST.into()],
        None => app.resolver.resolve(&host.name).await,
    };
    let own = app.config.bind.port();
    let public = app.config.public_ips.iter().map(|ip| SocketAddr::new(*ip, own));
    let mut outside: Vec<SocketAddr> =
        ips.into_iter().map(|ip| SocketAddr::new(ip.to_canonical(), port)).chain(public).collect();
    outside.dedup();
    Reach { outside, loopback: peer.is_loopback() || host.is_loopback() }
}
