//! One person: its peer connections, what it sends, and what came of the others at it.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::config::DtlsCert;
use str0m::media::{Direction, KeyframeRequest, MediaKind, Mid, Simulcast, SimulcastLayer};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc};
use tokio::sync::mpsc;

use super::clock::Clock;
use super::door::{Ask, OfferedTrack};
use super::hearing::{Ears, Hearing};
use super::options::Options;
use super::plan::Person;
use super::publisher::{Publisher, Sent, media_kind, rids};
use super::udp::{Buffers, Udp};
use crate::model::{Kind, Source};
use crate::wire::classify::{Class, classify};
use crate::wire::vp8;

/// Packets that are kept for resends; one second of a publisher at the highest usual rate.
const RESEND: usize = 512;

/// One peer connection with its socket.
#[derive(Debug)]
pub(super) struct Leg {
    rtc: Rtc,
    pub udp: Udp,
    pub deadline: Instant,
    /// The earliest time under which the thread's queue knows it.
    pub queued: Option<Instant>,
    /// The thread's poller knows it.
    pub registered: bool,
    connected: bool,
    dead: bool,
    /// Length of the first RTP datagram of the latest drain.
    rtp_length: usize,
}

/// Moments of one person's joining.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moments {
    pub began: Option<Instant>,
    pub connected: Option<Instant>,
    pub packet: Option<Instant>,
    pub keyframe: Option<Instant>,
}

/// One person.
#[derive(Debug)]
pub(super) struct Client {
    pub person: Person,
    pub legs: Vec<Option<Leg>>,
    pub asks: mpsc::Sender<Ask>,
    pub publisher: Option<Publisher>,
    pub hearing: Hearing,
    pub moments: Moments,
    /// The thread has counted it as joined.
    pub counted: bool,
    /// It was told to leave.
    pub left: bool,
    pending: Option<SdpPendingOffer>,
    tracks: Vec<OfferedTrack>,
    mids: (Option<Mid>, Option<Mid>),
    pairs: usize,
    wanted: usize,
    keyframes: Vec<KeyframeRequest>,
}

/// What clients of one thread share.
#[derive(Clone, Debug)]
pub(super) struct Common {
    pub options: Options,
    pub clock: Clock,
    pub certificate: DtlsCert,
    pub server: SocketAddr,
    pub run: u32,
    pub first_seats: usize,
}

impl Leg {
    fn open(common: &Common, now: Instant) -> Result<Self, String> {
        let udp = Udp::open(common.server).map_err(|e| format!("no UDP socket: {e}"))?;
        let mut rtc = Rtc::builder()
            .set_rtp_mode(true)
            .set_dtls_cert(common.certificate.clone())
            .set_stats_interval(None)
            .set_send_buffer_video(RESEND)
            .clear_codecs()
            .enable_opus(true, false)
            .enable_vp8(true)
            .build(now);
        let candidate = Candidate::host(udp.local, "udp").map_err(|e| e.to_string())?;
        rtc.add_local_candidate(candidate);
        Ok(Self {
            rtc,
            udp,
            deadline: now,
            queued: None,
            registered: false,
            connected: false,
            dead: false,
            rtp_length: 0,
        })
    }

    /// Drops the streams on which nothing is sent: the engine has one for every section, and reports on
    /// each of them once a second, which no browser does.
    fn hush(&mut self, sdp: &str) {
        for mid in sdp.lines().filter_map(|line| line.strip_prefix("a=mid:")).map(Mid::from) {
            if self.rtc.media(mid).is_none_or(|media| media.direction().is_sending()) {
                continue;
            }
            let mut api = self.rtc.direct_api();
            if let Some(ssrc) = api.stream_tx_by_mid(mid, None).map(|stream| stream.ssrc()) {
                api.remove_stream_tx(ssrc);
            }
        }
    }

    /// Takes everything out of the engine; the contract before anything is waited for.
    fn drain(&mut self, mut show: impl FnMut(Event)) {
        self.rtp_length = 0;
        while self.take_packet(&mut show) {}
    }

