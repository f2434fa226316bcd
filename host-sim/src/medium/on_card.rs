//! Adapters that a board has saved on its card.
//!
//! In: a card, or a copy of one: a file on a FAT volume, a raw partition, or the image and what is behind it.
//! Out: the adapters that were saved last.

use super::FileMedium;
use crate::machine::adapter::Saved;
use crate::process::failure::{bad_input, check_there};
use anyhow::{Context, Result, anyhow};
use ripple_hal::{
    Block, BlockCount, BlockDevice, BlockIdx, DeviceError, ExtentDevice, FatFile, RawPartition,
};
use ripple_kernel::adapter::AdapterFile;
use ripple_kernel::image::{FILE_NAME, Header};
use ripple_tune::AdapterSlots;
use std::fs::File;
use std::path::Path;

/// Most words of an adapter that is read.
const MOST_WORDS: usize = 64 << 20;

/// Reads the adapters of the image with this `header` off the card at `path`; `skip`: blocks between the image
/// and the room for adapters.
///
/// # Errors
/// When the card cannot be read, holds another image, or no adapters.
pub fn read(path: &Path, header: &Header, skip: BlockCount) -> Result<Saved> {
    check_there(path)?;
    let read = || {
        let file = File::open(path).context("the card cannot be opened")?;
        let mut device = FileMedium::new(&file);
        let mut scratch = [Block::ZERO; 64];
        if let Ok(file) = FatFile::<64>::resolve(&mut device, FILE_NAME, &mut scratch) {
            return saved(ExtentDevice::new(&mut device, file), header, skip);
        }
        match RawPartition::find(&mut device, &mut [Block::ZERO]) {
            Ok(partition) => saved(partition, header, skip),
            Err(_) => saved(device, header, skip),
        }
    };
    read().with_context(|| path.display().to_string()).map_err(bad_input)
}

fn saved<D: BlockDevice>(mut device: D, header: &Header, skip: BlockCount) -> Result<Saved> {
    let failed = |error: D::Error| anyhow!("{}", error.kind());
    let blocks = device.block_count().map_err(failed)?;
    let mut front = vec![Block::ZERO; 8.min(blocks.0 as usize)];
    device.read(BlockIdx(0), &mut front).map_err(failed)?;
    let found = Header::parse(Block::bytes(&front))
        .map_err(|error| anyhow!("no image on the card: {error}"))?;
    if found.crc != header.crc {
        return Err(anyhow!(
            "image {:08x} on the card, expected {:08x}: name the image that the board has",
            found.crc,
            header.crc
        ));
    }
    let first = BlockIdx(0) + header.blocks + skip;
    let slots = AdapterSlots::between(first, blocks);
    let mut words = vec![0; MOST_WORDS.min(blocks.0 as usize * 128)];
    let loaded = slots.load(&mut device, header, &mut words, &mut [Block::ZERO; 64]);
    match loaded.map_err(|error| anyhow!("{}", error.kinds()))? {
        Some((_, AdapterFile { shape, steps, numbers })) => {
            Ok(Saved { shape, steps, numbers: numbers.to_vec() })
        }
        None => Err(anyhow!(
            "no adapters behind the image, from block {} on: has the board saved any, and is --board right?",
            first.0
        )),
    }
}
