//! What is on a FAT volume: where its parts are, a directory entry, a chain of clusters.
//!
//! In: blocks, through a window that reads ahead. Out: a file's entry and its extents.
//! Knows nothing of names but their stored form.

use super::FatError;
use crate::volume::extents::Extents;
use crate::volume::mbr::{Partition, PartitionTable};
use crate::{BLOCK_BYTES, Block, BlockCount, BlockDevice, BlockIdx, DeviceError, ErrorKind};

/// Little-endian numbers at an offset; 0 beyond the end, which no caller asks for.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u16::from_le_bytes(*b))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b))
}

fn u8_at(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

/// The blocks read last, so that neighbours cost no command of their own.
pub(super) struct Window<'a, D> {
    device: &'a mut D,
    blocks: &'a mut [Block],
    start: BlockIdx,
    len: usize,
}

impl<'a, D: BlockDevice> Window<'a, D> {
    /// Nothing read yet.
    pub(super) const fn new(device: &'a mut D, blocks: &'a mut [Block]) -> Self {
        Self { device, blocks, start: BlockIdx(0), len: 0 }
    }

    /// The bytes of block `at`; reads ahead, but not to `end` or beyond.
    fn block(
        &mut self,
        at: BlockIdx,
        end: BlockIdx,
    ) -> Result<&[u8; BLOCK_BYTES], FatError<D::Error>> {
        let held = at >= self.start && ((at - self.start).0 as usize) < self.len;
        if !held {
            let ahead = ((end - at).0.max(1) as usize).min(self.blocks.len());
            self.len = 0;
            let ahead = self.blocks.get_mut(..ahead).unwrap_or_default();
            self.device.read(at, ahead).map_err(FatError::Device)?;
            self.len = ahead.len();
            self.start = at;
        }
        match self.blocks.get((at - self.start).0 as usize) {
            Some(block) => Ok(&block.0),
            None => Err(FatError::NoScratch),
        }
    }
}

/// A FAT16 or FAT32 volume. `first_data + clusters << shift` fits in a block address.
pub(super) struct Volume {
    kind: Kind,
    /// The table in use.
    table: BlockIdx,
    table_blocks: u32,
    /// Cluster 2.
    first_data: BlockIdx,
    /// Clusters `2 .. end_cluster` exist.
    end_cluster: u32,
    /// Blocks in a cluster, as a power of two.
    cluster_shift: u32,
}

enum Kind {
    Fat16 { root: BlockIdx, root_blocks: u32 },
    Fat32 { root_cluster: u32 },
}

/// A file's directory entry.
pub(super) struct Entry {
    cluster: u32,
    pub(super) bytes: u32,
}

impl Volume {
    /// The first volume on the card that has a file `name`, and the file's entry.
    pub(super) fn find<D: BlockDevice>(
        window: &mut Window<'_, D>,
        name: &[u8; 11],
    ) -> Result<(Self, Entry), FatError<D::Error>> {
        let table = PartitionTable::parse(window.block(BlockIdx(0), BlockIdx(1))?);
        let mut places = table.map_or([None; 4], |table| table.entries);
        if places == [None; 4] {
            let (start, count) = (BlockIdx(0), BlockCount(0));
            places[0] = Some(Partition { kind: Partition::FAT32, start, count });
        }
        let mut refusal = FatError::NoFilesystem;
        for Partition { kind, start, .. } in places.into_iter().flatten() {
            let volume = match window.block(start, start) {
                _ if kind == Partition::GPT => Err(FatError::Gpt),
                Ok(block) => Self::parse(start, block),
                Err(FatError::Device(error)) if beyond(error.kind()) => {
                    Err(FatError::Device(error))
                }
                Err(error) => return Err(error),
            };
            let entry = match &volume {
                Ok(volume) => volume.find_entry(window, name),
                Err(_) => Err(FatError::NotFound),
            };
            let error = match (volume, entry) {
                (Ok(volume), Ok(entry)) => return Ok((volume, entry)),
                (Ok(_), Err(error @ FatError::Device(_))) => return Err(error),
                (Ok(_), Err(error)) | (Err(error), _) => error,
            };
            // Of several reasons the one that tells most about where the file might be.
            if rank(&error) >= rank(&refusal) {
                refusal = error;
            }
        }
        Err(refusal)
    }

    /// Reads a volume's BIOS parameter block, which is at block `first`.
    fn parse<E>(first: BlockIdx, block: &[u8; BLOCK_BYTES]) -> Result<Self, FatError<E>> {
        if block.get(3..11) == Some(b"EXFAT   ".as_slice()) {
            return Err(FatError::ExFat);
        }
        match Self::parse_fat(first, block) {
            Some(Some(volume)) => Ok(volume),
            Some(None) => Err(FatError::Fat12),
            None => Err(FatError::NoFilesystem),
        }
    }

