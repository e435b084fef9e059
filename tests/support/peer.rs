//! A client: its own engine, the offers that a browser would make, and what it received.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fanlight::model::Source;
use fanlight::wire::data::{self, Frame};
use fanlight::wire::red::{self, Earlier, Red};
use fanlight::worker::command::NewTrack;
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::channel::{ChannelConfig, ChannelId, Reliability};
use str0m::format::Codec;
use str0m::media::{
    Direction, KeyframeRequestKind, MediaKind, Mid, Pt, Rid, Simulcast, SimulcastLayer,
};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{ExtensionValues, RtpPacket, RtpWrite, SeqNo};
use str0m::{Candidate, Event, Input, Output, Rtc};

use super::camera::{Decoding, FrameMark, LAYERS};

/// A stream that the client publishes.
#[derive(Debug)]
pub struct Outgoing {
    pub mid: Mid,
    pub rid: Option<Rid>,
    pub kind: MediaKind,
    pub seq: u64,
    pub timestamp: u32,
    pub picture: u16,
    pub keyframe_wanted: bool,
    /// Somebody wants it, as far as the client was told.
    pub active: bool,
    /// Frames so far, and what the layered camera needs to remember of them.
    pub frame: u32,
    pub base: u32,
    pub middle: u32,
    pub tl0: u8,
}

/// A packet that the client received.
#[derive(Debug)]
pub struct Received {
    pub mid: String,
    pub ssrc: u32,
    pub seq: u64,
    pub timestamp: u32,
    pub marker: bool,
    pub payload: Vec<u8>,
    pub at: Instant,
    /// It was lost, and came in a later packet.
    pub again: bool,
}

/// The client.
pub struct Peer {
    pub rtc: Rtc,
    pub address: SocketAddr,
    pub out: VecDeque<(SocketAddr, Vec<u8>)>,
    pub received: Vec<Received>,
    pub messages: Vec<(String, Vec<u8>)>,
    pub streams: Vec<Outgoing>,
    pub channels: Vec<(ChannelId, String)>,
    pub keyframe_requests: Vec<Instant>,
    pub connected: bool,
    pub closed: bool,
    pub deadline: Option<Instant>,
    pub mids: Vec<(Mid, MediaKind)>,
    /// Bytes of a video packet's payload.
    pub payload: usize,
    /// It sends each frame of sound twice (RFC 2198), as Chromium does.
    pub repeats: bool,
    before: Option<(u32, Vec<u8>)>,
    /// Frames of sound that it has, by SSRC and sequence number.
    sound: BTreeSet<(u32, u64)>,
    /// How loud it is, in dBov.
    pub level: i8,
    /// It offers its camera with three layers.
    pub simulcast: bool,
    /// It looks at what it receives as a browser does, and asks for keyframes.
    pub decodes: bool,
    /// How long it shows no picture before it asks for a keyframe.
    pub patience: Duration,
    decoding: BTreeMap<u32, Decoding>,
    /// How tall its picture is said to be.
    pub height: Option<u16>,
    pending: Option<SdpPendingOffer>,
    nid: u64,
}

/// What a client offers first.
#[derive(Clone, Copy, Debug)]
pub struct Wishes {
    pub audio: bool,
    pub video: bool,
    pub seats: usize,
    pub data: bool,
}

impl Peer {
    pub fn new(address: SocketAddr, now: Instant) -> Self {
        str0m::crypto::from_feature_flags().install_process_default();
        let mut rtc = Rtc::builder()
            .set_rtp_mode(true)
            .clear_codecs()
            .enable_opus(true, true)
            .enable_vp8(true)
            .build(now);
        rtc.add_local_candidate(Candidate::host(address, "udp").unwrap());
        Self {
            rtc,
            address,
            out: VecDeque::new(),
            received: Vec::new(),
            messages: Vec::new(),
            streams: Vec::new(),
            channels: Vec::new(),
            keyframe_requests: Vec::new(),
            connected: false,
            closed: false,
            deadline: Some(now),
            mids: Vec::new(),
            payload: 600,
            repeats: false,
            before: None,
            sound: BTreeSet::new(),
            level: -20,
            simulcast: false,
            decodes: false,
            patience: Decoding::FOR_FRAME,
            decoding: BTreeMap::new(),
            height: None,
            pending: None,
            nid: 0,
        }
    }

