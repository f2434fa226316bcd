//! What the library's slices do as well, but with panics: here what is out of range stays as it is.

/// Copies `from` to the front of `to`, as much as both have.
#[inline]
pub(crate) fn copy<T: Copy>(to: &mut [T], from: &[T]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
}

/// Copies the `count` numbers at `from` to `to`, one after the other: behind `from`, what was copied
/// is copied on.
#[inline]
pub(crate) fn copy_within(numbers: &mut [u32], from: usize, to: usize, count: usize) {
    for i in 0..count {
        let number = numbers.get(from + i).copied().unwrap_or(0);
        if let Some(place) = numbers.get_mut(to + i) {
            *place = number;
        }
    }
}

/// Exchanges two numbers.
#[inline]
pub(crate) fn swap(numbers: &mut [u32], a: usize, b: usize) {
    if let Ok([a, b]) = numbers.get_disjoint_mut([a, b]) {
        core::mem::swap(a, b);
    }
}

/// Sorts, with Shell's gaps: for a few hundred numbers at most.
pub(crate) fn sort(numbers: &mut [u32]) {
    for gap in [301, 132, 57, 23, 10, 4, 1] {
        for end in gap..numbers.len() {
            let mut at = end;
            while at >= gap
                && let (Some(&before), Some(&here)) = (numbers.get(at - gap), numbers.get(at))
                && before > here
            {
                swap(numbers, at - gap, at);
                at -= gap;
            }
        }
    }
}

/// Moves the numbers that are `wanted` to the front, in their order, and counts them. The others
/// follow in any order.
pub(crate) fn move_to_front(numbers: &mut [u32], wanted: impl Fn(u32) -> bool) -> usize {
    let mut count = 0;
    for at in 0..numbers.len() {
        if numbers.get(at).is_some_and(|&number| wanted(number)) {
            swap(numbers, count, at);
            count += 1;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::sample::Pcg32;
    extern crate std;
    use std::vec::Vec;

    #[test]
    fn they_do_what_the_library_does() {
        let mut random = Pcg32::new(11, 0);
        for length in (0..40).chain([299, 301, 302, 700]) {
            let numbers: Vec<u32> = (0..length).map(|_| random.next_u32() % 97).collect();
            let (mut ours, mut expected) = (numbers.clone(), numbers.clone());
            sort(&mut ours);
            expected.sort_unstable();
            assert_eq!(ours, expected);

            let mut ours = numbers.clone();
            let count = move_to_front(&mut ours, |number| number % 3 == 0);
            assert!(ours[..count].iter().eq(numbers.iter().filter(|&number| number % 3 == 0)));
            ours.sort_unstable();
            assert_eq!(ours, expected);
        }
    }

    #[test]
    fn what_is_out_of_range_stays_as_it_is() {
        let mut numbers = [1, 2, 3];
        swap(&mut numbers, 0, 3);
        copy(&mut numbers, &[]);
        assert_eq!(numbers, [1, 2, 3]);
        copy(&mut numbers, &[7, 8, 9, 10]);
        assert_eq!(numbers, [7, 8, 9]);
        copy_within(&mut numbers, 0, 1, 5);
        assert_eq!(numbers, [7, 7, 7]);
    }
}
