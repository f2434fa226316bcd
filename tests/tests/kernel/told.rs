//! A device that looks ahead is told of the reads that come: all that the plan of a layer holds, and what each pass
//! reads whole, a layer before. What is read, and the bits, are those of a device that does not.

use ripple_hal::{Block, BlockCount, BlockDevice, BlockIdx, Coming, ErrorKind};
use ripple_host_sim::machine::memory::HostMemory;
use ripple_host_sim::placement::{LayerPage, Pages};
use ripple_host_sim::predictor::PredictorChoice;
use ripple_kernel::image::{Header, SectionKind};
use ripple_kernel::{Decoder, MemoryPlan, Options};
use ripple_tests::arbitrary::paged_image;
use ripple_tests::spy::SpyDevice;
use ripple_tests::tiny::{CONTEXT, Shape, model};

const TOKENS: [u32; 9] = [0, 17, 300, 300, 5, 519, 42, 7, 8];
const LLAMA: Shape = Shape { neurons: 400, tied_head: false, ..Shape::LLAMA };
const OPT: Shape = Shape { neurons: 500, ..Shape::OPT };

const OPTIONS: Options = Options {
    context: CONTEXT,
    staging: BlockCount(16),
    collapse_gap: BlockCount(1),
    batch: 4,
    ..Options::DEFAULT
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Told((u32, u32), Coming),
    Read((u32, u32)),
}

/// A device that notes what it is told, beside what it reads.
struct Listener<'a> {
    inner: SpyDevice<'a>,
    events: Vec<Event>,
}

impl BlockDevice for Listener<'_> {
    type Error = ErrorKind;

    fn block_count(&mut self) -> Result<BlockCount, ErrorKind> {
        self.inner.block_count()
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), ErrorKind> {
        self.events.push(Event::Read((start.0, start.0 + dst.len() as u32)));
        self.inner.read(start, dst)
    }

    const LOOKS_AHEAD: bool = true;

    fn will_read(&mut self, start: BlockIdx, count: BlockCount, coming: Coming) {
        assert!(count.0 > 0);
        self.events.push(Event::Told((start.0, start.0 + count.0), coming));
    }
}

/// Feeds `TOKENS`, three of them in one pass; the bits of all logits.
fn run<D: BlockDevice>(device: D, image: &[u8], mapped: &[u8], options: &Options) -> Vec<u32> {
    let header = Header::parse(image).unwrap();
    let mut memory = HostMemory::new(&MemoryPlan::for_model(&header.geometry, options));
    let mut decoder = Decoder::open(device, mapped, memory.lend(), options, ()).unwrap();
    let mut bits = Vec::new();
    for tokens in [&TOKENS[..1], &TOKENS[1..2], &TOKENS[2..5], &TOKENS[5..6], &TOKENS[6..]] {
        let logits = decoder.prefill(tokens).unwrap_or_else(|_| panic!("{tokens:?}"));
        bits.extend(logits.iter().map(|logit| logit.to_bits()));
    }
    bits
}

/// All that happened once the first layer of the second pass was begun: from there on all is told.
fn events(
    shape: Shape,
    hot: u32,
    pages: bool,
    options: &Options,
    map: bool,
) -> (Header, Vec<Event>) {
    let plan = LayerPage { neurons: (0..shape.neurons as u16).step_by(3).collect(), ahead: 9 };
    let count = (model(shape).config.vocab * shape.layers) as usize;
    let plans = || Pages::new(shape.layers as usize, shape.neurons as usize, vec![plan; count]);
    let pages = pages.then(|| plans().unwrap());
    let image = paged_image(shape, &PredictorChoice::Exact, &[hot], pages);
    let header = Header::parse(&image).unwrap();
    let ffn = header.section(SectionKind::Ffn).start.0 as usize * 512;
    let mapped = if map { &image[..ffn] } else { &[] };

    let mut spy = SpyDevice::new(&image);
    let expected = run(&mut spy, &image, mapped, options);
    let mut listener = Listener { inner: SpyDevice::new(&image), events: Vec::new() };
    assert_eq!(run(&mut listener, &image, mapped, options), expected, "the same bits");
    assert_eq!(listener.inner.reads, spy.reads, "the same reads");
    let first = |event: &Event| matches!(event, Event::Told(_, Coming::Later | Coming::SomeLater));
    let begun = listener.events.iter().position(first).unwrap();
    (header, listener.events.split_off(begun))
}

