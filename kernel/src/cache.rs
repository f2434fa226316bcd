//! The static neuron cache: a hot prefix of every layer, and a dynamic part run by S3-FIFO.
//!
//! In: layer and slot. Out: the bundle's bytes, if they are here; a frame to keep them in, if they
//! are worth it. Knows nothing of devices or arithmetic.
//!
//! S3-FIFO: Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023.
//! Linking-aligned admission: Ripple (arXiv 2410.19274) 5.2.

use crate::image::{Geometry, LayerInfo, RecordLayout};
use crate::region::{Carver, MemoryError, Region};
use zerocopy::IntoBytes;

/// Which missed bundles enter the dynamic part.
///
/// Bundles of short runs are worth more than their bytes: each cost a read of its own. Bundles of
/// long runs came cheaply and would come cheaply again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Admission {
    /// A run of this many consecutive slots or more is long.
    pub long_run: u32,
    /// One in so many bundles of a long run is admitted, chosen by a hash; 0 admits none.
    pub one_in: u32,
}

impl Admission {
    /// Admits everything.
    pub const ALL: Self = Self { long_run: u32::MAX, one_in: 1 };
    /// Runs of 4 or more are long, a quarter of them admitted.
    pub const DEFAULT: Self = Self { long_run: 4, one_in: 4 };

    fn admits(&self, run: u32, key: u32, turn: u32) -> bool {
        if run < self.long_run {
            return true;
        }
        let hash = (key ^ turn.wrapping_mul(0x85EB_CA6B)).wrapping_mul(0x9E37_79B1);
        // `one_in` parts of 2^16: no division.
        self.one_in != 0 && (hash >> 16).saturating_mul(self.one_in) < 1 << 16
    }
}

/// The table's mark for "not here".
const ABSENT: u16 = u16::MAX;
/// The table's mark for "was here until recently".
const GHOST: u16 = u16::MAX - 1;
/// Most bundles a cache can hold; the rest of the lent memory is not used.
const MOST_FRAMES: u32 = GHOST as u32 - 1;

/// Bundles that fit `bytes`.
pub(crate) const fn frames(geometry: &Geometry, bytes: u32) -> u32 {
    let all = geometry.config.neurons as u64 * geometry.config.layers as u64;
    let frames = match bytes.checked_div(geometry.bundle_layout().stride()) {
        Some(frames) => frames as u64,
        None => 0,
    };
    let frames = if frames < all { frames } else { all } as u32;
    if frames < MOST_FRAMES { frames } else { MOST_FRAMES }
}

/// Words of the index of a cache of `frames` bundles.
pub(crate) const fn index_words(geometry: &Geometry, frames: u32) -> usize {
    let c = &geometry.config;
    let layers = 2 * c.layers as usize;
    let table = (c.neurons as usize).saturating_mul(c.layers as usize).div_ceil(2);
    let frames = frames as usize;
    let dynamic = table + frames + frames.div_ceil(4) + 2 * frames.div_ceil(2) + frames;
    layers + if frames == 0 { 0 } else { dynamic }
}

/// See the [module](self).
pub struct Cache<'m> {
    neurons: u32,
    stride_words: usize,
    layout: RecordLayout,
    /// `(layers,)` slots below this are in the hot prefix.
    hot: &'m mut [u32],
    /// `(layers,)` number of the first of them among all bundles here.
    base: &'m mut [u32],
    /// Hot prefix by layer, then the frames of the dynamic part; `stride_words` each.
    bundles: &'m mut [u32],
    dynamic: Dynamic<'m>,
}

struct Dynamic<'m> {
    /// Number of the first frame among all bundles.
    first: u32,
    frames: u32,
    used: u32,
    admission: Admission,
    turn: u32,
    /// `(layers * neurons,)` frame of a bundle, or a mark.
    table: &'m mut [u16],
    /// `(frames,)` which bundle a frame holds.
    keys: &'m mut [u32],
    /// `(frames,)` uses since it came, at most 3.
    uses: &'m mut [u8],
    small: Ring<'m, u16>,
    main: Ring<'m, u16>,
    /// Keys that left the small queue unused.
    ghosts: Ring<'m, u32>,
}

