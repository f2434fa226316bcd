//! The misses of a layer: which bundles of the active set must be read, and where each of them is.
//!
//! In: the active set, what of it is in memory, and which slots a page holds. Out: the misses in the
//! order in which they are read. Knows nothing of devices, of the cache or of what a read costs.

use crate::slices;
use core::ops::Range;

/// The active set of a layer, and memory for what of it is missing.
pub(crate) struct Wanted<'a> {
    /// Ascending.
    pub slots: &'a [u16],
    /// `(neurons,)` scratch.
    pub memory: &'a mut [u32],
}

/// Where a miss is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// At its slot in the layer.
    Slot,
    /// In the page, behind so many other bundles.
    Page(u16),
}

/// A bundle that must be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Miss {
    /// Its index in the active set.
    pub index: usize,
    pub slot: u32,
    pub place: Place,
}

/// The misses: those that are read at their slots, ascending, then those that are read from the
/// page, in its order.
///
/// Between [`locate`](Self::locate) and [`divide`](Self::divide) they ascend by slot, whatever their
/// places.
pub(crate) struct Misses<'a> {
    slots: &'a [u16],
    /// `place << 16 | index`: numbers that are sorted are so by place, then by slot.
    entries: &'a mut [u32],
    /// How many of them are read at their slots.
    at_slots: usize,
}

/// An entry's place if it is read at its slot; a page never holds as many bundles.
const SLOT: u16 = u16::MAX;

const fn entry(place: u16, index: u16) -> u32 {
    (place as u32) << 16 | index as u32
}

const fn index(entry: u32) -> usize {
    entry as u16 as usize
}

const fn place(entry: u32) -> Place {
    match (entry >> 16) as u16 {
        at if cfg!(feature = "pages") && at != SLOT => Place::Page(at),
        _ => Place::Slot,
    }
}

impl<'a> Misses<'a> {
    /// What of the active set is not `in_memory`.
    pub fn find(wanted: Wanted<'a>, mut in_memory: impl FnMut(u32) -> bool) -> Self {
        let Wanted { slots, memory } = wanted;
        let mut count = 0;
        for (&slot, index) in slots.iter().zip(0..) {
            if !in_memory(slot.into())
                && let Some(free) = memory.get_mut(count)
            {
                *free = entry(SLOT, index);
                count += 1;
            }
        }
        let entries = memory.get_mut(..count).unwrap_or_default();
        Self { slots, entries, at_slots: count }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// All of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = Miss> + Clone {
        self.entries.iter().map(|&entry| self.miss(entry))
    }

    /// Visits index and slot of what of the active set is not missing, ascending. Not once the misses
    /// are divided.
    pub fn visit_others<E>(
        &self,
        mut visit: impl FnMut(usize, u32) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut missing = self.entries.iter().peekable();
        for (at, &slot) in self.slots.iter().enumerate() {
            if missing.next_if(|&&entry| index(entry) == at).is_none() {
                visit(at, slot.into())?;
            }
        }
        Ok(())
    }

    fn miss(&self, entry: u32) -> Miss {
        Miss { index: index(entry), slot: self.slot(entry), place: place(entry) }
    }

    fn slot(&self, entry: u32) -> u32 {
        self.slots.get(index(entry)).copied().unwrap_or(0).into()
    }

    /// Notes for each miss where the page holds it, if it does. `held`: the page's slots in its order.
    pub fn locate(&mut self, held: impl Iterator<Item = u16>) {
        for (slot, place) in held.zip(0..SLOT) {
            // Both are ascending: slots, and the entries by their index.
            let Ok(at) = self.slots.binary_search(&slot) else { continue };
            if let Ok(found) = self.entries.binary_search_by_key(&at, |&entry| index(entry))
                && let Some(found) = self.entries.get_mut(found)
            {
                *found = entry(place, at as u16);
            }
        }
    }

    /// Those whose place in the page is one of `places`, ascending by slot.
    pub fn within(&self, places: Range<u32>) -> impl Iterator<Item = Miss> + Clone {
        self.iter().filter(move |miss| is_within(miss.place, &places))
    }

    /// Leaves out those whose place in the page is one of `places`: they have been read.
    pub fn remove(&mut self, places: Range<u32>) {
        let left = slices::move_to_front(self.entries, |entry| !is_within(place(entry), &places));
        self.entries = core::mem::take(&mut self.entries).get_mut(..left).unwrap_or_default();
        self.at_slots = left;
    }

    /// Whatever the page holds is read from there.
    pub fn divide(&mut self) {
        self.at_slots = slices::move_to_front(self.entries, |entry| place(entry) == Place::Slot);
        slices::sort(self.entries.get_mut(self.at_slots..).unwrap_or_default());
    }

    /// Nothing is read from the page: what it holds is at its slot in the layer, too.
    pub fn read_at_slots(&mut self) {
        for found in &mut *self.entries {
            *found = entry(SLOT, index(*found) as u16);
        }
        slices::sort(self.entries);
        self.at_slots = self.entries.len();
    }

    /// The slots of those that are read at their slots, ascending.
    pub fn at_slots(&self) -> impl Iterator<Item = u32> {
        self.strides(self.entries.get(..self.at_slots).unwrap_or(&[]), None)
    }

    /// Those that are read from the rest of the page, in strides from where that starts, ascending. `ahead`:
    /// the bundles that are not in it but before it.
    pub fn in_page(&self, ahead: u32) -> impl Iterator<Item = u32> {
        // Known to be none where pages are not compiled in: the planning of their reads is not either.
        let entries =
            if cfg!(feature = "pages") { self.entries.get(self.at_slots..) } else { None };
        self.strides(entries.unwrap_or(&[]), Some(ahead))
    }

