//! A derivation as steps of a program, and what they cost on a machine.
//!
//! In: a state and the call that its focus is. Out: copies, the call, what is generated around it; buffers
//! with their sizes and when they live; commands, bytes, RAM, instructions. Weights are laid out while
//! planning: what depends on them alone costs nothing but its bytes.

use crate::expr::{Access, Expr, Scope, Target, Tensor, Tensors};
use crate::index::{Index, Range};
use crate::library::{Bound, Call, Operator, matches};
use crate::machine::{Cost, Machine};
use crate::search::state::State;
use crate::search::walk::Judge;
use crate::terms::terms;
use smallvec::SmallVec;

/// A step of a plan.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Computed while planning and written to the card in the order in which it is read.
    Fold(Scope),
    /// A generated operator before the call: an operand in the call's layout.
    Copy(Scope),
    /// The library's operator; `streamed` if an operand comes from the card.
    Call {
        /// The operator.
        call: Call,
        /// Records and numbers in each, if they come from the card.
        streamed: Option<(i64, i64)>,
    },
    /// A generated operator behind the call, which reads its result; `within` if it takes each row as it
    /// comes, so that the whole result is never there.
    Gather {
        /// What it computes, over the focus.
        scope: Scope,
        /// Whether rows are taken as they come.
        within: bool,
    },
}

/// Steps with their cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What is done, in order.
    pub steps: Vec<Step>,
    /// What it costs.
    pub cost: Cost,
}

impl Plan {
    /// Records and numbers in each that come from the card.
    pub fn streamed(&self) -> Option<(i64, i64)> {
        self.steps.iter().find_map(|step| match step {
            Step::Call { streamed, .. } => *streamed,
            _ => None,
        })
    }
}

/// Loops of a generated operator.
pub const MOST_LOOPS: usize = 8;

/// The plan of a derivation on `machine`; `None` where no executor could run it: an operand from the card
/// that is not read row by row, a generated operator of more than [`MOST_LOOPS`] loops, or more than the
/// machine's RAM.
pub fn plan(state: &State, bound: &Bound, tensors: &Tensors, machine: &Machine) -> Option<Plan> {
    let plan = unlimited(state, bound, tensors, machine)?;
    (plan.cost.ram <= machine.ram).then_some(plan)
}

/// The same whatever RAM it takes.
pub fn unlimited(
    state: &State,
    bound: &Bound,
    tensors: &Tensors,
    machine: &Machine,
) -> Option<Plan> {
    let weights = bound.operands.each_ref().map(|target| is_weight(target, tensors));
    let mut steps = Vec::new();
    let mut cost = Cost::default();
    // Bytes that live while the call runs: inputs in 8 bits, copies of them.
    let mut live = 0;
    for (target, weight) in bound.operands.iter().zip(weights) {
        let copied = match target {
            Target::Scope(scope) => Some(scope),
            Target::Tensor(_) => None,
        };
        if weight {
            steps.extend(copied.map(|scope| Step::Fold((**scope).clone())));
            continue;
        }
        let source = inputs(target, tensors);
        match copied {
            Some(scope) if !is_reshape(scope, tensors) => {
                if scope.loops.len() > MOST_LOOPS {
                    return None;
                }
                let mut copy = moved(scope.len(), straight(scope, tensors), machine);
                copy.ram = machine.staging + live + source + scope.len();
                cost = cost.then(copy);
                live += scope.len();
                steps.push(Step::Copy((**scope).clone()));
            }
            _ => live += source,
        }
    }
    let streamed = streamed(&bound.call, weights)?;
    let (dots, length) = bound.call.dots();
    let mut call = Cost {
        instructions: machine.core.dot.instructions(dots, length) * bound.work,
        ..Cost::default()
    };
    let within = within(state, bound, weights);
    // Written in place, whatever the order of the dimensions.
    let plain = state.is_reordered() && is_direct(bound);
    let result: i64 = bound.result.len();
    let out: i64 = state.loops.iter().map(|range| range.len()).product();
    // The result in 8 bits, and what is not finished in 32.
    let held = if plain {
        out + 4 * result / columns(&bound.call)
    } else if let Some(at_once) = within {
        out + 4 * (result / columns(&bound.call) + at_once)
    } else {
        out + 4 * result
    };
    if !plain {
        let outer = state.outer();
        if outer.len() > MOST_LOOPS {
            return None;
        }
        call.instructions += moved(gathered(state, tensors), run(state), machine).instructions;
    }
    call.nanoseconds = machine.compute(call.instructions);
    if let Some((rows, numbers)) = streamed {
        let (commands, bytes, _) = machine.stream(rows, numbers);
        (call.commands, call.bytes) = (commands, bytes);
        call.nanoseconds = machine.overlapped(rows, numbers, call.nanoseconds);
    }
    call.ram = machine.staging + live + held;
    steps.push(Step::Call { call: bound.call.clone(), streamed });
    if !plain {
        steps.push(Step::Gather { scope: state.scope(), within: within.is_some() });
    }
    Some(Plan { steps, cost: cost.then(call) })
}

