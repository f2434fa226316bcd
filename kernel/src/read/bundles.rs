//! Brings the bundles of an active set: those in memory at once, the others as they arrive.
//!
//! In: the active slots of a layer. Out: each bundle's bytes, handed to a closure once. Cache, page
//! and plan decide what is read and what is kept. Knows nothing of arithmetic.

use crate::image::Page;
use crate::memory::cache::Cache;
use crate::read::collapse::{Extent, collapse};
use crate::read::fetch::{Corrupt, FetchError, Io, at_slot};
use crate::read::probe::{Probe, Stage};
use ripple_hal::{BlockCount, BlockDevice, BlockIdx};

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

/// The active set.
pub(crate) struct Wanted<'a> {
    /// Ascending.
    pub slots: &'a [u16],
    /// `(neurons,)` scratch: what must be read, as `place << 16 | index into slots`.
    pub misses: &'a mut [u32],
}

/// The place of a miss that no page holds: it is read from its slot.
const AT_SLOT: u32 = 0xFFFF;
/// The place of a miss that has been read. Smaller ones are places in the page.
const DONE: u32 = 0xFFFE;

const fn miss(place: u32, index: u16) -> u32 {
    place << 16 | index as u32
}

const fn place(miss: u32) -> u32 {
    miss >> 16
}

const fn index(miss: u32) -> usize {
    miss as u16 as usize
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

    let page = source.page.filter(|page| io.ahead || pays(io, page, slots, misses, stride));
    let (at_slots, in_page) = match page {
        Some(page) => {
            read_head(io, source, page, cache, slots, misses, &mut work)?;
            split(io, &page, slots, misses, stride)
        }
        None => (misses, Default::default()),
    };
    let (at_slots, in_page) = (&*at_slots, &*in_page);
    // Places in the page are counted in strides from its start, as slots are from the table's.
    let (offset, directory) = match page {
        Some(page) => {
            (page.start.0.saturating_sub(start.0), Page::directory_strides(page.bundles, stride))
        }
        None => (0, 0),
    };
    let (gap, half) = (io.gap, io.half());
    let from_slots = collapse(strides(slots, at_slots, None), stride, gap, half);
    let from_page = collapse(strides(slots, in_page, Some(directory)), stride, gap, half)
        .map(|extent| Extent { start: extent.start.saturating_add(offset), ..extent });

    let mut coming = at_slots.iter().chain(in_page);
    let mut run = Run::default();
    io.fetch(Stage::Ffn, start, &mut from_slots.chain(from_page), &mut |probe, arrived| {
        let Some((extent, bytes)) = arrived else {
            if page.is_some() {
                return Ok(());
            }
            return hits(source, cache, slots, at_slots, |bundle| work(probe, bundle));
        };
        for _ in 0..extent.wanted {
            let following = coming.clone();
            let Some(miss) = coming.next() else { break };
            let slot = slot_at(slots, *miss);
            let (at, run) = if place(*miss) == AT_SLOT {
                (
                    at_slot(bytes, slot, stride, extent.start),
                    run.length(slot, following.map(|&miss| slot_at(slots, miss))),
                )
            } else {
                let start = extent.start.saturating_sub(offset);
                (at_slot(bytes, directory + place(*miss), stride, start), extent.wanted)
            };
            let bytes = at.ok_or(Corrupt { slot })?;
            work(probe, Bundle { index: index(*miss), slot, bytes: Place::Arrived(bytes) })?;
            keep(cache, layer, slot, run, bytes);
        }
        Ok(())
    })
}

