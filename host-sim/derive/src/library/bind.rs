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
#[derive(Clone)]
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
#[derive(Clone)]
enum Side {
    Group(Group),
    Dimension(usize),
}

/// An operator over the iterators of a focus.
struct Placed {
    call: Call,
    /// Dimensions of the result, and what it sums over.
    outputs: Vec<Range>,
    sums: Vec<Range>,
    /// Where a number of the focus is in the result, over the iterators of the focus.
    at: Vec<Index>,
    /// What the dimensions of each operand are.
    sides: [Vec<Side>; 2],
    /// Where each operand is read, over the iterators of the result.
    reads: [Vec<Index>; 2],
}

/// The iterators of a focus by the parts that they play.
struct Groups<'a> {
    a: &'a Access,
    b: &'a Access,
    roles: &'a [Role],
    ranges: &'a [Range],
    batch: Group,
    rows: Group,
    columns: Group,
    depth: Group,
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
    let groups = Groups {
        a,
        b,
        roles,
        ranges: &ranges,
        batch: group(Role::Batch, a),
        rows: group(Role::Rows, a),
        columns: group(Role::Columns, b),
        depth: group(Role::Depth, a),
    };
    let all = [&groups.batch, &groups.rows, &groups.columns, &groups.depth];
    let joined = all.iter().filter(|group| group.members.len() > 1).count();
    if joined > MOST_JOINED {
        return None;
    }
    let placed = match operator.kernel {
        Kernel::Matmul => groups.matmul(),
        Kernel::Conv => groups.conv()?,
        Kernel::Window => groups.window()?,
        Kernel::WindowSum => groups.window_sum()?,
    };
    let Placed { call, outputs, sums, at, sides: [first, second], reads: [x, y] } = placed;
    let operands = [operand(a, tensors, &first, &ranges), operand(b, tensors, &second, &ranges)];
    let access = |target: &Target, index| Expr::Access(Access { target: target.clone(), index });
    let body = Expr::product(vec![access(&operands[0], x), access(&operands[1], y)]);
    let result = Scope { loops: outputs, sums, body };
    let target = Target::Scope(Arc::new(result.clone()));
    let body = Expr::Access(Access { target, index: at });
    Some(Bound {
        operator: operator.name.clone(),
        call,
        work: operator.work,
        operands,
        result,
        focus: Scope { loops: focus.loops.clone(), sums: Vec::new(), body },
        joined,
    })
}

