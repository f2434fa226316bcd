//! Run lengths: how many neurons a read brings, by order.

use super::axes::{Axis, Plot};
use super::figure::{Figure, Section, class, table};
use crate::bench::columns::digits;
use crate::study::{BINS, Study, bin_name};

/// The section.
pub fn section(study: &Study, command: &str) -> Section {
    let mut header = vec!["order", "reads a token", "neurons a read", "longest"];
    let bins: Vec<String> = (0..BINS).map(bin_name).collect();
    header.extend(bins.iter().map(String::as_str));
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
        figures: vec![histogram(study, command), neurons(study, command)],
        tables: vec![table(
            "",
            "Reads a token, all of them and by length in neurons",
            &header,
            &rows.collect::<Vec<_>>(),
        )],
    }
}

fn histogram(study: &Study, command: &str) -> String {
    let title = "Reads a token by length";
    let most = study.orders.iter().flat_map(|runs| runs.histogram).fold(0.0, f64::max);
    let x = Axis::names("neurons of a read", (0..BINS).map(bin_name));
    let mut plot = Plot::new(x, Axis::linear("reads a token", most, ""));
    let width = 0.84 / study.orders.len().max(1) as f64;
    for (at, runs) in study.orders.iter().enumerate() {
        for (bin, reads) in runs.histogram.iter().enumerate() {
            let title = format!(
                "{}, {} neurons: {} reads a token",
                runs.order,
                bin_name(bin),
                digits(*reads)
            );
            let x = bin as f64 + 0.08 + width * at as f64;
            plot.bar(&class(&runs.order), x, width, *reads, &title);
        }
    }
    figure(
        study,
        command,
        title,
        plot,
        "Short reads are dear, since every one pays the card's access time. \
        A good order moves reads from the left to the right, and there are fewer in all.",
    )
}

/// The means, one bar an order.
fn neurons(study: &Study, command: &str) -> String {
    let title = "Mean neurons a read";
    let most = study.orders.iter().map(|runs| runs.mean_run).fold(1.0, f64::max);
    let x = Axis::names("order", study.orders.iter().map(|runs| runs.order.clone()));
    let mut plot = Plot::new(x, Axis::linear("neurons a read", most, ""));
    for (at, runs) in study.orders.iter().enumerate() {
        let title = format!("{}: {:.2} neurons a read", runs.order, runs.mean_run);
        plot.bar(&class(&runs.order), at as f64 + 0.2, 0.6, runs.mean_run, &title);
    }
    plot.level(1.0);
    figure(
        study,
        command,
        title,
        plot,
        "The mean of the histogram beside it. At 1, dashed, every active \
        neuron takes a read of its own; twice as high means half as many reads for the same neurons.",
    )
}

fn figure(study: &Study, command: &str, title: &str, plot: Plot, reading: &str) -> String {
    let key = |order: &String| (order.clone(), format!("fill {}", class(order)));
    Figure {
        title: title.to_owned(),
        legend: study.orders.iter().map(|runs| key(&runs.order)).collect(),
        svg: plot.finish(title, "A bar for each order"),
        reading: reading.to_owned(),
        commands: (command, "ripple orders PROFILE.trace HELD_OUT.trace".to_owned()),
    }
    .html()
}
