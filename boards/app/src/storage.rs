//! Where a board's image is: at the front of a device, in a partition, or a file on a FAT volume.
//!
//! In: a block device. Out: a device whose block 0 is the image's first. Mounting is done again after
//! a card was changed, so it is a trait and not a value. Knows nothing of what the image holds.

use crate::counted::Counted;
use core::fmt;
use ripple_hal::{
    Block, BlockCount, BlockDevice, BlockIdx, DeviceError, ErrorKind, ExtentDevice, FatError,
    FatFile, PartitionError, RawPartition, WriteDevice,
};
use ripple_kernel::{Decoder, Probe, SpillError, StepError};

/// Extents that a file may have: a card that was formatted for it has one.
pub const MOST_EXTENTS: usize = 8;

/// A place that an image is read from.
pub trait Storage {
    /// The image as a device: its block 0 is block 0 here.
    type Device<'a>: BlockDevice
    where
        Self: 'a;

    /// Finds the image. `scratch` is free again afterwards.
    ///
    /// # Errors
    /// When the device fails or holds no such file.
    fn mount(&mut self, scratch: &mut [Block]) -> Result<Mounted<Self::Device<'_>>, MountError>;

    /// Makes room for more positions where the KV cache in memory is full. Only [`Spilling`] can.
    ///
    /// # Errors
    /// The device's, and [`StepError::ContextFull`] where there is no room to be made.
    fn make_room<'a, P: Probe>(
        decoder: &mut Served<'_, Self::Device<'a>, P>,
    ) -> Made<Self::Device<'a>>
    where
        Self: 'a,
    {
        Err(StepError::ContextFull { context: decoder.context() })
    }
}

/// A storage that a text to learn from may be on.
#[cfg(feature = "learn")]
pub trait Notes: Storage {
    /// Reads the text into `text`, as much as it holds, and says how long it is; nothing where there is none.
    /// `scratch` is free again afterwards.
    ///
    /// # Errors
    /// When the device fails, or the file is damaged.
    fn notes(
        &mut self,
        text: &mut [u8],
        scratch: &mut [Block],
    ) -> Result<Option<usize>, MountError>;
}

/// A decoder on a device that counts its reads.
pub type Served<'m, D, P> = Decoder<'m, Counted<D>, P>;

/// Whether room was made.
pub type Made<D> = Result<(), StepError<<D as BlockDevice>::Error>>;

/// A storage that is written: when the memory for keys and values is full, the oldest ones go behind the
/// image, as many as [`Options::spill`](ripple_kernel::Options::spill) says. `ripple card --room-kib`
/// leaves room there.
pub struct Spilling<S>(pub S);

impl<S: Storage + 'static> Storage for Spilling<S>
where
    for<'a> S::Device<'a>: WriteDevice,
{
    type Device<'a> = S::Device<'a>;

    fn mount(&mut self, scratch: &mut [Block]) -> Result<Mounted<Self::Device<'_>>, MountError> {
        self.0.mount(scratch)
    }

    fn make_room<'a, P: Probe>(
        decoder: &mut Served<'_, Self::Device<'a>, P>,
    ) -> Made<Self::Device<'a>>
    where
        Self: 'a,
    {
        let context = decoder.context();
        decoder.spill().map_err(|error| match error {
            SpillError::Device { at, source } => StepError::Device { at, source },
            _ => StepError::ContextFull { context },
        })
    }
}

#[cfg(feature = "learn")]
impl<S: Notes + 'static> Notes for Spilling<S>
where
    for<'a> S::Device<'a>: WriteDevice,
{
    fn notes(
        &mut self,
        text: &mut [u8],
        scratch: &mut [Block],
    ) -> Result<Option<usize>, MountError> {
        self.0.notes(text, scratch)
    }
}

/// An image that was found.
pub struct Mounted<D> {
    /// Its block 0 is the image's first.
    pub device: D,
    /// Runs of blocks that it lies in.
    pub pieces: usize,
}

/// Why an image was not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum MountError {
    /// The device failed.
    Device(ErrorKind),
    /// The file was not found, or cannot be listed.
    File(FatError<ErrorKind>),
    /// The partition was not found.
    Partition(PartitionError<ErrorKind>),
}

impl MountError {
    /// The kind of the device's error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Device(kind) => *kind,
            Self::File(error) => error.kind(),
            Self::Partition(error) => error.kind(),
        }
    }
}

