//! Where on a card a file is looked for: partition tables that are good, bad, stale or of another kind.

use crate::common::Ram;
use crate::fat::{FAT16, Layout, image, refusal};
use fatfs::FatType;
use ripple_hal::{
    Block, BlockCount, BlockDevice, BlockIdx, ErrorKind, ExtentDevice, FatError, FatFile,
    OutOfRange, Partition, PartitionTable,
};
use std::io::Write;

const NAME: &str = "MODEL.RPL";

/// A FAT16 volume with one file.
fn volume(name: &str, text: &str) -> Vec<u8> {
    image(FAT16, |fs| {
        fs.root_dir().create_file(name).unwrap().write_all(text.as_bytes()).unwrap();
    })
}

fn entry(kind: u8, start: u32, count: u32) -> Option<Partition> {
    Some(Partition { kind, start: BlockIdx(start), count: BlockCount(count) })
}

/// A card of so many blocks with these entries, and bytes at these blocks.
fn card(blocks: usize, entries: [Option<Partition>; 4], parts: &[(usize, &[u8])]) -> Vec<u8> {
    let mut card = vec![0; blocks * 512];
    for (start, bytes) in parts {
        card[start * 512..][..bytes.len()].copy_from_slice(bytes);
    }
    card[440..512].copy_from_slice(&PartitionTable { signature: 0, entries }.emit().0[440..]);
    card
}

/// What the file on a card says.
fn text<D: BlockDevice<Error = OutOfRange>>(mut device: D) -> String {
    let file = FatFile::<4>::resolve(&mut device, NAME, &mut [Block::ZERO; 4]).unwrap();
    let (bytes, mut block) = (file.bytes() as usize, [Block::ZERO]);
    ExtentDevice::new(device, file).read(BlockIdx(0), &mut block).unwrap();
    String::from_utf8(block[0].0[..bytes].to_vec()).unwrap()
}

#[test]
fn an_entry_that_leads_nowhere_does_not_end_the_search() {
    let good = volume(NAME, "here");
    for bad in [
        // Beyond the card, at its end, at its last number.
        entry(0x83, 900_000, 1000),
        entry(0x0C, 8000, 100),
        entry(0x0C, u32::MAX, u32::MAX),
        // On the card: an empty block, a file of the other volume.
        entry(0x0C, 7000, 900),
        entry(0x83, 2100, 1),
        // No volume: not a length, not a place.
        entry(0x0C, 7000, 0),
        None,
    ] {
        let last = [bad, bad, bad, entry(0x06, 2048, 4600)];
        assert_eq!(text(Ram::new(card(8000, last, &[(2048, &good)]))), "here", "{bad:?}");
    }
    let entries = [entry(0x83, 900_000, 1000), entry(0x0C, 8000, 1), None, None];
    let error = refusal(card(8000, entries, &[]), NAME);
    assert!(matches!(error, FatError::Device(e) if e.start == BlockIdx(8000)), "{error}");
}

#[test]
fn every_fat_partition_is_searched_in_the_order_of_the_table() {
    let (boot, first) = (volume("KERNEL.IMG", "boot"), volume(NAME, "first"));
    let second = volume(NAME, "second");
    let [a, b, c] = [entry(6, 2048, 4600), entry(6, 7000, 4600), entry(6, 12_000, 4600)];
    let parts: &[(usize, &[u8])] = &[(2048, &boot), (7000, &first), (12_000, &second)];
    let says = |entries| text(Ram::new(card(17_000, entries, parts)));
    assert_eq!(says([a, b, None, None]), "first");
    assert_eq!(says([a, c, b, None]), "second");
    assert_eq!(says([None, None, a, b]), "first");
    assert_eq!(refusal(card(17_000, [a, None, None, None], parts), NAME), FatError::NotFound);
    let message = refusal(card(17_000, [a, None, None, None], parts), NAME).to_string();
    assert!(message.contains("no file of that name"), "{message}");
}

#[test]
fn a_damaged_volume_does_not_hide_the_next_one() {
    // A FAT32 volume whose root directory is said to begin at a cluster that there is not.
    let layout = Layout { kind: FatType::Fat32, cluster_bytes: 512, blocks: 67_000, partition: 0 };
    let mut damaged = image(layout, |_| ());
    damaged[44..48].copy_from_slice(&0x0FFF_FFF0u32.to_le_bytes());
    let good = volume(NAME, "here");
    let (a, b) = (entry(0x0C, 2048, 67_000), entry(6, 70_000, 4600));
    let both: &[(usize, &[u8])] = &[(2048, &damaged), (70_000, &good)];
    assert_eq!(text(Ram::new(card(75_000, [a, b, None, None], both))), "here");
    let error = refusal(card(75_000, [a, None, None, None], both), NAME);
    assert_eq!(error, FatError::CorruptChain { cluster: 0 });
}

