//! A focus as a call: operands copied into the operator's layout, and the result read back.
//!
//! Iterators of the same part are joined into one by a mixed radix, whatever their number. What that
//! needs of an operand is a copy, which is often none: the identity, or the same numbers in the same order.

use super::{Call, Kernel, Operator, Role};
use crate::expr::{Access, Expr, Scope, Target, Tensors};
use crate::index::{Index, Range};
use crate::rules::relayout::simplified;
use std::sync::Arc;

/// Most parts with more than one iterator that are joined.
const MOST_JOINED: usize = 3;

/// A focus that is an operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// Name of the operator.
    pub operator: String,
    /// The operator and its extents.
    pub call: Call,
    /// What the operator multiplies A and B for: see [`Operator::work`].
    pub work: f64,
    /// What it reads: a tensor or a copy in the operator's layout.
    pub operands: [Target; 2],
    /// What it computes, over its operands, in its own layout.
    pub result: Scope,
    /// The focus: its dimensions, read from the result.
    pub focus: Scope,
    /// Parts that had more than one iterator.
    pub joined: usize,
}

/// Iterators of one part, the last one fastest.
struct Group {
    members: Vec<usize>,
    extent: i64,
}

impl Group {
    /// The members with `role`, in the order in which `access` has them.
    fn of(role: Role, roles: &[Role], ranges: &[Range], access: &Access) -> Self {
        let mut members: Vec<usize> = (0..roles.len()).filter(|&v| roles[v] == role).collect();
        let place = |v: usize| access.index.iter().position(|index| index.vars() >> v & 1 == 1);
        let step = |v: usize| {
            let d = place(v)?;
            Some((d, -access.index[d].factor(v)))
        };
        members.sort_by_key(|&v| step(v));
        let extent = members.iter().map(|&v| ranges[v].len()).product();
        Self { members, extent }
    }

    /// The number that its members make up.
    fn encode(&self, ranges: &[Range]) -> Index {
        self.members.iter().fold(Index::default(), |sum, &v| {
            sum.times(ranges[v].len()).plus(&Index::var(v)).offset(-ranges[v].lo)
        })
    }

    /// Each member out of iterator `from`, which runs over all of the group.
    fn decode(&self, from: usize, over: &[Range], ranges: &[Range], into: &mut [Index]) {
        let mut step = self.extent;
        for &v in &self.members {
            let n = ranges[v].len();
            step /= n;
            let quotient = Index::var(from).divided(step, over);
            into[v] = quotient.modulo(n, over).offset(ranges[v].lo);
        }
    }
}

/// A dimension of an operand: all of a group, or where a window slides, a dimension of the target.
enum Side<'a> {
    Group(&'a Group),
    Dimension(usize),
}

