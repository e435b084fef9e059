//! What the client receives: the outgoing streams of its seats.
//!
//! A seat's SSRCs are fixed for life. A stream that has sent nothing yet is taken out of the engine
//! again ("lazy"): every wake of a session walks all its streams, and a stream that never sent
//! would tell the browser a clock of zero.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use str0m::Rtc;
use str0m::format::PayloadParams;
use str0m::media::{Direction, Mid, Pt};
use str0m::rtp::{ExtensionValues, RtpWrite, Ssrc, VideoOrientation, Vp8Descriptor};

use super::redundancy::{Recent, Redundancy};
use super::streams::{codec_of, mid_of};
use super::{Written, descriptor};
use crate::counts::DropReason;
use crate::forward::packet::{Codec, Packet, Pictures};
use crate::forward::rewrite::{Numbers, PictureNumbers};
use crate::ids::SeatIndex;
use crate::model::Kind;
use crate::wire::sdp::{Direction as Offered, Outline};

/// How long a packet is kept for retransmission: a few round trips. Browsers ask for a keyframe
/// instead of what is older, and a viewer's memory is mostly this.
const RTX_AGE: Duration = Duration::from_secs(1);

/// Most packets kept per video stream, whatever their age: a second of 3 Mbit/s.
pub(super) const RTX_PACKETS: usize = 384;

/// Most of what is sent in a second that may be retransmission. Above it the engine drops all queued
/// resends: its default of 0.15 lets a picture stand at 25 % loss, and half when a network just got
/// narrow, where little is sent but a keyframe that is lost in part.
const RTX_RATIO: f32 = 0.8;

/// Most packets of a stream that the engine is handed at a time. Its queue keeps the size of the
/// longest that it ever was, half a kilobyte for each packet; what came before, for somebody who
/// begins, is hundreds of them, once.
const HANDED: usize = 64;

/// One outgoing stream.
#[derive(Debug)]
struct Line {
    mid: Mid,
    ssrc: Ssrc,
    rtx: Option<Ssrc>,
    live: bool,
    types: Types,
    /// The payload type for sound with earlier frames, if the client takes that, and those frames.
    red: Option<Pt>,
    recent: Recent,
    /// What was written and the engine has not been handed yet.
    waiting: VecDeque<RtpWrite>,
}

/// The payload types of the codecs that a line can carry.
#[derive(Debug, Default)]
struct Types([Option<Pt>; Codec::Other as usize]);

impl Types {
    fn of(&self, codec: Codec) -> Option<Pt> {
        self.0.get(codec as usize).copied().flatten()
    }

    /// The first of several is the client's choice.
    fn learn(&mut self, codec: Codec, pt: Pt) {
        if let Some(of) = self.0.get_mut(codec as usize) {
            of.get_or_insert(pt);
        }
    }
}

#[derive(Debug, Default)]
struct Seat {
    audio: Option<Line>,
    video: Option<Line>,
}

impl Seat {
    fn half(&self, kind: Kind) -> &Option<Line> {
        match kind {
            Kind::Audio => &self.audio,
            Kind::Video => &self.video,
        }
    }

    fn half_mut(&mut self, kind: Kind) -> &mut Option<Line> {
        match kind {
            Kind::Audio => &mut self.audio,
            Kind::Video => &mut self.video,
        }
    }
}

/// All seats of a session, in the order in which the client offered their lines.
#[derive(Debug, Default)]
pub struct SeatLines {
    seats: Vec<Seat>,
    /// Something waits to be handed to the engine.
    waiting: bool,
}

impl SeatLines {
    /// How many seats have both an audio and a video line.
    #[must_use]
    pub fn pairs(&self) -> u8 {
        let whole = self.seats.iter().take_while(|s| s.audio.is_some() && s.video.is_some());
        u8::try_from(whole.count()).unwrap_or(u8::MAX)
    }

    /// The mid of a half of a seat.
    #[must_use]
    pub fn mid(&self, seat: SeatIndex, kind: Kind) -> Option<String> {
        let line = self.seats.get(seat.index())?.half(kind).as_ref()?;
        Some(line.mid.to_string())
    }

    /// Whether the client can decode `codec` in its seats. All lines of a kind offer the same.
    #[must_use]
    pub fn decodes(&self, codec: Codec) -> bool {
        let kind = if codec == Codec::Opus { Kind::Audio } else { Kind::Video };
        let line = self.seats.first().and_then(|seat| seat.half(kind).as_ref());
        line.is_some_and(|line| line.types.of(codec).is_some())
    }

    /// The seat to which a mid belongs.
    pub(super) fn seat_of(&self, mid: Mid, kind: Kind) -> Option<SeatIndex> {
        let is = |seat: &Seat| seat.half(kind).as_ref().is_some_and(|line| line.mid == mid);
        let at = self.seats.iter().position(is)?;
        u8::try_from(at).ok().map(SeatIndex)
    }

