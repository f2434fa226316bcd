//! A pass of many tokens leaves the same logits, keys and values, to the last bit, as a pass for
//! each: for every chunk, model, cache and device, after faults and after going back.

use proptest::prelude::*;
use ripple_hal::{BlockDevice, Slice};
use ripple_host_sim::import::demo;
use ripple_host_sim::machine::memory::HostMemory;
use ripple_host_sim::model::text::tokens;
use ripple_host_sim::predictor::PredictorChoice;
use ripple_kernel::image::Header;
use ripple_kernel::{Decoder, KvKind, MemoryPlan, Options, Probe, StepError};
use ripple_tests::arbitrary::{image, options, predictors, shapes};
use ripple_tests::demo::Demo;
use ripple_tests::spy::{SpyDevice, SpyProbe};
use ripple_tests::tiny::{CONTEXT, Shape};

/// A token is repeated within a chunk, next to itself and further away.
const TOKENS: [u32; 24] =
    [0, 17, 300, 300, 5, 519, 42, 17, 1, 9, 0, 77, 400, 3, 3, 3, 511, 60, 61, 62, 17, 300, 300, 8];

fn memory(image: &[u8], options: &Options) -> HostMemory {
    HostMemory::new(&MemoryPlan::for_model(&Header::parse(image).unwrap().geometry, options))
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|x| x.to_bits()).collect()
}

fn likeliest(logits: &[u32]) -> u32 {
    let logits = logits.iter().map(|bits| f32::from_bits(*bits));
    let mut best = (0, f32::NEG_INFINITY);
    for (token, logit) in (0..).zip(logits) {
        if logit > best.1 {
            best = (token, logit);
        }
    }
    best.0
}

/// What a pass for each token gives: the bits of the logits after each, and the KV cache.
struct Truth {
    logits: Vec<Vec<u32>>,
    kv: Vec<u32>,
}

impl Truth {
    fn of(image: &[u8], kv: KvKind) -> Self {
        let options = Options { context: CONTEXT, kv, ..Options::DEFAULT };
        let mut memory = memory(image, &options);
        let mut decoder =
            Decoder::open(Slice::new(image), image, memory.lend(), &options, ()).unwrap();
        let logits = TOKENS.map(|token| bits(decoder.step(token).unwrap())).to_vec();
        Self { logits, kv: memory.kv().to_vec() }
    }
}

/// How a decoder is fed: so many tokens, and by which call; or back by so many.
#[derive(Clone, Copy, Debug)]
enum Call {
    Prefill(usize),
    Feed(usize),
    Verify(usize),
    ByLayer(usize),
    Step,
    Back(u32),
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let call = prop_oneof![
        3 => (1..24usize).prop_map(Call::Prefill),
        1 => (0..9usize).prop_map(Call::Feed),
        2 => (1..9usize).prop_map(Call::Verify),
        1 => (1..9usize).prop_map(Call::ByLayer),
        1 => Just(Call::Step),
        1 => (1..9u32).prop_map(Call::Back),
    ];
    proptest::collection::vec(call, 1..7)
}

