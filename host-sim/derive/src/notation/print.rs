//! Writing the notation.

use crate::expr::{Access, Expr, Kind, Scope, Target, Tensor, Tensors};
use crate::index::{Atom, Index, Range};
use crate::network::Network;
use crate::search::state::State;
use std::fmt::Write;

/// Names of iterators, in order; more get a number behind.
const LETTERS: &str = "abcdefghijklmnopqrstuvwxyz";

/// The expression as definitions, inner scopes first, each on a line: `name` the last.
pub fn print(scope: &Scope, tensors: &Tensors, name: &str) -> String {
    let mut printer = Printer { tensors, lines: Vec::new(), inner: 0 };
    printer.define(scope, name, "");
    printer.lines.join("\n")
}

/// A state of the search: its focus, and how the result is read from it where it is not the result.
pub fn print_state(state: &State, tensors: &Tensors, name: &str) -> String {
    if state.is_plain() {
        return print(&state.focus, tensors, name);
    }
    print(&state.scope(), tensors, name)
}

/// A whole network, as it is read.
pub fn print_network(network: &Network) -> String {
    let defined = |id: usize| network.definitions.iter().any(|d| d.tensor as usize == id);
    let given: Vec<_> = (0..network.tensors.len()).filter(|&id| !defined(id)).collect();
    let mut lines: Vec<String> =
        given.iter().map(|&id| declaration(&network.tensors[id])).collect();
    for definition in &network.definitions {
        let tensor = &network.tensors[definition.tensor as usize];
        lines.push(definition_of(&definition.scope, &network.tensors, tensor));
    }
    lines.join("\n") + "\n"
}

/// The line that declares an input or a weight.
pub fn declaration(tensor: &Tensor) -> String {
    let kind = if tensor.kind == Kind::Input { "input" } else { "weight" };
    let padding = padding(tensor.padding.iter().copied());
    let shape: Vec<String> = tensor.shape.iter().map(i64::to_string).collect();
    format!("{kind} {}[{}]{padding}", tensor.name, shape.join(", "))
}

/// The lines that define `tensor`, inner scopes first.
pub fn definition_of(scope: &Scope, tensors: &Tensors, tensor: &Tensor) -> String {
    let mut printer = Printer { tensors, lines: Vec::new(), inner: 0 };
    printer.define(scope, &tensor.name, &padding(tensor.padding.iter().copied()));
    printer.lines.join("\n")
}

struct Printer<'a> {
    tensors: &'a Tensors,
    lines: Vec<String>,
    /// Inner scopes that have a name.
    inner: usize,
}

impl Printer<'_> {
    fn define(&mut self, scope: &Scope, name: &str, padding: &str) {
        let body = self.body(&scope.body, &scope.ranges(), false);
        let list = |ranges: &[Range], first: usize| {
            let all: Vec<String> = ranges
                .iter()
                .enumerate()
                .map(|(i, range)| match range.lo {
                    0 => format!("{}: {}", variable(first + i), range.hi),
                    _ => format!("{}: {range}", variable(first + i)),
                })
                .collect();
            all.join(", ")
        };
        let mut line = format!("{name}[{}]{padding} = ", list(&scope.loops, 0));
        if !scope.sums.is_empty() {
            let _ = write!(line, "sum {} . ", list(&scope.sums, scope.loops.len()));
        }
        self.lines.push(line + &body);
    }

    fn body(&mut self, body: &Expr, ranges: &[Range], inside: bool) -> String {
        match body {
            Expr::Constant(value) if *value < 0 => format!("(0 - {})", -value),
            Expr::Constant(value) => value.to_string(),
            Expr::Access(access) => self.access(access, ranges),
            Expr::Product(parts) => {
                let all: Vec<String> =
                    parts.iter().map(|part| self.body(part, ranges, true)).collect();
                all.join(" * ")
            }
            Expr::Sum(parts) => {
                let all: Vec<String> =
                    parts.iter().map(|part| self.body(part, ranges, false)).collect();
                if inside { format!("({})", all.join(" + ")) } else { all.join(" + ") }
            }
            Expr::Apply(function, inner) => {
                format!("{}({})", function.name(), self.body(inner, ranges, false))
            }
        }
    }

    fn access(&mut self, access: &Access, ranges: &[Range]) -> String {
        let mut places = access.index.clone();
        let name = match &access.target {
            Target::Tensor(id) => self.tensors[*id as usize].name.clone(),
            Target::Scope(scope) => {
                // A tensor that is defined begins at 0.
                for (place, range) in places.iter_mut().zip(&scope.loops) {
                    *place = std::mem::take(place).offset(-range.lo);
                }
                self.inner += 1;
                let mut name = format!("T{}", self.inner);
                while self.tensors.iter().any(|tensor| tensor.name == name) {
                    name.push('_');
                }
                let padding = padding(places.iter().zip(&scope.loops).map(|(place, range)| {
                    let span = place.span(ranges);
                    ((-span.lo).max(0), (span.hi - range.len()).max(0))
                }));
                self.define(scope, &name, &padding);
                name
            }
        };
        let index: Vec<String> = places.iter().map(index).collect();
        format!("{name}[{}]", index.join(", "))
    }
}

/// ` pad ..`, or nothing where there is none.
fn padding(both: impl Iterator<Item = (i64, i64)>) -> String {
    let both: Vec<(i64, i64)> = both.collect();
    if both.iter().all(|&ends| ends == (0, 0)) {
        return String::new();
    }
    let of = |&(before, after): &(i64, i64)| match before == after {
        true => before.to_string(),
        false => format!("{before}:{after}"),
    };
    let all: Vec<String> = both.iter().map(of).collect();
    format!(" pad {}", all.join(", "))
}

fn variable(v: usize) -> String {
    let letter = LETTERS.as_bytes()[v % LETTERS.len()] as char;
    match v / LETTERS.len() {
        0 => letter.to_string(),
        n => format!("{letter}{n}"),
    }
}

fn index(index: &Index) -> String {
    let (constant, terms) = index.parts();
    let mut out = String::new();
    let mut add = |value: i64, text: Option<String>| {
        let sign = match (out.is_empty(), value < 0) {
            (true, true) => "-",
            (true, false) => "",
            (false, true) => " - ",
            (false, false) => " + ",
        };
        out.push_str(sign);
        match (text, value.abs()) {
            (None, value) => out.push_str(&value.to_string()),
            (Some(text), 1) => out.push_str(&text),
            (Some(text), value) => out.push_str(&format!("{value} * {text}")),
        }
    };
    for (atom, factor) in terms {
        add(*factor, Some(of_atom(atom)));
    }
    if constant != 0 || terms.is_empty() {
        add(constant, None);
    }
    out
}

fn of_atom(atom: &Atom) -> String {
    let number = |of: &Index| match of.as_var() {
        Some(v) => variable(v),
        None => format!("({})", index(of)),
    };
    match atom {
        Atom::Var(v) => variable(*v as usize),
        // In brackets, so that a factor before it does not multiply first.
        Atom::Div(of, k) => format!("({} / {k})", number(of)),
        Atom::Mod(of, k) => format!("({} % {k})", number(of)),
    }
}
