//! The bundles of a layer, wherever they are: mapped, cached, or just read.
//!
//! In: which of the active set are missing, and the bytes of those that arrive. Out: each bundle's
//! bytes, handed to a closure; what the cache admits is kept. Knows nothing of reads or arithmetic.

use crate::image::Page;
use crate::memory::cache::Cache;
use crate::read::fetch::Corrupt;
use crate::read::misses::{Miss, Misses};
use crate::slices;
use ripple_hal::BlockIdx;

/// Where the bundles of a layer are.
#[derive(Clone, Copy)]
pub(crate) struct Source {
    pub layer: u32,
    /// Block where the first one starts.
    pub start: BlockIdx,
    /// Bytes from one to the next.
    pub stride: u32,
    /// Slots below this are mapped.
    pub mapped: u32,
    /// Where copies of the likely ones are; after `start`.
    pub page: Option<Page>,
}

/// A bundle of the active set, found.
pub(crate) struct Found<'a> {
    /// Its index in the active set.
    pub index: usize,
    pub slot: u32,
    pub bytes: Bytes<'a>,
}

/// Where the bytes of a bundle were found.
pub(crate) enum Bytes<'a> {
    /// In the mapped prefix.
    Mapped,
    /// In the cache.
    Cached(&'a [u8]),
    /// Just read, not checked: at the start of these.
    Arrived(&'a [u8]),
}

/// Hands bundles to `work`, and those that arrive to the cache after that.
pub(crate) struct Visitor<'a, 'm, F> {
    pub source: Source,
    pub cache: &'a mut Cache<'m>,
    pub work: F,
}

impl<F> Visitor<'_, '_, F> {
    /// Visits the active bundles that are in memory: those that are not among the `misses`.
    ///
    /// Before anything is admitted: what was found cached is still there.
    pub fn visit_in_memory<P>(&mut self, probe: &mut P, misses: &Misses<'_>) -> Result<(), Corrupt>
    where
        F: FnMut(&mut P, Found<'_>) -> Result<(), Corrupt>,
    {
        let Source { layer, mapped, .. } = self.source;
        misses.visit_others(|index, slot| {
            let bytes = if slot < mapped {
                Bytes::Mapped
            } else {
                Bytes::Cached(self.cache.get(layer, slot).unwrap_or(&[]))
            };
            (self.work)(probe, Found { index, slot, bytes })
        })
    }

    /// Visits a miss that arrived, one of a run of `run`, and offers it to the cache. `bytes` begin
    /// with it; where there are none, it did not arrive whole.
    pub fn visit_arrived<P>(
        &mut self,
        probe: &mut P,
        miss: Miss,
        run: u32,
        bytes: Option<&[u8]>,
    ) -> Result<(), Corrupt>
    where
        F: FnMut(&mut P, Found<'_>) -> Result<(), Corrupt>,
    {
        let Miss { index, slot, .. } = miss;
        let bytes = bytes.ok_or(Corrupt { slot })?;
        (self.work)(probe, Found { index, slot, bytes: Bytes::Arrived(bytes) })?;
        if let Some(frame) = self.cache.admit(self.source.layer, slot, run) {
            slices::copy(frame, bytes);
        }
        Ok(())
    }
}
