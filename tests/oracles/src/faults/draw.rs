//! What goes wrong in a scenario: drawn from its random numbers, and done to its card.
//!
//! In: a kind. Out: a card and faults that are as it says. Knows nothing of how the text is decoded.

use super::card::{Stuck, Wear};
use super::scenario::Scenario;
use super::subject::TOKENS;
use ripple_hal::{Block, BlockIdx, Faults, Faulty, WriteDevice};
use ripple_kernel::image::SectionKind;

/// SplitMix64: Steele, Lea and Flood, 2014.
pub struct Random(pub(super) u64);

impl Random {
    /// A stream of its own for every seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// One below `end`; 0 where that is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end.max(1)
    }
}

impl Scenario<'_> {
    /// What goes wrong in a scenario of `kind`.
    pub(super) fn draw(&mut self, kind: usize) {
        let (image, reads) = (self.subject.images[0].len() as u64, self.subject.reads);
        let all = self.subject.card(0).len() as u64;
        // One to eight a text.
        let often = ((1 + self.random.below(8)) * 65536 / reads.max(9)).min(60_000) as u16;
        let mut wear = Wear::default();
        match kind {
            0 => match self.random.below(3) {
                0 => self.faults.no_card = often,
                1 => self.faults.out_of_range = often,
                _ => self.faults.other = often,
            },
            1 => self.faults.timeout = often,
            2 => wear.short = Some((often, self.random.below(2) == 0)),
            3 => match self.random.below(4) {
                0 => self.faults.corrupted = often,
                _ => self.faults.silent = often,
            },
            4 | 5 => self.damage(kind == 4),
            6 => self.flip = Some(12 + self.random.below(TOKENS as u64 - 12) as u32),
            7 => {
                let how = match self.random.below(3) {
                    0 => Stuck::Error,
                    _ => Stuck::Byte(self.random.number() as u8),
                };
                let (first, count) = (self.random.below(all), 1 + self.random.below(4));
                wear.stuck = Some((first as u32, count as u32, how));
            }
            9 => {
                // A card that was put in has to be started: a driver says at least once that there is none.
                wear.swapped = Some((self.random.below(reads), 1 + self.random.below(5)));
                let other = self.other(all as usize);
                self.card.set_other(other);
            }
            10 => {
                let cut = self.random.below(image);
                self.replace(cut);
            }
            11 => {
                self.cut = Some(self.random.below(2 * (all - image)));
                self.counted += 1;
            }
            _ => {}
        }
        self.faults.seed = self.random.number();
        self.card.set_wear(wear);
    }

    /// What another card holds: an image of the same shape, nothing, or anything.
    fn other(&mut self, blocks: usize) -> Vec<Block> {
        match self.random.below(4) {
            0 | 1 => self.subject.card(1),
            2 => vec![Block::ZERO; blocks],
            _ => {
                let random = |_| Block([(); 512].map(|()| self.random.number() as u8));
                (0..blocks - 1).map(random).collect()
            }
        }
    }

    /// Flips one to three bits of a record of a section, or of anything but records.
    fn damage(&mut self, records: bool) {
        let header = self.subject.header;
        let mut card = self.subject.card(0);
        let meta = |kind| {
            matches!(kind, SectionKind::Tokenizer | SectionKind::PageIndex | SectionKind::Pages)
        };
        let there = SectionKind::ALL.into_iter().filter(|kind| header.section(*kind).part.0 > 0);
        let mut ranges: Vec<_> = there
            .filter(|kind| meta(*kind) != records)
            .map(|kind| {
                let section = header.section(kind);
                (section.start.0, section.part.0 * header.parts(kind))
            })
            .collect();
        if !records {
            ranges.push((0, header.bytes.div_ceil(512)));
        }
        let (start, count) = ranges[self.random.below(ranges.len() as u64) as usize];
        // The first of a section, in half of the cases: where what is read for sure lies.
        let count = if self.random.below(2) == 0 { count.min(2) } else { count };
        for _ in 0..1 + self.random.below(3) {
            let bit = self.random.below(u64::from(count) * 4096);
            let block = &mut card[start as usize + (bit / 4096) as usize];
            block.0[(bit % 4096 / 8) as usize] ^= 1 << (bit % 8);
            self.counted += 1;
        }
        self.card.heal(&card[..self.subject.images[0].len()]);
    }

    /// Writes the other image over the one on the card, until power fails after `cut` blocks.
    fn replace(&mut self, cut: u64) {
        let new = &self.subject.images[1];
        let mut writer =
            Faulty::new(self.card.clone(), Faults { cut: Some(cut), ..Faults::default() });
        let piece = 1 + self.random.below(16) as usize;
        let mut at = 0;
        for blocks in new.chunks(piece) {
            if writer.write(BlockIdx(at), blocks).is_err() {
                break;
            }
            at += blocks.len() as u32;
        }
        self.counted += 1;
        // The old one's header is gone with the first block.
        self.which = 1;
    }

    /// Flips a bit of a key or a value of the positions that are on the card.
    pub(super) fn flip_behind_the_image(&mut self, spilled: u32) {
        let config = &self.subject.header.geometry.config;
        let tables = u64::from(2 * config.layers);
        let image = self.subject.images[0].len() as u64;
        let blocks = (self.subject.card(0).len() as u64 - image) / tables;
        let row = self.subject.options.kv.entry_words(config) / 2 * 4;
        let bit = self.random.below(u64::from(spilled * row) * 8);
        let block = image + self.random.below(tables) * blocks + bit / 4096;
        self.card.flip(BlockIdx(block as u32), (bit % 4096) as usize);
        self.flip = None;
        self.counted += 1;
    }
}