    /// `Some(None)` for FAT12, `None` for what is no FAT volume.
    fn parse_fat(first: BlockIdx, block: &[u8; BLOCK_BYTES]) -> Option<Option<Self>> {
        let jump = u8_at(block, 0);
        let per_cluster = u8_at(block, 13);
        let reserved = u16_at(block, 14) as u32;
        let tables = u8_at(block, 16) as u32;
        let plausible = matches!(jump, 0xEB | 0xE9)
            && u16_at(block, 510) == 0xAA55
            && u16_at(block, 11) as usize == BLOCK_BYTES
            && per_cluster.is_power_of_two()
            && reserved > 0
            && matches!(tables, 1 | 2);
        if !plausible {
            return None;
        }
        let cluster_shift = per_cluster.trailing_zeros();
        let either = |short: u16, long: u32| if short != 0 { short as u32 } else { long };
        let total = either(u16_at(block, 19), u32_at(block, 32));
        let table_blocks = either(u16_at(block, 22), u32_at(block, 36));
        let root_blocks = (u16_at(block, 17) as u32).div_ceil(ENTRIES_PER_BLOCK);

        // The volume is: reserved blocks, the tables, FAT16's root directory, clusters.
        let root_offset = tables.checked_mul(table_blocks)?.checked_add(reserved)?;
        let data_offset = root_offset.checked_add(root_blocks)?;
        let data_blocks = total.checked_sub(data_offset)?;
        first.0.checked_add(total)?;

        // Linux's rule, not Microsoft's: by the field, not by the number of clusters, because
        // small cards are formatted as FAT32 all the same.
        let is_fat32 = u16_at(block, 22) == 0;
        let clusters = data_blocks >> cluster_shift;
        if !is_fat32 && clusters < 4085 {
            return Some(None);
        }
        let entries_per_block = BLOCK_BYTES as u32 / if is_fat32 { 4 } else { 2 };
        let in_table = table_blocks.saturating_mul(entries_per_block);
        let end_cluster = clusters.saturating_add(2).min(in_table).min(0x0FFF_FFF7);

        // FAT32 may keep only one table up to date.
        let flags = if is_fat32 { u16_at(block, 40) } else { 0 };
        let active = if flags & 0x80 != 0 { (flags & 0xF) as u32 } else { 0 };
        if active >= tables {
            return None;
        }
        let kind = if is_fat32 {
            Kind::Fat32 { root_cluster: u32_at(block, 44) }
        } else {
            Kind::Fat16 { root: first + BlockCount(root_offset), root_blocks }
        };
        Some(Some(Self {
            kind,
            table: first + BlockCount(reserved + active * table_blocks),
            table_blocks,
            first_data: first + BlockCount(data_offset),
            end_cluster,
            cluster_shift,
        }))
    }

    /// First block of `cluster`, which exists.
    fn cluster_start(&self, cluster: u32) -> BlockIdx {
        self.first_data + BlockCount(cluster.saturating_sub(2) << self.cluster_shift)
    }

    fn cluster_blocks(&self) -> BlockCount {
        BlockCount(1 << self.cluster_shift)
    }

    fn checked_cluster<E>(&self, cluster: u32, named_by: u32) -> Result<u32, FatError<E>> {
        if (2..self.end_cluster).contains(&cluster) {
            Ok(cluster)
        } else {
            Err(FatError::CorruptChain { cluster: named_by })
        }
    }

    /// The cluster after `cluster`, which exists; `None` at the end of a chain.
    fn next<D: BlockDevice>(
        &self,
        window: &mut Window<'_, D>,
        cluster: u32,
    ) -> Result<Option<u32>, FatError<D::Error>> {
        let bytes_shift = match self.kind {
            Kind::Fat16 { .. } => 1,
            Kind::Fat32 { .. } => 2,
        };
        let at = (cluster as u64) << bytes_shift;
        let block = self.table + BlockCount((at / BLOCK_BYTES as u64) as u32);
        let block = window.block(block, self.table + BlockCount(self.table_blocks))?;
        let offset = (at % BLOCK_BYTES as u64) as usize;
        let (next, end_mark) = match self.kind {
            Kind::Fat16 { .. } => (u16_at(block, offset) as u32, 0xFFF8),
            Kind::Fat32 { .. } => (u32_at(block, offset) & 0x0FFF_FFFF, 0x0FFF_FFF8),
        };
        if next >= end_mark {
            return Ok(None);
        }
        self.checked_cluster(next, cluster).map(Some)
    }

