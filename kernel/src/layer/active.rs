//! The active sets of a layer, for all positions of a pass: their union, and which are whose.
//!
//! In: neurons one by one, and the positions where each is active. Out: the slots of the union,
//! ascending; for each, its positions and its first-layer outputs there. Knows nothing of weights.

use crate::slices::{front, rest};

/// Memory for the active sets of a layer; contents do not matter before.
pub(crate) struct Room<'a> {
    /// `(neurons,)`.
    pub slots: &'a mut [u16],
    /// `(neurons, ceil(positions / 8))`.
    pub bits: &'a mut [u8],
    /// First-layer outputs, as many as there is room for; empty if the predictor knows none.
    pub values: &'a mut [f32],
}

/// See the [module](self).
pub(crate) struct ActiveSets<'a> {
    room: Room<'a>,
    positions: usize,
    /// Bytes of `bits` for each slot.
    group: usize,
    /// Slots in the union.
    count: usize,
    /// Values kept.
    kept: usize,
}

impl<'a> ActiveSets<'a> {
    /// No neuron is active at any of `positions`.
    pub fn new(room: Room<'a>, positions: usize) -> Self {
        let mut sets = Self { room, positions, group: positions.div_ceil(8), count: 0, kept: 0 };
        sets.clear();
        sets
    }

    /// Empties the sets.
    pub fn clear(&mut self) {
        (self.count, self.kept) = (0, 0);
        self.group_mut().iter_mut().for_each(|byte| *byte = 0);
    }

    /// How many more neurons fit, wherever they are active; at least 1 in empty sets.
    pub fn neurons_that_fit(&self) -> u32 {
        let values = &self.room.values;
        if values.is_empty() {
            return u32::MAX;
        }
        ((values.len() - self.kept.min(values.len())) / self.positions.max(1)) as u32
    }

    /// Whether less than a quarter of the values can still be kept.
    pub fn are_nearly_full(&self) -> bool {
        self.kept > self.room.values.len() / 4 * 3 && !self.room.values.is_empty()
    }

    /// The neuron that [`close`](Self::close) will name is active at `position`.
    #[inline]
    pub fn mark(&mut self, position: usize, value: f32) {
        if let Some(byte) = self.group_mut().get_mut(position / 8) {
            *byte |= 1 << (position % 8);
        }
        if let Some(kept) = self.room.values.get_mut(self.kept) {
            *kept = value;
        }
        self.kept += 1;
    }

    /// Ends a neuron that was marked at least once. Slots ascend.
    #[inline]
    pub fn close(&mut self, slot: u32) {
        if let Some(place) = self.room.slots.get_mut(self.count) {
            *place = slot as u16;
        }
        self.count += 1;
        self.group_mut().iter_mut().for_each(|byte| *byte = 0);
    }

    /// Writes the active set of one position to `out`, ascending, and returns what was written.
    pub fn of<'o>(&self, position: usize, out: &'o mut [u16]) -> &'o [u16] {
        let bytes = self.room.bits.iter().skip(position / 8).step_by(self.group.max(1));
        let mut count = 0;
        for (&slot, byte) in self.slots().iter().zip(bytes) {
            if byte >> (position % 8) & 1 != 0
                && let Some(out) = out.get_mut(count)
            {
                *out = slot;
                count += 1;
            }
        }
        front(out, count)
    }

    /// The union, ascending.
    pub fn slots(&self) -> &[u16] {
        front(self.room.slots, self.count)
    }

    /// Where each slot of the union is active.
    pub fn positions(&self) -> Positions<'_> {
        let (bits, values) = (&*self.room.bits, &*self.room.values);
        Positions { bits, values, group: self.group, index: 0, first: 0 }
    }

    /// The bits of the next slot.
    #[inline]
    fn group_mut(&mut self) -> &mut [u8] {
        let at = self.count * self.group;
        self.room.bits.get_mut(at..).and_then(|bits| bits.get_mut(..self.group)).unwrap_or_default()
    }
}

/// Finds the positions of a slot of the union, and its values there.
///
/// Values lie one after the other, without an index: where those of a slot begin is counted from
/// the slot asked for before. That is cheap while slots ascend, and right in any order.
pub(crate) struct Positions<'a> {
    bits: &'a [u8],
    values: &'a [f32],
    group: usize,
    /// The slot asked for last, by its index in the union, and the number of its first value.
    index: usize,
    first: usize,
}

impl Positions<'_> {
    /// Positions and values of the slot with this index in the union; 0 where no values are known.
    #[inline]
    pub fn at(&mut self, index: usize) -> impl Iterator<Item = (usize, f32)> {
        if index < self.index {
            (self.index, self.first) = (0, 0);
        }
        let bits = rest(self.bits, self.index * self.group);
        let (passed, here) =
            bits.split_at_checked((index - self.index) * self.group).unwrap_or((bits, &[]));
        self.first += passed.iter().map(|byte| byte.count_ones() as usize).sum::<usize>();
        self.index = index;
        let values = self.values.get(self.first..).unwrap_or(&[]);
        let mut value = values.iter().copied();
        let bytes = front(here, self.group).iter().enumerate();
        bytes
            .flat_map(|(at, &byte)| Bits(byte).map(move |bit| 8 * at + bit))
            .map(move |position| (position, value.next().unwrap_or(0.0)))
    }
}

/// The numbers of the bits of a byte that are set, ascending.
struct Bits(u8);

impl Iterator for Bits {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let bit = self.0.trailing_zeros();
        self.0 &= self.0.wrapping_sub(1);
        (bit < 8).then_some(bit as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec::Vec;

    #[test]
    fn sets_of_eleven_positions_come_back_in_any_order() {
        let (mut slots, mut bits, mut values) = ([9; 5], [0xAA; 10], [0.0; 55]);
        let room = Room { slots: &mut slots, bits: &mut bits, values: &mut values };
        let mut sets = ActiveSets::new(room, 11);
        let active: [(u32, &[usize]); 3] = [(1, &[0, 10]), (4, &[3]), (7, &[0, 1, 8, 9])];
        for (slot, positions) in active {
            for &position in positions {
                sets.mark(position, (100 * slot as usize + position) as f32);
            }
            sets.close(slot);
        }
        assert_eq!(sets.slots(), [1, 4, 7]);
        assert_eq!(sets.neurons_that_fit(), (55 - 7) / 11);
        let mut out = [0; 5];
        assert_eq!(sets.of(0, &mut out), [1, 7]);
        assert_eq!(sets.of(9, &mut out), [7]);
        assert_eq!(sets.of(2, &mut out), []);
        let mut positions = sets.positions();
        for index in [0, 2, 1, 1, 2, 0] {
            let (slot, expected) = active[index];
            let found: Vec<_> = positions.at(index).collect();
            let expected: Vec<_> =
                expected.iter().map(|&p| (p, (100 * slot as usize + p) as f32)).collect();
            assert_eq!(found, expected);
        }
        sets.clear();
        assert_eq!((sets.slots().len(), sets.of(0, &mut out).len()), (0, 0));
    }
}
