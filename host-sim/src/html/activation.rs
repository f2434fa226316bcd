//! How often neurons fire: curves by rank, and the active share of each layer.

use super::axes::{Axis, Plot};
use super::figure::{Figure, Section, table};
use crate::study::Study;

/// Layers that the legend names one by one.
const MOST_NAMED: usize = 8;

/// The section.
pub fn section(study: &Study, command: &str) -> Section {
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
        figures: vec![ranks(study, command), layers(study, command)],
        tables: vec![table("", "Active neurons, share of a layer", &header, &rows.collect::<Vec<_>>())],
    }
}

/// Frequency over rank, one curve a layer.
fn ranks(study: &Study, command: &str) -> String {
    let title = "Activation frequency by rank";
    let most = study.activation.iter().flat_map(|layer| layer.curve.first()).map(|point| point.1);
    let most = 100.0 * most.fold(0.0, f64::max);
    let x = Axis::linear("share of the layer's neurons, most frequent first", 100.0, " %");
    let mut plot = Plot::new(x, Axis::linear("share of tokens that fire it", most, " %"));
    for (layer, a) in study.activation.iter().enumerate() {
        let points: Vec<_> = a.curve.iter().map(|&(x, y)| (100.0 * x, 100.0 * y)).collect();
        plot.line(&format!("layer-{layer}"), &format!("layer {layer}"), &points);
    }
    let last = study.activation.len().saturating_sub(1);
    let named: Vec<usize> =
        if last < MOST_NAMED { (0..=last).collect() } else { vec![0, last / 2, last] };
    Figure {
        title: title.to_owned(),
        legend: named
            .into_iter()
            .map(|layer| (format!("layer {layer}"), format!("line layer-{layer}")))
            .collect(),
        svg: plot.finish(title, "One curve for each layer"),
        reading: "Each curve is a layer, its neurons sorted by how often they fire in the profile. A \
                  steep beginning: a small cache of the hottest neurons serves many; a long flat end: \
                  neurons that are seldom read."
            .to_owned(),
        commands: (command, "ripple trace".to_owned()),
    }
    .html()
}

/// Active share by layer.
fn layers(study: &Study, command: &str) -> String {
    let title = "Active neurons by layer";
    let all = &study.activation;
    let most = all.iter().map(|a| 100.0 * a.profile.max(a.held_out)).fold(0.0, f64::max);
    let every = all.len().div_ceil(16).max(1);
    let name =
        |layer: usize| if layer.is_multiple_of(every) { layer.to_string() } else { String::new() };
    let x = Axis::names("layer", (0..all.len()).map(name));
    let mut plot = Plot::new(x, Axis::linear("active a token", most, " %"));
    for (layer, a) in all.iter().enumerate() {
        for (at, class, share) in [(0.14, "profile", a.profile), (0.5, "held-out", a.held_out)] {
            let title = format!("layer {layer}, {class}: {:.2} %", 100.0 * share);
            plot.bar(class, layer as f64 + at, 0.36, 100.0 * share, &title);
        }
    }
    Figure {
        title: title.to_owned(),
        legend: vec![
            ("profile".to_owned(), "fill profile".to_owned()),
            ("held out".to_owned(), "fill held-out".to_owned()),
        ],
        svg: plot.finish(title, "Two bars for each layer"),
        reading: "Each pair of bars is a layer: the mean share of its neurons that a token makes active, \
                  in the text that placement learned from and in one that it never saw. Bars alike: what \
                  was learned holds."
            .to_owned(),
        commands: (command, "ripple trace".to_owned()),
    }
    .html()
}
