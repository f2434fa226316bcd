//! What a step reads: the head once, each record of attention and each active neuron once a direction.

use crate::common::{Golden, Lent, OPTIONS, geometry};
use ripple_hal::BlockCount;
use ripple_kernel::image::{Header, SectionKind};
use ripple_kernel::read::collapse::Extent;
use ripple_kernel::{Probe, Stage};
use ripple_tests::spy::SpyDevice;
use ripple_tune::{Arms, TuneOptions, Tuner};
use std::collections::BTreeMap;

/// How often each block was read.
fn block_reads(image: &[u8], golden: &Golden, arms: Arms) -> BTreeMap<u32, u32> {
    let options = TuneOptions { arms, staging: BlockCount(4096), window: 1000, ..OPTIONS };
    let mut lent = Lent::of::<f32>(&geometry(image), &options);
    let mut tuner =
        Tuner::<_, _, f32>::open(SpyDevice::new(image), &[], lent.lend(), &options, ()).unwrap();
    tuner.begin(1);
    tuner.device_mut().reads.clear();
    tuner.accumulate(&golden.tokens).unwrap();
    let mut counts = BTreeMap::new();
    for &(first, blocks) in &tuner.device_mut().reads {
        for block in first..first + blocks {
            *counts.entry(block).or_insert(0) += 1;
        }
    }
    counts
}

fn times(image: &[u8], counts: &BTreeMap<u32, u32>, kind: SectionKind, layer: u32) -> (u32, u32) {
    let header = Header::parse(image).unwrap();
    let section = header.section(kind);
    let (records, layout) = header.geometry.table(kind).unwrap();
    let blocks = BlockCount::for_bytes(u64::from(records * layout.stride())).0;
    let start = section.start.0 + section.part.0 * layer;
    let of = |block| counts.get(&block).copied().unwrap_or(0);
    let all: Vec<u32> = (start..start + blocks).map(of).collect();
    (*all.iter().min().unwrap(), *all.iter().max().unwrap())
}

#[test]
fn a_step_reads_the_head_once_and_the_rest_once_a_direction() {
    let golden = Golden::load("opt");
    let image = golden.image(false);
    let counts = block_reads(&image, &golden, Arms::EXACT);
    assert_eq!(times(&image, &counts, SectionKind::Head, 0), (1, 1));
    for layer in 0..3 {
        assert_eq!(times(&image, &counts, SectionKind::Output, layer), (2, 2), "{layer}");
        let qkv = if layer == 0 { 1 } else { 2 };
        assert_eq!(times(&image, &counts, SectionKind::Qkv, layer), (qkv, qkv), "{layer}");
        assert!(times(&image, &counts, SectionKind::Ffn, layer).1 <= 2, "{layer}");
        assert!(times(&image, &counts, SectionKind::Predictor, layer).1 <= 2, "{layer}");
    }
    // What keeps all logits reads the head twice, what computes attention again reads it three times.
    let plain = block_reads(&image, &golden, Arms::PLAIN);
    assert_eq!(times(&image, &plain, SectionKind::Head, 0), (2, 2));
    let lean = block_reads(&image, &golden, Arms::LEAN);
    assert_eq!(times(&image, &lean, SectionKind::Output, 1), (3, 3));
    assert_eq!(times(&image, &lean, SectionKind::Qkv, 0), (2, 2));
}

/// Counts the records that extents of a stage were read for.
#[derive(Default)]
struct Wanted(BTreeMap<Stage, u32>);

impl Probe for Wanted {
    fn extent(&mut self, stage: Stage, extent: &Extent) {
        *self.0.entry(stage).or_insert(0) += extent.wanted;
    }
}

#[test]
fn neurons_that_are_active_nowhere_are_not_read() {
    for kind in ["relu", "opt"] {
        let golden = Golden::load(kind);
        let image = golden.image(false);
        // Of one token many neurons are silent.
        let text = &golden.tokens[..2];
        let wanted = |arms| {
            let options = TuneOptions { arms, ..OPTIONS };
            let mut lent = Lent::of::<f32>(&geometry(&image), &options);
            let mut tuner = Tuner::<_, _, f32>::open(
                SpyDevice::new(&image),
                &[],
                lent.lend(),
                &options,
                Wanted::default(),
            )
            .unwrap();
            tuner.begin(1);
            tuner.probe_mut().0.clear();
            tuner.accumulate(text).unwrap();
            let found = &tuner.probe_mut().0;
            (found[&Stage::Predictor], found[&Stage::Ffn])
        };
        let neurons = 3 * golden.model.config.neurons;
        assert_eq!(wanted(Arms::TILED), (2 * neurons, 2 * neurons), "{kind}");
        let (first, bundles) = wanted(Arms::EXACT);
        // Forward: all first rows, and the bundles of the active ones. Back: both of the active ones.
        let active = bundles / 2;
        assert_eq!((bundles % 2, first), (0, neurons + active), "{kind}");
        assert!(active > 0 && active < neurons * 4 / 5, "{kind}: {active} of {neurons}");
    }
}
