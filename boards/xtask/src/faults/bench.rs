//! What the cases need of a board: its card, where the image is on it, and what can happen to both.

use super::Case;
use super::operator::{Operator, ReadZeros};
use crate::firmware::{build, image, machine, plan};
use anyhow::{Context, Result, anyhow, bail};
use fatfs::{FileSystem, FsOptions};
use ripple_machines::Machine;
use std::cell::OnceCell;
use std::fs;
use std::io::{self, Cursor, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::Instant;

const BLOCK: usize = 512;
/// The file on a FAT32 card, and its name as the directory has it.
const FILE: &str = "RIPPLE.IMG";
const FILE_ENTRY: &[u8] = b"RIPPLE  IMG";
/// Where an entry has the bytes of its file.
const ENTRY_BYTES: usize = 28;
/// The first partition in the table of block 0: its type, its first block, its blocks.
const PARTITION_TYPE: usize = 446 + 4;
const PARTITION_START: usize = 446 + 8;
const PARTITION_BLOCKS: usize = 446 + 12;

/// How often a case is played that [`ReadZeros`] ended: one pull in three does, at worst.
const ATTEMPTS: u32 = 20;

/// A board on which cases are played.
pub struct Bench {
    pub machine: Machine,
    pub elf: PathBuf,
    /// Where cases are played.
    pub folder: PathBuf,
    /// QEMU's name of the card's drive.
    pub drive: String,
    /// The good card, and on it the image: where it begins, where its FFN does, and where it ends.
    pub card: Vec<u8>,
    image: usize,
    ffn: usize,
    end: usize,
    /// Every step of a run without faults.
    good: OnceCell<Vec<String>>,
}

impl Bench {
    /// A board with its own model.
    pub fn new(board: &str) -> Result<Self> {
        let (machine, _) = machine(board)?;
        let slot = machine.qemu.and_then(|qemu| qemu.slot);
        let slot = slot.with_context(|| format!("{board} has no emulated card"))?;
        let images = image(board)?;
        let elf = build(&machine, &images)?;
        let card = fs::read(images.join("card.img"))?;
        let model = fs::read(images.join("model.img"))?;
        let first = model.get(..BLOCK).context("an image of less than a block")?;
        let block = card.chunks_exact(BLOCK).position(|block| block == first);
        let image = block.context("the image is not on its card")? * BLOCK;
        let mapped = plan(&machine, &images)?["flash"]["mapped"].as_u64();
        let ffn = image + mapped.context("ripple plan says not what is mapped")? as usize;
        let (folder, drive) = (images.join("faults"), format!("sd{slot}"));
        fs::create_dir_all(&folder)?;
        let end = image + model.len();
        Ok(Self { machine, elf, folder, drive, card, image, ffn, end, good: OnceCell::new() })
    }

    /// Plays one case; whether it went as it must. The first that does is the run to compare with.
    pub fn play(&self, name: &str, card: &[u8], case: Case<'_>) -> bool {
        let (began, board) = (Instant::now(), self.machine.board);
        let mut text = String::new();
        let mut played = Err(anyhow!(ReadZeros));
        for _ in 0..ATTEMPTS {
            played = Operator::new(self, card).and_then(|mut run| {
                let played = case(&mut run).and_then(|()| self.compare(&run.steps()));
                text = run.talk.text();
                played
            });
            if !matches!(&played, Err(error) if error.is::<ReadZeros>()) {
                break;
            }
        }
        match &played {
            Ok(()) => println!("{board}: {name}: ok, {} s", began.elapsed().as_secs()),
            Err(error) => eprintln!("{board}: {name}: FAILED: {error:#}\n{text}"),
        }
        played.is_ok()
    }

    /// Compares steps with those of the run without faults, which are the first that come here.
    fn compare(&self, steps: &[String]) -> Result<()> {
        let good = self.good.get_or_init(|| steps.to_vec());
        let number = |step: &str| step.split_whitespace().next().map(str::to_owned);
        let right =
            |step: &String| good.iter().find(|good| number(good) == number(step)) == Some(step);
        match steps.iter().find(|step| !right(step)) {
            Some(step) => bail!("not a step of the run without faults: {step}"),
            None => Ok(()),
        }
    }

    /// Whether the image is a file on a FAT32 volume, not a partition.
    pub fn is_file(&self) -> bool {
        self.machine.layout == Some("fat32")
    }

    /// The card with a bit turned in each block of the last `part`th of the FFN.
    pub fn damaged(&self, part: usize) -> Vec<u8> {
        let mut card = self.card.clone();
        let from = self.end - (self.end - self.ffn) / BLOCK / part * BLOCK;
        for block in card[from..self.end].chunks_mut(BLOCK) {
            block[BLOCK - 100] ^= 0x10;
        }
        card
    }

    /// A card without an image.
    pub fn other(&self) -> Vec<u8> {
        let mut card = self.card.clone();
        card[self.image..self.image + BLOCK].fill(0);
        card
    }

    /// A card that ends within the image: the greatest power of two.
    pub fn half(&self) -> Vec<u8> {
        self.card[..self.end.next_power_of_two() / 2].to_vec()
    }

    /// A card with another number in its partition table.
    fn with_number(&self, at: usize, number: u32) -> Vec<u8> {
        let mut card = self.card.clone();
        card[at..at + 4].copy_from_slice(&number.to_le_bytes());
        card
    }

    /// A card whose partition is of no type.
    pub fn no_partition(&self) -> Vec<u8> {
        self.with_number(PARTITION_TYPE, 0)
    }

    /// A card whose partition is shorter than the image.
    pub fn partition_cut_short(&self) -> Vec<u8> {
        self.with_number(PARTITION_BLOCKS, 2000)
    }

    /// The card after a change on its volume.
    fn changed(
        &self,
        change: impl FnOnce(&FileSystem<Cursor<&mut [u8]>>) -> io::Result<()>,
    ) -> Result<Vec<u8>> {
        let mut card = self.card.clone();
        let block = card[PARTITION_START..].first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        let start = block.context("no partition table")? as usize * BLOCK;
        let volume = FileSystem::new(Cursor::new(&mut card[start..]), FsOptions::new())?;
        change(&volume)?;
        volume.unmount()?;
        Ok(card)
    }

    /// The file ends after half of the image, as one whose copy was not finished.
    pub fn file_cut_short(&self) -> Result<Vec<u8>> {
        self.changed(|volume| cut(volume, (self.end - self.image) / 2))
    }

    /// The file is deleted.
    pub fn file_missing(&self) -> Result<Vec<u8>> {
        self.changed(|volume| volume.root_dir().remove(FILE))
    }

    /// The chain of clusters ends after the sixth; the directory does not know.
    pub fn chain_damaged(&self) -> Result<Vec<u8>> {
        let mut card = self.changed(|volume| cut(volume, 6 * volume.cluster_size() as usize))?;
        let entry = card.windows(FILE_ENTRY.len()).position(|bytes| bytes == FILE_ENTRY);
        let bytes = entry.context("no directory entry")? + ENTRY_BYTES;
        card[bytes..bytes + 4].copy_from_slice(&self.card[bytes..bytes + 4]);
        Ok(card)
    }

    /// The file is in so many pieces, with another file between them, and nothing is where it was.
    pub fn in_pieces(&self, pieces: usize) -> Result<Vec<u8>> {
        let image = &self.card[self.image..self.end];
        self.changed(|volume| {
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
        })
    }
}

/// Ends the file on a volume after so many bytes.
fn cut(volume: &FileSystem<Cursor<&mut [u8]>>, bytes: usize) -> io::Result<()> {
    let mut file = volume.root_dir().open_file(FILE)?;
    file.seek(SeekFrom::Start(bytes as u64))?;
    file.truncate()
}
