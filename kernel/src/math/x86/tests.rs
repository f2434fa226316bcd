//! Every arm that this processor has, beside the portable loops.

use super::*;
use crate::math::Packed;
#[cfg(feature = "q4")]
use crate::math::{groups, half_to_f32, quant};
use crate::text::sample::Pcg32;
extern crate std;
use std::vec;
use std::vec::Vec;

/// The arms to test; says which.
fn arms() -> Vec<Arm> {
    let there: Vec<Arm> = Arm::ALL.into_iter().filter(|arm| arm.is_there()).collect();
    std::println!("of {:?} this processor has {there:?}", Arm::ALL);
    there
}

/// Numbers of every size or, in rounds that are odd, extreme ones.
fn numbers_of(random: &mut Pcg32, round: usize, count: usize, least: i32) -> Vec<i8> {
    let number = |_| {
        let bits = random.next_u32();
        match (round % 2, round % 3) {
            (0, _) => (bits as i8).max(least as i8),
            (_, 0) => least as i8,
            (_, 1) => 127,
            _ => [least as i8, 127][bits as usize % 2],
        }
    };
    (0..count).map(number).collect()
}

/// `x`, packed into words that begin at a place of their own.
fn packed(x: &[i8], words: &mut Vec<u32>, skip: usize) {
    words.clear();
    words.resize(skip + Packed::words(x.len() as u32) as usize, u32::MAX);
    Packed::new(x, &mut words[skip..]);
}

#[test]
fn products_are_the_oracles_at_every_length_and_place() {
    for arm in arms() {
        let mut random = Pcg32::new(5, 0);
        for (round, len) in
            (4..=420).step_by(4).chain([576, 1536, 16384]).cycle().take(330).enumerate()
        {
            // Rows of a damaged record may hold -128; vectors never do.
            let start = random.next_u32() as usize % 9;
            let row = numbers_of(&mut random, round, start + len, -128);
            let row = &row[start..];
            let xs: Vec<Vec<i8>> =
                (0..TOGETHER).map(|i| numbers_of(&mut random, round + i, len, -127)).collect();
            let mut words = vec![Vec::new(); TOGETHER];
            for (i, (x, words)) in xs.iter().zip(&mut words).enumerate() {
                packed(x, words, i);
            }
            let expected: Vec<i32> = xs.iter().map(|x| scalar::dot(row, x)).collect();
            let skipped: [&[u32]; TOGETHER] = core::array::from_fn(|i| &words[i][i..]);
            assert_eq!(dots_with(arm, row, skipped)[..], expected, "{arm:?}, {len} numbers");
            for (words, expected) in skipped.into_iter().zip(expected) {
                assert_eq!(dot_with(arm, row, words), expected, "{arm:?}, {len} numbers");
            }
        }
    }
}

#[test]
fn scaled_rows_are_the_oracles_at_every_length_and_place() {
    for arm in arms() {
        let mut random = Pcg32::new(6, 0);
        for len in (0..200).chain([576, 577]) {
            let start = random.next_u32() as usize % 9;
            let row = numbers_of(&mut random, len, start + len, -128);
            let acc: Vec<i32> = (0..start + len).map(|_| random.next_u32() as i32).collect();
            for coefficient in [0, 1, -1, i32::MIN, i32::MAX, random.next_u32() as i32 >> 8] {
                let (mut found, mut expected) = (acc.clone(), acc.clone());
                // One of the two is longer.
                let row = &row[start..start + len - len.min(start) / 2];
                axpy_with(arm, &mut found[start..], coefficient, row);
                scalar::axpy(&mut expected[start..], coefficient, row);
                assert_eq!(found, expected, "{arm:?}, {len} numbers, {coefficient}");
            }
        }
    }
}

