//! What scenarios decode: images, how they are run, and what comes of it where nothing goes wrong.
//!
//! In: nothing. Out: [`Subject`]s, always the same. Knows nothing of faults.

use super::card::Card;
use crate::arbitrary::{paged_image, pages};
use crate::tiny::Shape;
use ripple_hal::{Block, BlockCount};
use ripple_host_sim::machine::memory::HostMemory;
use ripple_host_sim::predictor::PredictorChoice;
use ripple_host_sim::predictor::signs::Thresholds;
use ripple_kernel::image::Header;
use ripple_kernel::memory::cache::Admission;
use ripple_kernel::{Decoder, KvKind, MemoryPlan, Options};

/// Tokens of a text.
pub const TOKENS: usize = 20;

/// An image and how it is run.
pub struct Subject {
    /// The image, and another one of the same shape.
    pub images: [Vec<Block>; 2],
    /// What each gives for the text: the bits of the logits after every token.
    pub logits: [Vec<Vec<u32>>; 2],
    /// The header of both but for their numbers.
    pub header: Header,
    /// How it is run; where some positions go to the card, they do so on the way.
    pub options: Options,
    /// Reads that the text takes where nothing goes wrong, opening among them.
    pub reads: u64,
}

/// The text.
pub fn tokens() -> impl Iterator<Item = u32> {
    (0..TOKENS as u32).map(|i| i * 31 % 520 % 7)
}

impl Subject {
    /// Models of both families, with and without pages, caches, predictors and positions on the card.
    pub fn all() -> Vec<Self> {
        let narrow = Shape { layers: 2, neurons: 40, ..Shape::LLAMA };
        let wide = Shape { layers: 2, neurons: 24, dim: 40, ..Shape::OPT };
        // Rows of a kilobyte, whose checks have 32 bits whatever they are.
        let long = Shape { layers: 1, neurons: 12, dim: 1024, kv_heads: 2, head_dim: 16, ..narrow };
        // Keys of eight positions fill a block.
        let keys = Shape { kv_heads: 2, head_dim: 16, ..narrow };
        let plain = Options { context: 32, ..Options::DEFAULT };
        let cached = Options { cache_bytes: 1500, admission: Admission::ALL, ..plain };
        let spilling = Options { context: 10, spill: 16, ..plain };
        let (staging, page_buffer) = (BlockCount(6), BlockCount(9));
        let ahead = Options { read_ahead: true, staging, page_buffer, ..cached };
        let eight = Options { kv: KvKind::Q8, ..plain };
        let signs =
            PredictorChoice::Signs(Thresholds { planes: 4, layers: vec![vec![-6.0; 40]; 2] });
        let exact = PredictorChoice::Exact;
        vec![
            Self::new(narrow, &exact, plain, false),
            Self::new(narrow, &signs, cached, true),
            Self::new(wide, &exact, ahead, true),
            Self::new(wide, &PredictorChoice::ExactFullBundles, eight, false),
            Self::new(keys, &exact, spilling, false),
            Self::new(long, &exact, cached, false),
        ]
    }

    fn new(shape: Shape, predictor: &PredictorChoice, options: Options, paged: bool) -> Self {
        let image = |seed| {
            let shape = Shape { seed, ..shape };
            let pages = if paged { pages(shape, &[1, 3, 4], 1) } else { None };
            blocks(&paged_image(shape, predictor, &[3], pages))
        };
        let images = [image(1), image(2)];
        let header = Header::parse(Block::bytes(&images[0])).expect("an image");
        let mut subject =
            Self { images, logits: [Vec::new(), Vec::new()], header, options, reads: 0 };
        for which in 0..2 {
            (subject.logits[which], subject.reads) = subject.run(which);
        }
        subject
    }

    /// Memory for a decoder.
    pub fn memory(&self) -> HostMemory {
        HostMemory::new(&MemoryPlan::for_model(&self.header.geometry, &self.options))
    }

    /// The blocks of a card with an image, and room behind it.
    pub fn card(&self, which: usize) -> Vec<Block> {
        let room = self.options.spill_blocks(&self.header.geometry.config);
        let mut blocks = self.images[which].clone();
        blocks.resize(blocks.len() + room.0 as usize, Block([0xC3; 512]));
        blocks
    }

    fn run(&self, which: usize) -> (Vec<Vec<u32>>, u64) {
        let card = Card::new(self.card(which), None, 1, u64::MAX);
        let mut memory = self.memory();
        let opened = Decoder::open(card.clone(), &[], memory.lend(), &self.options, ());
        let mut decoder = opened.expect("a sound image");
        let logits = tokens().map(|token| {
            if decoder.room() == 0 {
                decoder.spill().expect("room on the card");
            }
            bits(decoder.step(token).expect("a sound card"))
        });
        (logits.collect(), card.reads())
    }
}

/// Bytes as blocks, the last one filled with zeroes.
fn blocks(bytes: &[u8]) -> Vec<Block> {
    let mut blocks = vec![Block::ZERO; BlockCount::for_bytes(bytes.len() as u64).0 as usize];
    Block::bytes_mut(&mut blocks)[..bytes.len()].copy_from_slice(bytes);
    blocks
}

/// Numbers as what is compared.
pub fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|logit| logit.to_bits()).collect()
}
