//! What is on a medium, as far as it can be told from a few blocks, for whoever is about to lose it.
//!
//! In: a [`BlockDevice`]. Out: lines to show, and whether it is a card with an image. Knows nothing
//! of who asks.

use ripple_hal::{
    Block, BlockCount, BlockDevice, BlockIdx, ExtentDevice, FatFile, Partition, PartitionTable,
    RawPartition,
};
use ripple_kernel::image::MAGIC;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// A line for each thing found.
    pub lines: Vec<String>,
    /// Whether firmware would find an image on it, as a file of the name asked for or in a raw
    /// partition.
    pub has_image: bool,
}

/// Looks at the partition table, at the file systems in it, and for an image called `name`.
///
/// # Errors
/// When the first block cannot be read.
pub fn contents<D: BlockDevice>(device: &mut D, name: &str) -> Result<Contents, D::Error> {
    let mut block = [Block::ZERO];
    device.read(BlockIdx(0), &mut block)?;
    let mut lines = Vec::new();
    let table = PartitionTable::parse(&block[0].0);
    // What an earlier use left in front of a table with partitions is not there any more.
    let alone = table.is_none_or(|table| table.partitions().next().is_none());
    if let Some(system) = file_system(device, BlockIdx(0)).filter(|_| alone) {
        lines.push(format!("without partitions: {system}"));
    } else if let Some(table) = table {
        for (number, partition) in (1..).zip(table.entries) {
            let Some(Partition { kind, start, count }) = partition else { continue };
            let holds = file_system(device, start).unwrap_or_else(|| kind_name(kind));
            let mib = count.bytes() as f64 / f64::from(1 << 20);
            lines.push(format!("partition {number}: {holds}, {mib:.1} MiB at block {}", start.0));
        }
        if lines.is_empty() {
            lines.push("an empty partition table".to_owned());
        }
    } else if block[0].0.iter().all(|&byte| byte == 0) {
        lines.push("its first block is empty".to_owned());
    } else {
        lines.push("data without a partition table".to_owned());
    }
    let has_image = has_image(device, name);
    if has_image {
        lines.push("a Ripple image".to_owned());
    }
    Ok(Contents { lines, has_image })
}

fn has_image<D: BlockDevice>(device: &mut D, name: &str) -> bool {
    fn begins<D: BlockDevice>(mut image: D) -> bool {
        let mut block = [Block::ZERO];
        image.read(BlockIdx(0), &mut block).is_ok() && block[0].0.starts_with(&MAGIC)
    }
    if let Ok(file) = FatFile::<64>::resolve(device, name, &mut vec![Block::ZERO; 64]) {
        return begins(ExtentDevice::new(device, file));
    }
    RawPartition::find(device, &mut [Block::ZERO]).is_ok_and(begins)
}

/// The file system that begins at `start`, with its label.
fn file_system<D: BlockDevice>(device: &mut D, start: BlockIdx) -> Option<String> {
    // Longest first: the boot block, and the block with ext4's mark.
    let mut blocks = [Block::ZERO; 3];
    device.read(start, &mut blocks).ok()?;
    let bytes = Block::bytes(&blocks);
    let at = |from: usize, mark: &[u8]| bytes[from..].starts_with(mark);
    let label = |from: usize, len: usize| {
        let text = String::from_utf8_lossy(&bytes[from..from + len]);
        let text: String = text.chars().take_while(|&c| c != '\0').collect();
        let text = text.trim();
        // What mkfs writes for no label.
        if text.is_empty() || text == "NO NAME" { String::new() } else { format!(" `{text}`") }
    };
    if at(3, b"EXFAT   ") {
        Some("exFAT".to_owned())
    } else if at(3, b"NTFS    ") {
        Some("NTFS".to_owned())
    } else if at(82, b"FAT32   ") {
        Some(format!("FAT32{}", label(71, 11)))
    } else if at(54, b"FAT1") {
        Some(format!("FAT{}", label(43, 11)))
    } else if at(1024 + 56, &[0x53, 0xEF]) {
        Some(format!("ext{}", label(1024 + 120, 16)))
    } else if at(0, &MAGIC) {
        Some("a Ripple image, raw".to_owned())
    } else {
        None
    }
}

/// What a partition type stands for.
fn kind_name(kind: u8) -> String {
    let name = match kind {
        0x01 | 0x04 | 0x06 | 0x0B | 0x0C | 0x0E => "FAT",
        0x05 | 0x0F => "an extended partition",
        0x07 => "NTFS or exFAT",
        0x82 => "Linux swap",
        0x83 => "Linux",
        0x8E => "Linux LVM",
        Partition::RAW => "raw data",
        Partition::GPT => "a GUID partition table",
        _ => return format!("type {kind:#04x}"),
    };
    name.to_owned()
}

const _: () = assert!(BlockCount(3).bytes() >= 1024 + 136, "ext4's label is in three blocks");

#[cfg(test)]
mod tests {
    use super::*;
    use ripple_hal::Slice;

    fn of(bytes: &[u8]) -> Contents {
        contents(&mut Slice::new(bytes), "RIPPLE.IMG").unwrap()
    }

    #[test]
    fn what_is_there_is_named() {
        let mut card = vec![0; 64 * 512];
        assert_eq!(of(&card).lines, ["its first block is empty"]);
        card[0] = 1;
        assert_eq!(of(&card).lines, ["data without a partition table"]);
        let partition =
            |kind, start| Some(Partition { kind, start: BlockIdx(start), count: BlockCount(2048) });
        let entries = [partition(0x0C, 8), partition(0x83, 16), None, partition(0x42, 5000)];
        card[..512].copy_from_slice(&PartitionTable { signature: 0, entries }.emit().0);
        card[8 * 512 + 82..][..8].copy_from_slice(b"FAT32   ");
        card[8 * 512 + 71..][..11].copy_from_slice(b"HOLIDAY    ");
        card[16 * 512 + 1024 + 56..][..2].copy_from_slice(&[0x53, 0xEF]);
        card[16 * 512 + 1024 + 120..][..4].copy_from_slice(b"root");
        assert_eq!(
            of(&card).lines,
            [
                "partition 1: FAT32 `HOLIDAY`, 1.0 MiB at block 8",
                "partition 2: ext `root`, 1.0 MiB at block 16",
                "partition 4: type 0x42, 1.0 MiB at block 5000",
            ]
        );
        assert!(!of(&card).has_image);
        // What was there before the card got its table.
        card[82..90].copy_from_slice(b"FAT32   ");
        assert_eq!(of(&card).lines.len(), 3);
        card[..512].fill(0);
        card[..8].copy_from_slice(&MAGIC);
        assert_eq!(of(&card).lines, ["without partitions: a Ripple image, raw"]);
        assert!(contents(&mut Slice::new(&[]), "A").is_err());
    }
}