/// Reads the directory of `page` and the bundles that are read ahead with it. Visits what is in
/// memory and what of the misses arrived; gives the others their place.
fn read_head<D: BlockDevice, P: Probe>(
    io: &mut Io<'_, D, P>,
    source: Source,
    page: Page,
    cache: &mut Cache<'_>,
    slots: &[u16],
    misses: &mut [u32],
    mut work: impl FnMut(&mut P, Bundle<'_>) -> Result<(), Corrupt>,
) -> Result<(), FetchError<D::Error>> {
    let Source { layer, stride, .. } = source;
    let directory = Page::directory_strides(page.bundles, stride);
    let mut head = head(&page, stride, io.half());
    io.fetch(Stage::Ffn, page.start, &mut head, &mut |probe, arrived| {
        let Some((extent, bytes)) = arrived else {
            return hits(source, cache, slots, misses, |bundle| work(probe, bundle));
        };
        if extent.first_slot == 0 {
            let directory = page.directory(layer, bytes).ok_or(Corrupt { slot: 0 })?;
            locate(slots, misses, directory.iter().map(|slot| slot.get()));
        }
        let here = extent.first_slot..extent.first_slot + extent.wanted;
        let ahead = u32::from(page.ahead);
        let came = |miss: u32| place(miss) < ahead && here.contains(&(directory + place(miss)));
        let run = misses.iter().filter(|&&miss| came(miss)).count() as u32;
        for entry in misses.iter_mut().filter(|entry| came(**entry)) {
            let slot = slot_at(slots, *entry);
            let bytes = at_slot(bytes, directory + place(*entry), stride, extent.start)
                .ok_or(Corrupt { slot })?;
            let index = index(*entry);
            work(probe, Bundle { index, slot, bytes: Place::Arrived(bytes) })?;
            keep(cache, layer, slot, run, bytes);
            *entry = miss(DONE, index as u16);
        }
        Ok(())
    })
}

/// The first read of the page of a layer, if its directory arrives with it in one piece.
pub(crate) fn first_of(page: &Page, stride: u32, half: BlockCount) -> Option<Extent> {
    head(page, stride, half).next().filter(|_| arrives_whole(page, stride, half))
}

/// Whether the directory of `page` fits a staging half: it must arrive in one piece.
fn arrives_whole(page: &Page, stride: u32, half: BlockCount) -> bool {
    let directory = Page::directory_strides(page.bundles, stride);
    u64::from(directory) * u64::from(stride) <= half.bytes()
}

/// The reads of a page's directory and of what is read ahead, as few as fit staging.
fn head(page: &Page, stride: u32, half: BlockCount) -> impl Iterator<Item = Extent> + use<> {
    let strides = Page::directory_strides(page.bundles, stride) + u32::from(page.ahead);
    collapse(0..strides, stride, BlockCount(0), half)
}

/// Whether reading the misses one by one would take longer than the head of the page alone.
fn pays<D: BlockDevice, P: Probe>(
    io: &Io<'_, D, P>,
    page: &Page,
    slots: &[u16],
    misses: &[u32],
    stride: u32,
) -> bool {
    arrives_whole(page, stride, io.half())
        && cost(io, strides(slots, misses, None), stride) > price(io, head(page, stride, io.half()))
}

/// What reading `places` takes, in blocks. A command takes as long as the blocks of the gap: that is
/// how the gap is chosen.
fn cost<D: BlockDevice, P: Probe>(
    io: &Io<'_, D, P>,
    places: impl Iterator<Item = u32>,
    stride: u32,
) -> u64 {
    price(io, collapse(places, stride, io.gap, io.half()))
}

fn price<D: BlockDevice, P: Probe>(
    io: &Io<'_, D, P>,
    extents: impl Iterator<Item = Extent>,
) -> u64 {
    let command = u64::from(io.gap.0);
    extents.fold(0, |cost, extent| cost + command + u64::from(extent.blocks.0))
}

/// Writes the place in the page of every miss that its directory holds.
fn locate(slots: &[u16], misses: &mut [u32], directory: impl Iterator<Item = u16>) {
    for (slot, place) in directory.zip(0..DONE) {
        // Both are ascending: slots, and the misses by their index.
        let Ok(at) = slots.binary_search(&slot) else { continue };
        if let Ok(found) = misses.binary_search_by_key(&at, |&miss| index(miss))
            && let Some(entry) = misses.get_mut(found)
        {
            *entry = miss(place, at as u16);
        }
    }
}

/// Puts the misses that are read from their slots in front, in their order, then those that are read
/// from the page, by place; leaves out what is done.
fn split<'a, D: BlockDevice, P: Probe>(
    io: &Io<'_, D, P>,
    page: &Page,
    slots: &[u16],
    misses: &'a mut [u32],
    stride: u32,
) -> (&'a mut [u32], &'a mut [u32]) {
    let left = move_to_front(misses, |miss| place(miss) != DONE);
    let misses = misses.get_mut(..left).unwrap_or_default();
    let directory = Page::directory_strides(page.bundles, stride);
    let all = cost(io, strides(slots, misses, None), stride);
    let count = move_to_front(misses, |miss| place(miss) == AT_SLOT);
    if let Some((at_slots, in_page)) = misses.split_at_mut_checked(count) {
        sort(in_page);
        let apart = cost(io, strides(slots, at_slots, None), stride)
            + cost(io, strides(slots, in_page, Some(directory)), stride);
        if apart < all {
            return misses.split_at_mut_checked(count).unwrap_or_default();
        }
    }
    // What is in the page can also be read where it is in the layer.
    for entry in misses.iter_mut() {
        *entry = miss(AT_SLOT, index(*entry) as u16);
    }
    sort(misses);
    (misses, Default::default())
}

