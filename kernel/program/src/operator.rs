//! The operators that are not generated: products of packed vectors with rows, windows, filters.
//!
//! In: the arena, places in it, a row of numbers. Out: 32-bit sums in the arena. Knows nothing of what becomes
//! of them. Indices that lie outside of a tensor read 0, or add nothing.

use crate::words::Words;
use core::ops::Range;
use ripple_kernel::math::{Packed, axpy, dot, scalar};
use zerocopy::{FromBytes, IntoBytes};

/// Words of a packed vector of so many numbers.
pub const fn packed_words(numbers: usize) -> usize {
    Packed::words(numbers as u32) as usize
}

fn small(arena: &[u32]) -> &[i8] {
    <[i8]>::ref_from_bytes(arena.as_bytes()).unwrap_or(&[])
}

fn cut<T>(all: &[T], at: usize, count: usize) -> &[T] {
    all.get(at..).and_then(|rest| rest.get(..count)).unwrap_or(&[])
}

/// Words of the arena, and others behind or before them.
fn apart(arena: &mut [u32], from: Range<usize>, to: Range<usize>) -> (&[u32], &mut [u32]) {
    match arena.get_disjoint_mut([from, to]) {
        Ok([from, to]) => (from, to),
        Err(_) => (&[], &mut []),
    }
}

/// Packs `rows` vectors of `cols` numbers.
pub fn pack(mut words: Words<'_>, arena: &mut [u32]) {
    let (from, to) = (words.count(), words.count());
    let (rows, cols) = (words.count(), words.count());
    let each = packed_words(cols).max(1);
    let bytes = rows.saturating_mul(cols);
    let (source, room) = apart(
        arena,
        from / 4..(from.saturating_add(bytes)).div_ceil(4),
        to..to.saturating_add(rows.saturating_mul(each)),
    );
    let source = cut(small(source), 0, bytes);
    for (x, room) in source.chunks_exact(cols.max(1)).zip(room.chunks_exact_mut(each)) {
        Packed::new(x, room);
    }
}

/// Packed vectors, and where their products with a row go.
#[derive(Clone, Copy)]
pub struct Vectors {
    /// First word of the first.
    pub packed: usize,
    /// How many of them.
    pub count: usize,
    /// Numbers in each, a multiple of four.
    pub cols: usize,
    /// First word of the products.
    pub products: usize,
}

/// `products_i = row . vector_i`.
pub fn products(row: &[i8], vectors: Vectors, arena: &mut [u32]) {
    let Vectors { packed, count, cols, products } = vectors;
    let each = packed_words(cols).max(1);
    let (vectors, products) = apart(
        arena,
        packed..packed.saturating_add(count.saturating_mul(each)),
        products..products.saturating_add(count),
    );
    for (words, y) in vectors.chunks_exact(each).zip(products) {
        *y = dot(row, Packed::of(words, cols)) as u32;
    }
}

/// The same with a row of the arena, at byte `at`.
pub fn products_within(at: usize, vectors: Vectors, arena: &mut [u32]) {
    let Vectors { packed, count, cols, products } = vectors;
    let each = packed_words(cols).max(1);
    for i in 0..count {
        let words = cut(arena, packed.saturating_add(i.saturating_mul(each)), each);
        let y = dot(cut(small(arena), at, cols), Packed::of(words, cols));
        if let Some(place) = arena.get_mut(products.saturating_add(i)) {
            *place = y as u32;
        }
    }
}

/// A window over the positions of a sequence.
#[derive(Clone, Copy)]
pub struct Window {
    /// First byte of the vectors or scores, one row for each position.
    pub rows: usize,
    /// First byte of the sequence.
    pub sequence: usize,
    /// How many positions there are, each with a row.
    pub positions: usize,
    /// Positions of the sequence.
    pub length: usize,
    /// Places of the window.
    pub window: usize,
    /// Numbers at a position of the sequence.
    pub depth: usize,
    /// What is added to a position for the first place.
    pub offset: i32,
    /// From one place to the next.
    pub step: i32,
    /// First word of what is packed.
    pub packed: usize,
    /// First word of the results of one position.
    pub results: usize,
}

impl Window {
    /// Out of a step's words.
    pub fn new(words: &mut Words<'_>) -> Self {
        Self {
            rows: words.count(),
            sequence: words.count(),
            positions: words.count(),
            length: words.count(),
            window: words.count(),
            depth: words.count(),
            offset: words.next(),
            step: words.next(),
            packed: words.count(),
            results: words.count(),
        }
    }

    /// Byte of what place `w` of the window has at `position` of sequence `batch`; `None` outside.
    fn at(&self, batch: usize, position: usize, w: usize) -> Option<usize> {
        let first = (position as i32).wrapping_add(self.offset);
        let place = first.wrapping_add(self.step.wrapping_mul(w as i32));
        let place = usize::try_from(place).ok().filter(|&place| place < self.length)?;
        let row = batch.checked_mul(self.length)?.checked_add(place)?;
        row.checked_mul(self.depth)?.checked_add(self.sequence)
    }

    /// `results_w = vector(batch, position) . sequence(batch, position + offset + step w)`.
    pub fn scores(&self, batch: usize, position: usize, arena: &mut [u32]) {
        let row = batch.saturating_mul(self.positions).saturating_add(position);
        let byte = self.rows.saturating_add(row.saturating_mul(self.depth));
        let whole = self.depth.is_multiple_of(4);
        if whole {
            let words = packed_words(self.depth);
            let end = byte.saturating_add(self.depth) / 4;
            let to = self.packed..self.packed.saturating_add(words);
            let (source, room) = apart(arena, byte / 4..end, to);
            Packed::new(small(source), room);
        }
        for w in 0..self.window {
            let y = match self.at(batch, position, w) {
                None => 0,
                Some(at) if whole => {
                    let words = cut(arena, self.packed, packed_words(self.depth));
                    dot(cut(small(arena), at, self.depth), Packed::of(words, self.depth))
                }
                Some(at) => {
                    let all = small(arena);
                    scalar::dot(cut(all, at, self.depth), cut(all, byte, self.depth))
                }
            };
            if let Some(place) = arena.get_mut(self.results.saturating_add(w)) {
                *place = y as u32;
            }
        }
    }

