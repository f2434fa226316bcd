//! With a given image, logits are the same to the last bit for every cache, gap, mapped prefix,
//! staging size, device and reading order.

use proptest::prelude::*;
use ripple_hal::{BlockCount, BlockDevice, Slice};
use ripple_host_sim::cost::Preset;
use ripple_host_sim::machine::memory::HostMemory;
use ripple_host_sim::machine::{SimCard, VirtualClock};
use ripple_host_sim::pack::pack_as;
use ripple_host_sim::placement::Placement;
use ripple_host_sim::predictor::{Format, PredictorChoice};
use ripple_kernel::image::{Header, SectionKind};
use ripple_kernel::{Decoder, KvKind, MemoryPlan, Options, StepError};
use ripple_tests::arbitrary::{
    image_as, options, orders, paged_image, pages, predictors, quants, shapes,
};
use ripple_tests::spy::SpyDevice;
use ripple_tests::tiny::{CONTEXT, Shape, model};
use std::sync::Arc;

const TOKENS: [u32; 9] = [0, 17, 300, 300, 5, 519, 42, 17, 1];

/// The bits of the logits of every step.
fn logits<D: BlockDevice>(
    device: D,
    image: &[u8],
    mapped: usize,
    options: &Options,
) -> Vec<Vec<u32>> {
    let geometry = Header::parse(image).unwrap().geometry;
    let mut memory = HostMemory::new(&MemoryPlan::for_model(&geometry, options));
    let mapped = &image[..mapped.min(image.len())];
    let mut decoder = Decoder::open(device, mapped, memory.lend(), options, ()).unwrap();
    TOKENS.map(|token| decoder.step(token).unwrap().iter().map(|x| x.to_bits()).collect()).to_vec()
}