#[test]
fn block_0_of_a_card_with_partitions_is_no_volume() {
    let (old, new) = (volume(NAME, "old"), volume(NAME, "new"));
    // Without partitions the card is one volume: with no table, and with one that is empty.
    assert_eq!(text(Ram::new(old.clone())), "old");
    assert_eq!(text(Ram::new(card(4600, [None; 4], &[(0, &old)]))), "old");
    // Partitioned later, by a tool that writes the entries and leaves what is before them.
    let fat = [entry(0x06, 5000, 4600), None, None, None];
    let mut stale = card(10_000, fat, &[(0, &old), (5000, &new)]);
    assert_eq!(text(Ram::new(stale.clone())), "new");
    stale[54..62].fill(0);
    assert_eq!(text(Ram::new(stale)), "new", "the same, wiped by wipefs");
    // Nor is the old file found where the partition holds none, or no FAT volume.
    let other = volume("OTHER", "");
    let refused = |with: &[u8]| refusal(card(10_000, fat, &[(0, &old), (5000, with)]), NAME);
    assert_eq!(refused(&other), FatError::NotFound);
    assert_eq!(refused(&[0; 512]), FatError::NoFilesystem);
}

#[test]
fn code_and_text_in_a_boot_block_are_no_partitions() {
    let mut whole = volume(NAME, "whole");
    for text in
        ["Disk error, press any key to restart. ".as_bytes(), &[0xFA, 0x33, 0xC0, 0x8E, 0xD0]]
    {
        for (out, byte) in whole[62..510].iter_mut().zip(text.iter().cycle()) {
            *out = *byte;
        }
        assert_eq!(self::text(Ram::new(whole.clone())), "whole");
    }
}

#[test]
fn other_kinds_of_tables_and_volumes_are_named() {
    let good = volume(NAME, "here");
    let mut exfat = vec![0; 512];
    exfat[3..11].copy_from_slice(b"EXFAT   ");
    let gpt = entry(Partition::GPT, 1, 7999);
    let [fat, ex] = [entry(6, 2048, 4600), entry(7, 7000, 1000)];
    let parts: &[(usize, &[u8])] = &[(1, b"EFI PART"), (2048, &good), (7000, &exfat)];
    let error = refusal(card(8000, [gpt, None, None, None], parts), NAME);
    assert_eq!(error, FatError::Gpt);
    assert!(error.to_string().contains("GPT"));
    assert_eq!(refusal(card(8000, [ex, None, None, None], parts), NAME), FatError::ExFat);
    // A hybrid of both tables; a card for two systems.
    assert_eq!(text(Ram::new(card(8000, [gpt, fat, None, None], parts))), "here");
    assert_eq!(text(Ram::new(card(8000, [ex, fat, None, None], parts))), "here");
    // A FAT volume without the file says more than the others that were there.
    for entries in [[ex, fat, gpt, None], [fat, gpt, ex, None], [gpt, ex, None, fat]] {
        assert_eq!(refusal(card(8000, entries, parts), "NONE"), FatError::NotFound);
    }
}

/// A card of which one block cannot be read, and how that fails.
struct Bad(Ram, u32, ErrorKind);

impl BlockDevice for Bad {
    type Error = ErrorKind;

    fn block_count(&mut self) -> Result<BlockCount, ErrorKind> {
        self.0.block_count().map_err(|_| ErrorKind::Other)
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), ErrorKind> {
        let blocks = start.0..start.0 + dst.len() as u32;
        if blocks.contains(&self.1) {
            return Err(self.2);
        }
        self.0.read(start, dst).map_err(|_| ErrorKind::OutOfRange)
    }
}

#[test]
fn a_block_that_cannot_be_read_is_not_passed_over() {
    // Else the file of the second partition would stand for that of the first.
    let (first, second) = (volume(NAME, "first"), volume(NAME, "second"));
    let entries = [entry(6, 2048, 4600), entry(6, 7000, 4600), None, None];
    let card = card(12_000, entries, &[(2048, &first), (7000, &second)]);
    let root =
        2048 + card[2048 * 512..].windows(11).position(|w| w == b"MODEL   RPL").unwrap() / 512;
    let bad = |block, kind| {
        let mut device = Bad(Ram::new(card.clone()), block, kind);
        FatFile::<4>::resolve(&mut device, NAME, &mut [Block::ZERO]).map(drop)
    };
    for kind in [ErrorKind::Corrupted, ErrorKind::Timeout, ErrorKind::NoCard] {
        for block in [0, 2048, root as u32] {
            assert_eq!(bad(block, kind), Err(FatError::Device(kind)), "block {block}");
        }
        assert_eq!(bad(7000, kind), Ok(()));
    }
    for kind in [ErrorKind::OutOfRange, ErrorKind::Other] {
        assert_eq!(bad(2048, kind), Ok(()), "as beyond the end of a card");
        assert_eq!(bad(root as u32, kind), Err(FatError::Device(kind)));
    }
}
