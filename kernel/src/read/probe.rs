//! The observer: what the kernel tells whoever wants to know.
//!
//! One trait serves the activation trace, the cycle counter, the simulator's compute clock and the
//! tests' spies. Every method does nothing unless it is overridden, and then costs nothing.

use crate::read::collapse::Extent;

/// What the kernel is working on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Stage {
    /// Filling the hot prefix, once, when a decoder is opened.
    Open,
    /// Token (and position) to vector.
    Embedding,
    /// Query, key, value, attention and output projection.
    Attention,
    /// Which neurons are active.
    Predictor,
    /// The neurons themselves.
    Ffn,
    /// Vector to logits.
    Head,
}

impl Stage {
    /// All of them, in the order of a step.
    pub const ALL: [Self; 6] =
        [Self::Open, Self::Embedding, Self::Attention, Self::Predictor, Self::Ffn, Self::Head];
}

/// An observer of the decoder. `()` observes nothing.
pub trait Probe {
    /// A stage of `layer` begins (layer 0 for the stages outside layers).
    fn enter(&mut self, stage: Stage, layer: u32) {
        let _ = (stage, layer);
    }

    /// Whether [`active`](Self::active) is to be called: the active set of one position is not made
    /// where nobody looks at it.
    fn wants_active(&self) -> bool {
        true
    }

    /// The predictor chose `slots` of `layer` for `position`, ascending.
    ///
    /// A pass runs layer by layer, and reports the positions of a layer in order. Of a long pass
    /// with little memory a layer may come in several parts, all positions of each, slots ascending
    /// from part to part. A pass that is repeated reports again.
    fn active(&mut self, layer: u32, position: u32, slots: &[u16]) {
        let _ = (layer, position, slots);
    }

    /// Of the neurons of `layer` that are active at any position of the pass (or were in the part
    /// just reported), `hits` were in memory, `misses` have to be read.
    fn lookup(&mut self, layer: u32, hits: u32, misses: u32) {
        let _ = (layer, hits, misses);
    }

    /// `extent` is about to be read for `stage`.
    fn extent(&mut self, stage: Stage, extent: &Extent) {
        let _ = (stage, extent);
    }

    /// `count` multiply-accumulates (or as much other work) were done for `stage`.
    fn compute(&mut self, stage: Stage, count: u32) {
        let _ = (stage, count);
    }
}

impl Probe for () {
    fn wants_active(&self) -> bool {
        false
    }
}

impl<P: Probe + ?Sized> Probe for &mut P {
    fn enter(&mut self, stage: Stage, layer: u32) {
        (**self).enter(stage, layer);
    }

    fn wants_active(&self) -> bool {
        (**self).wants_active()
    }

    fn active(&mut self, layer: u32, position: u32, slots: &[u16]) {
        (**self).active(layer, position, slots);
    }

    fn lookup(&mut self, layer: u32, hits: u32, misses: u32) {
        (**self).lookup(layer, hits, misses);
    }

    fn extent(&mut self, stage: Stage, extent: &Extent) {
        (**self).extent(stage, extent);
    }

    fn compute(&mut self, stage: Stage, count: u32) {
        (**self).compute(stage, count);
    }
}
