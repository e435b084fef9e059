//! One TCP port: by the first byte a connection is TLS or plain HTTP. A slow or silent opener is
//! cut, and never holds up another: each has a task of its own from its first moment.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use super::App;
use super::limits::network;
use super::stream::{Pulse, Watched};
use crate::config::DoorLimits;

/// Largest head of a request in bytes, and most of its headers.
const HEAD: usize = 16 * 1024;
const HEADERS: usize = 100;

/// Who a request comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub address: SocketAddr,
    pub tls: bool,
}

impl Default for Peer {
    /// Nobody: a request that came through no listener has no rights.
    fn default() -> Self {
        Self { address: SocketAddr::from(([0, 0, 0, 0], 0)), tls: false }
    }
}

impl Peer {
    pub fn ip(&self) -> IpAddr {
        self.address.ip().to_canonical()
    }

    pub fn is_loopback(&self) -> bool {
        self.ip().is_loopback()
    }
}

/// The listening socket.
#[derive(Debug)]
pub struct Listeners {
    socket: std::net::TcpListener,
}

impl Listeners {
    /// Listens on one address; `[::]` takes IPv4 too.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let domain = if address.is_ipv6() { socket2::Domain::IPV6 } else { socket2::Domain::IPV4 };
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        // A port in TIME_WAIT is free; one that somebody listens on is not.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(1024)?;
        Ok(Self { socket: socket.into() })
    }

    /// The port that was bound.
    ///
    /// # Errors
    /// The socket is gone.
    pub fn port(&self) -> io::Result<u16> {
        Ok(self.socket.local_addr()?.port())
    }

    /// Accepts connections until the server stops.
    pub fn serve(self, app: &App, tls: TlsAcceptor) {
        let door = Door { app: app.clone(), tls, router: app.router() };
        app.tracker.spawn(door.accept(self.socket));
    }
}

/// What one connection holds: permits that go back by themselves, however its task ends.
struct Seat {
    /// A place among the open connections of its address, held until it closes.
    open: Option<OwnedSemaphorePermit>,
    /// Places among those that have not sent a byte, held until it does.
    waiting: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
}

/// The places that one address has.
struct Places {
    open: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

/// Who has how many connections. Owned by the accepting task alone.
struct Addresses {
    doors: DoorLimits,
    /// Places of all that have not sent a byte.
    waiting: Arc<Semaphore>,
    known: HashMap<IpAddr, Places>,
    /// Addresses without a connection are forgotten when there are this many of all kinds.
    forget_at: usize,
}

impl Addresses {
    /// Fewest addresses that are worth a walk over all of them.
    const FORGET: usize = 1_024;

    fn new(doors: &DoorLimits) -> Self {
        let waiting = Arc::new(Semaphore::new(doors.undecided));
        Self { doors: doors.clone(), waiting, known: HashMap::new(), forget_at: Self::FORGET }
    }

    /// A seat for a new connection, or the limit that is reached.
    fn seat(&mut self, ip: IpAddr) -> Result<Seat, &'static str> {
        let take = |places: &Arc<Semaphore>| Arc::clone(places).try_acquire_owned();
        let waiting = take(&self.waiting).map_err(|_| "undecided")?;
        if ip.is_loopback() && !self.doors.count_loopback {
            return Ok(Seat { open: None, waiting: (waiting, None) });
        }
        let DoorLimits { connections, undecided_per_address, .. } = self.doors;
        let places = self.known.entry(ip).or_insert_with(|| Places {
            open: Arc::new(Semaphore::new(connections)),
            waiting: Arc::new(Semaphore::new(undecided_per_address)),
        });
        let open = take(&places.open).map_err(|_| "connections")?;
        let own = take(&places.waiting).map_err(|_| "undecided")?;
        self.forget();
        Ok(Seat { open: Some(open), waiting: (waiting, Some(own)) })
    }

    fn forget(&mut self) {
        if self.known.len() >= self.forget_at {
            let all = self.doors.connections;
            self.known.retain(|_, places| places.open.available_permits() < all);
            self.forget_at = (self.known.len() * 2).max(Self::FORGET);
        }
    }
}

#[derive(Clone)]
struct Door {
    app: App,
    tls: TlsAcceptor,
    router: Router,
}

