//! Flags and environment into a [`Config`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::config::{Config, DoorLimits, MediaLimits};
use crate::load::options::Options;

/// Most media threads: a user name has room for the number, and no machine has use for more.
const MAX_WORKERS: usize = 64;

/// A selective forwarding media server for video calls: one binary, one port.
#[derive(Debug, Parser)]
#[command(name = "fanlight", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(
    after_help = "Each option is read from FANLIGHT_<OPTION> too, for example FANLIGHT_PUBLIC_IP."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Action>,
    /// Port for everything: page, signaling and media (TCP and UDP)
    #[arg(long, env = "FANLIGHT_PORT", hide_env = true, default_value_t = 8443, global = true)]
    port: u16,
    /// Address to listen on; without it all of IPv6 and IPv4
    #[arg(long, env = "FANLIGHT_BIND", hide_env = true, global = true)]
    bind: Option<IpAddr>,
    /// Address of this machine from outside; may be repeated
    #[arg(long, env = "FANLIGHT_PUBLIC_IP", hide_env = true, value_delimiter = ',')]
    public_ip: Vec<IpAddr>,
    /// Name under which the page is opened; may be repeated
    #[arg(long, env = "FANLIGHT_DOMAIN", hide_env = true, value_delimiter = ',')]
    domain: Vec<String>,
    /// Origin of another page that may use the server; may be repeated
    #[arg(long, env = "FANLIGHT_ORIGIN", hide_env = true, value_delimiter = ',')]
    origin: Vec<String>,
    /// Where the certificate is kept
    #[arg(long, env = "FANLIGHT_DATA_DIR", hide_env = true, default_value = "fanlight-data")]
    data_dir: PathBuf,
    /// Media threads; without it one per core
    #[arg(long, env = "FANLIGHT_WORKERS", hide_env = true, value_parser = clap::value_parser!(u8).range(1..=64))]
    workers: Option<u8>,
    /// Packets per second of a room at one media thread before it takes others too
    #[arg(long, env = "FANLIGHT_ROOM_PACKETS", hide = true, default_value_t = MediaLimits::default().room_packets, value_parser = clap::value_parser!(u32).range(1..))]
    room_packets: u32,
    /// Microphones that are heard in a large room beside the dominant speaker's; 0: all
    #[arg(long, env = "FANLIGHT_LOUDEST", hide = true, default_value_t = MediaLimits::default().loudest)]
    loudest: u8,
    /// Level, or module=level,… to log
    #[arg(long, env = "FANLIGHT_LOG", hide_env = true, default_value = "info,str0m=error")]
    log: String,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// Run the server (the default)
    Serve,
    /// Ask a running server on this machine whether it is well; exits 0 if it is
    Health,
    /// Put people into a running server's rooms and measure what comes of their packets
    Load(Box<Options>),
}

impl Cli {
    /// What to do.
    #[must_use]
    pub fn action(&self) -> Action {
        self.command.clone().unwrap_or(Action::Serve)
    }

    /// What to log.
    #[must_use]
    pub fn log(&self) -> &str {
        &self.log
    }

    /// The server's configuration.
    #[must_use]
    pub fn config(&self) -> Config {
        let cores = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS);
        Config {
            bind: SocketAddr::new(self.bind.unwrap_or_else(any_address), self.port),
            public_ips: self.public_ip.clone(),
            data_dir: self.data_dir.clone(),
            workers: self.workers.unwrap_or_else(|| u8::try_from(cores).unwrap_or(1)),
            domains: self.domain.iter().map(|name| name.to_ascii_lowercase()).collect(),
            origins: self.origin.iter().map(|o| o.trim_end_matches('/').to_owned()).collect(),
            media: MediaLimits {
                room_packets: self.room_packets,
                loudest: self.loudest,
                ..MediaLimits::default()
            },
            doors: DoorLimits::default(),
        }
    }
}

/// All addresses of both families, or of IPv4 on a machine that has no IPv6.
fn any_address() -> IpAddr {
    match std::net::UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)) {
        Ok(_) => Ipv6Addr::UNSPECIFIED.into(),
        Err(_) => Ipv4Addr::UNSPECIFIED.into(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_help_fits_on_one_screen() {
        let help = Cli::command().render_help().to_string();
        assert!(help.lines().count() <= 24, "{help}");
    }

    #[test]
    fn flags_become_a_configuration() {
        let words = ["fanlight", "--port", "1", "--bind", "127.0.0.1", "--domain", "Meet.example"];
        let cli = Cli::try_parse_from(words).unwrap();
        let config = cli.config();
        assert_eq!(config.bind, SocketAddr::from(([127, 0, 0, 1], 1)));
        assert_eq!(config.domains, ["meet.example"]);
        assert!(config.workers >= 1);
        assert!(Cli::try_parse_from(["fanlight", "--workers", "0"]).is_err());
        assert!(Cli::try_parse_from(["fanlight", "--prot", "1"]).is_err());
    }
}
