//! Run lengths: how many neurons a read brings, by order.

use super::figure::{Figure, Section, Source, Table};
use crate::plot::{Axis, Plot, Series, digits, middle, range};
use crate::study::{BINS, Study, bin_name};

/// The section.
pub fn section(study: &Study) -> Section {
    let names = ["order", "reads a token", "neurons a read", "longest"].map(str::to_owned);
    let rows = study.orders.iter().map(|runs| {
        let mut cells = vec![
            runs.order.clone(),
            format!("{:.1}", runs.reads_per_token),
            format!("{:.2}", runs.mean_run),
            runs.longest.to_string(),
        ];
        cells.extend(runs.histogram.iter().map(|reads| digits(*reads)));
        cells
    });
    Section {
        id: "runs",
        title: "How long reads are",
        words: "Active neurons in successive slots are one read. Here without a cache, without merging \
                across gaps and without pages: what the order alone does, on held-out text."
            .to_owned(),
        figures: vec![histogram(study), neurons(study)],
        tables: vec![Table::new(
            "Reads a token, all of them and by length in neurons",
            names.into_iter().chain((0..BINS).map(bin_name)),
            rows,
        )],
    }
}

fn histogram(study: &Study) -> Figure {
    let series = study.orders.iter().map(|runs| {
        (runs.order.clone(), runs.histogram.into_iter().enumerate().map(middle).collect())
    });
    let series: Vec<Series> = series.collect();
    let x = Axis::names("neurons of a read", (0..BINS).map(bin_name));
    let plot = Plot::bars(x, Axis::linear("reads a token", range(&series).1, ""), &series);
    figure(
        "Reads a token by length",
        plot,
        "Short reads are dear, since every one pays the card's access time. \
        A good order moves reads from the left to the right, and there are fewer in all.",
    )
}

/// The means, one bar an order.
fn neurons(study: &Study) -> Figure {
    let orders = study.orders.iter().enumerate();
    let series = orders.map(|(at, runs)| (runs.order.clone(), vec![middle((at, runs.mean_run))]));
    let series: Vec<Series> = series.collect();
    let x = Axis::names("order", series.iter().map(|(order, _)| order.clone()));
    let y = Axis::linear("neurons a read", range(&series).1.max(1.0), "");
    let mut plot = Plot::bars(x, y, &series);
    plot.level("one neuron a read", 1.0);
    figure(
        "Mean neurons a read",
        plot,
        "The mean of the histogram beside it. At 1, dashed, every active \
        neuron takes a read of its own; twice as high means half as many reads for the same neurons.",
    )
}

fn figure(title: &str, plot: Plot, reading: &str) -> Figure {
    Figure {
        title: title.to_owned(),
        drawing: plot.finish(),
        reading: reading.to_owned(),
        also: "ripple orders PROFILE.trace HELD_OUT.trace".to_owned(),
        source: Source::Counted,
    }
}
