//! Decodes a text while its card fails in every way, and counts how that ends.
//!
//! ```sh
//! cargo run --release -p ripple-tests --example faults -- --scenarios 100000
//! ```
//!
//! `--seed N` begins elsewhere, `--kind N` runs one row of the table only. Whatever must not happen is printed
//! with its seed and makes the exit status 1.

use rayon::prelude::*;
use ripple_tests::faults::{Count, KINDS, Subject, run, table};
use std::process::ExitCode;
use std::time::Instant;

/// Scenarios, the first seed, and the only kind, as the command line says; `None` where it says anything else.
fn asked() -> Option<(u64, u64, Option<u64>)> {
    let (mut scenarios, mut first, mut kind) = (None, 0, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next()?.parse().ok()?;
        match name.as_str() {
            "--scenarios" => scenarios = Some(value),
            "--seed" => first = value,
            "--kind" if value < KINDS.len() as u64 => kind = Some(value),
            _ => return None,
        }
    }
    Some((scenarios?, first, kind))
}

fn main() -> ExitCode {
    let Some((scenarios, first, kind)) = asked() else {
        eprintln!("usage: faults --scenarios N [--seed N] [--kind 0..{}]", KINDS.len());
        return ExitCode::from(2);
    };
    // What must not happen is said once, in its own words.
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    let begun = Instant::now();
    let pieces =
        (0..scenarios.div_ceil(1000)).into_par_iter().map_init(Subject::all, |subjects, piece| {
            let mut counts = [Count::default(); KINDS.len()];
            let mut wrong = Vec::new();
            for seed in 1000 * piece..(1000 * (piece + 1)).min(scenarios) {
                let kind = kind.unwrap_or(seed) as usize % KINDS.len();
                match run(subjects, kind, first + seed) {
                    Ok(outcome) => counts[kind].add(outcome),
                    Err(error) => wrong.push(error),
                }
            }
            (counts, wrong)
        });
    let mut counts = [Count::default(); KINDS.len()];
    let mut wrong = Vec::new();
    for (some, errors) in pieces.collect::<Vec<_>>() {
        counts.iter_mut().zip(&some).for_each(|(count, some)| count.join(some));
        wrong.extend(errors);
    }
    print!("{}", table(&counts));
    let seconds = begun.elapsed().as_secs_f64();
    let threads = rayon::current_num_threads();
    println!(
        "\n{scenarios} scenarios in {seconds:.0} s on {threads} threads; {} must not be",
        wrong.len()
    );
    wrong.iter().take(20).for_each(|error| println!("{error}"));
    ExitCode::from(u8::from(!wrong.is_empty()))
}
