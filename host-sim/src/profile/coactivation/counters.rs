//! Bit-sliced counters: how often each of 512 neurons is active in many rows of bits.
//!
//! In: rows, one bit a neuron. Out: counts. Knows nothing of tokens, layers or pairs.

/// Words of the neurons counted at a time: a cache line.
pub(super) const LANE_WORDS: usize = 8;
/// Neurons counted at a time by bit-sliced counters.
pub(super) const LANE_NEURONS: usize = 64 * LANE_WORDS;
/// Bits of a sliced counter; it is emptied before it can overflow.
const PLANES: usize = 8;
/// Rows counted between emptyings: whole groups of eight, fewer than `2^PLANES`.
pub(super) const MOST_ROWS: usize = (1 << PLANES) - 8;

/// One bit for each of [`LANE_NEURONS`] neurons.
pub(super) type Lanes = [u64; LANE_WORDS];

/// A counter of [`PLANES`] bits for each neuron, bit `p` of all of them in plane `p`.
#[derive(Default)]
pub(super) struct Counters {
    planes: [Lanes; PLANES],
}

impl Counters {
    /// Adds `2^plane` to the counters of the neurons in `bits`.
    #[inline(always)]
    pub(super) fn add(&mut self, plane: usize, bits: Lanes) {
        let mut carry = bits;
        for plane in &mut self.planes[plane..] {
            for (sum, carry) in plane.iter_mut().zip(&mut carry) {
                (*sum, *carry) = (*sum ^ *carry, *sum & *carry);
            }
        }
    }

    /// Adds eight rows.
    #[inline(always)]
    pub(super) fn add_eight(&mut self, [a, b, c, d, e, f, g, h]: [Lanes; 8]) {
        let [ones, twos, fours, ..] = self.planes;
        let (ones, two_a) = full_add(ones, a, b);
        let (ones, two_b) = full_add(ones, c, d);
        let (twos, four_a) = full_add(twos, two_a, two_b);
        let (ones, two_a) = full_add(ones, e, f);
        let (ones, two_b) = full_add(ones, g, h);
        let (twos, four_b) = full_add(twos, two_a, two_b);
        let (fours, eights) = full_add(fours, four_a, four_b);
        self.planes[..3].copy_from_slice(&[ones, twos, fours]);
        self.add(3, eights);
    }

    /// Adds rows, at most [`MOST_ROWS`] before the counters are emptied.
    #[inline(always)]
    pub(super) fn add_rows<T>(&mut self, rows: &[T], bits: impl Fn(&T) -> Lanes) {
        let (eights, rest) = rows.as_chunks::<8>();
        for [a, b, c, d, e, f, g, h] in eights {
            // Not `map`: the closure would be called, not inlined (a tenth slower, 2026-11-21).
            let rows = [bits(a), bits(b), bits(c), bits(d), bits(e), bits(f), bits(g), bits(h)];
            self.add_eight(rows);
        }
        for one in rest {
            self.add(0, bits(one));
        }
    }

    /// Writes the counters to `counts`.
    pub(super) fn write_to(&self, counts: &mut [u8; LANE_NEURONS]) {
        for (word, counts) in counts.as_chunks_mut::<64>().0.iter_mut().enumerate() {
            let planes = self.planes.map(|plane| plane[word].to_le_bytes());
            for (byte, counts) in counts.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                *counts = transpose(planes.map(|plane| plane[byte]));
            }
        }
    }

    /// Adds the counters, of the neurons from `first` on, to the pairs of `i`: `row`,
    /// `(neurons - i - 1,)`.
    pub(super) fn add_to(&self, first: usize, i: usize, row: &mut [u32]) {
        for word in 0..LANE_WORDS {
            let planes = self.planes.map(|plane| plane[word].to_le_bytes());
            for byte in 0..8 {
                let neuron = first + word * 64 + byte * 8;
                if neuron + 8 <= i + 1 {
                    continue;
                }
                let counts = transpose(planes.map(|plane| plane[byte]));
                let before = (i + 1).saturating_sub(neuron);
                let place = (neuron + before - i - 1).min(row.len());
                for (total, &count) in row[place..].iter_mut().zip(&counts[before..]) {
                    *total += u32::from(count);
                }
            }
        }
    }
}

/// Sum and carry of three bits, in each of the lanes.
#[inline(always)]
fn full_add(a: Lanes, b: Lanes, c: Lanes) -> (Lanes, Lanes) {
    let half: Lanes = std::array::from_fn(|w| a[w] ^ b[w]);
    (
        std::array::from_fn(|w| half[w] ^ c[w]),
        std::array::from_fn(|w| (a[w] & b[w]) | (half[w] & c[w])),
    )
}

/// Transposes an 8 x 8 bit matrix: bit `r` of byte `c` is what was bit `c` of byte `r`.
///
/// Warren, "Hacker's Delight", 7-3.
fn transpose(bytes: [u8; 8]) -> [u8; 8] {
    let mut x = u64::from_le_bytes(bytes);
    for (shift, mask) in
        [(7, 0x00aa_00aa_00aa_00aa), (14, 0x0000_cccc_0000_cccc), (28, 0x0000_0000_f0f0_f0f0)]
    {
        let swapped = (x ^ (x >> shift)) & mask;
        x ^= swapped ^ (swapped << shift);
    }
    x.to_le_bytes()
}
