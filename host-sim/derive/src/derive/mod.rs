//! A whole network: split, fused and merged, each expression derived, and what it all costs.
//!
//! In: a network, a machine, a library. Out: the program with every derivation in it, its cost, and the cost
//! of the network as it was given, computed with the same operators. Knows nothing of files.

mod costs;

use crate::cache::{Cache, Kept, Key};
use crate::expr::{Expr, Kind, Scope, Tensor};
use crate::fixed;
use crate::library::Operator;
use crate::machine::{Cost, Machine};
use crate::network::{Definition, Network};
use crate::plan::{MOST_LOOPS, OnMachine, Plan, as_given, plan};
use crate::rules::program::{fuse, merge, split};
use crate::rules::weights::{absorb, combine};
use crate::search::state::State;
use crate::search::walk::{Found, Settings, search};
use costs::{alive, costs_of, generated, given_costs, is_product, streamed, total};
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
    /// What it costs with the best of the [fixed operators](crate::fixed) for each expression, after the rules
    /// between expressions but merging; RAM whether or not there is so much.
    pub fixed: Cost,
    /// What the program would cost if each definition's records were read by themselves.
    pub apart: Cost,
    /// What the program costs: its records are one stream.
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
    derive_with(network, machine, operators, settings, None, progress)
}

/// The same, with what was found before kept in a folder.
///
/// # Errors
/// As [`derive()`].
pub fn derive_with(
    network: &Network,
    machine: &Machine,
    operators: &[Operator],
    settings: Settings,
    cache: Option<&Cache<'_>>,
    progress: &mut Progress<'_>,
) -> Result<Program, DeriveError> {
    let mut rules = Vec::new();
    let given = with_rule(network, "expression splitting", &mut Vec::new(), split);
    let mut deriver =
        Deriver { machine, operators, settings, cache, known: FxHashMap::default(), progress };
    let as_given = total(&given, &given_costs(&given, machine, operators), machine);

    let mut best = with_rule(&given, "expression fusing", &mut rules, fuse_maps);
    best = with_rule(&best, "factor folding", &mut rules, fold);
    let fixed = total(&best, &deriver.fixed_costs(&best), machine);
    if given.definitions.len() != network.definitions.len() {
        rules.insert(0, "expression splitting".to_owned());
    }
    let mut parts = deriver.parts(&best)?;
    let mut apart = total(&best, &costs_of(&parts), machine);
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
            if costs.nanoseconds < apart.nanoseconds {
                rules.push(what);
                (best, parts, apart, pair) = (next, found, costs, (0, 1));
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
    let cost = streamed(&best, &parts, machine);
    Ok(Program { network: best, parts, rules, given: as_given, fixed, apart, cost })
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
    let tensor = network.definitions[at].tensor;
    let readers = network.readers(tensor);
    let maps = readers.iter().all(|&reader| network.definitions[reader].scope.sums.is_empty());
    // Read once only, else it would be computed more than once; and what is known beforehand, not at all.
    let mut reads = 0;
    for &reader in &readers {
        let body = &network.definitions[reader].scope.body;
        body.accesses(&mut |access| reads += u32::from(access.reads(tensor)));
    }
    let known = network.tensors[tensor as usize].kind == Kind::Weight;
    if maps && reads == 1 && !known { fuse(network, at) } else { fuse_views(network, at) }
}

/// Multiplies factors that are known into the weights of the sum that they scale, where that leaves a product of
/// two.
fn fold(network: &Network, at: usize) -> Option<Network> {
    let moved = absorb(network, at)?;
    // The sum that has a factor more.
    let grown = |definition: &&Definition| {
        let before = network.definition_of(definition.tensor);
        let count = |scope: &Scope| scope.body.factors().map_or(0, |factors| factors.len());
        before.is_some_and(|at| {
            count(&network.definitions[at].scope) < count(&definition.scope)
                && !definition.scope.sums.is_empty()
        })
    };
    let tensor = moved.definitions.iter().find(grown)?.tensor;
    let combined = combine(&moved, moved.definition_of(tensor)?)?;
    let sum = &combined.definitions[combined.definition_of(tensor)?].scope;
    let factors = sum.body.factors()?;
    (factors.len() == 2).then_some(combined)
}

struct Deriver<'a, 'p> {
    machine: &'a Machine,
    operators: &'a [Operator],
    settings: Settings,
    cache: Option<&'a Cache<'a>>,
    known: FxHashMap<Key, Option<Derivation>>,
    progress: &'a mut Progress<'p>,
}

impl Deriver<'_, '_> {
    /// What each definition costs with the best fixed operator.
    fn fixed_costs(&self, network: &Network) -> Vec<Cost> {
        let cost = |definition: &Definition| {
            let scope = &definition.scope;
            if network.tensors[definition.tensor as usize].kind == Kind::Weight {
                return Cost::default();
            }
            let (tensors, machine) = (network.tensors.as_slice(), self.machine);
            let best = is_product(scope)
                .then(|| fixed::plans(scope, tensors, machine, self.operators))
                .and_then(|plans| plans.into_iter().next());
            best.map_or_else(|| generated(network, scope, machine), |fixed| fixed.cost)
        };
        network.definitions.iter().map(cost).collect()
    }

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
            let derivation = if is_product(scope) {
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
        let kept = self.cache.map(|cache| cache.entry(&key, machine, operators, self.settings));
        let known = kept.as_ref().and_then(|kept| kept.read(&scope, &tensors, operators, &judge));
        let found = match known {
            Some(known) => Some(known),
            None => {
                let progress = &mut *self.progress;
                let settings = self.settings;
                let outcome =
                    search(&scope, &tensors, operators, &judge, settings, &mut |states| {
                        progress(name, at, count, states);
                    });
                let states = outcome.states;
                let best = outcome.found.into_iter().next().map(|found| Kept { found, states });
                if let (Some(kept), Some(best)) = (&kept, &best) {
                    kept.write(best);
                }
                best
            }
        };
        let found = found.and_then(|Kept { found, states }| {
            let taken = plan(&found.state, &found.bound, &tensors, machine)?;
            let given = as_given(&scope, &tensors, machine, operators)?;
            let (tensors, scope) = (tensors.clone(), scope.clone());
            Some(Derivation { tensors, scope, given, found, plan: taken, states })
        });
        self.known.insert(key, found.clone());
        found.map(|found| Derivation { tensors, ..found })
    }
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
