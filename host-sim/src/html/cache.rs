//! The cache curve: card time and hits over the size of the cache, by policy.

use super::axes::{Axis, Plot};
use super::figure::{Figure, Section, class, table};
use crate::bench::columns::{digits, percent};
use crate::bench::{OURS, Row};
use crate::study::Study;

/// The section.
pub fn section(study: &Study, command: &str) -> Section {
    let (sizes, policies) = (sizes(study), policies(study));
    let mut header = vec!["policy".to_owned()];
    header.extend(sizes.iter().map(|size| percent(*size)));
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let lines = |value: fn(&Row) -> String| -> Vec<Vec<String>> {
        let line = |policy: &&str| {
            let cells = of(study, policy).into_iter().map(value);
            std::iter::once((*policy).to_owned()).chain(cells).collect()
        };
        policies.iter().map(line).collect()
    };
    let mut times = lines(|row| digits(row.io_ms));
    let bound = of(study, OURS).into_iter().map(|row| digits(row.bound_ms));
    times.push(std::iter::once("bound".to_owned()).chain(bound).collect());
    let hits = lines(|row| format!("{:.1}", 100.0 * row.hit_rate));
    Section {
        id: "cache",
        title: "What a cache is worth",
        words: format!(
            "Every policy reads through the kernel's own cache, planner and fetch loop, on {} with all \
             but the FFN mapped. The cache is a share of the FFN's bytes.",
            study.about.card
        ),
        figures: vec![time(study, command), hit_rate(study, command)],
        tables: vec![
            table("", "Card time, ms a token, by cache size (simulated)", &header, &times),
            table("", "Active neurons found in memory, %, by cache size", &header, &hits),
        ],
    }
}

fn time(study: &Study, command: &str) -> String {
    let title = "Card time over cache size";
    let times =
        || study.cache.iter().flat_map(|row| [row.io_ms, row.bound_ms]).filter(|ms| *ms > 0.0);
    let (least, most) = (times().fold(f64::INFINITY, f64::min), times().fold(0.0, f64::max));
    let mut plot = Plot::new(sizes_axis(study), Axis::logarithmic("card, ms a token", least, most));
    let mut legend = Vec::new();
    for policy in policies(study) {
        let points = points(study, policy, |row| row.io_ms);
        plot.line(&class(policy), policy, &points);
        legend.push((policy.to_owned(), format!("line {}", class(policy))));
    }
    plot.line("bound", "bound", &points(study, OURS, |row| row.bound_ms));
    legend.push(("bound".to_owned(), "line bound".to_owned()));
    Figure {
        title: title.to_owned(),
        legend,
        svg: plot.finish(title, "One curve for each policy, and the bound"),
        reading:
            "Lower is faster; the axis is logarithmic. The bound is a cache of the same size that \
                  knows the future, its misses at full bandwidth with one command a layer: what is \
                  between it and a curve is what that policy could still gain."
                .to_owned(),
        commands: (command, bench(study)),
    }
    .html()
}

fn hit_rate(study: &Study, command: &str) -> String {
    let title = "Hits over cache size";
    let most = 100.0 * study.cache.iter().map(|row| row.hit_rate).fold(0.0, f64::max);
    let mut plot =
        Plot::new(sizes_axis(study), Axis::linear("active neurons in memory", most, " %"));
    let mut legend = Vec::new();
    for policy in policies(study).into_iter().filter(|policy| *policy != "dense") {
        plot.line(&class(policy), policy, &points(study, policy, |row| 100.0 * row.hit_rate));
        legend.push((policy.to_owned(), format!("line {}", class(policy))));
    }
    Figure {
        title: title.to_owned(),
        legend,
        svg: plot.finish(title, "One curve for each policy"),
        reading: "Higher spares more reads. A curve that rises steeply at first: few neurons are wanted \
                  again and again. Streaming all weights has no active neurons to find and is left out."
            .to_owned(),
        commands: (command, bench(study)),
    }
    .html()
}

/// The command of the bench with the same rows.
pub fn bench(study: &Study) -> String {
    let caches: Vec<String> = sizes(study).iter().map(f64::to_string).collect();
    format!("ripple bench --preset {} --cache {}", study.about.card, caches.join(","))
}

fn sizes_axis(study: &Study) -> Axis {
    let most = sizes(study).into_iter().fold(0.0, f64::max);
    Axis::linear("neuron cache, share of the FFN", 100.0 * most, " %")
}

fn points(study: &Study, policy: &str, value: fn(&Row) -> f64) -> Vec<(f64, f64)> {
    let rows = of(study, policy).into_iter().map(|row| (100.0 * row.cache_ratio, value(row)));
    rows.filter(|(_, y)| y.is_finite()).collect()
}

fn of<'s>(study: &'s Study, policy: &str) -> Vec<&'s Row> {
    study.cache.iter().filter(|row| row.policy == policy).collect()
}

/// Cache sizes, in the order of the rows.
fn sizes(study: &Study) -> Vec<f64> {
    let mut sizes: Vec<f64> = study.cache.iter().map(|row| row.cache_ratio).collect();
    sizes.dedup();
    sizes
}

/// Policies, in the order of the rows.
fn policies(study: &Study) -> Vec<&str> {
    let first = study.cache.first().map(|row| row.cache_ratio);
    let rows = study.cache.iter().filter(|row| Some(row.cache_ratio) == first);
    rows.map(|row| row.policy.as_str()).collect()
}
