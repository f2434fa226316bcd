//! A row in words: the columns that every printed table shares.
//!
//! In: a row and the one it is compared with. Out: short cells. Knows nothing of the table's form.

use super::Row;

/// What the columns are called.
pub(super) const HEADER: [&str; 12] = [
    "policy",
    "ms/token",
    "io",
    "compute",
    "reads",
    "KiB/token",
    "run",
    "ampl",
    "hit %",
    "p99",
    "x bound",
    "x flash",
];

/// What they mean, beyond their names.
pub(super) const LEGEND: &str = "Times are simulated, in ms a token: io is the card, p99 the slowest token of a \
hundred. run: missed bundles a read; ampl: bytes read for each byte missed; x bound: io over the \
bound, a cache of the same size that knows the future; x flash: io of llm-in-a-flash over this io, more is \
faster.";

/// The cells of `row`; `baseline` is the row of [`BASELINE`](super::BASELINE) beside it.
pub(super) fn cells(row: &Row, baseline: Option<&Row>) -> [String; HEADER.len()] {
    [
        row.policy.clone(),
        digits(row.ms_per_token),
        digits(row.io_ms),
        digits(row.compute_ms),
        digits(row.reads_per_token),
        digits(row.bytes_per_token / 1024.0),
        format!("{:.2}", row.mean_run_bundles),
        format!("{:.2}", row.read_amplification),
        format!("{:.1}", 100.0 * row.hit_rate),
        digits(row.p99_ms),
        factor(Some(row.io_ms / row.bound_ms)),
        factor(baseline.map(|baseline| baseline.io_ms / row.io_ms)),
    ]
}

/// A share as a percentage without needless digits.
pub(crate) fn percent(share: f64) -> String {
    format!("{} %", (share * 1e5).round() / 1e3)
}

/// How many times as much; a dash where that cannot be said.
pub(crate) fn factor(times: Option<f64>) -> String {
    match times {
        Some(times) if times.is_finite() => format!("{times:.2}"),
        _ => "-".to_owned(),
    }
}

/// Three digits that count, and at most four decimals.
pub(crate) fn digits(x: f64) -> String {
    // The bounds are where rounding would add a digit.
    let decimals = match x.abs() {
        0.0 => return "0".to_owned(),
        x if x >= 99.95 => 0,
        x if x >= 9.995 => 1,
        x if x >= 0.9995 => 2,
        x if x >= 0.099_95 => 3,
        _ => 4,
    };
    format!("{x:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::{digits, percent};

    #[test]
    fn three_digits_count() {
        let shown = [1234.5, 99.96, 12.345, 9.996, 1.0, 0.12345, 0.001_24, 0.0].map(digits);
        assert_eq!(shown, ["1234", "100", "12.3", "10.0", "1.00", "0.123", "0.0012", "0"]);
    }

    #[test]
    fn shares_are_percentages() {
        assert_eq!([0.0, 0.05, 0.125, 1.0].map(percent), ["0 %", "5 %", "12.5 %", "100 %"]);
    }
}
