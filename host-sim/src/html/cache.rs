//! The cache curve: card time and hits over the size of the cache, by policy.

use super::figure::{Figure, Section, Source, Table};
use crate::bench::{OURS, Row};
use crate::plot::{Axis, Plot, Series, digits, percent, range};
use crate::study::Study;

/// The section.
pub fn section(study: &Study) -> Section {
    let mut times = series(study, |row| row.io_ms);
    let floor = series(study, |row| row.floor_ms).into_iter().find(|(policy, _)| policy == OURS);
    times.extend(floor.map(|(_, points)| ("floor".to_owned(), points)));
    let mut hits = series(study, |row| 100.0 * row.hit_rate);
    let sizes = sizes(study).into_iter().map(percent);
    let header: Vec<String> = std::iter::once("policy".to_owned()).chain(sizes).collect();
    let share = |share| format!("{share:.1}");
    let caption = "Card time, ms a token, by cache size (simulated)";
    let tables = vec![
        Table::of(caption, header.clone(), &times, digits),
        Table::of("Active neurons found in memory, %, by cache size", header, &hits, share),
    ];
    hits.retain(|(policy, _)| policy != "dense");
    Section {
        id: "cache",
        title: "What a cache is worth",
        words: format!(
            "Every policy reads through the kernel's own cache, planner and fetch loop, on {} with all \
             but the FFN mapped. The cache is a share of the FFN's bytes.",
            study.about.card
        ),
        figures: vec![time(study, &times), hit_rates(study, &hits)],
        tables,
    }
}

fn time(study: &Study, times: &[Series]) -> Figure {
    let (least, most) = range(times);
    let y = Axis::time("card time a token", 0.9 * least, 1.1 * most);
    Figure {
        title: "Card time over cache size".to_owned(),
        drawing: Plot::curves(sizes_axis(study), y, times).finish(),
        reading:
            "Lower is faster; the axis is logarithmic. No policy with a \
                  cache of that size can be below the floor, not even one that knows the future: what \
                  is between it and a curve is the most that policy could still gain."
                .to_owned(),
        also: bench(study),
        source: Source::Simulated,
    }
}

fn hit_rates(study: &Study, hits: &[Series]) -> Figure {
    let y = Axis::linear("active neurons in memory", range(hits).1, " %");
    Figure {
        title: "Hits over cache size".to_owned(),
        drawing: Plot::curves(sizes_axis(study), y, hits).finish(),
        reading: "Higher spares more reads. A curve that rises steeply at first: few neurons are wanted \
                  again and again. Streaming all weights has no active neurons to find and is left out."
            .to_owned(),
        also: bench(study),
        source: Source::Simulated,
    }
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

/// A value of every policy over the cache size, in the order of the rows.
fn series(study: &Study, value: fn(&Row) -> f64) -> Vec<Series> {
    let mut series: Vec<Series> = Vec::new();
    for row in &study.cache {
        let point = (100.0 * row.cache_ratio, value(row));
        match series.iter_mut().find(|(policy, _)| *policy == row.policy) {
            Some((_, points)) => points.push(point),
            None => series.push((row.policy.clone(), vec![point])),
        }
    }
    series
}

/// Cache sizes, in the order of the rows.
fn sizes(study: &Study) -> Vec<f64> {
    let mut sizes: Vec<f64> = study.cache.iter().map(|row| row.cache_ratio).collect();
    sizes.dedup();
    sizes
}
