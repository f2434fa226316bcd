//! An image on a file or a block device of this machine, and this machine's clock: nothing is simulated.
//!
//! In: a path, what the kernel is told, bytes of memory. Out: [`OnDevice`], found, and [`Held`], what of it lies in
//! memory; a decoder is opened on them. Knows nothing of texts.

mod clock;
mod depth;
mod file;
mod lanes;
mod open;
mod readers;
mod split;
mod stream;

pub use clock::SystemClock;
pub use depth::{AtDepth, calibrate_at_depth};
pub use file::{FileDevice, FileError, Traffic};
pub use open::{Opened, Through};
pub use split::{Split, dense_bytes, split, weights};
pub use stream::Streamer;

use crate::machine::adapter::refused;
use crate::machine::memory::HostMemory;
use crate::machine::meter::Counts;
use crate::machine::pages::PageBlocks;
use crate::machine::{damaged, numbers};
use crate::process::failure::bad_input;
use anyhow::{Context, Result, anyhow};
use ripple_hal::{BLOCK_BYTES, Block, BlockCount, BlockDevice, BlockIdx, FatFile, RawPartition};
use ripple_kernel::image::{FILE_NAME, Header, Image, ImageError, SectionKind};
use ripple_kernel::{Decoder, OpenError, Options};
use std::cell::Cell;
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;

/// Blocks of the longest header.
const HEADER_BLOCKS: usize = (Header::most_bytes(256) as usize).div_ceil(BLOCK_BYTES);
/// Blocks that are read at once where nobody computes: 1 MiB.
const CHUNK: usize = 2048;

/// A decoder on a real device.
pub type RealDecoder<'m> = Decoder<'m, FileDevice, Counts>;

/// An image, found on a device.
pub struct OnDevice {
    device: FileDevice,
    header: Header,
    front: Vec<Block>,
}

impl OnDevice {
    /// Finds the image on the file or block device at `path`: at its beginning, as a file on a FAT volume, or in a raw
    /// partition. `direct` as [`FileDevice::open`] has it.
    ///
    /// # Errors
    /// When it cannot be read, and when there is no image on it, or a part of one.
    pub fn find(path: &Path, direct: bool) -> Result<Self> {
        let device = FileDevice::open(path, direct)?;
        let found = Self::on(device).with_context(|| path.display().to_string());
        found.map_err(bad_input)
    }

    fn on(mut device: FileDevice) -> Result<Self> {
        let blocks = device.block_count()?;
        let mut front = vec![Block::ZERO; HEADER_BLOCKS.min(blocks.0 as usize)];
        device.read(BlockIdx(0), &mut front)?;
        let header = match Header::parse(Block::bytes(&front)) {
            Ok(header) => header,
            Err(error) if !is_no_image(&error) => return Err(anyhow!("{error}")),
            Err(_) => {
                let (first, count) = on_card(&mut device)?;
                device = device.within(first, count);
                front.truncate(count.0 as usize);
                device.read(BlockIdx(0), &mut front)?;
                Header::parse(Block::bytes(&front)).map_err(|error| anyhow!("{error}"))?
            }
        };
        let found = device.block_count()?;
        if found < header.blocks {
            let error = ImageError::Truncated { needed: header.blocks, found };
            return Err(match device.opened().lost() {
                0 => anyhow!("{error}"),
                lost => anyhow!(
                    "{error}; the last {lost} bytes are no whole sector of the device, which cannot give them: put \
                     zeroes behind the image up to a whole sector (`truncate -s %4096`)"
                ),
            });
        }
        Ok(Self { device, header, front })
    }

    /// What the image holds.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The first blocks of the image, with all of its header.
    pub fn front(&self) -> &[u8] {
        Block::bytes(&self.front)
    }

    /// A handle to what was read from the device.
    pub fn traffic(&self) -> Rc<Cell<Traffic>> {
        self.device.traffic()
    }

    /// How the device is read.
    pub fn opened(&self) -> &Opened {
        self.device.opened()
    }

    /// As [`FileDevice::read_ahead`].
    pub fn read_ahead(&mut self, bytes: usize, gap: BlockCount) {
        self.device.read_ahead(bytes, gap);
    }

    /// What reads cost on it, by this machine's clock, with as many under way as the device has; nothing where they
    /// take no time.
    ///
    /// # Errors
    /// When the device fails.
    pub fn calibrate(&mut self) -> Result<Option<AtDepth>> {
        calibrate_at_depth(&mut self.device)
    }

    /// Bytes of the image, from the device.
    ///
    /// # Errors
    /// When the device fails.
    pub fn bytes(&mut self, range: Range<u64>) -> Result<Vec<u8>> {
        let first = range.start / BLOCK_BYTES as u64;
        let count = range.end.div_ceil(BLOCK_BYTES as u64).saturating_sub(first);
        let first = u32::try_from(first).context("beyond the last block that can be addressed")?;
        let mut pages = PageBlocks::new(usize::try_from(count)?);
        for (at, chunk) in (first..).step_by(CHUNK).zip(pages.blocks_mut().chunks_mut(CHUNK)) {
            self.device.read(BlockIdx(at), chunk)?;
        }
        let start = (range.start % BLOCK_BYTES as u64) as usize;
        let length = usize::try_from(range.end.saturating_sub(range.start))?;
        Ok(pages.bytes().get(start..start + length).unwrap_or_default().to_vec())
    }

