//! Rotary position embedding, half-split as in Hugging Face checkpoints.
//!
//! Su et al., "RoFormer", 2021.

/// The bits of the largest angle, about 2^28 pi / 2, for which `libm` needs no table of the digits of
/// pi. No model comes near; said here, it saves a board the code for larger ones, 2 KB.
const LARGEST: u32 = 0x4DC9_0FDA;

/// Fills `cos` and `sin` for one position. All `(head_dim / 2,)`; `frequencies`: `theta^(-2i / head_dim)`.
pub fn angles(cos: &mut [f32], sin: &mut [f32], frequencies: &[f32], position: u32) {
    for ((cos, sin), f) in cos.iter_mut().zip(sin.iter_mut()).zip(frequencies) {
        let bits = (position as f32 * f).to_bits().min(LARGEST);
        let (s, c) = libm::sincosf(f32::from_bits(bits));
        *cos = c;
        *sin = s;
    }
}

/// Rotates each head of `x` in place: `(a, b) -> (a cos - b sin, b cos + a sin)` with `a` the first
/// and `b` the second half of the head.
///
/// `x`: `(heads * head_dim,)`. `cos`, `sin`: `(head_dim / 2,)`.
pub fn rotate(x: &mut [f32], cos: &[f32], sin: &[f32]) {
    let half = cos.len();
    if half == 0 {
        return;
    }
    for head in x.chunks_exact_mut(2 * half) {
        let Some((first, second)) = head.split_at_mut_checked(half) else { continue };
        for ((a, b), (c, s)) in first.iter_mut().zip(second).zip(cos.iter().zip(sin)) {
            (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
        }
    }
}
