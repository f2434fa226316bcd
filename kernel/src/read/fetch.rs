//! The only read loop: one extent is on its way while the one before it is used.
//!
//! In: extents. Out: their bytes, handed to a closure in order. Knows nothing of what they mean.

use crate::image::{Record, Table};
use crate::read::collapse::{Extent, Merging, collapse};
use crate::read::fronts::Fronts;
use crate::read::probe::{Probe, Stage};
use core::ops::Range;
use ripple_hal::{BLOCK_BYTES, Block, BlockCount, BlockDevice, BlockIdx, Coming};

/// Why bytes did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum FetchError<E> {
    /// The device failed.
    Device {
        /// First block of the read.
        at: BlockIdx,
        /// The device's error.
        source: E,
    },
    /// A record that arrived is not the one that was packed.
    Corrupt {
        /// First block of its table.
        table: BlockIdx,
        /// Its number there.
        slot: u32,
    },
}

/// A record that fails its check.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Corrupt {
    pub slot: u32,
}

/// What is done while reads are on their way, and with the bytes of each. Not a type parameter, as
/// [`Visit`] is not: the loops that call them are large, and there are ten of these.
pub(crate) type Work<'a, P> =
    dyn FnMut(&mut P, Option<(&Extent, &[u8])>) -> Result<(), Corrupt> + 'a;

/// What is done with each record.
pub(crate) type Visit<'a, P> = dyn FnMut(&mut P, u32, Record<'_>) + 'a;

/// What reading needs: the device, the buffer, and who watches.
pub(crate) struct Io<'a, D, P> {
    pub device: &'a mut D,
    /// Two halves.
    pub staging: &'a mut [Block],
    /// What pages are read into together.
    pub fronts: Fronts<'a>,
    pub probe: &'a mut P,
    /// Most unwanted blocks read through.
    pub gap: BlockCount,
    /// Most blocks of staging ever used.
    pub peak: &'a mut u32,
}

/// Where records come from.
pub(crate) enum Records<'b, 'a, D, P> {
    /// The mapped prefix, and the device behind it.
    Io(&'b mut Io<'a, D, P>),
    /// The mapped prefix alone, while the device reads ahead.
    Mapped(&'b mut P),
}

/// An extent that was read ahead and lies in the front half of staging, for the next fetch.
pub(crate) struct Arrived(Extent);

impl<D: BlockDevice, P: Probe> Records<'_, '_, D, P> {
    /// The observer.
    pub fn probe(&mut self) -> &mut P {
        match self {
            Self::Io(io) => io.probe,
            Self::Mapped(probe) => probe,
        }
    }

    /// Visits the records `range` of `table` in ascending order: the mapped ones in place, the
    /// others with long sequential reads.
    pub fn for_each(
        &mut self,
        stage: Stage,
        table: &Table<'_>,
        range: Range<u32>,
        visit: &mut Visit<'_, P>,
    ) -> Result<(), FetchError<D::Error>> {
        let mapped = table.mapped_records;
        let io = match self {
            Self::Io(io) if mapped < range.end => io,
            _ => {
                return visit_mapped(self.probe(), table, range, visit)
                    .map_err(|Corrupt { slot }| FetchError::Corrupt { table: table.start, slot });
            }
        };
        let first = range.start.max(mapped);
        let stride = table.layout.stride();
        let mut extents = collapse(first..range.end, stride, BlockCount(0), io.half());
        io.fetch(stage, table.start, None, &mut extents, &mut |probe, arrived| {
            let Some((extent, bytes)) = arrived else {
                return visit_mapped(probe, table, range.start..mapped, visit);
            };
            for slot in extent.first_slot..extent.first_slot + extent.wanted {
                let record = at_slot(bytes, slot, stride, extent.start)
                    .and_then(|bytes| table.arrived(slot, bytes));
                visit(probe, slot, record.ok_or(Corrupt { slot })?);
            }
            Ok(())
        })
    }
}

fn visit_mapped<P>(
    probe: &mut P,
    table: &Table<'_>,
    range: Range<u32>,
    visit: &mut Visit<'_, P>,
) -> Result<(), Corrupt> {
    for slot in range {
        visit(probe, slot, table.mapped(slot).ok_or(Corrupt { slot })?);
    }
    Ok(())
}

impl<'a, D: BlockDevice, P: Probe> Io<'a, D, P> {
    /// All records there are.
    pub fn records(&mut self) -> Records<'_, 'a, D, P> {
        Records::Io(self)
    }

