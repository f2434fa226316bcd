//! Finds a file on a FAT16 or FAT32 volume once, as extents; reading then needs no file system.
//!
//! In: a device, a name in the root directory. Out: [`FatFile`], where the file's blocks are.
//! Knows nothing of how they are read afterwards, and never writes.
//!
//! Everything here comes from the card, so every number is checked before it is used. Layout:
//! Microsoft, "FAT: General Overview of On-Disk Format", 1.03, 2000.

mod volume;

use super::extents::Extents;
use crate::{Block, BlockCount, BlockDevice, DeviceError, ErrorKind};
use core::fmt;
use volume::{Volume, Window};

/// A file's place on its device: at most `N` extents, and its length.
#[derive(Clone, Debug)]
pub struct FatFile<const N: usize> {
    extents: Extents<N>,
    bytes: u32,
}

/// Why a file could not be found, or its blocks not be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum FatError<E> {
    /// No primary partition, or where there are none not the card itself, holds a FAT volume with blocks
    /// of 512 bytes.
    NoFilesystem,
    /// The card has a GUID partition table (GPT), which is not read: give it an MBR partition table.
    Gpt,
    /// The volume is exFAT, as cards of 64 GB and more are sold: format it as FAT32.
    ExFat,
    /// The volume is FAT12, too small for a model: format it as FAT16 or FAT32.
    Fat12,
    /// The name is not of the form `NAME.EXT`, 1 to 8 and 0 to 3 characters.
    BadName,
    /// No file of that name is in the root directory of any FAT volume on the card.
    NotFound,
    /// The file is in more pieces than can be listed: copy it onto a freshly formatted card.
    TooFragmented {
        /// How many extents there is room for.
        max: usize,
    },
    /// A chain of clusters leaves the volume, loops, or ends before the file does.
    CorruptChain {
        /// The cluster whose successor is wrong; 0 when the directory entry itself is.
        cluster: u32,
    },
    /// `scratch` is empty.
    NoScratch,
    /// The device failed.
    Device(E),
}

impl<E: DeviceError> DeviceError for FatError<E> {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Device(e) => e.kind(),
            _ => ErrorKind::Other,
        }
    }
}

impl<E: fmt::Display> fmt::Display for FatError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFilesystem => f.write_str("no FAT file system on the card"),
            Self::Gpt => f.write_str("the card has a GPT; give it an MBR partition table"),
            Self::ExFat => f.write_str("the card is exFAT; format it as FAT32"),
            Self::Fat12 => f.write_str("the card is FAT12; format it as FAT16 or FAT32"),
            Self::BadName => f.write_str("the file name is not of the form NAME.EXT"),
            Self::NotFound => f.write_str("no file of that name in a FAT root directory"),
            Self::TooFragmented { max } => write!(f, "the file is in more than {max} pieces"),
            Self::CorruptChain { cluster } => {
                write!(f, "the cluster chain is damaged at cluster {cluster}")
            }
            Self::NoScratch => f.write_str("no scratch block was lent"),
            Self::Device(e) => e.fmt(f),
        }
    }
}

impl<E: core::error::Error> core::error::Error for FatError<E> {}

impl<const N: usize> FatFile<N> {
    /// Finds `name` (such as `MODEL.RPL`, in any case) in the root directory and lists its extents.
    ///
    /// It is looked for on every FAT volume of the partition table in block 0, in the order of the table;
    /// entries that begin beyond the end of the card are passed over. A card without partitions is one
    /// volume; block 0 of a card with partitions is none, whatever an earlier use left there. The
    /// file-allocation table is read ahead by as many blocks as `scratch` has, one at least: a lent
    /// staging buffer makes this a few long reads. `scratch` is free again afterwards.
    ///
    /// # Errors
    /// When there is no such volume or file, when its chain is damaged or in more than `N` extents,
    /// and when the device fails.
    pub fn resolve<D: BlockDevice>(
        device: &mut D,
        name: &str,
        scratch: &mut [Block],
    ) -> Result<Self, FatError<D::Error>> {
        let name = short_name(name).ok_or(FatError::BadName)?;
        if scratch.is_empty() {
            return Err(FatError::NoScratch);
        }
        let mut window = Window::new(device, scratch);
        let (volume, entry) = Volume::find(&mut window, &name)?;
        let extents = volume.extents(&mut window, &entry)?;
        Ok(Self { extents, bytes: entry.bytes })
    }

    /// Where the file's blocks are.
    pub const fn extents(&self) -> &Extents<N> {
        &self.extents
    }

    /// The length in bytes.
    pub const fn bytes(&self) -> u64 {
        self.bytes as u64
    }

    /// The length in blocks, the last one perhaps in part.
    pub const fn blocks(&self) -> BlockCount {
        BlockCount::for_bytes(self.bytes())
    }
}

/// Whether [`FatFile::resolve`] can look for `name`: `NAME.EXT`, 1 to 8 and 0 to 3 characters.
pub fn is_fat_name(name: &str) -> bool {
    short_name(name).is_some()
}

/// `NAME.EXT` as directories store it: upper case, padded with spaces, without the dot.
fn short_name(name: &str) -> Option<[u8; 11]> {
    let (stem, extension) = name.split_once('.').unwrap_or((name, ""));
    let allowed = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'()-@^_`{}~".contains(&c);
    let fits = !stem.is_empty() && stem.len() <= 8 && extension.len() <= 3;
    if !fits || !stem.bytes().chain(extension.bytes()).all(allowed) {
        return None;
    }
    let mut padded = [b' '; 11];
    let (front, back) = padded.split_at_mut_checked(8)?;
    for (to, from) in front.iter_mut().zip(stem.bytes()) {
        *to = from.to_ascii_uppercase();
    }
    for (to, from) in back.iter_mut().zip(extension.bytes()) {
        *to = from.to_ascii_uppercase();
    }
    Some(padded)
}

#[cfg(test)]
mod tests {
    use super::short_name;

    #[test]
    fn names_are_padded_and_upper_case() {
        assert_eq!(short_name("model.rpl").as_ref(), Some(b"MODEL   RPL"));
        assert_eq!(short_name("A").as_ref(), Some(b"A          "));
        assert_eq!(short_name("ABCDEFGH.IJK").as_ref(), Some(b"ABCDEFGHIJK"));
        assert_eq!(short_name("LONG~1.BIN").as_ref(), Some(b"LONG~1  BIN"));
    }

    #[test]
    fn names_that_cannot_be_stored_are_refused() {
        for name in ["", ".", ".BIN", "NINECHARS.BIN", "A.LONG", "A B.BIN", "A/B", "A.B.C", "Å.BIN"]
        {
            assert_eq!(short_name(name), None, "{name}");
        }
    }
}
