//! Speculation gives the tokens of greedy decoding, whatever is drafted, and in fewer bytes where a
//! text repeats itself.

use proptest::prelude::*;
use ripple_hal::{BlockDevice, Slice};
use ripple_host_sim::machine::memory::HostMemory;
use ripple_host_sim::model::text::tokens;
use ripple_host_sim::predictor::PredictorChoice;
use ripple_kernel::image::Header;
use ripple_kernel::text::sample::{Sampler, SamplerOptions, likeliest};
use ripple_kernel::{Decoder, MemoryPlan, Options, Probe, Speculation, StepError, Variant};
use ripple_tests::arbitrary::{image, options, predictors, shapes};
use ripple_tests::demo::Demo;
use ripple_tests::spy::SpyDevice;
use ripple_tests::tiny::{CONTEXT, Shape};

fn memory(image: &[u8], options: &Options) -> HostMemory {
    HostMemory::new(&MemoryPlan::for_model(&Header::parse(image).unwrap().geometry, options))
}

/// Decodes one token a pass, as the sampler chooses, until the context is full.
fn greedy<D: BlockDevice, P: Probe>(
    decoder: &mut Decoder<'_, D, P>,
    prompt: &[u32],
    most: usize,
) -> Vec<u32> {
    let mut sampler = Sampler::new(SamplerOptions::GREEDY, &mut []).unwrap();
    let mut tokens = vec![sampler.sample(decoder.prefill(prompt).unwrap())];
    while tokens.len() < most {
        match decoder.step(*tokens.last().unwrap()) {
            Ok(logits) => tokens.push(sampler.sample(logits)),
            Err(StepError::ContextFull { .. }) => break,
            Err(error) => panic!("{error:?}"),
        }
    }
    tokens
}