    /// Takes out of the engine what comes before its next packet, and that. Whether there was one,
    /// and thus more may be there; else the engine is drained.
    fn take_packet(&mut self, show: &mut impl FnMut(Event)) -> bool {
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    self.deadline = at;
                    return false;
                }
                Ok(Output::Transmit(transmit)) => {
                    if self.rtp_length == 0 && classify(&transmit.contents) == Some(Class::Rtp) {
                        self.rtp_length = transmit.contents.len();
                    }
                    self.udp.push(transmit.destination, &transmit.contents);
                }
                Ok(Output::Event(Event::Connected)) => self.connected = true,
                Ok(Output::Event(event)) => {
                    let packet = matches!(event, Event::RtpPacket(_));
                    show(event);
                    if packet {
                        return true;
                    }
                }
                Err(_) => {
                    self.dead = true;
                    return false;
                }
            }
        }
    }
}

impl Client {
    /// A person who makes its first offer, if the server wants one.
    ///
    /// # Errors
    /// There is no socket, or the engine refuses.
    pub fn open(
        person: Person,
        common: &Common,
        asks: mpsc::Sender<Ask>,
        now: Instant,
    ) -> Result<Self, String> {
        let hearing = Hearing::new(&person, common.run);
        let mut client = Self {
            person,
            legs: Vec::new(),
            asks,
            publisher: None,
            hearing,
            moments: Moments::default(),
            counted: false,
            left: false,
            pending: None,
            tracks: Vec::new(),
            mids: (None, None),
            pairs: 0,
            wanted: 0,
            keyframes: Vec::new(),
        };
        if client.person.watches {
            client.wanted = common.first_seats;
        }
        if client.person.publishes || client.wanted > 0 {
            client.legs.push(Some(Leg::open(common, now)?));
            client.offer(Some(&common.options))?;
        }
        Ok(client)
    }

    /// Offers what is wanted; `first` holds the options that say what is published.
    fn offer(&mut self, first: Option<&Options>) -> Result<(), String> {
        let Some(Some(leg)) = self.legs.first_mut() else { return Ok(()) };
        let mut api = leg.rtc.sdp_api();
        if let Some(options) = first.filter(|_| self.person.publishes) {
            let mut add = |kind: Kind, source: Source, simulcast: Option<Simulcast>| {
                let kind = media_kind(kind);
                let mid = api.add_media(kind, Direction::SendOnly, None, None, simulcast);
                self.tracks.push(OfferedTrack { mid: mid.to_string(), source });
                mid
            };
            if options.audio_pps > 0 {
                self.mids.0 = Some(add(Kind::Audio, Source::Microphone, None));
            }
            if options.video_pps > 0 {
                let layers = options.simulcast.then(|| Simulcast {
                    send: rids().map(SimulcastLayer::new).collect(),
                    recv: Vec::new(),
                });
                self.mids.1 = Some(add(Kind::Video, Source::Camera, layers));
            }
        }
        for _ in self.pairs..self.wanted {
            for kind in [MediaKind::Audio, MediaKind::Video] {
                api.add_media(kind, Direction::RecvOnly, None, None, None);
            }
        }
        self.pairs = self.pairs.max(self.wanted);
        let Some((offer, pending)) = api.apply() else { return Ok(()) };
        self.pending = Some(pending);
        self.ask(Ask::Offer { sdp: offer.to_sdp_string(), tracks: self.tracks.clone() })
    }

    fn ask(&self, ask: Ask) -> Result<(), String> {
        self.asks.try_send(ask).map_err(|_| "the signaling does not keep up".to_owned())
    }

    /// Takes the answer to the offer in flight, and offers again if more seats are wanted since.
    ///
    /// # Errors
    /// The answer does not fit; the person cannot go on.
    pub fn handle_answer(&mut self, sdp: &str, common: &Common) -> Result<(), String> {
        let text = only_from(sdp, common.server);
        let answer = SdpAnswer::from_sdp_string(&text).map_err(|e| format!("bad answer: {e}"))?;
        if let (Some(pending), Some(Some(leg))) = (self.pending.take(), self.legs.first_mut()) {
            let taken = leg.rtc.sdp_api().accept_answer(pending, answer);
            taken.map_err(|e| format!("bad answer: {e}"))?;
            leg.hush(&text);
        }
        self.grow(self.wanted)
    }

