//! Words of a program, taken one after the other.
//!
//! In: little-endian words. Out: numbers, and 0 behind the end: what is checked when a program is opened
//! is not checked again when it runs.

use zerocopy::little_endian::I32;

/// What is left to take.
#[derive(Clone, Copy)]
pub struct Words<'a>(pub &'a [I32]);

impl<'a> Words<'a> {
    /// The next one.
    #[inline]
    pub fn next(&mut self) -> i32 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                first.get()
            }
            None => 0,
        }
    }

    /// The next one, of what cannot be negative.
    #[inline]
    pub fn count(&mut self) -> usize {
        self.next().max(0) as usize
    }

    /// The next `count`; none if there are fewer.
    #[inline]
    pub fn take(&mut self, count: usize) -> Words<'a> {
        let (front, rest) = self.0.split_at_checked(count).unwrap_or_default();
        self.0 = rest;
        Words(front)
    }

    /// A part that begins with the number of words behind it.
    #[inline]
    pub fn part(&mut self) -> Words<'a> {
        let count = self.count();
        self.take(count)
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}
