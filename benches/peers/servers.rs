//! Server processes of our own: each pinned to one core, with free ports on loopback and a folder
//! of its own, and gone with the value that holds it.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context as _, bail};
use fanlight::load::clock::Clock;

/// The core on which each server runs.
pub const SERVER_CORE: &str = "0";

/// How long a server may take until it listens. Janus makes an RSA key first.
const PATIENCE: Duration = Duration::from_secs(15);

/// Where distributions and Janus' own build put its libraries; in `*` any folder.
const LIBRARIES: [&str; 4] = ["/usr/lib/*", "/usr/lib", "/usr/local/lib", "/opt/janus/lib"];

/// A running server.
pub struct Server {
    process: Child,
    folder: PathBuf,
    /// Where its signaling listens.
    pub address: SocketAddr,
}

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Fanlight,
    Janus,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Fanlight => "Fanlight",
            Self::Janus => "Janus",
        }
    }
}

impl Server {
    /// Starts one and waits until it listens.
    ///
    /// # Errors
    /// It does not; the end of what it wrote is in the error.
    pub async fn start(kind: Kind, clock: Clock) -> anyhow::Result<Self> {
        let address = free_port()?;
        let place = format!("fanlight-peers-{}-{}", std::process::id(), address.port());
        let folder = std::env::temp_dir().join(place);
        fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        let started = prepare(kind, address.port(), &folder).and_then(|mut command| {
            let log = File::create(folder.join("log"))?;
            command.stdin(std::process::Stdio::null()).stdout(log.try_clone()?).stderr(log);
            Ok(command.spawn()?)
        });
        let process = started.inspect_err(|_| {
            let _ = fs::remove_dir_all(&folder);
        });
        let process = process.with_context(|| format!("cannot start {}", kind.name()))?;
        let mut server = Self { process, folder, address };
        server.wait_until_it_listens(clock).await?;
        Ok(server)
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    async fn wait_until_it_listens(&mut self, clock: Clock) -> anyhow::Result<()> {
        let latest = clock.now() + PATIENCE;
        while TcpStream::connect(self.address).is_err() {
            if self.process.try_wait()?.is_some() || clock.now() >= latest {
                let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                let from = log.lines().count().saturating_sub(10);
                let end: Vec<&str> = log.lines().skip(from).collect();
                bail!("a server does not listen at {}:\n{}", self.address, end.join("\n"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing of it is needed any more, so it is not asked first.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// What Janus calls its version, if it is installed.
pub fn janus_version() -> Option<String> {
    let said = Command::new("janus").arg("--version").output().ok()?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let number = said.lines().find_map(|line| {
        let (_, rest) = line.split_once("version: ")?;
        Some(rest.split_once('(')?.1.split_once(')')?.0.to_owned())
    });
    Some(number.unwrap_or_else(|| "of unknown version".to_owned()))
}

/// The command that starts a server pinned, and ends it when this process does.
fn prepare(kind: Kind, port: u16, folder: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "taskset", "-c", SERVER_CORE]);
    match kind {
        Kind::Fanlight => {
            command.arg(env!("CARGO_BIN_EXE_fanlight"));
            command.args([
                "--bind",
                "127.0.0.1",
                "--log",
                "warn",
                "--loudest",
                "0",
                "--port",
                &port.to_string(),
            ]);
            command.arg("--data-dir").arg(folder);
        }
        Kind::Janus => {
            let config = configure_janus(port, folder)?;
            command.args(["janus", "--disable-colors", "--config"]).arg(config);
            // The folder that the main file could name is not where plugins' files are read from.
            command.arg("--configs-folder").arg(folder);
        }
    }
    Ok(command)
}

/// Writes Janus' configuration: its defaults, but for loopback, free ports, a quiet log and no
/// more than the one plugin and the one transport.
fn configure_janus(port: u16, folder: &Path) -> anyhow::Result<PathBuf> {
    for (kind, library) in
        [("plugins", "libjanus_videoroom.so"), ("transports", "libjanus_websockets.so")]
    {
        let own = folder.join(kind);
        fs::create_dir(&own)?;
        let found = find_library(kind, library);
        let found = found.with_context(|| format!("janus without {library}"))?;
        std::os::unix::fs::symlink(found, own.join(library))?;
    }
    // No event handlers and no loggers.
    fs::create_dir(folder.join("none"))?;
    let here = folder.display();
    let media = media_address()?;
    // The ports end below those that the kernel gives to the load's sockets.
    let main = format!(
        "general: {{\n\
         plugins_folder = \"{here}/plugins\"\n\
         transports_folder = \"{here}/transports\"\n\
         events_folder = \"{here}/none\"\n\
         loggers_folder = \"{here}/none\"\n\
         debug_level = 2\n\
         interface = \"{media}\"\n\
         }}\n\
         media: {{ rtp_port_range = \"20000-32000\" }}\n\
         nat: {{ ice_enforce_list = \"{media}\" }}\n"
    );
    let transport = format!(
        "general: {{ json = \"compact\", ws = true, ws_port = {port}, ws_ip = \"127.0.0.1\", \
         wss = false }}\n\
         admin: {{ admin_ws = false, admin_wss = false }}\n"
    );
    fs::write(folder.join("janus.transport.websockets.jcfg"), transport)?;
    fs::write(folder.join("janus.plugin.videoroom.jcfg"), "general: { }\n")?;
    let path = folder.join("janus.jcfg");
    fs::write(&path, main)?;
    Ok(path)
}

/// An address of this machine at which Janus gathers candidates: it skips loopback, whatever it is
/// told. What this machine sends to it goes through the loopback device all the same.
pub fn media_address() -> anyhow::Result<Ipv4Addr> {
    let interfaces = if_addrs::get_if_addrs()?;
    let addresses = interfaces.iter().filter(|interface| interface.is_oper_up());
    let first = addresses.map(if_addrs::Interface::ip).find_map(|ip| match ip {
        IpAddr::V4(ip) if !ip.is_loopback() => Some(ip),
        _ => None,
    });
    first.context("janus needs an IPv4 address other than loopback, and there is none")
}

fn find_library(kind: &str, library: &str) -> Option<PathBuf> {
    let under = |base: &Path| base.join("janus").join(kind).join(library);
    LIBRARIES.iter().find_map(|place| match place.strip_suffix("/*") {
        Some(parent) => {
            let folders = fs::read_dir(parent).ok()?.flatten();
            folders.map(|entry| under(&entry.path())).find(|path| path.exists())
        }
        None => Some(under(Path::new(place))).filter(|path| path.exists()),
    })
}

/// A port of loopback that nobody has at the moment.
fn free_port() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
