//! What a matrix is multiplied with: vectors in 8 bits, packed for the dot products.
//!
//! In: packed numbers and their scales. Out: the input of each position. Knows nothing of weights.

use super::Packed;

/// `x = scale * packed`, `(cols,)`.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a> {
    pub packed: Packed<'a>,
    pub scale: f32,
}

/// The inputs of a matrix, one for each position of a pass, in 8 bits.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    /// `(positions, Packed::words(cols))`, perhaps more.
    pub packed: &'a [u32],
    pub cols: usize,
    /// `(positions,)`.
    pub scales: &'a [f32],
}

impl<'a> Inputs<'a> {
    /// The one of a position.
    #[inline]
    pub fn at(&self, position: usize) -> Input<'a> {
        let at = position * Packed::words(self.cols as u32) as usize;
        let packed = Packed::of(self.packed.get(at..).unwrap_or(&[]), self.cols);
        Input { packed, scale: self.scales.get(position).copied().unwrap_or(0.0) }
    }
}

/// All of them, by position.
impl<'a> Iterator for Inputs<'a> {
    type Item = Input<'a>;

    #[inline]
    fn next(&mut self) -> Option<Input<'a>> {
        let (&scale, scales) = self.scales.split_first()?;
        let words = Packed::words(self.cols as u32) as usize;
        let (packed, rest) = self.packed.split_at_checked(words)?;
        (self.packed, self.scales) = (rest, scales);
        Some(Input { packed: Packed::of(packed, self.cols), scale })
    }
}
