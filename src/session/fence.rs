//! What must hold before the engine sees a packet of an address that has proved itself.
//!
//! The engine moves a receive stream to an SSRC that names its mid *before* it checks the packet's
//! signature, so one forged datagram silences a publisher. Hence: a new SSRC for a stream is let
//! in only while the one that is known is silent.

use std::time::{Duration, Instant};

use str0m::Rtc;
use str0m::rtp::Extension;

use super::streams::{Incoming, mid_of};
use crate::counts::DropReason;
use crate::wire::rtp::RtpHeader;
use crate::wire::sdp::{Direction, Outline};

/// A known SSRC that was heard within this time keeps its stream. Browsers change SSRCs only after
/// a pause; Opus with discontinuous transmission still sends every 400 ms.
const HEARD: Duration = Duration::from_secs(1);

/// Changes of SSRC per stream that are let in within [`WINDOW`].
const SWITCHES: u32 = 4;
const WINDOW: Duration = Duration::from_secs(10);

/// RTCP datagrams in a second: a viewer of 24 seats reports some 60 times.
const RTCP_PER_SECOND: u32 = 200;

/// A stream as a stranger's packet would name it.
#[derive(Debug)]
struct Stream {
    mid: String,
    rid: Option<String>,
    /// The SSRC that sends its media, and when it was last authenticated.
    media: Option<(u32, Instant)>,
    /// The newest SSRC that was let in and has not proved itself yet.
    candidate: Option<u32>,
    repair: Option<u32>,
    switches: u32,
    window: Option<Instant>,
}

/// The fence of one session.
#[derive(Debug, Default)]
pub(super) struct Fence {
    streams: Vec<Stream>,
    mid_id: u8,
    rid_id: u8,
    repaired_id: u8,
    rtcp: Option<(Instant, u32)>,
}

impl Fence {
    /// Takes over what an accepted offer says.
    pub fn update(&mut self, rtc: &Rtc, outline: &Outline) {
        let sending = |direction| direction == Direction::SendOnly;
        for line in outline.lines.iter().filter(|line| sending(line.direction) && !line.rejected) {
            if let Some(media) = rtc.media(mid_of(&line.mid)) {
                let map = media.remote_extmap();
                let id = |extension| map.id_of(extension).unwrap_or(0);
                self.mid_id = id(Extension::RtpMid).max(self.mid_id);
                self.rid_id = id(Extension::RtpStreamId).max(self.rid_id);
                self.repaired_id = id(Extension::RepairedRtpStreamId).max(self.repaired_id);
            }
            if line.rids.is_empty() {
                self.add(&line.mid, None);
            }
            for rid in &line.rids {
                self.add(&line.mid, Some(rid));
            }
        }
    }

    /// ICE was restarted: the client may come back with everything new.
    pub fn new_path(&mut self) {
        self.rtcp = None;
    }

    fn add(&mut self, mid: &str, rid: Option<&String>) {
        if !self.streams.iter().any(|s| s.mid == mid && s.rid.as_ref() == rid) {
            self.streams.push(Stream {
                mid: mid.to_owned(),
                rid: rid.cloned(),
                media: None,
                candidate: None,
                repair: None,
                switches: 0,
                window: None,
            });
        }
    }

    /// The engine authenticated a packet with this SSRC.
    pub fn authenticated(&mut self, ssrc: u32, now: Instant) {
        for stream in &mut self.streams {
            match &mut stream.media {
                Some((known, heard)) if *known == ssrc => {
                    *heard = now;
                    return;
                }
                _ if stream.candidate == Some(ssrc) => {
                    stream.media = Some((ssrc, now));
                    stream.candidate = None;
                    return;
                }
                _ => {}
            }
        }
    }

    /// Whether the engine may see this RTP packet.
    pub fn admit_rtp(
        &mut self,
        bytes: &[u8],
        incoming: &Incoming,
        now: Instant,
    ) -> Result<(), DropReason> {
        let header = RtpHeader::parse(bytes).map_err(|_| DropReason::RtpMalformed)?;
        let known = |s: &Stream| {
            s.media.is_some_and(|(ssrc, _)| ssrc == header.ssrc)
                || s.candidate == Some(header.ssrc)
                || s.repair == Some(header.ssrc)
        };
        if self.streams.iter().any(known) {
            return Ok(());
        }
        let repairs = incoming.payload_type(header.payload_type).rtx;
        let stream = self.named(&header, repairs).ok_or(DropReason::SsrcUnproven)?;
        stream.let_in(header.ssrc, repairs, now)
    }

    /// Whether the engine may see this RTCP packet.
    pub fn admit_rtcp(&mut self, bytes: &[u8], now: Instant) -> Result<(), DropReason> {
        if !crate::wire::rtp::rtcp_is_sound(bytes) {
            return Err(DropReason::RtpMalformed);
        }
        match &mut self.rtcp {
            Some((since, count)) if now.saturating_duration_since(*since).as_secs() < 1 => {
                *count += 1;
                if *count > RTCP_PER_SECOND { Err(DropReason::RtcpRate) } else { Ok(()) }
            }
            rtcp => {
                *rtcp = Some((now, 1));
                Ok(())
            }
        }
    }

    /// The stream that a packet with an unknown SSRC claims to belong to.
    fn named(&mut self, header: &RtpHeader<'_>, repairs: bool) -> Option<&mut Stream> {
        let mid = header.extension(self.mid_id)?;
        let rid_id = if repairs { self.repaired_id } else { self.rid_id };
        let rid = if rid_id == 0 { None } else { header.extension(rid_id) };
        let is =
            |s: &&mut Stream| s.mid.as_bytes() == mid && s.rid.as_deref().map(str::as_bytes) == rid;
        self.streams.iter_mut().find(is)
    }
}

impl Stream {
    fn let_in(&mut self, ssrc: u32, repairs: bool, now: Instant) -> Result<(), DropReason> {
        let heard = |at: Instant| now.saturating_duration_since(at) < HEARD;
        if !repairs && self.media.is_some_and(|(_, at)| heard(at)) {
            return Err(DropReason::SsrcUnproven);
        }
        if self.window.is_none_or(|since| now.saturating_duration_since(since) >= WINDOW) {
            self.window = Some(now);
            self.switches = 0;
        }
        self.switches += 1;
        if self.switches > SWITCHES {
            return Err(DropReason::SsrcLimit);
        }
        *if repairs { &mut self.repair } else { &mut self.candidate } = Some(ssrc);
        Ok(())
    }
}
