//! Remainders of polynomials over GF(2) by `pclmulqdq`, which multiplies 64 of their coefficients with 64.
//!
//! In: blocks of 16 bytes, powers of x by some polynomial. Out: one block with the remainder of all. Knows nothing
//! of which polynomial it is.
//!
//! Bits are coefficients in falling order: bit 0 of the first byte is the highest. So a product of two numbers of
//! 64 bits has one power of x too many, of which the powers have one too few. V. Gopal et al., "Fast CRC
//! computation for generic polynomials using PCLMULQDQ instruction", Intel, 2009.
#![allow(unsafe_code, reason = "instructions that not every processor has")]

use super::Arm;
use core::arch::x86_64::*;

/// Blocks that are multiplied side by side.
const LANES: usize = 4;

/// Powers of x by a polynomial of degree 32, each in the upper half of 64 bits.
#[derive(Clone, Copy, Debug)]
pub struct Powers {
    /// `x^191` and `x^127`: what moves the first and the second half of a block on by one block.
    pub one: [u64; 2],
    /// `x^575` and `x^511`: by four.
    pub four: [u64; 2],
}

/// A block whose remainder is that of all `blocks`, the first of which has `first` added to its highest
/// coefficients; `None` where there are no blocks, or the arm in use has no such product.
#[inline]
pub fn fold(first: u32, blocks: &[[u8; 16]], powers: &Powers) -> Option<[u8; 16]> {
    match Arm::used() {
        Arm::Portable => None,
        // SAFETY: all other arms are in use only where the processor has `pclmulqdq`.
        _ => unsafe { fold_blocks(first, blocks, powers) },
    }
}

/// The same.
///
/// # Safety
/// The processor has `pclmulqdq`.
#[target_feature(enable = "pclmulqdq")]
unsafe fn fold_blocks(first: u32, blocks: &[[u8; 16]], powers: &Powers) -> Option<[u8; 16]> {
    let first = _mm_cvtsi32_si128(first.cast_signed());
    let (one, four) = (load(halves(powers.one)), load(halves(powers.four)));
    let (groups, mut rest) = blocks.as_chunks::<LANES>();
    let mut sum = match groups.split_first() {
        // Fewer groups are not worth the sums of their lanes.
        Some((group, others @ [_, ..])) => {
            let [a, b, c, d] = group.map(load);
            let mut lanes = [_mm_xor_si128(a, first), b, c, d];
            for group in others {
                for (lane, block) in lanes.iter_mut().zip(group) {
                    *lane = moved(*lane, four, load(*block));
                }
            }
            let [a, b, c, d] = lanes;
            moved(moved(moved(a, one, b), one, c), one, d)
        }
        _ => {
            let (block, others) = blocks.split_first()?;
            rest = others;
            _mm_xor_si128(load(*block), first)
        }
    };
    for block in rest {
        sum = moved(sum, one, load(*block));
    }
    let upper = _mm_cvtsi128_si64(_mm_unpackhi_epi64(sum, sum)).cast_unsigned();
    Some(halves([_mm_cvtsi128_si64(sum).cast_unsigned(), upper]))
}

/// `block + sum * x^n`, where `by` are the two powers for that.
#[inline]
#[target_feature(enable = "pclmulqdq")]
fn moved(sum: __m128i, by: __m128i, block: __m128i) -> __m128i {
    let lower = _mm_clmulepi64_si128::<0x00>(sum, by);
    let upper = _mm_clmulepi64_si128::<0x11>(sum, by);
    _mm_xor_si128(_mm_xor_si128(lower, upper), block)
}

/// 16 bytes in a register.
#[inline]
fn load(bytes: [u8; 16]) -> __m128i {
    // SAFETY: every x86-64 processor has SSE2, and the load is unaligned.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

/// Two halves as bytes.
#[inline]
fn halves([lower, upper]: [u64; 2]) -> [u8; 16] {
    (u128::from(upper) << 64 | u128::from(lower)).to_le_bytes()
}
