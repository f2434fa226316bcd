//! `ripple card`: puts an image on a card, or into a file that is one.

use super::board::board_parser;
use super::inspect::{Check, check};
use super::source::open_image;
use super::summary::bytes;
use crate::machine::header;
use crate::medium::{
    CardBlocks, Contents, FileMedium, Layout, Medium, Phase, Written, contents, write,
};
use crate::process::output::{self, check_path, note, progress, replace_file};
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum, value_parser};
use ripple_app::Board;
use ripple_hal::BlockCount;
use ripple_kernel::image::{FILE_NAME, SectionKind};
use serde::Serialize;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is easier shown than said.
const EXAMPLES: &str = "\
Examples:
  ripple card my.image -o card.img               a file: for QEMU, or to copy to a card with dd
  ripple card my.image -o /dev/sdb --dry-run     show what is on a card, write nothing
  ripple card my.image -o /dev/sdb               the same, ask, write, verify
  ripple card my.image -o card.img --layout raw  without a file system
  ripple card my.image -o card.img --board raspi3b  with the room that this board writes

A file becomes as long as the smallest power of two that the image fits in, because QEMU asks that of
an SD card (a FAT32 card is 64 MiB at least). It is replaced at the end, in one step.

A device is overwritten from its first block on, whatever is on it. One that is mounted, otherwise in
use or not removable is refused without --yes, the one that the system runs from always. The image's
first block is written last, after all else has been read back and compared: a card that was not
finished has no image that opens.";

/// Write an image to a card: a file, or a device such as /dev/sdb (Linux).
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Card {
    /// Image, as `ripple pack` writes it.
    image: PathBuf,
    /// File or device to write.
    #[arg(short, long, value_name = "TARGET")]
    output: PathBuf,
    /// How the image lies on the card.
    #[arg(long, value_enum, default_value_t = LayoutArg::Fat32)]
    layout: LayoutArg,
    /// Name of the file on a FAT32 card: 8 and 3 characters.
    #[arg(long, default_value = FILE_NAME)]
    name: String,
    /// Size of the card, in MiB; only for a file.
    #[arg(long, value_parser = value_parser!(u32).range(2..2 << 20))]
    size_mib: Option<u32>,
    /// Room behind the image that firmware may write, in KiB: for keys and values that leave its memory.
    #[arg(long, default_value_t = 0, value_parser = value_parser!(u32).range(..=2 << 20))]
    room_kib: u32,
    /// Board that the card is for: leaves the room that its firmware writes.
    #[arg(long, value_parser = board_parser(), conflicts_with = "room_kib")]
    board: Option<&'static Board>,
    /// Overwrite the target whatever it is; do not ask.
    #[arg(short, long)]
    yes: bool,
    /// Show what would be overwritten and written, and write nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Print a report as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum LayoutArg {
    /// One FAT32 partition, with the image as a file in one piece.
    Fat32,
    /// One partition of type 0xDA that is the image.
    Raw,
}

#[derive(Serialize)]
struct Report<'a> {
    image: String,
    target: String,
    device: bool,
    layout: LayoutArg,
    /// The file on a FAT32 card.
    file: Option<&'a str>,
    card_bytes: u64,
    partition_first_block: u32,
    partition_blocks: u32,
    image_first_block: u32,
    image_blocks: u32,
    /// Nothing without it: a dry run.
    written: Option<Times>,
}

#[derive(Serialize)]
struct Times {
    blocks: u32,
    write_seconds: f64,
    verify_seconds: f64,
}

impl Card {
    pub fn run(&self) -> Result<()> {
        let shown = self.output.display();
        let image = open_image(&self.image)?;
        self.check_image(&image)?;
        let (card, written) = match kind(&self.output)? {
            Kind::Device => self.device(&image)?,
            Kind::File { exists } => {
                if exists {
                    let same = |path: &Path| path.canonicalize().ok();
                    ensure!(
                        same(&self.image) != same(&self.output),
                        "{shown}: this is the image itself; name another file"
                    );
                }
                self.file(&image, exists)?
            }
        };
        if self.json {
            return output::print_json(&self.report(&card, written));
        }
        match written {
            Some(written) => note(&summary(&written)),
            None => note("dry run: nothing was written"),
        }
        Ok(())
    }

    fn check_image(&self, image: &[u8]) -> Result<()> {
        let shown = self.image.display();
        let header = header(image).with_context(|| shown.to_string())?;
        for kind in SectionKind::ALL {
            ensure!(
                check(image, &header, kind) != Check::Wrong,
                "{shown}: wrong checksum in section `{}`: the image is damaged; copy it again",
                kind.name()
            );
        }
        Ok(())
    }

