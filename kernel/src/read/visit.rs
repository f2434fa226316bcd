//! Brings the bundles of an active set: those in memory at once, the others as they arrive.
//!
//! In: the active slots of a layer. Out: each bundle, handed to a closure once. Cache, page and
//! collapse decide what is read and what is kept. Knows nothing of arithmetic.

use crate::memory::cache::Cache;
use crate::read::collapse::Extent;
use crate::read::fetch::{Corrupt, FetchError, Io, at_slot};
use crate::read::misses::{Misses, Place, Wanted};
use crate::read::page::{Begun, PageReader};
use crate::read::probe::{Probe, Stage};
use crate::read::visitor::{Found, Source, Visitor};
use ripple_hal::{BlockCount, BlockDevice, Coming};

/// Hands every wanted bundle to `work` once, in no particular order: those in memory while the first
/// read is on its way, the others while the read after theirs is. `begun`: the page of `source`, if
/// its first extent was read ahead.
pub(crate) fn visit<D: BlockDevice, P: Probe>(
    io: &mut Io<'_, D, P>,
    source: Source,
    cache: &mut Cache<'_>,
    wanted: Wanted<'_>,
    begun: Option<Begun>,
    work: impl FnMut(&mut P, Found<'_>) -> Result<(), Corrupt>,
) -> Result<(), FetchError<D::Error>> {
    let Source { layer, start, stride, mapped, page } = source;
    let active = wanted.slots.len();
    let mut misses = Misses::find(wanted, |slot| slot < mapped || cache.touch(layer, slot));
    io.probe.lookup(layer, (active - misses.len()) as u32, misses.len() as u32);

    let mut visitor = Visitor { source, cache, work };
    let merging = io.merging(stride);
    let (page, first) = match begun {
        Some(Begun { page, first }) => (Some(page), first),
        None => {
            let page = page.filter(|_| cfg!(feature = "pages"));
            let page = page.and_then(|page| PageReader::new(page, merging));
            let pays = |page: &PageReader| {
                let there = page.is_held(io) && misses.len() > 0;
                there || page.pays(&misses, start, io.device.goes_on())
            };
            (page.filter(pays), None)
        }
    };
    if let Some(page) = &page {
        page.read_front(io, first, &mut visitor, &mut misses)?;
        page.divide(&mut misses);
    }

    // Places in the rest of the page are counted in strides from its start, as slots are from the table's.
    let (offset, ahead) = page.map_or((0, 0), |page| (page.offset(start), page.ahead()));
    let from_slots = merging.extents(misses.at_slots());
    let from_page = merging
        .extents(misses.in_page(ahead))
        .map(|extent| Extent { start: extent.start.saturating_add(offset), ..extent });
    // All of them at once, in their order: a device may have several under way.
    io.will_read(start, merging.extents(misses.at_slots()), Coming::Next);
    let in_page = merging.extents(misses.in_page(ahead));
    io.will_read(start + BlockCount(offset), in_page, Coming::Next);
    let mut coming = misses.iter();
    let mut run = Run::default();
    io.fetch(Stage::Ffn, start, None, &mut from_slots.chain(from_page), &mut |probe, arrived| {
        let Some((extent, bytes)) = arrived else {
            // Else they were visited while the front of the page was on its way.
            return if page.is_none() { visitor.visit_in_memory(probe, &misses) } else { Ok(()) };
        };
        for _ in 0..extent.wanted {
            let following = coming.clone();
            let Some(miss) = coming.next() else { break };
            let (at, from, run) = match miss.place {
                Place::Slot => {
                    let run = run.length(miss.slot, following.map(|miss| miss.slot));
                    (miss.slot, extent.start, run)
                }
                Place::Page(at) => {
                    let from = extent.start.saturating_sub(offset);
                    (u32::from(at).saturating_sub(ahead), from, extent.wanted)
                }
            };
            visitor.visit_arrived(probe, miss, run, at_slot(bytes, at, stride, from))?;
        }
        Ok(())
    })
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