impl fmt::Display for MountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(kind) => kind.fmt(f),
            Self::File(error) => error.fmt(f),
            Self::Partition(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for MountError {}

/// An image that begins at block 0 of its device.
pub struct Raw<D>(pub D);

impl<D: BlockDevice> Storage for Raw<D> {
    type Device<'a>
        = &'a mut D
    where
        D: 'a;

    fn mount(&mut self, _: &mut [Block]) -> Result<Mounted<&mut D>, MountError> {
        self.0.block_count().map_err(|e| MountError::Device(e.kind()))?;
        Ok(Mounted { device: &mut self.0, pieces: 1 })
    }
}

#[cfg(feature = "learn")]
impl<D: BlockDevice> Notes for Raw<D> {
    fn notes(&mut self, _: &mut [u8], _: &mut [Block]) -> Result<Option<usize>, MountError> {
        Ok(None)
    }
}

/// An image that is a file in the root directory of a FAT volume.
pub struct Fat<D> {
    device: D,
    name: &'static str,
}

impl<D: BlockDevice> Fat<D> {
    /// Looks for `name`, such as `RIPPLE.IMG`.
    pub const fn new(device: D, name: &'static str) -> Self {
        Self { device, name }
    }
}

impl<D: BlockDevice> Storage for Fat<D> {
    type Device<'a>
        = ExtentDevice<&'a mut D, MOST_EXTENTS>
    where
        D: 'a;

    fn mount(&mut self, scratch: &mut [Block]) -> Result<Mounted<Self::Device<'_>>, MountError> {
        // The kind is all that is kept of a device's error, so that this type does not depend on it.
        let mut kinds = Kinds(&mut self.device);
        let file = FatFile::resolve(&mut kinds, self.name, scratch).map_err(MountError::File)?;
        let pieces = file.extents().as_slice().len();
        Ok(Mounted { device: ExtentDevice::new(&mut self.device, file), pieces })
    }
}

/// The file of a text to learn from, beside the image.
#[cfg(feature = "learn")]
pub const NOTES: &str = "NOTES.TXT";

#[cfg(feature = "learn")]
impl<D: BlockDevice> Notes for Fat<D> {
    fn notes(
        &mut self,
        text: &mut [u8],
        scratch: &mut [Block],
    ) -> Result<Option<usize>, MountError> {
        let mut kinds = Kinds(&mut self.device);
        let file = match FatFile::<MOST_EXTENTS>::resolve(&mut kinds, NOTES, scratch) {
            Ok(file) => file,
            Err(FatError::NotFound) => return Ok(None),
            Err(error) => return Err(MountError::File(error)),
        };
        let length = usize::try_from(file.bytes()).unwrap_or(usize::MAX);
        let mut device = ExtentDevice::new(kinds, file);
        let (mut at, mut rest) = (BlockIdx(0), text.get_mut(..length).unwrap_or_default());
        while !rest.is_empty() && !scratch.is_empty() {
            let blocks = rest.len().div_ceil(size_of::<Block>()).min(scratch.len());
            let piece = scratch.get_mut(..blocks).unwrap_or_default();
            device.read(at, piece).map_err(|error| MountError::Device(error.kind()))?;
            at = at + BlockCount(piece.len() as u32);
            let bytes = Block::bytes(piece);
            rest.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            rest = rest.get_mut(bytes.len()..).unwrap_or_default();
        }
        Ok(Some(length))
    }
}

/// An image in a raw partition, as `ripple card --layout raw` writes it.
pub struct Partition<D>(D);

impl<D: BlockDevice> Partition<D> {
    /// Looks on `device`.
    pub const fn new(device: D) -> Self {
        Self(device)
    }
}

impl<D: BlockDevice> Storage for Partition<D> {
    type Device<'a>
        = RawPartition<&'a mut D>
    where
        D: 'a;

    fn mount(&mut self, scratch: &mut [Block]) -> Result<Mounted<Self::Device<'_>>, MountError> {
        let first = scratch.first_chunk_mut().ok_or(MountError::Device(ErrorKind::Other))?;
        let found = RawPartition::find(&mut self.0, first);
        let device = found.map_err(|error| MountError::Partition(error.kinds()))?;
        Ok(Mounted { device, pieces: 1 })
    }
}

/// A device of whose errors only the kind is left.
struct Kinds<'a, D>(&'a mut D);

impl<D: BlockDevice> BlockDevice for Kinds<'_, D> {
    type Error = ErrorKind;

    fn block_count(&mut self) -> Result<BlockCount, ErrorKind> {
        self.0.block_count().map_err(|e| e.kind())
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), ErrorKind> {
        self.0.read(start, dst).map_err(|e| e.kind())
    }
}
