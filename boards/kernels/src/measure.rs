//! What is counted, between markers: which region is what, `boards/x kernels` knows too.
//!
//! In: memory, and the loops of a version. Out: nothing; the counts are the emulator's.

use core::hint::black_box;
use ripple_kernel::math::Packed;
use ripple_marks::region;

/// Widths of what is counted.
pub const WIDTHS: [usize; 4] = [64, 192, 256, 1024];
/// Rows of a bundle loop in which scaled rows are counted.
const AXPY_ROWS: usize = 16;
/// 0.1 with 20 fraction bits.
const COEFFICIENT: i32 = 104_857;

/// Region 1: a known number, to check the counting.
#[allow(unsafe_code, reason = "instructions that Rust has no name for")]
pub fn hundred_nops() {
    region::<1>();
    // SAFETY: does nothing.
    unsafe {
        core::arch::asm!(".rept 100", "nop", ".endr", options(nomem, nostack, preserves_flags));
    }
    region::<13>();
}

/// Regions 2 to 5: packing a vector of 64, 192, 256, 1024 numbers.
pub fn packing(x: &[i8], room: &mut [u32]) {
    macro_rules! pack {
        ($region:literal, $len:literal) => {
            let x = black_box(&x[..$len]);
            region::<$region>();
            black_box(Packed::new(x, room));
            region::<13>();
        };
    }
    pack!(2, 64);
    pack!(3, 192);
    pack!(4, 256);
    pack!(5, 1024);
}

/// `x`: a vector of each of the [`WIDTHS`].
///
/// Regions 1 to 4: matrix times vector, row by row: 256 x 64, 768 x 192, 1024 x 256, 1024 x 1024.
/// Regions 5 to 8: 16 scaled rows of 64, 192, 256, 1024 numbers. Regions 9 to 12: one row of as many.
#[inline(always)]
pub fn loops<X: Copy>(
    weights: &[i8],
    x: [X; 4],
    sums: &mut [i32],
    dot: impl Fn(&[i8], X) -> i32,
    axpy: impl Fn(&mut [i32], i32, &[i8]),
) {
    macro_rules! shape {
        ($rows:literal x $cols:literal: $gemv:literal, $scaled:literal, $row:literal) => {
            let x = black_box(x[$gemv - 1]);
            let matrix = black_box(&weights[..$rows * $cols]);
            let (cols, coefficient) = (black_box($cols), black_box(COEFFICIENT));
            let out = black_box(&mut sums[..$rows]);
            region::<$gemv>();
            gemv(out, matrix, cols, x, &dot);
            region::<13>();
            let acc = black_box(&mut sums[..cols]);
            let rows = black_box(&matrix[..AXPY_ROWS * cols]);
            region::<$scaled>();
            scaled_rows(acc, coefficient, rows, &axpy);
            region::<13>();
            let row = black_box(&matrix[..cols]);
            region::<$row>();
            let sum = dot(row, x);
            region::<13>();
            black_box(sum);
        };
    }
    shape!(256 x 64: 1, 5, 9);
    shape!(768 x 192: 2, 6, 10);
    shape!(1024 x 256: 3, 7, 11);
    shape!(1024 x 1024: 4, 8, 12);
}

/// `out = matrix x`.
#[inline(never)]
fn gemv<X: Copy>(
    out: &mut [i32],
    matrix: &[i8],
    cols: usize,
    x: X,
    dot: &impl Fn(&[i8], X) -> i32,
) {
    for (out, row) in out.iter_mut().zip(matrix.chunks_exact(cols)) {
        *out = dot(row, x);
    }
}

/// `acc += coefficient * row` for each row.
#[inline(never)]
fn scaled_rows(
    acc: &mut [i32],
    coefficient: i32,
    rows: &[i8],
    axpy: &impl Fn(&mut [i32], i32, &[i8]),
) {
    for row in rows.chunks_exact(acc.len().max(1)) {
        axpy(acc, coefficient, row);
    }
}
