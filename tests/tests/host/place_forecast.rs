//! What is told of a card before placing for it, against the reads themselves.

use proptest::prelude::*;
use ripple_hal::BlockCount;
use ripple_host_sim::cost::Preset;
use ripple_host_sim::placement::admission::hot_prefix;
use ripple_host_sim::placement::{Forecast, Method, PlaceOptions, ReadCost, place};
use ripple_host_sim::profile::trace::{Trace, TraceBuilder, TraceHeader};

const LAYERS: usize = 3;

fn traces() -> impl Strategy<Value = Trace> {
    (20..300usize, 1..80usize, any::<u32>()).prop_map(|(neurons, tokens, seed)| {
        let (model, text) = ("m".to_owned(), "t".to_owned());
        let header = TraceHeader { model, text, layers: LAYERS, neurons, bundle_bytes: 132 };
        let mut trace = TraceBuilder::new(header);
        let mut state = seed;
        for token in 0..tokens {
            for layer in 0..LAYERS {
                let mut fires = |n: u16| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    state >> 24 < 120 >> (n % 5)
                };
                let active: Vec<u16> = (0..neurons as u16).filter(|&n| fires(n)).collect();
                trace.push(token, layer, &active);
            }
        }
        trace.finish()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Every token of so short a trace is looked at.
    #[test]
    fn a_forecast_is_what_the_reads_by_frequency_take(trace in traces(), share in 0.0..0.5f64) {
        for name in ["spi", "emmc-hs200"] {
            let card = Preset::by_name(name).unwrap();
            let cost = ReadCost::on(card, 132, trace.neurons(), None);
            let open = cost.staying_open(card, trace.neurons());
            let forecast = Forecast::of(&trace, &cost, &open, share).unwrap();
            let options = PlaceOptions { hot: hot_prefix(&trace, share), ..Default::default() };
            let placed = place(&trace, Method::Frequency, &options, &|_| ()).unwrap();
            let (mut reads, mut bytes) = (0.0, 0.0);
            for token in 0..trace.tokens() {
                for (layer, order) in placed.layers().iter().enumerate() {
                    let slots = trace.active(token, layer).map(|n| order.slots()[n as usize]);
                    let hot = placed.hot()[layer] as u16;
                    let mut missed: Vec<u16> = slots.filter(|&slot| slot >= hot).collect();
                    missed.sort_unstable();
                    reads += cost.extents(missed.iter().copied()) as f64;
                    bytes += BlockCount::for_bytes(132 * missed.len() as u64).bytes() as f64;
                }
            }
            let tokens = trace.tokens() as f64;
            let near = |a: f64, b: f64| (a - b).abs() <= 1e-3 * b.abs() + 1.0;
            prop_assert!(near(forecast.by_frequency(), reads / tokens));
            // Picoseconds of the bytes, and one command a token.
            let once = bytes * 1e12 / card.bytes_per_second as f64 / tokens + card.t0_ns as f64 * 1e3;
            prop_assert!(near(forecast.least(), once), "{} {once}", forecast.least());
        }
    }
}

/// By hand: 100 neurons of 512 bytes, every tenth one active, on a card whose command is worth four blocks.
#[test]
fn rho_is_missed_bundles_in_what_a_command_is_worth() {
    let (model, text) = ("m".to_owned(), "t".to_owned());
    let header = TraceHeader { model, text, layers: 1, neurons: 100, bundle_bytes: 512 };
    let mut trace = TraceBuilder::new(header);
    for token in 0..10u16 {
        let active: Vec<u16> = (0..10).map(|n| 10 * n + token).collect();
        trace.push(usize::from(token), 0, &active);
    }
    let timing = ripple_host_sim::cost::Timing::affine(2_048_000, 1_000_000);
    let cost = ReadCost::new(&timing, 512, BlockCount(4), BlockCount(64));
    let forecast = Forecast::of(&trace.finish(), &cost, &cost, 0.0).unwrap();
    let layer = forecast.layers[0];
    assert_eq!((layer.active, layer.missed), (10.0, 10.0));
    assert!((layer.rho - 0.4).abs() < 1e-12, "{}", layer.rho);
}
