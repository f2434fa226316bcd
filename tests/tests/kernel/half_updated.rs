//! A card that holds parts of two images of one shape, as an interrupted copy or update leaves it: the tokens
//! of the image whose header is there, or a typed error; never others.

use ripple_hal::Slice;
use ripple_host_sim::machine::memory::HostMemory;
use ripple_host_sim::predictor::PredictorChoice;
use ripple_kernel::image::Header;
use ripple_kernel::{Decoder, MemoryPlan, OpenError, Options, StepError};
use ripple_tests::arbitrary::{paged_image, pages};
use ripple_tests::tiny::{CONTEXT, Shape};

const OPTIONS: Options = Options { context: CONTEXT, cache_bytes: 600, ..Options::DEFAULT };

/// The logits of a few tokens, as bits; nothing from where an error ended them.
fn logits(image: &[u8], mapped: &[u8]) -> (Vec<Vec<u32>>, bool) {
    let Ok(header) = Header::parse(image) else { return (Vec::new(), false) };
    let mut memory = HostMemory::new(&MemoryPlan::for_model(&header.geometry, &OPTIONS));
    let opened = Decoder::open(Slice::new(image), mapped, memory.lend(), &OPTIONS, ());
    let mut decoder = match opened {
        Ok(decoder) => decoder,
        Err(OpenError::Corrupt { .. } | OpenError::Image(_)) => return (Vec::new(), false),
        Err(other) => panic!("{other}"),
    };
    let mut all = Vec::new();
    for token in [1, 4, 0, 5, 2, 3] {
        match decoder.step(token) {
            Ok(logits) => all.push(logits.iter().map(|logit| logit.to_bits()).collect()),
            Err(StepError::Corrupt { .. }) => return (all, false),
            Err(other) => panic!("{other}"),
        }
    }
    (all, true)
}

#[test]
fn every_split_between_two_images_is_noticed_or_harmless() {
    let mut noticed = 0;
    for shape in [Shape::LLAMA, Shape::OPT] {
        let image = |seed| {
            let shape = Shape { seed, ..shape };
            paged_image(shape, &PredictorChoice::Exact, &[3], pages(shape, &[1, 2], 1))
        };
        let (a, b) = (image(1), image(2));
        assert_eq!(a.len(), b.len(), "images of one shape");
        for (front, back) in [(&a, &b), (&b, &a)] {
            let (good, whole) = logits(front, &[]);
            assert!(whole);
            for split in (0..front.len()).step_by(512) {
                // From the split on the other image; and one block of the other image alone.
                let end = (split + 512).min(front.len());
                let halves = [front[..split].to_vec(), back[split..].to_vec()].concat();
                let block = [&front[..split], &back[split..end], &front[end..]].concat();
                for mixed in [halves, block] {
                    let (expected, _) = match split {
                        0 if mixed[512..] == back[512..] => logits(back, &[]),
                        _ => (good.clone(), true),
                    };
                    let (found, whole) = logits(&mixed, &[]);
                    assert_eq!(found, expected[..found.len()], "split at {split}");
                    noticed += u32::from(!whole);
                }
            }
        }
    }
    assert!(noticed > 100, "{noticed}");
}
