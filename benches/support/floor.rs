//! What the engine costs by itself: the same packets to the same viewers, with nothing around it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::config::DtlsCert;
use str0m::format::PayloadParams;
use str0m::media::{MediaKind, Mid, Pt};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{Extension, ExtensionMap, RtpPacket, RtpWrite, Ssrc};
use str0m::{Candidate, Event, Input, Output, Rtc, bwe::Bitrate};

use super::peer::{Peer, Wishes};
use super::{PAYLOAD, SERVER, address};

/// Where the estimate of a viewer's bandwidth begins.
const START: Bitrate = Bitrate::mbps(2);

/// One engine of the server's side, with nothing around it.
pub(super) struct Side {
    pub(super) rtc: Rtc,
    pub(super) deadline: Instant,
    pub(super) out: Vec<(SocketAddr, Vec<u8>)>,
    pub(super) packets: Vec<RtpPacket>,
    /// Packets that were written and have not come out, if it paces.
    queued: usize,
    bwe: bool,
}

/// A stream to a client.
#[derive(Clone, Copy)]
pub(super) struct Line {
    ssrc: Ssrc,
    pt: Pt,
}

struct Viewer {
    side: Side,
    line: Line,
}

/// One publisher's engine, and one for each viewer, on the server's side.
pub struct Floor {
    peers: Vec<Peer>,
    publisher: Side,
    viewers: Vec<Viewer>,
    now: Instant,
}

impl Side {
    fn new(certificate: &DtlsCert, bwe: Option<Bitrate>, now: Instant) -> Self {
        // As `session/negotiate.rs` has it.
        let mut extensions = ExtensionMap::empty();
        extensions.set(1, Extension::AudioLevel);
        extensions.set(3, Extension::TransportSequenceNumber);
        extensions.set(4, Extension::RtpMid);
        extensions.set(5, Extension::PlayoutDelay);
        extensions.set(10, Extension::RtpStreamId);
        extensions.set(11, Extension::RepairedRtpStreamId);
        extensions.set(13, Extension::VideoOrientation);
        let mut config = Rtc::builder()
            .set_crypto_provider(Arc::new(str0m::crypto::from_feature_flags()))
            .set_rtp_mode(true)
            .set_dtls_cert(certificate.clone())
            .clear_codecs()
            .enable_opus(true, false)
            .enable_vp8(true)
            .enable_vp9(true)
            .enable_av1(true)
            .set_extension_map(extensions)
            .set_rtcp_report_interval_audio(Duration::from_secs(1))
            .set_send_buffer_video(384);
        config.codec_config().add_h264(108.into(), Some(109.into()), true, 0x42_e0_1f);
        if bwe.is_some() {
            config = config.enable_bwe(bwe);
        }
        let mut rtc = config.build(now);
        rtc.add_local_candidate(Candidate::host(SERVER, "udp").unwrap());
        Self {
            rtc,
            deadline: now,
            out: Vec::new(),
            packets: Vec::new(),
            queued: 0,
            bwe: bwe.is_some(),
        }
    }

    /// The n-th client, and the engine that answered its offer.
    pub(super) fn answer(
        certificate: &DtlsCert,
        bwe: Option<Bitrate>,
        n: usize,
        wishes: Wishes,
        now: Instant,
    ) -> (Peer, Self) {
        let mut peer = Peer::new(address(n), now);
        peer.payload = PAYLOAD;
        let (_, sdp, _) = peer.offer(wishes);
        let mut side = Self::new(certificate, bwe, now);
        let offer = str0m::change::SdpOffer::from_sdp_string(&sdp).unwrap();
        let answer = side.rtc.sdp_api().accept_offer(offer).unwrap();
        peer.accept(&answer.to_sdp_string());
        (peer, side)
    }

    /// The stream of an m-line on which the client receives.
    pub(super) fn line(&mut self, mid: Mid) -> Line {
        let ssrc = self.rtc.direct_api().stream_tx_by_mid(mid, None).unwrap().ssrc();
        let usable = self.rtc.media(mid).unwrap().remote_pts();
        let mut known = self.rtc.codec_config().params().iter().map(PayloadParams::pt);
        let pt = known.find(|pt| usable.contains(pt)).unwrap();
        Line { ssrc, pt }
    }

    /// Makes an m-line like a seat that nobody has used yet.
    pub(super) fn leave_unused(&mut self, mid: Mid) {
        let Line { ssrc, .. } = self.line(mid);
        self.rtc.direct_api().remove_stream_tx(ssrc);
    }

    /// Queues packets on a stream; they leave with the next wake.
    pub(super) fn write<'a>(
        &mut self,
        line: Line,
        nackable: bool,
        packets: impl Iterator<Item = &'a RtpPacket>,
    ) {
        let mut api = self.rtc.direct_api();
        let stream = api.stream_tx(&line.ssrc).unwrap();
        for packet in packets {
            let write = RtpWrite::new(
                line.pt,
                packet.seq_no,
                packet.header.timestamp,
                packet.timestamp,
                packet.payload.clone(),
            );
            stream.write_rtp(write.marker(packet.header.marker).nackable(nackable));
            self.queued += usize::from(self.bwe);
        }
    }

    pub(super) fn receive(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8], now: Instant) {
        let receive = Receive::new(Protocol::Udp, from, to, bytes).unwrap();
        let _ = self.rtc.handle_input(Input::Receive(now, receive));
        self.drain(now);
    }

    pub(super) fn wake(&mut self, now: Instant) {
        let _ = self.rtc.handle_input(Input::Timeout(now));
        self.drain(now);
    }

    fn drain(&mut self, now: Instant) {
        loop {
            let before = self.out.len();
            let at = loop {
                match self.rtc.poll_output().unwrap() {
                    Output::Timeout(at) => break at,
                    Output::Transmit(t) => self.out.push((t.destination, t.contents.into())),
                    Output::Event(Event::RtpPacket(packet)) => self.packets.push(packet),
                    Output::Event(_) => {}
                }
            };
            self.deadline = at;
            let sent = self.out.len() - before;
            self.queued = self.queued.saturating_sub(sent);
            let soon = at <= now + Duration::from_micros(100);
            if !(soon && (at <= now || (self.queued > 0 && sent > 0))) {
                return;
            }
            let _ = self.rtc.handle_input(Input::Timeout(now));
        }
    }
}

