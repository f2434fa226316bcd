//! The reader of a context page: its front, which may have come with those of other layers, and where the rest is.
//!
//! In: where the page is, and the misses of its layer. Out: the misses that arrived with the
//! directory, handed on; for the others, whether they are read from the page. Knows nothing of what
//! bundles hold.

use crate::image::Page;
use crate::read::collapse::{Collapse, Extent, Merging};
use crate::read::fetch::{Arrived, Corrupt, FetchError, Io, Records, Work, at_slot};
use crate::read::fronts::Held;
use crate::read::misses::{Misses, Place};
use crate::read::probe::{Probe, Stage};
use crate::read::visitor::{Found, Visitor};
use core::ops::Range;
use ripple_hal::{Block, BlockCount, BlockDevice, BlockIdx};

/// See the [module](self).
#[derive(Clone, Copy)]
pub(crate) struct PageReader {
    page: Page,
    merging: Merging,
    /// Strides before the first bundle.
    directory: u32,
}

/// A page whose front was read ahead: its first extent, or all of it with others.
pub(crate) struct Begun {
    pub page: PageReader,
    pub first: Option<Arrived>,
}

impl PageReader {
    /// A reader of `page`, if the directory fits a staging half or is read with others: it must arrive in one piece.
    pub fn new(page: Page, merging: Merging) -> Option<Self> {
        let directory = Page::directory_strides(page.bundles, merging.stride);
        let bytes = u64::from(directory) * u64::from(merging.stride);
        let whole = page.together.0 > 0 || bytes <= merging.longest.bytes();
        whole.then_some(Self { page, merging, directory })
    }

    /// Blocks from `start` to the rest of the page, which lies behind it.
    pub fn offset(&self, start: BlockIdx) -> u32 {
        self.page.rest.0.saturating_sub(start.0)
    }

    /// Bundles that are in the front and not in the rest.
    pub fn ahead(&self) -> u32 {
        self.page.ahead.into()
    }

    /// Strides of the front.
    fn strides(&self) -> u32 {
        self.directory + self.ahead()
    }

    /// The reads of the front by itself, as few as fit staging.
    fn front(&self) -> Collapse<Range<u32>> {
        Merging { gap: BlockCount(0), ..self.merging }.extents(0..self.strides())
    }

    /// Whether the front came with that of a layer before.
    pub fn is_held<D, P>(&self, io: &Io<'_, D, P>) -> bool {
        let blocks = Page::front_blocks(self.page.bundles, self.page.ahead, self.merging.stride);
        self.page.together.0 > 0 && io.fronts.held.has(self.page.start, blocks)
    }

    /// Reads the front with others, or its first extent, while `work` is on something else.
    pub fn read_ahead<D: BlockDevice, P: Probe, T>(
        self,
        io: &mut Io<'_, D, P>,
        work: impl FnOnce(&mut Records<'_, '_, D, P>) -> Result<T, FetchError<D::Error>>,
    ) -> Result<(T, Option<Begun>), FetchError<D::Error>> {
        if self.page.together.0 > 0 {
            let done = self.read_together(io, work)?;
            return Ok((done, Some(Begun { page: self, first: None })));
        }
        let Some(first) = self.front().next() else {
            return Ok((work(&mut Records::Io(io))?, None));
        };
        let (done, first) = io.read_ahead(Stage::Ffn, self.page.start, first, work)?;
        Ok((done, Some(Begun { page: self, first: Some(first) })))
    }

    /// Reads the front and those behind it that fit the buffer, unless it is there, while `work` is on something
    /// else.
    fn read_together<D: BlockDevice, P: Probe, T>(
        &self,
        io: &mut Io<'_, D, P>,
        work: impl FnOnce(&mut Records<'_, '_, D, P>) -> Result<T, FetchError<D::Error>>,
    ) -> Result<T, FetchError<D::Error>> {
        if self.is_held(io) {
            return work(&mut Records::Io(io));
        }
        let Page { start, together, .. } = self.page;
        // What it held is written over.
        *io.fronts.held = Held::default();
        let wanted = self.strides();
        io.probe.extent(Stage::Ffn, &Extent { start: 0, blocks: together, first_slot: 0, wanted });
        *io.peak = (*io.peak).max((io.staging.len() as u32).saturating_add(together.0));
        let dst = io.fronts.blocks.get_mut(..together.0 as usize).unwrap_or_default();
        let probe = &mut *io.probe;
        let done = io
            .device
            .read_while(start, dst, || work(&mut Records::Mapped(probe)))
            .map_err(|source| FetchError::Device { at: start, source })?;
        *io.fronts.held = Held { start, blocks: together };
        done
    }

