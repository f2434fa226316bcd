//! Generated operators: an affine nest of loops, whose body reads numbers and keeps what it makes of them.
//!
//! In: a nest's words, the digits of the row that it belongs to, the arena and the constants. Out: numbers in
//! the arena. Knows nothing of cards and of what the numbers mean.
//!
//! ```text
//! real | store, factor, shift | loops, extents | body, words of it | parts: kind, divisor, index
//! what is written: byte of the arena, numbers, index
//! what is read: kind, place, numbers, index | guards: index, extent
//! index: terms | constant | variable, factor ..
//! ```
//!
//! Variables are the digits, the loops (the last one is run along), and the parts. What is read outside of a
//! guard is 0. Along the last loop all indices are linear, so that a row of it costs one look at each; where a
//! part depends on it, every point is looked at.

use crate::code::{DIGITS, LANES, MOST_ACCESSES, MOST_KEPT, MOST_VARS, kind, op, part, store};
use crate::number::Number;
use crate::words::Words;
use zerocopy::little_endian::I32;
use zerocopy::{FromBytes, IntoBytes};

/// A nest, taken apart.
#[derive(Clone, Copy)]
pub struct Nest<'a> {
    real: bool,
    store: Store,
    extents: Words<'a>,
    body: Words<'a>,
    parts: usize,
    /// Parts, what is written, what is read.
    rest: Words<'a>,
}

#[derive(Clone, Copy)]
struct Store {
    how: i32,
    factor: i32,
    shift: i32,
}

/// Numbers of a tensor along the last loop.
#[derive(Clone, Copy)]
struct Span {
    kind: i32,
    place: usize,
    count: usize,
    base: i32,
    step: i32,
    /// Iterations for which it is inside.
    from: i32,
    to: i32,
}

impl Span {
    const NONE: Self = Self { kind: 0, place: 0, count: 0, base: 0, step: 0, from: 0, to: 0 };
}

/// Values of all variables.
type At = [i32; MOST_VARS];

/// An index: what it is without variable `along`, and that one's factor.
#[inline]
fn index(words: &mut Words<'_>, at: &At, along: usize) -> (i32, i32) {
    let terms = words.count();
    let (mut base, mut step) = (words.next(), 0i32);
    for _ in 0..terms {
        let (variable, factor) = (words.count(), words.next());
        if variable == along {
            step = step.wrapping_add(factor);
        } else {
            let value = at.get(variable).copied().unwrap_or(0);
            base = base.wrapping_add(factor.wrapping_mul(value));
        }
    }
    (base, step)
}

/// Iterations in `0..count` for which `base + step * i` is in `0..extent`.
#[inline]
fn inside(base: i32, step: i32, extent: i32, count: i32) -> (i32, i32) {
    let all = |holds: bool| if holds { (0, count) } else { (0, 0) };
    match step {
        0 => all(0 <= base && base < extent),
        1 => (base.saturating_neg().max(0), extent.saturating_sub(base).min(count)),
        _ => {
            let up = step > 0;
            let (step, base) = if up {
                (step, base)
            } else {
                (step.saturating_neg(), extent.wrapping_sub(1).wrapping_sub(base))
            };
            let first = base.saturating_neg().max(0);
            let over = |n: i32| (n.saturating_add(step - 1)).checked_div(step).unwrap_or(0);
            (over(first), over(extent.saturating_sub(base).max(0)).min(count))
        }
    }
}

impl<'a> Nest<'a> {
    /// Takes `words` apart.
    #[inline]
    pub fn new(mut words: Words<'a>) -> Self {
        let real = words.next() != 0;
        let store = Store { how: words.next(), factor: words.next(), shift: words.next() };
        let extents = words.part();
        let body = words.part();
        let parts = words.count();
        Self { real, store, extents, body, parts, rest: words }
    }

    /// Computes it.
    pub fn run(&self, digits: [i32; DIGITS], arena: &mut [u32], constants: &[I32]) {
        if self.real {
            self.computed::<f32>(digits, arena, constants);
        } else {
            self.computed::<i32>(digits, arena, constants);
        }
    }

