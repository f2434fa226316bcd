//! The first read of a context page is under way while attention and predictor are computed: the
//! same reads, earlier. (`kernel_same_bits` has the bits, and a fault at every read.)

use ripple_hal::{BlockCount, BlockDevice};
use ripple_host_sim::cost::Timing;
use ripple_host_sim::machine::Core;
use ripple_host_sim::machine::memory::HostMemory;
use ripple_host_sim::machine::meter::Meter;
use ripple_host_sim::machine::{SimCard, VirtualClock};
use ripple_host_sim::placement::{LayerPage, Pages};
use ripple_host_sim::predictor::PredictorChoice;
use ripple_kernel::image::{Header, SectionKind};
use ripple_kernel::{Decoder, MemoryPlan, Options, Probe, Stage, Usage};
use ripple_tests::arbitrary::paged_image;
use ripple_tests::spy::{SpyDevice, SpyProbe};
use ripple_tests::tiny::{CONTEXT, Shape, model};

const TOKENS: [u32; 7] = [0, 17, 300, 300, 5, 519, 42];
const LLAMA: Shape = Shape { neurons: 400, ..Shape::LLAMA };
const OPT: Shape = Shape { neurons: 500, ..Shape::OPT };

const OPTIONS: Options = Options {
    context: CONTEXT,
    staging: BlockCount(64),
    collapse_gap: BlockCount(1),
    ..Options::DEFAULT
};

/// An image in which each token has a page of every third neuron in each layer, of which `ahead` are
/// read with the directory.
fn image(shape: Shape, ahead: u16) -> Vec<u8> {
    let neurons: Vec<u16> = (0..shape.neurons as u16).step_by(3).collect();
    let count = (model(shape).config.vocab * shape.layers) as usize;
    let plans = vec![LayerPage { neurons, ahead }; count];
    let pages =
        Pages::new(shape.layers as usize, shape.neurons as usize, plans).unwrap().with_buffer(40);
    paged_image(shape, &PredictorChoice::Exact, &[0], Some(pages))
}

/// Steps through `TOKENS` with all but the FFN mapped.
fn run<D: BlockDevice, P: Probe>(device: D, image: &[u8], options: &Options, probe: P) -> Usage {
    let header = Header::parse(image).unwrap();
    let mapped = &image[..header.section(SectionKind::Ffn).start.0 as usize * 512];
    let mut memory = HostMemory::new(&MemoryPlan::for_model(&header.geometry, options));
    let mut decoder = Decoder::open(device, mapped, memory.lend(), options, probe).unwrap();
    for token in TOKENS {
        decoder.step(token).unwrap();
    }
    decoder.usage()[1]
}

#[test]
fn a_page_that_pays_is_read_the_same_way_only_earlier() {
    let cases =
        [(LLAMA, 0, 0), (LLAMA, 9, 0), (OPT, 0, 0), (OPT, 30, 0), (LLAMA, 9, 40), (OPT, 30, 7)];
    for (shape, ahead, buffer) in cases {
        let image = image(shape, ahead);
        let [without, with] = [false, true].map(|read_ahead| {
            let mut device = SpyDevice::new(&image);
            let mut probe = SpyProbe::default();
            let options = Options { read_ahead, page_buffer: BlockCount(buffer), ..OPTIONS };
            let usage = run(&mut device, &image, &options, &mut probe);
            // Each read was announced once, the one that is ahead as a read of the FFN.
            let announced: Vec<u32> = probe.extents.iter().map(|(_, blocks)| *blocks).collect();
            let read: Vec<u32> = device.reads.iter().map(|(_, blocks)| *blocks).collect();
            assert!(read.ends_with(&announced), "{read:?} {announced:?}");
            let ffn = probe.extents.iter().filter(|(stage, _)| *stage == Stage::Ffn).count();
            // Each layer has a front of its own and more, or more alone.
            let least = if buffer == 0 { 2 } else { 1 };
            assert!(ffn >= least * TOKENS.len() * shape.layers as usize, "{ffn}");
            (device.reads, probe.active, probe.lookups, usage)
        });
        assert_eq!(with, without);
    }
}

#[test]
fn what_is_read_ahead_is_in_the_peak_of_staging() {
    // The whole page is its head, and longer than what else is read.
    let image = image(LLAMA, 134);
    let usage = run(SpyDevice::new(&image), &image, &OPTIONS, ());
    let header = Header::parse(&image).unwrap();
    let stride = header.geometry.bundle_layout().stride();
    let strides = 134 + (4u32 + 2 * 134).div_ceil(stride);
    let blocks = (strides * stride).div_ceil(512).min(OPTIONS.staging.0 / 2);
    assert!(usage.peak >= 2 * 512 * (blocks - 1), "{usage:?}");
}

#[test]
fn attention_and_predictor_take_no_time_of_their_own() {
    for shape in [LLAMA, OPT] {
        let image = image(shape, 9);
        let [without, with] = [false, true].map(|read_ahead| {
            let clock = VirtualClock::new();
            let mut card =
                SimCard::new(&image[..], Timing::affine(300_000, 20_000_000), clock.clone());
            let meter = Meter::new(clock.clone(), Core::CortexM7);
            run(&mut card, &image, &Options { read_ahead, ..OPTIONS }, meter);
            (clock.now_ns(), card.stats().busy_ns())
        });
        assert_eq!(with.1, without.1, "the same reads");
        assert!(with.0 < without.0, "{with:?} {without:?}");
    }
}
