//! The positions that are kept: some evicted to make room, or all copied out and back.
//!
//! In: a decoder between passes. Out: the same, at another position. Nothing here is linked into a
//! firmware that does not call it.

use super::Decoder;
use crate::config::Position;
use crate::math::rope;
use crate::read::probe::Probe;
use crate::slices::{front_mut, rest};
use ripple_hal::BlockDevice;

/// Why positions were not evicted. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SlideError {
    /// The model's positions are learned, and part of everything that was kept: begin again instead.
    #[error("the positions of this model are learned, a window cannot slide over them")]
    LearnedPositions,
    /// Positions have gone to the card, where they cannot be rotated.
    #[error("{spilled} positions are on the card, a window cannot slide over them")]
    Spilled {
        /// Positions on the card.
        spilled: u32,
    },
    /// There are not as many positions.
    #[error("{evicted} positions behind the first {sinks} of {position}")]
    Range {
        /// Positions to keep at the front.
        sinks: u32,
        /// Positions to evict behind them.
        evicted: u32,
        /// Positions there are.
        position: u32,
    },
}

/// Positions that do not fit. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[error("{positions} positions do not fit a context of {context}")]
pub struct RestoreError {
    /// Positions to restore.
    pub positions: u32,
    /// Positions the decoder can hold.
    pub context: u32,
}

impl<D: BlockDevice, P: Probe> Decoder<'_, D, P> {
    /// Evicts the `evicted` positions behind the first `sinks`, and goes on as if the text had never
    /// had them: later positions move to the front, their keys rotated back by as many places.
    ///
    /// What was kept of them still knows of what was evicted, so that this is not the same as feeding
    /// the rest again; it costs no reads. Each key is rounded once more.
    ///
    /// Attention sinks and positions by place in the cache: Xiao et al., "Efficient Streaming Language
    /// Models with Attention Sinks", 2023.
    ///
    /// # Errors
    /// See [`SlideError`].
    pub fn slide(&mut self, sinks: u32, evicted: u32) -> Result<(), SlideError> {
        let position = self.position;
        if evicted > position.saturating_sub(sinks) {
            return Err(SlideError::Range { sinks, evicted, position });
        }
        let geometry = self.image.header.geometry;
        if geometry.config.position() == Position::Learned {
            return Err(SlideError::LearnedPositions);
        }
        let spilled = self.kv.spilled();
        if spilled > 0 {
            return Err(SlideError::Spilled { spilled });
        }
        if evicted == 0 {
            return Ok(());
        }
        let (state, kv) = (&mut self.state, &mut self.kv);
        let half = geometry.frequencies() as usize;
        let (cos, sin) = (front_mut(state.cos, half), front_mut(state.sin, half));
        let frequencies = rest(state.final_vectors, state.final_vectors.len().saturating_sub(half));
        rope::angles(cos, sin, frequencies, evicted);
        sin.iter_mut().for_each(|sin| *sin = -*sin);
        let key = front_mut(state.products.key(), geometry.config.kv_dim() as usize);
        for layer in 0..geometry.config.layers {
            for from in sinks + evicted..position {
                kv.move_to(layer, from, from - evicted, key, |key| rope::rotate(key, cos, sin));
            }
        }
        self.position = position - evicted;
        Ok(())
    }

    /// What was kept of all positions in `layer`: as [`restore`](Self::restore) takes it.
    ///
    /// [`KvKind::entry_words`](crate::KvKind::entry_words) a position, in the order of the positions;
    /// those that have gone to the card are not among them.
    pub fn kept(&self, layer: u32) -> &[u32] {
        self.kv.kept(layer, self.position)
    }

    /// Goes to `positions`, of which another decoder of the same image and [`KvKind`](crate::KvKind)
    /// has [`kept`](Self::kept) what `fill` writes, layer by layer; what follows has the same bits.
    ///
    /// # Errors
    /// When the context is too short.
    pub fn restore(
        &mut self,
        positions: u32,
        mut fill: impl FnMut(u32, &mut [u32]),
    ) -> Result<(), RestoreError> {
        let context = self.kv.context();
        if positions > context {
            return Err(RestoreError { positions, context });
        }
        self.kv.empty();
        self.spilled = None;
        for layer in 0..self.image.header.geometry.config.layers {
            fill(layer, self.kv.kept_mut(layer, positions));
        }
        self.position = positions;
        self.peak_position = self.peak_position.max(positions);
        Ok(())
    }
}
