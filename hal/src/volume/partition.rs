//! A partition as a device of its own: how an image is read from a card without a file system.
//!
//! In: a card with a partition table. Out: [`RawPartition`], a [`BlockDevice`] whose block 0 is the
//! partition's first. Knows nothing of what is in it.

use super::mbr::{Partition, PartitionTable};
use crate::{
    Block, BlockCount, BlockDevice, BlockIdx, DeviceError, ErrorKind, OutOfRange, WriteDevice,
};
use core::fmt;

/// A [`BlockDevice`] over one partition: block 0 is its first block. A read costs what it costs on
/// the card.
#[derive(Clone, Debug)]
pub struct RawPartition<D> {
    device: D,
    place: Partition,
}

/// Why a raw partition could not be found or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum PartitionError<E> {
    /// Block 0 holds no partition table.
    NoTable,
    /// No partition that begins on the card is of type [`Partition::RAW`].
    NotFound,
    /// The card has a GUID partition table (GPT), which is not read.
    Gpt,
    /// The blocks are not all in the partition.
    OutOfRange(OutOfRange),
    /// The device failed.
    Device(E),
}

impl<E: DeviceError> PartitionError<E> {
    /// The same with the kind of the device's error: a type that does not depend on the device.
    pub fn kinds(self) -> PartitionError<ErrorKind> {
        match self {
            Self::NoTable => PartitionError::NoTable,
            Self::NotFound => PartitionError::NotFound,
            Self::Gpt => PartitionError::Gpt,
            Self::OutOfRange(e) => PartitionError::OutOfRange(e),
            Self::Device(e) => PartitionError::Device(e.kind()),
        }
    }
}

impl<E: DeviceError> DeviceError for PartitionError<E> {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoTable | Self::NotFound | Self::Gpt => ErrorKind::Other,
            Self::OutOfRange(e) => e.kind(),
            Self::Device(e) => e.kind(),
        }
    }
}

impl<E: fmt::Display> fmt::Display for PartitionError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTable => f.write_str("no partition table on the card"),
            Self::NotFound => f.write_str("no raw partition (type 0xDA) on the card"),
            Self::Gpt => f.write_str("the card has a GPT; give it an MBR partition table"),
            Self::OutOfRange(e) => write!(f, "beyond the end of the partition: {e}"),
            Self::Device(e) => e.fmt(f),
        }
    }
}

impl<E: core::error::Error> core::error::Error for PartitionError<E> {}

impl<D: BlockDevice> RawPartition<D> {
    /// Finds the first partition of type [`Partition::RAW`] that begins on the card; `scratch` is free
    /// again afterwards.
    ///
    /// # Errors
    /// When the card has no partition table, another kind of table, or no such partition, and when the
    /// device fails.
    pub fn find(mut device: D, scratch: &mut [Block; 1]) -> Result<Self, PartitionError<D::Error>> {
        device.read(BlockIdx(0), scratch).map_err(PartitionError::Device)?;
        let [block] = scratch;
        let table = PartitionTable::parse(&block.0).ok_or(PartitionError::NoTable)?;
        let blocks = device.block_count().map_err(PartitionError::Device)?;
        let of_kind = |kind| move |partition: &Partition| partition.kind == kind;
        let on_card = |partition: &Partition| partition.start.0 < blocks.0;
        match table.partitions().filter(on_card).find(of_kind(Partition::RAW)) {
            Some(place) => Ok(Self { device, place }),
            None if table.partitions().any(|p| of_kind(Partition::GPT)(&p)) => {
                Err(PartitionError::Gpt)
            }
            None => Err(PartitionError::NotFound),
        }
    }

    /// Where the partition is on its card.
    pub const fn place(&self) -> Partition {
        self.place
    }

    /// Gives the device back.
    pub fn into_inner(self) -> D {
        self.device
    }

    /// Where block `start` is on the card, if it and all of `blocks` are in the partition.
    fn on_card(
        &self,
        start: BlockIdx,
        blocks: &[Block],
    ) -> Result<BlockIdx, PartitionError<D::Error>> {
        OutOfRange::check(start, blocks, self.place.count).map_err(PartitionError::OutOfRange)?;
        Ok(self.place.start + BlockCount(start.0))
    }
}

impl<D: BlockDevice> BlockDevice for RawPartition<D> {
    type Error = PartitionError<D::Error>;

    fn block_count(&mut self) -> Result<BlockCount, Self::Error> {
        Ok(self.place.count)
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), Self::Error> {
        let start = self.on_card(start, dst)?;
        self.device.read(start, dst).map_err(PartitionError::Device)
    }

    fn read_while<R>(
        &mut self,
        start: BlockIdx,
        dst: &mut [Block],
        work: impl FnOnce() -> R,
    ) -> Result<R, Self::Error> {
        let start = self.on_card(start, dst)?;
        self.device.read_while(start, dst, work).map_err(PartitionError::Device)
    }

    fn stay_open(&mut self, gap: Option<BlockCount>) -> Result<(), Self::Error> {
        self.device.stay_open(gap).map_err(PartitionError::Device)
    }

