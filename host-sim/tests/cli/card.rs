//! `ripple card` as its users meet it: what it writes, what it shows, what it refuses.

use assert_cmd::Command;
use ripple_hal::{
    Block, BlockCount, BlockDevice, BlockIdx, ExtentDevice, FatFile, RawPartition, Slice,
};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/story-nano");

fn ripple(folder: &Path, args: &[&str]) -> assert_cmd::assert::Assert {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ripple"));
    command.current_dir(folder).args(args).assert()
}

/// The bytes of an image, packed once.
fn image() -> &'static [u8] {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let profile = format!("{MODEL}/profile.txt");
        for args in [
            &["trace", MODEL, "--text", &profile, "--tokens", "64", "-o", "trace"][..],
            &["place", "trace", "--method", "coactivation", "-o", "placement"],
            &["pack", MODEL, "--placement", "placement", "-o", "image"],
        ] {
            ripple(folder.path(), args).success();
        }
        std::fs::read(folder.path().join("image")).unwrap()
    })
}

/// A folder with the image in it, changed.
fn folder(change: impl FnOnce(&mut Vec<u8>)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = image().to_vec();
    change(&mut bytes);
    std::fs::write(folder.path().join("my.image"), bytes).unwrap();
    folder
}

/// What is written to standard error and to standard output.
fn card(folder: &Path, args: &[&str]) -> (String, String) {
    let output = ripple(folder, &[&["card"], args].concat()).success().get_output().clone();
    (String::from_utf8(output.stderr).unwrap(), String::from_utf8(output.stdout).unwrap())
}

/// The last line of the error of a command that must fail and leave the folder as it was.
fn refused(folder: &Path, args: &[&str]) -> String {
    let before = contents(folder);
    let output = ripple(folder, &[&["card"], args].concat()).failure().get_output().clone();
    assert!(contents(folder) == before, "{args:?} changed the folder");
    let error = String::from_utf8(output.stderr).unwrap();
    error.lines().rfind(|line| line.starts_with("error: ")).unwrap_or(&error).to_owned()
}

fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<_> =
        paths.filter_map(|path| Some((path.clone(), std::fs::read(path).ok()?))).collect();
    all.sort();
    all
}

fn all_of(mut device: impl BlockDevice<Error: std::fmt::Debug>, count: BlockCount) -> Vec<u8> {
    let mut blocks = vec![Block::ZERO; count.0 as usize];
    device.read(BlockIdx(0), &mut blocks).unwrap();
    Block::bytes(&blocks).to_vec()
}

fn blocks() -> BlockCount {
    BlockCount::for_bytes(image().len() as u64)
}

#[test]
fn a_fat32_card_holds_the_image_in_one_piece() {
    let folder = folder(|_| ());
    let folder = folder.path();
    let (shown, out) = card(folder, &["my.image", "-o", "card.img"]);
    assert!(shown.contains("card.img <- a FAT32 partition with RIPPLE.IMG of "), "{shown}");
    assert!(shown.contains("every block is right") && out.is_empty(), "{shown}");
    let bytes = std::fs::read(folder.join("card.img")).unwrap();
    assert_eq!(bytes.len(), 64 << 20, "a power of two");
    let mut device = Slice::new(&bytes);
    let file = FatFile::<1>::resolve(&mut device, "RIPPLE.IMG", &mut [Block::ZERO; 8]).unwrap();
    assert_eq!(file.blocks(), blocks());
    assert!(all_of(ExtentDevice::new(device, file), blocks()) == image());

    // The same again, over the card: it is shown and replaced, to the same bytes.
    let (shown, _) = card(folder, &["my.image", "-o", "card.img"]);
    assert!(shown.contains("partition 1: FAT32 `RIPPLE`, 63.0 MiB at block 2048"), "{shown}");
    assert!(shown.contains("\n  a Ripple image\n"), "{shown}");
    assert!(std::fs::read(folder.join("card.img")).unwrap() == bytes);

    card(folder, &["my.image", "-o", "large.img", "--name", "model.rpl", "--size-mib", "100"]);
    let bytes = std::fs::read(folder.join("large.img")).unwrap();
    assert_eq!(bytes.len(), 100 << 20);
    let mut device = Slice::new(&bytes);
    let file = FatFile::<1>::resolve(&mut device, "MODEL.RPL", &mut [Block::ZERO; 8]).unwrap();
    assert!(all_of(ExtentDevice::new(device, file), blocks()) == image());
}