impl Groups<'_> {
    fn one(&self, role: Role) -> Option<usize> {
        self.roles.iter().position(|r| *r == role)
    }

    fn len(&self, v: usize) -> i64 {
        self.ranges[v].len()
    }

    /// A group of one iterator.
    fn single(&self, v: usize) -> Side {
        Side::Group(Group { members: vec![v], extent: self.len(v) })
    }

    fn encode(&self, group: &Group) -> Index {
        group.encode(self.ranges)
    }

    fn matmul(&self) -> Placed {
        let Self { batch, rows, columns, depth, .. } = self;
        let all = |groups: [&Group; 3]| groups.map(|group| Side::Group(group.clone())).to_vec();
        Placed {
            call: Call::Matmul {
                batch: batch.extent,
                rows: rows.extent,
                columns: columns.extent,
                depth: depth.extent,
            },
            outputs: [batch, rows, columns].map(|group| Range::to(group.extent)).to_vec(),
            sums: vec![Range::to(depth.extent)],
            at: [batch, rows, columns].map(|group| self.encode(group)).to_vec(),
            sides: [all([batch, rows, depth]), all([batch, columns, depth])],
            reads: [[0, 1, 3].map(Index::var).to_vec(), [0, 2, 3].map(Index::var).to_vec()],
        }
    }

    fn conv(&self) -> Option<Placed> {
        if !self.batch.members.is_empty() {
            return None;
        }
        let (w, s) = (self.one(Role::Width)?, self.one(Role::KernelWidth)?);
        let dimension = |v: usize| self.a.index.iter().position(|i| i.vars() >> v & 1 == 1);
        let dw = dimension(w)?;
        let step = |d: usize, v: usize| self.a.index[d].factor(v);
        let slide = |d: usize, outer: usize, x: usize, inner: usize, y: usize| {
            let sum =
                Index::var(outer).times(step(d, x)).plus(&Index::var(inner).times(step(d, y)));
            sum.offset(self.a.index[d].parts().0)
        };
        let (images, filters, channels) = (&self.rows, &self.columns, &self.depth);
        let tap = |place: usize, v: usize| Index::var(place).offset(-self.ranges[v].lo);
        // Images of one line have no height.
        let tall = self.one(Role::Height).zip(self.one(Role::KernelHeight));
        let tall = match tall {
            Some((h, r)) => Some((h, r, dimension(h)?)),
            None => None,
        };
        let one = Side::Group(Group { members: Vec::new(), extent: 1 });
        let nothing = (Range::to(1), Range::to(1), Index::default());
        let (height, taps, row) =
            tall.map_or(nothing, |(h, r, _)| (self.ranges[h], self.ranges[r], Index::var(h)));
        let lines = tall.map_or(Index::var(1), |(h, r, d)| slide(d, 1, h, 4, r));
        Some(Placed {
            call: Call::Conv {
                images: images.extent,
                output: (height.len(), self.len(w)),
                filters: filters.extent,
                kernel: (taps.len(), self.len(s)),
                channels: channels.extent,
                stride: (tall.map_or(1, |(h, _, d)| step(d, h)), step(dw, w)),
                dilation: (tall.map_or(1, |(_, r, d)| step(d, r)), step(dw, s)),
            },
            outputs: vec![
                Range::to(images.extent),
                height,
                self.ranges[w],
                Range::to(filters.extent),
            ],
            sums: vec![taps, self.ranges[s], Range::to(channels.extent)],
            at: vec![self.encode(images), row, Index::var(w), self.encode(filters)],
            sides: [
                vec![
                    Side::Group(images.clone()),
                    tall.map_or(one.clone(), |(_, _, d)| Side::Dimension(d)),
                    Side::Dimension(dw),
                    Side::Group(channels.clone()),
                ],
                vec![
                    Side::Group(filters.clone()),
                    tall.map_or(one, |(_, r, _)| self.single(r)),
                    self.single(s),
                    Side::Group(channels.clone()),
                ],
            ],
            reads: [
                vec![Index::var(0), lines, slide(dw, 2, w, 5, s), Index::var(6)],
                vec![Index::var(3), Index::var(4).offset(-taps.lo), tap(5, s), Index::var(6)],
            ],
        })
    }

    /// Position and window, the dimension of B that they slide in, the window's step there and what is added.
    fn sliding(&self) -> Option<(usize, usize, usize, i64, i64)> {
        let (position, window) = (self.one(Role::Position)?, self.one(Role::Window)?);
        let slid = self.b.index.iter().position(|i| i.vars() >> window & 1 == 1)?;
        let index = &self.b.index[slid];
        Some((position, window, slid, index.factor(window), index.parts().0))
    }

    fn window(&self) -> Option<Placed> {
        let (position, window, slid, step, offset) = self.sliding()?;
        let (batch, depth) = (&self.batch, &self.depth);
        let (m, w) = (self.ranges[position], self.ranges[window]);
        let place = Index::var(1).plus(&Index::var(2).times(step)).offset(offset);
        Some(Placed {
            call: Call::Window {
                batch: batch.extent,
                positions: m.len(),
                window: w.len(),
                step,
                depth: depth.extent,
            },
            outputs: vec![Range::to(batch.extent), m, w],
            sums: vec![Range::to(depth.extent)],
            at: vec![self.encode(batch), Index::var(position), Index::var(window)],
            sides: [
                vec![Side::Group(batch.clone()), self.single(position), Side::Group(depth.clone())],
                vec![Side::Group(batch.clone()), Side::Dimension(slid), Side::Group(depth.clone())],
            ],
            reads: [
                vec![Index::var(0), Index::var(1).offset(-m.lo), Index::var(3)],
                vec![Index::var(0), place, Index::var(3)],
            ],
        })
    }

    fn window_sum(&self) -> Option<Placed> {
        let (position, window, slid, step, offset) = self.sliding()?;
        let (batch, columns) = (&self.batch, &self.columns);
        let (m, w) = (self.ranges[position], self.ranges[window]);
        let place = Index::var(1).plus(&Index::var(3).times(step)).offset(offset);
        Some(Placed {
            call: Call::WindowSum {
                batch: batch.extent,
                positions: m.len(),
                window: w.len(),
                step,
                depth: columns.extent,
            },
            outputs: vec![Range::to(batch.extent), m, Range::to(columns.extent)],
            sums: vec![w],
            at: vec![self.encode(batch), Index::var(position), self.encode(columns)],
            sides: [
                vec![Side::Group(batch.clone()), self.single(position), self.single(window)],
                vec![
                    Side::Group(batch.clone()),
                    Side::Dimension(slid),
                    Side::Group(columns.clone()),
                ],
            ],
            reads: [
                vec![Index::var(0), Index::var(1).offset(-m.lo), Index::var(3).offset(-w.lo)],
                vec![Index::var(0), place, Index::var(2)],
            ],
        })
    }
}

/// `access`'s target with one dimension for each of `sides`.
fn operand(access: &Access, tensors: &Tensors, sides: &[Side], ranges: &[Range]) -> Target {
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
