//! Rules between expressions: one put in the place of what reads it, two that share an operand made one, one
//! that adds up different things made several.
//!
//! In: a network. Out: another with the same result, or nothing where the rule does not hold.

use crate::expr::{Access, Expr, Kind, Scope, Target, Tensor};
use crate::index::{Index, Range};
use crate::network::{Definition, Network};

/// Expression fusing: definition `at`, which adds nothing up, is computed where it is read, and is no more.
/// `None` where it is the result, where it has sums, or where something reads it outside of it.
pub fn fuse(network: &Network, at: usize) -> Option<Network> {
    let Definition { tensor, scope } = network.definitions.get(at)?;
    let readers = network.readers(*tensor);
    if !scope.sums.is_empty() || readers.is_empty() {
        return None;
    }
    let mut out = network.clone();
    for reader in readers {
        let ranges = network.definitions[reader].scope.ranges();
        let mut all = true;
        let body =
            network.definitions[reader].scope.body.mapped(&mut |access| match access.target {
                Target::Tensor(id) if id == *tensor => {
                    all &= access.stays_inside(&network.tensors, &ranges);
                    scope.body.indexed(&|index| index.substituted(&access.index, &ranges))
                }
                _ => {
                    all &= !access.reads(*tensor);
                    Expr::Access(access.clone())
                }
            });
        if !all {
            return None;
        }
        out.definitions[reader].scope.body = body;
    }
    out.definitions.remove(at);
    Some(out)
}

/// A product of one access that all share and one of a weight, whose dimension `dimension` is loop `which`
/// and nothing else.
struct Shared<'a> {
    shared: &'a Access,
    weight: &'a Access,
    tensor: u32,
    which: usize,
    dimension: usize,
}

fn shared<'a>(network: &Network, scope: &'a Scope, with: Option<&Access>) -> Option<Shared<'a>> {
    let factors = scope.body.factors()?;
    let [first, second] = *factors.as_slice() else { return None };
    [(first, second), (second, first)].into_iter().find_map(|(shared, weight)| {
        let Target::Tensor(tensor) = weight.target else { return None };
        let own = network.tensors[tensor as usize].kind == Kind::Weight;
        if !own || with.is_some_and(|with| with != shared) {
            return None;
        }
        (0..scope.loops.len()).find_map(|which| {
            let bit = 1 << which;
            let places = weight.index.iter().enumerate();
            let mut places = places.filter(|(_, index)| index.vars() & bit != 0);
            let (dimension, index) = places.next()?;
            let alone = places.next().is_none() && index.as_var() == Some(which);
            let elsewhere = shared.index.iter().any(|index| index.vars() & bit != 0);
            (alone && !elsewhere).then_some(Shared { shared, weight, tensor, which, dimension })
        })
    })
}

