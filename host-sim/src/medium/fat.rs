//! A fresh FAT32 volume with one file in it, all but the file's contents.
//!
//! In: a partition, a name, a length. Out: the blocks of the volume's tables and directory. Knows
//! nothing of cards. Microsoft, "FAT: General Overview of On-Disk Format", 1.03, 2000.

use super::blocks::SparseBlocks;
use fatfs::{
    Date, DateTime, FatType, FileSystem, FormatVolumeOptions, FsOptions, Time, TimeProvider,
    format_volume,
};
use ripple_hal::{BLOCK_BYTES, BlockCount, BlockIdx, Partition};
use std::io::{self, Write};

/// A volume of fewer is FAT16, whatever it calls itself. 16 more, because implementations count
/// differently: the specification asks to keep away from the limit.
const MIN_CLUSTERS: u64 = 65_525 + 16;
/// Blocks in a cluster, at most: 32 KiB. Large clusters make a short chain to follow at boot.
const MAX_CLUSTER: u64 = 64;
/// More than `fatfs` reserves.
const RESERVED: u64 = 32;
/// Where a volume repeats its boot block.
const BACKUP: BlockCount = BlockCount(6);
/// Where a boot block says how many blocks are in front of the volume.
const HIDDEN_AT: usize = 28;

/// The first moment that FAT can express, for the same card from the same image.
#[derive(Debug)]
struct Epoch;

impl TimeProvider for Epoch {
    fn get_current_date(&self) -> Date {
        Date { year: 1980, month: 1, day: 1 }
    }

    fn get_current_date_time(&self) -> DateTime {
        let time = Time { hour: 0, min: 0, sec: 0, millis: 0 };
        DateTime { date: self.get_current_date(), time }
    }
}

/// A cluster size, and how many of them a volume has at least.
pub(super) struct Clusters {
    /// Blocks of one.
    pub(super) blocks: u64,
    pub(super) count: u64,
}

impl Clusters {
    /// The largest clusters of which there are enough in `partition` blocks for FAT32.
    pub(super) fn of(partition: BlockCount) -> Option<Self> {
        let all = u64::from(partition.0);
        let of = |blocks: u64| {
            let table = BlockCount::for_bytes(4 * (all / blocks + 2));
            let data = all.saturating_sub(RESERVED + 2 * u64::from(table.0));
            Self { blocks, count: data / blocks }
        };
        let sizes = std::iter::successors(Some(MAX_CLUSTER), |&blocks| Some(blocks / 2));
        sizes.take_while(|&blocks| blocks > 0).map(of).find(|c| c.count >= MIN_CLUSTERS)
    }

    /// Whether a file of `blocks` fits, beside the root directory.
    pub(super) fn hold(&self, blocks: BlockCount) -> bool {
        u64::from(blocks.0).div_ceil(self.blocks) < self.count
    }
}

/// Formats `partition`, and allocates a file of `length` there, as the first: its clusters follow
/// each other. Everything depends on the arguments alone, times included.
///
/// # Errors
/// When the file does not fit.
pub(super) fn format(
    card: &mut SparseBlocks,
    partition: Partition,
    clusters: &Clusters,
    id: u32,
    name: &str,
    length: BlockCount,
) -> io::Result<()> {
    let options = FormatVolumeOptions::new()
        .fat_type(FatType::Fat32)
        .bytes_per_cluster(clusters.blocks as u32 * BLOCK_BYTES as u32)
        .volume_id(id)
        .volume_label(*b"RIPPLE     ");
    format_volume(card.window(partition), options)?;
    let options = FsOptions::new().time_provider(&Epoch);
    let volume = FileSystem::new(card.window(partition), options)?;
    // Counts the free clusters, so that the volume can say so from the first mount on.
    volume.stats()?;
    let mut file = volume.root_dir().create_file(&name.to_ascii_uppercase())?;
    // Zeroes take no room in sparse blocks: this allocates.
    let zeroes = vec![0; clusters.blocks as usize * BLOCK_BYTES];
    let mut left = length.bytes();
    while left > 0 {
        let now = left.min(zeroes.len() as u64);
        file.write_all(&zeroes[..now as usize])?;
        left -= now;
    }
    file.flush()?;
    drop(file);
    volume.unmount()?;

    // `fatfs` knows of no partition.
    for at in [partition.start, partition.start + BACKUP] {
        let mut boot = card.get(at);
        let hidden = partition.start - BlockIdx(0);
        boot.0[HIDDEN_AT..HIDDEN_AT + 4].copy_from_slice(&hidden.0.to_le_bytes());
        card.set(at, boot);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_are_as_large_as_fat32_allows() {
        let mib = |mib: u32| Clusters::of(BlockCount(mib * 2048)).map(|c| c.blocks * 512);
        assert_eq!(mib(32), None);
        assert_eq!(mib(63), Some(512));
        assert_eq!(mib(127), Some(1024));
        assert_eq!(mib(2047), Some(16 * 1024));
        assert_eq!(mib(32 * 1024 - 1), Some(32 * 1024));
    }
}