    /// One function for both: each type of iterator is a copy of the planning.
    fn strides(&self, entries: &[u32], ahead: Option<u32>) -> impl Iterator<Item = u32> {
        entries.iter().map(move |&entry| match ahead {
            Some(ahead) => (entry >> 16).saturating_sub(ahead),
            None => self.slot(entry),
        })
    }
}

fn is_within(place: Place, places: &Range<u32>) -> bool {
    matches!(place, Place::Page(at) if places.contains(&at.into()))
}

#[cfg(test)]
#[cfg(feature = "pages")]
mod tests {
    use super::*;
    use crate::text::sample::Pcg32;
    extern crate std;
    use std::{vec, vec::Vec};

    /// A miss as the oracle has it: index in the active set, slot, place in the page.
    type Naive = (usize, u32, Option<u32>);

    fn naive(miss: Miss) -> Naive {
        let place = match miss.place {
            Place::Slot => None,
            Place::Page(at) => Some(at.into()),
        };
        (miss.index, miss.slot, place)
    }

    /// Each of `0..neurons` with a chance of one in `one_in`.
    fn some(random: &mut Pcg32, neurons: u16, one_in: u32) -> Vec<u16> {
        (0..neurons).filter(|_| random.next_u32().is_multiple_of(one_in)).collect()
    }

    fn shuffle(random: &mut Pcg32, slots: &mut [u16]) {
        for end in (1..slots.len()).rev() {
            slots.swap(end, random.next_u32() as usize % (end + 1));
        }
    }

    #[test]
    fn misses_are_those_of_a_list_that_is_searched_from_end_to_end() {
        let mut random = Pcg32::new(3, 0);
        let mut met = [0; 3];
        for round in 0..if cfg!(miri) { 6 } else { 600 } {
            let neurons = [5, 60, 700][round % 3];
            let slots = some(&mut random, neurons, 2);
            let in_memory = some(&mut random, neurons, 3);
            let mut held = some(&mut random, neurons, 2);
            shuffle(&mut random, &mut held);
            let ahead = random.next_u32() % (held.len() as u32 + 1);

            let mut memory = vec![0xAAAA_AAAA; neurons.into()];
            let wanted = Wanted { slots: &slots, memory: &mut memory };
            let mut misses = Misses::find(wanted, |slot| in_memory.contains(&(slot as u16)));
            let missing = |slot: &u16| !in_memory.contains(slot);
            let mut expected: Vec<Naive> = (slots.iter().enumerate())
                .filter(|(_, slot)| missing(slot))
                .map(|(index, &slot)| (index, slot.into(), None))
                .collect();
            assert!(misses.iter().map(naive).eq(expected.iter().copied()));
            assert!(misses.at_slots().eq(expected.iter().map(|miss| miss.1)));
            let mut others = Vec::new();
            let visited = misses.visit_others(|index, slot| {
                others.push((index, slot));
                Ok::<(), ()>(())
            });
            assert_eq!(visited, Ok(()));
            assert!(
                others
                    .iter()
                    .map(|(_, slot)| *slot as u16)
                    .eq(slots.iter().copied().filter(|slot| !missing(slot)))
            );
            assert!(others.iter().all(|&(index, slot)| u32::from(slots[index]) == slot));

            misses.locate(held.iter().copied());
            for miss in &mut expected {
                miss.2 =
                    held.iter().position(|&slot| u32::from(slot) == miss.1).map(|at| at as u32);
            }
            let came = |miss: &Naive| miss.2.is_some_and(|at| at < ahead);
            assert!(misses.within(0..ahead).map(naive).eq(expected.iter().copied().filter(came)));
            misses.remove(0..ahead);
            expected.retain(|miss| !came(miss));
            assert!(misses.iter().map(naive).eq(expected.iter().copied()));
            assert!(misses.at_slots().eq(expected.iter().map(|miss| miss.1)));

            misses.divide();
            let (mut from_page, from_slots): (Vec<Naive>, Vec<Naive>) =
                expected.iter().partition(|miss| miss.2.is_some());
            from_page.sort_by_key(|miss| miss.2);
            let divided = from_slots.iter().chain(&from_page);
            assert!(misses.iter().map(naive).eq(divided.copied()));
            assert!(misses.at_slots().eq(from_slots.iter().map(|miss| miss.1)));
            assert!(misses.in_page(ahead).eq(from_page.iter().map(|m| m.2.unwrap() - ahead)));

            misses.read_at_slots();
            let all = expected.iter().map(|&(index, slot, _)| (index, slot, None));
            assert!(misses.iter().map(naive).eq(all));
            assert_eq!((misses.at_slots().count(), misses.in_page(0).count()), (misses.len(), 0));
            met[0] += others.len();
            met[1] += from_slots.len();
            met[2] += from_page.len();
        }
        assert!(met.iter().all(|&count| count > 5000), "{met:?}");
    }

    #[test]
    fn a_damaged_directory_locates_nothing_that_is_not_missing() {
        let mut memory = [0; 4];
        let wanted = Wanted { slots: &[2, 5, 9], memory: &mut memory };
        let mut misses = Misses::find(wanted, |slot| slot == 5);
        // Twice the same slot, one that is in memory, one that is not active.
        misses.locate([9, 5, u16::MAX, 9].into_iter());
        let places: Vec<Naive> = misses.iter().map(naive).collect();
        assert_eq!(places, [(0, 2, None), (2, 9, Some(3))]);
    }
}
