//! What an RTP packet is inside Fanlight.

use std::sync::Arc;
use std::time::Instant;

use super::frames::Frame;
use crate::model::Kind;
use crate::wire::descriptor::Head;
use crate::wire::vp8::Vp8;
use crate::wire::vp9::Vp9;

/// The codecs that browsers share, each in the one profile that they share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Opus.
    Opus,
    /// VP8.
    Vp8,
    /// VP9, profile 0.
    Vp9,
    /// H.264, constrained baseline, packetization mode 1.
    H264,
    /// AV1, main profile.
    Av1,
    /// Anything else; no viewer is sent it.
    Other,
}

impl Codec {
    /// Whether a dependency descriptor is looked at: VP8 has running numbers of its own.
    #[must_use]
    pub fn is_described(self) -> bool {
        matches!(self, Self::Vp9 | Self::H264 | Self::Av1)
    }
}

/// The payload descriptor, where its running numbers are moved: read once, for all who are sent it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pictures {
    /// The codec has none, or it cannot be read.
    #[default]
    None,
    /// VP8.
    Vp8(Vp8),
    /// VP9.
    Vp9(Vp9),
}

impl Pictures {
    /// The picture id, if there is one.
    #[must_use]
    pub fn id(&self) -> Option<u16> {
        match self {
            Self::None => None,
            Self::Vp8(vp8) => vp8.picture_id,
            Self::Vp9(vp9) => vp9.picture_id,
        }
    }

    /// The number of the temporal base layer's frame, if there is one.
    #[must_use]
    pub fn tl0(&self) -> Option<u8> {
        match self {
            Self::None => None,
            Self::Vp8(vp8) => vp8.tl0,
            Self::Vp9(vp9) => vp9.tl0,
        }
    }

    /// What a picture id can be, as a mask.
    #[must_use]
    pub fn mask(&self) -> u16 {
        match self {
            Self::Vp8(Vp8 { wide: true, .. }) | Self::Vp9(Vp9 { wide: true, .. }) => 0x7fff,
            _ => 0x7f,
        }
    }

    /// Whether pictures that are left out take their ids with them. VP9 tells by ids which picture
    /// leans on which, so they keep their distances.
    #[must_use]
    pub fn close_up(&self) -> bool {
        matches!(self, Self::Vp8(_))
    }
}

/// One RTP packet of a publisher, decrypted. The payload is shared by all who are sent it.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Audio or video.
    pub kind: Kind,
    /// The codec of the payload.
    pub codec: Codec,
    /// The simulcast layer or, if it is `stacked`, the spatial layer; 0 the smallest picture.
    pub layer: u8,
    /// Its layers come in one stream, and each builds on those below it.
    pub stacked: bool,
    /// The temporal layer of its frame, 0 the one that all others need.
    pub temporal: u8,
    /// A viewer that was sent fewer temporal layers may be sent this one from this frame on.
    pub sync: bool,
    /// Extended sequence number of the publisher's stream.
    pub seq: u64,
    /// RTP timestamp, in ticks of `clock_rate`.
    pub timestamp: u32,
    /// Ticks per second.
    pub clock_rate: u32,
    /// Marker bit: the last packet of a video frame, the first of a talk spurt.
    pub marker: bool,
    /// The payload descriptor.
    pub pictures: Pictures,
    /// What its frame leans on, if that is told.
    pub frame: Option<Frame>,
    /// The dependency descriptor, as it came.
    pub descriptor: Option<Arc<[u8]>>,
    /// First packet of a picture that needs none before it.
    pub keyframe: bool,
    /// Loudness in dBov, −127 to 0 (RFC 6464).
    pub level: Option<i8>,
    /// The sender takes it for speech (RFC 6464).
    pub voice: Option<bool>,
    /// How the picture is to be turned (3GPP 26.114), as the extension's byte.
    pub orientation: Option<u8>,
    /// When it came.
    pub arrived: Instant,
    /// When the publisher took it, by its own clock (from sender reports), in microseconds: the same
    /// clock for all layers of a track.
    pub captured: Option<u64>,
    /// The moment that its timestamp stands for, on one clock for all tracks of a publisher.
    pub wallclock: Instant,
    /// Payload without header and padding.
    pub payload: Arc<[u8]>,
}

impl Packet {
    /// The running number of its frame, if a descriptor tells it.
    #[must_use]
    pub fn frame_number(&self) -> Option<u16> {
        let head = self.descriptor.as_ref().map(|bytes| Head::parse(bytes))?;
        head.ok().map(|head| head.frame)
    }
}