    fn card<'i>(&self, image: &'i [u8], blocks: Option<BlockCount>) -> Result<CardBlocks<'i>> {
        let room = match self.board {
            Some(board) => board.options.spill_blocks(&header(image)?.geometry.config),
            None => BlockCount::for_bytes(u64::from(self.room_kib) << 10),
        };
        let layout = match self.layout {
            LayoutArg::Fat32 => Layout::Fat32(&self.name),
            LayoutArg::Raw => Layout::Raw,
        };
        CardBlocks::new(image, layout, room, blocks)
            .with_context(|| format!("{} on {}", self.image.display(), self.output.display()))
    }

    fn file<'i>(&self, image: &'i [u8], exists: bool) -> Result<(CardBlocks<'i>, Option<Written>)> {
        let shown = self.output.display();
        let blocks = self.size_mib.map(|mib| BlockCount::for_bytes(u64::from(mib) << 20));
        let card = self.card(image, blocks)?;
        let mut cautions = Vec::new();
        if exists {
            let file = File::open(&self.output).with_context(|| shown.to_string())?;
            let length = file.metadata()?.len();
            note(&format!("{shown}: {}", bytes(length as f64)));
            // A file of less than a block holds nothing that could be looked at.
            let found = contents(&mut FileMedium::new(&file), &self.name).ok();
            show(found.as_ref());
            if length > 0 && !found.is_some_and(|found| found.has_image) {
                cautions.push("it is a file, and not a card with an image".to_owned());
            }
        }
        self.show(&card);
        if self.dry_run {
            return Ok((card, None));
        }
        self.refuse(&cautions, "take another name")?;
        let mut written = None;
        replace_file(&self.output, |file| {
            file.set_len(card.blocks().bytes())?;
            written = Some(write_with_bar(&mut FileMedium::new(file), &card)?);
            Ok(())
        })?;
        Ok((card, written))
    }

    #[cfg(not(target_os = "linux"))]
    fn device<'i>(&self, _: &'i [u8]) -> Result<(CardBlocks<'i>, Option<Written>)> {
        bail!(
            "{}: a device, and this system cannot be asked what it is used for; write a file and \
             copy it to the card with other means",
            self.output.display()
        )
    }

    #[cfg(target_os = "linux")]
    fn device<'i>(&self, image: &'i [u8]) -> Result<(CardBlocks<'i>, Option<Written>)> {
        use crate::medium::Disk;
        use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

        let shown = self.output.display();
        ensure!(
            self.size_mib.is_none(),
            "{shown}: a device, which has the size it has; leave --size-mib away"
        );
        let number = std::fs::metadata(&self.output).with_context(|| shown.to_string())?.rdev();
        let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
        let disk = Disk::probe(Path::new("/"), major, minor).with_context(|| shown.to_string())?;
        let removable = if disk.removable { "removable" } else { "not removable" };
        let size = bytes(disk.bytes as f64);
        let comma = if disk.model.is_empty() { "" } else { ", " };
        note(&format!("{shown}: {size}{comma}{}, {removable}", disk.model));
        if let Some(obstacle) = disk.obstacle() {
            bail!("{shown}: {obstacle}");
        }
        let open = |options: &mut std::fs::OpenOptions| {
            options.read(true).open(&self.output).map_err(|error| opening(&self.output, error))
        };
        let file = open(&mut File::options())?;
        show(contents(&mut FileMedium::new(&file), &self.name).ok().as_ref());
        drop(file);
        let cautions = disk.cautions();
        cautions.iter().for_each(|caution| note(&format!("  {caution}")));
        let card = self.card(image, Some(BlockCount::for_bytes(disk.bytes)))?;
        self.show(&card);
        if self.dry_run {
            return Ok((card, None));
        }
        let instead = if disk.uses.is_empty() { "take another" } else { "unmount it" };
        self.refuse(&cautions, instead)?;
        self.ask()?;

        // The system's own word on whether anyone uses it, where nobody was told to do it anyway.
        let exclusive = if disk.uses.is_empty() { rustix::fs::OFlags::EXCL.bits() } else { 0 };
        let file = open(File::options().write(true).custom_flags(exclusive.cast_signed()))?;
        let written = write_with_bar(&mut FileMedium::new(&file), &card)
            .with_context(|| format!("{shown}: the card is not finished"))?;
        if !disk.uses.is_empty() {
            note("it was in use: take the card out before whatever uses it writes to it again");
        }
        Ok((card, Some(written)))
    }

    fn show(&self, card: &CardBlocks<'_>) {
        let size = bytes(card.image_blocks().bytes() as f64);
        let what = match self.layout {
            LayoutArg::Fat32 => format!("a FAT32 partition with {} of {size}", self.name),
            LayoutArg::Raw => format!("a raw partition with the image of {size}"),
        };
        note(&format!(
            "{} <- {what} in one piece at block {}, on a card of {}",
            self.output.display(),
            card.image_start().0,
            bytes(card.blocks().bytes() as f64)
        ));
    }

    fn refuse(&self, cautions: &[String], instead: &str) -> Result<()> {
        ensure!(
            self.yes || cautions.is_empty(),
            "{}: {}; {instead}, or give --yes to overwrite it all the same",
            self.output.display(),
            cautions.join(", ")
        );
        Ok(())
    }

    /// Asks whoever is there, now that they have seen what is on the device.
    #[cfg(target_os = "linux")]
    fn ask(&self) -> Result<()> {
        use std::io::{IsTerminal, Write};

        let shown = self.output.display();
        if self.yes {
            return Ok(());
        }
        ensure!(
            std::io::stdin().is_terminal() && std::io::stderr().is_terminal(),
            "{shown}: all of it would be overwritten, and there is nobody to ask; give --yes"
        );
        let _ = write!(std::io::stderr(), "overwrite {shown}? [y/N] ");
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        let agreed = matches!(answer.trim(), "y" | "Y" | "yes");
        ensure!(agreed, "{shown}: not overwritten");
        Ok(())
    }

    fn report(&self, card: &CardBlocks<'_>, written: Option<Written>) -> Report<'_> {
        Report {
            image: self.image.display().to_string(),
            target: self.output.display().to_string(),
            device: matches!(kind(&self.output), Ok(Kind::Device)),
            layout: self.layout,
            file: matches!(self.layout, LayoutArg::Fat32).then_some(&self.name),
            card_bytes: card.blocks().bytes(),
            partition_first_block: card.partition().start.0,
            partition_blocks: card.partition().count.0,
            image_first_block: card.image_start().0,
            image_blocks: card.image_blocks().0,
            written: written.map(|written| Times {
                blocks: written.blocks.0,
                write_seconds: written.write.as_secs_f64(),
                verify_seconds: written.verify.as_secs_f64(),
            }),
        }
    }
}

