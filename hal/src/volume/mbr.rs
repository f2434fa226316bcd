//! The partition table of a card (MBR): what block 0 says, and a block 0 that says it.
//!
//! In: block 0, or up to four partitions. Out: the other. Knows nothing of what partitions hold.
//!
//! Layout: UEFI Specification 2.10, section 5.2.1, "Legacy Master Boot Record".

use crate::{BLOCK_BYTES, Block, BlockCount, BlockIdx};
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, transmute, transmute_ref};

/// A range of a card's blocks, and what the table says it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Partition {
    /// The partition type: [`Self::FAT32`], [`Self::RAW`] or one of many others; never 0.
    pub kind: u8,
    /// First block; never 0, where the table itself is.
    pub start: BlockIdx,
    /// How many blocks.
    pub count: BlockCount,
}

impl Partition {
    /// A FAT32 volume, addressed by block number.
    pub const FAT32: u8 = 0x0C;
    /// Data without a file system ("Non-FS data"): a model image from the first block on.
    pub const RAW: u8 = 0xDA;
    /// What stands for all of a card whose partitions are in a GUID partition table (GPT) instead.
    pub const GPT: u8 = 0xEE;
}

/// A card's partition table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PartitionTable {
    /// What tells this card from others; 0 for none.
    pub signature: u32,
    /// The primary partitions, by their place in the table.
    pub entries: [Option<Partition>; 4],
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawTable {
    boot_code: [u8; 440],
    signature: U32,
    reserved: [u8; 2],
    entries: [RawEntry; 4],
    mark: [u8; 2],
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawEntry {
    status: u8,
    first_chs: [u8; 3],
    kind: u8,
    last_chs: [u8; 3],
    start: U32,
    count: U32,
}

const MARK: [u8; 2] = [0x55, 0xAA];
/// Status of a partition that the machine boots from; of all others it is 0.
const BOOTABLE: u8 = 0x80;
/// What stands for an address that cylinders, heads and sectors cannot express.
const NO_CHS: [u8; 3] = [0xFE, 0xFF, 0xFF];

impl PartitionTable {
    /// Reads block 0; `None` without the mark that a partition table ends with, and where an entry is
    /// neither bootable nor not: the boot block of a FAT volume has that mark too, and code or text where
    /// the entries would be. Linux tells the two apart in the same way.
    pub fn parse(block: &[u8; BLOCK_BYTES]) -> Option<Self> {
        let raw: &RawTable = transmute_ref!(block);
        if raw.mark != MARK || raw.entries.iter().any(|entry| entry.status & !BOOTABLE != 0) {
            return None;
        }
        let entry = |raw: &RawEntry| {
            let (start, count) = (BlockIdx(raw.start.get()), BlockCount(raw.count.get()));
            let there = raw.kind != 0 && start.0 != 0 && count.0 != 0;
            there.then_some(Partition { kind: raw.kind, start, count })
        };
        Some(Self { signature: raw.signature.get(), entries: raw.entries.each_ref().map(entry) })
    }

    /// Writes block 0, without code to boot from.
    pub fn emit(&self) -> Block {
        let entry = |entry: Option<Partition>| match entry {
            None => RawEntry::new(0, [0; 3], BlockIdx(0), BlockCount(0)),
            Some(p) => RawEntry::new(p.kind, NO_CHS, p.start, p.count),
        };
        let raw = RawTable {
            boot_code: [0; 440],
            signature: self.signature.into(),
            reserved: [0; 2],
            entries: self.entries.map(entry),
            mark: MARK,
        };
        Block(transmute!(raw))
    }

    /// The partitions, in the order of the table.
    pub fn partitions(&self) -> impl Iterator<Item = Partition> {
        self.entries.into_iter().flatten()
    }
}

impl RawEntry {
    fn new(kind: u8, chs: [u8; 3], start: BlockIdx, count: BlockCount) -> Self {
        let (start, count) = (start.0.into(), count.0.into());
        Self { status: 0, first_chs: chs, kind, last_chs: chs, start, count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let partition = |kind, start, count| {
            Some(Partition { kind, start: BlockIdx(start), count: BlockCount(count) })
        };
        let table = PartitionTable {
            signature: 0x1234_5678,
            entries: [None, partition(0xDA, 2048, 9), None, partition(0x0C, 1 << 31, u32::MAX)],
        };
        let block = table.emit().0;
        assert_eq!(PartitionTable::parse(&block), Some(table));
        assert_eq!(table.partitions().count(), 2);
        assert_eq!(block[440..444], [0x78, 0x56, 0x34, 0x12]);
        assert_eq!(
            block[446 + 16..446 + 32],
            [0, 0xFE, 0xFF, 0xFF, 0xDA, 0xFE, 0xFF, 0xFF, 0, 8, 0, 0, 9, 0, 0, 0]
        );
        assert_eq!(block[510..], [0x55, 0xAA]);
    }

    #[test]
    fn what_is_no_table_is_none_and_what_is_no_partition_is_left_out() {
        assert_eq!(PartitionTable::parse(&[0; BLOCK_BYTES]), None);
        let mut block = PartitionTable { signature: 0, entries: [None; 4] }.emit().0;
        // A type without a place, a place without a type, both without a length.
        block[446 + 4] = 0x0C;
        block[446 + 16 + 8] = 1;
        block[446 + 32 + 4] = 0x0C;
        block[446 + 32 + 8] = 1;
        let table = PartitionTable::parse(&block).unwrap();
        assert_eq!(table.entries, [None; 4]);
        // Bootable or not: anything else is text or code of a boot block.
        for status in 0..=u8::MAX {
            block[446 + 48] = status;
            let table = PartitionTable::parse(&block);
            assert_eq!(table.is_some(), status == 0 || status == 0x80, "{status}");
        }
    }
}
