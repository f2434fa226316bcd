//! Brings the bundles of an active set: those in memory at once, the others as they arrive.
//!
//! In: the active slots of a layer. Out: each bundle's bytes, handed to a closure once. Cache and
//! plan decide what is read and what is kept. Knows nothing of arithmetic.

use crate::cache::Cache;
use crate::fetch::{Corrupt, FetchError, Io, at_slot};
use crate::plan::collapse;
use crate::probe::{Probe, Stage};
use ripple_hal::{BlockDevice, BlockIdx};

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
}

/// The active set.
pub(crate) struct Wanted<'a> {
    /// Ascending.
    pub slots: &'a [u16],
    /// `(neurons,)` scratch: indices into `slots` of what must be read.
    pub misses: &'a mut [u16],
}

/// A bundle that is wanted.
pub(crate) struct Bundle<'a> {
    /// Its index in the active set.
    pub index: usize,
    pub slot: u32,
    pub bytes: Place<'a>,
}

/// Where the bytes of a bundle can be found.
pub(crate) enum Place<'a> {
    /// In the mapped prefix.
    Mapped,
    /// In the cache.
    Cached(&'a [u8]),
    /// Just read, not checked: at the start of these.
    Arrived(&'a [u8]),
}

/// Hands every wanted bundle to `work` once, in no particular order: those in memory while the first
/// read is on its way, the others while the read after theirs is.
pub(crate) fn visit<D: BlockDevice, P: Probe>(
    io: &mut Io<'_, D, P>,
    source: Source,
    cache: &mut Cache<'_>,
    wanted: Wanted<'_>,
    mut work: impl FnMut(&mut P, Bundle<'_>) -> Result<(), Corrupt>,
) -> Result<(), FetchError<D::Error>> {
    let Source { layer, start, stride, .. } = source;
    let Wanted { slots, misses } = wanted;
    let misses = find_misses(source, cache, slots, misses);
    io.probe.lookup(layer, (slots.len() - misses.len()) as u32, misses.len() as u32);

    let slot_of = |miss: &u16| u32::from(slots.get(*miss as usize).copied().unwrap_or(0));
    let extents = collapse(misses.iter().map(slot_of), stride, io.collapse.gap, io.half());
    let mut coming = misses;
    let mut run = Run::default();
    io.fetch(Stage::Ffn, start, extents, |probe, arrived| {
        let Some((extent, bytes)) = arrived else {
            return hits(source, cache, slots, misses, |bundle| work(probe, bundle));
        };
        let (here, later) =
            coming.split_at_checked(extent.wanted as usize).unwrap_or((coming, &[]));
        for (i, miss) in here.iter().enumerate() {
            let (index, slot) = (usize::from(*miss), slot_of(miss));
            let bytes = at_slot(bytes, slot, stride, extent.start).ok_or(Corrupt { slot })?;
            work(probe, Bundle { index, slot, bytes: Place::Arrived(bytes) })?;
            let run = run.length(slot, coming.get(i..).unwrap_or(&[]).iter().map(slot_of));
            if let Some(frame) = cache.admit(layer, slot, run) {
                frame.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            }
        }
        coming = later;
        Ok(())
    })
}

/// Writes the indices of the active slots that are neither mapped nor cached, and counts the uses
/// of those that are cached.
fn find_misses<'a>(
    source: Source,
    cache: &mut Cache<'_>,
    slots: &[u16],
    misses: &'a mut [u16],
) -> &'a [u16] {
    let mut count = 0;
    for (i, &slot) in slots.iter().enumerate() {
        let slot = u32::from(slot);
        if slot >= source.mapped
            && !cache.touch(source.layer, slot)
            && let Some(miss) = misses.get_mut(count)
        {
            *miss = i as u16;
            count += 1;
        }
    }
    misses.get(..count).unwrap_or(&[])
}

/// Visits the active slots that are in memory: those whose index is not among the `misses`.
///
/// Runs before anything is admitted, so what was found cached is still there.
fn hits(
    source: Source,
    cache: &Cache<'_>,
    slots: &[u16],
    misses: &[u16],
    mut work: impl FnMut(Bundle<'_>) -> Result<(), Corrupt>,
) -> Result<(), Corrupt> {
    let mut misses = misses.iter().peekable();
    for (index, &slot) in slots.iter().enumerate() {
        if misses.next_if(|&&miss| usize::from(miss) == index).is_some() {
            continue;
        }
        let slot = u32::from(slot);
        let bytes = if slot < source.mapped {
            Place::Mapped
        } else {
            Place::Cached(cache.get(source.layer, slot).unwrap_or(&[]))
        };
        work(Bundle { index, slot, bytes })?;
    }
    Ok(())
}

/// The run of consecutive missed slots that a slot belongs to.
#[derive(Default)]
struct Run {
    end: u32,
    length: u32,
}

impl Run {
    /// `coming`: this slot and the ones after it.
    fn length(&mut self, slot: u32, coming: impl Iterator<Item = u32>) -> u32 {
        if self.length == 0 || slot >= self.end {
            self.length =
                coming.zip(slot..).take_while(|(next, expected)| next == expected).count() as u32;
            self.end = slot + self.length;
        }
        self.length
    }
}
