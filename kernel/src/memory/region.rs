//! The regions of lent memory, and how typed slices are carved from them.
//!
//! In: words. Out: slices of other types, or an error that says which region is too small. Knows
//! nothing of what the slices are for.

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A region of lent memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Region {
    /// Activations, logits, the active set.
    Work,
    /// Where reads arrive; in two halves; must be reachable by DMA.
    Staging,
    /// Neuron bundles.
    Cache,
    /// What is where in the cache.
    Index,
    /// Keys and values of past positions.
    Kv,
}

/// A region that is too small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[error("region `{region}` needs {needed} bytes, was given {given}")]
pub struct MemoryError {
    /// Which.
    pub region: Region,
    /// Bytes it must have.
    pub needed: u32,
    /// Bytes it has.
    pub given: u32,
}

impl Region {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Work, Self::Staging, Self::Cache, Self::Index, Self::Kv];

    /// Its name, for reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Work => "work",
            Self::Staging => "staging",
            Self::Cache => "cache",
            Self::Index => "index",
            Self::Kv => "kv",
        }
    }
}

impl core::fmt::Display for Region {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

/// Words of a slice of `count` elements of `bytes` bytes; saturates.
pub(crate) const fn words(count: u32, bytes: u32) -> usize {
    (count as usize).saturating_mul(bytes as usize).div_ceil(4)
}

/// Bytes as reports count them; saturates.
pub(crate) fn reported(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Hands out typed slices from the front of a region of words.
pub(crate) struct Carver<'m> {
    rest: &'m mut [u32],
}

impl<'m> Carver<'m> {
    /// `needed`: words the whole carving takes.
    pub fn new(region: Region, words: &'m mut [u32], needed: usize) -> Result<Self, MemoryError> {
        let given = words.len();
        let bytes = |words: usize| reported(words.saturating_mul(4));
        let rest = words.get_mut(..needed).ok_or(MemoryError {
            region,
            needed: bytes(needed),
            given: bytes(given),
        })?;
        rest.iter_mut().for_each(|word| *word = 0);
        Ok(Self { rest })
    }

    /// The next `count` elements, zeroed; none when that is more than what was said to be needed.
    pub fn take<T: FromBytes + IntoBytes + Immutable>(&mut self, count: u32) -> &'m mut [T] {
        <[T]>::mut_from_bytes(self.take_bytes(count, size_of::<T>() as u32)).unwrap_or_default()
    }

    /// One function for all types: only its end differs.
    #[inline(never)]
    fn take_bytes(&mut self, count: u32, size: u32) -> &'m mut [u8] {
        let rest = core::mem::take(&mut self.rest);
        let (taken, rest) = rest.split_at_mut_checked(words(count, size)).unwrap_or_default();
        self.rest = rest;
        // The last word may not be full.
        let bytes = (count as usize).saturating_mul(size as usize);
        taken.as_mut_bytes().get_mut(..bytes).unwrap_or_default()
    }
}
