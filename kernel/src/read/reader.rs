//! Reading records for other purposes than decoding: all of a range, or those that are wanted.
//!
//! In: a device, a buffer, tables of an [`Image`](crate::image::Image). Out: their records, each handed to a
//! closure once, in ascending order. Knows nothing of what they are used for.

use crate::image::{Record, Table};
use crate::read::fetch::{Corrupt, Io, at_slot};
use crate::read::fronts::{Fronts, Held};
use crate::read::probe::{Probe, Stage};
use core::ops::Range;
use ripple_hal::{Block, BlockCount, BlockDevice};

pub use crate::read::fetch::FetchError;

/// What is read from, and who watches.
pub struct Reader<'m, D, P = ()> {
    device: D,
    /// Two halves, each at least as long as the longest record that is read.
    staging: &'m mut [Block],
    probe: P,
    gap: BlockCount,
    peak: u32,
    /// Nothing: pages are not read here.
    fronts: Held,
}

impl<'m, D: BlockDevice, P: Probe> Reader<'m, D, P> {
    /// `staging`: as [`MemoryPlan`](crate::MemoryPlan) has it. `gap`: as
    /// [`Options::collapse_gap`](crate::Options::collapse_gap).
    pub fn new(device: D, staging: &'m mut [Block], gap: BlockCount, probe: P) -> Self {
        Self { device, staging, probe, gap, peak: 0, fronts: Held::default() }
    }

    /// The observer.
    pub fn probe(&mut self) -> &mut P {
        &mut self.probe
    }

    /// The device, between reads.
    pub fn device_mut(&mut self) -> &mut D {
        &mut self.device
    }

    /// The device and the staging, between reads: for who moves blocks of its own.
    pub fn between(&mut self) -> (&mut D, &mut [Block]) {
        (&mut self.device, self.staging)
    }

    /// Most blocks of staging that were ever used.
    pub fn peak(&self) -> BlockCount {
        BlockCount(self.peak)
    }

    /// What was lent.
    pub fn into_parts(self) -> (D, &'m mut [Block], P) {
        (self.device, self.staging, self.probe)
    }

    /// Visits the records `range` of `table`.
    ///
    /// # Errors
    /// When the device fails, or a record arrives damaged.
    pub fn each(
        &mut self,
        stage: Stage,
        table: &Table<'_>,
        range: Range<u32>,
        visit: &mut dyn FnMut(&mut P, u32, Record<'_>),
    ) -> Result<(), FetchError<D::Error>> {
        self.io().records().for_each(stage, table, range, visit)
    }

    /// Visits the records `slots` of `table`, which ascend. Neighbours are read with one command, and what
    /// lies between them as far as the gap allows; nothing else is read.
    ///
    /// # Errors
    /// As [`each`](Self::each).
    pub fn wanted(
        &mut self,
        stage: Stage,
        table: &Table<'_>,
        slots: impl Iterator<Item = u32> + Clone,
        visit: &mut dyn FnMut(&mut P, u32, Record<'_>),
    ) -> Result<(), FetchError<D::Error>> {
        let (mapped, stride) = (table.mapped_records, table.layout.stride());
        let mut io = self.io();
        let in_place = slots.clone().take_while(|&slot| slot < mapped);
        let mut coming = slots.skip_while(|&slot| slot < mapped);
        let mut extents = io.merging(stride).extents(coming.clone());
        io.fetch(stage, table.start, None, &mut extents, &mut |probe, arrived| {
            let Some((extent, bytes)) = arrived else {
                for slot in in_place.clone() {
                    visit(probe, slot, table.mapped(slot).ok_or(Corrupt { slot })?);
                }
                return Ok(());
            };
            for _ in 0..extent.wanted {
                let Some(slot) = coming.next() else { break };
                let record = at_slot(bytes, slot, stride, extent.start)
                    .and_then(|bytes| table.arrived(slot, bytes));
                visit(probe, slot, record.ok_or(Corrupt { slot })?);
            }
            Ok(())
        })
    }

    fn io(&mut self) -> Io<'_, D, P> {
        Io {
            device: &mut self.device,
            staging: self.staging,
            fronts: Fronts { blocks: &mut [], held: &mut self.fronts },
            probe: &mut self.probe,
            gap: self.gap,
            peak: &mut self.peak,
        }
    }
}
