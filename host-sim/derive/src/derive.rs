//! A whole network: split, fused and merged, each expression derived, and what it all costs.
//!
//! In: a network, a machine, a library. Out: the program with every derivation in it, its cost, and the cost
//! of the network as it was given, computed with the same operators. Knows nothing of files.

use crate::expr::{Expr, Kind, Scope, Tensor};
use crate::library::Operator;
use crate::machine::{Cost, Machine};
use crate::network::{Definition, Network};
use crate::plan::{MOST_LOOPS, OnMachine, Plan, as_given, moved, plan};
use crate::rules::program::{fuse, merge, split};
use crate::search::state::{Fingerprint, State};
use crate::search::walk::{Found, Settings, search};
use rustc_hash::FxHashMap;

/// What becomes of a definition.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// It depends on weights alone: computed beforehand.
    Folded,
    /// A generated operator, with its cost.
    Generated(Cost),
    /// A derivation.
    Derived(Box<Derivation>),
}

/// What the search found for one expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Derivation {
    /// What the expression reads, in the order in which it does.
    pub tensors: Vec<Tensor>,
    /// The expression as it is given, over these tensors.
    pub scope: Scope,
    /// The cheapest plan of the expression as it is given.
    pub given: Plan,
    /// The cheapest derivation.
    pub found: Found,
    /// Its plan.
    pub plan: Plan,
    /// Different states that the search went through.
    pub states: u64,
}

/// A network with what becomes of each definition.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// The network after the rules between expressions.
    pub network: Network,
    /// One for each definition.
    pub parts: Vec<Part>,
    /// The rules between expressions that were applied, with what they were applied to.
    pub rules: Vec<String>,
    /// What the network costs as it is given; RAM whether or not there is so much.
    pub given: Cost,
    /// What the program costs.
    pub cost: Cost,
}

/// Why there is no program.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DeriveError {
    /// More RAM is needed than there is.
    #[error(
        "{name} of {shape:?} needs {needed} bytes of RAM with all that is alive, and {machine} has {given}; \
         take a smaller network, or a board with more"
    )]
    Ram {
        /// The definition.
        name: String,
        /// Its shape.
        shape: Vec<i64>,
        /// Bytes.
        needed: i64,
        /// The machine.
        machine: String,
        /// Bytes that it has.
        given: i64,
    },
    /// A generated operator of too many loops.
    #[error(
        "{name} of {shape:?} would be a generated operator of {found} loops; there may be {MOST_LOOPS}"
    )]
    Loops {
        /// The definition.
        name: String,
        /// Its shape.
        shape: Vec<i64>,
        /// Loops.
        found: usize,
    },
}

/// How far a search has come: of which definition, of how many, and its states.
pub type Progress<'a> = dyn FnMut(&str, usize, usize, u64) + 'a;

/// Derives `network` for `machine`.
///
/// # Errors
/// Names the definition that cannot be computed, what it needs and what there is.
pub fn derive(
    network: &Network,
    machine: &Machine,
    operators: &[Operator],
    settings: Settings,
    progress: &mut Progress<'_>,
) -> Result<Program, DeriveError> {
    let mut rules = Vec::new();
    let given = with_rule(network, "expression splitting", &mut Vec::new(), split);
    let mut deriver =
        Deriver { machine, operators, settings, known: FxHashMap::default(), progress };
    let as_given = total(&given, &given_costs(&given, machine, operators), machine);

    let mut best = with_rule(&given, "expression fusing", &mut rules, fuse_maps);
    if given.definitions.len() != network.definitions.len() {
        rules.insert(0, "expression splitting".to_owned());
    }
    let mut parts = deriver.parts(&best)?;
    let mut cost = total(&best, &costs_of(&parts), machine);
    // Pairs that share an operand, as long as it pays.
    let mut pair = (0, 1);
    while pair.0 + 1 < best.definitions.len() {
        let name = |at: usize| {
            best.definitions.get(at).map_or("", |d| best.tensors[d.tensor as usize].name.as_str())
        };
        let what = format!("expression merging: {} and {}", name(pair.0), name(pair.1));
        if let Some(next) = merge(&best, pair.0, pair.1) {
            let next = with_rule(&next, "", &mut Vec::new(), fuse_views);
            let found = deriver.parts(&next)?;
            let costs = total(&next, &costs_of(&found), machine);
            if costs.nanoseconds < cost.nanoseconds {
                rules.push(what);
                (best, parts, cost, pair) = (next, found, costs, (0, 1));
                continue;
            }
        }
        pair = if pair.1 + 1 < best.definitions.len() {
            (pair.0, pair.1 + 1)
        } else {
            (pair.0 + 1, pair.0 + 2)
        };
    }
    fits(&best, &parts, machine)?;
    Ok(Program { network: best, parts, rules, given: as_given, cost })
}

