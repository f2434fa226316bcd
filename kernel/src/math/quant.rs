//! Floats to 8 bits and back to fixed point, with one rounding rule.
//!
//! In: floats. Out: integers and the scale that undoes them. Knows nothing of records or models.

/// Rounds half away from zero; saturates; NaN gives 0.
///
/// `as` truncates and saturates by definition, identically on every target, and vectorises.
#[inline]
pub fn round(x: f32) -> i32 {
    (x + if x < 0.0 { -0.5 } else { 0.5 }) as i32
}

/// Largest magnitude in `x`; NaN counts as 0.
pub fn max_abs(x: &[f32]) -> f32 {
    // Integer comparison of the magnitudes' bits is the order of the floats, and vectorises.
    let bits = x.iter().fold(0u32, |most, x| {
        let magnitude = x.to_bits() & 0x7FFF_FFFF;
        let magnitude = if magnitude > 0x7F80_0000 { 0 } else { magnitude };
        if magnitude > most { magnitude } else { most }
    });
    f32::from_bits(bits)
}

/// Writes `round(x / scale)` with `scale = max |x| / 127` and returns the scale.
///
/// `x` and `out`: equally long. A vector of zeroes gives scale 0. Symmetric: -128 is never written,
/// so a product of two such values fits 15 bits.
pub fn quantise(x: &[f32], out: &mut [i8]) -> f32 {
    let most = max_abs(x);
    if most < f32::MIN_POSITIVE || most == f32::INFINITY {
        out.iter_mut().for_each(|q| *q = 0);
        return 0.0;
    }
    let inverse = 127.0 / most;
    // Next to the smallest normal floats the inverse overflows; such a vector is zero for us.
    let inverse = if inverse == f32::INFINITY { 0.0 } else { inverse };
    for (q, x) in out.iter_mut().zip(x) {
        *q = round(x * inverse) as i8;
    }
    most / 127.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_symmetric() {
        for (x, expected) in [(0.5, 1), (-0.5, -1), (1.49, 1), (-1.49, -1), (f32::NAN, 0)] {
            assert_eq!(round(x), expected, "{x}");
        }
    }

    #[test]
    fn the_largest_magnitude_becomes_127() {
        let mut q = [0i8; 4];
        let scale = quantise(&[0.5, -2.0, 1.0, 0.0], &mut q);
        assert_eq!(q, [32, -127, 64, 0]);
        assert!((scale * 127.0 - 2.0).abs() < 1e-6);
    }

    #[test]
    fn zeroes_nan_and_infinity_do_not_spread() {
        let mut q = [1i8; 2];
        assert_eq!(quantise(&[0.0, 0.0], &mut q), 0.0);
        assert_eq!(q, [0, 0]);
        assert_eq!(quantise(&[f32::INFINITY, 1.0], &mut q), 0.0);
        let scale = quantise(&[f32::NAN, 1.0], &mut q);
        assert_eq!((q, scale * 127.0), ([0, 127], 1.0));
    }
}