    /// The first offer, and what it publishes.
    pub fn offer(&mut self, wishes: Wishes) -> (u64, String, Vec<NewTrack>) {
        let mut api = self.rtc.sdp_api();
        let mut tracks = Vec::new();
        let mut sending = Vec::new();
        if wishes.audio {
            let mid = api.add_media(MediaKind::Audio, Direction::SendOnly, None, None, None);
            sending.push((mid, MediaKind::Audio));
            tracks.push(new_track(mid, "mic", Source::Microphone));
        }
        if wishes.video {
            let layers = || LAYERS.iter().map(|(rid, _)| SimulcastLayer::new(rid)).collect();
            let simulcast = self.simulcast.then(|| Simulcast { send: layers(), recv: Vec::new() });
            let mid = api.add_media(MediaKind::Video, Direction::SendOnly, None, None, simulcast);
            sending.push((mid, MediaKind::Video));
            let height = self.height;
            tracks.push(NewTrack { height, ..new_track(mid, "cam", Source::Camera) });
        }
        if wishes.data {
            for (label, reliability, ordered) in [
                ("fanlight.reliable", Reliability::Reliable, true),
                ("fanlight.lossy", Reliability::MaxRetransmits { retransmits: 0 }, false),
            ] {
                api.add_channel_with_config(ChannelConfig {
                    label: label.to_owned(),
                    ordered,
                    reliability,
                    ..Default::default()
                });
            }
        }
        for _ in 0..wishes.seats {
            for kind in [MediaKind::Audio, MediaKind::Video] {
                let mid = api.add_media(kind, Direction::RecvOnly, None, None, None);
                self.mids.push((mid, kind));
            }
        }
        let (offer, pending) = api.apply().unwrap();
        self.pending = Some(pending);
        for (mid, kind) in sending {
            let rids: Vec<_> = match (kind, self.simulcast) {
                (MediaKind::Video, true) => {
                    LAYERS.iter().map(|(rid, _)| Some(Rid::from(*rid))).collect()
                }
                _ => vec![None],
            };
            for (rid, n) in rids.into_iter().zip(0u32..) {
                self.streams.push(Outgoing {
                    mid,
                    rid,
                    kind,
                    seq: 70_000 % 65_000 + u64::from(n) * 5_000,
                    timestamp: 1_000 + n * 777_777,
                    picture: 0,
                    keyframe_wanted: true,
                    active: true,
                    frame: 0,
                    base: 0,
                    middle: 0,
                    tl0: 0,
                });
            }
        }
        self.nid += 1;
        (self.nid, offer.to_sdp_string(), tracks)
    }

    /// Another offer with so many more seats.
    pub fn offer_seats(&mut self, more: usize) -> (u64, String) {
        let mut api = self.rtc.sdp_api();
        for _ in 0..more {
            for kind in [MediaKind::Audio, MediaKind::Video] {
                let mid = api.add_media(kind, Direction::RecvOnly, None, None, None);
                self.mids.push((mid, kind));
            }
        }
        let (offer, pending) = api.apply().unwrap();
        self.pending = Some(pending);
        self.nid += 1;
        (self.nid, offer.to_sdp_string())
    }

    pub fn accept(&mut self, answer: &str) {
        let answer = SdpAnswer::from_sdp_string(answer).unwrap();
        let pending = self.pending.take().unwrap();
        self.rtc.sdp_api().accept_answer(pending, answer).unwrap();
        // The engine gives up resends above 15 % of what is sent; browsers do not.
        let mut api = self.rtc.direct_api();
        for (mid, rid) in self.streams.iter().filter(|_| self.nid == 1).map(|s| (s.mid, s.rid)) {
            if let Some(stream) = api.stream_tx_by_mid(mid, rid) {
                stream.set_rtx_cache(1_024, Duration::from_secs(3), None);
            }
        }
    }

    pub fn handle_time(&mut self, now: Instant) {
        let _ = self.rtc.handle_input(Input::Timeout(now));
        self.drain(now);
    }