    fn computed<N: Number>(&self, digits: [i32; DIGITS], arena: &mut [u32], constants: &[I32]) {
        let mut at: At = [0; MOST_VARS];
        at.iter_mut().zip(digits).for_each(|(at, digit)| *at = digit);
        let loops = self.extents.0.len();
        let Some((last, outer)) = self.extents.0.split_last() else { return };
        let (last, along) = (last.get(), DIGITS + loops - 1);
        let point = self.bends(along);
        loop {
            if point {
                for i in 0..last {
                    if let Some(at) = at.get_mut(along) {
                        *at = i;
                    }
                    self.row::<N>(&mut at, MOST_VARS, 1, arena, constants);
                }
            } else {
                self.row::<N>(&mut at, along, last, arena, constants);
            }
            // The next point of the outer loops.
            let mut more = false;
            for place in (0..outer.len()).rev() {
                let (Some(counter), Some(extent)) = (at.get_mut(DIGITS + place), outer.get(place))
                else {
                    continue;
                };
                *counter = counter.wrapping_add(1);
                if *counter < extent.get() {
                    more = true;
                    break;
                }
                *counter = 0;
            }
            if !more {
                return;
            }
        }
    }

    /// Whether a part depends on variable `along`.
    fn bends(&self, along: usize) -> bool {
        let mut bent = 1u32 << along;
        let mut words = self.rest;
        let first = DIGITS + self.extents.0.len();
        for i in 0..self.parts {
            let (_, _) = (words.next(), words.next());
            let terms = words.count();
            words.next();
            for _ in 0..terms {
                let (variable, _) = (words.count(), words.next());
                if variable < MOST_VARS && bent >> variable & 1 == 1 && first + i < MOST_VARS {
                    bent |= 1 << (first + i);
                }
            }
        }
        bent.count_ones() > 1
    }

    /// One row along variable `along`, of `count` iterations.
    fn row<N: Number>(
        &self,
        at: &mut At,
        along: usize,
        count: i32,
        arena: &mut [u32],
        constants: &[I32],
    ) {
        let mut words = self.rest;
        let first = DIGITS + self.extents.0.len();
        for i in 0..self.parts {
            let (what, divisor) = (words.next(), words.next());
            let (value, _) = index(&mut words, at, MOST_VARS);
            let value = match what {
                part::QUOTIENT => value.checked_div_euclid(divisor),
                _ => value.checked_rem_euclid(divisor),
            };
            if let Some(at) = at.get_mut(first + i) {
                *at = value.unwrap_or(0);
            }
        }
        let (place, numbers) = (words.count(), words.count());
        let (base, step) = index(&mut words, at, along);
        let to = Span { kind: 0, place, count: numbers, base, step, from: 0, to: count };
        let mut spans = [Span::NONE; MOST_ACCESSES];
        for span in &mut spans {
            if words.is_empty() {
                break;
            }
            let (kind, place, numbers) = (words.next(), words.count(), words.count());
            let (base, step) = index(&mut words, at, along);
            *span = Span { kind, place, count: numbers, base, step, from: 0, to: count };
            for _ in 0..words.count() {
                let (base, step) = index(&mut words, at, along);
                let (from, to) = inside(base, step, words.next(), count);
                (span.from, span.to) = (span.from.max(from), span.to.min(to));
            }
        }
        let mut start = 0;
        while start < count {
            let lanes = (count - start).min(LANES as i32) as usize;
            let kept = self.lanes::<N>(&spans, start, lanes, arena, constants);
            self.store(&to, start, kept.get(..lanes).unwrap_or(&[]), arena);
            start += LANES as i32;
        }
    }

    /// The body for `lanes` iterations from `start` on.
    #[inline]
    fn lanes<N: Number>(
        &self,
        spans: &[Span; MOST_ACCESSES],
        start: i32,
        lanes: usize,
        arena: &[u32],
        constants: &[I32],
    ) -> [N; LANES] {
        let mut kept = [[N::ZERO; LANES]; MOST_KEPT];
        let mut top = 0usize;
        let mut body = self.body;
        while !body.is_empty() {
            let word = body.next();
            match word & 0xFF {
                op::LOAD => {
                    let (Some(kept), Some(span)) =
                        (kept.get_mut(top), spans.get((word >> 8) as usize))
                    else {
                        break;
                    };
                    span.load(start, kept.get_mut(..lanes).unwrap_or_default(), arena, constants);
                    top += 1;
                }
                op::CONSTANT => {
                    let Some(kept) = kept.get_mut(top) else { break };
                    *kept = [N::constant(body.next()); LANES];
                    top += 1;
                }
                op::ADD | op::TIMES => {
                    top = top.saturating_sub(1);
                    let Ok([a, b]) = kept.get_disjoint_mut([top.saturating_sub(1), top]) else {
                        break;
                    };
                    let both = a.iter_mut().zip(b).take(lanes);
                    if word & 0xFF == op::ADD {
                        both.for_each(|(a, b)| *a = a.plus(*b));
                    } else {
                        both.for_each(|(a, b)| *a = a.times(*b));
                    }
                }
                other => {
                    let Some(kept) = kept.get_mut(top.saturating_sub(1)) else { break };
                    let all = kept.iter_mut().take(lanes);
                    match other {
                        op::RELU => all.for_each(|x| *x = x.relu()),
                        op::TANH => all.for_each(|x| *x = x.tanh()),
                        op::SIGMOID => all.for_each(|x| *x = x.sigmoid()),
                        op::EXP => all.for_each(|x| *x = x.exp()),
                        op::RECIPROCAL => all.for_each(|x| *x = x.reciprocal()),
                        op::INVERSE_ROOT => all.for_each(|x| *x = x.inverse_root()),
                        _ => all.for_each(|x| *x = x.times(*x)),
                    }
                }
            }
        }
        let [first, ..] = kept;
        first
    }

