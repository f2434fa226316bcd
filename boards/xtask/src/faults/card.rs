//! What can happen to a card, by the names of `cases.txt`.

use crate::firmware::{number, plan};
use anyhow::{Context, Result, bail};
use fatfs::{FileSystem, FsOptions};
use ripple_machines::Machine;
use std::fs::{self, OpenOptions};
use std::io::{self, Cursor, Seek, SeekFrom, Write};
use std::path::Path;

const BLOCK: usize = 512;
/// The file on a FAT32 card, its name in the directory, and where the entry has its bytes.
const FILE: &str = "RIPPLE.IMG";
const ENTRY: &[u8] = b"RIPPLE  IMG";
const ENTRY_BYTES: usize = 28;
/// The first partition in the table of block 0: its type, its first block, its blocks.
const PARTITION_TYPE: usize = 446 + 4;
const RAW: u8 = 0xDA;
const PARTITION_START: usize = 446 + 8;
const PARTITION_BLOCKS: usize = 446 + 12;

/// A good card, and on it the image: where it begins, where its FFN does, and where it ends.
pub struct Cards {
    good: Vec<u8>,
    image: usize,
    ffn: usize,
    end: usize,
}

type Volume<'c> = FileSystem<Cursor<&'c mut [u8]>>;

impl Cards {
    /// The card in `folder`.
    pub fn new(machine: &Machine, folder: &Path) -> Result<Self> {
        let good = fs::read(folder.join("card.img"))?;
        let model = fs::read(folder.join("model.img"))?;
        let first = model.get(..BLOCK).context("an image of less than a block")?;
        let block = good.chunks_exact(BLOCK).position(|block| block == first);
        let image = block.context("the image is not on its card")? * BLOCK;
        let ffn = image + number(&plan(machine, folder)?, "/flash/mapped")? as usize;
        Ok(Self { good, image, ffn, end: image + model.len() })
    }

    /// Writes the card of that name to `card.img`, in place: a board may be reading it.
    pub fn write(&self, name: &str) -> Result<()> {
        let card = self.named(name)?;
        let options = &mut OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(false).open("card.img")?;
        file.write_all(&card)?;
        Ok(file.set_len(card.len() as u64)?)
    }

    fn named(&self, name: &str) -> Result<Vec<u8>> {
        let mut card = self.good.clone();
        let (name, count) = name.split_once(' ').unwrap_or((name, "0"));
        let count: usize = count.parse()?;
        match name {
            "good" => {}
            "other" => card[self.image..self.image + BLOCK].fill(0),
            // A bit is turned in each block of the last `1 / count` of the FFN.
            "damaged" => {
                let from = self.end - (self.end - self.ffn) / BLOCK / count * BLOCK;
                let blocks = card[from..self.end].chunks_mut(BLOCK);
                blocks.for_each(|block| block[BLOCK - 100] ^= 0x10);
            }
            // It ends within the image: the greatest power of two.
            "half" => card.truncate(self.end.next_power_of_two() / 2),
            "no-partition" => card[PARTITION_TYPE] = 0,
            // The image and nothing behind it.
            "no-room" if card[PARTITION_TYPE] == RAW => {
                let blocks = ((self.end - self.image) / BLOCK) as u32;
                card[PARTITION_BLOCKS..PARTITION_BLOCKS + 4].copy_from_slice(&blocks.to_le_bytes());
            }
            "no-room" => on_volume(&mut card, |volume| cut(volume, self.end - self.image))?,
            "partition-cut-short" => {
                card[PARTITION_BLOCKS..PARTITION_BLOCKS + 4]
                    .copy_from_slice(&2000u32.to_le_bytes());
            }
            // As one whose copy was not finished.
            "file-cut-short" => on_volume(&mut card, |v| cut(v, (self.end - self.image) / 2))?,
            "file-missing" => on_volume(&mut card, |volume| volume.root_dir().remove(FILE))?,
            // The chain ends after the sixth cluster; the directory does not know.
            "chain-damaged" => {
                on_volume(&mut card, |volume| cut(volume, 6 * volume.cluster_size() as usize))?;
                let entry = card.windows(ENTRY.len()).position(|bytes| bytes == ENTRY);
                let bytes = entry.context("no directory entry")? + ENTRY_BYTES;
                card[bytes..bytes + 4].copy_from_slice(&self.good[bytes..bytes + 4]);
            }
            "pieces" => {
                on_volume(&mut card, |v| scatter(v, &self.good[self.image..self.end], count))?
            }
            _ => bail!("no card `{name}`"),
        }
        Ok(card)
    }
}

/// Changes the volume on a card.
fn on_volume(card: &mut [u8], change: impl FnOnce(&Volume<'_>) -> io::Result<()>) -> Result<()> {
    let block = card[PARTITION_START..].first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
    let start = block.context("no partition table")? as usize * BLOCK;
    let volume = FileSystem::new(Cursor::new(&mut card[start..]), FsOptions::new())?;
    change(&volume)?;
    Ok(volume.unmount()?)
}

/// Ends the file after so many bytes.
fn cut(volume: &Volume<'_>, bytes: usize) -> io::Result<()> {
    let mut file = volume.root_dir().open_file(FILE)?;
    file.seek(SeekFrom::Start(bytes as u64))?;
    file.truncate()
}

/// Puts the file in so many pieces, with another file between them; nothing is where it was.
fn scatter(volume: &Volume<'_>, image: &[u8], pieces: usize) -> io::Result<()> {
    let root = volume.root_dir();
    root.open_file(FILE)?.write_all(&vec![0xFF; image.len()])?;
    root.remove(FILE)?;
    let (mut file, mut other) = (root.create_file(FILE)?, root.create_file("OTHER.BIN")?);
    let cluster = volume.cluster_size() as usize;
    for piece in image.chunks(image.len().div_ceil(cluster * pieces) * cluster) {
        file.write_all(piece)?;
        other.write_all(&vec![0xFF; cluster])?;
    }
    Ok(())
}
