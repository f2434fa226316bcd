//! Exact I/O: under every policy the reads of the kernel are those of a naive planner, block by
//! block, and its hits those of a naive cache.

use proptest::prelude::*;
use ripple_hal::BlockCount;
use ripple_host_sim::machine::memory::HostMemory;
use ripple_host_sim::predictor::{Format, PredictorChoice};
use ripple_kernel::image::{Header, Quant, Quants, SectionKind};
use ripple_kernel::memory::cache::Admission;
use ripple_kernel::{Decoder, MemoryPlan, Options};
use ripple_tests::arbitrary::{image_as, paged_image, pages};
use ripple_tests::oracle::{Cache, PageAt, plan, plan_with_page, runs};
use ripple_tests::spy::{SpyDevice, SpyProbe};
use ripple_tests::tiny::{CONTEXT, Shape};

const TOKENS: u32 = 24;

fn check(shape: Shape, hot: u32, options: &Options, full: bool) {
    let kinds = [SectionKind::Ffn, SectionKind::Predictor];
    for (quant, _) in Quant::WEIGHTS {
        check_as(Quants::Q8.with(&kinds, quant), shape, hot, options, full);
    }
}

fn check_as(quants: Quants, shape: Shape, hot: u32, options: &Options, full: bool) {
    let choice = if full { PredictorChoice::ExactFullBundles } else { PredictorChoice::Exact };
    let image = image_as(Format::new(&choice, quants), shape, &[hot], None);
    let header = Header::parse(&image).unwrap();
    let ffn = header.section(SectionKind::Ffn);
    let mapped = &image[..ffn.start.0 as usize * 512];
    let plan_memory = MemoryPlan::for_model(&header.geometry, options);
    let mut memory = HostMemory::new(&plan_memory);
    let mut device = SpyDevice::new(&image);
    let mut probe = SpyProbe::default();
    let mut decoder =
        Decoder::open(&mut device, mapped, memory.lend(), options, &mut probe).unwrap();
    let resident: Vec<u32> = (0..shape.layers).map(|layer| decoder.hot(layer)).collect();
    decoder.device_mut().reads.clear();
    for token in 0..TOKENS {
        decoder.step(token * 21 % 520).unwrap();
    }

    let stride = header.geometry.bundle_layout().stride();
    let half = plan_memory.staging as u32 / 2;
    let frames = (options.cache_bytes / stride).min(shape.layers * shape.neurons);
    let held: u32 = resident.iter().sum();
    let mut cache = Cache::new((frames - held) as usize, options.admission);
    let mut reads = Vec::new();
    let mut lookups = Vec::new();
    for (layer, _, active) in &probe.active {
        let key = |slot: u32| layer * shape.neurons + slot;
        let misses: Vec<u32> = active
            .iter()
            .map(|&slot| u32::from(slot))
            .filter(|&slot| slot >= resident[*layer as usize] && !cache.touch(key(slot)))
            .collect();
        lookups.push((*layer, (active.len() - misses.len()) as u32, misses.len() as u32));
        let start = ffn.start.0 + ffn.part.0 * layer;
        let extents = plan(&misses, stride, options.collapse_gap.0, half);
        reads.extend(extents.into_iter().map(|(first, blocks)| (start + first, blocks)));
        for (&slot, run) in misses.iter().zip(runs(&misses)) {
            cache.admit(key(slot), run);
        }
    }
    assert_eq!(probe.lookups, lookups);
    assert_eq!(device.reads, reads);
    let blocks: u32 = device.reads.iter().map(|(_, blocks)| blocks).sum();
    assert!(blocks > 0 || frames == shape.layers * shape.neurons);
}

