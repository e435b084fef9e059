//! What the kernel takes for sending and receiving: single datagrams, trains, and many trains with
//! one call.
//!
//! Over loopback each sent datagram includes the receiver's half of the kernel's work. For the
//! way out alone run it where 10.250.0.2 lies behind a device that throws everything away:
//!
//! ```text
//! unshare -n sh -c 'ip link set lo up; ip link add out type veth peer name nil; ip link set nil up
//!   ip addr add 10.250.0.1/24 dev out; ip link set out up
//!   ip neigh add 10.250.0.2 lladdr 02:00:00:00:00:01 dev out; cargo bench --offline --bench io'
//! ```

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]

use std::net::{SocketAddr, UdpSocket};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fanlight::io::udp::{Route, Udp, bind};
use quinn_udp::{Transmit, UdpSockRef, UdpSocketState};

/// Destinations: as many viewers.
const VIEWERS: usize = 50;

/// Bytes of a datagram.
const SIZE: usize = 1_200;

/// Sockets that somebody sends to, emptied between two measurements.
struct Sinks {
    sockets: Vec<UdpSocket>,
    addresses: Vec<SocketAddr>,
}

impl Sinks {
    fn on_loopback() -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let sockets: Vec<UdpSocket> = (0..VIEWERS).map(|_| UdpSocket::bind(any).unwrap()).collect();
        for socket in &sockets {
            socket.set_nonblocking(true).unwrap();
        }
        let addresses = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
        Self { sockets, addresses }
    }

    fn behind_a_device() -> Option<Self> {
        UdpSocket::bind("10.250.0.1:0").ok()?;
        let address = |n: u16| SocketAddr::from(([10, 250, 0, 2], 40_000 + n));
        Some(Self { sockets: Vec::new(), addresses: (0..50u16).map(address).collect() })
    }

    fn drain(&self) {
        let mut buffer = [0; 2_048];
        for socket in &self.sockets {
            while socket.recv(&mut buffer).is_ok() {}
        }
    }
}

fn send(criterion: &mut Criterion) {
    let payload = vec![7u8; SIZE];
    let places = [
        ("loopback", Some(Sinks::on_loopback()), "127.0.0.1:0"),
        ("veth", Sinks::behind_a_device(), "10.250.0.1:0"),
    ];
    for (place, sinks, local) in places {
        let Some(sinks) = sinks else { continue };
        let mut group = criterion.benchmark_group(format!("io/send/{place}"));
        for train in [1usize, 5, 10] {
            let total = VIEWERS * train;
            group.throughput(Throughput::Elements(total as u64));
            let socket = bind(local.parse().unwrap()).unwrap();
            let state = UdpSocketState::new(UdpSockRef::from(&socket)).unwrap();
            let joined = vec![7u8; SIZE * train];
            group.bench_function(BenchmarkId::new("quinn-udp", train), |bencher| {
                bencher.iter_batched(
                    || sinks.drain(),
                    |()| {
                        for to in &sinks.addresses {
                            let transmit = Transmit {
                                destination: *to,
                                ecn: None,
                                contents: &joined,
                                segment_size: (train > 1).then_some(SIZE),
                                src_ip: None,
                            };
                            state.try_send(UdpSockRef::from(&socket), &transmit).unwrap();
                        }
                    },
                    criterion::BatchSize::PerIteration,
                );
            });
            let mut udp = Udp::new(bind(local.parse().unwrap()).unwrap()).unwrap();
            let from = SocketAddr::from(([0, 0, 0, 0], 0));
            group.bench_function(BenchmarkId::new("sendmmsg", train), |bencher| {
                bencher.iter_batched(
                    || sinks.drain(),
                    |()| {
                        let routes = sinks.addresses.iter().map(|to| Route { from, to: *to });
                        let all = routes.flat_map(|route| std::iter::repeat_n(route, train));
                        assert_eq!(udp.send(all.map(|route| (route, payload.as_slice()))), 0);
                    },
                    criterion::BatchSize::PerIteration,
                );
            });
        }
        group.finish();
    }
}

fn receive(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("io/receive");
    let payload = vec![7u8; SIZE];
    for train in [1usize, 10] {
        let mut udp = Udp::new(bind("127.0.0.1:0".parse().unwrap()).unwrap()).unwrap();
        let to = udp.local_addr().unwrap();
        let mut sender = Udp::new(bind("127.0.0.1:0".parse().unwrap()).unwrap()).unwrap();
        let from = SocketAddr::from(([0, 0, 0, 0], 0));
        let total = 4 * train;
        group.throughput(Throughput::Elements(total as u64));
        group.bench_function(BenchmarkId::from_parameter(train), |bencher| {
            bencher.iter_batched(
                || {
                    for _ in 0..4 {
                        let one =
                            std::iter::repeat_n((Route { from, to }, payload.as_slice()), train);
                        assert_eq!(sender.send(one), 0);
                    }
                },
                |()| {
                    let mut count = 0;
                    while count < total {
                        udp.receive(|datagram| count += usize::from(datagram.bytes.len() == SIZE))
                            .unwrap();
                    }
                    count
                },
                criterion::BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, send, receive);
criterion_main!(benches);
