//! The reader of a context page: its directory, and what is read ahead with it.
//!
//! In: where the page is, and the misses of its layer. Out: the misses that arrived with the
//! directory, handed on; for the others, whether they are read from the page. Knows nothing of what
//! bundles hold.

use crate::image::Page;
use crate::read::bundles::{Bundles, Found};
use crate::read::collapse::{Collapse, Extent, Merging};
use crate::read::fetch::{Corrupt, FetchError, Io, at_slot};
use crate::read::misses::{Misses, Place};
use crate::read::probe::{Probe, Stage};
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

    /// The first of these reads, and the block it is counted from.
    pub fn first(&self) -> Option<(BlockIdx, Extent)> {
        Some((self.page.start, self.head().next()?))
    }

    /// Whether reading the misses at their slots would take longer than these reads alone.
    pub fn pays(&self, misses: &Misses<'_>) -> bool {
        self.merging.cost(misses.at_slots()) > self.merging.price(self.head())
    }

    /// Reads the directory and what is read ahead with it. Visits what is in memory and what arrives;
    /// the misses that are left then know their place in the page.
    pub fn read_head<D: BlockDevice, P: Probe>(
        &self,
        io: &mut Io<'_, D, P>,
        bundles: &mut Bundles<'_, '_, impl FnMut(&mut P, Found<'_>) -> Result<(), Corrupt>>,
        misses: &mut Misses<'_>,
    ) -> Result<(), FetchError<D::Error>> {
        let Self { page, directory, .. } = *self;
        let stride = self.merging.stride;
        io.fetch(Stage::Ffn, page.start, &mut self.head(), &mut |probe, arrived| {
            let Some((extent, bytes)) = arrived else {
                return bundles.visit_in_memory(probe, misses);
            };
            if extent.first_slot == 0 {
                let held =
                    page.directory(bundles.source.layer, bytes).ok_or(Corrupt { slot: 0 })?;
                misses.locate(held.iter().map(|slot| slot.get()));
            }
            let first = extent.first_slot.saturating_sub(directory);
            let end = (extent.first_slot + extent.wanted).saturating_sub(directory);
            let run = misses.within(first..end).count() as u32;
            for miss in misses.within(first..end) {
                let Place::Page(at) = miss.place else { continue };
                let bytes = at_slot(bytes, directory + u32::from(at), stride, extent.start);
                bundles.visit_arrived(probe, miss, run, bytes)?;
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
