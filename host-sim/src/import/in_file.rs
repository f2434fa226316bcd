//! Numbers that stay in the file that they are stored in, until they are asked for.
//!
//! In: a mapped file, a number format, where in the file. Out: a [`Stored`], checked. Knows nothing of names.

use super::quants::Type;
use crate::model::Values;
use crate::model::matrix::Stored;
use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;

/// Numbers that are checked at once.
const PART: usize = 1 << 20;

/// A range of a file.
pub(super) struct InFile {
    pub file: Arc<Mmap>,
    pub kind: Type,
    /// Where the numbers begin.
    pub start: usize,
    pub count: usize,
}

impl InFile {
    /// The numbers, which must be finite: else the number of the first that is not, and what it is.
    pub fn check(&self) -> Result<(), (usize, f32)> {
        let parts: Vec<usize> = (0..self.count).step_by(PART).collect();
        let bad = parts.into_par_iter().find_map_first(|first| {
            let mut values = vec![0.0; PART.min(self.count - first)];
            self.read(first, &mut values);
            self.release(first..first + values.len());
            let at = values.iter().position(|value: &f32| !value.is_finite())?;
            Some((first + at, values[at]))
        });
        bad.map_or(Ok(()), Err)
    }

    /// Leaves the numbers where they are.
    pub fn stored(self) -> Values {
        let count = self.count;
        Values::Stored(Arc::new(self), count)
    }

    /// Where numbers are in the file.
    fn bytes(&self, numbers: Range<usize>) -> Range<usize> {
        let (values, size) = self.kind.block();
        self.start + numbers.start / values * size..self.start + numbers.end / values * size
    }
}

impl Stored for InFile {
    fn read(&self, first: usize, out: &mut [f32]) {
        self.kind.read(&self.file[self.bytes(first..first + out.len())], out);
    }

    #[cfg_attr(not(unix), expect(unused_variables, reason = "only unix can give memory back"))]
    fn release(&self, numbers: Range<usize>) {
        #[cfg(unix)]
        {
            let bytes = self.bytes(numbers);
            let (advice, length) = (UncheckedAdvice::DontNeed, bytes.len());
            // SAFETY: the map is read-only and of a file: pages dropped come back from the file.
            #[allow(unsafe_code, reason = "a checkpoint can be larger than memory")]
            let _ = unsafe { self.file.unchecked_advise_range(advice, bytes.start, length) };
        }
    }
}

/// Rows of another table, in another order.
pub(super) struct Reordered {
    pub of: Values,
    pub cols: usize,
    /// Which row of the other is row `i`.
    pub row: Box<dyn Fn(usize) -> usize + Send + Sync>,
}

impl Stored for Reordered {
    fn read(&self, first: usize, out: &mut [f32]) {
        for (i, out) in (first / self.cols..).zip(out.chunks_exact_mut(self.cols)) {
            let at = (self.row)(i) * self.cols;
            out.copy_from_slice(&self.of.of(at..at + self.cols));
        }
    }

    fn release(&self, numbers: Range<usize>) {
        let rows: Vec<usize> =
            (numbers.start / self.cols..numbers.end.div_ceil(self.cols)).map(&self.row).collect();
        let (Some(first), Some(last)) = (rows.iter().min(), rows.iter().max()) else { return };
        if let Values::Stored(of, _) = &self.of {
            of.release(first * self.cols..(last + 1) * self.cols);
        }
    }
}
