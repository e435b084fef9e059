//! The nouns that the media plane, the control plane and the wire share: tracks, participants,
//! reasons and refusals. Values only.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{DisplayName, Identity, TrackId};

/// Audio or video.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
}

/// Where a track comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// A camera: video.
    Camera,
    /// A microphone: audio.
    Microphone,
    /// A shared screen: video.
    Screen,
    /// The sound of a shared screen.
    ScreenAudio,
}

impl Source {
    /// Whether this source makes sound or pictures.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self {
            Self::Camera | Self::Screen => Kind::Video,
            Self::Microphone | Self::ScreenAudio => Kind::Audio,
        }
    }

    /// Whether this source belongs to a screen share, which has a seat of its own.
    #[must_use]
    pub fn is_screen(self) -> bool {
        matches!(self, Self::Screen | Self::ScreenAudio)
    }
}

/// What a viewer's page shows of a video.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intent {
    /// The track.
    pub track: TrackId,
    /// The height at which it is shown, in device pixels; 0: not at all.
    pub height: u16,
    /// Which comes first when not everything can be had; higher first.
    pub priority: u8,
    /// It comes before all that are not.
    pub pinned: bool,
}

/// What the network to a viewer carries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bandwidth {
    /// Estimated, in bit/s.
    pub estimate: u64,
    /// More waits to be sent than the network takes.
    pub squeezed: bool,
    /// Most of what was sent a moment ago was lost.
    pub flooded: bool,
    /// Packets take much longer than they did of late: they wait in a queue on the way.
    pub queued: bool,
    /// The worker cannot keep up: nothing is tried.
    pub late: bool,
    /// Share of the packets sent to it that did not come, 0 to 1.
    pub loss: f32,
    /// Share of the packets that it sent that did not come, 0 to 1.
    pub lost_in: f32,
    /// Round trip.
    pub rtt: Option<Duration>,
}

impl Default for Bandwidth {
    fn default() -> Self {
        Self {
            estimate: FIRST_ESTIMATE,
            squeezed: false,
            flooded: false,
            queued: false,
            late: false,
            loss: 0.0,
            lost_in: 0.0,
            rtt: None,
        }
    }
}

/// How well a participant is connected, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Quality {
    /// Nothing is missing.
    #[default]
    Excellent,
    /// Something is missing that is hardly noticed.
    Good,
    /// What is missing can be seen or heard.
    Poor,
    /// Nothing comes.
    Lost,
}

/// A participant's [`Quality`] and the reason, as a sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Connection {
    /// Whose.
    pub identity: Identity,
    /// How well.
    pub level: Quality,
    /// Why.
    pub reason: &'static str,
}

/// What a viewer's network is assumed to carry before anything is known of it, in bit/s. The
/// engine probes three and six times this as soon as the path stands, so that a good network is
/// known within a second; a bad one is overrun for about as long.
pub const FIRST_ESTIMATE: u64 = 3_000_000;

/// What is sent to a viewer and what it could use, in bit/s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// What is sent.
    pub sent: u64,
    /// What the next better picture would take in all.
    pub next: u64,
    /// The estimate with which that picture would be sent.
    pub enough: u64,
    /// What everything that it wants would take.
    pub full: u64,
}

/// A track as everybody in the room is told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TrackInfo {
    /// Its id.
    pub id: TrackId,
    /// Where it comes from.
    pub source: Source,
    /// Audio or video; follows from the source.
    pub kind: Kind,
    /// What the publisher calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<DisplayName>,
    /// No packet of a muted track is forwarded.
    pub muted: bool,
    /// Width of the picture in pixels, as the publisher said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<u16>,
    /// Height of the picture in pixels, as the publisher said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u16>,
}

/// A participant as everybody in the room is told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ParticipantInfo {
    /// Who it is.
    pub identity: Identity,
    /// What it is called.
    pub name: DisplayName,
    /// When it joined, in milliseconds since 1970 (UTC).
    pub joined_at: u64,
    /// What it publishes.
    pub tracks: Vec<TrackInfo>,
}

/// Something that everybody in the room but its cause is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// Somebody came.
    Joined(ParticipantInfo),
    /// Somebody is about to leave and still listed.
    Leaving {
        /// Who.
        identity: Identity,
        /// Why.
        reason: Reason,
    },
    /// Somebody left.
    Left {
        /// Who.
        identity: Identity,
        /// Why.
        reason: Reason,
    },
    /// A new track.
    Published {
        /// Whose.
        identity: Identity,
        /// Which.
        track: TrackInfo,
    },
    /// A track went away.
    Unpublished {
        /// Whose.
        identity: Identity,
        /// Which.
        track: TrackId,
    },
    /// A track changed: muted or unmuted.
    TrackUpdated {
        /// Whose.
        identity: Identity,
        /// As it is now.
        track: TrackInfo,
    },
}

/// Somebody who speaks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Speaker {
    /// Who.
    pub identity: Identity,
    /// How loud, from 0 (silence) to 1, in steps of 0.01.
    pub level: f32,
}

/// Why a participant left or is told good-bye.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Reason {
    /// It left by itself.
    Client,
    /// Nothing came from it any more.
    Timeout,
    /// Somebody else joined under its identity.
    DuplicateIdentity,
    /// It was removed.
    Removed,
    /// Its room was closed.
    RoomDeleted,
    /// The server stops.
    ServerShutdown,
    /// It is to go to another node.
    Migration,
    /// No media path came to be, or the one there was is gone.
    MediaFailed,
    /// Client and server disagree about the session.
    StateMismatch,
    /// It did not take what it was sent.
    TooSlow,
}

/// What a client that is told good-bye may do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Retry {
    /// Stay away.
    None,
    /// Go on with the same session.
    Resume,
    /// Join anew.
    Rejoin,
}

/// Stable codes of refusals, as they stand on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorCode {
    /// The message cannot be understood; the text names the place.
    BadMessage,
    /// No protocol version in common.
    UnsupportedProtocol,
    /// Not permitted.
    NotAllowed,
    /// The room has as many members as it may.
    RoomFull,
    /// Offer and server do not fit together.
    NegotiationFailed,
    /// There is no such track, or it is somebody else's.
    NoSuchTrack,
    /// There is no such participant in the room.
    NoSuchParticipant,
    /// Over a limit in size.
    TooLarge,
    /// Over a limit in time.
    RateLimited,
    /// Over a limit in number.
    TooMany,
    /// A queue is full; the same request may succeed a moment later.
    ServerBusy,
    /// The server stops.
    ServerShutdown,
    /// A fault of ours.
    Internal,
}

/// A refusal: a stable code and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// The stable code.
    pub code: ErrorCode,
    /// What was wrong and, where it helps, what to do.
    pub message: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// When it is worth trying again, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl Refusal {
    /// A refusal; whether it may be tried again follows from the code.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let retryable = matches!(
            code,
            ErrorCode::RateLimited
                | ErrorCode::ServerBusy
                | ErrorCode::RoomFull
                | ErrorCode::ServerShutdown
                | ErrorCode::Internal
        );
        Self { code, message: message.into(), retryable, retry_after_ms: None }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}
