//! A study as one page of HTML that needs nothing else: no network, no script.
//!
//! In: a [`Study`], the command that made it. Out: HTML that is XML too. Plots are SVG in the page,
//! the matrices PNG in it. Knows nothing of how the numbers came about.

mod activation;
mod bytes;
mod cache;
mod colour;
pub mod derivation;
mod figure;
mod heat;
pub mod learning;
mod matrices;
mod orders;
mod stages;

use crate::bench::{BASELINE, OURS};
use crate::cost::Preset;
use crate::plot::{digits, file, percent};
use crate::study::Study;
use figure::Table;
use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("style.css");
/// Elements without an end, which XML wants closed.
const META: &str = "<meta charset=\"utf-8\" />\n\
    <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\" />\n";

/// The page. `command`: what was typed to make it.
///
/// # Errors
/// Only in theory: when a matrix cannot be written as PNG.
pub fn page(study: &Study, command: &str) -> anyhow::Result<String> {
    let title = format!("{} on {}", study.about.model, study.about.card);
    let mut sections = vec![
        activation::section(study),
        matrices::section(study)?,
        orders::section(study),
        cache::section(study),
    ];
    if !study.times.is_empty() {
        sections.push(stages::section(study));
    }
    sections.push(bytes::section(study));
    Ok(file(html! {
        (DOCTYPE) "\n"
        html xmlns="http://www.w3.org/1999/xhtml" lang="en" {
            head {
                (PreEscaped(META))
                title { (title) " · ripple report" } "\n"
                style { "\n" (PreEscaped(STYLE)) (colour::layer_style(study.about.layers)) }
            }
            "\n"
            body {
                header {
                    h1 { (title) }
                    (introduction(study, command))
                    dl class="tiles" {
                        @for (number, words) in tiles(study) {
                            div { dd { (number) } dt { (words) } } "\n"
                        }
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
                (footer(study))
            }
        }
        "\n"
    }))
}

/// What was done, and how to do it again.
fn introduction(study: &Study, command: &str) -> Markup {
    let a = &study.about;
    html! {
        p {
            (a.layers) " layers of " (a.neurons) " FFN neurons, " (a.bundle_bytes) " bytes each on the \
            card. Placed by " (a.profile.0) " (" (a.profile.1) " tokens), judged on " (a.held_out.0)
            " (" (a.held_out.1) " tokens) that placement never saw; core " (a.core) ", neuron cache "
            (percent(a.cache)) " of the FFN."
        }
        p class="badge" {
            strong { "Simulated." }
            " Activations are those of the model, and counted; every time is of a model of the card and of the \
            core, none was measured on a board. Each figure says which it shows."
        }
        p { "This page again, to the byte:" }
        pre { code { (command) } }
    }
}

/// The few numbers to remember, and what they are.
fn tiles(study: &Study) -> Vec<(String, &'static str)> {
    let a = &study.about;
    let layers = study.activation.len().max(1) as f64;
    let active: f64 = study.activation.iter().map(|layer| layer.held_out).sum::<f64>() / layers;
    let mut tiles = vec![(format!("{:.1} %", 100.0 * active), "of the neurons active a token")];
    let reads = |order: &str| study.orders.iter().find(|runs| runs.order == order);
    if let (Some(before), Some(after)) = (reads("checkpoint"), reads("co-activation")) {
        let fewer = 100.0 * (1.0 - after.reads_per_token / before.reads_per_token);
        let words = "fewer reads by co-activation order, without cache";
        tiles.push((format!("{fewer:.0} %"), words));
    }
    let rows = || study.cache.iter().filter(|row| row.cache_ratio == a.cache);
    let row = |policy: &str| rows().find(|row| row.policy == policy);
    if let Some(ours) = row(OURS) {
        let times = |factor: f64| format!("{} ×", digits(factor));
        let time = format!("{} ms", digits(ours.io_ms));
        tiles.push((time, "of card time a token, ours, simulated"));
        let floor = "as long as the floor, below which no such cache gets";
        tiles.push((times(ours.io_ms / ours.floor_ms), floor));
        let others = [
            (BASELINE, "as long takes llm-in-a-flash"),
            ("dense", "as long takes streaming all weights"),
        ];
        tiles.extend(
            others.into_iter().filter_map(|(policy, words)| {
                Some((times(row(policy)?.io_ms / ours.io_ms), words))
            }),
        );
    }
    tiles
}

/// Where the numbers of the cards come from.
fn footer(study: &Study) -> Markup {
    let mut names: Vec<&str> = study.times.iter().map(|part| part.preset.as_str()).collect();
    if names.is_empty() {
        names.push(&study.about.card);
    }
    let presets = names.into_iter().filter_map(|name| Preset::by_name(name).ok());
    let rows = presets
        .map(|preset| vec![preset.name.to_owned(), preset.speed(), preset.source.to_owned()]);
    let header = ["card", "a read", "source of the numbers"];
    html! {
        footer {
            h2 id="cards" { "The cards" }
            p {
                "A read of n bytes takes t0 + n / bandwidth; the numbers are published or fitted figures, \
                not measurements of this project."
            }
            (Table::new("Simulated cards", header, rows).html("wide"))
            p { "ripple " (env!("CARGO_PKG_VERSION")) }
        }
    }
}