    /// Takes a server's offer for a leg of its own.
    ///
    /// # Errors
    /// The offer does not fit; the person cannot go on.
    pub fn handle_offer(
        &mut self,
        (leg, sdp): (u8, &str),
        common: &Common,
        now: Instant,
    ) -> Result<(), String> {
        let index = usize::from(leg);
        if self.legs.len() <= index {
            self.legs.resize_with(index + 1, || None);
        }
        let slot = self.legs.get_mut(index).ok_or("no such leg")?;
        let taken = match slot {
            Some(taken) => taken,
            None => slot.insert(Leg::open(common, now)?),
        };
        let text = only_from(sdp, common.server);
        let offer = SdpOffer::from_sdp_string(&text).map_err(|e| format!("bad offer: {e}"))?;
        let answer = taken.rtc.sdp_api().accept_offer(offer);
        let answer = answer.map_err(|e| format!("bad offer: {e}"))?;
        taken.hush(&text);
        self.ask(Ask::Answer { leg, sdp: answer.to_sdp_string() })
    }

    /// Makes room for so many pairs, now or after the answer that is awaited.
    ///
    /// # Errors
    /// The signaling does not keep up.
    pub fn grow(&mut self, pairs: usize) -> Result<(), String> {
        if self.person.watches {
            self.wanted = self.wanted.max(pairs);
        }
        if self.pending.is_some() || self.wanted <= self.pairs {
            return Ok(());
        }
        self.offer(None)
    }

    /// Reads what is there; `Ok(true)` when more may wait.
    ///
    /// # Errors
    /// The socket failed; the next read may go on.
    pub fn receive(
        &mut self,
        leg: usize,
        buffers: &mut Buffers,
        clock: &Clock,
        ears: &mut Ears,
    ) -> io::Result<bool> {
        let Some(Some(leg)) = self.legs.get_mut(leg) else { return Ok(false) };
        let full = leg.udp.read(buffers)?;
        let now = clock.now();
        let local = leg.udp.local;
        let mut drained = true;
        for train in buffers.trains() {
            let waited = train.stamp.map_or(Duration::ZERO, |stamp| clock.since_stamp(stamp));
            let arrived = now.checked_sub(waited).unwrap_or(now);
            ears.waited(waited);
            for datagram in train.datagrams() {
                let Ok(receive) = Receive::new(Protocol::Udp, train.from, local, datagram) else {
                    continue;
                };
                // When it came, not when it is this person's turn: the thread serves many, and the
                // server would take our lateness for the network's. What breaks an engine shows in its
                // next drain.
                let _ = leg.rtc.handle_input(Input::Receive(arrived, receive));
                // One packet for each datagram; the rest is drained once for all that are here.
                drained = !leg.take_packet(&mut |event| match event {
                    Event::RtpPacket(packet) => {
                        let heard = self.hearing.hear(&packet.payload, clock.nanos(arrived), ears);
                        self.moments.note(heard, &packet.payload, arrived);
                    }
                    Event::KeyframeRequest(request) => self.keyframes.push(request),
                    _ => {}
                });
            }
        }
        if !drained {
            leg.drain(|event| {
                if let Event::KeyframeRequest(request) = event {
                    self.keyframes.push(request);
                }
            });
        }
        leg.udp.flush();
        self.after(now);
        Ok(full)
    }

    /// Time has come for a peer connection.
    pub fn handle_time(&mut self, leg: usize, clock: &Clock, ears: &mut Ears, now: Instant) {
        let Some(Some(leg)) = self.legs.get_mut(leg) else { return };
        let _ = leg.rtc.handle_input(Input::Timeout(now));
        leg.drain(|event| match event {
            Event::RtpPacket(packet) => {
                self.hearing.hear(&packet.payload, clock.nanos(now), ears);
            }
            Event::KeyframeRequest(request) => self.keyframes.push(request),
            _ => {}
        });
        leg.udp.flush();
        self.after(now);
    }

