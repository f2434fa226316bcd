//! The numbers that stand for things in a program, and what of it the executor has room for.
//!
//! In: nothing. Out: constants, which whoever writes programs uses too.

/// The first bytes of every program.
pub const MAGIC: [u8; 8] = *b"RIPPLAN\n";
/// The format this code reads; any change of the format changes it.
pub const VERSION: u16 = 1;
/// Bytes before the words that are covered by the CRC: magic, version, zeroes, bytes of the front, CRC.
pub const START_BYTES: usize = 20;
/// Words before the ports.
pub const HEADER_WORDS: usize = 8;
/// Words of a port: byte in the arena, numbers, what they are, the bits of what one of them stands for,
/// whether they are images, and the extents of the tensor in its file, 0 behind the last.
pub const PORT_WORDS: usize = 5 + DIMENSIONS;
/// Most dimensions of an input or output.
pub const DIMENSIONS: usize = 6;

/// Loops of a nest.
pub const MOST_LOOPS: usize = 8;
/// Iterators of the operator that a nest belongs to: the digits of a row's number.
pub const DIGITS: usize = 4;
/// Quotients and remainders of a nest.
pub const MOST_PARTS: usize = 20;
/// Everything that an index of a nest is made of: digits, loops, quotients and remainders.
pub const MOST_VARS: usize = DIGITS + MOST_LOOPS + MOST_PARTS;
/// Numbers that a nest reads at each point.
pub const MOST_ACCESSES: usize = 12;
/// Numbers that a nest's body keeps at once.
pub const MOST_KEPT: usize = 6;
/// Numbers that a nest computes at once.
pub const LANES: usize = 16;

/// What a step is.
pub mod step {
    /// A generated operator: a nest of loops.
    pub const NEST: i32 = 1;
    /// Vectors packed for the products.
    pub const PACK: i32 = 2;
    /// Rows times vectors.
    pub const PRODUCT: i32 = 3;
    /// Scores of a window.
    pub const WINDOW: i32 = 4;
    /// What a window's scores weigh.
    pub const WINDOW_SUM: i32 = 5;
    /// Filters over an image.
    pub const CONV: i32 = 6;
    /// Zeroes.
    pub const ZERO: i32 = 7;
}

/// What numbers are: of a port, of what a nest reads.
pub mod kind {
    /// 8 bits in the arena.
    pub const SMALL: i32 = 0;
    /// 32 bits in the arena.
    pub const WHOLE: i32 = 1;
    /// Floats in the arena.
    pub const REAL: i32 = 2;
    /// 32 bits among the constants.
    pub const CONSTANT: i32 = 3;
    /// Floats among the constants.
    pub const REAL_CONSTANT: i32 = 4;
}

/// How a nest stores.
pub mod store {
    /// As 32 bits, integers or floats as it computes.
    pub const WRITE: i32 = 0;
    /// Added to 32 bits.
    pub const ADD: i32 = 1;
    /// In 8 bits: integers times the first factor, shifted right by the second, rounded up from the half;
    /// floats times the first, rounded away from zero from the half.
    pub const SMALL: i32 = 2;
}

/// What a nest's body does, in the order in which it does it.
pub mod op {
    /// Keeps a number that is read; which one is in the bits above the low 8.
    pub const LOAD: i32 = 0;
    /// Keeps the next word.
    pub const CONSTANT: i32 = 1;
    /// The last two become their sum.
    pub const ADD: i32 = 2;
    /// The last two become their product.
    pub const TIMES: i32 = 3;
    /// The last one, or 0 if that is more.
    pub const RELU: i32 = 4;
    /// The hyperbolic tangent of the last one; of integers, the sign.
    pub const TANH: i32 = 5;
    /// The square of the last one.
    pub const SQUARE: i32 = 6;
    /// `1 / (1 + exp(-x))` of the last one, of floats; integers stay as they are, here and below.
    pub const SIGMOID: i32 = 7;
    /// The exponential of the last one.
    pub const EXP: i32 = 8;
    /// One over the last one.
    pub const RECIPROCAL: i32 = 9;
    /// One over the square root of the last one.
    pub const INVERSE_ROOT: i32 = 10;
}

/// What a variable is that is no iterator.
pub mod part {
    /// A quotient, rounded down.
    pub const QUOTIENT: i32 = 0;
    /// A remainder, never negative.
    pub const REMAINDER: i32 = 1;
}
