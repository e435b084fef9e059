//! The report for people.

use std::fmt::{self, Write as _};

use super::delays::Percentiles;
use super::report::{Packets, Report};

/// Shown where the client itself stood in a figure's way.
const SPOILED: &str = "spoiled";

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for why in &self.spoiled {
            writeln!(f, "NOT THE SERVER'S FIGURES: {why}")?;
        }
        if self.interrupted {
            writeln!(f, "ended before its time")?;
        }
        let people = &self.people;
        writeln!(f, "{}, {:.1} s measured", self.scenario, self.seconds)?;
        writeln!(
            f,
            "people   joined {} of {}, failed {}",
            people.joined, people.asked, people.failed
        )?;
        for (why, count) in &people.reasons {
            writeln!(f, "         {count} × {why}")?;
        }
        writeln!(f)?;
        self.write_packets(f)?;
        writeln!(f)?;
        self.write_times(f)?;
        writeln!(f)?;
        self.write_machines(f)
    }
}

impl Report {
    fn write_packets(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head =
            ["packets", "sent", "expected", "received", "lost", "lost %", "doubled", "silent"];
        writeln!(f, "{}", row(&head.map(String::from)))?;
        for (name, packets) in [("audio", &self.audio), ("video", &self.video)] {
            writeln!(f, "{}", row(&self.packet_cells(name, packets)))?;
        }
        Ok(())
    }

    fn packet_cells(&self, name: &str, packets: &Packets) -> [String; 8] {
        [
            name.to_owned(),
            packets.sent.to_string(),
            packets.expected.to_string(),
            packets.received.to_string(),
            self.shown(packets.lost.map(|lost| lost.to_string())),
            self.shown(packets.lost_percent.map(|percent| format!("{percent:.4}"))),
            packets.duplicated.to_string(),
            format!("{} of {}", packets.silent, packets.streams),
        ]
    }

    fn write_times(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["ms", "count", "p50", "p99", "p99.9", "max"];
        writeln!(f, "{}", row(&head.map(String::from)))?;
        for (name, times) in [
            ("delay, audio", self.audio.delay_ms),
            ("delay, video", self.video.delay_ms),
            ("join", self.join_ms),
            ("first packet", self.first_packet_ms),
            ("first keyframe", self.first_keyframe_ms),
        ] {
            writeln!(f, "{}", row(&self.time_cells(name, times, true)))?;
        }
        for (name, times) in [
            ("client: sent late", self.client.send_lag_ms),
            ("client: read late", self.client.receive_wait_ms),
        ] {
            writeln!(f, "{}", row(&self.time_cells(name, times, false)))?;
        }
        Ok(())
    }

    fn time_cells(&self, name: &str, times: Option<Percentiles>, servers: bool) -> [String; 6] {
        let none = if servers { self.shown(None) } else { "–".to_owned() };
        let cell = |of: fn(&Percentiles) -> f64| {
            times.as_ref().map_or_else(|| none.clone(), |times| format!("{:.2}", of(times)))
        };
        [
            name.to_owned(),
            times.map_or_else(|| none.clone(), |times| times.count.to_string()),
            cell(|times| times.p50),
            cell(|times| times.p99),
            cell(|times| times.p999),
            cell(|times| times.max),
        ]
    }

    fn write_machines(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let client = &self.client;
        let count = |count: Option<u64>| count.map_or_else(|| "–".to_owned(), |n| n.to_string());
        let micros = |micros: Option<f64>| micros.map(|micros| format!("{micros:.2} µs"));
        let own = micros(client.cpu_us_per_packet).unwrap_or_else(|| "–".to_owned());
        writeln!(
            f,
            "client   {:.0} % of a core at most, {own} per received packet, own drops {}, unsent {}, foreign {}",
            client.busy_percent,
            count(client.socket_drops),
            client.send_refused,
            client.foreign,
        )?;
        if let Some(server) = &self.server {
            writeln!(
                f,
                "server   {:.1} % of a core, {} per forwarded packet, {:.2} ms/s per person\n\
                 server   memory {:.1} → {:.1} MiB, {:.0} KiB per person; switches per second {:.0} \
                 waiting, {:.0} pushed aside",
                server.cpu_percent,
                self.shown(micros(server.cpu_us_per_packet)),
                server.cpu_ms_per_person,
                server.resident_empty_mib,
                server.resident_mib,
                server.resident_kib_per_person,
                server.voluntary_switches,
                server.involuntary_switches,
            )?;
        }
        Ok(())
    }

    fn shown(&self, cell: Option<String>) -> String {
        let none = if self.spoiled.is_empty() { "–" } else { SPOILED };
        cell.unwrap_or_else(|| none.to_owned())
    }
}

/// A line of cells, the first to the left, the others to the right.
fn row(cells: &[String]) -> String {
    let mut line = String::new();
    for (n, cell) in cells.iter().enumerate() {
        let _ = if n == 0 { write!(line, "{cell:<18}") } else { write!(line, "{cell:>12}") };
    }
    line
}
