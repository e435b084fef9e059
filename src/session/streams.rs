//! What the client sends: SSRC, mid and rid ⇄ line and layer, and packets in Fanlight's own shape.

use std::time::{Instant, SystemTime};

use str0m::Rtc;
use str0m::format::{Codec as RtcCodec, CodecSpec};
use str0m::media::{Mid, Rid};
use str0m::rtp::RtpPacket;

use super::descriptor;
use super::redundancy::{self, Came};
use super::told::Told;
use crate::counts::DropReason;
use crate::forward::layers::bit;
use crate::forward::packet::{Codec, Packet};
use crate::model::Kind;
use crate::units::rtp_since;
use crate::wire::descriptor::Structure;
use crate::wire::sdp::{Direction, Outline};

/// A line on which the client sends, counted in the order in which it was first offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LineIndex(pub u8);

/// Most SSRCs remembered at a time: eight tracks of three layers.
const MAX_SSRCS: usize = 24;

#[derive(Debug)]
struct Line {
    mid: Mid,
    kind: Kind,
    rids: Vec<Rid>,
}

/// What is known of a payload type.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PayloadType {
    pub codec: Option<Codec>,
    pub clock_rate: u32,
    /// It carries retransmissions of another payload type (RFC 4588).
    pub rtx: bool,
    /// It carries earlier payloads beside its own (RFC 2198).
    pub red: bool,
}

/// Everything that comes from the client.
#[derive(Debug)]
pub(super) struct Incoming {
    lines: Vec<Line>,
    ssrcs: Vec<(u32, LineIndex, u8)>,
    /// What the dependency descriptors of an SSRC speak of.
    structures: Vec<(u32, Structure)>,
    /// What came of sound that is sent more than once.
    came: Vec<Came>,
    /// Packets that did not come by themselves but in the one that was taken last, oldest first.
    missed: Vec<Packet>,
    types: [PayloadType; 128],
}

impl Default for Incoming {
    fn default() -> Self {
        Self {
            lines: Vec::new(),
            ssrcs: Vec::new(),
            structures: Vec::new(),
            came: Vec::new(),
            missed: Vec::new(),
            types: [PayloadType::default(); 128],
        }
    }
}

impl Incoming {
    /// Takes over what an accepted offer says. Lines keep their numbers.
    pub fn update(&mut self, rtc: &Rtc, outline: &Outline) {
        for line in &outline.lines {
            let Some(kind) = line.kind.media() else { continue };
            let mid = mid_of(&line.mid);
            let known = self.lines.iter().any(|known| known.mid == mid);
            if !known && line.direction == Direction::SendOnly && self.lines.len() < 255 {
                let rids = line.rids.iter().map(|rid| Rid::from(rid.as_str())).collect();
                self.lines.push(Line { mid, kind, rids });
            }
        }
        self.types = [PayloadType::default(); 128];
        for params in rtc.codec_config().params() {
            let spec = params.spec();
            let media = PayloadType {
                codec: Some(codec_of(&spec)),
                clock_rate: spec.clock_rate.get(),
                ..PayloadType::default()
            };
            let types = [
                (Some(params.pt()), media),
                (params.red(), PayloadType { red: true, ..media }),
                (params.resend(), PayloadType { rtx: true, ..PayloadType::default() }),
            ];
            for (pt, of) in types {
                if let Some(entry) = pt.and_then(|pt| self.types.get_mut(usize::from(*pt))) {
                    *entry = of;
                }
            }
        }
    }

    pub fn line_of(&self, mid: &str) -> Option<LineIndex> {
        let mid = mid_of(mid);
        let at = self.lines.iter().position(|line| line.mid == mid)?;
        u8::try_from(at).ok().map(LineIndex)
    }

    pub fn payload_type(&self, pt: u8) -> PayloadType {
        self.types.get(usize::from(pt)).copied().unwrap_or_default()
    }

