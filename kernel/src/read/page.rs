//! The reader of a context page: its directory, and what is read ahead with it.
//!
//! In: where the page is, and the misses of its layer. Out: the misses that arrived with the
//! directory, handed on; for the others, whether they are read from the page. Knows nothing of what
//! bundles hold.

use crate::image::Page;
use crate::read::collapse::{Collapse, Merging};
use crate::read::fetch::{Arrived, Corrupt, FetchError, Io, Records, at_slot};
use crate::read::misses::{Misses, Place};
use crate::read::probe::{Probe, Stage};
use crate::read::visitor::{Found, Visitor};
use core::ops::Range;
use ripple_hal::{BlockCount, BlockDevice, BlockIdx};

/// See the [module](self).
#[derive(Clone, Copy)]
pub(crate) struct PageReader {
    page: Page,
    merging: Merging,
    /// Strides before the first bundle.
    pub directory: u32,
}

/// A page whose first extent was read ahead.
pub(crate) struct Begun {
    pub page: PageReader,
    pub first: Arrived,
}

impl PageReader {
    /// A reader of `page`, if the directory fits a staging half: it must arrive in one piece.
    pub fn new(page: Page, merging: Merging) -> Option<Self> {
        let directory = Page::directory_strides(page.bundles, merging.stride);
        let bytes = u64::from(directory) * u64::from(merging.stride);
        (bytes <= merging.longest.bytes()).then_some(Self { page, merging, directory })
    }

    /// Blocks from `start` to the page, which lies behind it.
    pub fn offset(&self, start: BlockIdx) -> u32 {
        self.page.start.0.saturating_sub(start.0)
    }

    /// The reads of the directory and of what is read ahead with it, as few as fit staging.
    fn head(&self) -> Collapse<Range<u32>> {
        let strides = self.directory + u32::from(self.page.ahead);
        Merging { gap: BlockCount(0), ..self.merging }.extents(0..strides)
    }

    /// Reads the first extent of the head while `work` is on something else.
    pub fn read_ahead<D: BlockDevice, P: Probe, T>(
        self,
        io: &mut Io<'_, D, P>,
        work: impl FnOnce(&mut Records<'_, '_, D, P>) -> Result<T, FetchError<D::Error>>,
    ) -> Result<(T, Option<Begun>), FetchError<D::Error>> {
        let Some(first) = self.head().next() else {
            return Ok((work(&mut Records::Io(io))?, None));
        };
        let (done, first) = io.read_ahead(Stage::Ffn, self.page.start, first, work)?;
        Ok((done, Some(Begun { page: self, first })))
    }

    /// Whether reading the misses at their slots, in the table at `start`, would take longer than these reads
    /// alone, if a command goes on with block `next`.
    pub fn pays(&self, misses: &Misses<'_>, start: BlockIdx, next: Option<BlockIdx>) -> bool {
        let first = self.merging.extents(misses.at_slots()).next();
        let first = start + BlockCount(first.map_or(0, |extent| extent.start));
        self.merging.cost(misses.at_slots()) + self.merging.saved(next, self.page.start)
            > self.merging.price(self.head()) + self.merging.saved(next, first)
    }

    /// Reads the directory and what is read ahead with it, but for the `first` extent if that has
    /// arrived. Visits what is in memory and what arrives; the misses that are left then know their
    /// place in the page.
    pub fn read_head<D: BlockDevice, P: Probe>(
        &self,
        io: &mut Io<'_, D, P>,
        first: Option<Arrived>,
        visitor: &mut Visitor<'_, '_, impl FnMut(&mut P, Found<'_>) -> Result<(), Corrupt>>,
        misses: &mut Misses<'_>,
    ) -> Result<(), FetchError<D::Error>> {
        let Self { page, directory, .. } = *self;
        let stride = self.merging.stride;
        let mut head = self.head();
        if first.is_some() {
            head.next();
        }
        io.fetch(Stage::Ffn, page.start, first, &mut head, &mut |probe, arrived| {
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
        })
    }

    /// Has the misses that the page holds read from it where that is cheaper, all from the layer
    /// where not.
    pub fn divide(&self, misses: &mut Misses<'_>) {
        let cost_at_slots = self.merging.cost(misses.at_slots());
        misses.divide();
        let cost_apart = self.merging.cost(misses.at_slots())
            + self.merging.cost(misses.in_page(self.directory));
        if cost_apart >= cost_at_slots {
            misses.read_at_slots();
        }
    }
}
