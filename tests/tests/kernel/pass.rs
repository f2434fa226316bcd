//! A pass is a value: layers one by one, ended by what is wanted of it, or dropped; at positions in a
//! row, or at some of those that are kept.

use proptest::prelude::*;
use ripple_hal::Slice;
use ripple_host_sim::machine::memory::HostMemory;
use ripple_host_sim::predictor::PredictorChoice;
use ripple_kernel::image::Header;
use ripple_kernel::text::sample::likeliest;
use ripple_kernel::{Decoder, KvKind, MemoryPlan, Options, Pass, Probe, StepError};
use ripple_tests::arbitrary::{image, options, predictors, shapes};
use ripple_tests::spy::{SpyDevice, SpyProbe};
use ripple_tests::tiny::{CONTEXT, Shape};
use std::collections::BTreeSet;

fn memory(image: &[u8], options: &Options) -> HostMemory {
    HostMemory::new(&MemoryPlan::for_model(&Header::parse(image).unwrap().geometry, options))
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|x| x.to_bits()).collect()
}

/// What is kept of all positions, layer by layer.
type Kept = Vec<Vec<u32>>;

fn kept(decoder: &Decoder<'_, Slice<'_>>) -> Kept {
    (0..decoder.header().geometry.config.layers).map(|layer| decoder.kept(layer).to_vec()).collect()
}

/// The logits of `token` at `position` behind what is kept of the positions before it, and what is
/// then kept of all: the same position in a decoder that has no later ones, and has only steps.
fn step_at(image: &[u8], options: &Options, all: &mut Kept, token: u32, position: u32) -> Vec<u32> {
    let options = Options { batch: 1, ..*options };
    let mut memory = memory(image, &options);
    let device = Slice::new(image);
    let mut decoder = Decoder::open(device, &[], memory.lend(), &options, ()).unwrap();
    decoder
        .restore(position, |layer, words| {
            words.copy_from_slice(&all[layer as usize][..words.len()]);
        })
        .unwrap();
    let logits = bits(decoder.step(token).unwrap());
    let entry = options.kv.entry_words(&decoder.header().geometry.config) as usize;
    let at = position as usize * entry;
    for (all, new) in all.iter_mut().zip(kept(&decoder)) {
        all.truncate(all.len().max(at));
        if all.len() == at {
            all.resize(at + entry, 0);
        }
        all[at..at + entry].copy_from_slice(&new[at..]);
    }
    logits
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// The oracle computes the positions one after the other, each behind copies of what was kept. It
    /// knows nothing of a pass at more than one position.
    #[test]
    fn some_positions_anew_are_those_positions_one_by_one(
        (shape, predictor) in shapes().prop_flat_map(|s| (Just(s), predictors(s))),
        options in options(),
        eight_bits in any::<bool>(),
        text in proptest::collection::vec(0..520u32, 1..10),
        new in proptest::collection::vec((any::<bool>(), any::<bool>(), 0..520u32), 12),
        greedy in any::<bool>(),
    ) {
        let image = image(shape, &predictor, &[3]);
        let kv = if eight_bits { KvKind::Q8 } else { KvKind::F16 };
        let options = Options { kv, context: CONTEXT, batch: 12, ..options };
        let mut lent = memory(&image, &options);
        let device = Slice::new(&image);
        let mut decoder = Decoder::open(device, &[], lent.lend(), &options, ()).unwrap();
        decoder.feed(&text).unwrap();
        let mut all = kept(&decoder);

        // Some kept positions, with the token that was there or another, then up to two new ones.
        let mut pass: Vec<(u32, u32)> = Vec::new();
        for (position, &(taken, same, token)) in new.iter().enumerate() {
            let length = text.len() + pass.iter().filter(|(_, p)| *p as usize >= text.len()).count();
            if position > length || !taken && position + 1 != text.len() {
                continue;
            }
            let token = if same { text.get(position).copied().unwrap_or(token) } else { token };
            pass.push((token, position as u32));
        }
        let expected: Vec<Vec<u32>> = pass
            .iter()
            .map(|&(token, position)| step_at(&image, &options, &mut all, token, position))
            .collect();
        let begun = decoder.begin_at(&pass).unwrap();
        if greedy {
            let chosen: Vec<u32> = expected
                .iter()
                .map(|logits| likeliest(&logits.iter().map(|x| f32::from_bits(*x)).collect::<Vec<_>>()))
                .collect();
            prop_assert_eq!(begun.likeliest().unwrap(), chosen);
        } else {
            prop_assert_eq!(bits(begun.logits().unwrap()), expected.last().unwrap().clone());
        }
        prop_assert_eq!(kept(&decoder), all);
        let end = pass.last().map_or(0, |(_, position)| position + 1);
        prop_assert_eq!(decoder.position(), end.max(text.len() as u32));
    }
}

