//! Co-activation before and after placement: matrices, and how it falls with the distance.

use super::figure::{Figure, Section, Source, Table};
use super::heat::{brightest, draw};
use crate::plot::{Axis, Plot, Series, range};
use crate::study::{Matrix, Study};
use anyhow::Result;

/// The section.
pub fn section(study: &Study) -> Result<Section> {
    let brightest = brightest(&study.matrices);
    let figures = study.matrices.iter().map(|matrix| heat(study, matrix, brightest));
    let mut figures: Vec<Figure> = figures.collect::<Result<_>>()?;
    let d = &study.distances;
    let series = d.orders.iter().map(|(order, shares)| {
        let points = d.slots.iter().zip(shares).map(|(&x, &y)| (x as f64, 100.0 * y));
        (order.clone(), points.collect())
    });
    let series: Vec<Series> = series.collect();
    figures.push(distances(study, &series));
    let slots = d.slots.iter().map(|slots| format!("{slots} on"));
    let header = std::iter::once("order".to_owned()).chain(slots);
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
        tables: vec![Table::of(caption, header, &series, |share| format!("{share:.1}"))],
    })
}

fn heat(study: &Study, matrix: &Matrix, brightest: f32) -> Result<Figure> {
    let point = match matrix.neurons_per_cell {
        1 => "Each point is a pair of neurons".to_owned(),
        n => format!("Each point is the mean of {n} by {n} pairs of neurons"),
    };
    let (after, seen) = match matrix.order.as_str() {
        "checkpoint" => ("before", "all over: partners lie anywhere"),
        "co-activation" => ("after", "on the diagonal: partners lie side by side"),
        _ => ("after", "in a band: partners lie within what one merged read of this card brings"),
    };
    Ok(Figure {
        title: format!("Layer {}, {after}: {}", study.about.layer, matrix.order),
        drawing: draw(matrix, study.about.neurons, brightest)?,
        reading: format!(
            "{point}, in the order of the card: the brighter, the more often both fire for the same token \
             (pairs over the root of both frequencies). Brightness {seen}."
        ),
        also: String::new(),
        source: Source::Counted,
    })
}

/// Co-activation over distance, one curve an order.
fn distances(study: &Study, series: &[Series]) -> Figure {
    let d = &study.distances;
    let chance = 100.0 * d.chance;
    let x = Axis::doubling("distance in slots", d.slots.last().copied().unwrap_or(1));
    let y = Axis::linear("neighbour active too", range(series).1.max(chance), " %");
    let mut plot = Plot::curves(x, y, series);
    plot.level("chance", chance);
    Figure {
        title: "Co-activation over distance".to_owned(),
        drawing: plot.finish(),
        reading: "Where a neuron is active, how often is the one so many slots on active too? The curve \
                  at distance 1 decides how many reads there are: one read brings about 1 / (1 - share) \
                  neurons. The order for the card lifts whole neighbourhoods instead, which \
                  reads that are merged across gaps bring together."
            .to_owned(),
        also: "ripple orders PROFILE.trace HELD_OUT.trace (mean runs)".to_owned(),
        source: Source::Counted,
    }
}
