//! What a matrix is multiplied with: vectors in 8 bits, packed for the dot products.
//!
//! In: packed numbers and their scales. Out: the input of each position. Knows nothing of weights.

use super::Packed;

/// `x = scale * packed`, `(cols,)`; with groups, `x_j = scale * n_(j / 32) * packed_j`.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a> {
    pub packed: Packed<'a>,
    pub scale: f32,
    /// `(cols / 32,)` multipliers and sums, as `math::grouped` has them; empty where there is one scale alone.
    #[cfg(feature = "grouped")]
    pub groups: &'a [u32],
}

/// The inputs of a matrix, one for each position of a pass, in 8 bits.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    /// `(positions, words)`, perhaps more.
    pub packed: &'a [u32],
    /// `Packed::words(cols)`.
    pub words: usize,
    /// `(positions,)`.
    pub scales: &'a [f32],
    /// `(positions, per)`, the last position's first; empty where each has one scale alone.
    #[cfg(feature = "grouped")]
    pub groups: &'a [u32],
    /// Groups of a position.
    #[cfg(feature = "grouped")]
    pub per: usize,
}

impl<'a> Inputs<'a> {
    /// The one of a position.
    #[inline]
    pub fn at(&self, position: usize) -> Input<'a> {
        let from = self.packed.get(position * self.words..);
        let packed = Packed::all(from.and_then(|from| from.get(..self.words)).unwrap_or(&[]));
        Input {
            packed,
            scale: self.scales.get(position).copied().unwrap_or(0.0),
            #[cfg(feature = "grouped")]
            groups: {
                let at = self.groups.len().checked_sub((position + 1) * self.per);
                let from = at.and_then(|at| self.groups.get(at..));
                from.and_then(|from| from.get(..self.per)).unwrap_or(&[])
            },
        }
    }

    /// The next ones, as many as are multiplied with a row together; `None` where fewer are left.
    #[cfg(ripple_isa = "x86")]
    #[inline]
    pub fn several(&mut self) -> Option<[Input<'a>; super::TOGETHER]> {
        if self.scales.len() < super::TOGETHER {
            return None;
        }
        let several = core::array::from_fn(|i| self.at(i));
        self.nth(super::TOGETHER - 1);
        Some(several)
    }
}

/// All of them, by position.
impl<'a> Iterator for Inputs<'a> {
    type Item = Input<'a>;

    #[inline]
    fn next(&mut self) -> Option<Input<'a>> {
        let (&scale, scales) = self.scales.split_first()?;
        let (packed, rest) = self.packed.split_at_checked(self.words)?;
        (self.packed, self.scales) = (rest, scales);
        Some(Input {
            packed: Packed::all(packed),
            scale,
            #[cfg(feature = "grouped")]
            groups: {
                let at = self.groups.len().saturating_sub(self.per);
                let (rest, groups) = self.groups.split_at_checked(at)?;
                self.groups = rest;
                groups
            },
        })
    }
}
