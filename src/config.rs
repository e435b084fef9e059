//! Every address, limit and default of the server, checked once; units in the field types.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// What a worker holds its sessions and rooms to.
#[derive(Clone, Debug)]
pub struct MediaLimits {
    /// An empty room is kept this long, so that a reload of its only member finds it.
    pub empty_room: Duration,
    /// A session whose media path does not stand by then is told good-bye.
    pub media_path: Duration,
    /// A connected session from which no datagram comes for this long is told good-bye.
    pub media_silence: Duration,
    /// Most seat pairs of a session; each costs kilobytes of SDP and a walk per wake.
    pub seats: u8,
    /// Most tracks that a participant may publish.
    pub tracks: u8,
    /// Payload of a data message.
    pub data_bytes: usize,
    /// A receiver that is behind for this long loses its reliable channel.
    pub data_patience: Duration,
    /// Packets per second that one worker sends for one room before further sessions of the room
    /// are placed on other workers. About half of what a core can send: the other rooms of the
    /// worker need room too, and who is there already goes on growing.
    pub room_packets: u32,
    /// Microphones that are heard in a large room beside the dominant speaker's; 0: all of them.
    /// More than four voices at a time are noise to a listener, and cost him bandwidth.
    pub loudest: u8,
}

impl Default for MediaLimits {
    fn default() -> Self {
        Self {
            empty_room: Duration::from_secs(20),
            media_path: Duration::from_secs(15),
            media_silence: Duration::from_secs(30),
            seats: 24,
            tracks: 8,
            data_bytes: 64 * 1024,
            data_patience: Duration::from_secs(15),
            room_packets: 60_000,
            loudest: 3,
        }
    }
}

/// What the doors hold strangers to. Each limit is per address; loopback is exempt unless said.
#[derive(Clone, Debug)]
pub struct DoorLimits {
    /// Loopback peers are counted like everybody else. For tests.
    pub count_loopback: bool,
    /// Open connections of one address: an office behind one NAT has dozens of people.
    pub connections: usize,
    /// New connections of one address in ten seconds.
    pub new_connections: u32,
    /// Connections in all that have not sent their first byte.
    pub undecided: usize,
    /// Connections of one address that have not sent their first byte.
    pub undecided_per_address: usize,
    /// How long a connection may wait with its first byte.
    pub first_byte: Duration,
    /// How long a TLS handshake may take.
    pub tls_handshake: Duration,
    /// How long the head of a request may take.
    pub http_head: Duration,
    /// How long a WebSocket may wait with its `hello`.
    pub hello: Duration,
    /// How long a client may not take what it is sent.
    pub stalled_writer: Duration,
    /// Time between two pings to a client.
    pub ping_every: Duration,
    /// A client from which nothing comes for this long is lost.
    pub ping_timeout: Duration,
    /// How long a session lives on without its WebSocket.
    pub grace: Duration,
    /// Messages of one client per second, and how many it may send at once.
    pub messages_per_second: u32,
    /// See above.
    pub messages_burst: u32,
    /// Bytes of one client's messages in ten seconds.
    pub message_bytes: u32,
    /// Offers of one client in ten seconds.
    pub offers: u32,
    /// Joins of one address in ten seconds.
    pub joins: u32,
    /// Rooms that one address may open in a minute.
    pub rooms: u32,
    /// Members of a room.
    pub members: u32,
}

impl Default for DoorLimits {
    fn default() -> Self {
        Self {
            count_loopback: false,
            connections: 512,
            new_connections: 200,
            undecided: 1_024,
            undecided_per_address: 16,
            first_byte: Duration::from_secs(3),
            tls_handshake: Duration::from_secs(5),
            http_head: Duration::from_secs(5),
            hello: Duration::from_secs(5),
            stalled_writer: Duration::from_secs(10),
            ping_every: Duration::from_secs(5),
            ping_timeout: Duration::from_secs(8),
            grace: Duration::from_secs(5),
            messages_per_second: 50,
            messages_burst: 100,
            message_bytes: 4 * 1024 * 1024,
            offers: 5,
            joins: 100,
            rooms: 60,
            members: 1_000,
        }
    }
}

/// The whole server's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// TCP and UDP address. Port 0: any free one, for tests.
    pub bind: SocketAddr,
    /// Addresses by which the server is reached from outside.
    pub public_ips: Vec<IpAddr>,
    /// Where the certificate is kept.
    pub data_dir: PathBuf,
    /// Media threads.
    pub workers: u8,
    /// Names under which the page may be opened, beside addresses and `localhost`.
    pub domains: Vec<String>,
    /// Origins of other pages that may use the server, as browsers name them: `https://a.example`.
    pub origins: Vec<String>,
    /// Limits of the media plane.
    pub media: MediaLimits,
    /// Limits of the doors.
    pub doors: DoorLimits,
}
