//! What definitions cost, and what is alive beside them.
//!
//! In: a network, costs. Out: the cost of all of it, one definition after the other. Knows nothing of searches.

use super::Part;
use crate::expr::{Kind, Scope};
use crate::library::Operator;
use crate::machine::{Cost, Machine};
use crate::network::{Definition, Network};
use crate::plan::{as_given, moved};

/// Whether an expression is one that operators compute: a sum of products of two.
pub fn is_product(scope: &Scope) -> bool {
    !scope.sums.is_empty() && scope.body.factors().is_some_and(|factors| factors.len() == 2)
}

/// What each definition costs when nothing is derived.
pub fn given_costs(network: &Network, machine: &Machine, operators: &[Operator]) -> Vec<Cost> {
    let cost = |definition: &Definition| {
        let scope = &definition.scope;
        if network.tensors[definition.tensor as usize].kind == Kind::Weight {
            return Cost::default();
        }
        let operator =
            is_product(scope).then(|| as_given(scope, &network.tensors, machine, operators));
        let cost = operator.flatten().map(|plan| plan.cost);
        cost.unwrap_or_else(|| generated(network, scope, machine))
    };
    network.definitions.iter().map(cost).collect()
}

/// A definition as a generated operator.
pub fn generated(network: &Network, scope: &Scope, machine: &Machine) -> Cost {
    let ranges = scope.ranges();
    let last = ranges.last().map_or(1, |range| range.len());
    let mut accesses = 0;
    scope.body.accesses(&mut |_| accesses += 1);
    let mut cost = moved(scope.work() * accesses.max(1), last, machine);
    cost.ram = machine.staging + scope.len() + read_bytes(network, scope);
    cost
}

/// Bytes of the inputs that a scope reads, in 8 bits.
fn read_bytes(network: &Network, scope: &Scope) -> i64 {
    let ids = 0..network.tensors.len();
    let read = ids.filter(|&id| {
        let mut found = network.tensors[id].kind == Kind::Input;
        let mut reads = false;
        scope.body.accesses(&mut |access| reads |= access.reads(id as u32));
        found &= reads;
        found
    });
    read.map(|id| network.tensors[id].len()).sum()
}

/// What is alive while definition `at` is computed, beside what it reads and writes, in bytes.
pub fn alive(network: &Network, at: usize) -> i64 {
    let others = (0..network.tensors.len() as u32).filter(|&id| {
        let tensor = &network.tensors[id as usize];
        let readers = network.readers(id);
        let born = network.definition_of(id).is_none_or(|defined| defined < at);
        let needed = readers.iter().any(|&reader| reader > at);
        tensor.kind == Kind::Input && born && needed && !readers.contains(&at)
    });
    others.map(|id| network.tensors[id as usize].len()).sum()
}

pub fn costs_of(parts: &[Part]) -> Vec<Cost> {
    let cost = |part: &Part| match part {
        Part::Folded => Cost::default(),
        Part::Generated(cost) => *cost,
        Part::Derived(derivation) => derivation.plan.cost,
    };
    parts.iter().map(cost).collect()
}

/// What all parts cost, one after the other, with what is alive beside each.
pub fn total(network: &Network, costs: &[Cost], machine: &Machine) -> Cost {
    let mut sum = Cost { ram: machine.staging, ..Cost::default() };
    for (at, &(mut cost)) in costs.iter().enumerate() {
        cost.ram += alive(network, at);
        sum = sum.then(cost);
    }
    sum
}

/// What a program costs: its steps one after the other, the records of all of them one stream, so that a command
/// brings those of several steps, and what comes next is on its way while what has come is used.
pub fn streamed(network: &Network, parts: &[Part], machine: &Machine) -> Cost {
    let table = |part: &Part| match part {
        Part::Derived(derivation) => derivation.plan.streamed(),
        Part::Folded | Part::Generated(_) => None,
    };
    let tables: Vec<(i64, i64)> = parts.iter().filter_map(table).collect();
    let reads = machine.reads(&tables);
    // Done while each read is on its way, and behind the last one.
    let mut work = vec![0.0f64; reads.len() + 1];
    let (mut now, mut number) = (0, 0);
    let costs = costs_of(parts);
    for (part, cost) in parts.iter().zip(&costs) {
        let own = machine.compute(cost.instructions);
        let Some((rows, _)) = table(part) else {
            work[now] += own;
            continue;
        };
        for (at, read) in reads.iter().enumerate() {
            for &(_, some) in read.of.iter().filter(|(table, _)| *table == number) {
                now = at + 1;
                work[now] += own * some as f64 / rows as f64;
            }
        }
        number += 1;
    }
    let mut sum = total(network, &costs, machine);
    let blocks: i64 = reads.iter().map(|read| read.blocks).sum();
    sum.commands = reads.len() as i64;
    sum.bytes = machine.bytes(blocks);
    let waited =
        reads.iter().zip(&work).map(|(read, work)| machine.command(read.blocks).max(*work));
    sum.nanoseconds = waited.sum::<f64>() + work.last().copied().unwrap_or(0.0);
    sum
}
