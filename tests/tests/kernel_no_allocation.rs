//! `open`, a prompt, a draft and 64 steps allocate nothing; metadata of a checkpoint take little.

use ripple_hal::{BlockCount, Slice};
use ripple_host_sim::import::demo;
use ripple_host_sim::machine::memory::HostMemory;
use ripple_host_sim::model::Model;
use ripple_host_sim::pack::pack;
use ripple_host_sim::placement::Placement;
use ripple_host_sim::predictor::PredictorChoice;
use ripple_kernel::image::{Header, SectionKind};
use ripple_kernel::memory::cache::Admission;
use ripple_kernel::text::sample::{Sampler, SamplerOptions};
use ripple_kernel::text::tokenizer::{EncodeOptions, Tokenizer, Utf8Decoder};
use ripple_kernel::{Decoder, MemoryPlan, Options, Speculation};
use ripple_tests::arbitrary::{paged_image, pages};
use ripple_tests::tiny::Shape;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    /// Bytes that this thread has, and the most that it had.
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is handed on to the system's allocator unchanged.
#[allow(unsafe_code, reason = "a global allocator is unsafe by definition")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|n| n.set(n.get() + 1));
        let live = LIVE.get() + layout.size();
        LIVE.set(live);
        PEAK.set(PEAK.get().max(live));
        // SAFETY: as required of our caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        LIVE.set(LIVE.get().saturating_sub(layout.size()));
        // SAFETY: as required of our caller.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn opening_a_prompt_a_draft_and_64_steps_allocate_nothing() {
    for name in ["story-nano", "novel-opt"] {
        let model = Model::load(&demo::path(name).unwrap()).unwrap();
        let c = &model.config;
        let placement = Placement::identity(name, c.layers as usize, c.neurons as usize);
        let image = pack(&model, &placement, &PredictorChoice::Exact, &[]).unwrap();
        let options = Options {
            cache_bytes: 8 * 1024,
            hot_permille: 300,
            admission: Admission::ALL,
            collapse_gap: BlockCount(2),
            batch: 6,
            ..Options::DEFAULT
        };
        let plan = MemoryPlan::for_model(&Header::parse(&image).unwrap().geometry, &options);
        let mut memory = HostMemory::new(&plan);
        let mut recent = [0; 16];
        let mut ids = [0; 64];

        let before = ALLOCATIONS.with(Cell::get);
        let lent = memory.lend();
        let mut decoder = Decoder::open(Slice::new(&image), &[], lent, &options, ()).unwrap();
        let whole = ripple_kernel::image::Image::new(*decoder.header(), &image);
        let tokenizer = Tokenizer::parse(whole.tokenizer().unwrap()).unwrap();
        let settings = SamplerOptions { temperature: 0.8, top_p: 0.9, ..SamplerOptions::GREEDY };
        let mut sampler = Sampler::new(settings, &mut recent).unwrap();
        let mut text = Utf8Decoder::new();
        let mut letters = 0;
        let count =
            tokenizer.encode("Once upon a time", EncodeOptions::default(), &mut ids).unwrap();
        decoder.prefill(&ids[..count]).unwrap();
        let mut history = [0; 32];
        let mut speculation = Speculation::new(&mut history, 5);
        ids.iter().for_each(|&id| speculation.accept(id));
        speculation.step(&mut decoder, 9).unwrap();
        let drafted = speculation.drafted();
        let mut token = 0;
        for _ in 0..64 {
            let logits = decoder.step(token).unwrap();
            sampler.accept(token);
            token = sampler.sample(logits);
            text.push(tokenizer.bytes(token).unwrap(), |piece| letters += piece.len());
        }
        let after = ALLOCATIONS.with(Cell::get);
        assert!(letters > 0 && drafted > 0);
        assert_eq!(after - before, 0, "{name}");
    }
}

#[test]
fn steps_that_read_pages_ahead_allocate_nothing() {
    let tokens = [0, 17, 300, 5];
    let shape = Shape { neurons: 400, ..Shape::LLAMA };
    let image = paged_image(shape, &PredictorChoice::Exact, &[7], pages(shape, &tokens, 5));
    let header = Header::parse(&image).unwrap();
    let mapped = &image[..header.section(SectionKind::Ffn).start.0 as usize * 512];
    let options = Options { staging: BlockCount(64), ..Options::DEFAULT };
    assert!(options.read_ahead);
    let mut memory = HostMemory::new(&MemoryPlan::for_model(&header.geometry, &options));

    let before = ALLOCATIONS.with(Cell::get);
    let mut decoder =
        Decoder::open(Slice::new(&image), mapped, memory.lend(), &options, ()).unwrap();
    for token in tokens {
        decoder.step(token).unwrap();
    }
    assert_eq!(ALLOCATIONS.with(Cell::get) - before, 0);
}

/// A GGUF file of one list of `count` elements, each of type `kind` and with these bytes.
fn gguf(kind: u32, count: u64, element: &[u8]) -> Vec<u8> {
    let mut file = b"GGUF\x03\0\0\0".to_vec();
    for number in [0u64, 1, 12] {
        file.extend(number.to_le_bytes());
    }
    file.extend(b"general.tags");
    file.extend([9, kind].into_iter().flat_map(u32::to_le_bytes));
    file.extend(count.to_le_bytes());
    file.extend(element.repeat(count as usize));
    file
}

/// Lists stay in the file: of small elements they took 32 times its length.
#[test]
fn metadata_of_a_gguf_take_less_than_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lists.gguf");
    let texts = [1u64.to_le_bytes().as_slice(), b"a"].concat();
    for file in [gguf(0, 4 << 20, &[7]), gguf(8, 1 << 19, &texts)] {
        std::fs::write(&path, &file).unwrap();
        PEAK.set(LIVE.get());
        let before = LIVE.get();
        let said =
            format!("{:#}", ripple_host_sim::import::import_dense(&path, None).err().unwrap());
        assert!(said.contains("`general.architecture` is missing"), "{said}");
        let taken = PEAK.get() - before;
        assert!(taken < file.len() / 4, "{taken} bytes for a file of {}", file.len());
    }
}

#[test]
fn the_counter_counts() {
    let before = ALLOCATIONS.with(Cell::get);
    let live = LIVE.get();
    PEAK.set(live);
    drop(std::hint::black_box(vec![1u8; 100]));
    assert_eq!(ALLOCATIONS.with(Cell::get) - before, 1);
    assert_eq!((PEAK.get() - live, LIVE.get()), (100, live));
}