/// Feeds `TOKENS` as `calls` say, and the rest at once; checks all that comes out.
fn run<D: BlockDevice, P: Probe>(decoder: &mut Decoder<'_, D, P>, calls: &[Call], truth: &Truth) {
    let batch = decoder.batch() as usize;
    for call in calls.iter().chain(&[Call::Prefill(TOKENS.len())]) {
        let rest = &TOKENS[decoder.position() as usize..];
        let first = |n: usize| &rest[..n.min(rest.len())];
        let chunk = |n: usize| first(n.min(batch));
        let expected = |decoder: &Decoder<'_, D, P>| &truth.logits[decoder.position() as usize - 1];
        match *call {
            Call::Back(by) => {
                decoder.rewind(decoder.position().saturating_sub(by));
                continue;
            }
            Call::Feed(n) => decoder.feed(first(n)).unwrap(),
            _ if rest.is_empty() => continue,
            Call::Prefill(n) => {
                let logits = bits(decoder.prefill(first(n)).unwrap());
                assert_eq!(&logits, expected(decoder), "{call:?}");
            }
            Call::Step => {
                let logits = bits(decoder.step(rest[0]).unwrap());
                assert_eq!(&logits, expected(decoder), "{call:?}");
            }
            Call::Verify(n) => {
                let start = decoder.position() as usize;
                let found = decoder.verify(chunk(n)).unwrap().to_vec();
                let expected = &truth.logits[start..decoder.position() as usize];
                let expected: Vec<u32> = expected.iter().map(|logits| likeliest(logits)).collect();
                assert_eq!(found, expected, "{call:?}");
            }
            Call::ByLayer(n) => {
                let mut pass = decoder.begin(chunk(n)).unwrap();
                while pass.layer().unwrap() {}
                let logits = bits(pass.logits().unwrap());
                assert_eq!(&logits, expected(decoder), "{call:?}");
            }
        }
    }
    assert_eq!(decoder.position() as usize, TOKENS.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn chunks_change_no_bit(
        (shape, predictor) in shapes().prop_flat_map(|s| (Just(s), predictors(s))),
        hot in proptest::collection::vec(0..120u32, 1..4),
        options in options(),
        batch in prop_oneof![1..10u32, 10..40u32, Just(u32::MAX)],
        calls in calls(),
        mapped in prop_oneof![Just(None), any::<prop::sample::Index>().prop_map(Some)],
        eight_bits in any::<bool>(),
    ) {
        let image = image(shape, &predictor, &hot);
        let kv = if eight_bits { KvKind::Q8 } else { KvKind::F16 };
        let truth = Truth::of(&image, kv);
        let options = Options { kv, batch, ..options };
        let mapped = mapped.map_or(0, |index| index.index(image.len() + 1));
        let mut memory = memory(&image, &options);
        let mut spy = SpyDevice::new(&image);
        let mut decoder =
            Decoder::open(&mut spy, &image[..mapped], memory.lend(), &options, ()).unwrap();
        run(&mut decoder, &calls, &truth);
        prop_assert_eq!(memory.kv(), &truth.kv);
    }

    #[test]
    fn active_sets_are_reported_for_each_position(
        shape in shapes(),
        batch in 2..25u32,
        signs in proptest::option::of(-10.0..3.0f32),
    ) {
        use ripple_host_sim::predictor::signs::Thresholds;
        let predictor = signs.map_or(PredictorChoice::Exact, |threshold| {
            let layers = vec![vec![threshold; shape.neurons as usize]; shape.layers as usize];
            PredictorChoice::Signs(Thresholds { planes: 2, layers })
        });
        let image = image(shape, &predictor, &[0]);
        let sets = |batch| {
            let options = Options { context: CONTEXT, batch, ..Options::DEFAULT };
            let (mut memory, mut probe) = (memory(&image, &options), SpyProbe::default());
            let device = Slice::new(&image);
            let mut decoder =
                Decoder::open(device, &[], memory.lend(), &options, &mut probe).unwrap();
            decoder.prefill(&TOKENS).unwrap();
            // A layer may come in parts: slots go on ascending.
            let mut all = std::collections::BTreeMap::<_, Vec<u16>>::new();
            for (layer, position, slots) in probe.active {
                all.entry((layer, position)).or_default().extend(slots);
            }
            assert!(all.values().all(|slots| slots.is_sorted_by(|a, b| a < b)));
            all
        };
        prop_assert_eq!(sets(batch), sets(1));
    }
}

#[test]
fn a_prompt_goes_on_after_a_fault_at_every_read() {
    for shape in [Shape::LLAMA, Shape::OPT] {
        let image = image(shape, &PredictorChoice::Exact, &[7]);
        let truth = Truth::of(&image, KvKind::F16);
        let options = Options {
            context: CONTEXT,
            cache_bytes: 3000,
            hot_permille: 500,
            batch: 7,
            ..Options::DEFAULT
        };
        let mut failures = 0;
        for number in 0.. {
            let mut device = SpyDevice::new(&image);
            device.fail = vec![number];
            let mut memory = memory(&image, &options);
            let Ok(mut decoder) = Decoder::open(&mut device, &[], memory.lend(), &options, ())
            else {
                continue;
            };
            let (prompt, draft) = TOKENS.split_at(20);
            let mut faults = 0;
            let logits = match decoder.prefill(prompt) {
                Ok(logits) => bits(logits),
                Err(error) => {
                    assert!(error.is_transient(), "{error:?}");
                    let fed = decoder.position() as usize;
                    assert!(fed.is_multiple_of(7) && fed < prompt.len());
                    faults += 1;
                    bits(decoder.prefill(&prompt[fed..]).unwrap())
                }
            };
            assert_eq!(logits, truth.logits[prompt.len() - 1], "read {number}");
            if decoder.verify(draft).is_err() {
                assert_eq!(decoder.position() as usize, prompt.len());
                faults += 1;
                decoder.verify(draft).unwrap();
            }
            assert_eq!(memory.kv(), truth.kv, "read {number}");
            if faults == 0 {
                break;
            }
            failures += faults;
        }
        assert!(failures > 50, "{failures}");
    }
}

#[test]
fn what_no_pass_can_take_is_refused_before_anything_is_read() {
    let image = image(Shape::OPT, &PredictorChoice::Exact, &[0]);
    let options = Options { context: 12, batch: 4, ..Options::DEFAULT };
    let mut memory = memory(&image, &options);
    let mut device = SpyDevice::new(&image);
    let mut decoder = Decoder::open(&mut device, &[], memory.lend(), &options, ()).unwrap();
    decoder.device_mut().reads.clear();
    let chunk = |tokens| StepError::Chunk { tokens, most: 4 };
    assert_eq!(decoder.begin(&[]).map(|_| ()), Err(chunk(0)));
    assert_eq!(decoder.prefill(&[]).map(|_| ()), Err(chunk(0)));
    assert_eq!(decoder.verify(&[1; 5]).map(|_| ()), Err(chunk(5)));
    assert_eq!(decoder.feed(&[]), Ok(()));
    let full = StepError::ContextFull { context: 12 };
    assert_eq!(decoder.prefill(&[1; 13]).map(|_| ()), Err(full));
    let unknown = StepError::UnknownToken { token: 520, vocab: 520 };
    assert_eq!(decoder.prefill(&[1, 2, 3, 4, 5, 520]).map(|_| ()), Err(unknown));
    assert_eq!((decoder.position(), decoder.device_mut().reads.len()), (0, 0));
    decoder.prefill(&[1; 12]).unwrap();
    assert_eq!(decoder.verify(&[1]).map(|_| ()), Err(full));
}

#[test]
fn a_chunk_reads_every_dense_weight_once() {
    for shape in [Shape::LLAMA, Shape::OPT] {
        let image = image(shape, &PredictorChoice::Exact, &[0]);
        let header = Header::parse(&image).unwrap();
        let ffn = header.section(ripple_kernel::image::SectionKind::Ffn).start.0;
        let dense = |batch| {
            let options = Options { context: CONTEXT, batch, ..Options::DEFAULT };
            let mut memory = memory(&image, &options);
            let mut device = SpyDevice::new(&image);
            let mut decoder = Decoder::open(&mut device, &[], memory.lend(), &options, ()).unwrap();
            decoder.device_mut().reads.clear();
            decoder.verify(&[3; 32][..batch as usize]).unwrap();
            device.reads.into_iter().filter(|(start, _)| *start < ffn).collect::<Vec<_>>()
        };
        // The row of the token, too; of the learned positions each has its own row.
        let blocks = |reads: &[(u32, u32)]| reads.iter().map(|(_, blocks)| blocks).sum::<u32>();
        let positions = if shape.opt { 32 * header.geometry.config.dim / 512 + 1 } else { 0 };
        // Tiny models have more active neurons than room for their outputs: the predictor's table is
        // then read in parts, which share a block.
        let parts = 8 * shape.layers;
        assert!(blocks(&dense(32)) <= blocks(&dense(1)) + positions + parts);
    }
}

#[test]
fn a_prompt_of_128_tokens_takes_a_fifth_of_the_bytes() {
    for name in ["story-nano", "novel-nano", "novel-opt", "novel-wide", "novel-small"] {
        let mut blocks = [[0; 2]; 2];
        for (i, batch) in [1, 32].into_iter().enumerate() {
            let demo = Demo::new(name, batch);
            let directory = demo::path(name).unwrap();
            let text = std::fs::read_to_string(directory.join("held-out.txt")).unwrap();
            let prompt = tokens(&demo.model, &text[..2000]).unwrap();
            for (j, mapped) in [demo.mapped, 0].into_iter().enumerate() {
                blocks[j][i] =
                    demo.blocks(mapped, |decoder| decoder.prefill(&prompt[..128]).map(|_| ())).1;
            }
        }
        for [one, batch] in blocks {
            assert!(5 * batch <= one, "{name}: {batch} of {one} blocks");
        }
    }
}