    pub fn handle_datagram(&mut self, from: SocketAddr, bytes: &[u8], now: Instant) {
        if let Ok(receive) = Receive::new(Protocol::Udp, from, self.address, bytes) {
            let _ = self.rtc.handle_input(Input::Receive(now, receive));
        }
        self.drain(now);
    }

    fn drain(&mut self, now: Instant) {
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    self.deadline = Some(at);
                    return;
                }
                Ok(Output::Transmit(transmit)) => {
                    self.out.push_back((transmit.destination, transmit.contents.into()));
                }
                Ok(Output::Event(event)) => self.take(event, now),
                Err(_) => {
                    self.closed = true;
                    return;
                }
            }
        }
    }

    fn take(&mut self, event: Event, now: Instant) {
        match event {
            Event::Connected => self.connected = true,
            Event::RtpPacket(packet) => self.receive(&packet, now),
            Event::KeyframeRequest(request) => {
                self.keyframe_requests.push(now);
                let meant = |s: &&mut Outgoing| {
                    s.mid == request.mid && (request.rid.is_none() || s.rid == request.rid)
                };
                self.streams.iter_mut().filter(meant).for_each(|s| s.keyframe_wanted = true);
            }
            Event::ChannelOpen(id, label) => self.channels.push((id, label)),
            Event::ChannelData(data) => {
                let label = self.channels.iter().find(|(id, _)| *id == data.id);
                let label = label.map(|(_, label)| label.clone()).unwrap_or_default();
                self.messages.push((label, data.data));
            }
            Event::Closed => self.closed = true,
            _ => {}
        }
    }

    fn receive(&mut self, packet: &RtpPacket, now: Instant) {
        let mid = self.rtc.direct_api().stream_rx(&packet.header.ssrc).map(|s| s.mid());
        let (_, red) = self.sound_types();
        let video = packet.payload.len() > 100 && packet.header.payload_type != red;
        let mark = FrameMark::read(&packet.payload).filter(|_| video);
        if let (true, Some(mark), Some(mid)) = (self.decodes, mark, mid) {
            let decoding = self.decoding.entry(*packet.header.ssrc).or_default();
            if decoding.take(mark, self.patience, now) {
                self.ask_keyframe(&mid.to_string());
            }
        }
        let received = |back: (u64, u32), payload: &[u8]| Received {
            mid: mid.map(|mid| mid.to_string()).unwrap_or_default(),
            ssrc: *packet.header.ssrc,
            seq: *packet.seq_no - back.0,
            timestamp: packet.header.timestamp.wrapping_sub(back.1),
            marker: packet.header.marker,
            payload: payload.to_vec(),
            at: now,
            again: back.0 > 0,
        };
        let (opus, red) = self.sound_types();
        let frames = match packet.header.payload_type {
            pt if pt == red => {
                let red = Red::parse(&packet.payload).unwrap();
                let mut frames: Vec<Received> =
                    red.earlier().zip(1..).map(|(e, n)| received((n, e.back), e.payload)).collect();
                frames.reverse();
                frames.push(received((0, 0), red.own));
                frames
            }
            pt if pt == opus => vec![received((0, 0), &packet.payload)],
            _ => return self.received.push(received((0, 0), &packet.payload)),
        };
        let new = frames.into_iter().filter(|frame| self.sound.insert((frame.ssrc, frame.seq)));
        self.received.extend(new);
    }

    /// The payload types of Opus alone and with earlier frames.
    fn sound_types(&self) -> (Pt, Pt) {
        let opus = self.rtc.codec_config().find(|p| p.spec().codec == Codec::Opus).unwrap();
        (opus.pt(), opus.red().unwrap_or_else(|| opus.pt()))
    }

    /// Puts the frame before in front of one, and keeps it for the next.
    fn repeat(&mut self, timestamp: u32, payload: Vec<u8>) -> Vec<u8> {
        let before = self.before.replace((timestamp, payload.clone()));
        let (pt, _) = self.sound_types();
        let earlier = before.iter().map(|(at, payload)| {
            let back = timestamp.wrapping_sub(*at);
            Earlier { back, payload }
        });
        red::write(*pt, &earlier.collect::<Vec<_>>(), &payload)
    }

    /// Sends 20 ms of sound (a packet whose payload is `mark` around its timestamp) or one frame of `packets`
    /// packets on the n-th stream.
    pub fn send(&mut self, n: usize, mark: u8, packets: usize, now: Instant) {
        let codec = match self.streams[n].kind {
            MediaKind::Audio => Codec::Opus,
            MediaKind::Video => Codec::Vp8,
        };
        let mut pt = self.rtc.codec_config().find(|p| p.spec().codec == codec).unwrap().pt();
        let size = self.payload;
        let stream = &mut self.streams[n];
        let keyframe = std::mem::take(&mut stream.keyframe_wanted);
        let mut payloads = Vec::new();
        if stream.kind == MediaKind::Audio {
            stream.timestamp = stream.timestamp.wrapping_add(960);
            let mut payload = vec![mark; 40];
            payload[4..8].copy_from_slice(&stream.timestamp.to_be_bytes());
            payloads.push(payload);
        } else {
            stream.timestamp = stream.timestamp.wrapping_add(3_000);
            stream.picture = (stream.picture + 1) & 0x7fff;
            for part in 0..packets {
                let [high, low] = (stream.picture | 0x8000).to_be_bytes();
                let start = if part == 0 { 0x90 } else { 0x80 };
                let mut payload = vec![start, 0x80, high, low, u8::from(!keyframe)];
                payload.resize(size, mark);
                payloads.push(payload);
            }
        }
        let last = payloads.len() - 1;
        if self.repeats && stream.kind == MediaKind::Audio {
            let timestamp = stream.timestamp;
            pt = self.sound_types().1;
            payloads = payloads.into_iter().map(|plain| self.repeat(timestamp, plain)).collect();
        }
        let stream = &mut self.streams[n];
        let (mid, rid, timestamp, kind) = (stream.mid, stream.rid, stream.timestamp, stream.kind);
        let first = stream.seq;
        stream.seq += payloads.len() as u64;
        let mut api = self.rtc.direct_api();
        let Some(tx) = api.stream_tx_by_mid(mid, rid) else { return };
        for (seq, (part, payload)) in (first..).zip(payloads.into_iter().enumerate()) {
            let level = (kind == MediaKind::Audio).then_some(self.level);
            let ext = ExtensionValues {
                audio_level: level,
                voice_activity: level.map(|_| true),
                ..Default::default()
            };
            tx.write_rtp(
                RtpWrite::new(pt, SeqNo::from(seq), timestamp, now, payload)
                    .marker(part == last)
                    .ext_vals(ext)
                    .nackable(kind == MediaKind::Video),
            );
        }
        self.handle_time(now);
    }

    /// Sends a message on one of the two channels.
    pub fn message(&mut self, label: &str, id: u32, to: &[&str], payload: &[u8]) -> bool {
        let frame = data::write_client_message(id, "test", to, payload);
        self.raw_message(label, &frame)
    }

    pub fn raw_message(&mut self, label: &str, frame: &[u8]) -> bool {
        let Some((id, _)) = self.channels.iter().find(|(_, known)| known == label).cloned() else {
            return false;
        };
        self.rtc.channel(id).is_some_and(|mut channel| channel.write(true, frame).unwrap_or(false))
    }

    /// Frames that came with this payload.
    pub fn count_messages(&self, payload: &[u8]) -> usize {
        let is = |(_, bytes): &&(String, Vec<u8>)| {
            Frame::parse(bytes)
                .is_ok_and(|frame| frame.kind == data::Kind::Message && frame.payload == payload)
        };
        self.messages.iter().filter(is).count()
    }

    pub fn ask_keyframe(&mut self, mid: &str) {
        let mid = Mid::from(mid);
        if let Some(stream) = self.rtc.direct_api().stream_rx_by_mid(mid, None) {
            stream.request_keyframe(KeyframeRequestKind::Pli);
        }
    }

    pub fn close(&mut self, now: Instant) {
        let _ = self.rtc.close();
        self.handle_time(now);
    }
}

fn new_track(mid: Mid, cid: &str, source: Source) -> NewTrack {
    NewTrack {
        mid: mid.to_string(),
        cid: cid.to_owned(),
        source,
        name: None,
        muted: false,
        width: None,
        height: None,
    }
}