#[test]
fn a_raw_card_holds_the_image_as_its_partition() {
    let folder = folder(|_| ());
    let args = ["my.image", "-o", "card.img", "--layout", "raw", "--json"];
    let (_, out) = card(folder.path(), &args);
    let bytes = std::fs::read(folder.path().join("card.img")).unwrap();
    assert!(bytes.len().is_power_of_two() && bytes.len() >= image().len() + (1 << 20));
    let partition = RawPartition::find(Slice::new(&bytes), &mut [Block::ZERO]).unwrap();
    assert!(all_of(partition, blocks()) == image());

    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["layout"], "raw");
    assert_eq!(report["card_bytes"], bytes.len());
    assert_eq!(report["image_first_block"], 2048);
    assert_eq!(report["image_blocks"], blocks().0);
    assert_eq!(report["written"]["blocks"], 2048 + blocks().0);
}

#[test]
fn a_file_that_is_no_card_is_shown_and_kept_without_yes() {
    let folder = folder(|_| ());
    let folder = folder.path();
    std::fs::write(folder.join("thesis"), "forty thousand words".repeat(100)).unwrap();
    let error = refused(folder, &["my.image", "-o", "thesis"]);
    for words in ["thesis: it is a file, and not a card with an image", "give --yes"] {
        assert!(error.contains(words), "no `{words}` in: {error}");
    }
    let before = contents(folder);
    let (shown, _) = card(folder, &["my.image", "-o", "thesis", "--dry-run"]);
    assert!(shown.contains("  data without a partition table\n"), "{shown}");
    assert!(shown.contains("dry run: nothing was written"), "{shown}");
    assert!(contents(folder) == before);
    card(folder, &["my.image", "-o", "thesis", "--yes"]);
    assert_eq!(std::fs::metadata(folder.join("thesis")).unwrap().len(), 64 << 20);
}

#[test]
fn what_cannot_be_written_says_why() {
    let whole = folder(|_| ());
    for (args, words) in [
        (&["-o", "my.image", "--yes"][..], "my.image: this is the image itself"),
        (&["-o", "."], "expected the name of a file, found a folder"),
        (&["-o", "no/card.img"], "there is no folder `no`"),
        (&["-o", "card.img", "--name", "model.image"], "`model.image`: expected a name of the"),
        (&["-o", "card.img", "--size-mib", "16"], "at least 34 MiB, found one of 16.0 MiB"),
        (&["-o", "card.img", "--size-mib", "1"], "--size-mib"),
    ] {
        let error = refused(whole.path(), &[&["my.image"], args].concat());
        assert!(error.contains(words), "no `{words}` in: {error}");
    }
    for (change, words) in [
        (&(|bytes: &mut Vec<u8>| bytes.truncate(100_000)) as &dyn Fn(&mut Vec<u8>), "cut short"),
        (&|bytes| bytes[0] = 0, "expected an image as `ripple pack` writes it"),
        (&|bytes| *bytes.last_mut().unwrap() ^= 1, "wrong checksum in section `"),
    ] {
        let folder = folder(change);
        let error = refused(folder.path(), &["my.image", "-o", "card.img"]);
        assert!(error.contains("my.image") && error.contains(words), "no `{words}` in: {error}");
    }
    let error = refused(whole.path(), &["nosuch", "-o", "card.img"]);
    assert!(error.contains("nosuch: no such file"), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_no_card_under_dev_is_refused() {
    let folder = folder(|_| ());
    for (device, words) in [
        ("/dev/null", "/dev/null: expected a file or a block device, found neither"),
        ("/dev/ripple-nosuch", "/dev/ripple-nosuch: there is no such device"),
    ] {
        let error = refused(folder.path(), &["my.image", "-o", device, "--yes"]);
        assert!(error.contains(words), "no `{words}` in: {error}");
    }
}

#[test]
fn help_shows_examples() {
    let output = ripple(Path::new("."), &["card", "--help"]).success().get_output().clone();
    let help = String::from_utf8(output.stdout).unwrap();
    for words in ["ripple card my.image -o /dev/sdb --dry-run", "--layout raw", "power of two"] {
        assert!(help.contains(words), "no `{words}` in: {help}");
    }
}

#[test]
fn a_card_for_a_board_has_the_room_that_the_board_writes() {
    let folder = folder(|_| ());
    for board in ["raspi3b", "lm3s6965evb"] {
        let plan = ["plan", "--board", board, "my.image", "--json"];
        let plan = ripple(folder.path(), &plan).success().get_output().stdout.clone();
        let plan: Value = serde_json::from_slice(&plan).unwrap();
        let room = plan["room"].as_u64().unwrap();
        assert_eq!(room > 0, board == "raspi3b", "{plan}");
        card(folder.path(), &["my.image", "-o", "c", "--board", board]);
        let bytes = std::fs::read(folder.path().join("c")).unwrap();
        let mut scratch = [Block::ZERO; 8];
        let file = FatFile::<1>::resolve(&mut Slice::new(&bytes), "RIPPLE.IMG", &mut scratch);
        assert_eq!(file.unwrap().bytes(), image().len() as u64 + room, "{board}");
    }
}