    /// Whether reading the misses at their slots, in the table at `start`, would take longer than these reads
    /// alone, if a command goes on with block `next`.
    pub fn pays(&self, misses: &Misses<'_>, start: BlockIdx, next: Option<BlockIdx>) -> bool {
        let first = self.merging.extents(misses.at_slots()).next();
        let first = start + BlockCount(first.map_or(0, |extent| extent.start));
        self.merging.cost(misses.at_slots()) + self.merging.saved(next, self.page.start)
            > self.merging.price(self.front()) + self.merging.saved(next, first)
    }

    /// Reads the front, but for what of it has arrived: the `first` extent, or all of it. Visits what is in
    /// memory and what arrives; the misses that are left then know their place in the page.
    pub fn read_front<D: BlockDevice, P: Probe>(
        &self,
        io: &mut Io<'_, D, P>,
        first: Option<Arrived>,
        visitor: &mut Visitor<'_, '_, impl FnMut(&mut P, Found<'_>) -> Result<(), Corrupt>>,
        misses: &mut Misses<'_>,
    ) -> Result<(), FetchError<D::Error>> {
        let Self { page, directory, .. } = *self;
        let stride = self.merging.stride;
        let visit: &mut Work<'_, P> = &mut |probe, arrived| {
            let Some((extent, bytes)) = arrived else {
                return visitor.visit_in_memory(probe, misses);
            };
            if extent.first_slot == 0 {
                let held = page.directory(bytes).ok_or(Corrupt { slot: 0 })?;
                misses.locate(held.iter().map(|slot| slot.get()));
            }
            let first = extent.first_slot.saturating_sub(directory);
            let end = (extent.first_slot + extent.wanted).saturating_sub(directory);
            let run = misses.within(first..end).count() as u32;
            for miss in misses.within(first..end) {
                let Place::Page(at) = miss.place else { continue };
                let bytes = at_slot(bytes, directory + u32::from(at), stride, extent.start);
                visitor.visit_arrived(probe, miss, run, bytes)?;
            }
            misses.remove(first..end);
            Ok(())
        };
        if page.together.0 > 0 {
            return self.visit_together(io, visit);
        }
        let mut front = self.front();
        if first.is_some() {
            front.next();
        }
        io.fetch(Stage::Ffn, page.start, first, &mut front, visit)
    }

    /// Hands nothing and then the whole front to `visit`.
    fn visit_together<D: BlockDevice, P: Probe>(
        &self,
        io: &mut Io<'_, D, P>,
        visit: &mut Work<'_, P>,
    ) -> Result<(), FetchError<D::Error>> {
        let table = self.page.start;
        let corrupt = |Corrupt { slot }| FetchError::Corrupt { table, slot };
        self.read_together(io, |records| visit(records.probe(), None).map_err(corrupt))?;
        // What turns out to be damaged is read again.
        let held = core::mem::take(io.fronts.held);
        let behind = io.fronts.blocks.get((table - held.start).0 as usize..).unwrap_or_default();
        let (blocks, wanted) = (BlockCount(behind.len() as u32), self.strides());
        let extent = Extent { start: 0, blocks, first_slot: 0, wanted };
        visit(io.probe, Some((&extent, Block::bytes(behind)))).map_err(corrupt)?;
        *io.fronts.held = held;
        Ok(())
    }

    /// Has the misses that the page holds read from it where that is cheaper, all from the layer
    /// where not.
    pub fn divide(&self, misses: &mut Misses<'_>) {
        let cost_at_slots = self.merging.cost(misses.at_slots());
        misses.divide();
        let cost_apart =
            self.merging.cost(misses.at_slots()) + self.merging.cost(misses.in_page(self.ahead()));
        if cost_apart >= cost_at_slots {
            misses.read_at_slots();
        }
    }
}
