//! Context pages: copies of the bundles that a token is likely to need, most likely first.
//!
//! In: a token's index record and bytes of its pages. Out: where each page is, and which slots it
//! holds. Cards are far larger than models: what else is free on one buys fewer, shorter reads.
//!
//! ```text
//! index record of a token: first block of its pages: u32 | for each layer: bundles: u16, ahead: u15, apart: u1
//! pages of a token: for each group of layers: their fronts | their rests
//! front of a page: check: u16 | bundles: u16 | slot: u16 for each | zeroes to a whole stride | the first `ahead` bundles
//! rest of a page: the other bundles
//! ```
//!
//! A layer whose page stands apart begins a group. Fronts are what is read in any case: those of a group stand together,
//! so that one read serves as many layers as the packer thought of a buffer for; what is read from the rests lies behind
//! them and before the next group, so that one command can go through all. Each front and each rest starts on a block
//! boundary. Bundles are the same bytes as in the FFN section.

use super::record::identity;
use super::remainder::Remainder;
use super::section::SectionKind;
use ripple_hal::{BLOCK_BYTES, BlockCount, BlockIdx};
use zerocopy::FromBytes;
use zerocopy::little_endian::U16;

/// Where the page of one token in one layer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The first block of its front.
    pub start: BlockIdx,
    /// The first block of its rest.
    pub rest: BlockIdx,
    /// Bundles it holds; 0 for no page.
    pub bundles: u16,
    /// How many of them are read together with the directory, before it is known which are wanted.
    pub ahead: u16,
    /// Blocks from `start` of this front and of those behind it that are read together; 0 where it is read by itself.
    pub together: BlockCount,
    /// What its directory must call itself.
    pub identity: u32,
}

const HEADER_BYTES: u32 = 4;
/// Set beside `ahead` where a page begins a group.
const APART: u16 = 1 << 15;

impl Page {
    /// Most bundles of a front.
    pub const MOST_AHEAD: u16 = APART - 1;

    /// Strides that the directory of `bundles` takes.
    pub const fn directory_strides(bundles: u16, stride: u32) -> u32 {
        let bytes = HEADER_BYTES + 2 * bundles as u32;
        match bytes.checked_div(stride) {
            Some(whole) => whole + (whole * stride < bytes) as u32,
            None => 0,
        }
    }

    /// Blocks of the front of a page of so many bundles, the first `ahead` of which are in it.
    pub const fn front_blocks(bundles: u16, ahead: u16, stride: u32) -> BlockCount {
        if bundles == 0 {
            return BlockCount(0);
        }
        let strides = Self::directory_strides(bundles, stride) + ahead as u32;
        BlockCount::for_bytes(strides as u64 * stride as u64)
    }

    /// Blocks of its rest.
    pub const fn rest_blocks(bundles: u16, ahead: u16, stride: u32) -> BlockCount {
        BlockCount::for_bytes(bundles.saturating_sub(ahead) as u64 * stride as u64)
    }

    /// What the directory of a page of `layer` calls itself in the image of this number.
    pub const fn identity(image: u32, layer: u32) -> u32 {
        identity(image, SectionKind::Pages as u32, layer, 0)
    }

    /// The page of `layer` in the image of this number, from the words of a token's index record.
    ///
    /// `start`: of the section. `buffer`: blocks that fronts can be read into together.
    pub fn of_layer(
        words: &[u32],
        image: u32,
        layer: u32,
        stride: u32,
        start: BlockIdx,
        buffer: BlockCount,
    ) -> Option<Self> {
        let (first, layers) = words.split_first()?;
        let (mut bundles, mut ahead) = (0, 0);
        let mut group = start.0.saturating_add(*first);
        // Blocks of the group: fronts before the layer's, it and those behind it that fit, all of them; rests before.
        let (mut before, mut together, mut fronts, mut rests) = (0, 0, 0, 0);
        let mut fits = true;
        for (word, number) in layers.iter().zip(0..) {
            let holds = *word as u16;
            let at_once = ((*word >> 16) as u16 & !APART).min(holds);
            if (*word >> 16) as u16 & APART != 0 {
                if number > layer {
                    break;
                }
                group = group.saturating_add(fronts).saturating_add(rests);
                (before, fronts, rests) = (0, 0, 0);
            }
            let front = Self::front_blocks(holds, at_once, stride).0;
            if number < layer {
                before = front.saturating_add(before);
                rests = Self::rest_blocks(holds, at_once, stride).0.saturating_add(rests);
            } else {
                if number == layer {
                    (bundles, ahead) = (holds, at_once);
                }
                fits &= front.saturating_add(together) <= buffer.0;
                together += if fits { front } else { 0 };
            }
            fronts = front.saturating_add(fronts);
        }
        let page = Self {
            start: BlockIdx(group.saturating_add(before)),
            rest: BlockIdx(group.saturating_add(fronts).saturating_add(rests)),
            bundles,
            ahead,
            together: BlockCount(together),
            identity: Self::identity(image, layer),
        };
        (bundles > 0).then_some(page)
    }

    /// The word of an index record for a page of so many bundles, of which `ahead`, at most [`MOST_AHEAD`](Self::MOST_AHEAD),
    /// are in the front. `apart`: whether it begins a group.
    pub const fn index_word(bundles: u16, ahead: u16, apart: bool) -> u32 {
        let apart = if apart { APART } else { 0 };
        bundles as u32 | ((ahead | apart) as u32) << 16
    }

