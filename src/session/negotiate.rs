//! Offer and answer: an offer is checked before the engine sees it, and what the engine cannot
//! say (addresses outside, the worker's number in the user name) is written into its answer.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use str0m::change::SdpOffer;
use str0m::config::DtlsCert;
use str0m::ice::IceCreds;
use str0m::rtp::{Extension, ExtensionMap};
use str0m::{Candidate, Rtc};

use super::Session;
use super::channels::{self, Channels};
use super::descriptor;
use super::dtls;
use super::fence::Fence;
use super::pace::{self, Pace};
use super::probing;
use super::redundancy::Redundancy;
use super::seats::SeatLines;
use super::streams::Incoming;
use crate::model::Kind;
use crate::wire::sdp::{self, Direction, LineKind, Outline, SdpError};

/// What all sessions share: the crypto provider and one DTLS certificate. Making a certificate
/// per session would add its cost to every join and gain nothing (RFC 8827 section 6.5 allows
/// reuse within an origin).
#[derive(Clone)]
pub struct Engine {
    certificate: DtlsCert,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Engine")
    }
}

/// The certificate could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the DTLS certificate")]
pub struct EngineError;

impl Engine {
    /// Chooses the crypto provider of the process and makes the certificate.
    ///
    /// # Errors
    /// The certificate could not be made.
    pub fn new() -> Result<Self, EngineError> {
        let provider = dtls::provider();
        let certificate = provider.dtls_provider.generate_certificate().ok_or(EngineError)?;
        provider.install_process_default();
        Ok(Self { certificate })
    }
}

/// What a new session is built from.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// How user names of this worker begin; see [`crate::worker::demux`].
    pub ufrag_prefix: String,
    /// The rest of the user name: at least 24 random bits as letters and digits.
    pub ufrag_rest: String,
    /// At least 128 random bits as letters and digits, 22 characters or more.
    pub password: String,
    /// The machine's own addresses, with the port of the worker's socket.
    pub local: Vec<SocketAddr>,
    /// Further addresses by which datagrams reach one of the local ones.
    pub outside: Vec<SocketAddr>,
    /// Largest payload of a data message in bytes.
    pub data_bytes: usize,
}

/// An offer and what its client says that it publishes.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// SDP text.
    pub sdp: &'a str,
    /// The mids of its tracks, and what each is said to be.
    pub publishes: &'a [(String, Kind)],
}

/// Why an offer was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OfferError {
    /// Over a limit in size.
    #[error("{0}")]
    TooLarge(String),
    /// Over a limit in number.
    #[error("{0}")]
    TooMany(String),
    /// The offer cannot be read, or says what an offer here must not say.
    #[error("{0}")]
    Bad(String),
    /// The engine refused an offer that had passed all checks; the session is not to be trusted
    /// any more.
    #[error("the engine refused the offer: {0}")]
    Engine(String),
}

impl From<SdpError> for OfferError {
    fn from(error: SdpError) -> Self {
        let text = error.to_string();
        match error {
            SdpError::TooLarge { .. } => Self::TooLarge(text),
            SdpError::TooMany { .. } => Self::TooMany(text),
            _ => Self::Bad(text),
        }
    }
}

/// What was agreed so far.
#[derive(Debug)]
pub struct Negotiated {
    outline: Outline,
    ufrag_prefix: String,
    ufrag: String,
    outside: Vec<SocketAddr>,
}

impl Negotiated {
    pub(super) fn ufrag(&self) -> &str {
        &self.ufrag
    }
}

impl Session {
    /// Builds the engine for a first offer and answers it. Takes 1–4 ms: not for a media thread.
    ///
    /// # Errors
    /// The offer was not taken.
    pub fn open(
        engine: &Engine,
        config: &SessionConfig,
        offer: &Offer<'_>,
        now: Instant,
    ) -> Result<(Self, String), OfferError> {
        let outline = check(offer)?;
        let ufrag = format!("{}{}", config.ufrag_prefix, config.ufrag_rest);
        let mut rtc = build(engine, config, &ufrag, now);
        for address in &config.local {
            if let Ok(candidate) = Candidate::host(*address, "udp") {
                rtc.add_local_candidate(candidate);
            }
        }
        let mut session = Self {
            rtc,
            negotiated: Negotiated {
                outline: Outline::default(),
                ufrag_prefix: config.ufrag_prefix.clone(),
                ufrag,
                outside: config.outside.clone(),
            },
            incoming: Incoming::default(),
            seats: SeatLines::default(),
            channels: Channels::new(config.data_bytes),
            fence: Fence::default(),
            pace: Pace::new(now),
            redundancy: Redundancy::default(),
            deadline: Some(now),
            connected: false,
            hello_seen: false,
            gone: false,
            closed: false,
        };
        let answer = session.accept(offer.sdp, outline)?;
        Ok((session, answer))
    }

    /// Answers a further offer.
    ///
    /// # Errors
    /// The offer was not taken. Unless it is [`OfferError::Engine`], the session goes on as before.
    pub fn reoffer(&mut self, offer: &Offer<'_>) -> Result<String, OfferError> {
        let outline = check(offer)?;
        sdp::same_shape(&self.negotiated.outline, &outline).map_err(OfferError::Bad)?;
        self.accept(offer.sdp, outline)
    }

