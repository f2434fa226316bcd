//! A table of numbers: held in memory, or left where it is stored until rows of it are asked for.
//!
//! In: numbers, or a [`Stored`] that knows where they are. Out: rows in float32. Knows nothing of files.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Numbers that are stored elsewhere, in any form, each row after the one before.
pub trait Stored: Send + Sync {
    /// Writes the numbers from number `first` on, as many as `out` has; `first` is the beginning of a row, and
    /// whole rows are asked for.
    fn read(&self, first: usize, out: &mut [f32]);

    /// Says that these numbers are not needed soon: memory that can be had again is given back.
    fn release(&self, numbers: Range<usize>);
}

/// The numbers of a table.
#[derive(Clone)]
pub enum Values {
    /// In memory.
    Held(Vec<f32>),
    /// Elsewhere; the number of them.
    Stored(Arc<dyn Stored>, usize),
}

impl Values {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Held(values) => values.len(),
            Self::Stored(_, count) => *count,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those in `range`, which is of whole rows.
    ///
    /// # Panics
    /// When there are not so many.
    pub fn of(&self, range: Range<usize>) -> Cow<'_, [f32]> {
        assert!(range.end <= self.len(), "numbers {range:?} of {}", self.len());
        match self {
            Self::Held(values) => Cow::Borrowed(&values[range]),
            Self::Stored(stored, _) => {
                let mut out = vec![0.0; range.len()];
                stored.read(range.start, &mut out);
                Cow::Owned(out)
            }
        }
    }

    /// All, in memory.
    pub fn into_held(self) -> Vec<f32> {
        match self {
            Self::Held(values) => values,
            Self::Stored(..) => self.of(0..self.len()).into_owned(),
        }
    }
}

impl From<Vec<f32>> for Values {
    fn from(values: Vec<f32>) -> Self {
        Self::Held(values)
    }
}

/// A table of `rows * cols` values, row after row.
#[derive(Clone)]
pub struct Matrix {
    /// Rows.
    pub rows: usize,
    /// Columns: the length of a row.
    pub cols: usize,
    values: Values,
}

impl Matrix {
    /// Takes over `rows * cols` values.
    ///
    /// # Panics
    /// When there are more or fewer.
    pub fn new(rows: usize, cols: usize, values: impl Into<Values>) -> Self {
        let values = values.into();
        assert_eq!(values.len(), rows * cols, "values of {rows} rows of {cols}");
        Self { rows, cols, values }
    }

    /// Row `i`.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn row(&self, i: usize) -> Cow<'_, [f32]> {
        self.rows(i..i + 1)
    }

    /// Several rows, one after another.
    ///
    /// # Panics
    /// When there are not so many.
    pub fn rows(&self, rows: Range<usize>) -> Cow<'_, [f32]> {
        self.values.of(rows.start * self.cols..rows.end * self.cols)
    }

    /// Whether the values are not in memory.
    pub fn is_stored(&self) -> bool {
        matches!(self.values, Values::Stored(..))
    }

    /// Writes rows from `first` on to `out`, which has room for whole ones.
    ///
    /// # Panics
    /// When there are not so many.
    pub fn read(&self, first: usize, out: &mut [f32]) {
        let range = first * self.cols..first * self.cols + out.len();
        match &self.values {
            Values::Held(values) => out.copy_from_slice(&values[range]),
            Values::Stored(stored, count) => {
                assert!(range.end <= *count, "numbers {range:?} of {count}");
                stored.read(range.start, out);
            }
        }
    }

    /// All values, `rows * cols`.
    pub fn values(&self) -> Cow<'_, [f32]> {
        self.rows(0..self.rows)
    }

    /// Takes all values to memory.
    pub fn hold(&mut self) {
        if let Values::Stored(..) = self.values {
            self.values = Values::Held(self.values().into_owned());
        }
    }

    /// All values, to be changed: they are in memory from now on.
    pub fn values_mut(&mut self) -> &mut [f32] {
        self.hold();
        match &mut self.values {
            Values::Held(values) => values,
            Values::Stored(..) => &mut [],
        }
    }

    /// Says that these rows are not needed soon.
    pub fn release(&self, rows: Range<usize>) {
        if let Values::Stored(stored, _) = &self.values {
            stored.release(rows.start * self.cols..rows.end * self.cols);
        }
    }

    /// Forgets all but the first `rows`.
    pub fn truncate(&mut self, rows: usize) {
        self.rows = self.rows.min(rows);
        let left = self.rows * self.cols;
        match &mut self.values {
            Values::Held(values) => values.truncate(left),
            Values::Stored(_, count) => *count = left,
        }
    }

    /// The same values, columns as rows.
    #[must_use]
    pub fn transposed(&self) -> Self {
        const ROWS: usize = 64;
        let mut turned = vec![0.0; self.rows * self.cols];
        for first in (0..self.rows).step_by(ROWS) {
            let some = self.rows(first..self.rows.min(first + ROWS));
            for (row, values) in (first..).zip(some.chunks_exact(self.cols.max(1))) {
                let column = turned.iter_mut().skip(row).step_by(self.rows);
                column.zip(values).for_each(|(turned, value)| *turned = *value);
            }
        }
        Self::new(self.cols, self.rows, turned)
    }
}

impl PartialEq for Matrix {
    fn eq(&self, other: &Self) -> bool {
        let shape = (self.rows, self.cols);
        shape == (other.rows, other.cols) && (0..self.rows).all(|i| self.row(i) == other.row(i))
    }
}

impl fmt::Debug for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Matrix({} x {})", self.rows, self.cols)
    }
}
