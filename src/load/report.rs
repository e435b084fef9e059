//! From what the threads found to figures, and whether the client itself stood in their way.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use super::delays::{Delays, Percentiles};
use super::options::Options;
use super::plan::{Person, pairs};
use super::proc::{Sample, Used};
use super::thread::{Heard, ThreadReport};
use crate::model::Kind;

/// Most delay of frames against their schedule, p99 in ms, with which figures still speak of the
/// server: a frame lasts 33 ms.
const MOST_LAG: f64 = 5.0;
/// Most of our packets, in percent, that our own sockets may drop.
const MOST_DROPS: f64 = 0.05;
/// Most of a core, in percent, that a load thread may use; above it queues grow.
const MOST_BUSY: f64 = 90.0;

/// All figures of a run. What the client itself spoiled is `None`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Version of the load generator.
    pub version: &'static str,
    /// What was run.
    pub scenario: &'static str,
    /// Seconds that were measured.
    pub seconds: f64,
    /// It was ended from outside before its time.
    pub interrupted: bool,
    /// Why figures are spoiled; empty if they are not.
    pub spoiled: Vec<String>,
    /// Who joined.
    pub people: People,
    /// Audio packets.
    pub audio: Packets,
    /// Video packets.
    pub video: Packets,
    /// `hello` to the connected peer connection, ms.
    pub join_ms: Option<Percentiles>,
    /// `hello` to the first packet, ms.
    pub first_packet_ms: Option<Percentiles>,
    /// `hello` to the first keyframe, ms.
    pub first_keyframe_ms: Option<Percentiles>,
    /// The load generator itself.
    pub client: ClientFigures,
    /// The server's process, if `--pid` named it.
    pub server: Option<ServerFigures>,
}

/// Who joined.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct People {
    /// Began to join.
    pub asked: u32,
    /// Peer connection connected.
    pub joined: u32,
    /// Did not join, or were lost later.
    pub failed: u32,
    /// Why, and how many.
    pub reasons: BTreeMap<String, u32>,
}

/// Packets of one kind that were sent within the window.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Packets {
    /// By publishers.
    pub sent: u64,
    /// Streams that viewers should have: one per viewer and publisher.
    pub streams: u64,
    /// Of these, how many brought no packet at all; what they lack is not in `lost`.
    pub silent: u64,
    /// That should have come on the streams that came.
    pub expected: u64,
    /// Different ones that came.
    pub received: u64,
    /// That did not.
    pub lost: Option<u64>,
    /// The same in percent of `expected`.
    pub lost_percent: Option<f64>,
    /// That came again.
    pub duplicated: u64,
    /// From the publisher's encryption to the viewer's socket, ms.
    pub delay_ms: Option<Percentiles>,
}

/// How the load generator itself fared.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientFigures {
    /// Threads.
    pub threads: usize,
    /// Percent of a core that the busiest used.
    pub busy_percent: f64,
    /// CPU time of the load threads per received packet, µs; sending is in it.
    pub cpu_us_per_packet: Option<f64>,
    /// How late frames left against their schedule, ms.
    pub send_lag_ms: Option<Percentiles>,
    /// How long datagrams waited in our sockets, ms.
    pub receive_wait_ms: Option<Percentiles>,
    /// Datagrams that the kernel dropped at our sockets; `None` where it does not tell.
    pub socket_drops: Option<u64>,
    /// Datagrams that the kernel did not take from us.
    pub send_refused: u64,
    /// Packets that are no one's of this run.
    pub foreign: u64,
}

/// The server's process over the window.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerFigures {
    /// Percent of a core.
    pub cpu_percent: f64,
    /// CPU time per packet that reached a viewer, µs.
    pub cpu_us_per_packet: Option<f64>,
    /// CPU time per person and second, ms.
    pub cpu_ms_per_person: f64,
    /// Resident memory before anybody came, MiB.
    pub resident_empty_mib: f64,
    /// Resident memory when the window closed, MiB.
    pub resident_mib: f64,
    /// What it grew by per person, KiB.
    pub resident_kib_per_person: f64,
    /// Context switches per second because it waited.
    pub voluntary_switches: f64,
    /// Context switches per second because somebody else ran.
    pub involuntary_switches: f64,
}

