//! The floor: what a cache that knows the future must still read, and the least time for it.
//!
//! In: a trace, a number of bundles that can be held, a card. Out: [`Floor`], and milliseconds a
//! token that no policy with that much memory can go below, as long as it reads a bundle when the
//! bundle is needed and begins each token with a command of its own. Knows nothing of placements.

use crate::cost::Timing;
use crate::profile::trace::Trace;
use std::collections::BinaryHeap;

/// What must be read of a whole trace, however the cache is managed.
///
/// The cache starts with the bundles of its choice, at no cost, since a hot prefix does. It need
/// not admit what was read, and makes room only after all bundles of a layer were used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Floor {
    /// Tokens of the trace.
    pub tokens: usize,
    /// Fewest misses of any cache, those of Belady's MIN.
    pub missed_bundles: u64,
    /// Tokens of which MIN misses at least one bundle.
    pub tokens_missed: u64,
    /// No cache misses something of fewer tokens than this. Less than `tokens_missed`, since another cache
    /// can miss more bundles in fewer tokens, and since it is a relaxation.
    pub tokens_missed_by_all: u64,
    waits: Waits,
}

impl Floor {
    /// Replays `trace` with a cache of `capacity` bundles of any layers.
    ///
    /// O(N log N) for N active bundles, 8 bytes each of which 4 are kept.
    ///
    /// # Panics
    /// When the trace has 2^32 - 1 active sets or more.
    pub fn of(trace: &Trace, capacity: usize) -> Self {
        let sets = trace.tokens() * trace.layers();
        assert!(sets < NEVER as usize, "{sets} active sets");
        let Uses { first, next, waits } = Uses::of(trace);
        let (missed_bundles, tokens_missed) = min_misses(trace, &first, &next, capacity);
        let waits = Waits { capacity, sets, ..waits };
        let tokens_missed_by_all = waits.ends.len() as u64 - waits.most_tokens_hit();
        let tokens = trace.tokens();
        Self { tokens, missed_bundles, tokens_missed, tokens_missed_by_all, waits }
    }

    /// Bundles that miss, a token.
    pub fn missed_per_token(&self) -> f64 {
        self.missed_bundles as f64 / self.tokens.max(1) as f64
    }

    /// Least milliseconds a token that a card is busy, without tail, with bundles of `stride` bytes,
    /// whatever the cache does.
    ///
    /// On an affine card the greater of two: `tokens_missed_by_all * t0 + missed bytes / BW`, and
    /// what a relaxation gives that weighs commands against bytes. MIN's own `tokens_missed` would
    /// not do: it has the fewest misses, not the fewest commands.
    ///
    /// Nor would one command for each token at the price of the table where a card has one: two
    /// short reads can be cheaper than one (8 KiB on `sandisk-extreme`). But under any line
    /// `a + b n` that is nowhere above the price of a read of `n` bytes, whatever the commands
    /// are, they cost at least `a` for each token and `b` for each byte: the highest such line is
    /// taken.
    pub fn floor_ms(&self, timing: &Timing, stride: u32) -> f64 {
        let tokens = self.tokens_missed_by_all as f64;
        let least = lines_below(timing).into_iter().map(|(a, b)| {
            let b = b * f64::from(stride);
            (a * tokens + b * self.missed_bundles as f64).max(self.waits.least(a, b))
        });
        least.fold(0.0, f64::max) * 1e-9 / self.tokens.max(1) as f64
    }
}

/// Steps of the search for the price of room, each by a third.
const SEARCH_STEPS: u32 = 20;
/// A bundle that is not used again.
const NEVER: u32 = u32::MAX;

/// When bundles are used.
struct Uses {
    /// First token that uses each bundle, `(layers, neurons)`, or [`NEVER`].
    first: Vec<u32>,
    /// Next token that uses the same bundle, or [`NEVER`]; one for each active bundle, in order.
    next: Vec<u32>,
    waits: Waits,
}