    /// What an engine said is carried out.
    fn after(&mut self, now: Instant) {
        for request in self.keyframes.drain(..) {
            if let Some(publisher) = &mut self.publisher {
                publisher.handle_keyframe_request(&request);
            }
        }
        if self.moments.connected.is_none() && self.is_connected() {
            self.moments.connected = Some(now);
        }
    }

    /// Its first peer connection stands.
    pub fn is_connected(&self) -> bool {
        let mut legs = self.legs.iter().flatten().peekable();
        legs.peek().is_some() && legs.all(|leg| leg.connected)
    }

    /// A peer connection is gone.
    pub fn is_broken(&self) -> bool {
        self.legs.iter().flatten().any(|leg| leg.dead || !leg.rtc.is_alive())
    }

    /// Begins to publish, if it is one who does.
    pub fn start(&mut self, common: &Common, now: Instant) {
        if self.person.publishes && self.publisher.is_none() {
            let who = (common.run, self.person.number);
            self.publisher = Some(Publisher::new(&common.options, who, self.mids, now));
        }
    }

    /// Sends the frame that is due first, and says what it was.
    pub fn send(&mut self, clock: &Clock, ears: &mut Ears, now: Instant) -> Option<Sent> {
        let Some(Some(leg)) = self.legs.first_mut() else { return None };
        let publisher = self.publisher.as_mut()?;
        let sent = publisher.write(&mut leg.rtc, clock, now)?;
        self.handle_time(0, clock, ears, now);
        if let (Some(Some(leg)), Some(publisher)) = (self.legs.first(), &mut self.publisher)
            && leg.rtp_length > sent.payload
        {
            publisher.learn(&sent, leg.rtp_length - sent.payload);
        }
        Some(sent)
    }

    /// Closes its peer connections and asks the signaling to leave.
    pub fn leave(&mut self, now: Instant) {
        // A line that is gone has left already.
        let _ = self.asks.try_send(Ask::Leave);
        for leg in self.legs.iter_mut().flatten() {
            let _ = leg.rtc.close();
            let _ = leg.rtc.handle_input(Input::Timeout(now));
            leg.drain(|_| {});
            leg.udp.flush();
        }
        self.publisher = None;
        self.left = true;
    }

    /// Datagrams that the kernel did not take.
    pub fn refused(&self) -> u64 {
        self.legs.iter().flatten().map(|leg| leg.udp.refused).sum()
    }
}

impl Moments {
    fn note(&mut self, heard: Option<Kind>, payload: &[u8], at: Instant) {
        if heard.is_some() && self.packet.is_none() {
            self.packet = Some(at);
        }
        let video = heard == Some(Kind::Video);
        if video && self.keyframe.is_none() && vp8::starts_keyframe(payload) {
            self.keyframe = Some(at);
        }
    }
}

/// The SDP without the candidates of other addresses than the server's, if it has that one: each
/// candidate would cost connectivity checks, and which path wins would be left to chance.
fn only_from(sdp: &str, server: SocketAddr) -> String {
    let ip = server.ip().to_string();
    let address = |line: &str| -> Option<bool> {
        let rest = line.strip_prefix("a=candidate:")?;
        Some(rest.split(' ').nth(4) == Some(ip.as_str()))
    };
    if !sdp.lines().any(|line| address(line) == Some(true)) {
        return sdp.to_owned();
    }
    let kept = sdp.lines().filter(|line| address(line) != Some(false));
    kept.flat_map(|line| [line, "\r\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_of_other_addresses_are_left_out_if_the_servers_own_is_there() {
        let sdp = "v=0\r\na=candidate:1 1 udp 1 127.0.0.1 8443 typ host\r\n\
                   a=candidate:2 1 udp 1 10.0.0.5 8443 typ host\r\na=mid:0\r\n";
        let here = only_from(sdp, "127.0.0.1:8443".parse().unwrap());
        assert!(here.contains("127.0.0.1") && !here.contains("10.0.0.5") && here.contains("mid"));
        assert_eq!(only_from(sdp, "192.0.2.1:1".parse().unwrap()), sdp);
    }
}