    #[inline]
    fn store<N: Number>(&self, to: &Span, start: i32, kept: &[N], arena: &mut [u32]) {
        let Store { how, factor, shift } = self.store;
        let first = to.base.wrapping_add(to.step.wrapping_mul(start));
        if how == store::SMALL {
            let bytes = <[i8]>::mut_from_bytes(arena.as_mut_bytes()).unwrap_or_default();
            let all = bytes.get_mut(to.place..).and_then(|rest| rest.get_mut(..to.count));
            let all = all.unwrap_or_default();
            put(all, first, to.step, kept, |byte, x| *byte = x.to_small(factor, shift));
            return;
        }
        let all = arena.get_mut(to.place / 4..).and_then(|rest| rest.get_mut(..to.count));
        let all = all.unwrap_or_default();
        if how == store::ADD {
            put(all, first, to.step, kept, |word, x| {
                // Bits of what is there are those of such a number.
                *word = x.plus(N::constant(*word as i32)).bits();
            });
        } else {
            put(all, first, to.step, kept, |word, x| *word = x.bits());
        }
    }
}

/// Numbers `first`, `first + step` and so on of `all`, each with one of `kept`.
#[inline]
fn put<T, N: Copy>(all: &mut [T], first: i32, step: i32, kept: &[N], with: impl Fn(&mut T, N)) {
    if step == 1 {
        let all = all.get_mut(first as usize..).unwrap_or_default();
        all.iter_mut().zip(kept).for_each(|(to, x)| with(to, *x));
        return;
    }
    let mut at = first;
    for x in kept {
        if let Some(to) = all.get_mut(at as usize) {
            with(to, *x);
        }
        at = at.wrapping_add(step);
    }
}

impl Span {
    /// Its numbers from iteration `start` on; 0 where it is outside.
    #[inline]
    fn load<N: Number>(&self, start: i32, kept: &mut [N], arena: &[u32], constants: &[I32]) {
        let end = start + kept.len() as i32;
        let (from, to) = (self.from.max(start), self.to.min(end));
        if from > start || to < end {
            kept.fill(N::ZERO);
        }
        let room = (from - start) as usize..(to - start).max(0) as usize;
        let Some(kept) = kept.get_mut(room) else { return };
        let first = self.base.wrapping_add(self.step.wrapping_mul(from));
        let (place, count) = (self.place, self.count);
        match self.kind {
            kind::SMALL => {
                let bytes = <[i8]>::ref_from_bytes(arena.as_bytes()).unwrap_or(&[]);
                let all = bytes.get(place..).and_then(|rest| rest.get(..count)).unwrap_or(&[]);
                take(all, first, self.step, kept, |x| N::small(*x));
            }
            kind::CONSTANT | kind::REAL_CONSTANT => {
                let all = constants.get(place..).and_then(|rest| rest.get(..count)).unwrap_or(&[]);
                if self.kind == kind::CONSTANT {
                    take(all, first, self.step, kept, |x| N::whole(x.get()));
                } else {
                    take(all, first, self.step, kept, |x| N::real(x.get() as u32));
                }
            }
            other => {
                let words = arena.get(place / 4..).and_then(|rest| rest.get(..count));
                let all = words.unwrap_or(&[]);
                if other == kind::WHOLE {
                    take(all, first, self.step, kept, |x| N::whole(*x as i32));
                } else {
                    take(all, first, self.step, kept, |x| N::real(*x));
                }
            }
        }
    }
}

/// Numbers `first`, `first + step` and so on of `all`; 0 where there is none.
#[inline]
fn take<T, N: Number>(all: &[T], first: i32, step: i32, kept: &mut [N], of: impl Fn(&T) -> N) {
    let mut at = first;
    if step == 1
        && let Some(all) = all.get(at as usize..).and_then(|rest| rest.get(..kept.len()))
    {
        kept.iter_mut().zip(all).for_each(|(kept, x)| *kept = of(x));
        return;
    }
    for kept in kept {
        *kept = all.get(at as usize).map_or(N::ZERO, &of);
        at = at.wrapping_add(step);
    }
}