impl Uses {
    fn of(trace: &Trace) -> Self {
        let (layers, neurons) = (trace.layers(), trace.neurons());
        let mut first = vec![NEVER; layers * neurons];
        let mut last: Vec<usize> = vec![usize::MAX; layers * neurons];
        let (mut next, mut waits) = (Vec::new(), Waits::default());
        for (token, layer) in sets(trace) {
            for key in keys(trace, token, layer) {
                let waited = match last[key] {
                    // Whatever was there before the first token waits from then on.
                    usize::MAX => {
                        first[key] = token as u32;
                        token * layers + layer + 1
                    }
                    at => {
                        (token - std::mem::replace(&mut next[at], token as u32) as usize) * layers
                    }
                };
                waits.bundles.push(waited as u32);
                last[key] = next.len();
                // Until the next use is known, the token of this one.
                next.push(token as u32);
            }
            if layer + 1 == layers && waits.ends.last().copied().unwrap_or(0) < next.len() {
                waits.ends.push(next.len());
            }
        }
        for at in last.into_iter().filter(|at| *at != usize::MAX) {
            next[at] = NEVER;
        }
        Self { first, next, waits }
    }
}

/// Every token and layer, in the order of their computation.
fn sets(trace: &Trace) -> impl Iterator<Item = (usize, usize)> {
    let layers = trace.layers();
    (0..trace.tokens()).flat_map(move |token| (0..layers).map(move |layer| (token, layer)))
}

/// The active bundles of one set, numbered through the model.
fn keys(trace: &Trace, token: usize, layer: usize) -> impl Iterator<Item = usize> {
    let start = layer * trace.neurons();
    trace.active(token, layer).map(move |neuron| start + usize::from(neuron))
}

/// Belady's MIN: missed bundles, and tokens with a miss.
///
/// To hold a bundle from one use to the next saves a miss and takes a place in between: intervals,
/// of which at most `capacity` may overlap. Most are kept when, wherever there are too many, the
/// one that ends last is dropped (Faigle and Nawijn, 1995); ties do not matter.
fn min_misses(trace: &Trace, first: &[u32], next: &[u32], capacity: usize) -> (u64, u64) {
    let mut cache = Clairvoyant::new(trace.layers(), trace.neurons(), capacity);
    for (key, &token) in first.iter().enumerate().filter(|(_, token)| **token != NEVER) {
        cache.hold(key, token);
    }
    cache.shrink();
    let (mut bundles, mut tokens, mut of_token) = (0, 0, 0);
    let mut nexts = next.iter();
    for (token, layer) in sets(trace) {
        if layer == 0 {
            of_token = 0;
        }
        // All are used before any is admitted: the layer's misses pass through staging.
        let misses = keys(trace, token, layer).filter(|key| !cache.take(*key)).count() as u64;
        for (key, &next) in keys(trace, token, layer).zip(&mut nexts) {
            if next != NEVER {
                cache.hold(key, next);
            }
        }
        cache.shrink();
        cache.forget_used(token, layer);
        tokens += u64::from(of_token == 0 && misses > 0);
        of_token += misses;
        bundles += misses;
    }
    (bundles, tokens)
}

/// Bundles held until their next use.
struct Clairvoyant {
    layers: usize,
    neurons: usize,
    capacity: usize,
    held: Vec<bool>,
    count: usize,
    /// Next uses, `(set, key)`, farthest first. Those that are past stay, but below all that are
    /// to come: as long as more is held than fits, the first is of a bundle that is held.
    next: BinaryHeap<(u64, u32)>,
}

impl Clairvoyant {
    fn new(layers: usize, neurons: usize, capacity: usize) -> Self {
        let held = vec![false; layers * neurons];
        Self { layers, neurons, capacity, held, count: 0, next: BinaryHeap::new() }
    }

    /// Gives up the place of `key`; false when it had none.
    fn take(&mut self, key: usize) -> bool {
        let held = std::mem::take(&mut self.held[key]);
        self.count -= usize::from(held);
        held
    }

    /// Holds `key` until `token` uses it.
    fn hold(&mut self, key: usize, token: u32) {
        self.held[key] = true;
        self.count += 1;
        self.next.push((self.set(token as usize, key / self.neurons), key as u32));
    }

    /// Drops what is used last until the rest fits.
    fn shrink(&mut self) {
        while self.count > self.capacity
            && let Some((_, key)) = self.next.pop()
        {
            self.take(key as usize);
        }
    }

    /// Drops past uses once they are more than half, so that the heap stays as small as the cache.
    fn forget_used(&mut self, token: usize, layer: usize) {
        if self.next.len() > 2 * self.count + 1024 {
            let now = self.set(token, layer);
            self.next.retain(|(set, _)| *set > now);
        }
    }