/// Moves what is `wanted` to the front, in its order, and counts it.
fn move_to_front(misses: &mut [u32], wanted: impl Fn(u32) -> bool) -> usize {
    let mut count = 0;
    for at in 0..misses.len() {
        if misses.get(at).is_some_and(|&miss| wanted(miss)) {
            swap(misses, count, at);
            count += 1;
        }
    }
    count
}

/// Shell's sort: a few hundred numbers at most, and the library's sorts can panic.
fn sort(numbers: &mut [u32]) {
    for gap in [301, 132, 57, 23, 10, 4, 1] {
        for end in gap..numbers.len() {
            let mut at = end;
            while at >= gap
                && let (Some(&before), Some(&here)) = (numbers.get(at - gap), numbers.get(at))
                && before > here
            {
                swap(numbers, at - gap, at);
                at -= gap;
            }
        }
    }
}

/// The library's `swap` can panic.
fn swap(numbers: &mut [u32], a: usize, b: usize) {
    if let Ok([a, b]) = numbers.get_disjoint_mut([a, b]) {
        core::mem::swap(a, b);
    }
}

/// Where `misses` are, in strides: their slots, or their places in a page with such a `directory`.
///
/// One function for both: each type of iterator is a copy of the planning.
fn strides(slots: &[u16], misses: &[u32], directory: Option<u32>) -> impl Iterator<Item = u32> {
    misses.iter().map(move |&miss| match directory {
        Some(directory) => directory + place(miss),
        None => slot_at(slots, miss),
    })
}

fn slot_at(slots: &[u16], miss: u32) -> u32 {
    slots.get(index(miss)).copied().unwrap_or(0).into()
}

/// Offers a bundle that was just read to the cache.
fn keep(cache: &mut Cache<'_>, layer: u32, slot: u32, run: u32, bytes: &[u8]) {
    if let Some(frame) = cache.admit(layer, slot, run) {
        frame.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    }
}

/// Writes the active slots that are neither mapped nor cached, and counts the uses of those that are
/// cached.
fn find_misses<'a>(
    source: Source,
    cache: &mut Cache<'_>,
    slots: &[u16],
    misses: &'a mut [u32],
) -> &'a mut [u32] {
    let mut count = 0;
    for (&slot, index) in slots.iter().zip(0..) {
        let slot = u32::from(slot);
        if slot >= source.mapped
            && !cache.touch(source.layer, slot)
            && let Some(entry) = misses.get_mut(count)
        {
            *entry = miss(AT_SLOT, index);
            count += 1;
        }
    }
    misses.get_mut(..count).unwrap_or_default()
}

/// Visits the active slots that are in memory: those that are not among the `misses`.
///
/// Runs before anything is admitted, so what was found cached is still there.
fn hits(
    source: Source,
    cache: &Cache<'_>,
    slots: &[u16],
    misses: &[u32],
    mut work: impl FnMut(Bundle<'_>) -> Result<(), Corrupt>,
) -> Result<(), Corrupt> {
    let mut misses = misses.iter().peekable();
    for (at, &slot) in slots.iter().enumerate() {
        if misses.next_if(|&&miss| index(miss) == at).is_some() {
            continue;
        }
        let slot = u32::from(slot);
        let bytes = if slot < source.mapped {
            Place::Mapped
        } else {
            Place::Cached(cache.get(source.layer, slot).unwrap_or(&[]))
        };
        work(Bundle { index: at, slot, bytes })?;
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