/// A queue of fixed size.
struct Ring<'m, T> {
    slots: &'m mut [T],
    head: usize,
    len: usize,
}

impl<T: Copy> Ring<'_, T> {
    fn push(&mut self, value: T) {
        let at = self.head + self.len;
        let at = if at >= self.slots.len() { at - self.slots.len() } else { at };
        if self.len < self.slots.len()
            && let Some(slot) = self.slots.get_mut(at)
        {
            *slot = value;
            self.len += 1;
        }
    }

    fn pop(&mut self) -> Option<T> {
        if self.len == 0 {
            return None;
        }
        let value = self.slots.get(self.head).copied();
        self.len -= 1;
        self.head += 1;
        if self.head >= self.slots.len() {
            self.head = 0;
        }
        value
    }

    fn is_full(&self) -> bool {
        self.len >= self.slots.len()
    }
}

impl<'m> Cache<'m> {
    /// Divides `bundles` between hot prefix and dynamic part.
    ///
    /// The prefix takes what the packer advised (`info`), scaled down evenly if that is more than
    /// `hot_permille` of the cache.
    pub(crate) fn carve(
        bundles: &'m mut [u32],
        index: &'m mut [u32],
        geometry: &Geometry,
        frames: u32,
        hot_permille: u32,
        admission: Admission,
        info: impl Fn(u32) -> LayerInfo,
    ) -> Result<Self, MemoryError> {
        let (layers, neurons) = (geometry.config.layers, geometry.config.neurons);
        let mut rest = Carver::new(Region::Index, index, index_words(geometry, frames));
        let hot: &mut [u32] = rest.take(layers)?;
        let base: &mut [u32] = rest.take(layers)?;
        let advised: u64 = (0..layers).map(|layer| u64::from(info(layer).hot.min(neurons))).sum();
        let budget = u64::from(frames) * u64::from(hot_permille.min(1000)) / 1000;
        let mut first = 0;
        for (layer, (hot, base)) in hot.iter_mut().zip(base.iter_mut()).enumerate() {
            let want = u64::from(info(layer as u32).hot.min(neurons));
            let scaled = (want * budget).checked_div(advised).unwrap_or(0);
            *hot = want.min(scaled) as u32;
            *base = first;
            first += *hot;
        }
        let frames = frames.saturating_sub(first);
        let some = |count: u32| if frames == 0 { 0 } else { count };
        let table: &mut [u16] = rest.take(some(layers * neurons))?;
        table.iter_mut().for_each(|entry| *entry = ABSENT);
        let dynamic = Dynamic {
            first,
            frames,
            used: 0,
            admission,
            turn: 0,
            table,
            keys: rest.take(frames)?,
            uses: rest.take(frames)?,
            small: Ring { slots: rest.take(frames)?, head: 0, len: 0 },
            main: Ring { slots: rest.take(frames)?, head: 0, len: 0 },
            ghosts: Ring { slots: rest.take(frames)?, head: 0, len: 0 },
        };
        let layout = geometry.bundle_layout();
        let stride_words = (layout.stride() / 4) as usize;
        Ok(Self { neurons, stride_words, layout, hot, base, bundles, dynamic })
    }

    /// Slots of `layer` below this are in the hot prefix.
    pub fn hot(&self, layer: u32) -> u32 {
        self.hot.get(layer as usize).copied().unwrap_or(0)
    }

    /// Bundles held: hot prefix and dynamic part.
    pub fn held(&self) -> u32 {
        self.dynamic.first + self.dynamic.used
    }