#[test]
fn a_pass_that_is_dropped_has_fed_nothing() {
    let image = image(Shape::LLAMA, &PredictorChoice::Exact, &[0]);
    let options = Options { context: CONTEXT, batch: 3, ..Options::DEFAULT };
    let mut memory = memory(&image, &options);
    let device = Slice::new(&image);
    let mut decoder = Decoder::open(device, &[], memory.lend(), &options, ()).unwrap();
    let layers = Shape::LLAMA.layers;
    let expected = bits(decoder.prefill(&[3, 4, 5, 6]).unwrap());
    for run in 0..=layers {
        decoder.rewind(1);
        let mut pass = decoder.begin(&[9, 9]).unwrap();
        for _ in 0..run {
            assert_eq!(pass.layer(), Ok(true));
        }
        drop(pass);
        assert_eq!(decoder.position(), 1);
        // However far the caller has come, the end runs the rest.
        let mut pass = decoder.begin(&[4, 5, 6]).unwrap();
        for _ in 0..run {
            assert_eq!(pass.layer(), Ok(true));
        }
        if run == layers {
            assert_eq!((pass.layer(), pass.layer()), (Ok(false), Ok(false)));
        }
        assert_eq!(bits(pass.logits().unwrap()), expected);
        assert_eq!(decoder.position(), 4);
    }
    decoder.rewind(1);
    decoder.begin(&[4, 5, 6]).unwrap().commit().unwrap();
    assert_eq!(decoder.position(), 4);
}

/// Whichever read fails, also in the middle of a sum: the pass goes on as if it had not.
#[test]
fn a_layer_that_failed_can_be_asked_for_again() {
    for (shape, predictor) in
        [(Shape::LLAMA, PredictorChoice::Exact), (Shape::OPT, PredictorChoice::Exact)]
    {
        let image = image(shape, &predictor, &[0]);
        let options = Options { context: CONTEXT, batch: 2, ..Options::DEFAULT };
        let mut memory = memory(&image, &options);
        let mut device = SpyDevice::new(&image);
        let mut decoder = Decoder::open(&mut device, &[], memory.lend(), &options, ()).unwrap();
        let before = decoder.device_mut().reads.len();
        let expected = bits(decoder.prefill(&[7, 8]).unwrap());
        let reads = decoder.device_mut().reads.len() - before;
        let mut failures = 0;
        for failing in 0..reads {
            decoder.rewind(0);
            let next = decoder.device_mut().reads.len();
            decoder.device_mut().fail = vec![next + failing];
            let mut pass = decoder.begin(&[7, 8]).unwrap();
            loop {
                match pass.layer() {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => {
                        assert!(error.is_transient());
                        failures += 1;
                    }
                }
            }
            match pass.logits().map(|logits| bits(logits)) {
                Ok(logits) => assert_eq!((logits, decoder.position()), (expected.clone(), 2)),
                // The read of the head: the pass is over, and the position where it was.
                Err(error) => {
                    assert!(error.is_transient());
                    assert_eq!(decoder.position(), 0);
                }
            }
        }
        assert!(failures > 5 && failures < reads, "{failures} of {reads}");
    }
}

/// A probe that does not look at active sets, and must not be shown any.
struct Blind;

impl Probe for Blind {
    fn wants_active(&self) -> bool {
        false
    }

    fn active(&mut self, _: u32, _: u32, _: &[u16]) {
        unreachable!("an active set was made for nobody");
    }
}

#[test]
fn active_sets_are_made_for_a_probe_that_wants_them() {
    let image = image(Shape::LLAMA, &PredictorChoice::Exact, &[0]);
    let options = Options { context: CONTEXT, batch: 2, ..Options::DEFAULT };
    let mut lent = memory(&image, &options);
    let device = Slice::new(&image);
    let mut blind = Decoder::open(device, &[], lent.lend(), &options, Blind).unwrap();
    let expected = bits(blind.prefill(&[7, 8, 9]).unwrap());
    let mut lent = memory(&image, &options);
    let probe = SpyProbe::default();
    let mut seeing = Decoder::open(device, &[], lent.lend(), &options, probe).unwrap();
    assert_eq!(bits(seeing.prefill(&[7, 8, 9]).unwrap()), expected);
    // A layer may come in several parts.
    let shown: BTreeSet<_> = seeing.probe_mut().active.iter().map(|(l, at, _)| (*l, *at)).collect();
    assert_eq!(shown.len(), 3 * Shape::LLAMA.layers as usize);
}

#[test]
fn positions_that_no_pass_can_have_are_refused() {
    let image = image(Shape::LLAMA, &PredictorChoice::Exact, &[0]);
    let options = Options { context: 5, batch: 4, ..Options::DEFAULT };
    let mut memory = memory(&image, &options);
    let device = Slice::new(&image);
    let mut decoder = Decoder::open(device, &[], memory.lend(), &options, ()).unwrap();
    decoder.feed(&[1, 2, 3]).unwrap();
    let mut refused = |pass: &[(u32, u32)]| {
        let error = decoder.begin_at(pass).map(Pass::commit).unwrap_err();
        assert_eq!(decoder.position(), 3);
        error
    };
    let position = |position, least| StepError::Position { position, least };
    // One is left out, one comes twice, one goes back.
    assert_eq!(refused(&[(1, 4)]), position(4, 0));
    assert_eq!(refused(&[(1, 3), (1, 5)]), position(5, 4));
    assert_eq!(refused(&[(1, 1), (1, 1)]), position(1, 2));
    assert_eq!(refused(&[(1, 2), (1, 0)]), position(0, 3));
    assert_eq!(refused(&[]), StepError::Chunk { tokens: 0, most: 4 });
    assert_eq!(
        refused(&[(1, 0), (1, 1), (1, 2), (1, 3), (1, 4)]),
        StepError::Chunk { tokens: 5, most: 4 }
    );
    assert_eq!(refused(&[(1, 3), (1, 4), (1, 5)]), StepError::ContextFull { context: 5 });
    assert_eq!(refused(&[(1, 0), (520, 1)]), StepError::UnknownToken { token: 520, vocab: 520 });
}