/// What was measured beside the load threads.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    /// It was ended from outside.
    pub interrupted: bool,
    /// Drops at our sockets within the window.
    pub drops: Option<u64>,
    /// The server's process before anybody came.
    pub empty: Option<Sample>,
    /// The server's process when the window opened and closed.
    pub server: Option<(Sample, Sample)>,
}

impl Report {
    /// Puts all together.
    #[must_use]
    pub fn new(
        options: &Options,
        plan: &[Person],
        found: &[ThreadReport],
        beside: &Beside,
    ) -> Self {
        let total = |of: fn(&ThreadReport) -> &Delays| {
            let mut all = Delays::new();
            found.iter().for_each(|report| all.add(of(report)));
            all.percentiles()
        };
        let seconds = found.iter().map(|report| report.wall.as_secs_f64()).fold(0.0, f64::max);
        let mut reasons: BTreeMap<String, u32> = BTreeMap::new();
        for (why, count) in found.iter().flat_map(|report| &report.failures) {
            *reasons.entry(why.clone()).or_default() += count;
        }
        let people = People {
            asked: found.iter().map(|report| report.asked).sum(),
            joined: found.iter().map(|report| report.joined).sum(),
            failed: reasons.values().sum(),
            reasons,
        };
        let counted: u64 = found.iter().map(|report| report.ears.counted).sum();
        let mut report = Self {
            version: env!("CARGO_PKG_VERSION"),
            scenario: options.scenario.name(),
            seconds: round(seconds),
            interrupted: beside.interrupted,
            spoiled: Vec::new(),
            people,
            audio: packets(options, plan, found, Kind::Audio),
            video: packets(options, plan, found, Kind::Video),
            join_ms: total(|report| &report.joins),
            first_packet_ms: total(|report| &report.first_packet),
            first_keyframe_ms: total(|report| &report.first_keyframe),
            client: ClientFigures {
                threads: found.len(),
                busy_percent: round(found.iter().map(busy).fold(0.0, f64::max)),
                cpu_us_per_packet: per_packet(
                    found.iter().map(|report| report.cpu.as_secs_f64()).sum(),
                    found.iter().map(|report| report.decrypted).sum(),
                ),
                send_lag_ms: total(|report| &report.lag),
                receive_wait_ms: total(|report| &report.ears.waits),
                socket_drops: beside.drops,
                send_refused: found.iter().map(|report| report.refused).sum(),
                foreign: found.iter().map(|report| report.ears.foreign).sum(),
            },
            server: beside.server.as_ref().map(|(from, to)| {
                let empty = beside.empty.as_ref().unwrap_or(from);
                server(empty, (from, to), seconds, counted)
            }),
        };
        let joined = float(u64::from(report.people.joined.max(1)));
        if let Some(server) = &mut report.server {
            server.cpu_ms_per_person = round(server.cpu_percent * 10.0 / joined);
            let grown = (server.resident_mib - server.resident_empty_mib) * 1_024.0;
            server.resident_kib_per_person = round(grown / joined);
        }
        report.audio.delay_ms = total(|report| &report.ears.audio);
        report.video.delay_ms = total(|report| &report.ears.video);
        report.spoiled = verdict(&report.client, counted);
        if !report.spoiled.is_empty() {
            report.spoil();
        }
        report
    }

    /// Takes out what speaks of the client as much as of the server.
    fn spoil(&mut self) {
        for packets in [&mut self.audio, &mut self.video] {
            (packets.lost, packets.lost_percent, packets.delay_ms) = (None, None, None);
        }
        (self.join_ms, self.first_packet_ms, self.first_keyframe_ms) = (None, None, None);
        // What the server used is its own, unless packets that it had sent were lost here.
        let lost = percent(
            self.client.socket_drops.unwrap_or(0),
            self.audio.received + self.video.received,
        );
        if let Some(server) = self.server.as_mut().filter(|_| lost > MOST_DROPS) {
            server.cpu_us_per_packet = None;
        }
    }
}

