//! Low-rank adapters: `y = W x + alpha / rank * B (A x)` for matrices of attention.
//!
//! In: a model's shape, a rank, the matrices that have an adapter. Out: where the numbers of each lie, and a
//! [`file`](mod@file) that holds them. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021.

pub mod file;

pub use file::{AdapterError, AdapterFile};

use crate::config::ModelConfig;
use core::ops::Range;

/// Which matrices of attention get an adapter: a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Targets(u8);

/// A matrix of attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Target {
    /// Queries: `(heads * head_dim, dim)`.
    Query = 0,
    /// Keys: `(kv_heads * head_dim, dim)`.
    Key = 1,
    /// Values: `(kv_heads * head_dim, dim)`.
    Value = 2,
    /// The output: `(dim, heads * head_dim)`.
    Output = 3,
}

impl Target {
    /// All, in the order in which adapters lie.
    pub const ALL: [Self; 4] = [Self::Query, Self::Key, Self::Value, Self::Output];

    /// Its letter, for command lines and reports.
    pub const fn letter(self) -> char {
        match self {
            Self::Query => 'q',
            Self::Key => 'k',
            Self::Value => 'v',
            Self::Output => 'o',
        }
    }
}

impl Targets {
    /// Queries and values: what most adapters have.
    pub const QV: Self = Self(0b0101);
    /// All four.
    pub const ALL: Self = Self(0b1111);

    /// The set of these.
    pub const fn of(targets: &[Target]) -> Self {
        let mut set = 0;
        let mut rest = targets;
        while let [target, more @ ..] = rest {
            set |= 1 << *target as u8;
            rest = more;
        }
        Self(set)
    }

    /// The set with the code that an adapter's file has, if it is one.
    pub const fn from_code(code: u8) -> Option<Self> {
        if code < 16 { Some(Self(code)) } else { None }
    }

    /// Its code: one bit for each, that of [`Target::Query`] the lowest.
    pub const fn code(self) -> u8 {
        self.0
    }

    /// Whether it has `target`.
    pub const fn has(self, target: Target) -> bool {
        self.0 >> target as u8 & 1 != 0
    }
}

/// What adapters of a model are like.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct AdapterShape {
    /// Rows of `A`, columns of `B`.
    pub rank: u32,
    /// `alpha / rank` is what the product is multiplied with.
    pub alpha: f32,
    /// The matrices that have one.
    pub targets: Targets,
}

impl AdapterShape {
    /// Numbers of a matrix's input and output.
    pub const fn sides(config: &ModelConfig, target: Target) -> (usize, usize) {
        let (dim, query) = (config.dim as usize, config.query_dim() as usize);
        match target {
            Target::Query => (dim, query),
            Target::Key | Target::Value => (dim, config.kv_dim() as usize),
            Target::Output => (query, dim),
        }
    }

    /// Numbers of a layer's adapters.
    pub const fn layer_numbers(&self, config: &ModelConfig) -> usize {
        let mut count = 0;
        let mut rest = Target::ALL.as_slice();
        while let [target, more @ ..] = rest {
            if self.targets.has(*target) {
                let (inputs, outputs) = Self::sides(config, *target);
                count += self.rank as usize * (inputs + outputs);
            }
            rest = more;
        }
        count
    }

    /// Numbers of all adapters: layer by layer, in each the targets in their order, of each `A`, `(rank,
    /// inputs)`, then `B`, `(outputs, rank)`.
    pub const fn numbers(&self, config: &ModelConfig) -> usize {
        self.layer_numbers(config).saturating_mul(config.layers as usize)
    }

    /// Where `A` and `B` of a target lie in the numbers of a layer; both empty without an adapter.
    pub fn places(&self, config: &ModelConfig, target: Target) -> (Range<usize>, Range<usize>) {
        let mut start = 0;
        for other in Target::ALL {
            let (inputs, outputs) = Self::sides(config, other);
            let rank = if self.targets.has(other) { self.rank as usize } else { 0 };
            let middle = start + rank * inputs;
            let end = middle + rank * outputs;
            if other == target {
                return (start..middle, middle..end);
            }
            start = end;
        }
        (0..0, 0..0)
    }
}

/// Adapters that a decoder adds to what the matrices of attention give: see
/// [`Decoder::set_adapter`](crate::Decoder::set_adapter).
pub struct Adapter<'m> {
    /// What they are like.
    pub shape: AdapterShape,
    /// As [`AdapterShape::numbers`] has them.
    pub numbers: &'m [f32],
    /// Scratch: `(batch, rank)`.
    pub inner: &'m mut [f32],
}
