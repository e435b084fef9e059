//! Delays, and their percentiles.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Delays in nanoseconds, kept to three digits.
#[derive(Clone, Debug)]
pub struct Delays(Option<Histogram<u64>>);

/// What delays come to, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Percentiles {
    /// How many there are.
    pub count: u64,
    /// Half are at most so long.
    pub p50: f64,
    /// 99 of 100 are at most so long.
    pub p99: f64,
    /// 999 of 1,000 are at most so long.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

impl Delays {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        // Three digits are within what the library takes; were they not, there would be no
        // percentiles and all else as it is.
        Self(Histogram::new(3).ok())
    }

    /// Adds one, in nanoseconds.
    pub fn record(&mut self, nanos: u64) {
        if let Some(histogram) = &mut self.0 {
            // It grows as it must; what it cannot hold is longer than a century.
            let _ = histogram.record(nanos);
        }
    }

    /// Adds all of another.
    pub fn add(&mut self, other: &Self) {
        if let (Some(histogram), Some(other)) = (&mut self.0, &other.0) {
            // The histogram grows as it must.
            let _ = histogram.add(other);
        }
    }

    /// What they come to; `None` when there are none.
    #[must_use]
    pub fn percentiles(&self) -> Option<Percentiles> {
        let histogram = self.0.as_ref().filter(|histogram| !histogram.is_empty())?;
        let at = |quantile| ms(histogram.value_at_quantile(quantile));
        Some(Percentiles {
            count: histogram.len(),
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: ms(histogram.max()),
        })
    }
}

impl Default for Delays {
    fn default() -> Self {
        Self::new()
    }
}

/// Milliseconds with three digits behind the point.
fn ms(nanos: u64) -> f64 {
    let micros = u32::try_from(nanos.saturating_add(500) / 1_000).unwrap_or(u32::MAX);
    f64::from(micros) / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_in_milliseconds_and_add_up_over_threads() {
        let (mut one, mut other) = (Delays::new(), Delays::new());
        assert_eq!(one.percentiles(), None);
        (1..=50).for_each(|n| one.record(n * 1_000_000));
        (51..=100).for_each(|n| other.record(n * 1_000_000));
        one.add(&other);
        let all = one.percentiles().unwrap();
        assert_eq!(all.count, 100);
        assert!((all.p50 - 50.0).abs() < 0.1 && (all.p99 - 99.0).abs() < 0.1, "{all:?}");
        assert!((all.max - 100.0).abs() < 0.1);
    }
}