#[test]
fn each_policy_reads_what_the_naive_planner_says() {
    let large = Shape { neurons: 400, dim: 40, ..Shape::LLAMA };
    let opt = Shape { neurons: 300, dim: 36, ..Shape::OPT };
    let base = Options { context: CONTEXT, staging: BlockCount(64), ..Options::DEFAULT };

    for shape in [large, opt] {
        for full in [false, true] {
            // No cache: only misses; exact collapse; everything in one read.
            check(shape, 0, &base, full);
            check(shape, 0, &Options { collapse_gap: BlockCount(3), ..base }, full);
            check(shape, 0, &Options { collapse_gap: BlockCount(u32::MAX), ..base }, full);
            // A hot prefix alone, the dynamic part alone, both; and a staging half that splits.
            let cache = Options { cache_bytes: 12_000, ..base };
            check(shape, 50, &cache, full);
            check(shape, 0, &Options { admission: Admission::ALL, ..cache }, full);
            check(
                shape,
                30,
                &Options { hot_permille: 400, collapse_gap: BlockCount(2), ..cache },
                full,
            );
            check(
                shape,
                0,
                &Options { staging: BlockCount(4), collapse_gap: BlockCount(9), ..cache },
                full,
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_policy_reads_what_the_naive_planner_says(
        neurons in 1..300u32,
        dim in 1..16u32,
        opt in any::<bool>(),
        full in any::<bool>(),
        hot in 0..100u32,
        cache_bytes in 0..30_000u32,
        hot_permille in 0..=1000u32,
        (long_run, one_in) in (1..6u32, 0..5u32),
        gap in 0..12u32,
        staging in 0..40u32,
        seed in any::<u64>(),
    ) {
        let base = if opt { Shape::OPT } else { Shape::LLAMA };
        let shape = Shape { neurons, dim: 4 * dim, seed, ..base };
        let options = Options {
            context: CONTEXT,
            staging: BlockCount(staging),
            cache_bytes,
            hot_permille,
            admission: Admission { long_run, one_in },
            collapse_gap: BlockCount(gap),
            ..Options::DEFAULT
        };
        check(shape, hot, &options, full);
    }

    #[test]
    fn pages_are_read_where_the_naive_planner_says(
        neurons in 20..500u32,
        hot in 0..40u32,
        gap in 0..12u32,
        staging in 8..80u32,
        seed in 1..1000u64,
        opt in any::<bool>(),
        always in any::<bool>(),
        open in any::<bool>(),
        buffer in prop_oneof![Just(0), 1..300u32],
    ) {
        let shape = Shape { neurons, dim: 40, ..if opt { Shape::OPT } else { Shape::LLAMA } };
        let tokens: Vec<u32> = (0..10).map(|i| i * 31 % 520).collect();
        let plans = pages(shape, &tokens, seed).unwrap();
        let image = paged_image(shape, &PredictorChoice::Exact, &[hot], Some(plans.clone()));
        let header = Header::parse(&image).unwrap();
        let stride = header.geometry.bundle_layout().stride();
        let options = Options {
            context: CONTEXT,
            staging: BlockCount(staging),
            cache_bytes: u32::MAX,
            collapse_gap: BlockCount(gap),
            admission: Admission { long_run: 1, one_in: 0 },
            read_ahead: always,
            page_buffer: BlockCount(buffer),
            ..Options::DEFAULT
        };
        let plan_memory = MemoryPlan::for_model(&header.geometry, &options);
        let mut memory = HostMemory::new(&plan_memory);
        let (ffn, section) = (header.section(SectionKind::Ffn), header.section(SectionKind::Pages));
        let mapped = &image[..ffn.start.0 as usize * 512];
        let (mut device, mut probe) = (SpyDevice::new(&image), SpyProbe::default());
        device.open = open;
        let mut decoder =
            Decoder::open(&mut device, mapped, memory.lend(), &options, &mut probe).unwrap();
        decoder.device_mut().reads.clear();
        tokens.iter().for_each(|&token| { decoder.step(token).unwrap(); });

        let mut expected: Vec<(u32, u32)> = Vec::new();
        // What the page buffer holds.
        let mut held = 0..0;
        for (at, (layer, _, active)) in probe.active.iter().enumerate() {
            let token = tokens[at / shape.layers as usize];
            // Pages lie token by token, group by group: the fronts layer by layer, then the rests.
            let before = (0..token as usize).flat_map(|token| plans.of(token));
            let mut first = section.start.0 + before.map(|plan| plan.blocks(stride)).sum::<u64>() as u32;
            let (layers, apart) = (plans.of(token as usize), plans.apart(token as usize, stride));
            let begins = (0..=*layer as usize).rev().find(|&at| at == 0 || apart[at]).unwrap();
            let ends = (*layer as usize + 1..layers.len()).find(|&at| apart[at]);
            first += layers[..begins].iter().map(|plan| plan.blocks(stride) as u32).sum::<u32>();
            let layers = &layers[begins..ends.unwrap_or(layers.len())];
            let layer_here = *layer as usize - begins;
            let fronts: Vec<u32> = layers.iter().map(|plan| plan.front_blocks(stride) as u32).collect();
            let (past, coming) = fronts.split_at(layer_here);
            let rests = layers[..layer_here].iter().map(|plan| plan.rest_blocks(stride) as u32);
            let rest = first + fronts.iter().sum::<u32>() + rests.sum::<u32>();
            first += past.iter().sum::<u32>();
            let mut together = 0;
            for front in coming {
                if together + front > buffer {
                    break;
                }
                together += front;
            }
            let start = ffn.start.0 + ffn.part.0 * layer;
            let plan_here = &layers[layer_here];
            let slots: Vec<u32> = plan_here.neurons.iter().map(|&slot| u32::from(slot)).collect();
            let next = expected.last().filter(|_| open);
            let next = next.map(|&(at, blocks)| i64::from(at + blocks) - i64::from(start));
            let page = PageAt {
                start: first - start,
                rest: rest - start,
                slots: &slots,
                ahead: plan_here.ahead.into(),
                together,
                held: together > 0 && held.contains(&first) && first + coming[0] <= held.end,
                always,
                next,
            };
            let misses: Vec<u32> =
                active.iter().map(|&slot| u32::from(slot)).filter(|&slot| slot >= hot).collect();
            let buffered = if header.geometry.page_blocks.0 > 0 { buffer } else { 0 };
            let half = (plan_memory.staging as u32 - buffered) / 2;
            let reads = if slots.is_empty() {
                plan(&misses, stride, gap, half)
            } else {
                plan_with_page(&misses, &page, stride, gap, half)
            };
            if together > 0 && reads.contains(&(first - start, together)) {
                held = first..first + together;
            }
            expected.extend(reads.into_iter().map(|(first, blocks)| (start + first, blocks)));
        }
        prop_assert_eq!(device.reads, expected);
    }
}
