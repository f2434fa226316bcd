//! Writes a trace of synthetic activations, by default of OPT-6.7B's shape: 32 layers of 16,384
//! neurons, 3 % active, 1,024 sequences of 128 tokens, 8.0 GiB.
//!
//! ```sh
//! cargo run --release -p ripple-tests --example synthetic_trace -- big.trace [SEQUENCES TOKENS LAYERS NEURONS]
//! /usr/bin/time -v cargo run --release -- place big.trace -o big.placement
//! ```

use rayon::prelude::*;
use ripple_host_sim::profile::trace::Trace;
use ripple_tests::synthetic::Synthetic;
use std::path::PathBuf;

/// Share of active neurons: the paper's OPT-6.7B has 3.0 to 3.3 %.
const SHARE: f64 = 0.03;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = PathBuf::from(args.next().ok_or("expected the name of the file to write")?);
    let mut number = |default: usize| args.next().map_or(Ok(default), |arg| arg.parse());
    let (sequences, tokens, layers, neurons) =
        (number(1024)?, number(128)?, number(32)?, number(16384)?);
    let model = Synthetic::new(layers, neurons, tokens, SHARE, 1);
    // A few sequences at a time, so that the trace need not fit in memory.
    let parts = (0..sequences).step_by(8).flat_map(|first| {
        let part = (first..sequences.min(first + 8)).into_par_iter();
        part.map(|sequence| model.trace(sequence..sequence + 1)).collect::<Vec<Trace>>()
    });
    Trace::write_joined(&path, model.header(), sequences * tokens, parts)?;
    let density = Trace::read(&path)?.density(0);
    println!("{}: {:.2} % active in layer 0", path.display(), 100.0 * density);
    Ok(())
}
