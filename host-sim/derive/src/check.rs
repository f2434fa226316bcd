//! Whether an expression means anything: ranges, ranks, and reads within the padding.
//!
//! In: a scope. Out: nothing, or what is wrong with it, where, and what is allowed.

use crate::expr::{Access, Scope, Target, Tensors};
use crate::index::Range;

/// Why an expression means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExprError {
    /// An access has another number of indices than its target has dimensions.
    #[error("{target} has {dimensions} dimensions, but {found} indices")]
    Rank {
        /// Name of the target.
        target: String,
        /// Its dimensions.
        dimensions: usize,
        /// Indices of the access.
        found: usize,
    },
    /// An access reaches beyond the padding.
    #[error(
        "{target}: dimension {dimension} reads {found:?}, outside of {allowed:?}; declare more padding, \
         or shorten a range"
    )]
    Outside {
        /// Name of the target.
        target: String,
        /// Which of its dimensions.
        dimension: usize,
        /// What is read.
        found: Range,
        /// What may be read: shape and padding.
        allowed: Range,
    },
    /// A range has nothing in it.
    #[error("iterator {iterator} runs over {range:?}, which is empty")]
    Empty {
        /// Its number in the scope.
        iterator: usize,
        /// Its range.
        range: Range,
    },
    /// Too many iterators in one scope.
    #[error("a scope has {found} iterators; there may be 48")]
    Iterators {
        /// How many.
        found: usize,
    },
    /// A tensor that there is not.
    #[error("there is no tensor {0}")]
    Unknown(u32),
}

/// Most iterators of a scope.
pub const MOST_ITERATORS: usize = 48;

impl Scope {
    /// Whether all accesses, of inner scopes too, have as many indices as dimensions and stay within
    /// their padding. What an inner scope has no padding for is 0 as well, so only tensors are held to
    /// theirs.
    ///
    /// # Errors
    /// Names the target, the dimension, what is read and what may be.
    pub fn check(&self, tensors: &Tensors) -> Result<(), ExprError> {
        let ranges = self.ranges();
        if ranges.len() > MOST_ITERATORS {
            return Err(ExprError::Iterators { found: ranges.len() });
        }
        if let Some((iterator, &range)) = ranges.iter().enumerate().find(|(_, r)| r.is_empty()) {
            return Err(ExprError::Empty { iterator, range });
        }
        let mut found = Ok(());
        self.body.accesses(&mut |access| {
            if found.is_ok() {
                found = access.check(tensors, &ranges);
            }
        });
        found
    }
}

impl Access {
    fn check(&self, tensors: &Tensors, ranges: &[Range]) -> Result<(), ExprError> {
        let (name, dimensions) = match &self.target {
            Target::Tensor(id) => {
                let tensor = tensors.get(*id as usize).ok_or(ExprError::Unknown(*id))?;
                (tensor.name.as_str(), tensor.shape.len())
            }
            Target::Scope(scope) => {
                scope.check(tensors)?;
                ("a scope", scope.loops.len())
            }
        };
        let (target, found) = (name.to_owned(), self.index.len());
        if found != dimensions {
            return Err(ExprError::Rank { target, dimensions, found });
        }
        let Target::Tensor(id) = self.target else { return Ok(()) };
        let tensor = &tensors[id as usize];
        for (dimension, index) in self.index.iter().enumerate() {
            let (before, after) = tensor.padding[dimension];
            let allowed = Range { lo: -before, hi: tensor.shape[dimension] + after };
            let found = index.span(ranges);
            if !allowed.covers(found) {
                return Err(ExprError::Outside { target, dimension, found, allowed });
            }
        }
        Ok(())
    }
}