/// The cheapest plan of a state with nothing more derived from it: one that fits, if there is one, else
/// whatever RAM it takes.
pub fn of_state(
    state: &State,
    tensors: &Tensors,
    machine: &Machine,
    operators: &[Operator],
) -> Option<Plan> {
    let bounds = matches(&state.focus, tensors, operators);
    let plans = bounds.iter().filter_map(|bound| unlimited(state, bound, tensors, machine));
    let fits = |plan: &Plan| plan.cost.ram <= machine.ram;
    plans.min_by(|a, b| {
        fits(b).cmp(&fits(a)).then(a.cost.nanoseconds.total_cmp(&b.cost.nanoseconds))
    })
}

/// The same of an expression as it is given.
pub fn as_given(
    scope: &Scope,
    tensors: &Tensors,
    machine: &Machine,
    operators: &[Operator],
) -> Option<Plan> {
    of_state(&State::new(scope.clone()).canonical(), tensors, machine, operators)
}

/// Moving `numbers`, `last` of them in a row.
pub(crate) fn moved(numbers: i64, last: i64, machine: &Machine) -> Cost {
    let rows = numbers / last.max(1);
    let instructions = machine.core.moved.instructions(rows, last);
    Cost { instructions, nanoseconds: machine.compute(instructions), ..Cost::default() }
}

/// Numbers of the focus that the result is gathered from: only those inside of it are visited.
fn gathered(state: &State, tensors: &Tensors) -> i64 {
    terms(&state.scope(), tensors)
}

/// Numbers that are gathered in a row: a loop nest has its longest loop innermost.
fn run(state: &State) -> i64 {
    let all = state.focus.loops.iter().zip(&state.map);
    let stepped = all.filter(|(_, index)| index.vars().count_ones() > 1 || !index.is_linear());
    let longest = |ranges: &[Range]| ranges.iter().map(|range| range.len()).max();
    stepped.map(|(range, _)| range.len()).max().or_else(|| longest(&state.loops)).unwrap_or(1)
}

/// Numbers of a copy that one loop moves: as many along its last dimension as are the same step apart where they
/// are read. An index that is divided or wrapped does not come back to the line that it has left, so that its end
/// is found by halves; for several such indices, which could make up for each other, it is an estimate.
fn straight(copy: &Scope, tensors: &Tensors) -> i64 {
    let (Expr::Access(access), Some(last)) = (&copy.body, copy.loops.last()) else { return 1 };
    // Of the others every step goes as far. An index stands with the numbers that one step of it passes.
    let (mut bent, mut passed) = (SmallVec::<[(&Index, i64); 2]>::new(), 1);
    for (d, index) in access.index.iter().enumerate().rev() {
        if index.bends(copy.loops.len() - 1) {
            bent.push((index, passed));
        }
        passed *= access.extent(tensors, d).len();
    }
    if bent.is_empty() {
        return last.len();
    }
    let mut at: SmallVec<[i64; 8]> = copy.loops.iter().map(|range| range.lo).collect();
    let mut place = |i: i64| -> i64 {
        if let Some(x) = at.last_mut() {
            *x = last.lo + i;
        }
        bent.iter().map(|(index, passed)| index.value(&at) * passed).sum()
    };
    let (first, second) = (place(0), place(1));
    let (mut on, mut off) = (1, last.len());
    while off - on > 1 {
        let middle = on + (off - on) / 2;
        if place(middle) - first == middle * (second - first) { on = middle } else { off = middle }
    }
    off.min(last.len())
}

fn is_weight(target: &Target, tensors: &Tensors) -> bool {
    Access { target: target.clone(), index: Vec::new() }.is_weight(tensors)
}

/// Bytes of the inputs that a target is computed from.
fn inputs(target: &Target, tensors: &Tensors) -> i64 {
    match target {
        Target::Tensor(id) => tensors.get(*id as usize).map_or(0, Tensor::len),
        Target::Scope(scope) => {
            let mut sum = 0;
            scope.body.accesses(&mut |access| sum += inputs(&access.target, tensors));
            sum
        }
    }
}