#[cfg(feature = "q4")]
#[test]
fn rows_in_4_bits_are_the_oracles_at_every_length() {
    for arm in arms() {
        let mut random = Pcg32::new(7, 0);
        for (round, len) in (4..=700usize).step_by(4).chain([1536, 16384]).enumerate() {
            let count = len.div_ceil(groups::GROUP);
            // Any scale, those that are never stored too.
            let scales: Vec<[u8; 2]> =
                (0..count).map(|_| (random.next_u32() as u16).to_le_bytes()).collect();
            let byte = |i: usize, random: &mut Pcg32| match round % 4 {
                0 => [0x88, 0x77, 0xFF, 0x00][i % 4],
                _ => random.next_u32() as u8,
            };
            let mut numbers: Vec<[u8; groups::BYTES]> =
                (0..count).map(|i| core::array::from_fn(|_| byte(i, &mut random))).collect();
            // Zeroes beyond the row's last number, as they are stored.
            for j in len..count * groups::GROUP {
                let mask = if j % 8 < 4 { 0xF0 } else { 0x0F };
                numbers[j / groups::GROUP][j % groups::GROUP / 8 * 4 + j % 4] &= mask;
            }
            let row = Groups { scales: &scales, numbers: &numbers };
            let mut words = vec![Vec::new(); TOGETHER];
            for (i, words) in words.iter_mut().enumerate() {
                packed(&numbers_of(&mut random, round + i, len, -127), words, i);
            }
            let xs: [Packed<'_>; TOGETHER] =
                core::array::from_fn(|i| Packed::of(&words[i][i..], len));
            let expected = xs.map(|x| groups::units(row, x));
            let wanted = (arm != Arm::Portable).then_some(expected);
            let found = group_units_with(arm, row, xs.map(Packed::words_of));
            assert_eq!(found, wanted, "{arm:?}, {len} numbers");
            for (x, expected) in xs.into_iter().zip(expected) {
                let found = group_units_with(arm, row, [x.words_of()]);
                let wanted = (arm != Arm::Portable).then_some([expected]);
                assert_eq!(found, wanted, "{arm:?}, {len} numbers");
            }
            // As a sum calls it: within its budget, or with what is no number.
            let small: Vec<[u8; 2]> =
                (0..count).map(|_| (random.next_u32() as u16 & 0xBFFF).to_le_bytes()).collect();
            let row = Groups { scales: &small, numbers: &numbers };
            let acc: Vec<i32> = (0..len).map(|_| random.next_u32() as i32 >> 2).collect();
            let some = (random.next_u32() as i32) as f32 * 1e-8;
            for factor in [some, -0.0, 1e-30, 100.0, -100.0, f32::NAN] {
                let (mut found, mut expected) = (acc.clone(), acc.clone());
                let one = (1 << 20) as f32;
                let done = axpy_row_with(arm, &mut found, factor, one, row);
                assert_eq!(done, if arm == Arm::Portable { 0 } else { len / groups::GROUP });
                let scale = |scale| quant::round(factor * half_to_f32(scale) * one);
                let front = &mut expected[..done * groups::GROUP];
                groups::axpy_groups(front, row, scale);
                assert_eq!(found, expected, "{arm:?}, {len} numbers, {factor}");
            }
            for numbers in &numbers {
                let acc: [i32; groups::GROUP] = core::array::from_fn(|_| random.next_u32() as i32);
                let coefficient = random.next_u32() as i32;
                let (mut found, mut expected) = (acc, acc);
                axpy_group_with(arm, &mut found, coefficient, numbers);
                scalar::axpy(&mut expected, coefficient, &nibbles::unpack(numbers));
                assert_eq!(found, expected, "{arm:?}");
            }
        }
    }
}

#[test]
fn vectors_of_halves_have_the_bits_of_the_portable_loops() {
    let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    for arm in arms() {
        let mut random = Pcg32::new(8, 0);
        for (round, columns) in (4..=132usize).step_by(4).chain([6, 13, 256]).enumerate() {
            for count in 0..=20 {
                let stride = columns + random.next_u32() as usize % 3 * 2;
                // Every pattern, those that are no numbers too; the last row may end early.
                let length =
                    stride * count.max(1) - if round % 2 == 0 { stride - columns } else { 0 };
                let length = if count == 0 { columns - 1 } else { length };
                let cells: Vec<u16> = (0..length).map(|_| random.next_u32() as u16).collect();
                let rows = HalfRows { cells: &cells, stride, columns };
                assert_eq!((rows.count(), rows.iter().count()), (count, count), "{columns}");
                let mut float = || (random.next_u32() as i32) as f32 * 1e-9;
                let x: Vec<f32> = (0..columns).map(|_| float()).collect();
                let weights: Vec<f32> = (0..count).map(|_| float()).collect();

                let (mut found, mut expected) = (vec![7.0; count + 1], vec![7.0; count + 1]);
                half_dots_with(arm, &x, rows, &mut found);
                plain_dots(&x, rows, &mut expected);
                assert_eq!(bits(&found), bits(&expected), "{arm:?}, {count} of {columns}");

                let (mut found, mut expected) = (x.clone(), x);
                add_halves_with(arm, &mut found, &weights, rows);
                plain_add(&mut expected, &weights, rows);
                assert_eq!(bits(&found), bits(&expected), "{arm:?}, {count} of {columns}");
            }
        }
    }
}

/// Beside the oracle of the oracles: a plain sum.
#[test]
fn the_largest_products_do_not_saturate() {
    let arms = arms();
    for (w, x) in [(-128, 127), (-128, -127), (127, 127), (127, -127)] {
        for len in [32, 128, 160, 16384] {
            let mut words = Vec::new();
            packed(&vec![x; len], &mut words, 0);
            let expected = i32::from(w) * i32::from(x) * len as i32;
            for &arm in &arms {
                assert_eq!(dot_with(arm, &vec![w; len], &words), expected, "{arm:?}, {w} * {x}");
            }
        }
    }
}

#[test]
fn another_arm_is_used_once_it_is_chosen() {
    let before = Arm::used();
    assert!(Arm::ALL.into_iter().filter(|arm| arm.is_there()).all(|arm| arm <= before));
    for arm in Arm::ALL {
        assert_eq!(arm.choose(), arm.is_there());
        if arm.is_there() {
            assert_eq!(Arm::used(), arm);
        }
    }
    assert!(before.choose());
}
