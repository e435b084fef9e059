//! `sendmmsg` over trains: the one system call that no library here wraps, and the one file of
//! the project with `unsafe` in it.
//!
//! A train is several datagrams to one destination that the kernel gets as one buffer and cuts
//! apart (`UDP_SEGMENT`, Linux 4.18); many trains go with one call. The pieces of a train are
//! gathered by the kernel, so that no payload is copied on our side.

#![expect(unsafe_code, reason = "sendmmsg with control messages per train")]

use std::io::{self, IoSlice};
use std::mem::{self, MaybeUninit};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

use socket2::SockAddr;

/// Most trains that go with one call. The gain of the call itself is used up well before.
pub(super) const MOST: usize = 32;

/// Datagrams of equal size to one destination; the last may be shorter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Train {
    /// The local address it leaves from, if the socket has several.
    pub from: Option<IpAddr>,
    /// Where it goes, in the family of the socket.
    pub to: SocketAddr,
    /// How many datagrams it has.
    pub count: usize,
    /// Size of all but the last in bytes.
    pub size: u16,
}

/// Room for two control messages, aligned as the kernel wants them.
#[repr(C, align(8))]
struct Control([u8; 96]);

/// Gives the first trains to the kernel, at most [`MOST`]; how many it took. `pieces` are the
/// datagrams of all trains in order; each train takes as many as it counts.
///
/// # Errors
/// What the kernel said about the first train: none was taken.
pub(super) fn send(
    socket: BorrowedFd<'_>,
    trains: &[Train],
    pieces: &[IoSlice<'_>],
) -> io::Result<usize> {
    let mut names: [MaybeUninit<SockAddr>; MOST] = [const { MaybeUninit::uninit() }; MOST];
    let mut controls: [MaybeUninit<Control>; MOST] = [const { MaybeUninit::uninit() }; MOST];
    let mut headers: [MaybeUninit<libc::mmsghdr>; MOST] = [const { MaybeUninit::uninit() }; MOST];
    let mut count: libc::c_uint = 0;
    let mut rest = pieces;
    let places = names.iter_mut().zip(&mut controls).zip(&mut headers);
    for (train, ((name, control), header)) in trains.iter().zip(places) {
        let Some((own, others)) = rest.split_at_checked(train.count) else { break };
        rest = others;
        let name = name.write(SockAddr::from(train.to));
        let control = control.write(Control([0; 96]));
        // SAFETY: all fields of a msghdr may be zero: null pointers of length zero.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_name = name.as_ptr().cast_mut().cast();
        message.msg_namelen = name.len();
        // An IoSlice has the layout of an iovec, and sending does not write through it.
        message.msg_iov = own.as_ptr().cast_mut().cast();
        message.msg_iovlen = own.len() as _;
        describe(&mut message, control, train);
        header.write(libc::mmsghdr { msg_hdr: message, msg_len: 0 });
        count += 1;
    }
    if count == 0 {
        return Ok(0);
    }
    // SAFETY: the first `count` headers were written above. Each points to a name, a control
    // buffer and pieces that live until the end of this function.
    let taken = unsafe {
        libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr().cast(), count, libc::MSG_DONTWAIT)
    };
    usize::try_from(taken).map_err(|_| io::Error::last_os_error())
}

/// Writes what the kernel is to know of a train beside its bytes.
fn describe(message: &mut libc::msghdr, control: &mut Control, train: &Train) {
    let mut length = 0;
    if train.count > 1 {
        append(control, &mut length, (libc::SOL_UDP, libc::UDP_SEGMENT), train.size);
    }
    match train.from {
        Some(IpAddr::V4(ip)) => {
            let source = libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) };
            let value = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: source, ipi_addr: source };
            append(control, &mut length, (libc::IPPROTO_IP, libc::IP_PKTINFO), value);
        }
        Some(IpAddr::V6(ip)) => {
            let source = libc::in6_addr { s6_addr: ip.octets() };
            let value = libc::in6_pktinfo { ipi6_ifindex: 0, ipi6_addr: source };
            append(control, &mut length, (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO), value);
        }
        None => {}
    }
    if length > 0 {
        message.msg_control = (&raw mut control.0).cast();
        message.msg_controllen = length as _;
    }
}

/// Appends a control message (RFC 3542 section 20.2 for the layout).
fn append<T: Copy>(
    control: &mut Control,
    length: &mut usize,
    (level, kind): (libc::c_int, libc::c_int),
    value: T,
) {
    let Ok(size) = libc::c_uint::try_from(size_of::<T>()) else { return };
    // SAFETY: both only compute sizes.
    let (used, space) = unsafe { (libc::CMSG_LEN(size), libc::CMSG_SPACE(size)) };
    let Some(place) = control.0.get_mut(*length..*length + space as usize) else { return };
    // SAFETY: a cmsghdr may be all zero. It and the value fit into `place`, which is as long as
    // CMSG_SPACE says and, like every sum of such lengths, aligned for a cmsghdr.
    unsafe {
        let mut head: libc::cmsghdr = mem::zeroed();
        head.cmsg_len = used as _;
        head.cmsg_level = level;
        head.cmsg_type = kind;
        let at = place.as_mut_ptr().cast::<libc::cmsghdr>();
        at.write(head);
        libc::CMSG_DATA(at).cast::<T>().write_unaligned(value);
    }
    *length += space as usize;
}

/// Asks for socket buffers beyond what the kernel grants to everybody, which it does for a
/// process that may administer the network.
pub(super) fn force_buffers(socket: BorrowedFd<'_>, bytes: libc::c_int) {
    for option in [libc::SO_RCVBUFFORCE, libc::SO_SNDBUFFORCE] {
        let value = &raw const bytes;
        let Ok(size) = libc::socklen_t::try_from(size_of::<libc::c_int>()) else { return };
        // SAFETY: `value` points to `size` bytes. A refusal changes nothing.
        let _ = unsafe {
            libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, value.cast(), size)
        };
    }
}