/// Applies `rule` wherever it holds, until it holds nowhere.
fn with_rule(
    network: &Network,
    name: &str,
    rules: &mut Vec<String>,
    rule: fn(&Network, usize) -> Option<Network>,
) -> Network {
    let mut now = network.clone();
    while let Some((at, next)) =
        (0..now.definitions.len()).find_map(|at| Some((at, rule(&now, at)?)))
    {
        let tensor = now.definitions[at].tensor as usize;
        rules.push(format!("{name}: {}", now.tensors[tensor].name));
        now = next;
    }
    now
}

/// Fuses what only reads another tensor, into whatever reads it.
fn fuse_views(network: &Network, at: usize) -> Option<Network> {
    let is_view = matches!(network.definitions[at].scope.body, Expr::Access(_));
    if is_view { fuse(network, at) } else { None }
}

/// Fuses what adds nothing up into what adds nothing up either, and views into anything.
fn fuse_maps(network: &Network, at: usize) -> Option<Network> {
    let readers = network.readers(network.definitions[at].tensor);
    let maps = readers.iter().all(|&reader| network.definitions[reader].scope.sums.is_empty());
    // One reader only: else it would be computed more than once.
    if maps && readers.len() == 1 { fuse(network, at) } else { fuse_views(network, at) }
}

/// An expression that was derived before: its fingerprint, and the kinds and shapes of its tensors.
type Key = (Fingerprint, Vec<(Kind, Vec<i64>)>, u8);

struct Deriver<'a, 'p> {
    machine: &'a Machine,
    operators: &'a [Operator],
    settings: Settings,
    known: FxHashMap<Key, Option<Derivation>>,
    progress: &'a mut Progress<'p>,
}

impl Deriver<'_, '_> {
    fn parts(&mut self, network: &Network) -> Result<Vec<Part>, DeriveError> {
        let count = network.definitions.len();
        let mut parts = Vec::with_capacity(count);
        for (at, definition) in network.definitions.iter().enumerate() {
            let tensor = &network.tensors[definition.tensor as usize];
            let scope = &definition.scope;
            if tensor.kind == Kind::Weight {
                parts.push(Part::Folded);
                continue;
            }
            let product =
                !scope.sums.is_empty() && scope.body.factors().is_some_and(|f| f.len() == 2);
            let derivation = if product {
                self.derived(network, scope, &tensor.name, (at, count))
            } else {
                None
            };
            if let Some(derivation) = derivation {
                parts.push(Part::Derived(Box::new(derivation)));
                continue;
            }
            if scope.iterators() > MOST_LOOPS {
                let (name, shape) = (tensor.name.clone(), tensor.shape.clone());
                return Err(DeriveError::Loops { name, shape, found: scope.iterators() });
            }
            parts.push(Part::Generated(generated(network, scope, self.machine)));
        }
        Ok(parts)
    }

