//! Files on FAT volumes as extents, compared with what `fatfs` wrote.

use crate::common::{Ram, fill, noise};
use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions, format_volume};
use proptest::{prelude::*, test_runner::RngSeed};
use ripple_hal::{
    Block, BlockCount, BlockDevice, BlockIdx, DeviceError, ErrorKind, ExtentDevice, ExtentError,
    FatError, FatFile, WriteDevice,
};
use std::io::{Cursor, Read, Write};

/// One volume layout of the table that every test of finding runs over.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub kind: FatType,
    pub cluster_bytes: u32,
    pub blocks: u32,
    /// Where the volume begins: 0 without a partition table.
    pub partition: u32,
}

pub const FAT16: Layout =
    Layout { kind: FatType::Fat16, cluster_bytes: 512, blocks: 4600, partition: 0 };
const LAYOUTS: [Layout; 4] = [
    FAT16,
    Layout { cluster_bytes: 2048, blocks: 17_000, partition: 63, ..FAT16 },
    Layout { kind: FatType::Fat32, cluster_bytes: 512, blocks: 67_000, partition: 0 },
    Layout { kind: FatType::Fat32, cluster_bytes: 1024, blocks: 134_000, partition: 2048 },
];

/// Formats a volume, lets `write` fill it, and puts it behind a partition table if asked to.
pub fn image(layout: Layout, write: impl FnOnce(&FileSystem<&mut Cursor<Vec<u8>>>)) -> Vec<u8> {
    let mut disk = Cursor::new(vec![0; layout.blocks as usize * 512]);
    let options = FormatVolumeOptions::new()
        .fat_type(layout.kind)
        .bytes_per_cluster(layout.cluster_bytes)
        .max_root_dir_entries(64);
    format_volume(&mut disk, options).unwrap();
    let fs = FileSystem::new(&mut disk, FsOptions::new()).unwrap();
    write(&fs);
    fs.unmount().unwrap();
    let volume = disk.into_inner();
    if layout.partition == 0 {
        return volume;
    }
    let mut card = vec![0; layout.partition as usize * 512];
    card.extend_from_slice(&volume);
    // The second entry: the first is empty, as tools leave it.
    card[446 + 16 + 4] = 0x0C;
    card[446 + 16 + 8..][..4].copy_from_slice(&layout.partition.to_le_bytes());
    card[446 + 16 + 12..][..4].copy_from_slice(&layout.blocks.to_le_bytes());
    card[510..512].copy_from_slice(&[0x55, 0xAA]);
    card
}

