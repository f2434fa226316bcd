//! A replay reads what a decoder reads, and no policy of ours is worse than streaming everything.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use ripple_hal::{BlockCount, BlockDevice};
use ripple_host_sim::bench::policy::Policy;
use ripple_host_sim::bench::replay::{Board, Replayed, replay};
use ripple_host_sim::bench::{Costs, Placer, index_layout};
use ripple_host_sim::cost::Preset;
use ripple_host_sim::machine::memory::HostMemory;
use ripple_host_sim::machine::{Core, Mapped, exact_gap, header};
use ripple_host_sim::machine::{SimCard, VirtualClock, shared_staging};
use ripple_host_sim::pack::pack;
use ripple_host_sim::placement::{ReadCost, place_for_card};
use ripple_host_sim::predictor::PredictorChoice;
use ripple_host_sim::profile::trace::{Trace, TraceBuilder, TraceHeader};
use ripple_kernel::decode::replay::Bundles;
use ripple_kernel::image::SectionKind;
use ripple_kernel::read::collapse::Extent;
use ripple_kernel::{Decoder, MemoryPlan, Options, Probe, Stage};
use ripple_tests::tiny::{CONTEXT, Shape, model};

/// What a decoder's FFN was asked for and read.
#[derive(Default)]
struct Watch {
    active: Vec<(u32, Vec<u16>)>,
    reads: u64,
    blocks: u64,
}

impl Probe for Watch {
    fn active(&mut self, layer: u32, _position: u32, slots: &[u16]) {
        self.active.push((layer, slots.to_vec()));
    }

    fn extent(&mut self, stage: Stage, extent: &Extent) {
        if stage == Stage::Ffn {
            self.reads += 1;
            self.blocks += u64::from(extent.blocks.0);
        }
    }
}

fn trace(
    layers: usize,
    neurons: usize,
    sets: impl IntoIterator<Item = (u32, Vec<Vec<u16>>)>,
) -> Trace {
    let header = TraceHeader {
        model: "tiny".into(),
        text: "random".into(),
        layers,
        neurons,
        bundle_bytes: 100,
    };
    let mut trace = TraceBuilder::new(header);
    let mut ids = Vec::new();
    for (position, (id, sets)) in sets.into_iter().enumerate() {
        ids.push(id);
        for (layer, active) in sets.iter().enumerate() {
            trace.push(position, layer, active);
        }
    }
    trace.name(&ids);
    trace.finish()
}

/// A trace whose tokens each have neurons of their own, some always, some now and then.
fn structured(layers: usize, neurons: usize, tokens: usize, seed: u64) -> Trace {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let sets = (0..tokens).map(|_| {
        let id = random.random_range(0..12u32);
        let sets = (0..layers).map(|layer| {
            // Sets of different tokens overlap as they like: no one order suits them all.
            let own = |n: &u16| {
                let key = (u32::from(*n) << 8 | id << 3 | layer as u32).wrapping_mul(0x9E37_79B1);
                ((key ^ key >> 15).wrapping_mul(0x85EB_CA77) >> 16).is_multiple_of(16)
            };
            let mut draw = |n: &u16| random.random_bool(if own(n) { 0.7 } else { 0.001 });
            (0..neurons as u16).filter(|n| draw(n)).collect()
        });
        (id, sets.collect())
    });
    trace(layers, neurons, sets.collect::<Vec<_>>())
}

