//! One browser: the only folder of the server that names the engine, str0m.
//!
//! The engine's contract is: change it, then drain it to its time-out before the next change that
//! matters. [`Session`] owns the engine and is the one place where that is kept, and where it is
//! known what need not be asked. Nothing here knows rooms or other sessions.

mod budget;
pub mod channels;
mod descriptor;
mod dtls;
pub mod fence;
pub mod negotiate;
mod pace;
mod probing;
mod queue;
mod redundancy;
pub mod seats;
pub mod streams;
mod told;
mod trip;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use str0m::bwe::{Bitrate, BweKind};
use str0m::media::KeyframeRequestKind;
use str0m::net::{Protocol, Receive};
use str0m::{Event as RtcEvent, IceConnectionState, Input, Output, Reason, Rtc};

use crate::counts::{DropReason, Drops};
use crate::forward::packet::Packet;
use crate::forward::rewrite::Numbers;
use crate::ids::SeatIndex;
use crate::model::{Bandwidth, Kind, Need};
use crate::wire::classify::{Class, classify, dtls_is_client_hello};
use budget::Budget;
use channels::{Channels, Lane};
use fence::Fence;
use negotiate::Negotiated;
pub use negotiate::{Engine, Offer, OfferError, SessionConfig};
use pace::{Pace, Sent, Wish};
use redundancy::Redundancy;
use seats::SeatLines;
use streams::{Incoming, LineIndex};

/// A datagram to be sent.
#[derive(Debug)]
pub struct Transmit {
    /// The local address it leaves from.
    pub from: SocketAddr,
    /// Where it goes.
    pub to: SocketAddr,
    /// It holds RTP.
    pub media: bool,
    /// One whole datagram.
    pub bytes: Vec<u8>,
}

/// What a session has to say.
#[derive(Debug)]
pub enum Event {
    /// The media path stands.
    Connected,
    /// The client closed its peer connection, or the engine gave up.
    Closed,
    /// A packet of a published track.
    Media {
        /// The line it came on.
        line: LineIndex,
        /// The packet.
        packet: Packet,
    },
    /// The viewer cannot go on without a keyframe in this seat.
    KeyframeWanted {
        /// The seat whose video it is.
        seat: SeatIndex,
    },
    /// A message came on a data channel.
    Message {
        /// On which.
        lane: Lane,
        /// One frame, unchecked.
        frame: Vec<u8>,
    },
    /// There is room again in a data channel.
    Writable,
    /// What the client's network carries has changed.
    Bandwidth(Bandwidth),
}

/// What became of packets that were to be queued for a seat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// How many were queued.
    pub packets: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// A keyframe began among them.
    pub keyframe: bool,
    /// Why the others were not.
    pub dropped: Option<DropReason>,
}

/// Where a drained session's outputs go. Reused, so that draining does not allocate.
#[derive(Debug, Default)]
pub struct Drained {
    /// Datagrams to be sent.
    pub transmits: VecDeque<Transmit>,
    /// How many datagrams there were so far, and their bytes.
    pub datagrams: u64,
    /// See above.
    pub bytes: u64,
    /// Events, in order.
    pub events: Vec<Event>,
    /// What went no further.
    pub drops: Drops,
}

/// A session cannot go on. It is over; others are not harmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The engine would not come to rest.
    #[error("the engine would not come to rest")]
    Budget,
}

/// One participant's engine.
#[derive(Debug)]
pub struct Session {
    rtc: Rtc,
    negotiated: Negotiated,
    incoming: Incoming,
    seats: SeatLines,
    channels: Channels,
    fence: Fence,
    pace: Pace,
    redundancy: Redundancy,
    deadline: Option<Instant>,
    connected: bool,
    hello_seen: bool,
    /// The client closed its end; what the engine answers to that is still drained.
    gone: bool,
    closed: bool,
}

impl Session {
    /// The user name and password by which STUN requests for this session are known.
    #[must_use]
    pub fn ufrag(&self) -> &str {
        self.negotiated.ufrag()
    }