/// Whether a copy has the numbers of its target in the same order: none is made.
pub fn is_reshape(copy: &Scope, tensors: &Tensors) -> bool {
    let Expr::Access(access) = &copy.body else { return false };
    if !copy.sums.is_empty() || !access.stays_inside(tensors, &copy.loops) {
        return false;
    }
    let extents: Vec<Range> = (0..access.index.len()).map(|d| access.extent(tensors, d)).collect();
    let place = |index: &[Index], extents: &[Range]| {
        index.iter().zip(extents).fold(Index::default(), |at, (index, range)| {
            at.times(range.len()).plus(index).offset(-range.lo)
        })
    };
    // An iterator of one value is that value.
    let own: Vec<Index> = copy
        .loops
        .iter()
        .enumerate()
        .map(|(v, range)| if range.len() == 1 { Index::constant(range.lo) } else { Index::var(v) })
        .collect();
    let read: Vec<Index> =
        access.index.iter().map(|index| index.substituted(&own, &copy.loops)).collect();
    let whole: i64 = extents.iter().map(|range| range.len()).product();
    whole == copy.len() && place(&read, &extents) == place(&own, &copy.loops)
}

/// Records that come from the card, and numbers in each: those of operand B. `None` where the weights are
/// operand A, which would be read once for every row of B: the other order of operands is the plan then.
#[allow(clippy::option_option)]
fn streamed(call: &Call, weights: [bool; 2]) -> Option<Option<(i64, i64)>> {
    match (weights, call) {
        ([true, _], _) => None,
        ([false, false], _) => Some(None),
        ([false, true], &Call::Matmul { batch, columns, depth, .. }) => {
            Some(Some((batch * columns, depth)))
        }
        ([false, true], &Call::Conv { filters, kernel, channels, .. }) => {
            Some(Some((filters, kernel.0 * kernel.1 * channels)))
        }
        ([false, true], Call::Window { .. } | Call::WindowSum { .. }) => None,
    }
}

/// Results that come one after the other: rows of B, or filters.
fn columns(call: &Call) -> i64 {
    match *call {
        Call::Matmul { batch, columns, .. } => batch * columns,
        Call::Conv { filters, .. } => filters,
        Call::Window { batch, positions, .. } | Call::WindowSum { batch, positions, .. } => {
            batch * positions
        }
    }
}

/// Whether the focus is the result itself, dimension by dimension.
fn is_direct(bound: &Bound) -> bool {
    bound.joined == 0
        || match &bound.focus.body {
            Expr::Access(access) => {
                let mut used = 0;
                access.index.iter().for_each(|index| used |= index.vars());
                used.count_ones() as usize == bound.focus.loops.len()
            }
            _ => false,
        }
}

/// Whether what is around the focus can take each row of the result as it comes: each iterator of the rows
/// of B is read in place. Then how many of the results are under way at once.
fn within(state: &State, bound: &Bound, weights: [bool; 2]) -> Option<i64> {
    if weights != [false, true] {
        return None;
    }
    let Expr::Access(access) = &bound.focus.body else { return None };
    let places: &[usize] = match bound.call {
        Call::Matmul { .. } => &[0, 2],
        Call::Conv { .. } => &[3],
        _ => return None,
    };
    let streamed = places.iter().fold(0, |set, &d| set | access.index[d].vars());
    let mut fixed = 0u64;
    for (d, index) in state.map.iter().enumerate() {
        if streamed >> d & 1 == 1 {
            fixed |= 1 << index.as_var()?;
        }
    }
    let loops = state.loops.iter().enumerate();
    Some(loops.filter(|(v, _)| fixed >> v & 1 == 0).map(|(_, range)| range.len()).product())
}

/// The judge of a machine: time first, then commands.
pub struct OnMachine<'a> {
    /// The machine.
    pub machine: &'a Machine,
    /// What the expression reads.
    pub tensors: &'a Tensors,
    /// Least multiply-accumulates of any operator for one of the expression.
    pub least_work: f64,
}

/// What a command costs beside its time: enough to break ties.
const TIE: f64 = 1e-3;

impl Judge for OnMachine<'_> {
    fn cost(&self, state: &State, bound: &Bound) -> Option<f64> {
        let cost = plan(state, bound, self.tensors, self.machine)?.cost;
        Some(cost.nanoseconds + TIE * (cost.commands as f64 + cost.ram as f64))
    }

    fn least(&self, state: &State) -> f64 {
        let work = terms(&state.focus, self.tensors) as f64;
        let mut instructions = self.machine.core.dot.number * work * self.least_work;
        if !state.sums.is_empty() {
            let gathered = gathered(state, self.tensors);
            instructions += self.machine.core.moved.number * gathered as f64;
        }
        self.machine.compute(instructions)
    }
}