    /// `results = sum over w . score(batch, position, w) sequence(batch, position + offset + step w)`.
    pub fn weighed(&self, batch: usize, position: usize, arena: &mut [u32]) {
        let row = batch.saturating_mul(self.positions).saturating_add(position);
        let byte = self.rows.saturating_add(row.saturating_mul(self.window));
        let to = self.results..self.results.saturating_add(self.depth);
        if let Some(results) = arena.get_mut(to.clone()) {
            results.fill(0);
        }
        for w in 0..self.window {
            let score = small(arena).get(byte.saturating_add(w)).copied().unwrap_or(0);
            let Some(at) = self.at(batch, position, w) else { continue };
            let words = at / 4..(at.saturating_add(self.depth)).div_ceil(4);
            let (source, results) = apart(arena, words, to.clone());
            let results = <[i32]>::mut_from_bytes(results.as_mut_bytes()).unwrap_or_default();
            axpy(results, score.into(), cut(small(source), at % 4, self.depth));
        }
    }
}

/// A filter over images, and where its results go.
#[derive(Clone, Copy)]
pub struct Filter {
    /// First byte of the images: rows of pixels, each with its channels.
    pub image: usize,
    images: usize,
    input: [usize; 2],
    channels: usize,
    output: [usize; 2],
    kernel: [usize; 2],
    stride: [i32; 2],
    dilation: [i32; 2],
    offset: [i32; 2],
    /// First word of the results.
    pub results: usize,
}

impl Filter {
    /// Out of a step's words.
    pub fn new(words: &mut Words<'_>) -> Self {
        let (image, images) = (words.count(), words.count());
        let input = [words.count(), words.count()];
        let channels = words.count();
        let output = [words.count(), words.count()];
        let kernel = [words.count(), words.count()];
        let mut pair = || [words.next(), words.next()];
        let (stride, dilation, offset) = (pair(), pair(), pair());
        let results = words.count();
        Self { image, images, input, channels, output, kernel, stride, dilation, offset, results }
    }

    /// Results of one filter.
    pub fn results(&self) -> usize {
        self.images.saturating_mul(self.output[0]).saturating_mul(self.output[1])
    }

    /// Bytes of the images.
    pub fn bytes(&self) -> usize {
        let pixels = self.input[0].saturating_mul(self.input[1]);
        self.images.saturating_mul(pixels).saturating_mul(self.channels)
    }

    /// `results(n, y, x) = sum over r, s, c . image(n, y sy + r dy + oy, x sx + s dx + ox, c) row(r, s, c)`.
    pub fn over(&self, row: &[i8], arena: &mut [u32]) {
        let words = self.image / 4..(self.image.saturating_add(self.bytes())).div_ceil(4);
        let to = self.results..self.results.saturating_add(self.results());
        let (image, results) = apart(arena, words, to);
        let image = cut(small(image), 0, self.bytes());
        let [height, width] = self.output;
        let mut results = results.iter_mut();
        for n in 0..self.images {
            for y in 0..height {
                for x in 0..width {
                    let Some(to) = results.next() else { return };
                    *to = self.pixel(row, image, n, y as i32, x as i32) as u32;
                }
            }
        }
    }

    #[inline]
    fn pixel(&self, row: &[i8], image: &[i8], n: usize, y: i32, x: i32) -> i32 {
        let start = |i: usize, at: i32| {
            let [first, second] =
                [self.stride, self.offset].map(|pair| pair.get(i).copied().unwrap_or(0));
            at.wrapping_mul(first).wrapping_add(second)
        };
        let (top, left) = (start(0, y), start(1, x));
        let [h, w] = self.input;
        let mut sum = 0i32;
        for r in 0..self.kernel[0] {
            let line = top.wrapping_add(self.dilation[0].wrapping_mul(r as i32));
            let Some(line) = usize::try_from(line).ok().filter(|&line| line < h) else { continue };
            let pixels = n.saturating_mul(h).saturating_add(line).saturating_mul(w);
            let taps = r.saturating_mul(self.kernel[1]);
            let mut add = |pixel: usize, tap: usize, count: usize| {
                let from = pixels.saturating_add(pixel).saturating_mul(self.channels);
                let with = taps.saturating_add(tap).saturating_mul(self.channels);
                let count = count.saturating_mul(self.channels);
                sum = sum.wrapping_add(scalar::dot(cut(row, with, count), cut(image, from, count)));
            };
            if self.dilation[1] == 1 {
                // Neighbours in the kernel are neighbours in the image.
                let first = left.saturating_neg().max(0) as usize;
                let end = ((w as i32).saturating_sub(left).max(0) as usize).min(self.kernel[1]);
                if first < end {
                    add(left.wrapping_add(first as i32) as usize, first, end - first);
                }
                continue;
            }
            for s in 0..self.kernel[1] {
                let place = left.wrapping_add(self.dilation[1].wrapping_mul(s as i32));
                if let Some(place) = usize::try_from(place).ok().filter(|&place| place < w) {
                    add(place, s, 1);
                }
            }
        }
        sum
    }
}
