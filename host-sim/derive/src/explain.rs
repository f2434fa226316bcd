//! A program as people read it: each derivation step by step, and the network that is carried out.
//!
//! In: a program. Out: rules with the expression after each and what it costs there; definitions in the
//! notation, one for each thing that the board does.

use crate::derive::{Derivation, Part, Program};
use crate::expr::{Access, Expr, Scope, Target};
use crate::index::Index;
use crate::library::Operator;
use crate::machine::{Cost, Machine};
use crate::network::{Definition, Network};
use crate::notation::{declaration, definition_of, print_state};
use crate::plan::{Step, of_state};
use crate::rules::traversal::merge;
use crate::search::state::State;
use std::sync::Arc;

/// A state on the way of a derivation.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// The rule that led here; nothing for the expression as it is given.
    pub rule: &'static str,
    /// The expression, in the notation.
    pub text: String,
    /// The cheapest plan from here; `None` where no operator computes it as it is.
    pub cost: Option<Cost>,
}

impl Derivation {
    /// Every state from the given expression to the derived one. `name`: what the result is called.
    pub fn stages(&self, name: &str, machine: &Machine, operators: &[Operator]) -> Vec<Stage> {
        let mut state = State::new(self.scope.clone()).canonical();
        let stage = |rule, state: &State| Stage {
            rule,
            text: print_state(state, &self.tensors, name),
            cost: of_state(state, &self.tensors, machine, operators).map(|plan| plan.cost),
        };
        let mut stages = vec![stage("", &state)];
        for step in &self.found.steps {
            if let Some(next) = step.step(&state, &self.tensors) {
                state = next;
            }
            stages.push(stage(step.rule(), &state));
        }
        stages
    }
}

/// A definition of the network that is carried out, with what does it.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    /// The tensor that is defined.
    pub tensor: u32,
    /// What computes it, in words.
    pub by: String,
}

impl Program {
    /// The network as the board computes it: copies, calls and generated operators as definitions of their
    /// own, weights in the layout in which they are read.
    pub fn carried_out(&self) -> (Network, Vec<Done>) {
        let mut out = Network { tensors: self.network.tensors.clone(), definitions: Vec::new() };
        let mut done = Vec::new();
        for (Definition { tensor, scope }, part) in self.network.definitions.iter().zip(&self.parts)
        {
            let tensor = *tensor;
            match part {
                Part::Derived(derivation) => {
                    carry_out(&mut out, &mut done, tensor, scope, derivation);
                    continue;
                }
                Part::Folded => done.push(Done { tensor, by: "computed beforehand".to_owned() }),
                Part::Generated(_) => {
                    done.push(Done { tensor, by: "generated operator".to_owned() });
                }
            }
            out.definitions.push(Definition { tensor, scope: scope.clone() });
        }
        out.pad();
        (out, done)
    }

    /// The network that is carried out as text: a comment before each definition says what does it.
    pub fn text(&self) -> String {
        let (network, done) = self.carried_out();
        let mut lines = Vec::new();
        for (id, tensor) in network.tensors.iter().enumerate() {
            let read = !network.readers(id as u32).is_empty();
            if read && network.definition_of(id as u32).is_none() {
                lines.push(declaration(tensor));
            }
        }
        for (definition, done) in network.definitions.iter().zip(&done) {
            let tensor = &network.tensors[definition.tensor as usize];
            lines.push(format!("# {}", done.by));
            lines.push(definition_of(&definition.scope, &network.tensors, tensor));
        }
        lines.join("\n") + "\n"
    }
}

