//! A row in words: the columns that every printed table shares.
//!
//! In: a row and the one it is compared with. Out: short cells. Knows nothing of the table's form.

use super::Row;
use crate::plot::digits;

/// What the columns are called.
pub(super) const HEADER: [&str; 14] = [
    "policy", "ms", "io", "core", "reads", "KiB", "run", "ampl", "hit %", "p99", "x floor",
    "x flash", "pages", "index",
];

/// What they mean, beyond their names.
pub(super) const LEGEND: &str = "Times are simulated, in ms a token: io is the card, p99 the slowest token of a \
hundred. reads: commands a token; KiB: a token; run: missed bundles a command; ampl: bytes read for each byte \
missed; x floor: io over the least that any policy with such a cache can take, one that knows the future among them \
and reads a token with one command; x flash: io of llm-in-a-flash over this io, more is faster; pages: bytes of the \
card that they take, over those of the FFN; index: KiB of RAM or mapped flash that tell where they are. dense and \
ours keep a command open from read to read.";

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
        factor(Some(row.io_ms / row.floor_ms)),
        factor(baseline.map(|baseline| baseline.io_ms / row.io_ms)),
        pages(row),
        if row.index_bytes == 0 { "-".to_owned() } else { digits(row.index_bytes as f64 / 1024.0) },
    ]
}

/// What pages take, in times the FFN.
fn pages(row: &Row) -> String {
    let times = row.page_bytes as f64 / row.ffn_bytes as f64;
    if row.page_bytes == 0 { "-".to_owned() } else { digits(times) }
}

/// How many times as much; a dash where that cannot be said.
pub(super) fn factor(times: Option<f64>) -> String {
    match times {
        Some(times) if times.is_finite() => format!("{times:.2}"),
        _ => "-".to_owned(),
    }
}
