//! Every address, limit and default of the server, checked once; units in the field types.

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
        }
    }
}