    /// Forgets the dynamic part.
    pub fn clear(&mut self) {
        let dynamic = &mut self.dynamic;
        dynamic.used = 0;
        dynamic.turn = 0;
        dynamic.table.iter_mut().for_each(|entry| *entry = ABSENT);
        for ring in [&mut dynamic.small, &mut dynamic.main] {
            (ring.head, ring.len) = (0, 0);
        }
        (dynamic.ghosts.head, dynamic.ghosts.len) = (0, 0);
    }

    /// Looks a bundle up and counts the use.
    pub fn touch(&mut self, layer: u32, slot: u32) -> bool {
        if slot < self.hot(layer) {
            return true;
        }
        let Some(frame) = self.dynamic.frame(layer * self.neurons + slot) else { return false };
        if let Some(uses) = self.dynamic.uses.get_mut(frame as usize) {
            *uses = (*uses + 1).min(3);
        }
        true
    }

    /// The bytes of a bundle that is here.
    pub fn get(&self, layer: u32, slot: u32) -> Option<&[u8]> {
        let number = if slot < self.hot(layer) {
            self.base.get(layer as usize)? + slot
        } else {
            self.dynamic.first + u32::from(self.dynamic.frame(layer * self.neurons + slot)?)
        };
        let at = number as usize * self.stride_words;
        Some(self.bundles.get(at..)?.get(..self.stride_words)?.as_bytes())
    }

    /// The layout of what [`get`](Self::get) gives.
    pub fn layout(&self) -> &RecordLayout {
        &self.layout
    }

    /// Where the bytes of a hot bundle go; filled once, at open.
    pub(crate) fn hot_mut(&mut self, layer: u32, slot: u32) -> Option<&mut [u8]> {
        let number = (slot < self.hot(layer)).then_some(self.base.get(layer as usize)? + slot)?;
        self.bundle_mut(number)
    }

    /// Offers a bundle that was just read, one of a run of `run` consecutive slots. Gives the frame
    /// to copy it to, if it is admitted.
    ///
    /// Bundles that are here already stay valid only until the next call: use them first.
    pub fn admit(&mut self, layer: u32, slot: u32, run: u32) -> Option<&mut [u8]> {
        let key = layer * self.neurons + slot;
        let frame = self.dynamic.admit(key, run)?;
        self.bundle_mut(self.dynamic.first + u32::from(frame))
    }

    fn bundle_mut(&mut self, number: u32) -> Option<&mut [u8]> {
        let at = number as usize * self.stride_words;
        Some(self.bundles.get_mut(at..)?.get_mut(..self.stride_words)?.as_mut_bytes())
    }
}

