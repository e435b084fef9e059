//! The workers' reports and the doors' own counters as Prometheus text.

use std::fmt;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{IntCounterVec, Opts, Registry, TextEncoder};

use super::App;
use crate::counts::{DELAY_BUCKETS_US, DropReason, Histogram};
use crate::io::mailbox::WorkerHandle;
use crate::model::Kind;
use crate::units::Share;
use crate::worker::report::{ByKind, Flow, Report};

/// Counters of the doors, and everything that is shown.
pub(super) struct Metrics {
    registry: Registry,
    joins: IntCounterVec,
    messages: IntCounterVec,
    refused: IntCounterVec,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    pub fn new(workers: Vec<WorkerHandle>) -> Self {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, label: &str| {
            let counter = IntCounterVec::new(Opts::new(name, help), &[label]);
            #[expect(clippy::expect_used, reason = "names are constants; a test makes them all")]
            let counter = counter.expect("the name is sound");
            let _ = registry.register(Box::new(counter.clone()));
            counter
        };
        let joins = counter("fanlight_joins_total", "Attempts to join, by result.", "result");
        let messages =
            counter("fanlight_ws_messages_total", "Signaling messages, by direction.", "direction");
        let refused = counter(
            "fanlight_refused_total",
            "Connections and messages that the doors refused, by reason.",
            "reason",
        );
        let _ = registry.register(Box::new(Workers { workers }));
        Self { registry, joins, messages, refused }
    }

    pub fn joined(&self, result: &str) {
        self.joins.with_label_values(&[result]).inc();
    }

    pub fn message(&self, direction: &str) {
        self.messages.with_label_values(&[direction]).inc();
    }

    pub fn refused(&self, reason: &str) {
        self.refused.with_label_values(&[reason]).inc();
    }
}

/// `GET /metrics`
pub(super) async fn page(State(app): State<App>) -> Response {
    let mut text = String::new();
    let encoded = TextEncoder::new().encode_utf8(&app.metrics.registry.gather(), &mut text);
    if let Err(error) = encoded {
        tracing::error!(%error, "metrics cannot be written");
    }
    ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response()
}

/// Reads the newest reports when somebody asks.
struct Workers {
    workers: Vec<WorkerHandle>,
}

impl Collector for Workers {
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let reports: Vec<Report> = self.workers.iter().map(|worker| worker.report().1).collect();
        let mut families = now(&reports);
        families.extend(media(&reports));
        families.extend(relays(&reports));
        families.extend(timing(&reports));
        families
    }
}