    /// Gives the engine its lazy streams back, so that an answer names the same SSRCs again.
    pub(super) fn declare_all(&self, rtc: &mut Rtc) {
        for line in self.seats.iter().flat_map(|s| [&s.audio, &s.video]).flatten() {
            if !line.live && rtc.media(line.mid).is_some() {
                rtc.direct_api().declare_stream_tx(line.ssrc, line.rtx, line.mid, None);
            }
        }
    }

    /// Takes over what an accepted offer says.
    pub(super) fn update(&mut self, rtc: &mut Rtc, outline: &Outline) {
        for described in &outline.lines {
            let Some(kind) = described.kind.media() else { continue };
            let mid = mid_of(&described.mid);
            let open = !described.rejected && described.direction == Offered::RecvOnly;
            match self.seat_of(mid, kind) {
                Some(seat) if !open => {
                    if let Some(seat) = self.seats.get_mut(seat.index()) {
                        *seat.half_mut(kind) = None;
                    }
                }
                None if open => {
                    if let Some(line) = Line::read(rtc, mid) {
                        *self.first_without(kind) = Some(line);
                    }
                }
                Some(_) | None => {}
            }
        }
        let lines = self.seats.iter_mut().flat_map(|s| [&mut s.audio, &mut s.video]).flatten();
        for line in lines {
            line.types = payload_types(rtc, line.mid);
            line.red = redundant_type(rtc, line.mid);
            if !line.live {
                rtc.direct_api().remove_stream_tx(line.ssrc);
            }
        }
    }

    fn first_without(&mut self, kind: Kind) -> &mut Option<Line> {
        let at = self.seats.iter().position(|seat| seat.half(kind).is_none());
        let at = at.unwrap_or_else(|| {
            self.seats.push(Seat::default());
            self.seats.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "found or pushed just above")]
        self.seats[at].half_mut(kind)
    }

    /// Empties the pacer's queue and the retransmission cache of all video. The engine does so by
    /// itself when it is told not to send any more; it is told, and told to send again, without
    /// the client hearing of it.
    pub(super) fn forget_video(&mut self, rtc: &mut Rtc) {
        let lines = self.seats.iter_mut().filter_map(|seat| seat.video.as_mut());
        for line in lines.filter(|line| line.live) {
            line.waiting = VecDeque::new();
            let Some(direction) = rtc.media(line.mid).map(|media| media.direction()) else {
                continue;
            };
            rtc.sdp_api().set_direction(line.mid, Direction::Inactive);
            rtc.sdp_api().set_direction(line.mid, direction);
        }
    }

    /// Hands packets of one track to the engine, in order; sound with so many earlier frames.
    pub(super) fn write(
        &mut self,
        rtc: &mut Rtc,
        seat: SeatIndex,
        packets: &[(&Packet, Numbers)],
        redundancy: &Redundancy,
    ) -> Written {
        let mut written = Written::default();
        let unknown = Written { dropped: Some(DropReason::Unpublished), ..written };
        let Some((first, _)) = packets.first() else { return written };
        let line = self.seats.get_mut(seat.index()).and_then(|s| s.half_mut(first.kind).as_mut());
        let Some(Line { mid, ssrc, rtx, live, types, red, recent, waiting }) = line else {
            return unknown;
        };
        let video = first.kind == Kind::Video;
        let mut api = rtc.direct_api();
        if !*live {
            // Nothing is declared for packets that cannot be sent.
            if types.of(first.codec).is_none() {
                return Written { dropped: Some(DropReason::Codec), ..written };
            }
            // No time may pass between declaring and the first packet: a sender report with a
            // clock of zero would spoil Chromium's mapping for twenty seconds.
            let stream = api.declare_stream_tx(*ssrc, *rtx, *mid, None);
            if video {
                stream.set_rtx_cache(RTX_PACKETS, RTX_AGE, Some(RTX_RATIO));
            }
            *live = true;
        }
        let Some(stream) = api.stream_tx(ssrc) else { return unknown };
        for (packet, numbers) in packets {
            let Some(pt) = types.of(packet.codec) else {
                written.dropped = Some(DropReason::Codec);
                continue;
            };
            let wrapped = red.filter(|_| packet.codec == Codec::Opus).and_then(|red| {
                let numbers = (numbers.seq, numbers.timestamp);
                let payload = recent.wrap(numbers, &packet.payload, (redundancy.level(), *pt))?;
                Some((red, payload))
            });
            let (pt, payload) = wrapped.unwrap_or_else(|| (pt, packet.payload.clone()));
            let bytes = payload.len() as u64;
            match outgoing(packet, *numbers, (pt, payload), video) {
                Ok(write) => {
                    if waiting.is_empty() && written.packets < HANDED as u64 {
                        stream.write_rtp(write);
                    } else {
                        waiting.push_back(write);
                        self.waiting = true;
                    }
                    written.packets += 1;
                    written.bytes += bytes;
                    written.keyframe |= packet.keyframe;
                }
                Err(reason) => written.dropped = Some(reason),
            }
        }
        written
    }

