//! The kernel's integer inner loops on the target: whether they give the oracle's numbers, and how
//! many instructions they take (counted outside, by `boards/count`).
//!
//! In: one word on the semihosting command line: `check`, `isa`, `q4`, `q8g` or `portable`. Out: a line on the
//! console, and an exit status.
#![no_std]
#![no_main]

mod check;
mod measure;
mod random;

use core::hint::black_box;
use cortex_m_rt::entry;
use ripple_kernel::math::{self, Packed, grouped, groups, scalar};
use semihosting::{eprintln, experimental, println, process};

/// Numbers of the longest row, and of the largest matrix.
const LONGEST: usize = 16384;
const LARGEST: usize = 1024 * 1024;

#[entry]
fn main() -> ! {
    static mut WEIGHTS: [i8; LARGEST] = [0; LARGEST];
    static mut VECTOR: [i8; LONGEST] = [0; LONGEST];
    static mut ROOM: [u32; Packed::words(LONGEST as u32) as usize] =
        [0; Packed::words(LONGEST as u32) as usize];
    static mut SUMS: [i32; 2 * LONGEST] = [0; 2 * LONGEST];

    ripple_marks::region::<13>();
    random::fill(WEIGHTS, 1);
    random::fill(VECTOR, 2);

    let arguments = experimental::env::args::<64>();
    let argument = arguments.as_ref().ok().and_then(|mut all| all.nth(1));
    let known = match argument.and_then(Result::ok).unwrap_or("") {
        "check" => {
            measure::hundred_nops();
            measure::packing(VECTOR, ROOM);
            let cases = check::all(WEIGHTS, VECTOR, ROOM, SUMS);
            println!("{cases} cases, each as the oracle has it");
            true
        }
        "isa" => {
            eight_bits(WEIGHTS, VECTOR, ROOM, SUMS);
            true
        }
        "q4" => {
            four_bits(WEIGHTS, VECTOR, ROOM, SUMS);
            true
        }
        "q8g" => {
            in_groups(WEIGHTS, VECTOR, ROOM, SUMS);
            true
        }
        "portable" => {
            portable(WEIGHTS, VECTOR, SUMS);
            true
        }
        other => {
            eprintln!("`{other}`: expected check, isa, q4, q8g or portable");
            false
        }
    };
    black_box(SUMS);
    process::exit(if known { 0 } else { 2 })
}

/// Of its own, as are the others: in one function, the compiler could not place constants near enough to all of them.
#[inline(never)]
fn eight_bits(weights: &[i8], x: &[i8], room: &mut [u32], sums: &mut [i32]) {
    let mut rooms = room.chunks_mut(1024);
    let pack = |len| Packed::new(&x[..len], rooms.next().unwrap_or_default());
    measure::loops(weights, measure::WIDTHS.map(pack), sums, math::dot, math::axpy);
}

#[inline(never)]
fn portable(weights: &[i8], x: &[i8], sums: &mut [i32]) {
    let x = measure::WIDTHS.map(|len| &x[..len]);
    measure::loops(weights, x, sums, scalar::dot, scalar::axpy);
}

/// All that it calls is of its own too.
#[inline(never)]
fn four_bits(weights: &[i8], x: &[i8], room: &mut [u32], sums: &mut [i32]) {
    let mut rooms = room.chunks_mut(1024);
    let pack = |len| Packed::new(&x[..len], rooms.next().unwrap_or_default());
    measure::loops(weights, measure::WIDTHS.map(pack), sums, dot_groups, axpy_groups);
}

#[inline(never)]
fn dot_groups(row: &[i8], x: Packed<'_>) -> i32 {
    groups::dot(check::groups_in(row), x) as i32
}

#[inline(never)]
fn axpy_groups(acc: &mut [i32], coefficient: i32, row: &[i8]) {
    groups::axpy_groups(acc, check::groups_in(row), |scale| coefficient + i32::from(scale));
}

/// Likewise: rows and inputs in groups.
#[inline(never)]
fn in_groups(weights: &[i8], x: &[i8], room: &mut [u32], sums: &mut [i32]) {
    let mut rooms = room.chunks_mut(1024);
    let pack = |len| Packed::new(&x[..len], rooms.next().unwrap_or_default());
    measure::loops(weights, measure::WIDTHS.map(pack), sums, dot_in_groups, axpy_in_groups);
}

#[inline(never)]
fn dot_in_groups(row: &[i8], x: Packed<'_>) -> i32 {
    // What is added up does not matter here.
    grouped::dot(row, &check::MULTIPLIERS, x, &[3; 1024 / groups::GROUP]) as i32
}

#[inline(never)]
fn axpy_in_groups(acc: &mut [i32], coefficient: i32, row: &[i8]) {
    grouped::axpy(acc, coefficient, row, &check::MULTIPLIERS);
}
