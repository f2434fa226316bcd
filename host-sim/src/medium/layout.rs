//! The card as it is to be: a partition table, what the layout needs, and the image in one piece.
//!
//! In: an image, a [`Layout`], the size of the card. Out: [`CardBlocks`], block by block. Knows nothing
//! of how it is written. The same image gives the same card, to the last bit.
//!
//! ```text
//! block 0       partition table: one partition
//! block 2048    raw: the image
//!               FAT32: boot block, tables, root directory, and then the image, the only file
//! ```

use super::blocks::SparseBlocks;
use super::fat::{self, Clusters};
use ripple_hal::{
    BLOCK_BYTES, Block, BlockCount, BlockDevice, BlockIdx, FatFile, OutOfRange, Partition,
    PartitionTable, is_fat_name,
};
use ripple_kernel::image::{Crc32, Header, ImageError};
use std::io;

/// Where the partition begins: 1 MiB, as everyone puts it, on a boundary of any flash page.
const PARTITION: BlockIdx = BlockIdx(2048);
/// A FAT file is shorter than this.
const FAT_FILE_END: u64 = 1 << 32;
/// More blocks than any header has.
const HEADER_BLOCKS: usize = 64;

/// How an image is put on a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout<'a> {
    /// As a file of that name on a FAT32 volume: [`ripple_hal::FatFile`] finds it.
    Fat32(&'a str),
    /// As a partition of type 0xDA: [`ripple_hal::RawPartition`] finds it.
    Raw,
}

/// Why an image cannot be put on a card.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// The bytes are not an image.
    #[error("not an image as `ripple pack` writes it: {0}")]
    Image(#[from] ImageError),
    /// The image ends too early.
    #[error("expected {expected} bytes, found {found}: the image is cut short; copy it again")]
    CutShort {
        /// Bytes that its header promises.
        expected: u64,
        /// Bytes there are.
        found: u64,
    },
    /// The name is not one that FAT stores as it is.
    #[error("`{0}`: expected a name of the form NAME.EXT, of at most 8 and 3 plain characters")]
    Name(String),
    /// The card is too small.
    #[error(
        "expected a card of at least {} MiB, found one of {:.1} MiB; take a larger one{}",
        .needed.bytes().div_ceil(1 << 20),
        .found.bytes() as f64 / (1 << 20) as f64,
        if *.raw_fits { ", or the raw layout, which fits" } else { "" }
    )]
    TooSmall {
        /// Blocks needed.
        needed: BlockCount,
        /// Blocks there are.
        found: BlockCount,
        /// Whether the image fits without a file system.
        raw_fits: bool,
    },
    /// The image, with the room behind it, is longer than a FAT file can be.
    #[error(
        "an image and room of {bytes} bytes, and a FAT32 file is shorter than 4 GiB; use the raw layout"
    )]
    TooLong {
        /// Their length.
        bytes: u64,
    },
    /// No card is large enough.
    #[error("the image fits no card of less than 2 TiB")]
    TooLarge,
    /// The file system could not be made.
    #[error("the file system could not be made")]
    Format(#[source] io::Error),
    /// The planned card does not read as firmware will read it: a bug here.
    #[error("the planned card does not read back: {0}")]
    Unreadable(String),
}

/// What every block of a card is to be; those behind the image may be anything.
#[derive(Clone)]
pub struct CardBlocks<'a> {
    /// What is in front of the image.
    frame: SparseBlocks,
    partition: Partition,
    image_start: BlockIdx,
    image: &'a [u8],
    blocks: BlockCount,
}

impl Layout<'_> {
    /// Whether `image` blocks fit on a card of `card` blocks.
    fn fits(self, image: BlockCount, card: BlockCount) -> bool {
        let partition = BlockIdx(card.0) - PARTITION;
        match self {
            Self::Raw => image <= partition,
            Self::Fat32(_) => Clusters::of(partition).is_some_and(|c| c.hold(image)),
        }
    }

    /// The smallest card of a multiple of `step` blocks, or of a power of two of them.
    fn smallest(self, image: BlockCount, powers: bool) -> Option<BlockCount> {
        let mib = 2048;
        let next = |&card: &u32| {
            if powers { card.checked_mul(2) } else { card.checked_add(mib) }
        };
        let first = if powers { mib } else { (image.0 / mib).max(1) * mib };
        let mut cards = std::iter::successors(Some(first), next).map(BlockCount);
        cards.find(|&card| self.fits(image, card))
    }
}

