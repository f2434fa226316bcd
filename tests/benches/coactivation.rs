//! Time to count the co-activations of one layer of 2,048 neurons over 20,000 random tokens, by the
//! share of active neurons.
//!
//! `cargo bench -p ripple-tests --bench coactivation`

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use ripple_host_sim::profile::coactivation::CoActivation;
use ripple_host_sim::profile::trace::{Trace, TraceBuilder, TraceHeader};

const NEURONS: usize = 2048;
const TOKENS: usize = 20_000;

fn trace(share: f64) -> Trace {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    let (model, text) = ("random".to_owned(), "random".to_owned());
    let mut trace = TraceBuilder::new(TraceHeader {
        model,
        text,
        layers: 1,
        neurons: NEURONS,
        bundle_bytes: 1,
    });
    for token in 0..TOKENS {
        let active: Vec<u16> =
            (0..NEURONS as u16).filter(|_| rng.random::<f64>() < share).collect();
        trace.push(token, 0, &active);
    }
    trace.finish()
}

fn count(c: &mut Criterion) {
    let mut group = c.benchmark_group("coactivation");
    group.sample_size(10);
    for percent in [0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0] {
        let trace = trace(percent / 100.0);
        group.bench_with_input(BenchmarkId::from_parameter(percent), &trace, |b, trace| {
            b.iter(|| CoActivation::measure(trace, 0));
        });
    }
    group.finish();
}

criterion_group!(benches, count);
criterion_main!(benches);