    fn goes_on(&self) -> Option<BlockIdx> {
        let next = self.device.goes_on().filter(|&next| next >= self.place.start)?;
        Some(BlockIdx((next - self.place.start).0))
    }
}

impl<D: WriteDevice> WriteDevice for RawPartition<D> {
    fn write(&mut self, start: BlockIdx, src: &[Block]) -> Result<(), Self::Error> {
        let start = self.on_card(start, src)?;
        self.device.write(start, src).map_err(PartitionError::Device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Slice;

    fn card(kind: u8, start: u32, count: u32) -> std::vec::Vec<u8> {
        let entry = Partition { kind, start: BlockIdx(start), count: BlockCount(count) };
        let table = PartitionTable { signature: 0, entries: [None, Some(entry), None, None] };
        let mut card = table.emit().0.to_vec();
        card.extend((1..8u8).flat_map(|n| [n; 512]));
        card
    }

    #[test]
    fn blocks_are_counted_from_the_partitions_first_and_end_with_it() {
        let card = card(Partition::RAW, 3, 2);
        let mut partition = RawPartition::find(Slice::new(&card), &mut [Block::ZERO]).unwrap();
        assert_eq!(partition.block_count(), Ok(BlockCount(2)));
        let mut read = [Block::ZERO; 2];
        assert_eq!(partition.read_while(BlockIdx(0), &mut read, || 5), Ok(5));
        assert!(read[0].0 == [3; 512] && read[1].0 == [4; 512]);
        partition.read(BlockIdx(1), &mut read[..1]).unwrap();
        assert!(read[0].0 == [4; 512]);
        for start in [1, 2, u32::MAX] {
            let error = partition.read(BlockIdx(start), &mut read).unwrap_err();
            assert!(matches!(error, PartitionError::OutOfRange(e) if e.blocks == BlockCount(2)));
            assert_eq!(error.kind(), ErrorKind::OutOfRange);
        }
    }

    /// A device that remembers its last write.
    struct Last<'a>(Slice<'a>, Option<(BlockIdx, usize)>);

    impl BlockDevice for Last<'_> {
        type Error = ErrorKind;

        fn block_count(&mut self) -> Result<BlockCount, ErrorKind> {
            self.0.block_count()
        }

        fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), ErrorKind> {
            self.0.read(start, dst)
        }
    }

    impl WriteDevice for Last<'_> {
        fn write(&mut self, start: BlockIdx, src: &[Block]) -> Result<(), ErrorKind> {
            self.1 = Some((start, src.len()));
            Ok(())
        }
    }

    #[test]
    fn writes_stay_in_the_partition() {
        let card = card(Partition::RAW, 3, 2);
        let last = Last(Slice::new(&card), None);
        let mut partition = RawPartition::find(last, &mut [Block::ZERO]).unwrap();
        for (start, count) in [(0, 3), (1, 2), (2, 1), (u32::MAX, 1)] {
            let error = partition.write(BlockIdx(start), &[Block::ZERO; 3][..count]).unwrap_err();
            assert!(matches!(error, PartitionError::OutOfRange(_)));
        }
        assert_eq!(partition.device.1, None);
        partition.write(BlockIdx(0), &[Block::ZERO; 2]).unwrap();
        assert_eq!(partition.device.1, Some((BlockIdx(3), 2)));
    }

    #[test]
    fn a_table_that_lies_is_the_devices_error_not_a_panic() {
        let card = card(Partition::RAW, 7, u32::MAX);
        let mut partition = RawPartition::find(Slice::new(&card), &mut [Block::ZERO]).unwrap();
        let error = partition.read(BlockIdx(7), &mut [Block::ZERO]).unwrap_err();
        assert_eq!(error, PartitionError::Device(ErrorKind::OutOfRange));
    }

    #[test]
    fn cards_without_a_raw_partition_are_told_apart() {
        let find = |card: &[u8]| {
            RawPartition::find(Slice::new(card), &mut [Block::ZERO]).map(|_| ()).unwrap_err()
        };
        assert_eq!(find(&card(Partition::FAT32, 1, 2)), PartitionError::NotFound);
        assert_eq!(find(&card(Partition::RAW, 8, 2)), PartitionError::NotFound);
        assert_eq!(find(&card(Partition::GPT, 1, 7)), PartitionError::Gpt);
        assert_eq!(find(&[0; 1024]), PartitionError::NoTable);
        assert_eq!(find(&[]), PartitionError::Device(ErrorKind::OutOfRange));
    }

    #[test]
    fn an_entry_that_is_not_on_the_card_does_not_end_the_search() {
        let entry =
            |kind, start| Some(Partition { kind, start: BlockIdx(start), count: BlockCount(2) });
        let raw = Partition::RAW;
        let entries = [entry(Partition::GPT, 1), entry(raw, 900_000), entry(raw, 5), entry(raw, 3)];
        let mut card = PartitionTable { signature: 0, entries }.emit().0.to_vec();
        card.extend([0; 7 * 512]);
        let found = RawPartition::find(Slice::new(&card), &mut [Block::ZERO]).unwrap();
        assert_eq!(found.place().start, BlockIdx(5));
    }
}