    /// The slots in the directory at the start of `bytes`, in the page's order.
    ///
    /// `None` when the bytes are not the directory of this page.
    pub fn directory<'a>(&self, bytes: &'a [u8]) -> Option<&'a [U16]> {
        let (header, slots) = bytes.split_at_checked(HEADER_BYTES as usize)?;
        let (header, _) = <[U16; 2]>::ref_from_prefix(header).ok()?;
        let (slots, _) = <[U16]>::ref_from_prefix_with_elems(slots, self.bundles.into()).ok()?;
        let [found, bundles] = header.map(U16::get);
        let slot = slots.iter().map(|slot| slot.get());
        (bundles == self.bundles && found == self.check(slot)).then_some(slots)
    }

    /// Writes the directory of this page, which holds `slots`, to the front of `out`.
    ///
    /// # Panics
    /// When `out` is too short: the packer's bug.
    #[allow(clippy::indexing_slicing, reason = "runs on the host; documented")]
    pub fn emit_directory(&self, slots: &[u16], out: &mut [u8]) {
        let check = self.check(slots.iter().copied());
        out[..2].copy_from_slice(&check.to_le_bytes());
        out[2..4].copy_from_slice(&self.bundles.to_le_bytes());
        for (out, slot) in out[HEADER_BYTES as usize..].chunks_exact_mut(2).zip(slots) {
            out.copy_from_slice(&slot.to_le_bytes());
        }
    }

    fn check(&self, slots: impl Iterator<Item = u16>) -> u16 {
        let start = Remainder::new(self.identity).after(self.bundles.into());
        slots.fold(start, |rest, slot| rest.after(slot.into())).narrow() as u16
    }
}

const _: () = assert!(BLOCK_BYTES >= HEADER_BYTES as usize);

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec;

    #[test]
    fn fronts_follow_each_other_and_then_rests() {
        let words = [
            7,
            Page::index_word(3, 2, false),
            0,
            Page::index_word(600, 900, false),
            Page::index_word(9, 1, false),
        ];
        let page = |layer, buffer| {
            Page::of_layer(&words, 0, layer, 136, BlockIdx(100), BlockCount(buffer))
        };
        // One stride of directory and two bundles: 408 bytes. Nine strides and 600 bundles: 82,824 bytes.
        let first = Page {
            start: BlockIdx(107),
            rest: BlockIdx(107 + 1 + 162 + 1),
            bundles: 3,
            ahead: 2,
            together: BlockCount(0),
            identity: Page::identity(0, 0),
        };
        assert_eq!(page(0, 0), Some(first));
        assert_eq!(page(1, 999), None);
        let third = Page {
            start: BlockIdx(108),
            rest: BlockIdx(first.rest.0 + 1),
            bundles: 600,
            ahead: 600,
            together: BlockCount(0),
            identity: Page::identity(0, 2),
        };
        assert_eq!(page(2, 161), Some(third));
        let fourth = page(3, 1).unwrap();
        assert_eq!((fourth.start, fourth.rest), (BlockIdx(270), third.rest));
        assert_eq!(page(4, 999), None);
        // Whole fronts, as many as fit; what does not fit ends them, though what comes behind it would.
        for (layer, buffer, together) in [
            (0, 1, 1),
            (0, 162, 1),
            (0, 163, 163),
            (0, 164, 164),
            (2, 162, 162),
            (2, 999, 163),
            (3, 1, 1),
        ] {
            let found = page(layer, buffer).unwrap().together;
            assert_eq!(found, BlockCount(together), "layer {layer}, {buffer}");
        }
        assert_eq!(Page::of_layer(&[], 0, 0, 136, BlockIdx(0), BlockCount(9)), None);
        assert_eq!(Page::directory_strides(66, 136), 1);
        assert_eq!(Page::directory_strides(67, 136), 2);
        assert_eq!(Page::front_blocks(0, 0, 136), BlockCount(0));
        assert_eq!(Page::rest_blocks(5, 5, 136), BlockCount(0));
    }

    #[test]
    fn a_group_follows_the_rests_of_the_one_before() {
        let word = |apart| Page::index_word(9, 3, apart);
        let words = [7, word(false), word(false), word(true), word(false)];
        let page =
            |layer| Page::of_layer(&words, 0, layer, 512, BlockIdx(0), BlockCount(99)).unwrap();
        // A front has one block of directory and three bundles, a rest six.
        let found = [0, 1, 2, 3].map(page).map(|page| (page.start.0, page.rest.0, page.together.0));
        assert_eq!(found, [(7, 15, 8), (11, 21, 4), (27, 35, 8), (31, 41, 4)]);
        // Each by itself.
        let words = [0, word(true), word(true)];
        let page =
            |layer| Page::of_layer(&words, 0, layer, 512, BlockIdx(0), BlockCount(99)).unwrap();
        let found = [0, 1].map(page).map(|page| (page.start.0, page.rest.0, page.together.0));
        assert_eq!(found, [(0, 4, 4), (10, 14, 4)]);
    }

    #[test]
    fn a_directory_is_read_as_written_and_nowhere_else() {
        let slots = [5, 2, 300];
        let mut bytes = vec![0u8; 12];
        let identity = Page::identity(7, 4);
        let (start, together) = (BlockIdx(0), BlockCount(0));
        let page = Page { start, rest: start, bundles: 3, ahead: 0, together, identity };
        page.emit_directory(&slots, &mut bytes);
        let read = page.directory(&bytes).unwrap();
        assert!(read.iter().map(|s| s.get()).eq(slots));
        for identity in [Page::identity(7, 3), Page::identity(8, 4)] {
            assert!(Page { identity, ..page }.directory(&bytes).is_none());
        }
        assert!(Page { bundles: 2, ..page }.directory(&bytes).is_none());
        assert!(page.directory(&bytes[..9]).is_none());
        for at in 0..10 {
            bytes[at] ^= 4;
            assert!(page.directory(&bytes).is_none(), "{at}");
            bytes[at] ^= 4;
        }
    }
}