    fn accept(&mut self, offer: &str, outline: Outline) -> Result<String, OfferError> {
        let text = sdp::prepare(offer, &outline);
        let parsed =
            SdpOffer::from_sdp_string(&text).map_err(|error| OfferError::Bad(error.to_string()))?;
        self.seats.declare_all(&mut self.rtc);
        let answer = self.rtc.sdp_api().accept_offer(parsed);
        let answer = match answer {
            Ok(answer) => answer.to_sdp_string(),
            Err(error) => return Err(OfferError::Engine(error.to_string())),
        };
        self.incoming.update(&self.rtc, &outline);
        self.seats.update(&mut self.rtc, &outline);
        self.fence.update(&self.rtc, &outline);
        self.negotiated.outline = outline;
        let answer = spare_silence(&self.keep_ufrag(answer));
        Ok(with_candidates(&answer, &self.negotiated.outside))
    }

    /// The engine takes random credentials when the client restarts ICE; the worker's number must
    /// stand in front again, or a datagram that lands on a neighbour's socket finds no owner.
    fn keep_ufrag(&mut self, answer: String) -> String {
        let taken = self.rtc.direct_api().local_ice_credentials();
        if taken.ufrag == self.negotiated.ufrag {
            return answer;
        }
        let ufrag = format!("{}{}", self.negotiated.ufrag_prefix, taken.ufrag);
        let own = IceCreds { ufrag: ufrag.clone(), pass: taken.pass };
        self.rtc.direct_api().set_local_ice_credentials(own);
        self.negotiated.ufrag.clone_from(&ufrag);
        self.fence.new_path();
        let from = format!("a=ice-ufrag:{}", taken.ufrag);
        let to = format!("a=ice-ufrag:{ufrag}");
        let in_candidate = format!(" ufrag {}", taken.ufrag);
        answer.replace(&from, &to).replace(&in_candidate, &format!(" ufrag {ufrag}"))
    }
}

/// Everything that is said about an offer before the engine sees it.
fn check(offer: &Offer<'_>) -> Result<Outline, OfferError> {
    sdp::check_limits(offer.sdp)?;
    let outline = Outline::read(offer.sdp)?;
    for line in &outline.lines {
        let both = line.direction == Direction::SendRecv && line.kind != LineKind::Application;
        if both && !line.rejected {
            let mid = &line.mid;
            return Err(OfferError::Bad(format!(
                "The m-line {mid} is sendrecv; send and receive on lines of their own."
            )));
        }
    }
    for (mid, kind) in offer.publishes {
        let carries = |line: &sdp::Line| {
            line.mid == *mid
                && !line.rejected
                && line.direction == Direction::SendOnly
                && line.kind.media() == Some(*kind)
        };
        if !outline.lines.iter().any(carries) {
            return Err(OfferError::Bad(format!(
                "The track with mid {mid} has no sendonly {} m-line.",
                if *kind == Kind::Audio { "audio" } else { "video" }
            )));
        }
    }
    Ok(outline)
}

fn build(engine: &Engine, config: &SessionConfig, ufrag: &str, now: Instant) -> Rtc {
    let mut extensions = ExtensionMap::empty();
    // The standard set without abs-send-time: estimation uses transport-wide feedback. The
    // dependency descriptor is not offered to lines that send VP8, see `sdp::prepare`.
    extensions.set(1, Extension::AudioLevel);
    extensions.set(3, Extension::TransportSequenceNumber);
    extensions.set(4, Extension::RtpMid);
    extensions.set(5, Extension::PlayoutDelay);
    extensions.set(10, Extension::RtpStreamId);
    extensions.set(11, Extension::RepairedRtpStreamId);
    extensions.set(12, descriptor::extension());
    extensions.set(13, Extension::VideoOrientation);
    let mut rtc = Rtc::builder()
        .set_rtp_mode(true)
        .set_dtls_cert(engine.certificate.clone())
        .set_local_ice_credentials(IceCreds {
            ufrag: ufrag.to_owned(),
            pass: config.password.clone(),
        })
        .clear_codecs()
        .enable_opus(true, true)
        .enable_vp8(true)
        .enable_vp9(true)
        .enable_av1(true)
        .set_extension_map(extensions)
        // With the default of 5 s browsers have no lip-sync for 9 s after a seat is taken.
        .set_rtcp_report_interval_audio(Duration::from_secs(1))
        .enable_bwe(Some(probing::START))
        .set_stats_interval(Some(pace::STATISTICS))
        .set_send_buffer_video(super::seats::RTX_PACKETS)
        .set_sctp_max_buffered_amount(channels::ENGINE_BUDGET)
        .set_sctp_max_message_size(channels::max_frame(config.data_bytes));
    // Constrained baseline in packetization mode 1 is what every browser that has H.264 shares.
    rtc.codec_config().add_h264(108.into(), Some(109.into()), true, 0x42_e0_1f);
    rtc.build(now)
}

/// Lets the client send next to nothing while nobody speaks (RFC 7587 section 6.1, `usedtx`): the
/// engine has no word for it. Screens share the payload type and do so only in silence.
fn spare_silence(answer: &str) -> String {
    answer.replace("useinbandfec=1", "useinbandfec=1;usedtx=1")
}

/// Writes further host candidates into the first section that has candidates. The engine must not
/// know them: it takes only datagrams to addresses of this machine.
fn with_candidates(answer: &str, outside: &[SocketAddr]) -> String {
    let Some(at) = answer.find("a=candidate:") else { return answer.to_owned() };
    let (head, tail) = answer.split_at(at);
    let mut text = String::with_capacity(answer.len() + outside.len() * 80);
    text.push_str(head);
    for (n, address) in (1u32..).zip(outside) {
        // RFC 8445 section 5.1.2.1: type 126 (host), local preference, component 1.
        let priority = (126u32 << 24) | (65_535u32.saturating_sub(n) << 8) | 255;
        let (ip, port) = (address.ip(), address.port());
        let line = format!("a=candidate:outside{n} 1 udp {priority} {ip} {port} typ host\r\n");
        text.push_str(&line);
    }
    text.push_str(tail);
    text
}
