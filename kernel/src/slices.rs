//! What the library's slices do as well, but with panics: here what is out of range stays as it is,
//! or is empty.

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

/// The first `count` of `cells`. Fewer are a mistake of the caller: none then.
#[inline]
pub(crate) fn front<T>(cells: &[T], count: usize) -> &[T] {
    let front = cells.get(..count);
    debug_assert!(front.is_some(), "{count} of {}", cells.len());
    front.unwrap_or(&[])
}

/// The first `count` of `cells`, to write.
#[inline]
pub(crate) fn front_mut<T>(cells: &mut [T], count: usize) -> &mut [T] {
    debug_assert!(count <= cells.len(), "{count} of {}", cells.len());
    cells.get_mut(..count).unwrap_or_default()
}

/// All of `cells` from `at` on.
#[inline]
pub(crate) fn rest<T>(cells: &[T], at: usize) -> &[T] {
    let rest = cells.get(at..);
    debug_assert!(rest.is_some(), "{at} of {}", cells.len());
    rest.unwrap_or(&[])
}

/// All of `cells` from `at` on, to write.
#[inline]
pub(crate) fn rest_mut<T>(cells: &mut [T], at: usize) -> &mut [T] {
    debug_assert!(at <= cells.len(), "{at} of {}", cells.len());
    cells.get_mut(at..).unwrap_or_default()
}

/// `count` of `cells` from `at` on.
#[inline(never)]
pub(crate) fn part<T>(cells: &[T], at: usize, count: usize) -> &[T] {
    let part = cells.get(at..).and_then(|rest| rest.get(..count));
    debug_assert!(part.is_some(), "{count} at {at} of {}", cells.len());
    part.unwrap_or(&[])
}

/// `count` of `cells` from `at` on, to write.
#[inline(never)]
pub(crate) fn part_mut<T>(cells: &mut [T], at: usize, count: usize) -> &mut [T] {
    debug_assert!(at + count <= cells.len(), "{count} at {at} of {}", cells.len());
    cells.get_mut(at..).and_then(|rest| rest.get_mut(..count)).unwrap_or_default()
}

/// The first `at` of `cells`, and the others, to write.
#[inline]
pub(crate) fn split_mut<T>(cells: &mut [T], at: usize) -> (&mut [T], &mut [T]) {
    debug_assert!(at <= cells.len(), "{at} of {}", cells.len());
    cells.split_at_mut_checked(at).unwrap_or_default()
}

/// `(rows, columns)` numbers, row after row: a vector for each position of a pass, say.
///
/// A row that there is not is a mistake of the caller, which a debug build stops at: it is empty.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a, T> {
    pub cells: &'a [T],
    pub columns: usize,
}

impl<'a, T> Rows<'a, T> {
    /// One of them.
    #[inline]
    pub fn at(&self, row: usize) -> &'a [T] {
        part(self.cells, row * self.columns, self.columns)
    }
}

/// [`Rows`] to write.
pub(crate) struct RowsMut<'a, T> {
    pub cells: &'a mut [T],
    pub columns: usize,
}

impl<T> RowsMut<'_, T> {
    /// One of them.
    #[inline]
    pub fn at(&mut self, row: usize) -> &mut [T] {
        part_mut(self.cells, row * self.columns, self.columns)
    }
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

    #[test]
    fn rows_lie_one_after_the_other() {
        let mut cells = [1, 2, 3, 4, 5, 6, 7];
        let rows = Rows { cells: &cells, columns: 3 };
        assert_eq!((rows.at(0), rows.at(1)), (&[1, 2, 3][..], &[4, 5, 6][..]));
        RowsMut { cells: &mut cells, columns: 3 }.at(1).fill(0);
        assert_eq!(cells, [1, 2, 3, 0, 0, 0, 7]);
        assert_eq!(Rows::<u32> { cells: &[], columns: 0 }.at(5), []);
    }

    #[cfg(debug_assertions)]
    #[test]
    #[should_panic = "3 at 6 of 7"]
    fn a_row_that_there_is_not_stops_a_debug_build() {
        Rows { cells: &[0; 7], columns: 3 }.at(2);
    }
}
