//! How the numbers of a row are stored: codes, sizes and writing of every format.
//!
//! In: a format, a row. Out: its bytes, and what of this build they need. What is computed with such a
//! row stands in [`row`](super::row) alone.

use crate::config::coded;
#[cfg(feature = "grouped")]
use crate::math::grouped;
#[cfg(feature = "q4")]
use crate::math::groups;
use crate::math::quant;
use half::f16;

coded! {
    /// How the numbers of a row are stored.
    enum Quant {
        /// `f32`, no scale: norms and biases.
        F32 = 0, "f32";
        /// 8 bits and one scale a row: `w = scale * q`, `|q| <= 127`.
        Q8 = 1, "q8";
        /// 4 bits, and one scale for 32 numbers: see `math::groups`.
        Q4 = 2, "q4";
        /// One bit a number, 1 for positive: rows of a sign predictor; the scale is its threshold.
        Sign = 3, "sign";
        /// 8 bits, a scale a row, and a multiplier of it for each 32 numbers, behind them: see `math::grouped`.
        Q8G = 4, "q8g";
    }
}

impl Quant {
    /// The formats of weights, and what they are, for reports and command lines.
    pub const WEIGHTS: [(Self, &'static str); 3] = [
        (Self::Q8, "8 bits, a scale for each row"),
        (Self::Q8G, "8 bits, a scale for each 32 numbers, of inputs too: for models with outliers"),
        (Self::Q4, "4 bits, a scale for each 32 numbers: half the bytes"),
    ];

    /// The format of weights of this build, where it has one alone: the compiler drops the choice.
    pub(super) const ALONE: Option<Self> =
        if cfg!(any(feature = "q4", feature = "grouped")) { None } else { Some(Self::Q8) };

    /// Whether rows of weights can be in it: integers with scales.
    pub const fn is_of_weights(self) -> bool {
        matches!(self, Self::Q8 | Self::Q4 | Self::Q8G)
    }

    /// The feature of this crate that it needs and this build lacks.
    pub const fn missing_feature(self) -> Option<&'static str> {
        match self {
            Self::Q4 if !cfg!(feature = "q4") => Some("q4"),
            Self::Q8G if !cfg!(feature = "grouped") => Some("grouped"),
            _ => None,
        }
    }

    /// Whether groups of a row's numbers have multipliers; so have those of its input then.
    pub const fn is_grouped(self) -> bool {
        cfg!(feature = "grouped") && matches!(self, Self::Q8G)
    }

    /// Bytes of a row of `cols` numbers, a multiple of 4. Of a format that this build lacks there are no
    /// rows: an image that has some was refused, and the sizes are code that nothing would call.
    #[inline]
    pub const fn row_bytes(self, cols: u32) -> u32 {
        match self {
            Self::F32 => cols * 4,
            Self::Q4 if cfg!(feature = "q4") => cols.div_ceil(32) * 16,
            Self::Q8G if cfg!(feature = "grouped") => {
                cols.next_multiple_of(4) + cols.div_ceil(32).next_multiple_of(4)
            }
            Self::Q8 | Self::Q4 | Self::Q8G => cols.next_multiple_of(4),
            Self::Sign => cols.div_ceil(32) * 4,
        }
    }

    /// Scales of a row of `cols` numbers.
    #[inline]
    pub const fn row_scales(self, cols: u32) -> u32 {
        match self {
            Self::Q4 if cfg!(feature = "q4") => cols.div_ceil(32),
            Self::F32 | Self::Q8 | Self::Q4 | Self::Sign | Self::Q8G => 1,
        }
    }

    /// The largest number that a row can hold: more would make its scale, of 16 bits, infinite.
    pub const fn largest(self) -> f32 {
        const SCALE: f32 = 65_504.0;
        match self {
            Self::Q8 => 127.0 * SCALE,
            Self::Q8G => 127.0 * SCALE * 255.0 / 256.0,
            Self::Q4 => 7.0 * SCALE,
            Self::F32 | Self::Sign => f32::MAX,
        }
    }

    /// Writes one row to `out`, and its scales, in order, to `put_scale`.
    ///
    /// # Panics
    /// When this build lacks what the format needs: the packer's bug.
    pub(super) fn emit_row(
        self,
        row: &[f32],
        threshold: f32,
        out: &mut [u8],
        mut put_scale: impl FnMut(f16),
    ) {
        assert_eq!(self.missing_feature(), None, "a feature of this build");
        match self {
            Self::F32 => {
                for (bytes, x) in out.chunks_exact_mut(4).zip(row) {
                    bytes.copy_from_slice(&x.to_le_bytes());
                }
                put_scale(f16::ONE);
            }
            Self::Q8 => {
                // The scale is rounded to f16 first, upwards, so that 127 steps of it reach the largest.
                let most = quant::max_abs(row);
                let mut scale = f16::from_f32(most / 127.0);
                if scale.to_f32() * 127.0 < most {
                    scale = f16::from_bits(scale.to_bits() + 1);
                }
                let step = scale.to_f32();
                for (byte, x) in out.iter_mut().zip(row) {
                    let q = if step > 0.0 { quant::round(x / step) } else { 0 };
                    *byte = (q.clamp(-127, 127) as i8) as u8;
                }
                put_scale(scale);
            }
            #[cfg(feature = "q4")]
            Self::Q4 => {
                let (groups, _) = out.as_chunks_mut();
                for (group, numbers) in groups.iter_mut().zip(row.chunks(groups::GROUP)) {
                    put_scale(groups::quantise(numbers, group));
                }
            }
            #[cfg(not(feature = "q4"))]
            Self::Q4 => {}
            #[cfg(feature = "grouped")]
            Self::Q8G => {
                let at = row.len().next_multiple_of(4);
                let (numbers, multipliers) = out.split_at_mut(at);
                put_scale(grouped::quantise_row(row, |group, multiplier, group_numbers| {
                    let place = numbers.iter_mut().skip(group * grouped::GROUP);
                    place.zip(group_numbers).for_each(|(byte, q)| *byte = q as u8);
                    multipliers.iter_mut().skip(group).take(1).for_each(|m| *m = multiplier);
                }));
            }
            #[cfg(not(feature = "grouped"))]
            Self::Q8G => {}
            Self::Sign => {
                for (byte, xs) in out.iter_mut().zip(row.chunks(8)) {
                    *byte = xs.iter().rev().fold(0, |bits, &x| bits << 1 | u8::from(x > 0.0));
                }
                put_scale(f16::from_f32(threshold));
            }
        }
    }
}

#[cfg(feature = "q4")]
const _: () = assert!(groups::GROUP == 32 && groups::BYTES == 16);
