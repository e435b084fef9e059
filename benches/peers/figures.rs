//! Rounds of both servers to one table.

use fanlight::load::delays::Percentiles;
use fanlight::load::report::Report;
use serde::Serialize;

use super::servers::Kind;

/// One measurement.
#[derive(Debug, Serialize)]
pub struct Round {
    /// Which load.
    pub load: String,
    /// Which server.
    pub server: &'static str,
    /// From 1; both servers have a round of each number, taken one after the other.
    pub round: usize,
    /// All figures.
    pub report: Report,
}

/// Prints what stands above the rows.
pub fn head() {
    println!(
        "{:<40} {:<9} {:<26} {:>6}  {:>14}  {:>14}  {:>6}",
        "", "", "µs per packet", "core %", "audio, ms", "video, ms", "loss %"
    );
}

/// Prints the rows of one load.
pub fn show(load: &str, rounds: &[Round]) {
    let of = |kind: Kind| {
        let own = rounds.iter().filter(move |round| round.server == kind.name());
        own.map(|round| &round.report).collect::<Vec<_>>()
    };
    let (ours, theirs) = (of(Kind::Fanlight), of(Kind::Janus));
    for (place, (kind, reports)) in
        [(Kind::Fanlight, &ours), (Kind::Janus, &theirs)].into_iter().enumerate()
    {
        if !reports.is_empty() {
            row(if place == 0 { load } else { "" }, kind, reports);
        }
    }
    let pairs = ours.iter().zip(&theirs);
    let ratios = pairs.filter_map(|(ours, theirs)| Some(cost(ours)? / cost(theirs)?)).collect();
    if let Some(spread) = Spread::of(ratios) {
        println!("{:<40} {:<9} {}", "", "ratio", spread.text(2));
    }
}

fn row(load: &str, kind: Kind, reports: &[&Report]) {
    let all = |of: &dyn Fn(&Report) -> Option<f64>| {
        Spread::of(reports.iter().filter_map(|report| of(report)).collect())
    };
    let middle = |of: &dyn Fn(&Report) -> Option<f64>, digits: usize| {
        all(of).map_or_else(|| "-".to_owned(), |spread| format!("{:.digits$}", spread.median))
    };
    let delay = |of: fn(&Report) -> Option<Percentiles>| {
        let half = middle(&|report| of(report).map(|delay| delay.p50), 1);
        let most = middle(&|report| of(report).map(|delay| delay.p99), 1);
        format!("{half} / {most}")
    };
    println!(
        "{load:<40} {:<9} {:<26} {:>6}  {:>14}  {:>14}  {:>6}",
        kind.name(),
        all(&cost).map_or_else(|| "-".to_owned(), |spread| spread.text(1)),
        middle(&|report| report.server.as_ref().map(|server| server.cpu_percent), 0),
        delay(|report| report.audio.delay_ms),
        delay(|report| report.video.delay_ms),
        middle(&lost_percent, 2),
    );
}

/// What would mislead whoever reads the figures of a round; `None` if nothing would.
pub fn complaint(report: &Report) -> Option<String> {
    let mut all = report.spoiled.clone();
    all.extend(report.people.reasons.iter().map(|(why, count)| format!("{count} × {why}")));
    if report.interrupted {
        all.push("ended before its time".to_owned());
    }
    let silent = report.audio.silent + report.video.silent;
    if silent > 0 {
        let streams = report.audio.streams + report.video.streams;
        all.push(format!("{silent} of {streams} streams brought nothing"));
    }
    (!all.is_empty()).then(|| all.join("; "))
}

/// CPU time of the server per packet that reached a viewer, µs.
fn cost(report: &Report) -> Option<f64> {
    report.server.as_ref()?.cpu_us_per_packet
}

/// Packets of both kinds that did not come, in percent.
fn lost_percent(report: &Report) -> Option<f64> {
    let lost = report.audio.lost? + report.video.lost?;
    let expected = report.audio.expected + report.video.expected;
    (expected > 0).then(|| 100.0 * lost as f64 / expected as f64)
}

/// The middle and the ends of several figures.
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let upper = values.get(values.len() / 2)?;
        let lower = values.get((values.len() - 1) / 2)?;
        Some(Self { median: f64::midpoint(*lower, *upper), least, most })
    }

    fn text(&self, digits: usize) -> String {
        let Self { median, least, most } = self;
        format!("{median:.digits$} ({least:.digits$} to {most:.digits$})")
    }
}
