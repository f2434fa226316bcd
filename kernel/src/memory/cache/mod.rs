//! The static neuron cache: a hot prefix of every layer, and a dynamic part.
//!
//! In: layer and slot. Out: the bundle's bytes, if they are here; a frame to keep them in, if they
//! are worth it. Knows nothing of devices or arithmetic.

mod dynamic;

use crate::image::{Geometry, RecordLayout};
use crate::memory::region::{Carver, MemoryError, Region};
pub use dynamic::{Admission, Eviction, Policy};
use dynamic::{Dynamic, MOST_FRAMES};
use zerocopy::IntoBytes;

/// What is cached: bundles of one layout, so many a layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub layers: u32,
    /// Of one layer.
    pub neurons: u32,
    pub layout: RecordLayout,
}

impl Shape {
    pub const fn of(geometry: &Geometry) -> Self {
        let c = &geometry.config;
        Self { layers: c.layers, neurons: c.neurons, layout: geometry.bundle_layout() }
    }

    /// Bundles that fit `bytes`.
    pub const fn frames(&self, bytes: u32) -> u32 {
        let all = self.neurons as u64 * self.layers as u64;
        let frames = match bytes.checked_div(self.layout.stride()) {
            Some(frames) => frames as u64,
            None => 0,
        };
        (if frames < all { frames } else { all }) as u32
    }

    /// Words of the index of a cache of `frames` bundles.
    pub const fn index_words(&self, frames: u32) -> usize {
        let layers = 2 * self.layers as usize;
        let table = (self.neurons as usize).saturating_mul(self.layers as usize).div_ceil(2);
        let dynamic = if frames < MOST_FRAMES { frames } else { MOST_FRAMES } as usize;
        // Keys, uses, two queues, ghosts.
        let queues = dynamic + dynamic.div_ceil(4) + 2 * dynamic.div_ceil(2) + dynamic;
        layers + if frames == 0 { 0 } else { table + queues }
    }
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
    /// Bundles of all hot prefixes.
    first: u32,
    dynamic: Dynamic<'m>,
}

impl<'m> Cache<'m> {
    /// Divides `bundles` between hot prefix and dynamic part.
    ///
    /// The prefix takes what the packer `advised` for each layer, scaled down evenly if that is more than
    /// `hot_permille` of the cache.
    pub(crate) fn carve(
        bundles: &'m mut [u32],
        index: &'m mut [u32],
        shape: &Shape,
        frames: u32,
        policy: Policy,
        advised: impl Fn(u32) -> u32,
    ) -> Result<Self, MemoryError> {
        let (layers, neurons) = (shape.layers, shape.neurons);
        let mut rest = Carver::new(Region::Index, index, shape.index_words(frames))?;
        let hot: &mut [u32] = rest.take(layers);
        let base: &mut [u32] = rest.take(layers);
        let want = |layer| u64::from(advised(layer).min(neurons));
        let all: u64 = (0..layers).map(want).sum();
        let budget = u64::from(frames) * u64::from(policy.hot_permille.min(1000)) / 1000;
        let mut first = 0;
        for (layer, (hot, base)) in hot.iter_mut().zip(base.iter_mut()).enumerate() {
            let want = want(layer as u32);
            let scaled = (want * budget).checked_div(all).unwrap_or(0);
            *hot = want.min(scaled) as u32;
            *base = first;
            first += *hot;
        }
        let frames = frames.saturating_sub(first).min(MOST_FRAMES);
        let dynamic = Dynamic::carve(&mut rest, layers * neurons, frames, policy);
        let layout = shape.layout;
        let stride_words = (layout.stride() / 4) as usize;
        Ok(Self { neurons, stride_words, layout, hot, base, bundles, first, dynamic })
    }

    /// Slots of `layer` below this are in the hot prefix.
    pub fn hot(&self, layer: u32) -> u32 {
        self.hot.get(layer as usize).copied().unwrap_or(0)
    }

    /// Bundles held: hot prefix and dynamic part.
    pub fn held(&self) -> u32 {
        self.first + self.dynamic.used()
    }

    /// Whether most of what is held is in the hot prefix.
    pub fn is_mostly_hot(&self) -> bool {
        self.dynamic.used() <= self.first
    }

    /// Forgets the dynamic part.
    pub fn clear(&mut self) {
        self.dynamic.clear();
    }

    /// Looks a bundle up and counts the use.
    pub fn touch(&mut self, layer: u32, slot: u32) -> bool {
        slot < self.hot(layer) || self.dynamic.touch(layer * self.neurons + slot)
    }

    /// The bytes of a bundle that is here.
    pub fn get(&self, layer: u32, slot: u32) -> Option<&[u8]> {
        let number = if slot < self.hot(layer) {
            self.base.get(layer as usize)? + slot
        } else {
            self.first + u32::from(self.dynamic.frame(layer * self.neurons + slot)?)
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
        self.bundle_mut(self.first + u32::from(frame))
    }

    fn bundle_mut(&mut self, number: u32) -> Option<&mut [u8]> {
        let at = number as usize * self.stride_words;
        Some(self.bundles.get_mut(at..)?.get_mut(..self.stride_words)?.as_mut_bytes())
    }
}
