//! The number formats of GGUF tensors, as float32.
//!
//! In: a type and the bytes of whole blocks. Out: exactly the values that ggml's formulas give
//! (`tests/tests/host/import_gguf.rs` compares each with the `gguf` package of Python). Knows nothing of
//! files.
//!
//! Written here because no small crate was found that has them all, going by what `ggml-quants`,
//! `gguf-rs-lib` and `ggus` say of themselves; `candle-core` has, and brings a hundred others. The formats
//! are frozen and each is some lines.

use half::f16;
use half::slice::HalfFloatSliceExt;

/// How the values of a tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(non_camel_case_types, reason = "the names that the format has for them")]
pub(crate) enum Type {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2_K,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K,
}

impl Type {
    /// What a file says for each.
    const CODES: [(u32, Self); 13] = [
        (0, Self::F32),
        (1, Self::F16),
        (30, Self::BF16),
        (2, Self::Q4_0),
        (3, Self::Q4_1),
        (6, Self::Q5_0),
        (7, Self::Q5_1),
        (8, Self::Q8_0),
        (10, Self::Q2_K),
        (11, Self::Q3_K),
        (12, Self::Q4_K),
        (13, Self::Q5_K),
        (14, Self::Q6_K),
    ];

    pub(crate) fn of_code(code: u32) -> Option<Self> {
        Self::CODES.into_iter().find(|&(known, _)| known == code).map(|(_, kind)| kind)
    }

    /// Values and bytes of one block.
    pub(crate) const fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::BF16 => (1, 2),
            Self::Q4_0 => (32, 18),
            Self::Q4_1 => (32, 20),
            Self::Q5_0 => (32, 22),
            Self::Q5_1 => (32, 24),
            Self::Q8_0 => (32, 34),
            Self::Q2_K => (256, 84),
            Self::Q3_K => (256, 110),
            Self::Q4_K => (256, 144),
            Self::Q5_K => (256, 176),
            Self::Q6_K => (256, 210),
        }
    }

    /// Writes the values of `bytes`, which are whole blocks, to `out`, which has room for them.
    pub(crate) fn read(self, bytes: &[u8], out: &mut [f32]) {
        match self {
            Self::F32 => {
                let values = bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes));
                out.iter_mut().zip(values).for_each(|(out, value)| *out = value);
            }
            Self::F16 => {
                let mut part = [f16::ZERO; 256];
                for (bytes, out) in bytes.chunks(2 * part.len()).zip(out.chunks_mut(part.len())) {
                    let part = &mut part[..out.len()];
                    let values = bytes.as_chunks().0.iter().map(|&bytes| f16::from_le_bytes(bytes));
                    part.iter_mut().zip(values).for_each(|(out, value)| *out = value);
                    part.convert_to_f32_slice(out);
                }
            }
            Self::BF16 => {
                // The upper half of a float32.
                let values = bytes.as_chunks().0.iter().map(|&[low, high]| [0, 0, low, high]);
                out.iter_mut()
                    .zip(values)
                    .for_each(|(out, bytes)| *out = f32::from_le_bytes(bytes));
            }
            _ => out.copy_from_slice(&self.values(bytes)),
        }
    }

    /// The values of `bytes`, which are whole blocks of more than one number.
    fn values(self, bytes: &[u8]) -> Vec<f32> {
        let (values, size) = self.block();
        let mut out = Vec::with_capacity(bytes.len() / size * values);
        for block in bytes.chunks_exact(size) {
            match self {
                Self::F32 | Self::F16 | Self::BF16 => {}
                Self::Q4_0 => nibbles(block, 2, None, &mut out, |q| q - 8, 0.0),
                Self::Q4_1 => nibbles(block, 4, None, &mut out, |q| q, half(block, 2)),
                Self::Q5_0 => nibbles(block, 6, Some(2), &mut out, |q| q - 16, 0.0),
                Self::Q5_1 => nibbles(block, 8, Some(4), &mut out, |q| q, half(block, 2)),
                Self::Q8_0 => {
                    let d = half(block, 0);
                    out.extend(block[2..].iter().map(|&q| d * f32::from(q as i8)));
                }
                Self::Q2_K => q2_k(block, &mut out),
                Self::Q3_K => q3_k(block, &mut out),
                Self::Q4_K => q4_k(block, None, &block[16..], &mut out),
                Self::Q5_K => q4_k(block, Some(&block[16..48]), &block[48..], &mut out),
                Self::Q6_K => q6_k(block, &mut out),
            }
        }
        out
    }
}