    /// What an outgoing RTP packet carries, if that is media sent for the first time, and neither
    /// a retransmission nor a probe: those have SSRC 0, as the engine numbers them.
    pub fn sends_first(&self, packet: &[u8]) -> Option<Kind> {
        let pt = packet.get(1).map_or(0, |byte| byte & 0x7f);
        let codec = self.payload_type(pt).codec.filter(|_| packet.get(8..12) != Some(&[0; 4]))?;
        Some(if codec == Codec::Opus { Kind::Audio } else { Kind::Video })
    }

    /// Whose SSRC this is, if packets with it were authenticated.
    pub fn known(&self, ssrc: u32) -> Option<(LineIndex, u8)> {
        self.ssrcs.iter().find(|known| known.0 == ssrc).map(|known| (known.1, known.2))
    }

    /// The engine's name of a layer's stream.
    pub fn stream(&self, line: LineIndex, layer: u8) -> Option<(Mid, Option<Rid>)> {
        let line = self.lines.get(usize::from(line.0))?;
        if line.rids.is_empty() {
            return Some((line.mid, None));
        }
        Some((line.mid, Some(*line.rids.get(usize::from(layer))?)))
    }

    /// The client's names of a line's layers, those of which a bit is set; none without simulcast.
    pub fn rids(&self, line: LineIndex, layers: u8) -> Vec<String> {
        let rids = self.lines.get(usize::from(line.0)).map(|line| line.rids.as_slice());
        let named = rids.unwrap_or(&[]).iter().zip(0u8..).filter(|(_, n)| layers & bit(*n) != 0);
        named.map(|(rid, _)| rid.to_string()).collect()
    }

    /// Whether a line has more than one layer.
    pub fn is_simulcast(&self, line: LineIndex) -> bool {
        self.lines.get(usize::from(line.0)).is_some_and(|line| !line.rids.is_empty())
    }