/// Why the client stood in the figures' way.
fn verdict(client: &ClientFigures, counted: u64) -> Vec<String> {
    let mut why = Vec::new();
    if let Some(lag) = client.send_lag_ms.filter(|lag| lag.p99 > MOST_LAG) {
        why.push(format!("frames left late: p99 {:.1} ms, limit {MOST_LAG} ms", lag.p99));
    }
    let drops = percent(client.socket_drops.unwrap_or(0) + client.send_refused, counted);
    if drops > MOST_DROPS {
        why.push(format!("own sockets dropped {drops:.2} % of packets, limit {MOST_DROPS} %"));
    }
    if client.busy_percent > MOST_BUSY {
        let busy = client.busy_percent;
        why.push(format!("a load thread was {busy:.0} % busy, limit {MOST_BUSY} %"));
    }
    why
}

fn packets(options: &Options, plan: &[Person], found: &[ThreadReport], kind: Kind) -> Packets {
    let rate = if kind == Kind::Audio { options.audio_pps } else { options.video_pps };
    let whole: BTreeSet<u32> = found.iter().flat_map(|report| &report.whole).copied().collect();
    let sent: HashMap<u32, u64> = found
        .iter()
        .flat_map(|report| &report.sent)
        .map(|(who, [audio, video])| (*who, if kind == Kind::Audio { *audio } else { *video }))
        .collect();
    let heard: HashMap<(u32, u32), &Heard> = found
        .iter()
        .flat_map(|report| &report.heard)
        .filter(|heard| heard.kind == kind)
        .map(|heard| ((heard.viewer, heard.publisher), heard))
        .collect();
    let mut packets = Packets { sent: sent.values().sum(), ..Packets::default() };
    let there = |(a, b): &(u32, u32)| rate > 0 && whole.contains(a) && whole.contains(b);
    for (viewer, publisher) in pairs(plan).filter(there) {
        packets.streams += 1;
        let Some(heard) = heard.get(&(viewer, publisher)).filter(|heard| heard.received > 0) else {
            packets.silent += 1;
            continue;
        };
        packets.received += heard.received;
        packets.duplicated += heard.duplicated;
        packets.expected += match options.simulcast && kind == Kind::Video {
            true => heard.spanned,
            false => sent.get(&publisher).copied().unwrap_or(0),
        };
    }
    let lost = packets.expected.saturating_sub(packets.received);
    packets.lost = Some(lost);
    packets.lost_percent = (packets.expected > 0).then(|| percent(lost, packets.expected));
    packets
}

fn server(
    empty: &Sample,
    (from, to): (&Sample, &Sample),
    seconds: f64,
    counted: u64,
) -> ServerFigures {
    let Used { cpu, voluntary, involuntary } = to.since(from);
    let per_second = |count: u64| round(float(count) / seconds.max(0.001));
    ServerFigures {
        cpu_percent: round(100.0 * cpu.as_secs_f64() / seconds.max(0.001)),
        cpu_us_per_packet: per_packet(cpu.as_secs_f64(), counted),
        cpu_ms_per_person: 0.0,
        resident_empty_mib: round(float(empty.resident) / 1_024.0),
        resident_mib: round(float(to.resident) / 1_024.0),
        resident_kib_per_person: 0.0,
        voluntary_switches: per_second(voluntary),
        involuntary_switches: per_second(involuntary),
    }
}

fn busy(report: &ThreadReport) -> f64 {
    100.0 * report.cpu.as_secs_f64() / report.wall.as_secs_f64().max(0.001)
}

fn per_packet(seconds: f64, packets: u64) -> Option<f64> {
    (packets > 0).then(|| round(seconds * 1e6 / float(packets)))
}

fn percent(part: u64, whole: u64) -> f64 {
    100.0 * float(part) / float(whole.max(1))
}

/// Counts here are far below 2⁵³, above which a float would round them.
#[expect(clippy::cast_precision_loss, reason = "counts of packets are far below 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}

/// To three digits behind the point.
fn round(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests;
