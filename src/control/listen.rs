//! One TCP port: by the first byte a connection is TLS or plain HTTP. A slow or silent opener is
//! cut, and never holds up another: each has a task of its own from its first moment.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use super::App;
use super::limits::network;

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
        let door = Door {
            app: app.clone(),
            tls,
            router: app.router(),
            undecided: Arc::new(AtomicUsize::new(0)),
            counts: Arc::default(),
        };
        app.tracker.spawn(door.accept(self.socket));
    }
}

/// Open connections per address, and how many of them have not said what they are.
type Counts = tokio::sync::Mutex<HashMap<IpAddr, usize>>;

#[derive(Clone)]
struct Door {
    app: App,
    tls: TlsAcceptor,
    router: Router,
    undecided: Arc<AtomicUsize>,
    counts: Arc<Counts>,
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
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.app.stop.cancelled() => return,
            };
            match accepted {
                Ok((stream, address)) => {
                    let door = self.clone();
                    tokio::spawn(async move { door.enter(stream, address).await });
                }
                Err(error) => {
                    // Out of descriptors, most likely: waiting lets some close.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn enter(self, stream: TcpStream, address: SocketAddr) {
        let ip = network(address.ip());
        let counted = self.app.config.doors.count_loopback || !ip.is_loopback();
        if counted && !self.count(ip).await {
            self.app.metrics.refused("connections");
            return;
        }
        self.decide(stream, address).await;
        if counted {
            let mut counts = self.counts.lock().await;
            if let Some(count) = counts.get_mut(&ip) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(&ip);
                }
            }
        }
    }

    async fn count(&self, ip: IpAddr) -> bool {
        let mut counts = self.counts.lock().await;
        let count = counts.entry(ip).or_insert(0);
        if *count >= self.app.config.doors.connections {
            return false;
        }
        *count += 1;
        true
    }

    /// Looks at the first byte.
    async fn decide(&self, stream: TcpStream, address: SocketAddr) {
        let doors = &self.app.config.doors;
        if self.undecided.fetch_add(1, Ordering::Relaxed) >= doors.undecided {
            self.undecided.fetch_sub(1, Ordering::Relaxed);
            self.app.metrics.refused("undecided");
            return;
        }
        let _ = stream.set_nodelay(true);
        let mut first = [0];
        let peeked = tokio::time::timeout(doors.first_byte, stream.peek(&mut first)).await;
        self.undecided.fetch_sub(1, Ordering::Relaxed);
        match (peeked, first) {
            (Ok(Ok(1)), [0x16]) => {
                let handshake = tokio::time::timeout(doors.tls_handshake, self.tls.accept(stream));
                if let Ok(Ok(stream)) = handshake.await {
                    self.http(stream, Peer { address, tls: true }).await;
                }
            }
            (Ok(Ok(1)), [letter]) if letter.is_ascii_alphabetic() => {
                self.http(stream, Peer { address, tls: false }).await;
            }
            _ => self.app.metrics.refused("first_byte"),
        }
    }

    async fn http(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, peer: Peer) {
        let router = self.router.clone();
        let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(peer);
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