    /// Puts a packet of the engine into our own shape.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn packet(
        &mut self,
        rtc: &mut Rtc,
        packet: RtpPacket,
        now: Instant,
    ) -> Result<(LineIndex, u32, Packet), DropReason> {
        let ssrc = *packet.header.ssrc;
        let (line, layer) = match self.known(ssrc) {
            Some(found) => found,
            None => self.learn(rtc, &packet).ok_or(DropReason::Unpublished)?,
        };
        let kind = self
            .lines
            .get(usize::from(line.0))
            .map(|line| line.kind)
            .ok_or(DropReason::Unpublished)?;
        let pt = *packet.header.payload_type;
        let PayloadType { codec: Some(codec), clock_rate, red, .. } = self.payload_type(pt) else {
            return Err(DropReason::Codec);
        };
        let values = &packet.header.ext_vals;
        let descriptor = descriptor::of(values).filter(|_| codec.is_described());
        let told = self.told(ssrc, codec, &packet.payload, descriptor.as_deref());
        // Layers of one stream; those of a simulcast layer are sent with it.
        let stacked = told.spatial.filter(|_| !self.is_simulcast(line));
        let mut packet = Packet {
            kind,
            codec,
            layer: stacked.unwrap_or(layer),
            stacked: stacked.is_some(),
            temporal: told.temporal,
            sync: told.sync,
            seq: *packet.seq_no,
            timestamp: packet.header.timestamp,
            clock_rate,
            marker: packet.header.marker,
            pictures: told.pictures,
            frame: told.frame,
            descriptor,
            keyframe: kind == Kind::Video && told.keyframe,
            level: values.audio_level,
            voice: values.voice_activity,
            orientation: values.video_orientation.map(|turn| turn as u8),
            arrived: now,
            captured: captured(&packet, clock_rate),
            wallclock: packet.timestamp,
            payload: packet.payload,
        };
        self.unwrap(ssrc, &mut packet, red)?;
        Ok((line, ssrc, packet))
    }

    /// Leaves a packet of sound with one frame, and keeps those that did not come by themselves.
    fn unwrap(&mut self, ssrc: u32, packet: &mut Packet, red: bool) -> Result<(), DropReason> {
        self.missed.clear();
        let Self { came, ssrcs, missed, .. } = self;
        if !came.iter().any(|came| came.ssrc == ssrc) {
            if !red {
                return Ok(());
            }
            came.retain(|came| ssrcs.iter().any(|known| known.0 == came.ssrc));
            came.push(Came::new(ssrc, packet.seq));
        }
        let Some(came) = came.iter_mut().find(|came| came.ssrc == ssrc) else { return Ok(()) };
        if !came.first(packet.seq) {
            return Err(DropReason::Duplicate);
        }
        if red && !redundancy::unwrap(packet, came, missed) {
            return Err(DropReason::RtpMalformed);
        }
        Ok(())
    }

    /// The packets that did not come by themselves but in the one that was taken last.
    pub fn take_missed(&mut self) -> impl Iterator<Item = Packet> + '_ {
        self.missed.drain(..)
    }

    /// What a packet tells of its frame; keeps the structure that it brings.
    fn told(&mut self, ssrc: u32, codec: Codec, payload: &[u8], described: Option<&[u8]>) -> Told {
        let Some(bytes) = described else { return Told::read(codec, payload) };
        let known = self.structures.iter().find(|known| known.0 == ssrc);
        let (told, brought) =
            Told::read_described(codec, payload, bytes, known.map(|known| &known.1));
        if let Some(structure) = brought {
            let Self { structures, ssrcs, .. } = self;
            structures.retain(|known| known.0 != ssrc && ssrcs.iter().any(|s| s.0 == known.0));
            structures.push((ssrc, structure));
        }
        told
    }

    /// The engine names mid and rid of an SSRC when it has seen its first packets; a browser may
    /// come back with another SSRC for the same mid (Firefox after a pause).
    fn learn(&mut self, rtc: &mut Rtc, packet: &RtpPacket) -> Option<(LineIndex, u8)> {
        let mut api = rtc.direct_api();
        let stream = api.stream_rx(&packet.header.ssrc)?;
        let (mid, rid) = (stream.mid(), stream.rid());
        let at = self.lines.iter().position(|line| line.mid == mid)?;
        let line = LineIndex(u8::try_from(at).ok()?);
        let layer = match rid {
            Some(rid) => self.lines.get(at)?.rids.iter().position(|known| *known == rid)?,
            None => 0,
        };
        let layer = u8::try_from(layer).ok()?;
        self.ssrcs.retain(|known| (known.1, known.2) != (line, layer));
        if self.ssrcs.len() >= MAX_SSRCS {
            self.ssrcs.remove(0);
        }
        self.ssrcs.push((*packet.header.ssrc, line, layer));
        Some((line, layer))
    }
}

/// When a packet was taken by its publisher's clock, in microseconds since 1970: known once a sender
/// report has come (RFC 3550 section 6.4.1).
fn captured(packet: &RtpPacket, clock_rate: u32) -> Option<u64> {
    let report = packet.last_sender_info?;
    let reported = report.ntp_time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let reported = i64::try_from(reported.as_micros()).ok()?;
    #[expect(clippy::cast_possible_truncation, reason = "timestamps count in a circle")]
    let since = rtp_since(packet.header.timestamp, report.rtp_time.numer() as u32);
    let since = (i64::from(since) * 1_000_000).checked_div(i64::from(clock_rate))?;
    u64::try_from(reported.checked_add(since)?).ok()
}

/// The engine's form of a mid.
pub(super) fn mid_of(text: &str) -> Mid {
    Mid::from(text)
}

/// What we call a codec of the engine. Only the profiles that browsers share have a name; what
/// has none reaches viewers with no codec for it and is told to both sides.
pub(super) fn codec_of(spec: &CodecSpec) -> Codec {
    match spec.codec {
        RtcCodec::Opus => Codec::Opus,
        RtcCodec::Vp8 => Codec::Vp8,
        RtcCodec::Vp9 if spec.format.profile_id.unwrap_or(0) == 0 => Codec::Vp9,
        RtcCodec::H264 => Codec::H264,
        RtcCodec::Av1 => Codec::Av1,
        _ => Codec::Other,
    }
}
