//! A worker's UDP socket: batches in, trains out.
//!
//! `quinn-udp` holds the system calls: GRO and recvmmsg on the way in, GSO on the way out, packet
//! information both ways. A video frame leaves as one train, since browsers cut it into datagrams
//! of equal size.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};

use mio::net::UdpSocket;
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};

/// Bytes that the kernel is asked to hold in each direction: half a second of 70 Mbit/s. The
/// kernel may grant less (`net.core.rmem_max`).
const KERNEL_BUFFER: usize = 4 * 1024 * 1024;

/// Bytes of one receive buffer; with GRO the kernel puts a whole train into it.
const RECEIVE_BUFFER: usize = 64 * 1024;

/// Most datagrams of a train; the kernel allows 64, and a train must fit into 64 KiB.
const TRAIN: usize = 40;

/// A worker's socket.
#[derive(Debug)]
pub(super) struct Udp {
    pub socket: UdpSocket,
    state: UdpSocketState,
    port: u16,
    bound: IpAddr,
    buffers: Vec<Vec<u8>>,
    train: Vec<u8>,
}

/// One datagram of a batch.
#[derive(Debug)]
pub(super) struct Received<'a> {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub bytes: &'a [u8],
}

/// Where a run of datagrams goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub from: SocketAddr,
    pub to: SocketAddr,
}

/// Opens a socket that shares its port with the other workers'.
///
/// # Errors
/// The address cannot be bound.
pub(super) fn bind(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let domain = if address.is_ipv6() { Domain::IPV6 } else { Domain::IPV4 };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    // The kernel grants what it may; asking for more than that is no error.
    let _ = socket.set_recv_buffer_size(KERNEL_BUFFER);
    let _ = socket.set_send_buffer_size(KERNEL_BUFFER);
    let granted = socket.recv_buffer_size().unwrap_or(0);
    if granted < KERNEL_BUFFER {
        tracing::info!(
            granted,
            wanted = KERNEL_BUFFER,
            "the kernel grants a small receive buffer; raise net.core.rmem_max for large rooms"
        );
    }
    Ok(socket.into())
}

impl Udp {
    /// Takes over a bound socket.
    ///
    /// # Errors
    /// The kernel refuses an option that media needs.
    pub fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let local = socket.local_addr()?;
        Ok(Self {
            socket: UdpSocket::from_std(socket),
            state,
            port: local.port(),
            bound: local.ip(),
            buffers: (0..BATCH_SIZE).map(|_| vec![0; RECEIVE_BUFFER]).collect(),
            train: Vec::with_capacity(RECEIVE_BUFFER),
        })
    }

    /// Reads one batch and shows each datagram; `Ok(false)` when there was nothing to read.
    ///
    /// # Errors
    /// The socket failed.
    pub fn receive(&mut self, mut show: impl FnMut(Received<'_>)) -> io::Result<bool> {
        let mut metas = [RecvMeta::default(); BATCH_SIZE];
        let Self { socket, state, buffers, port, bound, .. } = self;
        let mut slices: Vec<IoSliceMut<'_>> =
            buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
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

    /// Sends datagrams; runs of equal size to one destination leave as one train. `lost` is told
    /// how many the kernel did not take.
    pub fn send<'a>(
        &mut self,
        datagrams: impl Iterator<Item = (Route, &'a [u8])>,
        mut lost: impl FnMut(u64),
    ) {
        let mut route = None;
        let (mut size, mut count, mut closed) = (0, 0, false);
        let most = self.state.max_gso_segments().min(TRAIN);
        self.train.clear();
        for (next, bytes) in datagrams {
            let fits = route == Some(next)
                && !closed
                && count < most
                && bytes.len() <= size
                && self.train.len() + bytes.len() <= RECEIVE_BUFFER - 1024;
            if !fits {
                self.flush(route, size, count, &mut lost);
                (route, size, count) = (Some(next), bytes.len(), 0);
            }
            self.train.extend_from_slice(bytes);
            count += 1;
            // A shorter datagram can only be a train's last.
            closed = bytes.len() < size;
        }
        self.flush(route, size, count, &mut lost);
    }

    fn flush(
        &mut self,
        route: Option<Route>,
        size: usize,
        count: usize,
        lost: &mut impl FnMut(u64),
    ) {
        let Some(route) = route.filter(|_| count > 0) else { return };
        let destination = self.address(route.to);
        let transmit = Transmit {
            destination,
            ecn: None,
            contents: &self.train,
            segment_size: (count > 1).then_some(size),
            src_ip: self.source(route.from.ip()),
        };
        if self.state.try_send(UdpSockRef::from(&self.socket), &transmit).is_err() {
            lost(count as u64);
        }
        self.train.clear();
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

    /// The source address to ask for; a dual-stack socket wants IPv4 as it is.
    fn source(&self, ip: IpAddr) -> Option<IpAddr> {
        (!ip.is_unspecified()).then_some(ip)
    }
}
