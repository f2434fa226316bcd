//! The search among candidate pairs against the full greedy search: path weight of the one as a
//! share of the other's, and wall time, on synthetic activations and on the traces given.
//!
//! `cargo bench -p ripple-tests --bench placement -- [TRACE...]`

use ripple_host_sim::placement::{greedy, greedy_wide};
use ripple_host_sim::profile::coactivation::{CoActivation, Columns};
use ripple_host_sim::profile::trace::Trace;
use ripple_tests::synthetic::Synthetic;
use std::cmp::Reverse;
use std::path::Path;
use std::time::{Duration, Instant};

/// How many times a joint activation lies between neighbours.
fn weight(columns: &Columns, order: &[u16]) -> u64 {
    let pairs: Vec<(u16, u16)> = order.windows(2).map(|ends| (ends[0], ends[1])).collect();
    columns.count(&pairs).into_iter().map(u64::from).sum()
}

/// What `work` gives, and how long it took.
fn timed<R>(work: impl FnOnce() -> R) -> (R, Duration) {
    let start = Instant::now();
    (work(), start.elapsed())
}

fn compare(trace: &Trace) {
    for layer in 0..trace.layers().min(8) {
        let (columns, gathering) = timed(|| Columns::gather(trace, layer));
        let (counts, counting) = timed(|| CoActivation::measure(trace, layer));
        for percent in [0, 10] {
            let mut rest: Vec<u16> = (0..trace.neurons()).map(|neuron| neuron as u16).collect();
            rest.sort_by_key(|&neuron| Reverse(counts.frequency()[usize::from(neuron)]));
            rest.drain(..trace.neurons() * percent / 100);
            rest.sort_unstable();
            let (wide, searching) = timed(|| greedy_wide(&columns, &rest, &|_| {}));
            let (full, full_searching) = timed(|| greedy(&counts, &rest));
            let share = weight(&columns, &wide) as f64 / weight(&columns, &full) as f64;
            println!(
                "{:>20}  {:>5} neurons  {:>6} tokens  layer {layer}  hot {percent:>2} %  weight \
                 {:.2} %  wall {:.2?} of {:.2?}",
                trace.model(),
                trace.neurons(),
                trace.tokens(),
                100.0 * share,
                gathering + searching,
                counting + full_searching,
            );
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let paths: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    for path in &paths {
        compare(&Trace::read(Path::new(path))?);
    }
    if paths.is_empty() {
        for neurons in [1024, 4096, 8192, 16384] {
            compare(&Synthetic::new(1, neurons, 128, 0.03, 1).trace(0..256));
        }
    }
    Ok(())
}
