//! What was learnt, as a page: the loss as it falls, and what a step took, arm by arm.
//!
//! In: outcomes of training, the command that made them. Out: HTML that is XML too, and needs nothing else.

use super::figure::{Figure, Section, Source, Table};
use super::{META, STYLE};
use crate::plot::{Axis, Plot, Series, digits, file, range};
use crate::tune::train::Outcome;
use maud::{DOCTYPE, PreEscaped, html};

/// Colours of the arms, in their order.
const COLOURS: [&str; 7] = ["red", "blue", "green", "orange", "purple", "sky", "grey"];

/// One training: its arm, and what came of it.
pub struct Learnt<'a> {
    /// What was kept of the forward pass.
    pub arm: &'a str,
    /// What came of it.
    pub outcome: &'a Outcome,
}

/// The page. `title`: the image and the text; the first of `learnt` is the one that is kept.
pub fn page(title: &str, learnt: &[Learnt<'_>], command: &str) -> String {
    let sections = [losses(learnt), steps(learnt), memory(learnt)];
    file(html! {
        (DOCTYPE) "\n"
        html xmlns="http://www.w3.org/1999/xhtml" lang="en" {
            head {
                (PreEscaped(META))
                title { (title) " · ripple tune" } "\n"
                style { "\n" (PreEscaped(STYLE)) (PreEscaped(style(learnt))) }
            }
            "\n"
            body {
                header {
                    h1 { (title) }
                    p class="badge" {
                        strong { "Computed, and simulated." }
                        " Losses, memory, reads, bytes and multiply-accumulates are those of the tuner; every \
                        time is of a model of the card and of the core, none was measured on a board."
                    }
                    p { "This page again, to the byte:" }
                    pre { code { (command) } }
                    dl class="tiles" {
                        @for (number, words) in tiles(learnt) { div { dd { (number) } dt { (words) } } "\n" }
                    }
                    nav {
                        ul {
                            @for section in &sections {
                                li { a href={ "#" (section.id) } { (section.title) } } "\n"
                            }
                        }
                    }
                }
                main { @for section in &sections { (section.html(command)) } }
                footer { p { "ripple " (env!("CARGO_PKG_VERSION")) } }
            }
        }
        "\n"
    })
}

/// Each arm's colour, and dashes that tell apart curves that lie on each other.
fn style(learnt: &[Learnt<'_>]) -> String {
    let rule = |(at, learnt): (usize, &Learnt<'_>)| {
        let (arm, colour) = (learnt.arm, COLOURS[at % COLOURS.len()]);
        let dash =
            if at == 0 { "none".to_owned() } else { format!("{} {}", 9 - at.min(6), 3 + at) };
        format!(".{arm} {{ --c: var(--{colour}); }} .line.{arm} {{ stroke-dasharray: {dash}; }}\n")
    };
    learnt.iter().enumerate().map(rule).collect()
}

/// The few numbers to remember, of the training that is kept.
fn tiles(learnt: &[Learnt<'_>]) -> Vec<(String, &'static str)> {
    let Some(Learnt { outcome, .. }) = learnt.first() else { return Vec::new() };
    let look = |look: Option<&crate::tune::train::HeldOut>| look.map(|look| look.perplexity);
    let mut tiles = Vec::new();
    if let (Some(before), Some(after)) =
        (look(outcome.held_out.first()), look(outcome.held_out.last()))
    {
        tiles.push((digits(before), "held-out perplexity before"));
        tiles.push((digits(after), "held-out perplexity after"));
    }
    tiles.push((outcome.steps.len().to_string(), "steps"));
    tiles.push((outcome.tokens.to_string(), "tokens a step"));
    tiles.push((kib(outcome.memory_bytes as f64), "KiB of memory, all together"));
    tiles
}

fn kib(bytes: f64) -> String {
    digits(bytes / 1024.0)
}

fn losses(learnt: &[Learnt<'_>]) -> Section {
    let training = learnt.iter().map(|learnt| {
        let steps = learnt.outcome.steps.iter();
        (learnt.arm.to_owned(), steps.map(|step| (f64::from(step.step), step.loss)).collect())
    });
    let held_out = learnt.iter().map(|learnt| {
        let looks = learnt.outcome.held_out.iter();
        (learnt.arm.to_owned(), looks.map(|look| (f64::from(look.step), look.loss)).collect())
    });
    let (training, held_out): (Vec<Series>, Vec<Series>) = (training.collect(), held_out.collect());
    let most = learnt.iter().map(|learnt| learnt.outcome.steps.len()).max().unwrap_or(0);
    let figure = |title: &str, series: &[Series], reading: &str| {
        let (least, greatest) = range(series);
        let y = Axis::between("loss of a token, nats", least, greatest);
        Figure {
            title: title.to_owned(),
            drawing: Plot::curves(Axis::linear("steps", most as f64, ""), y, series).finish(),
            reading: reading.to_owned(),
            also: String::new(),
            source: Source::Computed,
        }
    };
    let shown = |(name, points): &Series| {
        let ends = [points.first(), points.last()];
        let loss = |point: Option<&(f64, f64)>| {
            point.map_or_else(|| "-".to_owned(), |point| format!("{:.4}", point.1))
        };
        let perplexity = points.last().map_or_else(|| "-".to_owned(), |p| digits(p.1.exp()));
        vec![name.clone(), loss(ends[0]), loss(ends[1]), perplexity]
    };
    let header = ["arm", "before", "after", "perplexity after"];
    Section {
        id: "loss",
        title: "How it learns",
        words: "The loss of a training step is of one window of the text, before the step; held-out windows are \
                never learnt from, and looked at with all their tokens."
            .to_owned(),
        figures: vec![
            figure(
                "Training loss",
                &training,
                "Each step has a window of its own: some are harder than others. Arms that keep other things \
                 but lose nothing lie on each other.",
            ),
            figure("Held-out loss", &held_out, "What was learnt beyond the text itself; lower is better."),
        ],
        tables: vec![Table::new("Held-out loss, nats a token", header, held_out.iter().map(shown))],
    }
}

fn steps(learnt: &[Learnt<'_>]) -> Section {
    let rows = learnt.iter().map(|Learnt { arm, outcome }| {
        let step = &outcome.per_step;
        vec![
            (*arm).to_owned(),
            kib(outcome.memory_bytes as f64),
            digits(step.multiply_accumulates / 1e6),
            kib(step.bytes),
            digits(step.reads),
            digits(step.card_seconds),
            digits(step.seconds),
        ]
    });
    let header = [
        "arm",
        "memory, KiB",
        "million multiply-accumulates",
        "KiB read",
        "reads",
        "s of the card",
        "s in all",
    ];
    Section {
        id: "step",
        title: "What a step takes",
        words: "Memory is planned and used, to the byte; seconds are simulated.".to_owned(),
        figures: Vec::new(),
        tables: vec![Table::new("Of a step, on average", header, rows)],
    }
}

fn memory(learnt: &[Learnt<'_>]) -> Section {
    let mut regions: Vec<&str> = Vec::new();
    for region in learnt.iter().flat_map(|learnt| &learnt.outcome.memory) {
        if !regions.contains(&region.region) {
            regions.push(region.region);
        }
    }
    let of = |learnt: &Learnt<'_>, region: &str| {
        let found = learnt.outcome.memory.iter().find(|memory| memory.region == region);
        found.map_or_else(|| "-".to_owned(), |memory| kib(memory.bytes as f64))
    };
    let rows = regions.into_iter().map(|region| {
        std::iter::once(region.to_owned()).chain(learnt.iter().map(|l| of(l, region))).collect()
    });
    let header = std::iter::once("region").chain(learnt.iter().map(|learnt| learnt.arm));
    Section {
        id: "memory",
        title: "Where the memory goes",
        words: "Regions of the arena, and staging, where reads arrive.".to_owned(),
        figures: Vec::new(),
        tables: vec![Table::new("KiB by region", header, rows)],
    }
}