/// Bytes of all but the FFN.
fn dense(image: &[u8]) -> usize {
    Header::parse(image).unwrap().section(SectionKind::Ffn).start.0 as usize * 512
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_the_sections_changes_nothing(
        (shape, predictor) in shapes().prop_flat_map(|s| (Just(s), predictors(s))),
        quants in quants(),
        order in orders(),
        mapped in any::<prop::sample::Index>(),
        seed in 0..3u64,
    ) {
        let options = Options { context: CONTEXT, cache_bytes: 2000, ..Options::DEFAULT };
        let image = |order| {
            let format = Format { order, ..Format::new(&predictor, quants) };
            image_as(format, shape, &[9], pages(shape, &TOKENS, seed))
        };
        let (standard, other) = (image(&SectionKind::ALL), image(&order));
        let expected = logits(Slice::new(&standard), &standard, 0, &options);
        let found = Header::parse(&other).unwrap();
        let there = |kind: &&SectionKind| found.section(**kind).part.0 > 0;
        let starts = order.iter().filter(there).map(|kind| found.section(*kind).start);
        prop_assert!(starts.is_sorted(), "the table's order is not the one asked for");
        for mapped in [0, mapped.index(other.len() + 1), other.len()] {
            let logits = logits(SpyDevice::new(&other), &other, mapped, &options);
            prop_assert_eq!(&logits, &expected, "{} mapped", mapped);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_is_tuned_changes_a_bit(
        (shape, predictor) in shapes().prop_flat_map(|s| (Just(s), predictors(s))),
        quants in quants(),
        hot in proptest::collection::vec(0..120u32, 1..4),
        options in proptest::collection::vec(options(), 3),
        mapped in any::<prop::sample::Index>(),
        eight_bits in any::<bool>(),
        preset in 0..7usize,
        open in proptest::option::of(0..9u32),
        seed in 0..3u64,
    ) {
        let pages = pages(shape, &TOKENS, seed);
        let format = Format::new(&predictor, quants);
        let image: Arc<[u8]> = image_as(format, shape, &hot, pages).into();
        let kv = if eight_bits { KvKind::Q8 } else { KvKind::F16 };
        let base = Options { context: CONTEXT, kv, ..Options::DEFAULT };
        let expected = logits(Slice::new(&image), &image, image.len(), &base);
        prop_assert!(expected.iter().flatten().any(|bits| *bits != expected[0][0]), "all logits equal");

        let [a, b, c] = [0, 1, 2].map(|i: usize| Options { kv, ..options[i] });
        let mapped = mapped.index(image.len() + 1);
        let mut spy = SpyDevice::new(&image);
        prop_assert_eq!(&logits(&mut spy, &image, 0, &a), &expected, "overlapped, nothing mapped");
        prop_assert_eq!(&logits(&mut spy, &image, dense(&image), &a), &expected, "all but the FFN");
        spy.overlapped = false;
        prop_assert_eq!(&logits(spy, &image, mapped, &b), &expected, "blocking, {} mapped", mapped);
        let preset = Preset::ALL[preset];
        let mut card = SimCard::new(Arc::clone(&image), preset.timing(), VirtualClock::new());
        card.stay_open(open.map(BlockCount)).unwrap();
        prop_assert_eq!(&logits(card, &image, mapped, &c), &expected, "simulated card");
    }

    #[test]
    fn bundles_with_and_without_the_first_row_give_the_same_bits(
        shape in shapes(),
        quants in quants(),
    ) {
        let options = Options { context: CONTEXT, ..Options::DEFAULT };
        let run = |predictor| {
            let image = image_as(Format::new(&predictor, quants), shape, &[0], None);
            logits(Slice::new(&image), &image, 0, &options)
        };
        prop_assert_eq!(run(PredictorChoice::Exact), run(PredictorChoice::ExactFullBundles));
    }

    #[test]
    fn the_order_of_the_neurons_changes_nothing(
        shape in shapes(),
        quants in quants(),
        seed in any::<u64>(),
    ) {
        use rand::{SeedableRng, rngs::Xoshiro256PlusPlus, seq::SliceRandom};
        use ripple_host_sim::placement::{Method, PlaceOptions, place};
        use ripple_host_sim::profile::trace::{TraceBuilder, TraceHeader};

        let model = model(shape);
        let (layers, neurons) = (shape.layers as usize, shape.neurons as usize);
        let mut trace = TraceBuilder::new(TraceHeader {
            model: "tiny".into(), text: "random".into(), layers, neurons, bundle_bytes: 1,
        });
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut all: Vec<u16> = (0..neurons as u16).collect();
        for token in 0..20 {
            for layer in 0..layers {
                all.shuffle(&mut rng);
                trace.push(token, layer, &all[..neurons.div_ceil(4)]);
            }
        }
        let trace = trace.finish();
        let options = Options { context: CONTEXT, cache_bytes: 2000, ..Options::DEFAULT };
        let run = |placement: &Placement| {
            let format = Format::new(&PredictorChoice::Exact, quants);
            let image = pack_as(format, &model, placement, &[]).unwrap();
            logits(SpyDevice::new(&image), &image, 0, &options)
        };
        let hot = vec![neurons / 3; layers];
        let placed = place(
            &trace, Method::Coactivation, &PlaceOptions { hot, ..Default::default() }, &|_| (),
        ).unwrap();
        prop_assert_eq!(run(&placed), run(&Placement::identity("tiny", layers, neurons)));
    }
}

#[test]
fn pages_are_read_and_change_no_bit() {
    for shape in [Shape { neurons: 400, ..Shape::LLAMA }, Shape { neurons: 500, ..Shape::OPT }] {
        // The fronts of a token's pages are one group.
        let pages = pages(shape, &TOKENS, 5).map(|pages| pages.with_buffer(999));
        let image = paged_image(shape, &PredictorChoice::Exact, &[7], pages);
        let header = Header::parse(&image).unwrap();
        let first = header.section(SectionKind::Pages).start.0;
        let options = |gap, buffer| Options {
            context: CONTEXT,
            staging: BlockCount(64),
            page_buffer: BlockCount(buffer),
            collapse_gap: BlockCount(gap),
            ..Options::DEFAULT
        };
        let expected = logits(Slice::new(&image), &image, image.len(), &options(0, 0));
        // One by one, some of them together, all that a token has.
        let reads = [0, 20, 999].map(|buffer| {
            let mut reads = 0;
            for gap in [0, 1, 4] {
                let mut spy = SpyDevice::new(&image);
                assert_eq!(logits(&mut spy, &image, 0, &options(gap, buffer)), expected);
                reads += spy.reads.iter().filter(|(start, _)| *start >= first).count();
            }
            reads
        });
        assert!(reads[0] > 50 && reads[1] <= reads[0] && reads[2] < reads[0], "{reads:?}");
    }
}

#[test]
fn a_damaged_page_is_noticed() {
    let shape = Shape { neurons: 400, ..Shape::LLAMA };
    let mut image = paged_image(shape, &PredictorChoice::Exact, &[0], pages(shape, &TOKENS, 5));
    let header = Header::parse(&image).unwrap();
    let first = header.section(SectionKind::Pages).start.0 as usize * 512;
    let options = Options { context: CONTEXT, staging: BlockCount(64), ..Options::DEFAULT };
    image[first..].iter_mut().for_each(|byte| *byte ^= 0x55);
    let mut memory = HostMemory::new(&MemoryPlan::for_model(&header.geometry, &options));
    let mut decoder = Decoder::open(Slice::new(&image), &[], memory.lend(), &options, ()).unwrap();
    let error = TOKENS.iter().find_map(|&token| decoder.step(token).err()).unwrap();
    assert!(matches!(error, StepError::Corrupt { .. }), "{error:?}");
}

#[test]
fn a_failed_step_can_be_retried_at_every_read() {
    let cases = [
        (Shape::LLAMA, 0, false),
        (Shape::OPT, 0, false),
        (Shape::LLAMA, 1, false),
        (Shape { neurons: 200, ..Shape::LLAMA }, 1, true),
    ];
    for (shape, seed, ahead) in cases {
        let pages = pages(shape, &TOKENS, seed);
        let image = paged_image(shape, &PredictorChoice::Exact, &[7], pages);
        // With a page buffer in the last case.
        let page_buffer = BlockCount(if ahead { 100 } else { 0 });
        let options = Options {
            context: CONTEXT,
            page_buffer,
            cache_bytes: 3000,
            hot_permille: 500,
            ..Options::DEFAULT
        };
        let expected = logits(Slice::new(&image), &image, 0, &options);
        let geometry = Header::parse(&image).unwrap().geometry;
        // Only what has all but the FFN mapped reads ahead.
        let mapped = if ahead { &image[..dense(&image)] } else { &[] };
        let mut failures = 0;
        for number in 0.. {
            let mut device = SpyDevice::new(&image);
            device.fail = vec![number];
            let mut memory = HostMemory::new(&MemoryPlan::for_model(&geometry, &options));
            let Ok(mut decoder) = Decoder::open(&mut device, mapped, memory.lend(), &options, ())
            else {
                continue;
            };
            let mut failed = false;
            for (token, expected) in TOKENS.into_iter().zip(&expected) {
                let position = decoder.position();
                let logits = match decoder.step(token) {
                    Ok(logits) => logits.to_vec(),
                    Err(error) => {
                        assert!(error.is_transient(), "{error:?}");
                        failed = true;
                        assert_eq!(decoder.position(), position);
                        decoder.step(token).unwrap().to_vec()
                    }
                };
                assert!(
                    logits.iter().map(|x| x.to_bits()).eq(expected.iter().copied()),
                    "read {number}"
                );
            }
            if !failed {
                break;
            }
            failures += 1;
        }
        // With all but the FFN mapped there is less to fail.
        let least = if ahead { 2 * TOKENS.len() * shape.layers as usize } else { 100 };
        assert!(failures > least, "{failures}");
    }
}