#[test]
fn ours_is_the_recipe_of_every_image() {
    let profile = structured(2, 100, 80, 1);
    let preset = Preset::by_name("sdio-hs").unwrap();
    let costs = Costs::on(preset, 136, 100, None);
    let placer = Placer::new(&profile, 0.1, &costs, u64::MAX);
    let recipe =
        |page_blocks| place_for_card(&profile, &costs.open, 0.1, page_blocks, &|_| ()).unwrap();
    let ours = placer.placement(&Policy::OURS).unwrap();
    assert!(ours.pages().is_some_and(|pages| pages.bundles() > 0));
    assert!(ours == recipe(u64::MAX));
    // Of what has pages, they are left out; placed anew, it is the same.
    let bare = Policy::OURS_WITHOUT_PAGES;
    assert!(placer.placement(&bare).unwrap() == recipe(0));
    let anew = Placer::new(&profile, 0.1, &costs, u64::MAX);
    assert!(anew.placement(&bare).unwrap() == recipe(0));
}

#[test]
fn a_replay_reads_what_a_decoder_reads() {
    let shape = Shape { neurons: 300, layers: 2, ..Shape::LLAMA };
    let model = model(shape);
    let (layers, neurons) = (2, 300);
    let preset = Preset::by_name("sdio-hs").unwrap();
    let gap = BlockCount(2);
    let staging = BlockCount(24);
    let mut paged = 0;
    let names = [
        "ours",
        "ours, fronts together",
        "ours-without-pages",
        "half the cache dynamic",
        "llm-in-a-flash",
        "ripple",
    ];
    for name in names {
        let policy = Policy::by_name(name).unwrap();
        let profile = structured(layers, neurons, 200, 1);
        let stride = 8 + 2 * shape.dim;
        let apart = ReadCost::new(&preset.timing(), stride, gap, BlockCount(12));
        let costs = Costs { open: apart.staying_open(preset, neurons), apart };
        let placer = Placer::new(&profile, 0.1, &costs, u64::MAX);
        let mut placement = placer.placement(&policy).unwrap();
        if policy.together {
            let pages = placement
                .pages()
                .map(|pages| pages.clone().with_buffer(shared_staging(staging).1.0));
            placement = placement.with_pages(pages);
        }
        paged += placement.pages().map_or(0, |pages| pages.bundles());
        let image = pack(&model, &placement, &PredictorChoice::Exact, &[]).unwrap();
        let header = header(&image).unwrap();
        assert_eq!(header.geometry.bundle_layout().stride(), stride);
        let index = header.geometry.table(SectionKind::PageIndex).map(|(_, layout)| layout);
        assert_eq!(index, Some(index_layout(layers as u32)));
        let cache_bytes = 60 * stride;
        let (halves, page_buffer) =
            if policy.together { shared_staging(staging) } else { (staging, BlockCount(0)) };
        let options = Options {
            context: CONTEXT,
            staging: halves,
            page_buffer,
            cache_bytes,
            hot_permille: policy.hot_permille,
            admission: policy.admission,
            eviction: policy.eviction,
            collapse_gap: if name == "llm-in-a-flash" { BlockCount(0) } else { gap },
            ..Options::DEFAULT
        };
        let mut memory = HostMemory::new(&MemoryPlan::for_model(&header.geometry, &options));
        let mapped = Mapped::Dense.of(&header, &image);
        let mut card = SimCard::new(&image, preset.timing(), VirtualClock::new());
        card.stay_open(policy.open.then_some(gap)).unwrap();
        let mut decoder =
            Decoder::open(card, mapped, memory.lend(), &options, Watch::default()).unwrap();
        decoder.device_mut().take_stats();
        let tokens: Vec<u32> = (0..30).map(|i| i * 5 % 12).collect();
        tokens.iter().for_each(|&token| decoder.advance(token).unwrap());
        let card = decoder.device_mut().stats();
        assert!(
            decoder.device_mut().block_count().unwrap() > header.section(SectionKind::Ffn).part
        );
        let watch = decoder.probe_mut();

        // What was active, as a trace of neurons.
        let sets = watch.active.chunks(layers).zip(&tokens).map(|(sets, &token)| {
            let neurons = sets.iter().map(|(layer, slots)| {
                let order = placement.layers()[*layer as usize].neurons();
                slots.iter().map(|&slot| order[usize::from(slot)]).collect()
            });
            (token, neurons.collect())
        });
        let test = trace(layers, neurons, sets.collect::<Vec<_>>());
        let bundles = Bundles { layers: 2, neurons: 300, stride, work: 1 };
        let timing = preset.timing();
        let core = Core::CortexM7;
        let board = Board { timing: &timing, gap, core, cache_bytes, staging };
        let replayed = replay(&test, bundles, &placement, &policy, &board).unwrap();
        assert_eq!(
            (replayed.card.reads, replayed.card.blocks),
            (card.reads, card.blocks),
            "{name}"
        );
        assert_eq!(replayed.card.busy_ps, card.busy_ps, "{name}");
        // Reads that go on with a command are none of their own, and what they skip is read.
        let fewer = watch.reads.saturating_sub(card.reads);
        assert!(card.blocks >= watch.blocks && (fewer > 0) == policy.open, "{name}: {fewer}");
        assert!(watch.reads >= 50, "{name}: {}", watch.reads);
    }
    assert!(paged > 100, "{paged}");
}