fn carry_out(
    out: &mut Network,
    done: &mut Vec<Done>,
    tensor: u32,
    scope: &Scope,
    derivation: &Derivation,
) {
    // Tensors of a derivation are numbered in the order in which its expression reads them.
    let mut used = Vec::new();
    let _ = scope.body.with_tensors(&mut |id| {
        if !used.contains(&id) {
            used.push(id);
        }
        id
    });
    let (bound, state) = (&derivation.found.bound, &derivation.found.state);
    let name = out.tensors[tensor as usize].name.clone();
    let mut steps = derivation.plan.steps.iter().peekable();
    let mut defined = Vec::new();
    for (target, side) in bound.operands.iter().zip(["a", "b"]) {
        let Target::Scope(copy) = target else { continue };
        let copy = over(copy, &used);
        let folded = copy.is_weight(&out.tensors);
        // A copy that the plan does not make is the same numbers in the same order.
        let by = match steps.peek() {
            _ if folded => "computed beforehand: weights in the order in which they are read",
            Some(Step::Copy(_)) => "generated copy",
            _ => "the same numbers under other dimensions",
        };
        steps.next_if(|step| matches!(step, Step::Fold(_) | Step::Copy(_)));
        let id = define(out, format!("{name}_{side}"), copy);
        done.push(Done { tensor: id, by: by.to_owned() });
        defined.push((target.clone(), id));
    }
    let streamed = derivation.plan.steps.iter().find_map(|step| match step {
        Step::Call { streamed, .. } => Some(*streamed),
        _ => None,
    });
    let mut by = bound.call.to_string();
    if let Some(Some((records, numbers))) = streamed {
        by += &format!("; {records} records of {numbers} numbers from the card");
    }
    let result = replaced(&over(&bound.result, &used), &|target| {
        let found = defined
            .iter()
            .find(|(known, _)| known.with_tensors(&mut |id| used[id as usize]) == *target);
        found.map(|(_, id)| *id)
    });
    let result_id = define(out, format!("{name}_call"), result.clone());
    done.push(Done { tensor: result_id, by });
    let program = State { focus: over(&bound.focus, &used), ..state.clone() }.scope();
    let original = Target::Scope(Arc::new(over(&bound.result, &used)));
    let read = replaced(&program, &|target| (*target == original).then_some(result_id));
    let read = merge(&read, &out.tensors).unwrap_or(read);
    // What is read outside of the focus is 0 there: the focus as a tensor of its own, which no copy makes.
    let mut views = Vec::new();
    read.body.accesses(&mut |access| {
        if let Target::Scope(view) = &access.target {
            views.push((access.target.clone(), (**view).clone()));
        }
    });
    let mut named = Vec::new();
    for (target, view) in views {
        let id = define(out, format!("{name}_view"), view);
        done.push(Done { tensor: id, by: "the call's result under other dimensions".to_owned() });
        named.push((target, id));
    }
    let read = replaced(&read, &|target| {
        named.iter().find(|(known, _)| known == target).map(|(_, id)| *id)
    });
    let gathers = |step: &Step| matches!(step, Step::Gather { .. });
    let by = if derivation.plan.steps.iter().any(gathers) {
        "generated operator on the results of the call"
    } else {
        "the call's result, written in place"
    };
    done.push(Done { tensor, by: by.to_owned() });
    out.definitions.push(Definition { tensor, scope: read });
}

/// Adds a definition, under `name` or one like it.
fn define(out: &mut Network, name: String, scope: Scope) -> u32 {
    let mut free = name;
    while out.tensors.iter().any(|tensor| tensor.name == free) {
        free.push('_');
    }
    out.define(free, scope)
}

/// The scope with tensors by their numbers in the network.
fn over(scope: &Scope, used: &[u32]) -> Scope {
    let body = scope.body.with_tensors(&mut |id| used[id as usize]);
    Scope { body, ..scope.clone() }
}

/// The scope with inner scopes that are tensors now replaced by them, at whatever depth.
fn replaced(scope: &Scope, with: &dyn Fn(&Target) -> Option<u32>) -> Scope {
    let body = scope.body.mapped(&mut |access| {
        let Target::Scope(inner) = &access.target else { return Expr::Access(access.clone()) };
        let (target, index) = match with(&access.target) {
            // A tensor begins at 0.
            Some(id) => {
                let shifted = access.index.iter().zip(&inner.loops);
                let index =
                    shifted.map(|(i, range)| i.clone().offset(-range.lo)).collect::<Vec<Index>>();
                (Target::Tensor(id), index)
            }
            None => (Target::Scope(Arc::new(replaced(inner, with))), access.index.clone()),
        };
        Expr::Access(Access { target, index })
    });
    Scope { body, ..scope.clone() }
}
