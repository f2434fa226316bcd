//! A record: one to three rows with their scales, a bias, and a check of its own.
//!
//! In: bytes from a card. Out: checked views of rows and scales; and the same the other way round,
//! for the packer. A matrix row, a neuron bundle and a norm vector are all records.
//!
//! ```text
//! check: u32 or u16 | scales: f16 | bias: f16 if any | zeroes to whole words | row 0 | row 1 | ..
//! ```
//!
//! A row has one scale, or, in 4 bits, one for each 32 numbers; behind the numbers of a row in groups are their
//! multipliers. The check has 4 bytes where they cost nothing,
//! and where the rows have [`LONG`] bytes or more; else 2.

use super::quant::Quant;
use super::remainder::Remainder;
use crate::math;
use half::f16;
use zerocopy::FromBytes;

/// Bytes of rows from which on 4 bytes of check are too few to be saved.
pub const LONG: u32 = 1024;

/// Where things are in a record; the same for all records of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct RecordLayout {
    /// Number format of the rows.
    pub quant: Quant,
    /// Rows in a record.
    pub rows: u32,
    /// Numbers in a row.
    pub cols: u32,
    /// Whether a bias stands in the header.
    pub bias: bool,
}

/// Bytes of a record's parts.
#[derive(Clone, Copy)]
pub(super) struct RecordSizes {
    check: u32,
    header: u32,
    row: u32,
    pub stride: u32,
}

impl RecordLayout {
    /// Bytes before the first row.
    #[inline]
    pub const fn header_bytes(&self) -> u32 {
        let long = self.rows * self.quant.row_bytes(self.cols) >= LONG;
        let check = if long { 4 } else { 2 };
        (check + self.numbers_bytes()).next_multiple_of(4)
    }

    /// Bytes of the check: 4, or 2 where 4 would make the header of a short record longer.
    #[inline]
    pub const fn check_bytes(&self) -> u32 {
        if self.header_bytes() - self.numbers_bytes() >= 4 { 4 } else { 2 }
    }

    /// Bytes of scales and bias.
    #[inline]
    const fn numbers_bytes(&self) -> u32 {
        2 * (self.scales() + self.bias as u32)
    }

    /// Scales of all rows.
    #[inline]
    const fn scales(&self) -> u32 {
        self.rows * self.quant.row_scales(self.cols)
    }

    /// Bytes of a record: the distance from one to the next.
    #[inline]
    pub const fn stride(&self) -> u32 {
        self.header_bytes() + self.rows * self.quant.row_bytes(self.cols)
    }

    /// The sizes that follow, computed once for all records of a table.
    #[inline]
    pub(super) const fn sizes(&self) -> RecordSizes {
        RecordSizes {
            check: self.check_bytes(),
            header: self.header_bytes(),
            row: self.quant.row_bytes(self.cols),
            stride: self.stride(),
        }
    }

    /// A view of the record at the start of `bytes`; `None` when they are too few.
    #[inline]
    pub fn view<'a>(&self, bytes: &'a [u8]) -> Option<Record<'a>> {
        self.view_sized(self.sizes(), bytes)
    }

    /// The same with its [`sizes`](Self::sizes).
    #[inline]
    pub(super) fn view_sized<'a>(&self, sizes: RecordSizes, bytes: &'a [u8]) -> Option<Record<'a>> {
        let bytes = bytes.get(..sizes.stride as usize)?;
        let (header, rows) = bytes.split_at_checked(sizes.header as usize)?;
        let RecordSizes { check: check_bytes, row: row_bytes, .. } = sizes;
        Some(Record { header, rows, check_bytes, row_bytes, layout: *self })
    }

    /// Writes a record of `rows` (each `(cols,)`), its `bias` and its check into `out`.
    ///
    /// `identity` is what the record is (see [`identity`]): reading it elsewhere fails the check.
    /// A row of `Sign` gives its threshold through `bias`.
    ///
    /// # Panics
    /// When `rows`, `cols` or `out` do not have the sizes of this layout: the packer's bug.
    pub fn emit(&self, rows: &[&[f32]], bias: f32, identity: u32, out: &mut [u8]) {
        assert_eq!(rows.len(), self.rows as usize, "rows of a record");
        assert_eq!(out.len(), self.stride() as usize, "bytes of a record");
        out.iter_mut().for_each(|byte| *byte = 0);
        let (header, body) = out.split_at_mut(self.header_bytes() as usize);
        let row_bytes = self.quant.row_bytes(self.cols) as usize;
        let first = self.check_bytes() as usize / 2;
        for (i, (row, body)) in rows.iter().zip(body.chunks_exact_mut(row_bytes)).enumerate() {
            assert_eq!(row.len(), self.cols as usize, "numbers of a row");
            let scales = self.quant.row_scales(self.cols) as usize;
            let mut at = first + i * scales;
            self.quant.emit_row(row, bias, body, |scale| {
                put_half(header, at, scale);
                at += 1;
            });
        }
        if self.bias {
            put_half(header, first + self.scales() as usize, f16::from_f32(bias));
        }
        self.seal(identity, out);
    }

    /// Writes the check of the record that `out` holds, which is `identity`; nothing where `out` is shorter.
    pub fn seal(&self, identity: u32, out: &mut [u8]) {
        if let Some(record) = self.view(out) {
            let check = record.check(identity).to_le_bytes();
            let there = check.iter().take(self.check_bytes() as usize);
            out.iter_mut().zip(there).for_each(|(out, byte)| *out = *byte);
        }
    }
}

