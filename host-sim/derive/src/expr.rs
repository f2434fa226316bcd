//! Expressions: scopes of loops and sums around a body that reads tensors and inner scopes.
//!
//! In: tensors with their shapes, iterators with their ranges. Out: closed scopes, whose body names no
//! iterator but their own, and what their accesses reach. Knows nothing of rules and costs.

use crate::index::{Index, Range};
use std::sync::Arc;

/// Whether a tensor is known when the plan is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Comes with every run.
    Input,
    /// Is the same in every run: what depends on weights alone is computed while planning.
    Weight,
}

/// A tensor that expressions read: zero outside its shape.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tensor {
    /// What it is called.
    pub name: String,
    /// Whether it is known beforehand.
    pub kind: Kind,
    /// Extent of each dimension, the last one contiguous.
    pub shape: Vec<i64>,
    /// How far beyond each end of a dimension an access may reach: zeroes are read there.
    pub padding: Vec<(i64, i64)>,
}

impl Tensor {
    /// A tensor whose padding is 0 everywhere.
    pub fn new(name: impl Into<String>, kind: Kind, shape: &[i64]) -> Self {
        Self { name: name.into(), kind, shape: shape.to_vec(), padding: vec![(0, 0); shape.len()] }
    }

    /// The same, with as much padding at both ends of each dimension.
    #[must_use]
    pub fn padded(mut self, padding: &[i64]) -> Self {
        self.padding = padding.iter().map(|&both| (both, both)).collect();
        self
    }

    /// How many numbers it has.
    pub fn len(&self) -> i64 {
        self.shape.iter().product()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The tensors of an expression; accesses name them by their place.
pub type Tensors = [Tensor];

/// A function of one number. Of those whose values are no integers the exact interpreter has others in their
/// place: fixed maps that keep 0 where the function does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Function {
    /// `max(x, 0)`.
    Relu,
    /// The hyperbolic tangent.
    Tanh,
    /// The square.
    Square,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// The exponential.
    Exp,
    /// `1 / x`.
    Reciprocal,
    /// `1 / sqrt(x)`.
    InverseRoot,
}

impl Function {
    /// Every function.
    pub const ALL: [Self; 7] = [
        Self::Relu,
        Self::Tanh,
        Self::Square,
        Self::Sigmoid,
        Self::Exp,
        Self::Reciprocal,
        Self::InverseRoot,
    ];

    /// What it is called in the notation.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Relu => "relu",
            Self::Tanh => "tanh",
            Self::Square => "square",
            Self::Sigmoid => "sigmoid",
            Self::Exp => "exp",
            Self::Reciprocal => "reciprocal",
            Self::InverseRoot => "rsqrt",
        }
    }

    /// Whether its value at 0 is 0.
    pub const fn keeps_zero(self) -> bool {
        matches!(self, Self::Relu | Self::Tanh | Self::Square)
    }
}

/// What an access reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// A tensor, by its place.
    Tensor(u32),
    /// Another scope, as the tensor that it computes: its loops are the dimensions.
    Scope(Arc<Scope>),
}

impl Target {
    /// The same with tensors by other numbers.
    #[must_use]
    pub fn with_tensors(&self, with: &mut dyn FnMut(u32) -> u32) -> Self {
        match self {
            Self::Tensor(id) => Self::Tensor(with(*id)),
            Self::Scope(scope) => {
                let body = scope.body.with_tensors(with);
                Self::Scope(Arc::new(Scope { body, ..(**scope).clone() }))
            }
        }
    }
}

/// One number of a tensor or an inner scope.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Access {
    /// What is read.
    pub target: Target,
    /// Where, in each dimension. Outside of the target 0 is read.
    pub index: Vec<Index>,
}

/// The body of a scope.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Expr {
    /// The same number everywhere.
    Constant(i64),
    /// A number that is read.
    Access(Access),
    /// A product.
    Product(Vec<Expr>),
    /// A sum.
    Sum(Vec<Expr>),
    /// A function of a number.
    Apply(Function, Box<Expr>),
}

/// `L loops . sum over sums . body`: a tensor whose dimensions are the loops.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope {
    /// Range of each dimension of the result; iterators 0 and up.
    pub loops: Vec<Range>,
    /// Range of each iterator that is summed over; those after the loops.
    pub sums: Vec<Range>,
    /// What is added up.
    pub body: Expr,
}

impl Expr {
    /// The product, flat and in one order.
    pub fn product(factors: Vec<Self>) -> Self {
        let mut flat = Vec::with_capacity(factors.len());
        for factor in factors {
            match factor {
                Self::Product(inner) => flat.extend(inner),
                other => flat.push(other),
            }
        }
        flat.sort_unstable();
        if flat.len() == 1 { flat.remove(0) } else { Self::Product(flat) }
    }

    /// The sum, flat and in one order.
    pub fn sum(terms: Vec<Self>) -> Self {
        let mut flat = Vec::with_capacity(terms.len());
        for term in terms {
            match term {
                Self::Sum(inner) => flat.extend(inner),
                other => flat.push(other),
            }
        }
        flat.sort_unstable();
        if flat.len() == 1 { flat.remove(0) } else { Self::Sum(flat) }
    }

