//! What a program's steps do, counted: calls of each loop, and the numbers that go through it.
//!
//! In: steps. Out: counts, of which a core makes instructions. Knows nothing of cores.

use super::steps::{Nest, Op, Rows, Step};
use ripple_program::code::{DIGITS, LANES};

/// Kinds of work that are counted.
pub const KINDS: usize = 15;

/// Their names, in order.
pub const NAMES: [&str; KINDS] = [
    "rows of weights",
    "their words",
    "dot products",
    "their numbers",
    "vectors packed",
    "their numbers",
    "runs of a filter",
    "their numbers",
    "scaled rows",
    "their numbers",
    "rows of a nest",
    "looks at indices",
    "operations on lanes",
    "their numbers",
    "places looked at",
];

/// How much of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work(pub [f64; KINDS]);

impl Work {
    fn add(&mut self, kind: usize, count: i64) {
        self.0[kind] += count as f64;
    }

    fn both(&mut self, kind: usize, calls: i64, numbers: i64) {
        self.add(kind, calls);
        self.add(kind + 1, numbers);
    }

    /// A nest, computed so many times.
    fn nest(&mut self, nest: &Nest, times: i64) {
        let along = DIGITS + nest.loops.len() - 1;
        let bends = nest.parts.iter().any(|part| part.of.factor(along) != 0);
        let last = nest.loops.last().copied().unwrap_or(1);
        let points = nest.work() * times;
        let (rows, chunks) = if bends {
            (points, points)
        } else {
            (points / last, points / last * ((last + LANES as i64 - 1) / LANES as i64))
        };
        let forms = nest.reads.iter().map(|read| 1 + read.guards.len());
        let terms = |form: &super::steps::Affine| form.terms.len() as i64;
        let read = nest.reads.iter().map(|read| {
            terms(&read.at) + read.guards.iter().map(|(guard, _)| terms(guard)).sum::<i64>()
        });
        let parts: i64 = nest.parts.iter().map(|part| 2 + terms(&part.of)).sum();
        let looks = 2 * forms.sum::<usize>() as i64 + read.sum::<i64>() + terms(&nest.at) + parts;
        let operations = nest.body.iter().filter(|op| !matches!(op, Op::Constant(_))).count() + 1;
        self.both(10, rows, rows * looks);
        self.both(12, chunks * operations as i64, points * operations as i64);
    }

    /// What all steps do.
    pub fn of(steps: &[Step]) -> Self {
        let mut all = Self::default();
        for step in steps {
            all.step(step);
        }
        all
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Nest(nest) => self.nest(nest, 1),
            Step::Zero(..) => {}
            Step::Pack { rows, cols, .. } => self.both(4, *rows, rows * cols),
            Step::Product { rows, cols, vectors, group, each, finish, .. } => {
                let count = match rows {
                    Rows::Card(rows) => {
                        let count = rows.len() as i64;
                        self.both(0, count, count * cols / 4);
                        count
                    }
                    Rows::Arena(_, count) => *count,
                };
                self.both(2, count * vectors, count * vectors * cols);
                self.nest(each, count);
                if let Some(finish) = finish {
                    self.nest(finish, count / group.max(&1));
                }
            }
            Step::Window {
                weighed,
                batch,
                positions,
                length,
                window,
                depth,
                offset,
                step,
                each,
                ..
            } => {
                let first = |p: i64| (0..*window).map(move |w| p + offset + w * step);
                let inside = |p: i64| first(p).filter(|place| (0..*length).contains(place)).count();
                let inside: i64 = (0..*positions).map(|p| inside(p) as i64).sum();
                let (calls, rows) = (batch * inside, batch * positions);
                if *weighed {
                    self.both(8, calls, calls * depth);
                } else if depth % 4 == 0 {
                    self.both(2, calls, calls * depth);
                    self.both(4, rows, rows * depth);
                } else {
                    self.both(6, calls, calls * depth);
                }
                self.0[14] += (rows * window) as f64;
                self.nest(each, rows);
            }
            Step::Conv {
                rows,
                cols,
                images,
                input,
                channels,
                output,
                kernel,
                stride,
                dilation,
                offset,
                each,
                ..
            } => {
                let count = rows.len() as i64;
                self.both(0, count, count * cols / 4);
                // Taps of each place of a direction that are inside.
                let inside = |d: usize, at: i64| {
                    let place = |tap: &i64| at * stride[d] + tap * dilation[d] + offset[d];
                    (0..kernel[d]).filter(|tap| (0..input[d]).contains(&place(tap))).count() as i64
                };
                let rows: i64 = (0..output[0]).map(|y| inside(0, y)).sum();
                let (mut runs, mut taps) = (0, 0);
                for x in 0..output[1] {
                    let own = inside(1, x);
                    taps += own;
                    runs += if dilation[1] == 1 { i64::from(own > 0) } else { own };
                }
                // Rows of the kernel, at each pixel.
                let places = count * images * output[0] * output[1] * kernel[0];
                self.0[14] += places as f64;
                let times = count * images * rows;
                self.both(6, times * runs, times * taps * channels);
                self.nest(each, count);
            }
        }
    }
}