    /// Hands on what waits, where the engine has sent most of what it was handed before. Whether
    /// there was such.
    pub(super) fn hand_on(&mut self, rtc: &mut Rtc) -> bool {
        if !std::mem::take(&mut self.waiting) {
            return false;
        }
        let mut handed = false;
        let mut api = rtc.direct_api();
        let lines = self.seats.iter_mut().flat_map(|s| [&mut s.audio, &mut s.video]).flatten();
        for line in lines.filter(|line| !line.waiting.is_empty()) {
            let Some(stream) = api.stream_tx(&line.ssrc) else {
                line.waiting = VecDeque::new();
                continue;
            };
            let queued = stream.queue_info().map_or(0, |info| info.packet_count());
            if queued <= HANDED / 2 {
                let next = line.waiting.len().min(HANDED);
                line.waiting.drain(..next).for_each(|write| stream.write_rtp(write));
                handed = true;
            }
            if line.waiting.is_empty() {
                line.waiting = VecDeque::new();
            }
            self.waiting |= !line.waiting.is_empty();
        }
        handed
    }
}

/// A packet in the engine's shape.
fn outgoing(
    packet: &Packet,
    numbers: Numbers,
    (pt, payload): (Pt, Arc<[u8]>),
    nackable: bool,
) -> Result<RtpWrite, DropReason> {
    let payload = match (&packet.pictures, numbers.pictures) {
        (Pictures::Vp9(vp9), Some(PictureNumbers { picture_id, tl0 })) => vp9
            .patch(&packet.payload, picture_id.unwrap_or(0), tl0.unwrap_or(0))
            .ok_or(DropReason::RtpMalformed)?,
        _ => payload,
    };
    let mut write =
        RtpWrite::new(pt, numbers.seq.into(), numbers.timestamp, packet.wallclock, payload)
            .marker(numbers.marker)
            .nackable(nackable);
    let described = packet.descriptor.as_ref().zip(numbers.frame);
    if (packet.level, packet.voice, packet.orientation) != (None, None, None) || described.is_some()
    {
        let mut values = extensions(packet);
        if let Some((bytes, frame)) = described {
            descriptor::put(&mut values, bytes, frame);
        }
        write = write.ext_vals(values);
    }
    if let (Pictures::Vp8(_), Some(ids)) = (&packet.pictures, numbers.pictures) {
        let descriptor =
            Vp8Descriptor::parse(&packet.payload).map_err(|_| DropReason::RtpMalformed)?;
        let mut patch = descriptor.patch();
        if let Some(id) = ids.picture_id {
            patch = patch.picture_id(id);
        }
        if let Some(index) = ids.tl0 {
            patch = patch.tl0_pic_idx(index);
        }
        write = write.vp8_patch(patch.build().map_err(|_| DropReason::RtpMalformed)?);
    }
    Ok(write)
}

impl Line {
    /// The stream that the engine declared for a line on which it sends.
    fn read(rtc: &mut Rtc, mid: Mid) -> Option<Self> {
        let mut api = rtc.direct_api();
        let stream = api.stream_tx_by_mid(mid, None)?;
        let (ssrc, rtx) = (stream.ssrc(), stream.rtx());
        let (types, recent, waiting) = (Types::default(), Recent::default(), VecDeque::new());
        Some(Self { mid, ssrc, rtx, live: false, types, red: None, recent, waiting })
    }
}

/// Which payload type carries a codec on a line, as the client numbered it.
fn payload_types(rtc: &Rtc, mid: Mid) -> Types {
    let mut types = Types::default();
    let Some(media) = rtc.media(mid) else { return types };
    let usable = |params: &&PayloadParams| media.remote_pts().contains(&params.pt());
    for params in rtc.codec_config().params().iter().filter(usable) {
        types.learn(codec_of(&params.spec()), params.pt());
    }
    types
}

/// The payload type under which a line takes Opus with earlier frames beside its own.
fn redundant_type(rtc: &Rtc, mid: Mid) -> Option<Pt> {
    let media = rtc.media(mid)?;
    let mut params = rtc.codec_config().params().iter();
    let opus = params.find(|params| codec_of(&params.spec()) == Codec::Opus)?;
    opus.red().filter(|_| media.remote_pts().contains(&opus.pt()))
}

/// What is passed on of a packet's header extensions; what belongs to the hop is left out.
fn extensions(packet: &Packet) -> ExtensionValues {
    ExtensionValues {
        audio_level: packet.level,
        voice_activity: packet.voice,
        video_orientation: packet.orientation.map(VideoOrientation::from),
        ..ExtensionValues::default()
    }
}
