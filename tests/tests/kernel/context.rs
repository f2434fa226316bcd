//! A window that slides, and positions that are copied out and back.

use proptest::prelude::*;
use ripple_hal::{BlockDevice, Slice};
use ripple_host_sim::machine::memory::HostMemory;
use ripple_host_sim::predictor::PredictorChoice;
use ripple_kernel::image::Header;
use ripple_kernel::{Decoder, KvKind, MemoryPlan, Options, RestoreError, SlideError};
use ripple_tests::arbitrary::{image, options, predictors, shapes};
use ripple_tests::spy::SpyDevice;
use ripple_tests::tiny::{CONTEXT, Shape};

fn memory(image: &[u8], options: &Options) -> HostMemory {
    HostMemory::new(&MemoryPlan::for_model(&Header::parse(image).unwrap().geometry, options))
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|x| x.to_bits()).collect()
}

/// The logits of feeding `tokens` in a window: `evicted` behind `sinks` go whenever it is full.
fn windowed<D: BlockDevice>(
    device: D,
    image: &[u8],
    options: &Options,
    tokens: &[u32],
    sinks: u32,
    evicted: u32,
) -> Vec<Vec<u32>> {
    let mut memory = memory(image, options);
    let mut decoder = Decoder::open(device, &[], memory.lend(), options, ()).unwrap();
    let mut all = Vec::new();
    for token in tokens {
        if decoder.position() == decoder.context() {
            decoder.slide(sinks, evicted).unwrap();
        }
        all.push(bits(decoder.step(*token).unwrap()));
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_window_gives_the_same_bits_whatever_is_tuned(
        (shape, predictor) in shapes()
            .prop_map(|shape| Shape { opt: false, ..shape })
            .prop_flat_map(|s| (Just(s), predictors(s))),
        options in options(),
        eight_bits in any::<bool>(),
        sinks in 0..4u32,
        evicted in 1..6u32,
        tokens in proptest::collection::vec(0..520u32, 30),
    ) {
        let image = image(shape, &predictor, &[3]);
        let kv = if eight_bits { KvKind::Q8 } else { KvKind::F16 };
        let base = Options { context: 10, kv, ..Options::DEFAULT };
        let expected = windowed(Slice::new(&image), &image, &base, &tokens, sinks, evicted);
        let tuned = Options { context: 10, kv, ..options };
        let found = windowed(SpyDevice::new(&image), &image, &tuned, &tokens, sinks, evicted);
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn what_was_kept_goes_on_with_the_same_bits(
        (shape, predictor) in shapes().prop_flat_map(|s| (Just(s), predictors(s))),
        options in options(),
        eight_bits in any::<bool>(),
        tokens in proptest::collection::vec(0..520u32, 2..20),
        fed in any::<prop::sample::Index>(),
        shorter in any::<bool>(),
    ) {
        let image = image(shape, &predictor, &[3]);
        let kv = if eight_bits { KvKind::Q8 } else { KvKind::F16 };
        let options = Options { kv, ..options };
        let fed = 1 + fed.index(tokens.len() - 1);
        let layers = shape.layers;
        let mut first_memory = memory(&image, &options);
        let mut first =
            Decoder::open(Slice::new(&image), &[], first_memory.lend(), &options, ()).unwrap();
        first.feed(&tokens[..fed]).unwrap();
        let kept: Vec<Vec<u32>> = (0..layers).map(|layer| first.kept(layer).to_vec()).collect();
        let expected = bits(first.prefill(&tokens[fed..]).unwrap());

        // Into another decoder, whose context may be of another length and not empty.
        let context = if shorter { tokens.len() as u32 } else { CONTEXT };
        let other = Options { context, cache_bytes: 0, ..options };
        let mut second_memory = memory(&image, &other);
        let mut second =
            Decoder::open(Slice::new(&image), &[], second_memory.lend(), &other, ()).unwrap();
        second.feed(&tokens[..1]).unwrap();
        second
            .restore(fed as u32, |layer, words| words.copy_from_slice(&kept[layer as usize]))
            .unwrap();
        prop_assert_eq!(second.position(), fed as u32);
        prop_assert_eq!(bits(second.prefill(&tokens[fed..]).unwrap()), expected);
    }
}

/// In a model of one layer, a key or value knows its own token and position only: evicting some is
/// feeding the others from the start, but for the rounding of the keys.
#[test]
fn a_slide_is_the_text_without_what_was_evicted() {
    let shape = Shape { layers: 1, ..Shape::LLAMA };
    let image = image(shape, &PredictorChoice::Exact, &[7]);
    let tokens: Vec<u32> = (0..20).map(|i| i * 23 % 520).collect();
    for (kv, most) in [(KvKind::F16, 0.01), (KvKind::Q8, 0.2)] {
        let options = Options { context: CONTEXT, kv, ..Options::DEFAULT };
        for (sinks, evicted) in [(0, 1), (4, 7), (2, 17), (19, 0)] {
            let mut slid_memory = memory(&image, &options);
            let device = Slice::new(&image);
            let mut slid = Decoder::open(device, &[], slid_memory.lend(), &options, ()).unwrap();
            slid.feed(&tokens[..19]).unwrap();
            slid.slide(sinks, evicted).unwrap();
            assert_eq!(slid.position(), 19 - evicted);
            let found = slid.step(tokens[19]).unwrap();

            let mut fed_memory = memory(&image, &options);
            let mut fed = Decoder::open(device, &[], fed_memory.lend(), &options, ()).unwrap();
            let (sinks, evicted) = (sinks as usize, evicted as usize);
            let rest = [&tokens[..sinks], &tokens[sinks + evicted..]].concat();
            let expected = fed.prefill(&rest).unwrap();
            let largest = expected.iter().fold(0.0f32, |m, x| m.max(x.abs()));
            let error = found.iter().zip(&*expected).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(error <= most * largest, "{kv:?} {sinks} {evicted}: {error} of {largest}");
            assert!(evicted > 0 || error == 0.0);
        }
    }
}

#[test]
fn what_cannot_slide_or_be_restored_is_refused_and_changes_nothing() {
    let options = Options { context: 8, ..Options::DEFAULT };
    let opt = image(Shape::OPT, &PredictorChoice::Exact, &[0]);
    let mut opt_memory = memory(&opt, &options);
    let mut decoder =
        Decoder::open(Slice::new(&opt), &[], opt_memory.lend(), &options, ()).unwrap();
    decoder.feed(&[1, 2, 3]).unwrap();
    assert_eq!(decoder.slide(1, 1), Err(SlideError::LearnedPositions));
    let range = SlideError::Range { sinks: 2, evicted: 2, position: 3 };
    assert_eq!(decoder.slide(2, 2), Err(range));
    let long = RestoreError { positions: 9, context: 8 };
    assert_eq!(decoder.restore(9, |_, _| unreachable!()), Err(long));
    assert_eq!(decoder.position(), 3);
}
