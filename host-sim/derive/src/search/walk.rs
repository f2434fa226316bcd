//! The hybrid search: every state is matched with the library, and every rule is tried on it, down to a
//! depth.
//!
//! In: an expression, the library, and who judges. Out: for every call that was found the cheapest
//! derivation that leads to it. A visited state is entered again only with more of some budget than
//! before; a state whose least cost is above the best known is not entered.

use super::moves::{Budget, Move, moves};
use super::state::{Fingerprint, State};
use crate::expr::{Scope, Tensors};
use crate::library::{Bound, Call, Operator, matches};
use rustc_hash::FxHashMap;

/// Who says what a derivation costs. Costs have no unit here: less is better.
pub trait Judge {
    /// What it costs to compute `state` with `bound`; `None` where it cannot be computed at all.
    fn cost(&self, state: &State, bound: &Bound) -> Option<f64>;
    /// What everything that can be derived from `state` costs at least.
    fn least(&self, state: &State) -> f64;
}

/// How to search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Most rules on a path.
    pub depth: u8,
    /// Whether states whose least cost is above the best are left out.
    pub bound: bool,
    /// Whether canonical forms are kept and compared wherever fingerprints are the same.
    pub verify: bool,
    /// Most states; the search ends there.
    pub most_states: u64,
}

impl Settings {
    /// All rules to `depth`, with branch and bound.
    pub const fn of_depth(depth: u8) -> Self {
        Self { depth, bound: true, verify: false, most_states: u64::MAX }
    }
}

/// A derivation that ends in a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The rules, each applied to the canonical form of what the one before gave.
    pub steps: Vec<Move>,
    /// Where they lead.
    pub state: State,
    /// The call that its focus is.
    pub bound: Bound,
    /// What the judge says.
    pub cost: f64,
}

impl Found {
    /// The whole expression with the call in it.
    pub fn program(&self) -> Scope {
        State { focus: self.bound.focus.clone(), ..self.state.clone() }.scope()
    }
}

/// What a search found, and how large it was.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// One for each call, the cheapest first.
    pub found: Vec<Found>,
    /// Different states.
    pub states: u64,
    /// States whose rules were tried, again ones too.
    pub expanded: u64,
    /// Results of rules that were states already.
    pub met_again: u64,
    /// Fingerprints that two different states have; only counted if asked to verify.
    pub collisions: u64,
    /// States left out because they cost too much whatever comes.
    pub cut: u64,
}

/// Searches from `scope`. `progress` is called now and then with the states so far.
pub fn search(
    scope: &Scope,
    tensors: &Tensors,
    operators: &[Operator],
    judge: &dyn Judge,
    settings: Settings,
    progress: &mut dyn FnMut(u64),
) -> Outcome {
    let mut walk = Walk {
        tensors,
        operators,
        judge,
        settings,
        seen: FxHashMap::default(),
        forms: FxHashMap::default(),
        best: FxHashMap::default(),
        least: f64::INFINITY,
        path: Vec::new(),
        outcome: Outcome::default(),
        progress,
    };
    walk.enter(State::new(scope.clone()).canonical(), Budget::of_depth(settings.depth));
    let mut outcome = walk.outcome;
    outcome.found = walk.best.into_values().collect();
    outcome
        .found
        .sort_by(|a, b| a.cost.total_cmp(&b.cost).then_with(|| a.bound.call.cmp(&b.bound.call)));
    outcome
}

/// What budgets a state was entered with: none covers another.
#[derive(Default)]
struct Entered([Option<Budget>; 2]);

impl Entered {
    /// Whether `budget` allows more than those before; it is one of them then.
    fn more(&mut self, budget: Budget) -> bool {
        if self.0.iter().flatten().any(|known| known.covers(budget)) {
            return false;
        }
        let covered = |slot: &&mut Option<Budget>| slot.is_none_or(|known| budget.covers(known));
        if let Some(slot) = self.0.iter_mut().find(covered) {
            *slot = Some(budget);
        } else {
            // A third one that is not comparable: the state may be entered once more than needed.
            self.0[1] = Some(budget);
        }
        true
    }
}

struct Walk<'a> {
    tensors: &'a Tensors,
    operators: &'a [Operator],
    judge: &'a dyn Judge,
    settings: Settings,
    seen: FxHashMap<Fingerprint, Entered>,
    forms: FxHashMap<Fingerprint, State>,
    best: FxHashMap<Call, Found>,
    least: f64,
    path: Vec<Move>,
    outcome: Outcome,
    progress: &'a mut dyn FnMut(u64),
}

impl Walk<'_> {
    fn enter(&mut self, state: State, budget: Budget) {
        if self.outcome.states >= self.settings.most_states {
            return;
        }
        let fingerprint = state.fingerprint();
        if self.settings.verify {
            let form = self.forms.entry(fingerprint).or_insert_with(|| state.clone());
            self.outcome.collisions += u64::from(*form != state);
        }
        let entered = self.seen.entry(fingerprint).or_default();
        let new = entered.0[0].is_none();
        if !entered.more(budget) {
            self.outcome.met_again += 1;
            return;
        }
        if new {
            self.outcome.states += 1;
            if self.outcome.states.is_multiple_of(4096) {
                (self.progress)(self.outcome.states);
            }
            self.match_library(&state);
        }
        if budget.depth == 0 {
            return;
        }
        if self.settings.bound && self.judge.least(&state) > self.least {
            self.outcome.cut += 1;
            return;
        }
        self.outcome.expanded += 1;
        for step in moves(&state, budget) {
            let Some(left) = budget.after(&step) else { continue };
            let Some(next) = step.step(&state, self.tensors) else { continue };
            self.path.push(step);
            self.enter(next, left);
            self.path.pop();
        }
    }

    fn match_library(&mut self, state: &State) {
        for bound in matches(&state.focus, self.tensors, self.operators) {
            let Some(cost) = self.judge.cost(state, &bound) else { continue };
            self.least = self.least.min(cost);
            let better = self.best.get(&bound.call).is_none_or(|known| {
                cost < known.cost || (cost == known.cost && self.path.len() < known.steps.len())
            });
            if better {
                let (steps, state) = (self.path.clone(), state.clone());
                let call = bound.call.clone();
                self.best.insert(call, Found { steps, state, bound, cost });
            }
        }
    }
}

/// States that a search without fingerprints goes through: every path of rules is one. Counted through the
/// canonical forms, whose rules are the same for all that share one.
pub fn paths(scope: &Scope, tensors: &Tensors, depth: u8) -> u128 {
    let mut known = FxHashMap::default();
    count(State::new(scope.clone()).canonical(), Budget::of_depth(depth), tensors, &mut known)
}

type Known = FxHashMap<(Fingerprint, u32), u128>;

fn count(state: State, budget: Budget, tensors: &Tensors, known: &mut Known) -> u128 {
    let Budget { depth, divisions, splits, relaxings } = budget;
    let key = (state.fingerprint(), u32::from_le_bytes([depth, divisions, splits, relaxings]));
    if let Some(&count) = known.get(&key) {
        return count;
    }
    let mut sum = 1;
    if depth > 0 {
        for step in moves(&state, budget) {
            let Some(left) = budget.after(&step) else { continue };
            let Some(next) = step.step(&state, tensors) else { continue };
            sum += count(next, left, tensors, known);
        }
    }
    known.insert(key, sum);
    sum
}