    /// Whether the media path stands.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connected && !self.closed
    }

    /// Whether the session is over.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// When [`Session::handle_time`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Which seats there are, and what they can carry.
    #[must_use]
    pub fn seats(&self) -> &SeatLines {
        &self.seats
    }

    /// The data channels' send queues.
    pub fn channels_mut(&mut self) -> &mut Channels {
        &mut self.channels
    }

    /// The data channels' send queues.
    #[must_use]
    pub fn channels(&self) -> &Channels {
        &self.channels
    }

    /// Closes the reliable channel: the client is hopelessly behind.
    pub fn close_reliable(&mut self) {
        self.channels.give_up(&mut self.rtc);
    }

    /// The line that carries what the client sends under this mid.
    #[must_use]
    pub fn line_of(&self, mid: &str) -> Option<LineIndex> {
        self.incoming.line_of(mid)
    }

    /// Whether this STUN datagram is signed with the session's password, or answers a request
    /// of ours. Cheap enough for every STUN packet: one HMAC.
    #[must_use]
    pub fn accepts_stun(
        &self,
        from: SocketAddr,
        to: SocketAddr,
        bytes: &[u8],
        now: Instant,
    ) -> bool {
        match Receive::new(Protocol::Udp, from, to, bytes) {
            Ok(receive) => self.rtc.accepts(&Input::Receive(now, receive)),
            Err(_) => false,
        }
    }

    /// Takes one datagram from an address that has proved itself, and drains.
    ///
    /// # Errors
    /// [`SessionError`]: the session is over.
    pub fn handle_datagram(
        &mut self,
        datagram: &Datagram<'_>,
        out: &mut Drained,
        now: Instant,
    ) -> Result<(), SessionError> {
        if let Err(reason) = self.admit(datagram, now) {
            out.drops.count(reason);
            return Ok(());
        }
        let Datagram { from, to, bytes, .. } = *datagram;
        let Ok(receive) = Receive::new(Protocol::Udp, from, to, bytes) else {
            out.drops.count(DropReason::Engine);
            return Ok(());
        };
        // A refusal is counted and never fatal: an outsider can forge what the engine refuses.
        if self.rtc.handle_input(Input::Receive(now, receive)).is_err() {
            out.drops.count(DropReason::Engine);
        }
        self.drain(out, now)
    }

    /// Lets time pass and sends what was written, and drains.
    ///
    /// # Errors
    /// [`SessionError`]: the session is over.
    pub fn handle_time(&mut self, out: &mut Drained, now: Instant) -> Result<(), SessionError> {
        self.channels.flush(&mut self.rtc);
        if self.rtc.handle_input(Input::Timeout(now)).is_err() {
            out.drops.count(DropReason::Engine);
        }
        self.drain(out, now)
    }

    /// Queues packets of one track for a seat. They leave with the next [`Session::handle_time`].
    pub fn write(&mut self, seat: SeatIndex, packets: &[(&Packet, Numbers)]) -> Written {
        if !self.is_connected() {
            return Written { dropped: Some(DropReason::NotConnected), ..Written::default() };
        }
        let written = self.seats.write(&mut self.rtc, seat, packets, &self.redundancy);
        let video = packets.first().is_some_and(|(packet, _)| packet.kind == Kind::Video);
        self.pace.wrote(written, video);
        written
    }

    /// Whether the viewer's network takes less than what is written for it: more video would
    /// only come later.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.pace.is_behind()
    }

    /// Says how much is sent to the client and how much it could use, so that the estimator looks
    /// for that, and pads while something is missing.
    pub fn need(&mut self, need: Need, now: Instant) {
        self.pace.needs(need);
        self.wish(now);
    }

    /// Forgets the video that waits in the pacer, and what could be sent again.
    pub fn forget_video(&mut self, now: Instant) {
        self.seats.forget_video(&mut self.rtc);
        self.pace.flooded(now);
        self.rtc.bwe().set_bitrate(Bitrate::ZERO, Bitrate::ZERO);
    }

    /// Whether the worker cannot keep up: nothing better is looked for, and what waits to be sent is not
    /// taken as proof of a narrow network.
    pub fn strain(&mut self, strained: bool) {
        self.pace.strain(strained);
    }

    fn wish(&mut self, now: Instant) {
        if let Some(wanted) = self.pace.wish(now) {
            if let Some(estimate) = wanted.anew {
                self.rtc.bwe().reset(estimate);
            }
            self.rtc.bwe().set_bitrate(wanted.least, wanted.most);
        }
    }

    /// The client's names of a line's layers, those of which a bit is set; `None`: it has one
    /// layer, without a name.
    #[must_use]
    pub fn rids(&self, line: LineIndex, layers: u8) -> Option<Vec<String>> {
        self.incoming.is_simulcast(line).then(|| self.incoming.rids(line, layers))
    }

    /// Asks the publisher for a keyframe. Leaves with the next [`Session::handle_time`].
    /// Whether there was a stream to ask.
    pub fn request_keyframe(&mut self, line: LineIndex, layer: u8) -> bool {
        let Some((mid, rid)) = self.incoming.stream(line, layer) else { return false };
        let mut api = self.rtc.direct_api();
        match api.stream_rx_by_mid(mid, rid) {
            Some(stream) => {
                stream.request_keyframe(KeyframeRequestKind::Pli);
                true
            }
            None => false,
        }
    }

    /// Ends the session: the client is told by BYE and a DTLS alert, which are drained.
    pub fn close(&mut self, out: &mut Drained, now: Instant) {
        if !self.closed {
            let _ = self.rtc.close();
            let _ = self.rtc.handle_input(Input::Timeout(now));
            let _ = self.drain(out, now);
            self.closed = true;
        }
    }

    /// What must hold before the engine sees a datagram; see `fence`.
    fn admit(&mut self, datagram: &Datagram<'_>, now: Instant) -> Result<(), DropReason> {
        if self.closed {
            return Err(DropReason::NotConnected);
        }
        match datagram.class {
            Class::Stun => Ok(()),
            Class::Dtls => {
                // A forged record before the ClientHello stops the engine's handshake for good.
                self.hello_seen = self.hello_seen || dtls_is_client_hello(datagram.bytes);
                if self.hello_seen { Ok(()) } else { Err(DropReason::DtlsBeforeHello) }
            }
            Class::Rtp => self.fence.admit_rtp(datagram.bytes, &self.incoming, now),
            Class::Rtcp => self.fence.admit_rtcp(datagram.bytes, now),
        }
    }

    /// Takes everything out of the engine until it asks for time.
    fn drain(&mut self, out: &mut Drained, now: Instant) -> Result<(), SessionError> {
        let mut budget = Budget::default();
        let mut sent = Sent::default();
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(_)) if self.seats.hand_on(&mut self.rtc) => {
                    let _ = self.rtc.handle_input(Input::Timeout(now));
                }
                Ok(Output::Timeout(at)) => {
                    let pacing = is_pacing(self.rtc.last_timeout_reason());
                    let wish = Wish { at, pacing, sent: std::mem::take(&mut sent) };
                    let rest = self.pace.rest(wish, now);
                    if rest.is_some() || !self.rtc.is_alive() {
                        self.deadline = rest.filter(|_| self.rtc.is_alive());
                        break;
                    }
                    if wish.sent.packets == 0 {
                        budget.wake()?;
                    }
                    let _ = self.rtc.handle_input(Input::Timeout(now));
                }
                Ok(Output::Transmit(transmit)) => {
                    let bytes: Vec<u8> = transmit.contents.into();
                    let media = classify(&bytes) == Some(Class::Rtp);
                    if media {
                        sent.count(self.incoming.sends_first(&bytes), bytes.len());
                    }
                    let (from, to) = (transmit.source, transmit.destination);
                    out.datagrams += 1;
                    out.bytes += bytes.len() as u64;
                    out.transmits.push_back(Transmit { from, to, media, bytes });
                    // The pacer gives out one packet for each time it is woken, and is woken in the
                    // midst of draining: to ask first when it wants to be costs as much again.
                    if media && self.pace.has_more(sent) {
                        let _ = self.rtc.handle_input(Input::Timeout(now));
                    } else if media && let Some(rest) = self.pace.rest_after(sent, now) {
                        self.deadline = Some(rest);
                        break;
                    }
                }
                Ok(Output::Event(event)) => self.take(event, out, now),
                // Before the media path stands anybody can provoke these; after, the engine
                // says so by ceasing to be alive.
                Err(_) => out.drops.count(DropReason::Engine),
            }
            budget.output()?;
        }
        let bandwidth = self.pace.bandwidth(now);
        if self.pace.take_news() || bandwidth.is_some() {
            self.wish(now);
        }
        if let Some(bandwidth) = bandwidth {
            out.events.push(Event::Bandwidth(bandwidth));
        }
        if (self.gone || !self.rtc.is_alive()) && !self.closed {
            self.closed = true;
            out.events.push(Event::Closed);
        }
        Ok(())
    }

    fn take(&mut self, event: RtcEvent, out: &mut Drained, now: Instant) {
        match event {
            RtcEvent::Connected => {
                self.connected = true;
                out.events.push(Event::Connected);
            }
            RtcEvent::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                tracing::debug!("ice disconnected; media decides whether the path is gone");
            }
            RtcEvent::RtpPacket(packet) => match self.incoming.packet(&mut self.rtc, packet, now) {
                Ok((line, ssrc, packet)) => {
                    self.fence.authenticated(ssrc, now);
                    let missed = self.incoming.take_missed();
                    out.events.extend(missed.map(|packet| Event::Media { line, packet }));
                    out.events.push(Event::Media { line, packet });
                }
                Err(reason) => out.drops.count(reason),
            },
            RtcEvent::KeyframeRequest(request) => {
                if let Some(seat) = self.seats.seat_of(request.mid, Kind::Video) {
                    out.events.push(Event::KeyframeWanted { seat });
                }
            }
            RtcEvent::EgressBitrateEstimate(BweKind::Twcc { estimate, .. }) => {
                self.pace.estimated(estimate);
            }
            RtcEvent::PeerStats(stats) => {
                self.pace.measured(&stats, now);
                self.redundancy.measured(self.pace.path());
            }
            RtcEvent::ChannelOpen(id, label) => self.channels.opened(&mut self.rtc, id, &label),
            RtcEvent::ChannelData(data) => match self.channels.lane_of(data.id) {
                Some(lane) if data.binary => {
                    out.events.push(Event::Message { lane, frame: data.data });
                }
                _ => out.drops.count(DropReason::DataMalformed),
            },
            RtcEvent::ChannelClose(id) => self.channels.closed(id),
            RtcEvent::ChannelBufferedAmountLow(_) => {
                self.channels.flush(&mut self.rtc);
                out.events.push(Event::Writable);
            }
            RtcEvent::Closed => self.gone = true,
            _ => {}
        }
    }
}

/// Whether only the sending of media, or counting it, makes the engine want to be woken.
fn is_pacing(reason: Reason) -> bool {
    use Reason::{BweDelayControl, BweProbeControl, BweProbeEstimator, Pacer, Stats};
    matches!(reason, Pacer(_) | BweDelayControl | BweProbeControl | BweProbeEstimator | Stats)
}

/// A datagram whose first bytes have been looked at.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// Who sent it.
    pub from: SocketAddr,
    /// The local address it came to.
    pub to: SocketAddr,
    /// What it is.
    pub class: Class,
    /// One whole datagram.
    pub bytes: &'a [u8],
}
