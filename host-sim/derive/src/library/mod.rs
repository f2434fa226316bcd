//! The library: what the board computes well, as patterns of iterators.
//!
//! In: a focus. Out: the operators that it is, once its operands are copied into the layout that the
//! operator reads. An operator is a table of rows, one for each set of tensors that an iterator occurs in;
//! an iterator that has no place in a row is joined with another of the row (the guided part of the
//! search), which needs no rule of the search's depth.

mod bind;
mod operator;

pub use bind::{Bound, bind};
pub use operator::{Call, Kernel, Operator, Role};

use crate::expr::{Access, Scope, Tensors};

/// Which of the tensors an iterator occurs in: operand A, operand B, the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Occurs(pub u8);

impl Occurs {
    /// In both operands and the output.
    pub const ALL: Self = Self(0b111);
    /// In A and the output.
    pub const A_OUT: Self = Self(0b101);
    /// In B and the output.
    pub const B_OUT: Self = Self(0b011);
    /// In both operands: it is summed over.
    pub const A_B: Self = Self(0b110);
}

/// The iterator-mapping table of a focus: for each iterator where it occurs. `None` where some iterator is
/// in no operand, or in one only and not in the output.
pub fn table(focus: &Scope, a: &Access, b: &Access) -> Option<Vec<Occurs>> {
    let vars = |access: &Access| access.index.iter().fold(0, |set, index| set | index.vars());
    let (in_a, in_b) = (vars(a), vars(b));
    (0..focus.iterators())
        .map(|v| {
            let bit = |set: u64| (set >> v & 1) as u8;
            let out = u8::from(v < focus.loops.len());
            let occurs = match Occurs(bit(in_a) << 2 | bit(in_b) << 1 | out) {
                // A dimension of one value, which nothing is read by: a row of one.
                Occurs(0b001) if focus.loops[v].len() == 1 => Occurs::A_OUT,
                occurs => occurs,
            };
            [Occurs::ALL, Occurs::A_OUT, Occurs::B_OUT, Occurs::A_B]
                .contains(&occurs)
                .then_some(occurs)
        })
        .collect()
}

/// Every operator that the focus is, with its operands in either order, but for a weight as operand A, which would be
/// read once for every row of an input: the other order reads it once.
pub fn matches(focus: &Scope, tensors: &Tensors, operators: &[Operator]) -> Vec<Bound> {
    let Some(&[first, second]) = focus.body.factors().as_deref() else { return Vec::new() };
    let mut found = Vec::new();
    for (a, b) in [(first, second), (second, first)] {
        if a.is_weight(tensors) && !b.is_weight(tensors) {
            continue;
        }
        let Some(table) = table(focus, a, b) else { continue };
        for operator in operators {
            for roles in operator.roles(focus, a, b, &table) {
                found.extend(bind(focus, tensors, operator, [a, b], &roles));
            }
        }
    }
    found
}