    /// Looks for `name` in the root directory.
    pub(super) fn find_entry<D: BlockDevice>(
        &self,
        window: &mut Window<'_, D>,
        name: &[u8; 11],
    ) -> Result<Entry, FatError<D::Error>> {
        let found = match self.kind {
            Kind::Fat16 { root, root_blocks } => {
                self.find_in(window, root, BlockCount(root_blocks), name)?
            }
            Kind::Fat32 { root_cluster } => {
                let mut cluster = self.checked_cluster(root_cluster, 0)?;
                let mut loops = LoopCheck::default();
                loop {
                    let start = self.cluster_start(cluster);
                    match self.find_in(window, start, self.cluster_blocks(), name)? {
                        Search::On => {}
                        done => break done,
                    }
                    if loops.is_back_at(cluster) {
                        return Err(FatError::CorruptChain { cluster });
                    }
                    match self.next(window, cluster)? {
                        Some(next) => cluster = next,
                        None => break Search::End,
                    }
                }
            }
        };
        match found {
            Search::Found(entry) => Ok(entry),
            Search::On | Search::End => Err(FatError::NotFound),
        }
    }

    fn find_in<D: BlockDevice>(
        &self,
        window: &mut Window<'_, D>,
        start: BlockIdx,
        count: BlockCount,
        name: &[u8; 11],
    ) -> Result<Search, FatError<D::Error>> {
        let end = start + count;
        for at in start.0..end.0 {
            let block = window.block(BlockIdx(at), end)?;
            for entry in block.as_chunks::<ENTRY_BYTES>().0 {
                if u8_at(entry, 0) == 0 {
                    return Ok(Search::End);
                }
                // Volume labels, pieces of long names and folders all have one of these bits.
                let is_file = u8_at(entry, 11) & 0x18 == 0;
                if is_file && entry.starts_with(name) {
                    let high = match self.kind {
                        Kind::Fat16 { .. } => 0,
                        Kind::Fat32 { .. } => u16_at(entry, 20),
                    };
                    let cluster = (high as u32) << 16 | u16_at(entry, 26) as u32;
                    return Ok(Search::Found(Entry { cluster, bytes: u32_at(entry, 28) }));
                }
            }
        }
        Ok(Search::On)
    }

    /// Walks the file's chain once, to its end mark.
    ///
    /// A chain that comes back on itself never reaches an end mark, so reaching one proves that no
    /// cluster is in it twice. A chain longer than the file is legal (room allocated ahead).
    pub(super) fn extents<D: BlockDevice, const N: usize>(
        &self,
        window: &mut Window<'_, D>,
        entry: &Entry,
    ) -> Result<Extents<N>, FatError<D::Error>> {
        let mut extents = Extents::new();
        if entry.bytes == 0 {
            return Ok(extents);
        }
        let blocks = BlockCount::for_bytes(entry.bytes as u64);
        let mut cluster = self.checked_cluster(entry.cluster, 0)?;
        let mut loops = LoopCheck::default();
        loop {
            if extents.blocks() < blocks {
                extents
                    .push(self.cluster_start(cluster), self.cluster_blocks())
                    .map_err(|_| FatError::TooFragmented { max: N })?;
            }
            if loops.is_back_at(cluster) {
                return Err(FatError::CorruptChain { cluster });
            }
            match self.next(window, cluster)? {
                Some(next) => cluster = next,
                None => break,
            }
        }
        if extents.blocks() < blocks {
            return Err(FatError::CorruptChain { cluster });
        }
        extents.truncate(blocks);
        Ok(extents)
    }
}

/// Whether reading a block fails so where there is none: drivers that do not know the size of their card
/// report what it answers.
const fn beyond(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::OutOfRange | ErrorKind::Other)
}

/// How much a reason for not having found a file tells.
const fn rank<E>(error: &FatError<E>) -> u8 {
    match error {
        FatError::NoFilesystem | FatError::Device(_) => 0,
        FatError::Gpt | FatError::ExFat | FatError::Fat12 => 1,
        // A FAT volume without the file, or with a damaged directory.
        _ => 2,
    }
}

/// Notices that a chain loops within three times its distinct clusters, in two words of memory.
///
/// Brent, "An improved Monte Carlo factorization algorithm", 1980: compare each cluster with the one
/// seen at the last power of two of steps.
#[derive(Default)]
struct LoopCheck {
    steps: u32,
    anchor: u32,
}

impl LoopCheck {
    /// Whether `cluster`, the next of the chain, is known to have been in it already.
    fn is_back_at(&mut self, cluster: u32) -> bool {
        if self.steps > 0 && cluster == self.anchor {
            return true;
        }
        self.steps = self.steps.saturating_add(1);
        if self.steps.is_power_of_two() {
            self.anchor = cluster;
        }
        false
    }
}

const ENTRY_BYTES: usize = 32;
const ENTRIES_PER_BLOCK: u32 = (BLOCK_BYTES / ENTRY_BYTES) as u32;

/// Where a search of directory blocks stands.
enum Search {
    Found(Entry),
    /// Not in these blocks; the directory may go on.
    On,
    /// The directory ends here.
    End,
}