    /// Hands on every access in it, in order.
    pub fn accesses<'a>(&'a self, with: &mut dyn FnMut(&'a Access)) {
        match self {
            Self::Constant(_) => {}
            Self::Access(access) => with(access),
            Self::Product(parts) | Self::Sum(parts) => {
                parts.iter().for_each(|part| part.accesses(with));
            }
            Self::Apply(_, inner) => inner.accesses(with),
        }
    }

    /// The same with every access replaced; products and sums are put in order again.
    #[must_use]
    pub fn mapped(&self, with: &mut dyn FnMut(&Access) -> Expr) -> Self {
        match self {
            Self::Constant(value) => Self::Constant(*value),
            Self::Access(access) => with(access),
            Self::Product(parts) => Self::product(parts.iter().map(|p| p.mapped(with)).collect()),
            Self::Sum(parts) => Self::sum(parts.iter().map(|p| p.mapped(with)).collect()),
            Self::Apply(f, inner) => Self::Apply(*f, Box::new(inner.mapped(with))),
        }
    }

    /// The same with every index replaced.
    #[must_use]
    pub fn indexed(&self, with: &dyn Fn(&Index) -> Index) -> Self {
        self.mapped(&mut |access| {
            let index = access.index.iter().map(with).collect();
            Self::Access(Access { target: access.target.clone(), index })
        })
    }

    /// The same with tensors by other numbers, in inner scopes too.
    #[must_use]
    pub fn with_tensors(&self, with: &mut dyn FnMut(u32) -> u32) -> Self {
        self.mapped(&mut |access| {
            let index = access.index.clone();
            Self::Access(Access { target: access.target.with_tensors(with), index })
        })
    }

    /// The accesses of a product of nothing but accesses, or of one; `None` for anything else.
    pub fn factors(&self) -> Option<Vec<&Access>> {
        let parts = match self {
            Self::Access(access) => return Some(vec![access]),
            Self::Product(parts) => parts,
            _ => return None,
        };
        let access = |part: &'_ Self| matches!(part, Self::Access(_));
        parts.iter().all(access).then(|| {
            let mut all = Vec::new();
            self.accesses(&mut |access| all.push(access));
            all
        })
    }
}

impl Access {
    /// The values that each dimension of the target has.
    pub fn extent(&self, tensors: &Tensors, dimension: usize) -> Range {
        match &self.target {
            Target::Tensor(id) => Range::to(tensors[*id as usize].shape[dimension]),
            Target::Scope(scope) => scope.loops[dimension],
        }
    }

    /// Whether it never leaves its target when iterators run over `ranges`.
    pub fn stays_inside(&self, tensors: &Tensors, ranges: &[Range]) -> bool {
        self.index
            .iter()
            .enumerate()
            .all(|(d, index)| self.extent(tensors, d).covers(index.span(ranges)))
    }

    /// Whether it always reads outside of its target, and so 0.
    pub fn stays_outside(&self, tensors: &Tensors, ranges: &[Range]) -> bool {
        let mut all = self.index.iter().enumerate();
        all.any(|(d, index)| self.extent(tensors, d).misses(index.span(ranges)))
    }

    /// Whether the target is known while planning.
    pub fn is_weight(&self, tensors: &Tensors) -> bool {
        match &self.target {
            Target::Tensor(id) => tensors[*id as usize].kind == Kind::Weight,
            Target::Scope(scope) => scope.is_weight(tensors),
        }
    }

    /// Whether it reads tensor `id`, itself or within the scope that it reads.
    pub fn reads(&self, id: u32) -> bool {
        match &self.target {
            Target::Tensor(own) => *own == id,
            Target::Scope(scope) => {
                let mut found = false;
                scope.body.accesses(&mut |access| found |= access.reads(id));
                found
            }
        }
    }
}

impl Scope {
    /// The tensor itself, as a scope that copies it.
    pub fn copy_of(target: Target, extents: &[Range]) -> Self {
        let index = (0..extents.len()).map(Index::var).collect();
        let body = Expr::Access(Access { target, index });
        Self { loops: extents.to_vec(), sums: Vec::new(), body }
    }

    /// Ranges of all iterators: loops, then sums.
    pub fn ranges(&self) -> Vec<Range> {
        [self.loops.as_slice(), self.sums.as_slice()].concat()
    }

    /// How many iterators it has.
    pub fn iterators(&self) -> usize {
        self.loops.len() + self.sums.len()
    }

    /// Numbers of the result.
    pub fn len(&self) -> i64 {
        self.loops.iter().map(|range| range.len()).product()
    }

    /// Whether the result has no number.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How often the body is computed.
    pub fn work(&self) -> i64 {
        self.len() * self.sums.iter().map(|range| range.len()).product::<i64>()
    }

    /// Whether everything that it reads is known while planning.
    pub fn is_weight(&self, tensors: &Tensors) -> bool {
        let mut all = true;
        self.body.accesses(&mut |access| all &= access.is_weight(tensors));
        all
    }
}