fn now(reports: &[Report]) -> Vec<MetricFamily> {
    let sum = |of: fn(&Report) -> u32| f64::from(reports.iter().map(of).sum::<u32>());
    let by = |of: fn(&Report) -> ByKind<u32>, direction| {
        let (audio, video) =
            reports.iter().map(of).fold((0, 0), |(a, v), count| (a + count.audio, v + count.video));
        [
            gauge(&[("kind", "audio"), ("direction", direction)], f64::from(audio)),
            gauge(&[("kind", "video"), ("direction", direction)], f64::from(video)),
        ]
    };
    let tracks = [by(|r| r.tracks_in, "in"), by(|r| r.tracks_out, "out")].concat();
    let version = gauge(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    let participants = vec![
        gauge(&[("state", "connected")], sum(|r| r.connected)),
        gauge(&[("state", "connecting")], sum(|r| r.connecting)),
    ];
    vec![
        family("fanlight_build_info", "The running version.", MetricType::GAUGE, vec![version]),
        gauges(
            "fanlight_rooms",
            "Rooms, empty ones that are still kept among them.",
            vec![gauge(&[], sum(|r| r.rooms))],
        ),
        gauges(
            "fanlight_rooms_spanning",
            "Rooms with sessions on more than one worker.",
            vec![gauge(&[], sum(|r| r.spanning))],
        ),
        gauges(
            "fanlight_participants",
            "Participants, by the state of their media path.",
            participants,
        ),
        gauges(
            "fanlight_tracks",
            "Published tracks (in) and occupied halves of seats (out).",
            tracks,
        ),
        gauges(
            "fanlight_known_addresses",
            "Client addresses that have proved themselves.",
            vec![gauge(&[], sum(|r| r.addresses))],
        ),
        gauges(
            "fanlight_viewers_limited",
            "Viewers that are sent less than they want, as their networks carry no more.",
            vec![gauge(&[], sum(|r| r.limited))],
        ),
        gauges(
            "fanlight_videos_paused",
            "Videos that are not sent to a viewer at all, for the same reason.",
            vec![gauge(&[], sum(|r| r.paused))],
        ),
        gauges(
            "fanlight_keyframe_cache_bytes",
            "What is kept of each video since its last keyframe, for those who begin to watch.",
            vec![gauge(&[], reports.iter().map(|r| r.kept_bytes as f64).sum())],
        ),
        gauges(
            "fanlight_worker_shed_ratio",
            "Share of a worker's viewers that is spared video because it cannot keep up.",
            reports.iter().map(|report| shed(report, report.relief.video)).collect(),
        ),
        gauges(
            "fanlight_worker_shed_haste_ratio",
            "Share of a worker's viewers whose sound waits for the next packet because it cannot keep up.",
            reports.iter().map(|report| shed(report, report.relief.haste)).collect(),
        ),
        gauges(
            "fanlight_worker_shed_probes_ratio",
            "Share of a worker's viewers for which nothing better is looked for because it cannot keep up.",
            reports.iter().map(|report| shed(report, report.relief.probes)).collect(),
        ),
    ]
}

fn shed(report: &Report, share: Share) -> Metric {
    gauge(&[("worker", &report.worker.to_string())], share.as_f64())
}

fn gauges(name: &str, help: &str, metrics: Vec<Metric>) -> MetricFamily {
    family(name, help, MetricType::GAUGE, metrics)
}

fn counters(name: &str, help: &str, metrics: Vec<Metric>) -> MetricFamily {
    family(name, help, MetricType::COUNTER, metrics)
}

/// A count of both directions and kinds.
fn flows(reports: &[Report], of: fn(&Flow) -> u64) -> Vec<Metric> {
    let mut metrics = Vec::new();
    for (direction, inwards) in [("in", true), ("out", false)] {
        for (name, kind) in [("audio", Kind::Audio), ("video", Kind::Video)] {
            let flow = |report: &Report| {
                let totals = &report.totals;
                of(if inwards { &totals.rtp_in } else { &totals.rtp_out }.of(kind))
            };
            let total = reports.iter().map(flow).sum();
            metrics.push(counter(&[("direction", direction), ("kind", name)], total));
        }
    }
    metrics
}

fn media(reports: &[Report]) -> Vec<MetricFamily> {
    let total = |of: &dyn Fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    let directed = |into: fn(&Report) -> u64, out: fn(&Report) -> u64| {
        vec![
            counter(&[("direction", "in")], total(&into)),
            counter(&[("direction", "out")], total(&out)),
        ]
    };
    let drops = DropReason::ALL
        .iter()
        .map(|reason| {
            counter(&[("reason", reason.name())], total(&|r: &Report| r.totals.drops.of(*reason)))
        })
        .collect();
    let data = vec![
        counter(&[("result", "taken")], total(&|r| r.totals.data_in)),
        counter(&[("result", "delivered")], total(&|r| r.totals.data_out)),
        counter(&[("result", "refused")], total(&|r| r.totals.data_refused)),
    ];
    let failed = vec![
        counter(&[("why", "panic")], total(&|r| r.totals.failed_panic)),
        counter(&[("why", "budget")], total(&|r| r.totals.failed_budget)),
    ];
    let handed = vec![counter(&[], total(&|r| r.totals.handed_over))];
    vec![
        counters(
            "fanlight_rtp_packets_total",
            "RTP packets from publishers (in) and to viewers (out).",
            flows(reports, |flow| flow.packets),
        ),
        counters(
            "fanlight_rtp_bytes_total",
            "Bytes of RTP payload from publishers (in) and to viewers (out).",
            flows(reports, |flow| flow.bytes),
        ),
        counters(
            "fanlight_datagrams_total",
            "Datagrams of whatever kind.",
            directed(|r| r.totals.datagrams_in, |r| r.totals.datagrams_out),
        ),
        counters(
            "fanlight_datagram_bytes_total",
            "Bytes of datagrams of whatever kind.",
            directed(|r| r.totals.bytes_in, |r| r.totals.bytes_out),
        ),
        counters(
            "fanlight_dropped_packets_total",
            "Packets and messages that went no further, by reason.",
            drops,
        ),
        counters(
            "fanlight_keyframe_requests_total",
            "Keyframe requests from viewers (in) and to publishers (out).",
            directed(|r| r.totals.keyframe_requests_in, |r| r.totals.keyframe_requests_out),
        ),
        counters("fanlight_data_messages_total", "Data messages, by result.", data),
        counters(
            "fanlight_sessions_failed_total",
            "Sessions that were ended because the engine failed.",
            failed,
        ),
        counters(
            "fanlight_datagrams_handed_over_total",
            "Datagrams that came to another worker's socket.",
            handed,
        ),
    ]
}

/// What crosses between workers, and how much each has to do.
fn relays(reports: &[Report]) -> Vec<MetricFamily> {
    let total = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    let rates = |report: &Report| {
        let worker = report.worker.to_string();
        let of = |direction, rate: u32| {
            gauge(&[("worker", worker.as_str()), ("direction", direction)], f64::from(rate))
        };
        [of("in", report.load.packets_in), of("out", report.load.packets_out)]
    };
    vec![
        counters(
            "fanlight_relay_packets_total",
            "RTP packets that workers got from each other (in) and gave each other (out).",
            vec![
                counter(&[("direction", "in")], total(|r| r.totals.relay_in)),
                counter(&[("direction", "out")], total(|r| r.totals.relay_out)),
            ],
        ),
        counters(
            "fanlight_relay_links_broken_total",
            "Links between workers that broke because the other did not keep up.",
            vec![counter(&[], total(|r| r.totals.links_broken))],
        ),
        gauges(
            "fanlight_worker_packets_per_second",
            "RTP packets per second at each worker, measured twice a second.",
            reports.iter().flat_map(rates).collect(),
        ),
    ]
}

fn timing(reports: &[Report]) -> Vec<MetricFamily> {
    let per_worker = |of: fn(&Report) -> &Histogram| {
        reports.iter().map(|report| histogram(report, of(report))).collect::<Vec<_>>()
    };
    let family = |name, help, metrics| family(name, help, MetricType::HISTOGRAM, metrics);
    vec![
        family(
            "fanlight_forward_delay_seconds",
            "From a packet's arrival to its copies being given to the kernel.",
            per_worker(|r| &r.totals.forward_delay),
        ),
        family(
            "fanlight_worker_loop_lag_seconds",
            "How much later than its deadline a media thread's tick began.",
            per_worker(|r| &r.totals.loop_lag),
        ),
    ]
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn labelled(labels: &[(&str, &str)]) -> Metric {
    let mut metric = Metric::default();
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    metric.set_label(labels.iter().map(pair).collect());
    metric
}

fn gauge(labels: &[(&str, &str)], value: f64) -> Metric {
    let mut metric = labelled(labels);
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    metric.set_gauge(gauge);
    metric
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus counts in doubles")]
fn counter(labels: &[(&str, &str)], value: u64) -> Metric {
    let mut metric = labelled(labels);
    let mut counter = Counter::default();
    counter.set_value(value as f64);
    metric.set_counter(counter);
    metric
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus counts in doubles")]
fn histogram(report: &Report, counted: &Histogram) -> Metric {
    let worker = report.worker.to_string();
    let mut metric = labelled(&[("worker", &worker)]);
    let mut histogram = prometheus::proto::Histogram::default();
    let mut so_far = 0;
    let mut buckets = Vec::new();
    for (bound, count) in DELAY_BUCKETS_US.iter().zip(&counted.buckets) {
        so_far += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound as f64 / 1e6);
        bucket.set_cumulative_count(so_far);
        buckets.push(bucket);
    }
    histogram.set_bucket(buckets);
    histogram.set_sample_count(counted.count());
    histogram.set_sample_sum(counted.sum_us as f64 / 1e6);
    metric.set_histogram(histogram);
    metric
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::ids::WorkerId;

    fn names(families: &[MetricFamily]) -> HashMap<String, usize> {
        let count = |family: &MetricFamily| (family.name().to_owned(), family.get_metric().len());
        families.iter().map(count).collect()
    }

    #[test]
    fn every_reason_has_a_line_and_every_metric_a_help() {
        let metrics = Metrics::new(Vec::new());
        metrics.joined("ok");
        let families = metrics.registry.gather();
        assert!(families.iter().all(|family| !family.help().is_empty()));
        let names = names(&families);
        assert_eq!(names["fanlight_dropped_packets_total"], DropReason::ALL.len());
        assert_eq!(names["fanlight_joins_total"], 1);
    }

    #[test]
    fn a_histogram_is_cumulative_and_in_seconds() {
        let mut report = Report::new(WorkerId(0));
        report.totals.forward_delay.observe(std::time::Duration::from_micros(60), 3);
        report.totals.forward_delay.observe(std::time::Duration::from_secs(1), 1);
        let metric = histogram(&report, &report.totals.forward_delay);
        let histogram = metric.get_histogram();
        assert_eq!(histogram.get_sample_count(), 4);
        assert_eq!(histogram.get_bucket()[0].cumulative_count(), 0);
        assert_eq!(histogram.get_bucket()[1].cumulative_count(), 3);
        assert!((histogram.get_sample_sum() - 1.000_18).abs() < 1e-9);
    }
}