/// Expression merging: definitions `a` and `b`, `a` before `b`, multiply the same with weights that differ
/// in one dimension: one definition with the weights of both, and both read from it. The weights are put one
/// behind the other as a sum of two that are 0 outside of their own, which is computed beforehand.
pub fn merge(network: &Network, a: usize, b: usize) -> Option<Network> {
    if a >= b {
        return None;
    }
    let (first, second) = (network.definitions.get(a)?, network.definitions.get(b)?);
    let one = shared(network, &first.scope, None)?;
    let two = shared(network, &second.scope, Some(one.shared))?;
    let same = |x: &[Range], y: &[Range]| {
        x.len() == y.len() && (0..x.len()).all(|v| v == one.which || x[v] == y[v])
    };
    let shapes = |s: &Shared<'_>| {
        let mut shape = network.tensors[s.tensor as usize].shape.clone();
        shape[s.dimension] = 0;
        shape
    };
    let (n, m) = (first.scope.loops[one.which], second.scope.loops[two.which]);
    let whole = |s: &Shared<'_>, range: Range| {
        range == Range::to(network.tensors[s.tensor as usize].shape[s.dimension])
    };
    if (one.which, one.dimension) != (two.which, two.dimension)
        || !same(&first.scope.loops, &second.scope.loops)
        || first.scope.sums != second.scope.sums
        || one.weight.index != two.weight.index
        || shapes(&one) != shapes(&two)
        || !whole(&one, n)
        || !whole(&two, m)
        || second.scope.body.factors()?.iter().any(|access| access.reads(first.tensor))
    {
        return None;
    }
    let mut out = network.clone();
    let names = [one.tensor, two.tensor].map(|id| network.tensors[id as usize].name.as_str());
    let mut shape = network.tensors[one.tensor as usize].shape.clone();
    shape[one.dimension] = n.len() + m.len();
    let loops: Vec<Range> = shape.iter().copied().map(Range::to).collect();
    let part = |tensor: u32, offset: i64| {
        let place = |d: usize| Index::var(d).offset(if d == one.dimension { -offset } else { 0 });
        let index = (0..loops.len()).map(place).collect();
        Expr::Access(Access { target: Target::Tensor(tensor), index })
    };
    let body = Expr::sum(vec![part(one.tensor, 0), part(two.tensor, n.len())]);
    for (tensor, beyond) in [(one.tensor, (0, m.len())), (two.tensor, (n.len(), 0))] {
        let padding = &mut out.tensors[tensor as usize].padding[one.dimension];
        *padding = (padding.0.max(beyond.0), padding.1.max(beyond.1));
    }
    let both = out.declare(Tensor::new(free(network, &names.join("_")), Kind::Weight, &shape));
    let weights = Definition { tensor: both, scope: Scope { loops, sums: Vec::new(), body } };

    let mut scope = first.scope.clone();
    scope.loops[one.which] = Range::to(n.len() + m.len());
    let weight = Access { target: Target::Tensor(both), index: one.weight.index.clone() };
    scope.body = Expr::product(vec![Expr::Access(one.shared.clone()), Expr::Access(weight)]);
    let names = [first.tensor, second.tensor].map(|id| network.tensors[id as usize].name.as_str());
    let shape: Vec<i64> = scope.loops.iter().map(|range| range.len()).collect();
    let merged = Tensor::new(free(network, &names.join("_")), Kind::Input, &shape);
    let merged = out.declare(merged);
    let read = |offset: i64, loops: &[Range]| {
        let place = |d: usize| Index::var(d).offset(if d == one.which { offset } else { 0 });
        let index = (0..loops.len()).map(place).collect();
        let body = Expr::Access(Access { target: Target::Tensor(merged), index });
        Scope { loops: loops.to_vec(), sums: Vec::new(), body }
    };
    out.definitions[b].scope = read(n.len(), &second.scope.loops);
    out.definitions[a].scope = read(0, &first.scope.loops);
    out.definitions.insert(a, Definition { tensor: merged, scope });
    out.definitions.insert(a, weights);
    Some(out)
}

/// Expression splitting: a definition that sums up a sum is one for each of its terms, and one that adds
/// them. `None` where it is no sum, or adds nothing up.
pub fn split(network: &Network, at: usize) -> Option<Network> {
    let Definition { tensor, scope } = network.definitions.get(at)?;
    let Expr::Sum(terms) = &scope.body else { return None };
    if scope.sums.is_empty() {
        return None;
    }
    let mut out = network.clone();
    let name = network.tensors[*tensor as usize].name.clone();
    let kind = network.tensors[*tensor as usize].kind;
    let shape: Vec<i64> = scope.loops.iter().map(|range| range.len()).collect();
    let own: Vec<Index> =
        scope.loops.iter().enumerate().map(|(d, r)| Index::var(d).offset(-r.lo)).collect();
    let mut added = Vec::new();
    for (i, term) in terms.iter().enumerate() {
        let part = out.declare(Tensor::new(free(&out, &format!("{name}_{i}")), kind, &shape));
        let part_scope = Scope { body: term.clone(), ..scope.clone() };
        out.definitions.insert(at + i, Definition { tensor: part, scope: part_scope });
        added.push(Expr::Access(Access { target: Target::Tensor(part), index: own.clone() }));
    }
    let all = &mut out.definitions[at + terms.len()].scope;
    *all = Scope { loops: scope.loops.clone(), sums: Vec::new(), body: Expr::sum(added) };
    Some(out)
}

/// `name`, or `name` with something behind, that no tensor has.
pub(super) fn free(network: &Network, name: &str) -> String {
    let mut name = name.to_owned();
    while network.tensors.iter().any(|tensor| tensor.name == name) {
        name.push('_');
    }
    name
}
