//! How often neurons fire: curves by rank, and the active share of each layer.

use super::figure::{Figure, Section, Source, Table};
use crate::plot::{Axis, Plot, Series, middle, range};
use crate::study::{LayerActivation, Study};

/// Layers that the legend names one by one.
const MOST_NAMED: usize = 8;

/// The section.
pub fn section(study: &Study) -> Section {
    let rows = study.activation.iter().enumerate().map(|(layer, a)| {
        vec![
            format!("layer {layer}"),
            format!("{:.2}", 100.0 * a.profile),
            format!("{:.2}", 100.0 * a.held_out),
            format!("{:.1}", 100.0 * a.hottest_tenth),
            a.silent.to_string(),
        ]
    });
    let header = [
        "layer",
        "active, profile %",
        "active, held out %",
        "of these, by the hottest tenth %",
        "never active in the profile",
    ];
    Section {
        id: "activation",
        title: "Which neurons fire",
        words: "A ReLU gate leaves most neurons of the FFN at zero, and those need not be read. How few \
                are active, and how unequal they are, decides what a cache can hold."
            .to_owned(),
        figures: vec![ranks(study), layers(study)],
        tables: vec![Table::new("Active neurons, share of a layer", header, rows)],
    }
}

/// Frequency over rank, one curve a layer.
fn ranks(study: &Study) -> Figure {
    let series = study.activation.iter().enumerate().map(|(layer, a)| {
        let points = a.curve.iter().map(|&(x, y)| (100.0 * x, 100.0 * y));
        (format!("layer {layer}"), points.collect())
    });
    let series: Vec<Series> = series.collect();
    let x = Axis::linear("share of the layer's neurons, most frequent first", 100.0, " %");
    let y = Axis::linear("share of tokens that fire it", range(&series).1, " %");
    let mut drawing = Plot::curves(x, y, &series).finish();
    let last = drawing.legend.len().saturating_sub(1);
    if last >= MOST_NAMED {
        drawing.legend = [0, last / 2, last].map(|layer| drawing.legend[layer].clone()).into();
    }
    Figure {
        title: "Activation frequency by rank".to_owned(),
        drawing,
        reading: "Each curve is a layer, its neurons sorted by how often they fire in the profile. A \
                  steep beginning: a small cache of the hottest neurons serves many; a long flat end: \
                  neurons that are seldom read."
            .to_owned(),
        also: "ripple trace".to_owned(),
        source: Source::Counted,
    }
}

/// Active share by layer.
fn layers(study: &Study) -> Figure {
    let every = study.activation.len().div_ceil(16).max(1);
    let name =
        |layer: usize| if layer.is_multiple_of(every) { layer.to_string() } else { String::new() };
    let x = Axis::names("layer", (0..study.activation.len()).map(name));
    let shares = |of: fn(&LayerActivation) -> f64| {
        study.activation.iter().map(|layer| 100.0 * of(layer)).enumerate().map(middle).collect()
    };
    let series = [
        ("profile".to_owned(), shares(|layer| layer.profile)),
        ("held out".to_owned(), shares(|layer| layer.held_out)),
    ];
    let y = Axis::linear("active a token", range(&series).1, " %");
    Figure {
        title: "Active neurons by layer".to_owned(),
        drawing: Plot::bars(x, y, &series).finish(),
        reading: "Each pair of bars is a layer: the mean share of its neurons that a token makes active, \
                  in the text that placement learned from and in one that it never saw. Bars alike: what \
                  was learned holds."
            .to_owned(),
        also: "ripple trace".to_owned(),
        source: Source::Counted,
    }
}