/// The call that `focus` is when its iterators play `roles`; `None` where too many would be joined.
pub fn bind(
    focus: &Scope,
    tensors: &Tensors,
    operator: &Operator,
    [a, b]: [&Access; 2],
    roles: &[Role],
) -> Option<Bound> {
    let ranges = focus.ranges();
    let group = |role: Role, access: &Access| Group::of(role, roles, &ranges, access);
    let batch = group(Role::Batch, a);
    let (rows, columns) = (group(Role::Rows, a), group(Role::Columns, b));
    let depth = group(Role::Depth, a);
    let joined = [&batch, &rows, &columns, &depth].iter().filter(|g| g.members.len() > 1).count();
    if joined > MOST_JOINED {
        return None;
    }
    let one = |role: Role| roles.iter().position(|r| *r == role);
    let (at, outputs): (Vec<Index>, Vec<Range>);
    let (call, sides, reads): (Call, [Vec<Side<'_>>; 2], [Vec<Index>; 2]);
    let sums: Vec<Range>;
    match operator.kernel {
        Kernel::Matmul => {
            let (m, n, k) = (rows.extent, columns.extent, depth.extent);
            call = Call::Matmul { batch: batch.extent, rows: m, columns: n, depth: k };
            outputs = [batch.extent, m, n].map(Range::to).to_vec();
            sums = vec![Range::to(k)];
            at = [&batch, &rows, &columns].map(|g| g.encode(&ranges)).to_vec();
            sides = [
                vec![Side::Group(&batch), Side::Group(&rows), Side::Group(&depth)],
                vec![Side::Group(&batch), Side::Group(&columns), Side::Group(&depth)],
            ];
            reads = [[0, 1, 3].map(Index::var).to_vec(), [0, 2, 3].map(Index::var).to_vec()];
        }
        Kernel::Conv => {
            if !batch.members.is_empty() {
                return None;
            }
            let [h, w, r, s] =
                [Role::Height, Role::Width, Role::KernelHeight, Role::KernelWidth].map(one);
            let (h, w, r, s) = (h?, w?, r?, s?);
            let dimension = |v: usize| a.index.iter().position(|i| i.vars() >> v & 1 == 1);
            let (dh, dw) = (dimension(h)?, dimension(w)?);
            let steps = |d: usize, x: usize| a.index[d].factor(x);
            let len = |v: usize| ranges[v].len();
            call = Call::Conv {
                images: rows.extent,
                output: (len(h), len(w)),
                filters: columns.extent,
                kernel: (len(r), len(s)),
                channels: depth.extent,
                stride: (steps(dh, h), steps(dw, w)),
                dilation: (steps(dh, r), steps(dw, s)),
            };
            outputs = vec![Range::to(rows.extent), ranges[h], ranges[w], Range::to(columns.extent)];
            sums = vec![ranges[r], ranges[s], Range::to(depth.extent)];
            at = vec![rows.encode(&ranges), Index::var(h), Index::var(w), columns.encode(&ranges)];
            let single = |v: usize| Group { members: vec![v], extent: len(v) };
            let (kh, kw) = (single(r), single(s));
            let slide = |d: usize, outer: usize, x: usize, inner: usize, y: usize| {
                let sum = Index::var(outer)
                    .times(steps(d, x))
                    .plus(&Index::var(inner).times(steps(d, y)));
                sum.offset(a.index[d].parts().0)
            };
            reads = [
                vec![Index::var(0), slide(dh, 1, h, 4, r), slide(dw, 2, w, 5, s), Index::var(6)],
                vec![
                    Index::var(3),
                    Index::var(4).offset(-ranges[r].lo),
                    Index::var(5).offset(-ranges[s].lo),
                    Index::var(6),
                ],
            ];
            let first = vec![
                Side::Group(&rows),
                Side::Dimension(dh),
                Side::Dimension(dw),
                Side::Group(&depth),
            ];
            let second = vec![
                Side::Group(&columns),
                Side::Group(&kh),
                Side::Group(&kw),
                Side::Group(&depth),
            ];
            let operands =
                [operand(a, tensors, &first, &ranges), operand(b, tensors, &second, &ranges)];
            return Some(finish(
                operator,
                call,
                operands,
                focus,
                Out { outputs, sums, at, reads, joined },
            ));
        }
        Kernel::Window | Kernel::WindowSum => {
            let (position, window) = (one(Role::Position)?, one(Role::Window)?);
            let inner = if operator.kernel == Kernel::Window { depth } else { columns };
            let slid = b.index.iter().position(|i| i.vars() >> window & 1 == 1)?;
            let (m, w, k) = (ranges[position], ranges[window], Range::to(inner.extent));
            let (positions, places) = (m.len(), w.len());
            let single = |v: usize| Group { members: vec![v], extent: ranges[v].len() };
            let (gm, gw) = (single(position), single(window));
            let extents = (batch.extent, positions, places, inner.extent);
            let (batch_extent, positions, window_extent, depth_extent) = extents;
            let constant = b.index[slid].parts().0;
            let first;
            if operator.kernel == Kernel::Window {
                call = Call::Window {
                    batch: batch_extent,
                    positions,
                    window: window_extent,
                    depth: depth_extent,
                };
                outputs = vec![Range::to(batch.extent), m, w];
                sums = vec![k];
                at = vec![batch.encode(&ranges), Index::var(position), Index::var(window)];
                let place = Index::var(1).plus(&Index::var(2)).offset(constant);
                reads = [
                    vec![Index::var(0), Index::var(1).offset(-m.lo), Index::var(3)],
                    vec![Index::var(0), place, Index::var(3)],
                ];
                first = vec![Side::Group(&batch), Side::Group(&gm), Side::Group(&inner)];
            } else {
                call = Call::WindowSum {
                    batch: batch_extent,
                    positions,
                    window: window_extent,
                    depth: depth_extent,
                };
                outputs = vec![Range::to(batch.extent), m, k];
                sums = vec![w];
                at = vec![batch.encode(&ranges), Index::var(position), inner.encode(&ranges)];
                let place = Index::var(1).plus(&Index::var(3)).offset(constant);
                reads = [
                    vec![Index::var(0), Index::var(1).offset(-m.lo), Index::var(3).offset(-w.lo)],
                    vec![Index::var(0), place, Index::var(2)],
                ];
                first = vec![Side::Group(&batch), Side::Group(&gm), Side::Group(&gw)];
            }
            let second = vec![Side::Group(&batch), Side::Dimension(slid), Side::Group(&inner)];
            let operands =
                [operand(a, tensors, &first, &ranges), operand(b, tensors, &second, &ranges)];
            return Some(finish(
                operator,
                call,
                operands,
                focus,
                Out { outputs, sums, at, reads, joined },
            ));
        }
    }
    let operands =
        [operand(a, tensors, &sides[0], &ranges), operand(b, tensors, &sides[1], &ranges)];
    Some(finish(operator, call, operands, focus, Out { outputs, sums, at, reads, joined }))
}

/// What an operator computes, and where the focus lies in it.
struct Out {
    outputs: Vec<Range>,
    sums: Vec<Range>,
    at: Vec<Index>,
    reads: [Vec<Index>; 2],
    joined: usize,
}

fn finish(
    operator: &Operator,
    call: Call,
    operands: [Target; 2],
    focus: &Scope,
    out: Out,
) -> Bound {
    let [a, b] = out.reads;
    let access = |target: &Target, index| Expr::Access(Access { target: target.clone(), index });
    let body = Expr::product(vec![access(&operands[0], a), access(&operands[1], b)]);
    let result = Scope { loops: out.outputs, sums: out.sums, body };
    let target = Target::Scope(Arc::new(result.clone()));
    let body = Expr::Access(Access { target, index: out.at });
    let read = Scope { loops: focus.loops.clone(), sums: Vec::new(), body };
    Bound {
        operator: operator.name.clone(),
        call,
        work: operator.work,
        operands,
        result,
        focus: read,
        joined: out.joined,
    }
}

/// `access`'s target with one dimension for each of `sides`.
fn operand(access: &Access, tensors: &Tensors, sides: &[Side<'_>], ranges: &[Range]) -> Target {
    let over: Vec<Range> = sides
        .iter()
        .map(|side| match side {
            Side::Group(group) => Range::to(group.extent),
            Side::Dimension(d) => access.extent(tensors, *d),
        })
        .collect();
    let mut with: Vec<Index> = ranges.iter().map(|range| Index::constant(range.lo)).collect();
    for (from, side) in sides.iter().enumerate() {
        if let Side::Group(group) = side {
            group.decode(from, &over, ranges, &mut with);
        }
    }
    let slid = |d: usize| sides.iter().position(|s| matches!(s, Side::Dimension(e) if *e == d));
    let index = access
        .index
        .iter()
        .enumerate()
        .map(|(d, index)| match slid(d) {
            Some(from) => Index::var(from),
            None => index.substituted(&with, &over),
        })
        .collect();
    let body = Expr::Access(Access { target: access.target.clone(), index });
    simplified(Scope { loops: over, sums: Vec::new(), body }, tensors)
}