    /// Blocks of the longest extent.
    pub fn half(&self) -> BlockCount {
        BlockCount((self.staging.len() / 2) as u32)
    }

    /// When two reads of records of `stride` bytes are merged.
    pub fn merging(&self, stride: u32) -> Merging {
        Merging { stride, gap: self.gap, longest: self.half() }
    }

    /// Tells the device of `extents` of the table that starts at `table`.
    pub fn will_read(
        &mut self,
        table: BlockIdx,
        extents: impl Iterator<Item = Extent>,
        coming: Coming,
    ) {
        if D::LOOKS_AHEAD {
            for Extent { start, blocks, .. } in extents {
                self.device.will_read(table + BlockCount(start), blocks, coming);
            }
        }
    }

    /// Tells the device of the records `range` of `table`, but for those that are mapped.
    pub fn will_read_records(&mut self, table: &Table<'_>, range: Range<u32>, coming: Coming) {
        let slots = range.start.max(table.mapped_records)..range.end;
        let longest = BlockCount(u32::MAX);
        let all = collapse(slots, table.layout.stride(), BlockCount(0), longest);
        self.will_read(table.start, all, coming);
    }

    /// Reads `extent` of `table`, the first of the next fetch, while `work` is on something else that
    /// needs only what is mapped.
    pub fn read_ahead<T>(
        &mut self,
        stage: Stage,
        table: BlockIdx,
        extent: Extent,
        work: impl FnOnce(&mut Records<'_, '_, D, P>) -> Result<T, FetchError<D::Error>>,
    ) -> Result<(T, Arrived), FetchError<D::Error>> {
        self.probe.extent(stage, &extent);
        let blocks = extent.blocks.0;
        *self.peak = (*self.peak).max(2 * blocks);
        let dst = self.staging.get_mut(..blocks as usize).unwrap_or_default();
        let at = table + BlockCount(extent.start);
        let probe = &mut *self.probe;
        let done = self
            .device
            .read_while(at, dst, || work(&mut Records::Mapped(probe)))
            .map_err(|source| FetchError::Device { at, source })??;
        Ok((done, Arrived(extent)))
    }

    /// Reads `extents` of `table` into the staging halves in turn; one that was read `ahead` comes
    /// before them. `work` is called with nothing first, while the first extent is on its way (or at
    /// once, if there is none or it was read ahead), then with each extent and its bytes, while the
    /// next one is on its way.
    pub fn fetch(
        &mut self,
        stage: Stage,
        table: BlockIdx,
        ahead: Option<Arrived>,
        extents: &mut dyn Iterator<Item = Extent>,
        work: &mut Work<'_, P>,
    ) -> Result<(), FetchError<D::Error>> {
        let corrupt = |Corrupt { slot }| FetchError::Corrupt { table, slot };
        let half = self.staging.len() / 2;
        let (mut front, mut back) = self.staging.split_at_mut(half);
        let mut arrived = ahead.map(|Arrived(extent)| extent);
        if arrived.is_some() {
            work(self.probe, None).map_err(corrupt)?;
        }
        for extent in extents {
            self.probe.extent(stage, &extent);
            let blocks = extent.blocks.0;
            *self.peak = (*self.peak).max(2 * blocks);
            // An extent never exceeds a half: `open` has checked the longest record against it.
            let dst = back.get_mut(..blocks as usize).unwrap_or_default();
            let at = table + BlockCount(extent.start);
            let probe = &mut *self.probe;
            let last = arrived.as_ref().map(|extent| (extent, Block::bytes(front)));
            self.device
                .read_while(at, dst, || work(probe, last))
                .map_err(|source| FetchError::Device { at, source })?
                .map_err(corrupt)?;
            core::mem::swap(&mut front, &mut back);
            arrived = Some(extent);
        }
        let last = arrived.as_ref().map(|extent| (extent, Block::bytes(front)));
        work(self.probe, last).map_err(corrupt)
    }
}

/// The bytes of record `slot` in `bytes`, which start at block `start` of its table.
pub(crate) fn at_slot(bytes: &[u8], slot: u32, stride: u32, start: u32) -> Option<&[u8]> {
    let at = u64::from(slot) * u64::from(stride);
    let at = at.checked_sub(u64::from(start) * BLOCK_BYTES as u64)?;
    bytes.get(at as usize..)?.get(..stride as usize)
}
