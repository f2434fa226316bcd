//! A session goes on with the same bits, and any other file is refused with nothing changed.

use proptest::prelude::*;
use ripple_hal::Slice;
use ripple_host_sim::machine::memory::HostMemory;
use ripple_host_sim::predictor::PredictorChoice;
use ripple_host_sim::run::session::{SessionError, identity, restore, save};
use ripple_kernel::image::Header;
use ripple_kernel::{Decoder, KvKind, MemoryPlan, Options};
use ripple_tests::arbitrary::image;
use ripple_tests::tiny::{CONTEXT, Shape};

const TEXT: [u32; 6] = [0, 17, 300, 5, 519, 42];

fn with<T>(
    image: &[u8],
    options: &Options,
    run: impl FnOnce(&mut Decoder<'_, Slice<'_>, ()>) -> T,
) -> T {
    let geometry = Header::parse(image).unwrap().geometry;
    let mut memory = HostMemory::new(&MemoryPlan::for_model(&geometry, options));
    let device = Slice::new(image);
    run(&mut Decoder::open(device, image, memory.lend(), options, ()).unwrap())
}

fn options(kv: KvKind) -> Options {
    Options { context: CONTEXT, kv, ..Options::DEFAULT }
}

fn saved(image: &[u8], kv: KvKind) -> Vec<u8> {
    with(image, &options(kv), |decoder| {
        decoder.feed(&TEXT[..5]).unwrap();
        save(decoder, kv, identity(image), &TEXT)
    })
}

#[test]
fn a_restored_text_goes_on_with_the_same_bits() {
    for shape in [Shape::LLAMA, Shape::OPT] {
        let image = image(shape, &PredictorChoice::Exact, &[7]);
        for kv in [KvKind::F16, KvKind::Q8] {
            let bits = |logits: &mut [f32]| logits.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            let expected =
                with(&image, &options(kv), |decoder| bits(decoder.prefill(&TEXT).unwrap()));
            let file = saved(&image, kv);
            // Whatever else the decoder is told, and whatever it has done.
            for context in [6, CONTEXT] {
                let options = Options { context, cache_bytes: 3000, ..options(kv) };
                let found = with(&image, &options, |decoder| {
                    decoder.feed(&[9, 9, 9, 9, 9, 9]).unwrap();
                    let text = restore(decoder, kv, identity(&image), &file).unwrap();
                    assert_eq!((decoder.position(), &*text), (5, &TEXT[..]));
                    bits(decoder.step(TEXT[5]).unwrap())
                });
                assert_eq!(found, expected, "{kv:?}");
            }
        }
    }
}

#[test]
fn what_does_not_belong_is_refused_by_name() {
    let tiny = image(Shape::LLAMA, &PredictorChoice::Exact, &[7]);
    let other = image(Shape { seed: 2, ..Shape::LLAMA }, &PredictorChoice::Exact, &[7]);
    let file = saved(&tiny, KvKind::F16);
    let (mine, theirs) = (identity(&tiny), identity(&other));
    assert_ne!(mine, theirs);
    let refused = |image: &[u8], options: Options, bytes: &[u8]| {
        with(image, &options, |decoder| {
            decoder.feed(&[1, 2]).unwrap();
            let error = restore(decoder, options.kv, identity(image), bytes).unwrap_err();
            assert_eq!(decoder.position(), 2);
            error
        })
    };
    let f16 = options(KvKind::F16);
    assert_eq!(refused(&other, f16, &file), SessionError::Image { expected: theirs, found: mine });
    assert_eq!(
        refused(&tiny, options(KvKind::Q8), &file),
        SessionError::Kv { expected: 1, found: 0 }
    );
    let short = Options { context: 4, ..f16 };
    assert_eq!(refused(&tiny, short, &file), SessionError::Context { positions: 5, context: 4 });
    assert_eq!(refused(&tiny, f16, &tiny), SessionError::Magic);
    let mut version = file.clone();
    version[8] = 2;
    assert_eq!(refused(&tiny, f16, &version), SessionError::Version { found: 2 });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_damage_goes_unnoticed_or_panics(
        at in any::<prop::sample::Index>(),
        bit in 0..8,
        cut in any::<bool>(),
    ) {
        let image = image(Shape::LLAMA, &PredictorChoice::Exact, &[7]);
        let mut file = saved(&image, KvKind::Q8);
        let at = at.index(file.len());
        if cut {
            file.truncate(at);
        } else {
            file[at] ^= 1u8 << bit;
        }
        with(&image, &options(KvKind::Q8), |decoder| {
            prop_assert!(restore(decoder, KvKind::Q8, identity(&image), &file).is_err());
            prop_assert_eq!(decoder.position(), 0);
            Ok(())
        })?;
    }
}