/// Writes two files in turns, `pieces` bytes at a time, so that both are in as many extents.
fn interleave(fs: &FileSystem<&mut Cursor<Vec<u8>>>, bytes: &[u8], pieces: &[usize]) {
    let mut file = fs.root_dir().create_file("MODEL.RPL").unwrap();
    let mut other = fs.root_dir().create_file("other file.txt").unwrap();
    let mut rest = bytes;
    for &piece in pieces.iter().cycle() {
        let (now, later) = rest.split_at(piece.min(rest.len()));
        file.write_all(now).unwrap();
        other.write_all(now).unwrap();
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
}

fn open<const N: usize>(card: Vec<u8>, name: &str) -> Result<ExtentDevice<Ram, N>, Vec<u8>> {
    let mut ram = Ram::new(card);
    let file = FatFile::resolve(&mut ram, name, &mut [Block::ZERO; 4]).map_err(|_| vec![])?;
    ram.commands.clear();
    Ok(ExtentDevice::new(ram, file))
}

pub fn refusal(card: Vec<u8>, name: &str) -> FatError<ripple_hal::OutOfRange> {
    FatFile::<8>::resolve(&mut Ram::new(card), name, &mut [Block::ZERO; 4]).unwrap_err()
}

fn seeded() -> ProptestConfig {
    let rng_seed = RngSeed::Fixed(0x5EED);
    ProptestConfig { rng_seed, failure_persistence: None, ..ProptestConfig::default() }
}

#[test]
fn a_contiguous_file_is_one_extent_and_one_command() {
    for layout in LAYOUTS {
        let bytes = noise(100_001, 9);
        let card = image(layout, |fs| {
            fs.root_dir().create_file("FIRST.TXT").unwrap().write_all(b"first").unwrap();
            fs.root_dir().create_file("model.rpl").unwrap().write_all(&bytes).unwrap();
        });
        let mut device = open::<1>(card, "MODEL.RPL").unwrap();
        assert_eq!(device.file().bytes(), 100_001);
        assert_eq!(device.block_count().unwrap(), BlockCount(196));
        let mut read = vec![Block([1; 512]); 196];
        device.read(BlockIdx(0), &mut read).unwrap();
        assert_eq!(&Block::bytes(&read)[..bytes.len()], bytes, "{layout:?}");
        assert!(Block::bytes(&read)[bytes.len()..].iter().all(|&b| b == 0));
        assert_eq!(device.into_inner().commands.len(), 1);
    }
}

#[test]
fn a_command_goes_on_with_the_block_of_the_file_that_lies_there() {
    for layout in LAYOUTS {
        let cluster = layout.cluster_bytes;
        let bytes = noise(60_000, 2);
        let card = image(layout, |fs| interleave(fs, &bytes, &[cluster as usize]));
        let mut device = open::<128>(card, "MODEL.RPL").unwrap();
        assert_eq!(device.goes_on(), None);
        for start in 0..100 {
            device.read(BlockIdx(start), &mut [Block::ZERO]).unwrap();
            // Behind a cluster lies one of the other file.
            let next = BlockIdx(start + 1);
            let within = !next.0.is_multiple_of(cluster / 512);
            assert_eq!(device.goes_on(), within.then_some(next), "{layout:?}");
        }
    }
}

#[test]
fn a_file_is_written_in_place_and_nothing_else_is() {
    for layout in LAYOUTS {
        // 117 whole blocks and a part of one.
        let bytes = noise(60_000, 2);
        let card = image(layout, |fs| interleave(fs, &bytes, &[layout.cluster_bytes as usize]));
        let mut device = open::<128>(card.clone(), "MODEL.RPL").unwrap();
        let mut src = vec![Block::ZERO; 30];
        Block::bytes_mut(&mut src).copy_from_slice(&noise(30 * 512, 3));
        device.write(BlockIdx(50), &src).unwrap();
        device.write(BlockIdx(116), &src[..1]).unwrap();
        let mut expected = bytes.clone();
        expected[50 * 512..80 * 512].copy_from_slice(Block::bytes(&src));
        expected[116 * 512..117 * 512].copy_from_slice(Block::bytes(&src[..1]));
        // Read by another file system: it and the other file are whole.
        let written = device.into_inner();
        let pieces = 30 * 512 / layout.cluster_bytes as usize;
        assert!(written.commands.len() >= pieces && written.commands.len() <= pieces + 2);
        let start = layout.partition as usize * 512;
        let mut disk = Cursor::new(written.bytes[start..].to_vec());
        let fs = FileSystem::new(&mut disk, FsOptions::new()).unwrap();
        let read = |name: &str| {
            let mut found = Vec::new();
            fs.root_dir().open_file(name).unwrap().read_to_end(&mut found).unwrap();
            found
        };
        assert!(read("MODEL.RPL") == expected && read("other file.txt") == bytes, "{layout:?}");
    }
}

#[test]
fn what_would_not_read_back_is_not_written() {
    let card = image(FAT16, |fs| {
        fs.root_dir().create_file("A").unwrap().write_all(&[7; 1000]).unwrap();
    });
    let mut device = open::<1>(card.clone(), "A").unwrap();
    for (start, count) in [(1, 1), (0, 2), (2, 1), (u32::MAX, 1)] {
        let error = device.write(BlockIdx(start), &vec![Block::ZERO; count]).unwrap_err();
        assert!(matches!(error, ExtentError::OutOfRange(e) if e.blocks == BlockCount(1)));
    }
    device.write(BlockIdx(9), &[]).unwrap();
    assert!(device.into_inner().bytes == card);
}

#[test]
fn a_fragmented_file_reads_in_order() {
    for layout in LAYOUTS {
        let bytes = noise(60_000, 2);
        let card = image(layout, |fs| interleave(fs, &bytes, &[8192, 2048, 4096]));
        let mut device = open::<32>(card, "MODEL.RPL").unwrap();
        let extents = device.file().extents().as_slice().len();
        assert!(extents > 8, "{layout:?}: {extents} extents");
        let mut read = vec![Block::ZERO; 118];
        device.read(BlockIdx(0), &mut read).unwrap();
        assert_eq!(&Block::bytes(&read)[..bytes.len()], bytes, "{layout:?}");
        assert_eq!(device.into_inner().commands.len(), extents, "one command an extent");
    }
}

#[test]
fn a_root_directory_of_many_clusters_is_searched_to_its_end() {
    let bytes = noise(5000, 4);
    let card = image(LAYOUTS[2], |fs| {
        for i in 0..60 {
            fs.root_dir().create_file(&format!("a long name, number {i}")).unwrap();
        }
        fs.root_dir().create_dir("MODEL").unwrap();
        fs.root_dir().create_file("MODEL.RPL").unwrap().write_all(&bytes).unwrap();
    });
    let device = open::<1>(card.clone(), "model.rpl").unwrap();
    assert_eq!(device.file().bytes(), 5000);
    assert_eq!(refusal(card.clone(), "NONE.RPL"), FatError::NotFound);
    assert_eq!(refusal(card, "MODEL"), FatError::NotFound, "a folder is no file");
}

#[test]
fn the_table_is_read_ahead_not_once_a_cluster() {
    let card = image(FAT16, |fs| {
        let bytes = noise(1_500_000, 7);
        fs.root_dir().create_file("MODEL.RPL").unwrap().write_all(&bytes).unwrap();
    });
    // 2,930 clusters, 256 to a block of the table. Besides: boot block, root directory.
    for (scratch, most) in [(1, 14), (4, 6), (16, 4)] {
        let mut ram = Ram::new(card.clone());
        FatFile::<1>::resolve(&mut ram, "MODEL.RPL", &mut vec![Block::ZERO; scratch]).unwrap();
        let commands = ram.commands.len();
        assert!(commands <= most, "{scratch} blocks of scratch: {commands} commands");
    }
}

#[test]
fn what_is_no_fat_volume_is_named() {
    assert_eq!(refusal(vec![0; 4096], "A"), FatError::NoFilesystem);
    let mut exfat = vec![0; 4096];
    exfat[3..11].copy_from_slice(b"EXFAT   ");
    assert_eq!(refusal(exfat, "A"), FatError::ExFat);
    let fat12 = Layout { kind: FatType::Fat12, blocks: 2000, ..FAT16 };
    assert_eq!(refusal(image(fat12, |_| ()), "A"), FatError::Fat12);
    assert_eq!(refusal(vec![0; 4096], "LONGFILENAME.BIN"), FatError::BadName);
    let error = FatFile::<1>::resolve(&mut Ram::new(vec![]), "A", &mut [Block::ZERO]).unwrap_err();
    assert!(matches!(error, FatError::Device(_)));
    assert_eq!(error.kind(), ErrorKind::OutOfRange);
    let error = FatFile::<1>::resolve(&mut Ram::new(vec![]), "A", &mut []).unwrap_err();
    assert_eq!(error, FatError::NoScratch);
}

#[test]
fn too_many_pieces_is_an_error_with_the_room_there_is() {
    let bytes = noise(20_000, 2);
    let card = image(FAT16, |fs| interleave(fs, &bytes, &[1024]));
    assert_eq!(refusal(card, "MODEL.RPL"), FatError::TooFragmented { max: 8 });
}

#[test]
fn a_damaged_chain_is_found_wherever_it_is_damaged() {
    let bytes = noise(6 * 512, 2);
    let card = image(FAT16, |fs| {
        fs.root_dir().create_file("MODEL.RPL").unwrap().write_all(&bytes).unwrap();
    });
    let reserved = u16::from_le_bytes([card[14], card[15]]) as usize;
    let table = reserved * 512;
    assert!(open::<1>(card.clone(), "MODEL.RPL").is_ok());
    // The file's clusters are 2 to 7: each link in turn to itself, back, to nothing, too early to
    // an end, beyond the volume.
    for cluster in 2..8u16 {
        for wrong in [cluster, 2, 0, 1, 0xFFF7, 5000, 0xFFFF] {
            if (cluster, wrong) == (7, 0xFFFF) {
                continue;
            }
            let mut damaged = card.clone();
            damaged[table + cluster as usize * 2..][..2].copy_from_slice(&wrong.to_le_bytes());
            let error = refusal(damaged, "MODEL.RPL");
            assert!(matches!(error, FatError::CorruptChain { .. }), "{cluster}->{wrong}: {error}");
        }
    }
}

#[test]
fn room_allocated_ahead_is_not_read() {
    let card = image(FAT16, |fs| {
        fs.root_dir().create_file("MODEL.RPL").unwrap().write_all(&noise(3000, 2)).unwrap();
    });
    let entry = card.windows(11).position(|w| w == b"MODEL   RPL").unwrap();
    let mut shorter = card;
    shorter[entry + 28..][..4].copy_from_slice(&700u32.to_le_bytes());
    let mut device = open::<1>(shorter.clone(), "MODEL.RPL").unwrap();
    assert_eq!(device.block_count().unwrap(), BlockCount(2));
    let error = device.read(BlockIdx(1), &mut [Block::ZERO; 2]).unwrap_err();
    assert!(matches!(error, ExtentError::OutOfRange(e) if e.blocks == BlockCount(2)));
    shorter[entry + 28..][..4].copy_from_slice(&0u32.to_le_bytes());
    let mut empty = open::<1>(shorter, "MODEL.RPL").unwrap();
    assert_eq!(empty.block_count().unwrap(), BlockCount(0));
    assert_eq!(empty.read_while(BlockIdx(0), &mut [], || 5).unwrap(), 5);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..seeded() })]

    /// Any split of the file, any range, with or without work: the bytes are the file's.
    #[test]
    fn extents_map_like_the_file(
        pieces in prop::collection::vec(1usize..5000, 1..8),
        len in 1usize..40_000,
        ranges in prop::collection::vec((0u32..80, 0usize..80), 1..12),
    ) {
        let bytes = noise(len, 11);
        let card = image(FAT16, |fs| interleave(fs, &bytes, &pieces));
        let mut device = open::<80>(card, "MODEL.RPL").unwrap();
        let blocks = device.block_count().unwrap().0;
        prop_assert_eq!(blocks, BlockCount::for_bytes(len as u64).0);
        for (start, count) in ranges {
            let mut read = vec![Block([7; 512]); count];
            let fits = count == 0 || start as usize + count <= blocks as usize;
            let plain = device.read(BlockIdx(start), &mut read);
            prop_assert_eq!(plain.is_ok(), fits);
            if !fits {
                continue;
            }
            let mut expected = vec![Block::ZERO; count];
            fill(&bytes, BlockIdx(start), &mut expected);
            prop_assert_eq!(Block::bytes(&read), Block::bytes(&expected));
            read.fill(Block([9; 512]));
            let mut ran = 0;
            device.read_while(BlockIdx(start), &mut read, || ran += 1).unwrap();
            prop_assert_eq!(ran, 1);
            prop_assert_eq!(Block::bytes(&read), Block::bytes(&expected));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..seeded() })]

    /// Whatever the first blocks hold, resolving ends, without a panic.
    #[test]
    fn garbage_on_the_card_never_panics(
        which in 0usize..2,
        changes in prop::collection::vec((0usize..50 * 512, any::<u8>()), 1..40),
        boot_changes in prop::collection::vec((0usize..512, any::<u8>()), 0..6),
    ) {
        use std::sync::OnceLock;
        static CARDS: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
        let cards = CARDS.get_or_init(|| {
            [FAT16, LAYOUTS[1]].map(|layout| {
                image(layout, |fs| interleave(fs, &noise(20_000, 3), &[600]))
            })
        });
        let mut card = cards[which].clone();
        for (at, byte) in boot_changes.into_iter().chain(changes) {
            card[at] = byte;
        }
        let mut ram = Ram::new(card);
        if let Ok(file) = FatFile::<40>::resolve(&mut ram, "MODEL.RPL", &mut [Block::ZERO; 3]) {
            let blocks = file.blocks().0;
            prop_assert_eq!(file.extents().blocks().0, blocks);
            let mut device = ExtentDevice::new(ram, file);
            for start in [0, blocks / 2, blocks.saturating_sub(1)] {
                let _ = device.read_while(BlockIdx(start), &mut [Block::ZERO; 3], || ());
            }
        }
    }
}