    /// Of how many tokens, in thousandths, a neuron of the cache is taken to be active: those that are held fire most,
    /// so twice as many as the mean that the packer noted, and never all.
    pub fn firing(&self) -> u32 {
        let config = &self.header.geometry.config;
        let layers = (0..config.layers).map(|layer| Header::layer_info(self.front(), layer));
        let active: u64 = layers.map(|layer| u64::from(layer.active)).sum();
        let all = u64::from(config.neurons) * u64::from(config.layers);
        u32::try_from(2000 * active / all.max(1)).unwrap_or(u32::MAX).clamp(1, 900)
    }

    /// Reads what is to be held: the first `mapped` bytes of the image, and the tokenizer.
    ///
    /// # Errors
    /// When the device fails, or what it gives is damaged.
    pub fn hold(&mut self, mapped: u64) -> Result<Held> {
        let header = self.header;
        let end = |kind| {
            let section = header.section(kind);
            let blocks = section.part.bytes() * u64::from(header.parts(kind));
            u64::from(section.start.0) * BLOCK_BYTES as u64 + blocks
        };
        // Small tables that hold floats are looked at even where they are not held.
        let small = [SectionKind::Tokenizer, SectionKind::LayerVectors, SectionKind::FinalVectors];
        let read = small.map(end).into_iter().max().unwrap_or(0).max(mapped);
        let mapped = usize::try_from(mapped)?;
        let mut pages = PageBlocks::new(usize::try_from(read)?.div_ceil(BLOCK_BYTES));
        for (at, chunk) in (0u32..).step_by(CHUNK).zip(pages.blocks_mut().chunks_mut(CHUNK)) {
            self.device.read(BlockIdx(at), chunk)?;
        }
        let bytes = pages.bytes();
        let view = Image::new(header, bytes);
        view.verify_mapped().map_err(|error| bad_input(anyhow!("{error}")))?;
        numbers::check(&header, bytes, &numbers::VECTORS)?;
        let tokenizer = view.tokenizer().context("the image has no tokenizer section")?.to_vec();
        if bytes.len() > mapped {
            let held = bytes[..mapped].to_vec();
            pages = PageBlocks::new(mapped.div_ceil(BLOCK_BYTES));
            Block::bytes_mut(pages.blocks_mut())[..mapped].copy_from_slice(&held);
        }
        Ok(Held { pages, mapped, tokenizer })
    }

    /// Opens a decoder on the device, with what is `held` and `memory` as planned for `options`.
    ///
    /// # Errors
    /// Whatever the kernel refuses.
    pub fn open<'m>(
        self,
        held: &'m Held,
        memory: &'m mut HostMemory,
        options: &Options,
    ) -> Result<RealDecoder<'m>> {
        // What is held was checked when it was read.
        let options = Options { verify: false, ..*options };
        let (memory, adapter) = memory.lend_all();
        let header = self.header;
        let counts = Counts::default();
        let opened = Decoder::open(self.device, held.mapped(), memory, &options, counts);
        let mut decoder = opened.map_err(|error| match error {
            OpenError::Corrupt { table, slot } => damaged(&header, table, slot),
            OpenError::Image(error) => bad_input(anyhow!("{error}")),
            error => anyhow!("{error}"),
        })?;
        decoder.set_adapter(adapter).map_err(refused)?;
        Ok(decoder)
    }
}

/// What of an image lies in memory.
pub struct Held {
    pages: PageBlocks,
    mapped: usize,
    tokenizer: Vec<u8>,
}

impl Held {
    /// The front of the image, as far as it is held.
    pub fn mapped(&self) -> &[u8] {
        &self.pages.bytes()[..self.mapped]
    }

    /// The tokenizer's section.
    pub fn tokenizer(&self) -> &[u8] {
        &self.tokenizer
    }
}

const fn is_no_image(error: &ImageError) -> bool {
    matches!(error, ImageError::Magic { .. } | ImageError::HeaderLength { .. })
}

/// Where on a card the image is: first block and count.
fn on_card(device: &mut FileDevice) -> Result<(BlockIdx, BlockCount)> {
    let mut scratch = [Block::ZERO; 64];
    if let Ok(file) = FatFile::<64>::resolve(device, FILE_NAME, &mut scratch) {
        return match file.extents().as_slice() {
            [whole] => Ok((whole.device, whole.count)),
            pieces => Err(anyhow!(
                "{FILE_NAME} on the card lies in {} pieces, expected one; write it with `ripple card`",
                pieces.len()
            )),
        };
    }
    match RawPartition::find(device, &mut [Block::ZERO]) {
        Ok(partition) => Ok((partition.place().start, partition.place().count)),
        Err(_) => Err(anyhow!(
            "no image: expected one as `ripple pack` writes it, or a card as `ripple card` writes it"
        )),
    }
}