/// The same with drafts; a step that fails is repeated.
fn speculative<D: BlockDevice, P: Probe>(
    decoder: &mut Decoder<'_, D, P>,
    prompt: &[u32],
    most: usize,
    speculation: &mut Speculation<'_>,
) -> (Vec<u32>, u32) {
    let mut sampler = Sampler::new(SamplerOptions::GREEDY, &mut []).unwrap();
    let mut tokens = vec![sampler.sample(decoder.prefill(prompt).unwrap())];
    prompt.iter().chain(&tokens).for_each(|&token| speculation.accept(token));
    let mut faults = 0;
    while tokens.len() < most {
        let position = decoder.position();
        assert_eq!(position as usize, prompt.len() + tokens.len() - 1);
        let wanted = most - tokens.len();
        match speculation.step(decoder, wanted as u32) {
            Ok(new) => {
                assert!((1..=wanted).contains(&new.len()));
                tokens.extend(new);
            }
            Err(StepError::ContextFull { .. }) => break,
            Err(StepError::Device { .. }) => {
                faults += 1;
                assert_eq!(decoder.position(), position);
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    (tokens, faults)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn any_draft_gives_the_tokens_of_greedy_decoding(
        (shape, predictor) in shapes().prop_flat_map(|s| (Just(s), predictors(s))),
        options in options(),
        batch in 1..12u32,
        drafts in 0..12u32,
        history in prop_oneof![2..12usize, Just(64)],
        prompt in proptest::collection::vec(0..520u32, 1..4),
        repeats in 1..6usize,
    ) {
        let image = image(shape, &predictor, &[3]);
        let prompt = prompt.repeat(repeats);
        let options = Options { batch, ..options };
        let most = CONTEXT as usize;
        let expected = {
            let mut memory = memory(&image, &options);
            let device = Slice::new(&image);
            let mut decoder = Decoder::open(device, &[], memory.lend(), &options, ()).unwrap();
            greedy(&mut decoder, &prompt, most)
        };
        let mut memory = memory(&image, &options);
        let device = Slice::new(&image);
        let mut decoder = Decoder::open(device, &[], memory.lend(), &options, ()).unwrap();
        let mut history = vec![0; history];
        let mut speculation = Speculation::new(&mut history, drafts);
        let found = speculative(&mut decoder, &prompt, most, &mut speculation).0;
        prop_assert_eq!(found, expected);
        prop_assert!(speculation.accepted() <= speculation.drafted());
    }
}

/// A soft cap makes large logits equal. Of equals the first is the likeliest, for a draft as for a step.
#[test]
fn logits_that_a_soft_cap_makes_equal_are_equal_for_a_draft() {
    let variant = Variant { logit_cap: 1e-3, ..Variant::NONE };
    let image = image(Shape { variant, ..Shape::LLAMA }, &PredictorChoice::Exact, &[3]);
    let options = Options { context: CONTEXT, batch: 5, ..Options::DEFAULT };
    let prompt = [4, 5, 6, 4, 5, 6, 4, 5];
    let mut memory = memory(&image, &options);
    let device = Slice::new(&image);
    let mut decoder = Decoder::open(device, &[], memory.lend(), &options, ()).unwrap();
    let logits = decoder.prefill(&prompt).unwrap();
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    assert!(logits.iter().filter(|logit| **logit == most).count() > 1);
    decoder.rewind(0);
    let expected = prompt.map(|token| likeliest(decoder.step(token).unwrap()));
    decoder.rewind(0);
    let mut found = Vec::new();
    for chunk in prompt.chunks(5) {
        found.extend_from_slice(decoder.verify(chunk).unwrap());
    }
    assert_eq!(found, expected);
}

#[test]
fn a_failed_draft_can_be_repeated_at_every_read() {
    let image = image(Shape::LLAMA, &PredictorChoice::Exact, &[7]);
    let options = Options { context: CONTEXT, cache_bytes: 3000, batch: 5, ..Options::DEFAULT };
    let prompt = [4, 5, 6, 7, 8, 9, 4, 5, 6, 7, 8, 9, 4, 5, 6, 7, 8];
    let with_fault = |number: Option<usize>| {
        let mut memory = memory(&image, &options);
        let mut device = SpyDevice::new(&image);
        let mut decoder = Decoder::open(&mut device, &[], memory.lend(), &options, ()).unwrap();
        decoder.device_mut().fail = number.into_iter().collect();
        let mut history = [0; 64];
        let mut speculation = Speculation::new(&mut history, 4);
        let (tokens, faults) = speculative(&mut decoder, &prompt, 12, &mut speculation);
        assert!(speculation.drafted() > 0);
        (tokens, faults, device.reads.len())
    };
    let mut memory = memory(&image, &options);
    let mut device = SpyDevice::new(&image);
    let mut decoder = Decoder::open(&mut device, &[], memory.lend(), &options, ()).unwrap();
    decoder.prefill(&prompt).unwrap();
    let first = decoder.device_mut().reads.len();
    decoder.rewind(0);
    let expected = greedy(&mut decoder, &prompt, 12);
    let reads = with_fault(None).2;
    assert!(reads > first + 20);
    for number in first..reads {
        let (found, faults, _) = with_fault(Some(number));
        assert_eq!((&found, faults), (&expected, 1), "read {number}");
    }
}

#[test]
fn repeated_text_takes_fewer_bytes() {
    for name in ["novel-nano", "novel-opt"] {
        let demo = Demo::new(name, 9);
        let text = "\"I will not go,\" said the man. ".repeat(4);
        let text = text.trim_end();
        let prompt = tokens(&demo.model, text).unwrap();
        for mapped in [demo.mapped, 0] {
            let run = |drafts| {
                demo.blocks(mapped, |decoder| {
                    let mut history = [0; 256];
                    let mut speculation = Speculation::new(&mut history, drafts);
                    let tokens = speculative(decoder, &prompt, 100, &mut speculation).0;
                    (tokens, speculation.accepted())
                })
            };
            let ((expected, _), plain) =
                demo.blocks(mapped, |decoder| (greedy(decoder, &prompt, 100), 0));
            let ((tokens, accepted), drafted) = run(8);
            assert_eq!(tokens, expected, "{name}");
            assert!(accepted > 10, "{name}: {accepted}");
            assert!(drafted < plain, "{name}: {drafted} of {plain} blocks");
            assert_eq!(run(0).0.0, expected);
        }
    }
}