fn replay_on(preset: &'static Preset, profile: &Trace, test: &Trace, policy: &str) -> Replayed {
    let bundles = Bundles {
        layers: test.layers() as u32,
        neurons: test.neurons() as u32,
        stride: 136,
        work: 128,
    };
    let (timing, gap, staging) = (preset.timing(), exact_gap(preset), BlockCount(128));
    let apart = ReadCost::new(&timing, 136, gap, BlockCount(64));
    let costs = Costs { open: apart.staying_open(preset, test.neurons()), apart };
    let policy = Policy::by_name(policy).unwrap();
    let placement = Placer::new(profile, 0.1, &costs, u64::MAX).placement(&policy).unwrap();
    let cache_bytes = (0.1 * (test.layers() * test.neurons()) as f64) as u32 * 136;
    let board = Board { timing: &timing, gap, core: Core::CortexM7, cache_bytes, staging };
    replay(test, bundles, &placement, &policy, &board).unwrap()
}

#[test]
#[ignore = "slow"]
fn a_model_that_is_half_dense_is_streamed() {
    let dense = |tokens, seed| {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let sets = (0..tokens).map(|_| {
            let id = random.random_range(0..20u32);
            let set = |_| (0..400u16).filter(|_| random.random_bool(0.5)).collect();
            (id, (0..2).map(set).collect())
        });
        trace(2, 400, sets.collect::<Vec<_>>())
    };
    let (profile, test) = (dense(300, 1), dense(150, 2));
    for name in ["spi", "sdio-hs", "sandisk-extreme", "emmc-hs200"] {
        let preset = Preset::by_name(name).unwrap();
        let dense = replay_on(preset, &profile, &test, "dense").card.busy_ps as f64;
        let ours = replay_on(preset, &profile, &test, "ours").card.busy_ps as f64;
        // The hot prefix of the second layer lies in the way of the one command: a tenth of it is clocked through.
        assert!(ours <= 1.05 * dense, "{}: {ours} against {dense}", preset.name);
    }
}

#[test]
fn every_part_of_ours_pays_where_there_is_something_to_learn() {
    let (profile, test) = (structured(2, 1000, 1000, 3), structured(2, 1000, 200, 4));
    for name in ["sdio-hs", "emmc-hs200"] {
        let preset = Preset::by_name(name).unwrap();
        let io = |policy| replay_on(preset, &profile, &test, policy).card.busy_ps as f64;
        let ours = io("ours");
        for (other, factor) in [
            ("ours-without-pages", 1.1),
            ("no pages, no merging", 2.0),
            ("ripple", 1.3),
            ("dense", 1.5),
        ] {
            let other_io = io(other);
            assert!(other_io > factor * ours, "{name}: {other} {other_io}, ours {ours}");
        }
        assert!(io("no pages, frequency order") > io("ours-without-pages"), "{name}");
    }
}
