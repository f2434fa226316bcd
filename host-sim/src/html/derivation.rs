//! A derivation as a page: what it costs before and after, and every step between.

use super::{META, STYLE};
use crate::plot::{digits, file, rect, svg, text};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use ripple_derive::derive::{Part, Program};
use ripple_derive::library::Operator;
use ripple_derive::machine::{Cost, Machine};

/// Width and height of a drawing of costs.
const WIDTH: f64 = 440.0;
const ROW: f64 = 44.0;
/// Colours of the bars, and their classes.
const COLOURS: &str = ".before { --c: var(--grey); }\n.after { --c: var(--green); }\n";
const BEFORE: &str = "fill before";
const AFTER: &str = "fill after";

/// The page: HTML that is XML too, and needs nothing else.
pub fn page(title: &str, program: &Program, machine: &Machine, operators: &[Operator]) -> String {
    file(html! {
        (DOCTYPE) "\n"
        html xmlns="http://www.w3.org/1999/xhtml" lang="en" {
            head {
                (PreEscaped(META))
                title { (title) " · ripple derive" } "\n"
                style { "\n" (PreEscaped(STYLE)) (COLOURS) }
            }
            "\n"
            body {
                header {
                    h1 { (title) }
                    p class="badge" {
                        strong { "Modelled." }
                        " Commands, bytes and RAM are exact for the plan; instructions are those of the \
                        kernel's loops as they were counted in an emulator, and time follows from them."
                    }
                    figure {
                        (costs(&program.given, &program.cost))
                        figcaption { p { "Above: as given. Below: derived. Each pair has a scale of its own." } }
                    }
                    @for rule in &program.rules { p { (rule) } "\n" }
                }
                main {
                    @for (definition, part) in program.network.definitions.iter().zip(&program.parts) {
                        @let name = &program.network.tensors[definition.tensor as usize].name;
                        section { h2 { (name) } (part_of(name, part, machine, operators)) } "\n"
                    }
                }
            }
        }
        "\n"
    })
}

fn part_of(name: &str, part: &Part, machine: &Machine, operators: &[Operator]) -> Markup {
    match part {
        Part::Folded => html! { p { "Computed beforehand, from weights alone." } },
        Part::Generated(cost) => html! { p { "Generated operator: " (time(cost)) "." } },
        Part::Derived(derivation) => html! {
            p { (derivation.found.bound.call) "; " (derivation.states) " states searched." }
            figure { (costs(&derivation.given.cost, &derivation.plan.cost)) }
            @for (at, stage) in derivation.stages(name, machine, operators).iter().enumerate() {
                h3 {
                    @if at == 0 { "As given" } @else { (at) ". " (stage.rule) }
                    ": " (stage.cost.as_ref().map_or("no operator".to_owned(), time))
                }
                pre { code { (stage.text) } }
            }
        },
    }
}

fn time(cost: &Cost) -> String {
    format!("{} ms", digits(cost.nanoseconds / 1e6))
}

/// Its name, and its number in a cost.
type Quantity = (&'static str, fn(&Cost) -> f64);

/// Two bars for each quantity.
fn costs(before: &Cost, after: &Cost) -> Markup {
    let quantities: [Quantity; 5] = [
        ("commands", |cost| cost.commands as f64),
        ("bytes read", |cost| cost.bytes as f64),
        ("bytes of RAM", |cost| cost.ram as f64),
        ("instructions", |cost| cost.instructions),
        ("ms", |cost| cost.nanoseconds / 1e6),
    ];
    let height = ROW * quantities.len() as f64;
    let body = html! {
        @for (at, (name, of)) in quantities.into_iter().enumerate() {
            @let most = of(before).max(of(after)).max(1e-9);
            (text("end label", (95.0, ROW * at as f64 + 24.0), name))
            @for (line, (class, cost)) in [(BEFORE, before), (AFTER, after)].into_iter().enumerate() {
                @let y = ROW * at as f64 + 4.0 + 18.0 * line as f64;
                @let width = 230.0 * of(cost) / most;
                (rect(class, (105.0, y), (width, 15.0), ""))
                (text("value", (110.0 + width, y + 12.0), &digits(of(cost))))
            }
        }
    };
    svg((WIDTH, height), false, "Costs", "Each quantity as given and as derived", &body)
}
