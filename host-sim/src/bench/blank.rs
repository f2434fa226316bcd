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
    stride: u32,
    /// Where the pages start.
    pages: BlockIdx,
    /// An index record for each token.
    index: Vec<Vec<u32>>,
}

impl BlankCard {
    /// A card for the bundles, and after them the pages, of a placement.
    pub fn new(bundles: &Bundles, placement: &Placement) -> Self {
        let layers = placement.layers().len() as u32;
        let pages = BlockIdx(bundles.layer_blocks().0 * layers);
        let mut at = pages.0;
        let slots: Vec<_> = placement.layers().iter().map(Order::slots).collect();
        let (stride, index) = (bundles.stride, Vec::new());
        let (blocks, directories) = (BlockCount(0), Vec::new());
        let mut card = Self { blocks, directories, stride, pages, index };
        for token in 0..placement.pages().map_or(0, |pages| pages.tokens()) {
            let layer_pages = placement.pages().map_or(&[][..], |pages| pages.of(token));
            let apart = placement.pages().map_or_else(Vec::new, |pages| pages.apart(token, stride));
            let words = layer_pages.iter().zip(apart).map(|(kept, apart)| {
                Page::index_word(kept.neurons.len() as u16, kept.ahead, apart)
            });
            card.index.push([at - pages.0].into_iter().chain(words).collect());
            for (layer, kept) in (0..layers).zip(layer_pages) {
                let found = card.page(Some(token as u32), layer, BlockCount(0));
                let Some(page) = found else { continue };
                let slots = &slots[layer as usize];
                let held: Vec<u16> =
                    kept.neurons.iter().map(|&neuron| slots[usize::from(neuron)]).collect();
                let strides = Page::directory_strides(page.bundles, stride);
                let mut directory = vec![0; (strides * stride) as usize];
                page.emit_directory(&held, &mut directory);
                card.directories.push((page.start.0, directory));
            }
            at += layer_pages.iter().map(|kept| kept.blocks(stride) as u32).sum::<u32>();
        }
        card.blocks = BlockCount(at);
        card
    }

    /// The page of a token in a layer, for a page buffer of so many blocks.
    pub fn page(&self, token: Option<u32>, layer: u32, buffer: BlockCount) -> Option<Page> {
        let words = self.index.get(token? as usize)?;
        Page::of_layer(words, 0, layer, self.stride, self.pages, buffer)
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
