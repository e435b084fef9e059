//! A client's UDP socket: batches in with the kernel's time stamps, trains out.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mio::net::UdpSocket;
use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};

/// Bytes that the kernel is asked to hold for one client; it may grant less.
const KERNEL_BUFFER: usize = 1024 * 1024;

/// Reads of one system call. A client's socket seldom holds more: with GRO each is a whole frame.
const READS: usize = 4;

/// Bytes of one read; with GRO the kernel puts a whole train into it.
const READ_BYTES: usize = 64 * 1024;

/// Most datagrams of a train: the kernel allows 64 in 64 KiB.
const TRAIN: usize = 40;

/// Buffers that all clients of a thread read into, one after the other, and the latest batch.
#[derive(Debug)]
pub(super) struct Buffers {
    bytes: Vec<Vec<u8>>,
    metas: [RecvMeta; READS],
    count: usize,
}

impl Buffers {
    pub fn new() -> Self {
        let bytes = (0..READS).map(|_| vec![0; READ_BYTES]).collect();
        Self { bytes, metas: [RecvMeta::default(); READS], count: 0 }
    }

    /// What the latest read brought.
    pub fn trains(&self) -> impl Iterator<Item = Train<'_>> {
        let all = self.metas.iter().zip(&self.bytes).take(self.count);
        all.map(|(meta, buffer)| Train {
            from: SocketAddr::new(meta.addr.ip().to_canonical(), meta.addr.port()),
            stamp: meta.timestamp,
            bytes: buffer.get(..meta.len).unwrap_or_default(),
            stride: meta.stride.max(1),
        })
    }
}

/// A client's socket.
#[derive(Debug)]
pub(super) struct Udp {
    pub socket: UdpSocket,
    pub local: SocketAddr,
    state: UdpSocketState,
    train: Vec<u8>,
    to: Option<SocketAddr>,
    size: usize,
    count: usize,
    /// Datagrams that the kernel did not take.
    pub refused: u64,
}

/// What one read brought.
#[derive(Debug)]
pub(super) struct Train<'a> {
    pub from: SocketAddr,
    /// When the kernel had it, since 1970.
    pub stamp: Option<Duration>,
    bytes: &'a [u8],
    stride: usize,
}

impl<'a> Train<'a> {
    /// Each datagram.
    pub fn datagrams(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.bytes.chunks(self.stride)
    }
}

impl Udp {
    /// Opens a socket at the address from which `server` is reached.
    ///
    /// # Errors
    /// There is no way to it, or no descriptor left.
    pub fn open(server: SocketAddr) -> io::Result<Self> {
        let domain = if server.is_ipv6() { Domain::IPV6 } else { Domain::IPV4 };
        let probe = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        probe.connect(&server.into())?;
        let own = probe.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        socket.bind(&SocketAddr::new(own.ip(), 0).into())?;
        // The kernel grants what it may; what it then drops is read from its own counters.
        let _ = socket.set_recv_buffer_size(KERNEL_BUFFER);
        let _ = socket.set_send_buffer_size(KERNEL_BUFFER);
        let socket = std::net::UdpSocket::from(socket);
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let local = socket.local_addr()?;
        Ok(Self {
            socket: UdpSocket::from_std(socket),
            local,
            state,
            train: Vec::new(),
            to: None,
            size: 0,
            count: 0,
            refused: 0,
        })
    }

    /// Reads one batch into the buffers; `Ok(true)` when more may wait.
    ///
    /// # Errors
    /// The socket failed.
    pub fn read(&self, buffers: &mut Buffers) -> io::Result<bool> {
        let Buffers { bytes, metas, count } = buffers;
        *count = 0;
        let mut left = bytes.iter_mut();
        let mut slices: [IoSliceMut<'_>; READS] = std::array::from_fn(|_| {
            IoSliceMut::new(left.next().map_or(&mut [], Vec::as_mut_slice))
        });
        match self.state.recv(UdpSockRef::from(&self.socket), &mut slices, metas) {
            Ok(read) => *count = read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(*count == READS)
    }

    /// Adds a datagram to the train; what does not fit into it leaves before.
    pub fn push(&mut self, to: SocketAddr, bytes: &[u8]) {
        let most = self.state.max_gso_segments().min(TRAIN);
        // A shorter datagram can only be a train's last.
        let closed = self.train.len() < self.size * self.count;
        let fits = self.to == Some(to)
            && !closed
            && self.count < most
            && bytes.len() <= self.size
            && self.train.len() + bytes.len() < READ_BYTES - 1024;
        if !fits {
            self.flush();
            (self.to, self.size) = (Some(to), bytes.len());
        }
        self.train.extend_from_slice(bytes);
        self.count += 1;
    }

    /// Sends what was pushed.
    pub fn flush(&mut self) {
        let Some(destination) = self.to.filter(|_| self.count > 0) else { return };
        let source: Option<IpAddr> = None;
        let transmit = Transmit {
            destination,
            ecn: None,
            contents: &self.train,
            segment_size: (self.count > 1).then_some(self.size),
            src_ip: source,
        };
        if self.state.try_send(UdpSockRef::from(&self.socket), &transmit).is_err() {
            self.refused += self.count as u64;
        }
        self.train.clear();
        self.count = 0;
    }
}