/// One client that watches joins; how long the server's engine took for it: its making, the answer to
/// the offer, and all until the media path stands.
pub fn join(certificate: &DtlsCert, pairs: usize) -> Duration {
    let mut now = super::clock();
    let mut peer = Peer::new(address(0), now);
    let (_, sdp, _) = peer.offer(Wishes { audio: false, video: false, seats: pairs, data: false });
    let began = super::clock();
    let mut side = Side::new(certificate, Some(START), now);
    let offer = str0m::change::SdpOffer::from_sdp_string(&sdp).unwrap();
    let answer = side.rtc.sdp_api().accept_offer(offer).unwrap().to_sdp_string();
    let mut took = began.elapsed();
    peer.accept(&answer);
    while !(peer.connected && side.rtc.is_connected()) {
        now += Duration::from_millis(5);
        peer.handle_time(now);
        let began = super::clock();
        for (_, bytes) in peer.out.drain(..) {
            side.receive(peer.address, SERVER, &bytes, now);
        }
        if side.deadline <= now {
            side.wake(now);
        }
        took += began.elapsed();
        for (_, bytes) in side.out.drain(..) {
            peer.handle_datagram(SERVER, &bytes, now);
        }
    }
    took
}

impl Floor {
    /// Everybody connected and the streams running.
    #[expect(clippy::disallowed_methods, reason = "a virtual clock begins somewhere")]
    pub fn new(viewers: usize, bwe: bool) -> Self {
        let provider = str0m::crypto::from_feature_flags();
        let certificate = provider.dtls_provider.generate_certificate().unwrap();
        let now = Instant::now();
        let wishes = |seats| Wishes { audio: seats == 0, video: seats == 0, seats, data: false };
        let bwe = bwe.then_some(START);
        let open = |n, wishes| Side::answer(&certificate, bwe, n, wishes, now);
        let (peer, publisher) = open(0, wishes(0));
        let mut floor = Self { peers: vec![peer], publisher, viewers: Vec::new(), now };
        for n in 1..=viewers {
            let (peer, mut side) = open(n, wishes(1));
            let mut video = None;
            for (mid, kind) in peer.mids.clone() {
                match kind {
                    MediaKind::Audio => side.leave_unused(mid),
                    MediaKind::Video => video = Some(side.line(mid)),
                }
            }
            let line = video.unwrap();
            floor.peers.push(peer);
            floor.viewers.push(Viewer { side, line });
        }
        for _ in 0..400 {
            floor.settle(Duration::from_millis(5));
        }
        assert!(floor.peers.iter().all(|peer| peer.connected));
        floor
    }

    /// One frame of `packets` packets to everybody, each packet by itself or all with one wake;
    /// how long the server's engines took, and how many datagrams came out.
    pub fn frame(&mut self, packets: usize, together: bool) -> (Duration, usize) {
        self.peers[0].send(1, 1, packets, self.now);
        let frame: Vec<_> = std::mem::take(&mut self.peers[0].out).into_iter().collect();
        let before: usize = self.viewers.iter().map(|viewer| viewer.side.out.len()).sum();
        let began = super::clock();
        for (_, bytes) in &frame {
            self.publisher.receive(address(0), SERVER, bytes, self.now);
            if !together {
                self.forward();
            }
        }
        self.forward();
        let took = began.elapsed();
        let after: usize = self.viewers.iter().map(|viewer| viewer.side.out.len()).sum();
        (took, after - before)
    }

    fn forward(&mut self) {
        let packets = std::mem::take(&mut self.publisher.packets);
        if packets.is_empty() {
            return;
        }
        for Viewer { side, line } in &mut self.viewers {
            side.write(*line, true, packets.iter().filter(|packet| packet.payload.len() > 200));
            side.wake(self.now);
        }
    }

    /// Everybody gets what was sent and answers, and time passes.
    pub fn settle(&mut self, time: Duration) {
        self.now += time;
        let now = self.now;
        let sides = std::iter::once(&mut self.publisher);
        let sides = sides.chain(self.viewers.iter_mut().map(|viewer| &mut viewer.side));
        for (side, peer) in sides.zip(&mut self.peers) {
            if side.deadline <= now {
                side.wake(now);
            }
            for (_, bytes) in std::mem::take(&mut side.out) {
                peer.handle_datagram(SERVER, &bytes, now);
            }
            peer.handle_time(now);
            peer.received.clear();
            for (_, bytes) in std::mem::take(&mut peer.out) {
                side.receive(peer.address, SERVER, &bytes, now);
            }
        }
    }
}