fn put_half(out: &mut [u8], index: usize, value: f16) {
    for (byte, v) in out.iter_mut().skip(2 * index).zip(value.to_bits().to_le_bytes()) {
        *byte = v;
    }
}

/// What a record is, as a number: of which image, which section, which layer, which slot.
pub const fn identity(image: u32, section: u32, layer: u32, slot: u32) -> u32 {
    image ^ (section << 28) ^ (layer << 20) ^ slot
}

/// A checked view of a record.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    header: &'a [u8],
    rows: &'a [u8],
    check_bytes: u32,
    row_bytes: u32,
    layout: RecordLayout,
}

impl<'a> Record<'a> {
    /// The scale of row `i` (the threshold, for signs); meaningless in 4 bits.
    #[inline]
    pub fn scale(&self, i: usize) -> f32 {
        widen(self.half(i))
    }

    /// The bias; 0 where the layout has none.
    #[inline]
    pub fn bias(&self) -> f32 {
        if self.layout.bias { widen(self.half(self.layout.scales() as usize)) } else { 0.0 }
    }

    /// Row `i` as 8-bit numbers, `(cols,)`.
    #[inline]
    pub fn row(&self, i: usize) -> &'a [i8] {
        let row = self.row_at(i).get(..self.layout.cols as usize).unwrap_or(&[]);
        <[i8]>::ref_from_bytes(row).unwrap_or(&[])
    }

    /// The multipliers of row `i`, one for each 32 numbers, where there are some: behind its numbers.
    #[cfg(feature = "grouped")]
    #[inline]
    pub fn multipliers(&self, i: usize) -> &'a [u8] {
        let cols = self.layout.cols;
        let behind = self.row_at(i).get(cols.next_multiple_of(4) as usize..);
        behind.and_then(|rest| rest.get(..cols.div_ceil(32) as usize)).unwrap_or(&[])
    }

    /// How the numbers of its rows are stored.
    #[inline]
    pub const fn quant(&self) -> Quant {
        self.layout.quant
    }

    /// The scales and the bytes of row `i`, where each group of numbers has a scale.
    #[inline]
    pub fn grouped(&self, i: usize) -> (&'a [[u8; 2]], &'a [u8]) {
        let count = self.layout.quant.row_scales(self.layout.cols) as usize;
        let (halves, _) = self.halves().as_chunks();
        let scales = halves.get(i * count..).and_then(|rest| rest.get(..count));
        (scales.unwrap_or(&[]), self.row_at(i))
    }

    /// Row `i` as little-endian words: signs, or floats.
    #[inline]
    pub fn words(&self, i: usize) -> &'a [[u8; 4]] {
        <[[u8; 4]]>::ref_from_bytes(self.row_at(i)).unwrap_or(&[])
    }

    /// Whether the record is whole and is the one it should be.
    ///
    /// Up to three flipped bits are always noticed, and a record of another place or image where the check has
    /// 4 bytes; of other damage one in 2^32 passes, or one in 2^16; of an even number of flips, twice that.
    pub fn is(&self, identity: u32) -> bool {
        let (words, _) = self.header.as_chunks();
        let found = words.first().map_or(0, |word| u32::from_le_bytes(*word));
        self.check(identity) == found & self.check_mask()
    }

    /// The bits of the first word that are the check.
    #[inline]
    const fn check_mask(&self) -> u32 {
        if self.check_bytes == 4 { u32::MAX } else { 0xFFFF }
    }

    fn check(&self, identity: u32) -> u32 {
        let (header, _) = self.header.as_chunks();
        let mut masked = !self.check_mask();
        let mut rest = Remainder::new(identity);
        for &word in header {
            rest = rest.after(u32::from_le_bytes(word) & masked);
            masked = u32::MAX;
        }
        let rest = rest.after_words(self.rows);
        if self.check_bytes == 4 { rest.wide() } else { rest.narrow() }
    }

    /// Copies the whole record, header and rows, to the front of `out`.
    pub fn copy_to(&self, out: &mut [u8]) {
        let bytes = self.header.iter().chain(self.rows);
        out.iter_mut().zip(bytes).for_each(|(out, byte)| *out = *byte);
    }

    /// Scales and bias, two bytes each.
    #[inline]
    fn halves(&self) -> &'a [u8] {
        self.header.get(self.check_bytes as usize..).unwrap_or(&[])
    }

    #[inline]
    fn half(&self, index: usize) -> f16 {
        match self.halves().get(2 * index..).and_then(|bytes| bytes.first_chunk()) {
            Some(&bytes) => f16::from_le_bytes(bytes),
            None => f16::ZERO,
        }
    }

    #[inline]
    fn row_at(&self, i: usize) -> &'a [u8] {
        let size = self.row_bytes as usize;
        self.rows.get(i * size..).and_then(|rows| rows.get(..size)).unwrap_or(&[])
    }
}