    fn derived(
        &mut self,
        network: &Network,
        scope: &Scope,
        name: &str,
        (at, count): (usize, usize),
    ) -> Option<Derivation> {
        // Tensors by their place in the expression, so that the same one is found again elsewhere.
        let mut used = Vec::new();
        let body = scope.body.with_tensors(&mut |id| {
            let place = used.iter().position(|known| *known == id).unwrap_or_else(|| {
                used.push(id);
                used.len() - 1
            });
            place as u32
        });
        let scope = Scope { body, ..scope.clone() };
        let tensors: Vec<_> = used.iter().map(|&id| network.tensors[id as usize].clone()).collect();
        let shapes = tensors.iter().map(|tensor| (tensor.kind, tensor.shape.clone())).collect();
        let key = (State::new(scope.clone()).fingerprint(), shapes, self.settings.depth);
        if let Some(known) = self.known.get(&key) {
            return known.clone().map(|found| Derivation { tensors, ..found });
        }
        let (machine, operators) = (self.machine, self.operators);
        let least_work = operators.iter().map(|operator| operator.work).fold(1.0, f64::min);
        let judge = OnMachine { machine, tensors: &tensors, least_work };
        let progress = &mut *self.progress;
        let outcome = search(&scope, &tensors, operators, &judge, self.settings, &mut |states| {
            progress(name, at, count, states);
        });
        let found = outcome.found.into_iter().next().and_then(|found| {
            let taken = plan(&found.state, &found.bound, &tensors, machine)?;
            let given = as_given(&scope, &tensors, machine, operators)?;
            let (tensors, scope) = (tensors.clone(), scope.clone());
            Some(Derivation { tensors, scope, given, found, plan: taken, states: outcome.states })
        });
        self.known.insert(key, found.clone());
        found.map(|found| Derivation { tensors, ..found })
    }
}

/// Whether an expression is one that operators compute: a sum of products of two.
fn is_product(scope: &Scope) -> bool {
    !scope.sums.is_empty() && scope.body.factors().is_some_and(|factors| factors.len() == 2)
}

/// What each definition costs when nothing is derived.
fn given_costs(network: &Network, machine: &Machine, operators: &[Operator]) -> Vec<Cost> {
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
fn generated(network: &Network, scope: &Scope, machine: &Machine) -> Cost {
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
fn alive(network: &Network, at: usize) -> i64 {
    let others = (0..network.tensors.len() as u32).filter(|&id| {
        let tensor = &network.tensors[id as usize];
        let readers = network.readers(id);
        let born = network.definition_of(id).is_none_or(|defined| defined < at);
        let needed = readers.iter().any(|&reader| reader > at);
        tensor.kind == Kind::Input && born && needed && !readers.contains(&at)
    });
    others.map(|id| network.tensors[id as usize].len()).sum()
}

fn costs_of(parts: &[Part]) -> Vec<Cost> {
    let cost = |part: &Part| match part {
        Part::Folded => Cost::default(),
        Part::Generated(cost) => *cost,
        Part::Derived(derivation) => derivation.plan.cost,
    };
    parts.iter().map(cost).collect()
}

/// What all parts cost, one after the other, with what is alive beside each.
fn total(network: &Network, costs: &[Cost], machine: &Machine) -> Cost {
    let mut sum = Cost { ram: machine.staging, ..Cost::default() };
    for (at, &(mut cost)) in costs.iter().enumerate() {
        cost.ram += alive(network, at);
        sum = sum.then(cost);
    }
    sum
}

fn too_large(network: &Network, at: usize, needed: i64, machine: &Machine) -> DeriveError {
    let tensor = &network.tensors[network.definitions[at].tensor as usize];
    DeriveError::Ram {
        name: tensor.name.clone(),
        shape: tensor.shape.clone(),
        needed,
        machine: machine.name.clone(),
        given: machine.ram,
    }
}

fn fits(network: &Network, parts: &[Part], machine: &Machine) -> Result<(), DeriveError> {
    for (at, cost) in costs_of(parts).into_iter().enumerate() {
        let needed = cost.ram + alive(network, at);
        if needed > machine.ram {
            return Err(too_large(network, at, needed, machine));
        }
    }
    Ok(())
}
