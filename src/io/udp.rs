//! A worker's UDP socket: batches in, trains out.
//!
//! `quinn-udp` reads (GRO, recvmmsg, packet information). Sending is our own on Linux, where one
//! call takes many trains (`sys.rs`); a video frame leaves as one train, since browsers cut it into
//! datagrams of equal size.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr};

use mio::net::UdpSocket;
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};

#[cfg(target_os = "linux")]
use super::sys;
#[cfg(target_os = "linux")]
use super::sys::Train;

/// Bytes that the kernel is asked to hold in each direction: half a second of 70 Mbit/s.
const KERNEL_BUFFER: usize = 4 * 1024 * 1024;

/// Bytes of one receive buffer; with GRO the kernel puts a whole train into it.
const RECEIVE_BUFFER: usize = 64 * 1024;

/// Most datagrams of a train; the kernel allows 64, and a train must fit into 64 KiB.
const TRAIN: usize = 40;

/// Most bytes of a train: an IP packet's 65,535 without its headers.
const TRAIN_BYTES: usize = 65_000;

/// A worker's socket.
#[derive(Debug)]
pub struct Udp {
    pub(super) socket: UdpSocket,
    state: UdpSocketState,
    port: u16,
    bound: IpAddr,
    buffers: [Vec<u8>; BATCH_SIZE],
    trains: Vec<Train>,
    /// The kernel refused a train that it had promised to take.
    refused: bool,
}

/// One datagram of a batch.
#[derive(Debug)]
pub struct Received<'a> {
    /// Who sent it.
    pub from: SocketAddr,
    /// The local address that it came to.
    pub to: SocketAddr,
    /// One whole datagram.
    pub bytes: &'a [u8],
}

/// Where a datagram comes from and goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The local address it leaves from; unspecified: the kernel chooses.
    pub from: SocketAddr,
    /// Where it goes.
    pub to: SocketAddr,
}

/// Opens a socket that shares its port with the other workers'.
///
/// # Errors
/// The address cannot be bound.
pub fn bind(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let domain = if address.is_ipv6() { Domain::IPV6 } else { Domain::IPV4 };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    ask_for_buffers(&socket);
    Ok(socket.into())
}

/// The kernel grants what it may; asking for more than that is no error, but worth a line.
fn ask_for_buffers(socket: &Socket) {
    let _ = socket.set_recv_buffer_size(KERNEL_BUFFER);
    let _ = socket.set_send_buffer_size(KERNEL_BUFFER);
    let granted = |socket: &Socket| {
        let sizes = [socket.recv_buffer_size(), socket.send_buffer_size()];
        sizes.map(|size| size.unwrap_or(0)).into_iter().min().unwrap_or(0)
    };
    #[cfg(target_os = "linux")]
    if granted(socket) < KERNEL_BUFFER {
        use std::os::fd::AsFd;
        sys::force_buffers(socket.as_fd(), i32::try_from(KERNEL_BUFFER).unwrap_or(i32::MAX));
    }
    let granted = granted(socket);
    if granted < KERNEL_BUFFER {
        tracing::info!(
            granted,
            wanted = KERNEL_BUFFER,
            "the kernel grants small socket buffers; for large rooms raise net.core.rmem_max and \
             net.core.wmem_max"
        );
    }
}