impl Door {
    async fn accept(self, socket: std::net::TcpListener) {
        let listener = match TcpListener::from_std(socket) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, "cannot accept connections");
                return;
            }
        };
        let mut addresses = Addresses::new(&self.app.config.doors);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.app.stop.cancelled() => return,
            };
            match accepted {
                Ok((stream, address)) => self.admit(&mut addresses, stream, address),
                Err(error) => {
                    // Out of descriptors, most likely: waiting lets some close.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// Gives a connection a task of its own, or closes it at once.
    fn admit(&self, addresses: &mut Addresses, stream: TcpStream, address: SocketAddr) {
        let seat = if self.app.limits.connection(address.ip()) {
            addresses.seat(network(address.ip()))
        } else {
            Err("connection_rate")
        };
        match seat {
            Ok(seat) => {
                let door = self.clone();
                tokio::spawn(async move { door.decide(stream, address, seat).await });
            }
            Err(limit) => self.app.metrics.refused(limit),
        }
    }

    /// Looks at the first byte.
    async fn decide(&self, stream: TcpStream, address: SocketAddr, seat: Seat) {
        let doors = &self.app.config.doors;
        let _ = stream.set_nodelay(true);
        let mut first = [0];
        let peeked = tokio::time::timeout(doors.first_byte, stream.peek(&mut first)).await;
        drop(seat.waiting);
        let stream = Watched::new(stream, doors.stalled_writer, seat.open);
        let pulse = stream.pulse();
        match (peeked, first) {
            (Ok(Ok(1)), [0x16]) => {
                let handshake = tokio::time::timeout(doors.tls_handshake, self.tls.accept(stream));
                match handshake.await {
                    Ok(Ok(stream)) => self.http(stream, Peer { address, tls: true }, pulse).await,
                    Ok(Err(_)) | Err(_) => self.app.metrics.refused("tls_handshake"),
                }
            }
            (Ok(Ok(1)), [letter]) if letter.is_ascii_alphabetic() => {
                self.http(stream, Peer { address, tls: false }, pulse).await;
            }
            _ => self.app.metrics.refused("first_byte"),
        }
    }

    async fn http(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: Peer,
        pulse: Pulse,
    ) {
        let router = self.router.clone();
        let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(peer);
            request.extensions_mut().insert(pulse.clone());
            router.clone().oneshot(request.map(Body::new))
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.app.config.doors.http_head)
            .max_buf_size(HEAD)
            .max_headers(HEADERS)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            // A client that breaks off is its own affair.
            _ = connection.as_mut() => {}
            () = self.app.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                let _ = tokio::time::timeout(Duration::from_secs(1), connection).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> DoorLimits {
        DoorLimits { connections: 3, undecided_per_address: 2, undecided: 4, ..Default::default() }
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn a_place_is_free_again_when_its_connection_ends_and_a_wait_when_it_has_spoken() {
        let mut addresses = Addresses::new(&limits());
        let first = addresses.seat(ip(1)).unwrap();
        let _second = addresses.seat(ip(1)).unwrap();
        assert_eq!(addresses.seat(ip(1)).err(), Some("undecided"), "two wait already");
        drop(first.waiting);
        let third = addresses.seat(ip(1)).unwrap();
        drop(third.waiting);
        assert_eq!(addresses.seat(ip(1)).err(), Some("connections"), "three are open");
        drop(first.open);
        assert!(addresses.seat(ip(1)).is_ok());
    }

    #[test]
    fn one_address_does_not_use_up_the_places_of_another_but_all_share_the_wait() {
        let mut addresses = Addresses::new(&limits());
        let mut held: Vec<Seat> =
            [1, 1, 2].map(|last| addresses.seat(ip(last)).unwrap()).into_iter().collect();
        held.push(addresses.seat(IpAddr::from([127, 0, 0, 1])).unwrap());
        assert_eq!(addresses.seat(ip(3)).err(), Some("undecided"), "four wait in all");
        held.pop();
        assert!(addresses.seat(ip(3)).is_ok());
    }

    #[test]
    fn addresses_that_are_gone_are_forgotten() {
        let mut addresses = Addresses::new(&limits());
        let staying = addresses.seat(ip(1)).unwrap();
        for n in 0..10_000_u32 {
            let _ = addresses.seat(IpAddr::from(n.to_be_bytes()));
        }
        assert!(addresses.known.len() <= Addresses::FORGET, "{}", addresses.known.len());
        assert!(addresses.known.contains_key(&ip(1)));
        drop(staying);
    }
}
