//! A card without a model: directories of pages, and nothing else.
//!
//! In: pages. Out: [`BlankCard`], the contents of a card that a replay reads. What bundles are made
//! of does not matter there, so they take no memory; where they are does.

use crate::machine::Contents;
use crate::placement::{Order, Placement};
use ripple_hal::{BLOCK_BYTES, Block, BlockCount, BlockIdx};
use ripple_kernel::decode::replay::Bundles;
use ripple_kernel::image::Page;

/// See the [module](self).
pub struct BlankCard {
    blocks: BlockCount,
    /// First block and bytes of each directory, ascending.
    directories: Vec<(u32, Vec<u8>)>,
    layers: usize,
    /// `(vocab, layers)`.
    pages: Vec<Option<Page>>,
}

impl BlankCard {
    /// A card for the bundles, and after them the pages, of a placement.
    pub fn new(bundles: &Bundles, placement: &Placement) -> Self {
        let layers = placement.layers().len();
        let mut at = bundles.layer_blocks().0 * layers as u32;
        let slots: Vec<_> = placement.layers().iter().map(Order::slots).collect();
        let mut card =
            Self { blocks: BlockCount(0), directories: Vec::new(), layers, pages: Vec::new() };
        for token in 0..placement.pages().map_or(0, |pages| pages.tokens()) {
            let layer_pages = placement.pages().map_or(&[][..], |pages| pages.of(token));
            for (layer, kept) in layer_pages.iter().enumerate() {
                let held: Vec<u16> =
                    kept.neurons.iter().map(|&neuron| slots[layer][usize::from(neuron)]).collect();
                let (bundles_held, start) = (held.len() as u16, BlockIdx(at));
                let identity = Page::identity(0, layer as u32);
                let page = Page { start, bundles: bundles_held, ahead: kept.ahead, identity };
                card.pages.push((bundles_held > 0).then_some(page));
                if bundles_held > 0 {
                    let strides = Page::directory_strides(bundles_held, bundles.stride);
                    let mut directory = vec![0; (strides * bundles.stride) as usize];
                    page.emit_directory(&held, &mut directory);
                    card.directories.push((at, directory));
                }
                at += kept.blocks(bundles.stride) as u32;
            }
        }
        card.blocks = BlockCount(at);
        card
    }

    /// The page of a token in a layer.
    pub fn page(&self, token: Option<u32>, layer: usize) -> Option<Page> {
        *self.pages.get(token? as usize * self.layers + layer)?
    }
}

impl Contents for &BlankCard {
    fn blocks(&self) -> BlockCount {
        self.blocks
    }

    fn copy(&self, start: BlockIdx, dst: &mut [Block]) {
        let first = self.directories.partition_point(|(at, bytes)| {
            at + BlockCount::for_bytes(bytes.len() as u64).0 <= start.0
        });
        let to = Block::bytes_mut(dst);
        for (at, bytes) in &self.directories[first..] {
            let (from, skip) = match at.checked_sub(start.0) {
                Some(blocks) => (blocks as usize * BLOCK_BYTES, 0),
                None => (0, (start.0 - at) as usize * BLOCK_BYTES),
            };
            let Some(to) = to.get_mut(from..) else { break };
            to.iter_mut().zip(bytes.iter().skip(skip)).for_each(|(to, from)| *to = *from);
        }
    }
}