impl Udp {
    /// Takes over a bound socket.
    ///
    /// # Errors
    /// The kernel refuses an option that media needs.
    pub fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let local = socket.local_addr()?;
        if state.max_gso_segments() < 2 {
            tracing::info!("the kernel sends no trains of datagrams; each goes by itself");
        }
        Ok(Self {
            socket: UdpSocket::from_std(socket),
            state,
            port: local.port(),
            bound: local.ip(),
            buffers: std::array::from_fn(|_| vec![0; RECEIVE_BUFFER]),
            trains: Vec::new(),
            refused: false,
        })
    }

    /// The address that it is bound to.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Reads one batch and shows each datagram; `Ok(false)` when there was nothing to read.
    ///
    /// # Errors
    /// The socket failed.
    pub fn receive(&mut self, mut show: impl FnMut(Received<'_>)) -> io::Result<bool> {
        let mut metas = [RecvMeta::default(); BATCH_SIZE];
        let Self { socket, state, buffers, port, bound, .. } = self;
        let mut slices = buffers.each_mut().map(|buffer| IoSliceMut::new(buffer));
        let count = match state.recv(UdpSockRef::from(&*socket), &mut slices, &mut metas) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        };
        for (meta, buffer) in metas.iter().zip(buffers.iter()).take(count) {
            let to = SocketAddr::new(meta.dst_ip.unwrap_or(*bound).to_canonical(), *port);
            let from = SocketAddr::new(meta.addr.ip().to_canonical(), meta.addr.port());
            let bytes = buffer.get(..meta.len).unwrap_or_default();
            for datagram in bytes.chunks(meta.stride.max(1)) {
                show(Received { from, to, bytes: datagram });
            }
        }
        Ok(count > 0)
    }

    /// Sends datagrams; runs of equal size to one destination leave as one train. Gives back how
    /// many the kernel did not take: a full buffer drops, it never blocks.
    pub fn send<'a>(&mut self, datagrams: impl Iterator<Item = (Route, &'a [u8])>) -> u64 {
        let most = if self.refused { 1 } else { self.state.max_gso_segments().min(TRAIN) };
        self.trains.clear();
        let mut pieces: Vec<IoSlice<'a>> = Vec::with_capacity(datagrams.size_hint().0);
        let mut run = Run { route: None, size: 0, count: 0, bytes: 0, closed: false };
        for (route, bytes) in datagrams {
            pieces.push(IoSlice::new(bytes));
            if !run.takes(route, bytes.len(), most) {
                let train = self.train(&run);
                self.trains.extend(train);
                run = Run {
                    route: Some(route),
                    size: bytes.len(),
                    count: 0,
                    bytes: 0,
                    closed: false,
                };
            }
            run.add(bytes.len());
        }
        let train = self.train(&run);
        self.trains.extend(train);
        self.give(&pieces)
    }

    /// Gives all trains to the kernel.
    fn give(&mut self, pieces: &[IoSlice<'_>]) -> u64 {
        let trains = std::mem::take(&mut self.trains);
        let (mut waiting, mut rest, mut lost) = (trains.as_slice(), pieces, 0);
        while let Some(first) = waiting.first() {
            let taken = match self.call(waiting, rest) {
                Ok(0) => 1,
                Ok(taken) => taken,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    lost += rest.len() as u64;
                    break;
                }
                Err(error) => {
                    lost += self.alone(*first, rest, &error);
                    1
                }
            };
            let (gone, left) = waiting.split_at(taken.min(waiting.len()));
            let count = gone.iter().map(|train| train.count).sum::<usize>();
            waiting = left;
            rest = rest.get(count..).unwrap_or_default();
        }
        self.trains = trains;
        lost
    }

    /// A train was refused: a device or a kernel that cannot cut it, or a destination that
    /// cannot be reached. Its datagrams are tried one by one; how many of them were lost.
    fn alone(&mut self, train: Train, pieces: &[IoSlice<'_>], error: &io::Error) -> u64 {
        if train.count < 2 {
            tracing::debug!(%error, to = %train.to, "a datagram cannot be sent");
            return 1;
        }
        let single = Train { count: 1, ..train };
        let mut lost = 0;
        for piece in pieces.iter().take(train.count) {
            lost += u64::from(self.call(&[single], std::slice::from_ref(piece)).is_err());
        }
        if lost == 0 && !self.refused {
            self.refused = true;
            tracing::warn!(%error, "trains of datagrams are refused; each goes by itself from now on");
        }
        lost
    }

    #[cfg(target_os = "linux")]
    fn call(&self, trains: &[Train], pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        use std::os::fd::AsFd;
        sys::send(self.socket.as_fd(), trains, pieces)
    }

    /// Elsewhere `quinn-udp` sends, one datagram at a time: trains are a matter of Linux.
    #[cfg(not(target_os = "linux"))]
    fn call(&self, trains: &[Train], pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let (Some(train), Some(piece)) = (trains.first(), pieces.first()) else { return Ok(0) };
        let transmit = quinn_udp::Transmit {
            destination: train.to,
            ecn: None,
            contents: piece,
            segment_size: None,
            src_ip: train.from,
        };
        self.state.try_send(UdpSockRef::from(&self.socket), &transmit).map(|()| 1)
    }

    fn train(&self, run: &Run) -> Option<Train> {
        let route = run.route?;
        let from = route.from.ip();
        Some(Train {
            from: (!from.is_unspecified() && self.bound.is_unspecified()).then_some(from),
            to: self.address(route.to),
            count: run.count,
            size: u16::try_from(run.size).unwrap_or(u16::MAX),
        })
    }

    /// An address in the family of the socket.
    fn address(&self, address: SocketAddr) -> SocketAddr {
        match (self.bound, address.ip()) {
            (IpAddr::V6(_), IpAddr::V4(v4)) => {
                SocketAddr::new(v4.to_ipv6_mapped().into(), address.port())
            }
            _ => address,
        }
    }
}

/// Datagrams that can leave as one train.
struct Run {
    route: Option<Route>,
    size: usize,
    count: usize,
    bytes: usize,
    /// It has its short one, which can only be the last.
    closed: bool,
}

impl Run {
    fn takes(&self, route: Route, size: usize, most: usize) -> bool {
        self.route == Some(route)
            && !self.closed
            && self.count < most
            && size <= self.size
            && self.bytes + size <= TRAIN_BYTES
    }

    fn add(&mut self, size: usize) {
        self.count += 1;
        self.bytes += size;
        self.closed = size < self.size;
    }
}

/// Datagrams of equal size to one destination; the last may be shorter.
#[cfg(not(target_os = "linux"))]
#[derive(Clone, Copy, Debug)]
struct Train {
    from: Option<IpAddr>,
    to: SocketAddr,
    count: usize,
    #[expect(dead_code, reason = "only Linux cuts a train by it")]
    size: u16,
}