/// `f16` to `f32`. All but the smallest scales need no arithmetic but on integers.
#[inline]
fn widen(half: f16) -> f32 {
    let bits = u32::from(half.to_bits());
    match bits >> 10 & 0x1F {
        0 => math::half_to_f32(half.to_bits()),
        _ => f32::from_bits((bits >> 15 << 31) | (((bits & 0x7FFF) << 13) + (112 << 23))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec;

    const LAYOUT: RecordLayout = RecordLayout { quant: Quant::Q8, rows: 2, cols: 6, bias: true };

    #[test]
    fn a_record_comes_back() {
        let mut bytes = vec![0; LAYOUT.stride() as usize];
        assert_eq!(bytes.len(), 8 + 2 * 8);
        let (a, b) = ([1.0, -2.0, 0.5, 0.0, 2.0, 1.5], [0.0; 6]);
        LAYOUT.emit(&[&a, &b], 0.25, 7, &mut bytes);
        let record = LAYOUT.view(&bytes).unwrap();
        assert!(record.is(7) && !record.is(8));
        assert_eq!(record.bias(), 0.25);
        assert_eq!(record.row(1), [0; 6]);
        for (q, x) in record.row(0).iter().zip(a) {
            assert!((f32::from(*q) * record.scale(0) - x).abs() <= record.scale(0) / 2.0);
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut bytes = vec![0; LAYOUT.stride() as usize];
        LAYOUT.emit(&[&[1.0; 6], &[-0.5; 6]], 1.0, 3, &mut bytes);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!LAYOUT.view(&bytes).unwrap().is(3), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn signs_are_packed_low_bit_first() {
        let layout = RecordLayout { quant: Quant::Sign, rows: 1, cols: 33, bias: false };
        let mut row = [-1.0; 33];
        row[1] = 1.0;
        row[32] = 1.0;
        let mut bytes = vec![0; layout.stride() as usize];
        layout.emit(&[&row], -3.0, 0, &mut bytes);
        let record = layout.view(&bytes).unwrap();
        assert_eq!(record.words(0), [[2, 0, 0, 0], [1, 0, 0, 0]]);
        assert_eq!(record.scale(0), -3.0);
    }

    #[cfg(feature = "q4")]
    #[test]
    fn rows_in_4_bits_come_back_and_are_checked() {
        use crate::math::groups::Groups;
        let layout = RecordLayout { quant: Quant::Q4, rows: 2, cols: 36, bias: true };
        let mut bytes = vec![0; layout.stride() as usize];
        assert_eq!(bytes.len(), 2 * (1 + 2 * 2 + 1) + 2 * 2 * 16);
        let rows = [0.5, -0.25].map(|step| [(); 36].map(|()| step));
        layout.emit(&[&rows[0], &rows[1]], 1.5, 9, &mut bytes);
        let record = layout.view(&bytes).unwrap();
        assert!(record.is(9) && record.bias() == 1.5);
        for (i, row) in rows.iter().enumerate() {
            let mut seen = 0;
            let (scales, bytes) = record.grouped(i);
            Groups { scales, numbers: bytes.as_chunks().0 }.for_each(|j, w| {
                assert!((w - row.get(j).unwrap_or(&0.0)).abs() < 1e-3, "{i}, {j}: {w}");
                seen += 1;
            });
            assert_eq!(seen, 64);
        }
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!layout.view(&bytes).unwrap().is(9), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[cfg(feature = "grouped")]
    #[test]
    fn rows_in_groups_come_back_and_are_checked() {
        let layout = RecordLayout { quant: Quant::Q8G, rows: 2, cols: 36, bias: true };
        let mut bytes = vec![0; layout.stride() as usize];
        assert_eq!(bytes.len(), 8 + 2 * (36 + 4));
        // The numbers of the second group are a thousandth of those of the first.
        let number = |j: usize| -> f32 { (j as f32 - 17.3) * if j < 32 { 0.1 } else { 1e-4 } };
        let rows =
            [1.0, -0.3].map(|scale: f32| core::array::from_fn::<f32, 36, _>(|j| scale * number(j)));
        layout.emit(&[&rows[0], &rows[1]], 1.5, 9, &mut bytes);
        let record = layout.view(&bytes).unwrap();
        assert!(record.is(9) && record.bias() == 1.5);
        for (i, row) in rows.iter().enumerate() {
            let mut found = [0.0; 36];
            record.numbers(i, &mut found);
            for (j, (x, found)) in row.iter().zip(found).enumerate() {
                // A multiplier is 1 of 255 at least, and a 127th of it a step.
                let largest = if j < 32 { 1.74 } else { 1.74 * 1.02 / 255.0 };
                assert!((x - found).abs() <= 0.501 * largest / 127.0, "{i}, {j}: {found} of {x}");
            }
            assert_eq!(record.multipliers(i), [255, 1], "{i}");
        }
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!layout.view(&bytes).unwrap().is(9), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn too_few_bytes_give_no_view() {
        assert!(LAYOUT.view(&[0; 23]).is_none());
    }
}
