//! The budget of bytes: what a token needs, what policies read, and the floor.

use super::cache::bench;
use super::figure::{Figure, Section, Source, Table};
use crate::plot::{Bar, Piece, bars, class, digits, percent};
use crate::study::{Spent, Study};

const KIB: f64 = 1024.0;

/// The section.
pub fn section(study: &Study) -> Section {
    let b = &study.budget;
    let row = |name: &str, asked: f64, along: f64| {
        let all = asked + along;
        vec![
            name.to_owned(),
            digits(asked / KIB),
            digits(along / KIB),
            digits(all / KIB),
            format!("{:.1}", 100.0 * all / b.whole),
            if b.floor > 0.0 { format!("{:.2}", all / b.floor) } else { "-".to_owned() },
        ]
    };
    let policies = b.policies.iter().map(|s| row(&s.policy, s.asked, s.brought_along));
    let whole = [row("the whole FFN", b.whole, 0.0), row("the active neurons", b.active, 0.0)];
    let rows = whole.into_iter().chain(policies).chain([row("floor", b.floor, 0.0)]);
    let (card, cache) = (&study.about.card, percent(study.about.cache));
    let caption = format!("KiB a token, {card}, neuron cache {cache} of the FFN");
    let header = ["", "asked for", "brought along", "read", "of the FFN %", "x floor"];
    Section {
        id: "bytes",
        title: "Where the bytes go",
        words: "Reading less is one way to be fast, reading in longer pieces another: a policy may bring \
                bytes along that nobody asked for, because a second command would cost more than they do."
            .to_owned(),
        figures: vec![read(study)],
        tables: vec![Table::new(caption, header, rows)],
    }
}

/// What each policy reads.
fn read(study: &Study) -> Figure {
    let b = &study.budget;
    let sum = |spent: &Spent| spent.asked + spent.brought_along;
    let most = b.policies.iter().map(sum).fold(b.active, f64::max);
    let bar = |spent: &Spent| {
        let piece = |name: &str, kind: &str, bytes: f64| Piece {
            name: name.to_owned(),
            class: format!("{kind} {}", class(&spent.policy)),
            value: bytes / KIB,
        };
        Bar {
            name: spent.policy.clone(),
            pieces: vec![
                piece("asked for", "fill", spent.asked),
                piece("brought along", "pale", spent.brought_along),
            ],
            full: most / KIB,
            total: format!("{} KiB", digits(sum(spent) / KIB)),
        }
    };
    let marks = [("floor", b.floor / KIB), ("active", b.active / KIB)];
    Figure {
        title: "Bytes a token against the floor".to_owned(),
        drawing: bars(&b.policies.iter().map(bar).collect::<Vec<_>>(), "KiB", &marks),
        reading: "Full colour is what a policy had to read, pale what its reads brought along. The dashed \
                  lines are the neurons a token makes active, and what is left of them for a cache of the \
                  same size that knows the future."
            .to_owned(),
        also: bench(study),
        source: Source::Simulated,
    }
}
