//! Vectors that are kept for the way back: as they are, in 16 bits, or in 8.
//!
//! In: vectors. Out: the same ones, or what their format left of them.

use crate::arms::Store;
use crate::real::Real;
use crate::shape::stored;
use crate::vector::{at, copy, row, row_mut};
use half::f16;
use ripple_kernel::math::quant;
use zerocopy::{FromBytes, IntoBytes};

/// `rows` vectors of `columns` numbers, for each layer.
pub(crate) struct Tape<'m> {
    words: &'m mut [u64],
    store: Store,
    rows: usize,
    columns: usize,
    /// Words of a layer.
    layer: usize,
}

impl<'m> Tape<'m> {
    pub fn new<R>(words: &'m mut [u64], store: Store, rows: usize, columns: usize) -> Self {
        let layer = stored(store, rows, columns, size_of::<R>()).div_ceil(8) as usize;
        Self { words, store, rows, columns, layer }
    }

    /// All of it.
    pub fn bytes(&mut self) -> &mut [u8] {
        self.words.as_mut_bytes()
    }

    fn layer(&mut self, layer: usize) -> &mut [u8] {
        let words = self.words.get_mut(layer * self.layer..).unwrap_or_default();
        words.get_mut(..self.layer).unwrap_or_default().as_mut_bytes()
    }

    /// The vectors of `layer`, in place; [`Store::Full`] alone has them so.
    pub fn in_place<R: Real>(&mut self, layer: usize) -> &mut [R] {
        debug_assert!(self.store == Store::Full);
        numbers(self.layer(layer))
    }

    /// Keeps `vectors`, one after the other, of `layer`.
    pub fn keep<R: Real>(&mut self, layer: usize, vectors: &[R]) {
        let columns = self.columns.max(1);
        for (token, vector) in vectors.chunks_exact(columns).take(self.rows).enumerate() {
            self.keep_row(layer, token, vector);
        }
    }

    fn keep_row<R: Real>(&mut self, layer: usize, token: usize, vector: &[R]) {
        let Self { store, rows, columns, .. } = *self;
        let bytes = self.layer(layer);
        match store {
            Store::Full => copy(row_mut(numbers(bytes), token, columns), vector),
            Store::Half => {
                let row = row_mut(numbers::<u16>(bytes), token, columns);
                for (place, x) in row.iter_mut().zip(vector) {
                    *place = f16::from_f32(x.narrow()).to_bits();
                }
            }
            Store::Bytes => {
                let (bytes, scales) = split(bytes, rows * columns);
                let most = vector.iter().fold(0.0f32, |most, x| {
                    let x = x.narrow();
                    let x = if x < 0.0 { -x } else { x };
                    if x > most { x } else { most }
                });
                let inverse = if most > f32::MIN_POSITIVE { 127.0 / most } else { 0.0 };
                if let Some(scale) = scales.get_mut(token) {
                    *scale = most / 127.0;
                }
                for (q, x) in row_mut(bytes, token, columns).iter_mut().zip(vector) {
                    *q = quant::round(x.narrow() * inverse) as i8 as u8;
                }
            }
        }
    }

    /// Writes what was kept of `token` to `vector`, `(columns,)`.
    pub fn restore<R: Real>(&mut self, layer: usize, token: usize, vector: &mut [R]) {
        let Self { store, rows, columns, .. } = *self;
        let bytes = self.layer(layer);
        match store {
            Store::Full => copy(vector, row(numbers(bytes), token, columns)),
            Store::Half => {
                for (x, half) in vector.iter_mut().zip(row(numbers::<u16>(bytes), token, columns)) {
                    *x = R::of(f16::from_bits(*half).to_f32());
                }
            }
            Store::Bytes => {
                let (bytes, scales) = split(bytes, rows * columns);
                let scale = at(scales, token);
                for (x, q) in vector.iter_mut().zip(row(bytes, token, columns)) {
                    *x = R::of(f32::from(*q as i8) * scale);
                }
            }
        }
    }
}

/// The whole numbers in `bytes`, which begin on a boundary of eight.
fn numbers<T: FromBytes + IntoBytes + zerocopy::Immutable>(bytes: &mut [u8]) -> &mut [T] {
    let whole = bytes.len() / size_of::<T>() * size_of::<T>();
    <[T]>::mut_from_bytes(bytes.get_mut(..whole).unwrap_or_default()).unwrap_or_default()
}

/// The bytes, and behind them the scales.
fn split(bytes: &mut [u8], count: usize) -> (&mut [u8], &mut [f32]) {
    let (bytes, scales) = bytes.split_at_mut_checked(count.next_multiple_of(4)).unwrap_or_default();
    (bytes, numbers(scales))
}