fn is_in((start, end): (u32, u32), (from, to): (u32, u32)) -> bool {
    from <= start && end <= to
}

/// Blocks of a section.
fn section(header: &Header, kind: SectionKind) -> (u32, u32) {
    let section = header.section(kind);
    (section.start.0, section.start.0 + section.part.0 * header.parts(kind))
}

#[test]
fn every_read_of_a_plan_is_told_at_once_and_in_its_order() {
    let cache = Options { cache_bytes: 4000, hot_permille: 500, ..OPTIONS };
    for shape in [LLAMA, OPT] {
        for (hot, pages, options) in
            [(0, false, OPTIONS), (30, false, cache), (0, true, OPTIONS), (0, true, cache)]
        {
            let (header, events) = events(shape, hot, pages, &options, true);
            let ffn = section(&header, SectionKind::Ffn);
            let next = |event: &Event| match event {
                Event::Told(blocks, Coming::Next) => Some(*blocks),
                _ => None,
            };
            let told: Vec<_> = events.iter().filter_map(next).collect();
            let read = |event: &Event| match event {
                Event::Read(blocks) => Some(*blocks),
                Event::Told(..) => None,
            };
            let reads: Vec<_> = events.iter().filter_map(read).collect();
            // What was told of pages, and all of the layers.
            let mut coming = told.iter().peekable();
            let of_plans = reads.iter().filter(|read| coming.next_if_eq(read).is_some()).count();
            assert_eq!(of_plans, told.len(), "told, and read in that order");
            let of_layers = |all: &[_]| all.iter().filter(|&&blocks| is_in(blocks, ffn)).count();
            assert_eq!(of_layers(&reads), of_layers(&told));
            assert!(told.len() > 3 * TOKENS.len(), "{}", told.len());
            // At once: a plan of several reads is told before the first of them.
            let together = events.windows(2).filter(|pair| pair.iter().all(|e| next(e).is_some()));
            assert!(together.count() > TOKENS.len());
        }
    }
}

#[test]
fn what_a_pass_reads_whole_is_told_a_layer_before_in_the_order_of_its_reads() {
    for shape in [LLAMA, OPT] {
        let (header, events) = events(shape, 0, false, &OPTIONS, false);
        let rows =
            [SectionKind::Embedding, SectionKind::Positions].map(|kind| section(&header, kind));
        let ffn = section(&header, SectionKind::Ffn);
        let mut told = Vec::new();
        let (mut at, mut begun) = (0, false);
        let layers =
            events.iter().filter(|event| matches!(event, Event::Told(_, Coming::SomeLater)));
        let passes = 5;
        assert_eq!(layers.count(), passes * shape.layers as usize);
        let mut first_layer = true;
        for event in events {
            match event {
                Event::Told(blocks, Coming::SomeLater) => assert!(is_in(blocks, ffn)),
                Event::Told(_, Coming::Next) => {}
                Event::Told(blocks, Coming::Later) => told.push(blocks),
                Event::Read(blocks) => {
                    if is_in(blocks, ffn) {
                        first_layer = false;
                    }
                    if first_layer || rows.iter().chain([&ffn]).any(|&rows| is_in(blocks, rows)) {
                        continue;
                    }
                    if !told.get(at).is_some_and(|&told| is_in(blocks, told)) {
                        // A table is read from its first block to its last.
                        at += usize::from(begun);
                        assert_eq!(blocks.0, told[at].0, "{shape:?}");
                    }
                    begun = true;
                    assert!(is_in(blocks, told[at]));
                }
            }
        }
        // Left is what the next pass begins with: the first layer's tables.
        assert!(at > 3 * passes * (shape.layers as usize - 1), "{at}");
        assert!(told.len() - at <= 6, "{at} of {}", told.len());
    }
}
