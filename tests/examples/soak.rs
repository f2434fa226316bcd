//! Decodes for as long as it is told, with random models, prompts, samplers, caches, gaps, cards and faults, and
//! compares every logit with a decoder that reads nothing from a card.
//!
//! ```sh
//! cargo run --release -p ripple-tests --example soak -- --steps 1000000
//! ```
//!
//! `--seed N` begins elsewhere. The first difference is printed with its seed and makes the exit status 1.

use rayon::prelude::*;
use ripple_host_sim::process::output::progress;
use ripple_tests::soak::{Done, text};
use std::process::ExitCode;
use std::time::Instant;

/// Texts that are run before it is looked whether the steps are enough.
const PIECE: u64 = 64;

/// Steps and the first seed, as the command line says; `None` where it says anything else.
fn asked() -> Option<(u64, u64)> {
    let (mut steps, mut first) = (None, 0);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next()?.parse().ok()?;
        match name.as_str() {
            "--steps" => steps = Some(value),
            "--seed" => first = value,
            _ => return None,
        }
    }
    Some((steps?, first))
}

fn main() -> ExitCode {
    let Some((steps, mut seed)) = asked() else {
        eprintln!("usage: soak --steps N [--seed N]");
        return ExitCode::from(2);
    };
    let begun = Instant::now();
    let bar = progress(steps, "steps");
    let mut all = Done::default();
    while all.steps < steps {
        let left = steps - all.steps;
        let texts: Vec<_> = (seed..seed + PIECE)
            .into_par_iter()
            .map(|seed| {
                let done = text(seed, left);
                bar.inc(done.as_ref().map_or(0, |done| done.steps));
                done
            })
            .collect();
        for done in texts {
            match done {
                Ok(done) => all += done,
                Err(what) => {
                    bar.finish_and_clear();
                    println!("{what}; all was right before: {all:?}");
                    return ExitCode::FAILURE;
                }
            }
        }
        seed += PIECE;
    }
    bar.finish_and_clear();
    let Done { texts, steps, faults, repeated, calmed, moved, reads } = all;
    println!(
        "{steps} steps of {texts} texts in {:.0} s on {} threads: {reads} reads, {faults} faults, {repeated} calls \
         repeated, {calmed} until the card was sound, {moved} windows moved; every logit the same to the bit",
        begun.elapsed().as_secs_f64(),
        rayon::current_num_threads(),
    );
    ExitCode::SUCCESS
}
