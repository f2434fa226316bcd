//! A study as one page of HTML that needs nothing else: no network, no script.
//!
//! In: a [`Study`], the command that made it. Out: HTML that is XML too. Plots are SVG in the page,
//! the matrices PNG in it. Knows nothing of how the numbers came about.

mod activation;
mod axes;
mod bytes;
mod cache;
mod colour;
mod figure;
mod heat;
mod matrices;
mod orders;
mod parts;

use crate::bench::columns::{digits, percent};
use crate::bench::svg::escaped;
use crate::bench::{BASELINE, OURS, Row};
use crate::cost::Preset;
use crate::study::Study;
use figure::table;
use std::fmt::Write;

const STYLE: &str = include_str!("style.css");

/// The page. `command`: what was typed to make it.
///
/// # Errors
/// Only in theory: when a matrix cannot be written as PNG.
pub fn page(study: &Study, command: &str) -> anyhow::Result<String> {
    let about = &study.about;
    let title = format!("{} on {}", about.model, about.card);
    let mut sections = vec![
        activation::section(study, command),
        matrices::section(study, command)?,
        orders::section(study, command),
        cache::section(study, command),
    ];
    if !study.parts.is_empty() {
        sections.push(parts::section(study, command));
    }
    sections.push(bytes::section(study, command));
    let links = sections.iter().map(|section| {
        format!("<li><a href=\"#{}\">{}</a></li>", section.id, escaped(section.title))
    });
    let links: String = links.collect();
    let mut out = format!(
        "<!DOCTYPE html>\n<html xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"en\">\n<head>\n\
         <meta charset=\"utf-8\" />\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\" />\n\
         <meta name=\"generator\" content=\"ripple {}\" />\n\
         <title>{} · ripple report</title>\n<style>\n{STYLE}{}</style>\n</head>\n<body>\n",
        env!("CARGO_PKG_VERSION"),
        escaped(&title),
        colour::layer_style(about.layers)
    );
    let _ = write!(
        out,
        "<header>\n<h1>{}</h1>\n{}\n{}<nav><ul>{links}</ul></nav>\n</header>\n<main>\n",
        escaped(&title),
        introduction(study, command),
        tiles(study)
    );
    for section in sections {
        out += &section.html();
    }
    let _ = write!(out, "</main>\n{}</body>\n</html>\n", footer(study));
    Ok(out)
}

/// What was done, and how to do it again.
fn introduction(study: &Study, command: &str) -> String {
    let a = &study.about;
    let text = format!(
        "{} layers of {} FFN neurons, {} bytes each on the card. Placed by {} ({} tokens), judged on \
         {} ({} tokens) that placement never saw; core {}, neuron cache {} of the FFN.",
        a.layers,
        a.neurons,
        a.bundle_bytes,
        a.profile.0,
        a.profile.1,
        a.held_out.0,
        a.held_out.1,
        a.core,
        percent(a.cache)
    );
    format!(
        "<p>{}</p>\n<p class=\"badge\"><strong>Simulated.</strong> Activations are those of the model; \
         every time is of a model of the card and of the core, none was measured on a board.</p>\n\
         <p>This page again, to the byte:</p>\n<pre><code>{}</code></pre>",
        escaped(&text),
        escaped(command)
    )
}

/// The few numbers to remember.
fn tiles(study: &Study) -> String {
    let a = &study.about;
    let layers = study.activation.len().max(1) as f64;
    let active: f64 = study.activation.iter().map(|layer| layer.held_out).sum::<f64>() / layers;
    let row = |policy: &str| -> Option<&Row> {
        study.cache.iter().find(|row| row.cache_ratio == a.cache && row.policy == policy)
    };
    let reads = |order: &str| study.orders.iter().find(|runs| runs.order == order);
    let mut tiles =
        vec![("of the neurons active a token".to_owned(), format!("{:.1} %", 100.0 * active))];
    if let (Some(before), Some(after)) = (reads("checkpoint"), reads("co-activation")) {
        let fewer = 100.0 * (1.0 - after.reads_per_token / before.reads_per_token);
        tiles.push((
            "fewer reads by co-activation order, without cache".to_owned(),
            format!("{fewer:.0} %"),
        ));
    }
    if let Some(ours) = row(OURS) {
        tiles.push((
            "of card time a token, ours, simulated".to_owned(),
            format!("{} ms", digits(ours.io_ms)),
        ));
        tiles.push((
            "as long as the bound, a cache that knows the future".to_owned(),
            format!("{} ×", digits(ours.io_ms / ours.bound_ms)),
        ));
        for (policy, words) in [
            (BASELINE, "as long takes llm-in-a-flash"),
            ("dense", "as long takes streaming all weights"),
        ] {
            if let Some(other) = row(policy) {
                tiles.push((words.to_owned(), format!("{} ×", digits(other.io_ms / ours.io_ms))));
            }
        }
    }
    let tiles = tiles.iter().map(|(words, number)| {
        format!("<div><dd>{}</dd><dt>{}</dt></div>\n", escaped(number), escaped(words))
    });
    format!("<dl class=\"tiles\">\n{}</dl>\n", tiles.collect::<String>())
}

/// Where the numbers of the cards come from.
fn footer(study: &Study) -> String {
    let mut names: Vec<&str> = study.parts.iter().map(|part| part.preset.as_str()).collect();
    if names.is_empty() {
        names.push(&study.about.card);
    }
    let presets = names.into_iter().filter_map(|name| Preset::by_name(name).ok());
    let rows = presets.map(|preset| {
        let speed = match preset.table {
            [] => format!(
                "{} µs + n / {} MB/s",
                preset.t0_ns as f64 / 1e3,
                preset.bytes_per_second as f64 / 1e6
            ),
            _ => "published table".to_owned(),
        };
        vec![preset.name.to_owned(), speed, preset.source.to_owned()]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    format!(
        "<footer>\n<h2 id=\"cards\">The cards</h2>\n<p>A read of n bytes takes t0 + n / bandwidth; the \
         numbers are published or fitted figures, not measurements of this project.</p>\n{}\n\
         <p>ripple {}</p>\n</footer>\n",
        table("wide", "Simulated cards", &["card", "a read", "source of the numbers"], &rows),
        env!("CARGO_PKG_VERSION")
    )
}
