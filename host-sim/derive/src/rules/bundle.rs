//! Bundling: definitions that go through one iterator together, and the weights that each of its values
//! needs as one record.
//!
//! In: a network and a definition that sums over what others before it loop over. Out: the same network with
//! these weights laid out value by value, so that a value is one read and nothing of the others is kept; or
//! nothing where the rule does not hold. It knows no operator: it follows the iterator through the accesses.

use super::program::free;
use crate::expr::{Access, Expr, Kind, Scope, Target, Tensor};
use crate::index::{Index, Range};
use crate::network::{Definition, Network};

/// What was bundled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// The weights together: value, row, number.
    pub tensor: u32,
    /// Values of the iterator: records.
    pub records: i64,
    /// Names of the weights, in the order of their rows.
    pub rows: Vec<String>,
    /// Numbers in a row.
    pub row: i64,
    /// Tensors of which one value is there at a time, in the place of all.
    pub intermediates: Vec<u32>,
}

/// A weight that is read by the iterator: which, and the dimension that the iterator is.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Member {
    tensor: u32,
    dimension: usize,
}

/// What is found on the way back from the definition that sums.
#[derive(Default)]
struct Chain {
    members: Vec<Member>,
    intermediates: Vec<u32>,
    definitions: Vec<usize>,
}

/// Bundles what definition `at` sums over iterator `v` with all that is computed for each value of `v` alone.
///
/// `O[..] = sum over v . W[.., v, ..] T[.., v, ..]` with `T[.., v, ..]` of weights that are indexed by `v` in
/// turn: each of the weights becomes a row of `B[v, row, ..]`. `None` where fewer than two weights are, where one
/// of them is not a matrix or is read elsewhere too, where rows differ in length, or where something between is
/// read by another definition or at other values than `v`.
pub fn bundle(network: &Network, at: usize, v: usize) -> Option<(Network, Bundle)> {
    let Definition { scope, .. } = network.definitions.get(at)?;
    if v < scope.loops.len() || v >= scope.iterators() {
        return None;
    }
    let mut chain = Chain { definitions: vec![at], ..Chain::default() };
    follow(network, at, v, &mut chain)?;
    let Chain { mut members, mut intermediates, definitions } = chain;
    // The first that is computed stands first.
    members.reverse();
    intermediates.reverse();
    let shape = |member: &Member| network.tensors[member.tensor as usize].shape.as_slice();
    let first = *members.first()?;
    let records = shape(&first)[first.dimension];
    let row = shape(&first)[1 - first.dimension];
    let alike = |member: &Member| {
        shape(member)[member.dimension] == records && shape(member)[1 - member.dimension] == row
    };
    let inside = |tensor: u32| network.readers(tensor).iter().all(|at| definitions.contains(at));
    if members.len() < 2
        || scope.ranges()[v] != Range::to(records)
        || !members.iter().all(alike)
        || !members.iter().all(|member| inside(member.tensor))
        || !intermediates.iter().all(|&tensor| inside(tensor))
    {
        return None;
    }

    let mut out = network.clone();
    let names: Vec<String> =
        members.iter().map(|member| network.tensors[member.tensor as usize].name.clone()).collect();
    let count = members.len() as i64;
    let loops: Vec<Range> = [records, count, row].map(Range::to).to_vec();
    // Each weight is 0 in the rows of the others, since it is read outside of its values there.
    let part = |(place, member): (usize, &Member)| {
        let apart = Index::var(1).offset(-(place as i64)).times(records);
        let mut index = vec![Index::var(2); 2];
        index[member.dimension] = Index::var(0).plus(&apart);
        Expr::Access(Access { target: Target::Tensor(member.tensor), index })
    };
    let body = Expr::sum(members.iter().enumerate().map(part).collect());
    for member in &members {
        let padding = &mut out.tensors[member.tensor as usize].padding[member.dimension];
        let beyond = records * (count - 1);
        *padding = (padding.0.max(beyond), padding.1.max(beyond));
    }
    let name = free(network, &names.join("_"));
    let tensor = out.declare(Tensor::new(name, Kind::Weight, &[records, count, row]));
    for &reader in &definitions {
        let scope = &mut out.definitions[reader].scope;
        scope.body = scope.body.mapped(&mut |access| {
            let place = members.iter().position(|m| access.target == Target::Tensor(m.tensor));
            let Some(place) = place else { return Expr::Access(access.clone()) };
            let dimension = members[place].dimension;
            let (value, number) = (&access.index[dimension], &access.index[1 - dimension]);
            let index = vec![value.clone(), Index::constant(place as i64), number.clone()];
            Expr::Access(Access { target: Target::Tensor(tensor), index })
        });
    }
    let scope = Scope { loops, sums: Vec::new(), body };
    out.definitions.insert(0, Definition { tensor, scope });
    Some((out, Bundle { tensor, records, rows: names, row, intermediates }))
}

/// Goes through what definition `at` reads by its iterator `v`.
fn follow(network: &Network, at: usize, v: usize, chain: &mut Chain) -> Option<()> {
    let mut reads = Vec::new();
    network.definitions[at].scope.body.accesses(&mut |access| reads.push(access));
    for access in reads {
        let by: Vec<usize> =
            (0..access.index.len()).filter(|&d| access.index[d].vars() >> v & 1 == 1).collect();
        let (Target::Tensor(tensor), &[dimension]) = (&access.target, by.as_slice()) else {
            match by.as_slice() {
                [] => continue,
                _ => return None,
            }
        };
        if access.index[dimension].as_var() != Some(v) {
            return None;
        }
        if let Some(from) = network.definition_of(*tensor)
            && network.tensors[*tensor as usize].kind == Kind::Input
        {
            if !chain.intermediates.contains(tensor) {
                chain.intermediates.push(*tensor);
                chain.definitions.push(from);
                follow(network, from, dimension, chain)?;
            }
            continue;
        }
        let member = Member { tensor: *tensor, dimension };
        let known = &network.tensors[*tensor as usize];
        if known.kind != Kind::Weight || known.shape.len() != 2 || chain.members.contains(&member) {
            return None;
        }
        // A weight computed beforehand is there before all that reads it.
        if network.definition_of(*tensor).is_some() {
            return None;
        }
        chain.members.push(member);
    }
    Some(())
}