enum Kind {
    File { exists: bool },
    Device,
}

/// What there is to write to.
fn kind(target: &Path) -> Result<Kind> {
    let shown = target.display();
    let kind = match std::fs::metadata(target) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            check_path(target)?;
            ensure!(!target.starts_with("/dev"), "{shown}: there is no such device");
            return Ok(Kind::File { exists: false });
        }
        metadata => metadata.with_context(|| shown.to_string())?.file_type(),
    };
    #[cfg(unix)]
    if std::os::unix::fs::FileTypeExt::is_block_device(&kind) {
        return Ok(Kind::Device);
    }
    check_path(target)?;
    ensure!(kind.is_file(), "{shown}: expected a file or a block device, found neither");
    Ok(Kind::File { exists: true })
}

#[cfg(target_os = "linux")]
fn opening(device: &Path, error: std::io::Error) -> anyhow::Error {
    let advice = match error.kind() {
        ErrorKind::PermissionDenied => {
            "run this as root, or as a member of the device's group (often `disk`)"
        }
        ErrorKind::ResourceBusy => "the system is using it; unmount it",
        _ => "the device cannot be opened",
    };
    anyhow::Error::new(error).context(format!("{}: {advice}", device.display()))
}

fn show(found: Option<&Contents>) {
    let lines = found.map_or(&[][..], |found| &found.lines);
    lines.iter().for_each(|line| note(&format!("  {line}")));
}

fn write_with_bar(medium: &mut impl Medium, card: &CardBlocks<'_>) -> Result<Written> {
    let bar = |phase| {
        let what = match phase {
            Phase::Write => "write",
            Phase::Verify => "verify",
        };
        (phase, progress(card.end().0.into(), what))
    };
    let mut now = bar(Phase::Write);
    let written = write(medium, card, &mut |phase, blocks| {
        if phase != now.0 {
            now.1.finish_and_clear();
            now = bar(phase);
        }
        now.1.inc(blocks.into());
    });
    now.1.finish_and_clear();
    Ok(written?)
}

fn summary(written: &Written) -> String {
    let size = written.blocks.bytes() as f64;
    let rate = |time: Duration| size / 1e6 / time.as_secs_f64().max(1e-9);
    format!(
        "wrote {} at {:.1} MB/s, read back at {:.1} MB/s: every block is right",
        bytes(size),
        rate(written.write),
        rate(written.verify)
    )
}