fn half(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// 32 numbers of four bits from `at` on, the low halves first, with a fifth bit in the word at `high`:
/// `d * level(q) + m`.
fn nibbles(
    block: &[u8],
    at: usize,
    high: Option<usize>,
    out: &mut Vec<f32>,
    level: impl Fn(i32) -> i32,
    m: f32,
) {
    let d = half(block, 0);
    let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| block[at + i]));
    let high = high.map_or(0, word);
    for i in 0..32 {
        let byte = block[at + i % 16];
        let q = if i < 16 { byte & 15 } else { byte >> 4 };
        let q = i32::from(q) | ((high >> i & 1) << 4) as i32;
        out.push(d * level(q) as f32 + m);
    }
}

/// 16 groups of 16 numbers of two bits; a scale and a minimum of four bits each.
fn q2_k(block: &[u8], out: &mut Vec<f32>) {
    let (scales, qs) = (&block[..16], &block[16..80]);
    let (d, min) = (half(block, 80), half(block, 82));
    for (group, &scale) in scales.iter().enumerate() {
        let (dl, ml) = (d * f32::from(scale & 15), min * f32::from(scale >> 4));
        let (first, shift) = two_bits(group);
        let group = &qs[first..first + 16];
        out.extend(group.iter().map(|q| dl * f32::from(q >> shift & 3) - ml));
    }
}

/// 16 groups of 16 numbers of two bits and a mask that takes 4 away; scales of six bits.
fn q3_k(block: &[u8], out: &mut Vec<f32>) {
    let (mask, qs, scales) = (&block[..32], &block[32..96], &block[96..108]);
    let d = half(block, 108);
    for group in 0..16 {
        let low = if group < 8 { scales[group] & 15 } else { scales[group - 8] >> 4 };
        let high = scales[8 + group % 4] >> (2 * (group / 4)) & 3;
        let dl = d * f32::from((low | high << 4) as i8 - 32);
        let (first, shift) = two_bits(group);
        let bit = group / 2;
        for i in 0..16 {
            let q = (qs[first + i] >> shift & 3) as i8;
            let less = if mask[first % 32 + i] >> bit & 1 == 0 { 4 } else { 0 };
            out.push(dl * f32::from(q - less));
        }
    }
}

/// Where 16 numbers of two bits are: their first byte, and how far they are shifted.
const fn two_bits(group: usize) -> (usize, usize) {
    (group / 8 * 32 + group % 2 * 16, group % 8 / 2 * 2)
}

/// 8 groups of 32 numbers of four bits, and maybe a fifth in `high`; scales and minima of six bits.
fn q4_k(block: &[u8], high: Option<&[u8]>, qs: &[u8], out: &mut Vec<f32>) {
    let (d, min, scales) = (half(block, 0), half(block, 2), &block[4..16]);
    for group in 0..8 {
        let (scale, minimum) = if group < 4 {
            (scales[group] & 63, scales[group + 4] & 63)
        } else {
            let both = scales[group + 4];
            (both & 15 | scales[group - 4] >> 6 << 4, both >> 4 | scales[group] >> 6 << 4)
        };
        let (dl, ml) = (d * f32::from(scale), min * f32::from(minimum));
        for i in 0..32 {
            let q = qs[group / 2 * 32 + i] >> (group % 2 * 4) & 15;
            let fifth = high.map_or(0, |high| high[i] >> group & 1);
            out.push(dl * f32::from(q | fifth << 4) - ml);
        }
    }
}

/// 16 groups of 16 numbers of six bits; scales of eight.
fn q6_k(block: &[u8], out: &mut Vec<f32>) {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let d = half(block, 208);
    for i in 0..256 {
        // Of each half, four runs of 32: their low bits in two runs of bytes, their high ones in one.
        let (part, run, l) = (i / 128, i % 128 / 32, i % 32);
        let four = low[part * 64 + run % 2 * 32 + l] >> (run / 2 * 4) & 15;
        let two = high[part * 32 + l] >> (run * 2) & 3;
        let q = (four | two << 4) as i8 - 32;
        out.push(d * f32::from(scales[i / 16] as i8) * f32::from(q));
    }
}
