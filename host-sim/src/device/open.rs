//! Opening what an image lies on: a file, a block device, or a copy of a card.
//!
//! In: a path. Out: [`Opened`]: how long it is, what its reads must be aligned to, and whether they pass by the page
//! cache; or why it is refused, and the fix.

use crate::machine::pages::{PAGE_BYTES, PageBlocks};
use crate::process::failure::{bad_input, check_there};
use anyhow::{Context, Result, anyhow};
use ripple_hal::BLOCK_BYTES;
use std::fs::File;
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::path::Path;

/// How reads go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Through {
    /// Past the page cache: from the device, each time.
    Direct,
    /// Past it, of a file system that holds its files in memory: no disk is read at all.
    Memory,
    /// Through the page cache: what it holds is not read again.
    PageCache,
}

impl Through {
    /// What that means for a time that was measured.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Direct => "read past the page cache",
            Self::Memory => "in a file system in memory: times are those of memory, not of a disk",
            Self::PageCache => {
                "read through the page cache: times are those of memory where the system holds the file"
            }
        }
    }
}

/// An open file or block device.
#[derive(Debug)]
pub struct Opened {
    file: File,
    bytes: u64,
    /// Bytes behind its last whole sector: a device cannot give them.
    lost: u64,
    sector: usize,
    through: Through,
}

impl Opened {
    /// Opens what is at `path`; `direct`: whether to try to pass by the page cache.
    ///
    /// # Errors
    /// When it is not there, is neither a file nor a block device, may not be read, or does not consist of blocks.
    pub fn at(path: &Path, direct: bool) -> Result<Self> {
        check_there(path)?;
        let open = || -> Result<Self> {
            is_readable_kind(path)?;
            let file = File::open(path).map_err(|error| match error.kind() {
                ErrorKind::PermissionDenied => anyhow!(
                    "it may not be read; run this as a user who may, of a card reader as a member of its group, \
                     `disk` on most systems"
                ),
                _ => anyhow!(error),
            })?;
            let bytes = (&file).seek(SeekFrom::End(0)).context("its length is not known")?;
            if bytes == 0 {
                return Err(anyhow!("it is empty: expected an image, or a card with one"));
            }
            if bytes % BLOCK_BYTES as u64 != 0 {
                return Err(anyhow!(
                    "it has {bytes} bytes, expected whole blocks of {BLOCK_BYTES}: it was cut short, or something \
                     was put behind it; copy it again"
                ));
            }
            let plain = Self { file, bytes, lost: 0, sector: 1, through: Through::PageCache };
            let sector = device_sector(&plain.file);
            let plain = plain.in_whole_sectors(sector);
            Ok(if direct { plain.past_the_cache(path) } else { plain })
        };
        open().with_context(|| path.display().to_string()).map_err(bad_input)
    }

    /// The same without what is behind the last whole sector of so many bytes: a loop device over a file has any length,
    /// and fails where that is read.
    pub(super) fn in_whole_sectors(self, sector: usize) -> Self {
        let lost = self.bytes % sector.max(1) as u64;
        Self { bytes: self.bytes - lost, lost, ..self }
    }

    /// The same with reads that pass by the page cache, where they can.
    fn past_the_cache(self, path: &Path) -> Self {
        let Some((opened, asked)) = direct(path, &self.file) else { return self };
        let through = if in_memory(&self.file) { Through::Memory } else { Through::Direct };
        // What the system says, or what it turns out to take.
        let found = asked.into_iter().chain([(512, 512), (PAGE_BYTES, PAGE_BYTES)]);
        let mut direct = Self { file: opened, sector: 0, through, ..self };
        for (sector, memory) in found {
            let usable = |n: usize| n.is_power_of_two() && n <= PAGE_BYTES;
            if !usable(sector) || !usable(memory) {
                continue;
            }
            direct.sector = sector;
            let mut page = PageBlocks::default();
            if read_at(&direct, page.at_least(sector), 0, 1).is_ok() {
                return direct;
            }
        }
        self
    }

    /// The same, with sectors of so many bytes.
    #[cfg(test)]
    pub(super) fn with_sector(self, sector: usize) -> Self {
        Self { sector, ..self }
    }

    /// Its bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes behind its last whole sector, which are not read.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// What offsets and lengths of reads are multiples of.
    pub fn sector(&self) -> usize {
        self.sector
    }