    /// The number of a set in the order of computation.
    fn set(&self, token: usize, layer: usize) -> u64 {
        (token * self.layers + layer) as u64
    }
}

/// How long bundles lie unused before they are used, in active sets: the room it takes to hit them.
/// All together there are `capacity` places for `sets` sets, wherever they are used: a relaxation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Waits {
    capacity: usize,
    sets: usize,
    /// One for each active bundle, in order.
    bundles: Vec<u32>,
    /// Where each token that has an active bundle ends in `bundles`.
    ends: Vec<usize>,
}

impl Waits {
    /// The waits of each token that has an active bundle.
    fn of_tokens(&self) -> impl Iterator<Item = &[u32]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.bundles[start..end])
    }

    /// Room, in places times sets.
    fn room(&self) -> u64 {
        self.sets as u64 * self.capacity as u64
    }

    /// Most tokens of which everything can have been held: as many as there is room for, those that take
    /// least first. What none of is missed is all held when the token begins.
    fn most_tokens_hit(&self) -> u64 {
        let small = self.of_tokens().filter(|token| token.len() <= self.capacity);
        let mut takes: Vec<u64> =
            small.map(|token| token.iter().map(|wait| u64::from(*wait)).sum()).collect();
        takes.sort_unstable();
        let mut left = self.room();
        let fits = takes.into_iter().take_while(|taken| {
            let rest = left.checked_sub(*taken);
            left = rest.unwrap_or(left);
            rest.is_some()
        });
        fits.count() as u64
    }

    /// A lower bound of `a * tokens with a miss + b * misses`.
    ///
    /// Its Lagrangian dual: room has a price, every token does what is cheapest for itself, and what
    /// the room that there is would have cost is given back. That is a bound at any price; it is
    /// concave in the price, so a search by thirds finds the best.
    fn least(&self, a: f64, b: f64) -> f64 {
        let at = |price: f64| {
            let tokens = self.of_tokens().map(|token| {
                let (mut all_hit, mut some_missed) = (0.0, a);
                for wait in token.iter().map(|wait| price * f64::from(*wait)) {
                    all_hit += wait;
                    some_missed += wait.min(b);
                }
                if token.len() > self.capacity { some_missed } else { some_missed.min(all_hit) }
            });
            tokens.sum::<f64>() - price * self.room() as f64
        };
        // Above this price nothing is worth its room.
        let (mut from, mut to) = (0.0, a + b);
        let mut best = 0.0_f64;
        for _ in 0..SEARCH_STEPS {
            let (low, high) = (from + (to - from) / 3.0, to - (to - from) / 3.0);
            let (at_low, at_high) = (at(low), at(high));
            best = best.max(at_low).max(at_high);
            if at_low < at_high { from = low } else { to = high }
        }
        best
    }
}

/// Lines `(a, b)`, `a + b n` picoseconds, nowhere above the cost of a read of `n >= 1` bytes and
/// never falling; among them the highest ones that meet the axis above 0.
fn lines_below(timing: &Timing) -> Vec<(f64, f64)> {
    let affine = 1e12 / timing.bytes_per_second.max(1) as f64;
    let points = timing.table.as_deref().unwrap_or_default();
    let Some(first) = points.first() else { return vec![(timing.t0_ns as f64 * 1e3, affine)] };
    // The cost is linear between these corners and beyond the last one.
    let mut corners = vec![(0.0, first.1 as f64 * 1e3)];
    corners.extend(points.iter().map(|&(bytes, ns)| (bytes as f64, ns as f64 * 1e3)));
    let slope = |from: (f64, f64), to: (f64, f64)| (to.1 - from.1) / (to.0 - from.0).max(1.0);
    let last = match corners.as_slice() {
        [_, .., from, to] => slope(*from, *to),
        _ => affine,
    };
    // A line that cannot be raised passes through two corners, or through one as steep as the last.
    let mut slopes = vec![0.0, last];
    for (at, from) in corners.iter().enumerate() {
        slopes.extend(corners[at + 1..].iter().map(|to| slope(*from, *to)));
    }
    let lines = slopes.into_iter().filter(|b| (0.0..=last).contains(b)).map(|b| {
        let a = corners.iter().map(|(bytes, ps)| ps - b * bytes).fold(f64::INFINITY, f64::min);
        (a, b)
    });
    lines.filter(|(a, _)| *a >= 0.0).collect()
}