impl Dynamic<'_> {
    fn frame(&self, key: u32) -> Option<u16> {
        self.table.get(key as usize).copied().filter(|&frame| frame < GHOST)
    }

    fn mark(&mut self, key: u32, mark: u16) {
        if let Some(entry) = self.table.get_mut(key as usize) {
            *entry = mark;
        }
    }

    fn admit(&mut self, key: u32, run: u32) -> Option<u16> {
        if self.frames == 0 || self.frame(key).is_some() {
            return None;
        }
        self.turn = self.turn.wrapping_add(1);
        if !self.admission.admits(run, key, self.turn) {
            return None;
        }
        let returned = self.table.get(key as usize) == Some(&GHOST);
        let frame = if self.used < self.frames {
            self.used += 1;
            (self.used - 1) as u16
        } else {
            self.evict()?
        };
        *self.keys.get_mut(frame as usize)? = key;
        *self.uses.get_mut(frame as usize)? = 0;
        if returned {
            self.main.push(frame);
        } else {
            self.small.push(frame);
        }
        self.mark(key, frame);
        Some(frame)
    }

    /// Empties a frame. Ends, because each round lowers a use count or gives a frame.
    fn evict(&mut self) -> Option<u16> {
        let small_share = self.frames as usize / 10;
        loop {
            if self.small.len > small_share || self.main.len == 0 {
                let frame = self.small.pop()?;
                if *self.uses.get(frame as usize)? > 0 {
                    *self.uses.get_mut(frame as usize)? = 0;
                    self.main.push(frame);
                    continue;
                }
                let key = *self.keys.get(frame as usize)?;
                self.remember(key);
                return Some(frame);
            }
            let frame = self.main.pop()?;
            let uses = self.uses.get_mut(frame as usize)?;
            if *uses > 0 {
                *uses -= 1;
                self.main.push(frame);
                continue;
            }
            let key = *self.keys.get(frame as usize)?;
            self.mark(key, ABSENT);
            return Some(frame);
        }
    }

    fn remember(&mut self, key: u32) {
        if self.ghosts.is_full()
            && let Some(oldest) = self.ghosts.pop()
            && self.table.get(oldest as usize) == Some(&GHOST)
        {
            self.mark(oldest, ABSENT);
        }
        self.ghosts.push(key);
        self.mark(key, GHOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Pcg32;
    extern crate std;
    use std::{vec, vec::Vec};

    const KEYS: u32 = 40;

    /// Each frame in use is in one queue, once; the table and the keys name each other; each ghost
    /// is in the ghost queue.
    fn check(dynamic: &Dynamic<'_>) {
        let contents = |ring: &Ring<'_, u16>| -> Vec<u16> {
            (0..ring.len).map(|i| ring.slots[(ring.head + i) % ring.slots.len()]).collect()
        };
        let mut queued = contents(&dynamic.small);
        queued.extend(contents(&dynamic.main));
        queued.sort_unstable();
        assert!(queued.iter().copied().eq(0..dynamic.used as u16), "{queued:?}");
        for frame in queued {
            assert_eq!(dynamic.table[dynamic.keys[frame as usize] as usize], frame);
        }
        let ghosts = &dynamic.ghosts;
        let is_ghost = |key| {
            (0..ghosts.len).any(|i| ghosts.slots[(ghosts.head + i) % ghosts.slots.len()] == key)
        };
        let mut held = 0;
        for (key, &entry) in dynamic.table.iter().enumerate() {
            match entry {
                ABSENT => {}
                GHOST => assert!(is_ghost(key as u32), "{key}"),
                frame => {
                    assert_eq!(dynamic.keys[frame as usize], key as u32);
                    held += 1;
                }
            }
        }
        assert_eq!(held, dynamic.used);
    }

    #[test]
    fn queues_table_and_keys_agree_after_every_call() {
        for frames in [1u32, 2, 3, 10, 11, 39, 40] {
            let n = frames as usize;
            let (mut table, mut keys, mut uses) =
                (vec![ABSENT; KEYS as usize], vec![0; n], vec![0; n]);
            let (mut small, mut main, mut ghosts) = (vec![0; n], vec![0; n], vec![0; n]);
            let mut dynamic = Dynamic {
                first: 0,
                frames,
                used: 0,
                admission: Admission { long_run: 3, one_in: 2 },
                turn: 0,
                table: &mut table,
                keys: &mut keys,
                uses: &mut uses,
                small: Ring { slots: &mut small, head: 0, len: 0 },
                main: Ring { slots: &mut main, head: 0, len: 0 },
                ghosts: Ring { slots: &mut ghosts, head: 0, len: 0 },
            };
            let mut random = Pcg32::new(u64::from(frames), 0);
            for _ in 0..4000 {
                let key = random.next_u32() % KEYS;
                match dynamic.frame(key) {
                    Some(frame) => {
                        let uses = &mut dynamic.uses[frame as usize];
                        *uses = (*uses + 1).min(3);
                        assert_eq!(dynamic.admit(key, 1), None, "it is here already");
                    }
                    None => {
                        let run = random.next_u32() % 5;
                        let frame = dynamic.admit(key, run);
                        assert!(frame.is_some() || run >= 3);
                        assert_eq!(dynamic.frame(key), frame);
                    }
                }
                check(&dynamic);
            }
            assert_eq!(dynamic.used, frames);
        }
    }
}
