//! Weights and activations that look like quantised ones: a constant seed, no structure.

/// Fills `out` with numbers from -127 to 127.
pub fn fill(out: &mut [i8], seed: u32) {
    let mut state = seed;
    for x in out {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *x = ((state >> 24) as i8).max(-127);
    }
}