impl<'a> CardBlocks<'a> {
    /// Plans a card for `image`, whose bytes beyond what its header promises are left out.
    ///
    /// `room`: blocks behind the image, in its file or its partition, that firmware may write: see
    /// [`ripple_kernel::Options::spill_blocks`]. What they hold is not planned.
    ///
    /// `blocks`: the size of the card; without it the smallest power of two, which is what QEMU
    /// asks of an SD card.
    ///
    /// # Errors
    /// When `image` is not a whole image, when it does not fit, and when the name of the file is
    /// not one that FAT can store.
    pub fn new(
        image: &'a [u8],
        layout: Layout<'_>,
        room: BlockCount,
        blocks: Option<BlockCount>,
    ) -> Result<Self, LayoutError> {
        let start = &image[..image.len().min(HEADER_BLOCKS * BLOCK_BYTES)];
        let length = Header::parse(start)?.blocks;
        let cut_short =
            || LayoutError::CutShort { expected: length.bytes(), found: image.len() as u64 };
        let image = image.get(..length.bytes() as usize).ok_or_else(cut_short)?;
        let length = length + room;

        if let Layout::Fat32(name) = layout {
            if !is_fat_name(name) {
                return Err(LayoutError::Name(name.to_owned()));
            }
            if length.bytes() >= FAT_FILE_END {
                return Err(LayoutError::TooLong { bytes: length.bytes() });
            }
        }
        let blocks = match blocks {
            Some(blocks) => blocks,
            None => layout.smallest(length, true).ok_or(LayoutError::TooLarge)?,
        };
        if !layout.fits(length, blocks) {
            let needed = layout.smallest(length, false).ok_or(LayoutError::TooLarge)?;
            let raw_fits = Layout::Raw.fits(length, blocks);
            return Err(LayoutError::TooSmall { needed, found: blocks, raw_fits });
        }

        // Cards of different images have different numbers, cards of the same image the same.
        let mut id = Crc32::new();
        id.update(&image[..BLOCK_BYTES]);
        let id = id.finish();
        let kind = match layout {
            Layout::Fat32(_) => Partition::FAT32,
            Layout::Raw => Partition::RAW,
        };
        let count = BlockIdx(blocks.0) - PARTITION;
        let partition = Partition { kind, start: PARTITION, count };
        let entries = [Some(partition), None, None, None];
        let mut frame = SparseBlocks::new(blocks);
        frame.set(BlockIdx(0), PartitionTable { signature: id, entries }.emit());
        let image_start = match layout {
            Layout::Raw => PARTITION,
            Layout::Fat32(name) => file_start(&mut frame, partition, id, name, length)?,
        };
        Ok(Self { frame, partition, image_start, image, blocks })
    }

    /// The size of the card.
    pub fn blocks(&self) -> BlockCount {
        self.blocks
    }

    /// The partition.
    pub fn partition(&self) -> Partition {
        self.partition
    }

    /// Where the image's first block is on the card.
    pub fn image_start(&self) -> BlockIdx {
        self.image_start
    }

    /// Blocks of the image.
    pub fn image_blocks(&self) -> BlockCount {
        BlockCount::for_bytes(self.image.len() as u64)
    }

    /// One past the last block that matters: the image's last.
    pub fn end(&self) -> BlockIdx {
        self.image_start + self.image_blocks()
    }

    /// What block `at` is to be; zeroes behind the image.
    pub fn block(&self, at: BlockIdx) -> Block {
        if at < self.image_start {
            return self.frame.get(at);
        }
        let from = (at - self.image_start).0 as usize * BLOCK_BYTES;
        let mut block = Block::ZERO;
        if let Some(bytes) = self.image.get(from..from + BLOCK_BYTES) {
            block.0.copy_from_slice(bytes);
        }
        block
    }
}

impl BlockDevice for CardBlocks<'_> {
    type Error = OutOfRange;

    fn block_count(&mut self) -> Result<BlockCount, OutOfRange> {
        Ok(self.blocks)
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), OutOfRange> {
        OutOfRange::check(start, dst, self.blocks)?;
        for (at, block) in (start.0..).zip(dst) {
            *block = self.block(BlockIdx(at));
        }
        Ok(())
    }
}

/// Makes the file system, and finds the file as firmware will: in one piece, behind all else.
fn file_start(
    frame: &mut SparseBlocks,
    partition: Partition,
    id: u32,
    name: &str,
    length: BlockCount,
) -> Result<BlockIdx, LayoutError> {
    let unreadable = |what: &dyn std::fmt::Display| LayoutError::Unreadable(what.to_string());
    let clusters = Clusters::of(partition.count).ok_or_else(|| unreadable(&"too few clusters"))?;
    fat::format(frame, partition, &clusters, id, name, length).map_err(LayoutError::Format)?;
    let file = FatFile::<1>::resolve(frame, name, &mut vec![Block::ZERO; HEADER_BLOCKS])
        .map_err(|error| unreadable(&error))?;
    match file.extents().as_slice() {
        [whole] if whole.count == length && frame.last().is_none_or(|last| last < whole.device) => {
            Ok(whole.device)
        }
        extents => Err(unreadable(&format!("the file is at {extents:?}"))),
    }
}
