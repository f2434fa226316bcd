//! Co-activation before and after placement: matrices, and how it falls with the distance.

use super::axes::{Axis, Plot};
use super::figure::{Figure, Section, class, table};
use super::heat::{brightest, draw};
use crate::study::{Matrix, Study};
use anyhow::Result;

/// The section.
pub fn section(study: &Study, command: &str) -> Result<Section> {
    let brightest = brightest(&study.matrices);
    let figures = study.matrices.iter().map(|matrix| heat(study, matrix, brightest, command));
    let mut figures: Vec<String> = figures.collect::<Result<_>>()?;
    figures.push(distances(study, command));
    let d = &study.distances;
    let mut header = vec!["order".to_owned()];
    header.extend(d.slots.iter().map(|slots| format!("{slots} on")));
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let rows = d.orders.iter().map(|(order, shares)| {
        let cells = shares.iter().map(|share| format!("{:.1}", 100.0 * share));
        std::iter::once(order.clone()).chain(cells).collect()
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let caption = format!(
        "Share of active neurons whose neighbour so many slots on is active too, % (all layers; chance: \
         {:.1})",
        100.0 * d.chance
    );
    Ok(Section {
        id: "coactivation",
        title: "Which neurons fire together",
        words: format!(
            "Placement lays neurons that fire together side by side, so that one read brings several. \
             The matrices show layer {} on held-out text, before (checkpoint) and after (co-activation: \
             the paper's greedy order; for the card: ours), without a hot prefix.",
            study.about.layer
        ),
        figures,
        tables: vec![table("", &caption, &header, &rows)],
    })
}

fn heat(study: &Study, matrix: &Matrix, brightest: f32, command: &str) -> Result<String> {
    let after = if matrix.order == "checkpoint" { "before" } else { "after" };
    let title = format!("Layer {}, {after}: {}", study.about.layer, matrix.order);
    let cell = match matrix.neurons_per_cell {
        1 => "Each point is a pair of neurons".to_owned(),
        n => format!("Each point is the mean of {n} by {n} pairs of neurons"),
    };
    let figure = Figure {
        legend: Vec::new(),
        svg: draw(matrix, study.about.neurons, brightest, &title)?,
        reading: format!(
            "{cell}, in the order of the card: the brighter, the more often both fire for the same token \
             (pairs over the root of both frequencies). {}",
            match matrix.order.as_str() {
                "checkpoint" => "Brightness all over: partners lie anywhere.",
                "co-activation" => "Brightness on the diagonal: partners lie side by side.",
                _ =>
                    "Brightness in a band: partners lie within what one merged read of this card brings.",
            }
        ),
        title,
        commands: (command, String::new()),
    };
    Ok(figure.html())
}

/// Co-activation over distance, one curve an order.
fn distances(study: &Study, command: &str) -> String {
    let title = "Co-activation over distance";
    let d = &study.distances;
    let most = d.orders.iter().flat_map(|(_, shares)| shares).fold(d.chance, |a, b| a.max(*b));
    let farthest = d.slots.last().copied().unwrap_or(1) as f64;
    let ticks = d.slots.iter().filter(|slots| slots.is_power_of_two());
    let ticks = ticks.map(|&slots| (slots as f64, slots.to_string())).collect();
    let x = Axis::logarithmic("distance in slots", 1.0, farthest).with_ticks(ticks);
    let mut plot = Plot::new(x, Axis::linear("neighbour active too", 100.0 * most, " %"));
    plot.level(100.0 * d.chance);
    for (order, shares) in &d.orders {
        let points = d.slots.iter().zip(shares).map(|(&x, y)| (x as f64, 100.0 * y));
        plot.line(&class(order), order, &points.collect::<Vec<_>>());
    }
    let mut legend: Vec<_> =
        d.orders.iter().map(|(o, _)| (o.clone(), format!("line {}", class(o)))).collect();
    legend.push(("chance".to_owned(), "mark".to_owned()));
    Figure {
        title: title.to_owned(),
        legend,
        svg: plot.finish(title, "One curve for each order"),
        reading: "Where a neuron is active, how often is the one so many slots on active too? The curve \
                  at distance 1 decides how many reads there are: one read brings about 1 / (1 - share) \
                  neurons. The order for the card lifts whole neighbourhoods instead, which \
                  reads that are merged across gaps bring together."
            .to_owned(),
        commands: (command, "ripple orders PROFILE.trace HELD_OUT.trace (mean runs)".to_owned()),
    }
    .html()
}