    /// How its reads go.
    pub fn through(&self) -> Through {
        self.through
    }
}

/// Fills `bytes` from byte `at` on; only `needed` of them must be there.
pub(super) fn read_at(opened: &Opened, bytes: &mut [u8], at: u64, needed: usize) -> io::Result<()> {
    let mut done = 0;
    while done < needed {
        match pread(&opened.file, &mut bytes[done..], at + done as u64) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                done += count;
                // A part of a sector is the end of the file.
                if count % opened.sector != 0 && done < needed {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(unix)]
fn pread(file: &File, bytes: &mut [u8], at: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, bytes, at)
}

#[cfg(windows)]
fn pread(file: &File, bytes: &mut [u8], at: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, bytes, at)
}

#[cfg(not(any(unix, windows)))]
fn pread(mut file: &File, bytes: &mut [u8], at: u64) -> io::Result<usize> {
    file.seek(SeekFrom::Start(at))?;
    io::Read::read(&mut file, bytes)
}

/// Refuses what is not read in blocks, before it is opened: opening a pipe waits for whoever writes to it.
fn is_readable_kind(path: &Path) -> Result<()> {
    let kind = std::fs::metadata(path)?.file_type();
    #[cfg(unix)]
    let (blocks, other) = {
        use std::os::unix::fs::FileTypeExt;
        (kind.is_block_device(), kind.is_char_device() || kind.is_fifo() || kind.is_socket())
    };
    #[cfg(not(unix))]
    let (blocks, other) = (false, false);
    let found = match () {
        () if kind.is_file() || blocks => return Ok(()),
        () if kind.is_dir() => "a folder",
        () if other => "a stream, which has no blocks",
        () => "something else",
    };
    Err(anyhow!("expected an image, a card reader's device or a copy of a card, found {found}"))
}

/// Opens `path` once more, past the page cache; and what reads must be aligned to, where the system says it: offsets
/// and lengths, and memory.
#[cfg(target_os = "linux")]
fn direct(path: &Path, plain: &File) -> Option<(File, Option<(usize, usize)>)> {
    use rustix::fs::{AtFlags, OFlags, StatxFlags, ioctl_blksszget, statx};
    use std::os::unix::fs::OpenOptionsExt;
    let flags = i32::try_from(OFlags::DIRECT.bits()).ok()?;
    let file = File::options().read(true).custom_flags(flags).open(path).ok()?;
    let said = statx(plain, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).ok();
    let said = said.filter(|said| {
        said.stx_mask & StatxFlags::DIOALIGN.bits() != 0 && said.stx_dio_offset_align > 0
    });
    let asked = match said {
        Some(said) => Some((said.stx_dio_offset_align as usize, said.stx_dio_mem_align as usize)),
        None => ioctl_blksszget(plain).ok().map(|sector| (sector as usize, sector as usize)),
    };
    Some((file, asked))
}

#[cfg(not(target_os = "linux"))]
fn direct(_: &Path, _: &File) -> Option<(File, Option<(usize, usize)>)> {
    None
}

/// The sector of a block device; 1 of what is none, or where the system does not say.
#[cfg(target_os = "linux")]
fn device_sector(file: &File) -> usize {
    use std::os::unix::fs::FileTypeExt;
    let is_device = file.metadata().is_ok_and(|found| found.file_type().is_block_device());
    let sector = if is_device { rustix::fs::ioctl_blksszget(file).ok() } else { None };
    sector.map_or(1, |sector| sector as usize)
}

#[cfg(not(target_os = "linux"))]
fn device_sector(_: &File) -> usize {
    1
}

/// Whether the file system holds its files in memory.
#[cfg(target_os = "linux")]
fn in_memory(file: &File) -> bool {
    // statfs(2): TMPFS_MAGIC, RAMFS_MAGIC.
    const MAGICS: [u64; 2] = [0x0102_1994, 0x8584_58f6];
    // Where the name of a block device lies says nothing of the device.
    let is_file = file.metadata().is_ok_and(|found| found.is_file());
    is_file && rustix::fs::fstatfs(file).is_ok_and(|of| MAGICS.contains(&(of.f_type as u64)))
}

#[cfg(not(target_os = "linux"))]
fn in_memory(_: &File) -> bool {
    false
}
