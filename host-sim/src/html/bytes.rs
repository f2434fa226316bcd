//! The budget of bytes: what a token needs, what policies read, and the bound.

use super::axes::WIDTH;
use super::cache::bench;
use super::figure::{Figure, Section, class, table};
use crate::bench::columns::{digits, percent};
use crate::bench::svg::{Anchor, Svg};
use crate::study::Study;

const NAMES: f64 = 108.0;
const AFTER: f64 = 70.0;
const ROW: f64 = 32.0;
const BAR: f64 = 18.0;
const TOP: f64 = 38.0;

/// The section.
pub fn section(study: &Study, command: &str) -> Section {
    let b = &study.budget;
    let row = |name: &str, asked: f64, along: f64| {
        let all = asked + along;
        vec![
            name.to_owned(),
            digits(asked / 1024.0),
            digits(along / 1024.0),
            digits(all / 1024.0),
            format!("{:.1}", 100.0 * all / b.whole),
            if b.bound > 0.0 { format!("{:.2}", all / b.bound) } else { "-".to_owned() },
        ]
    };
    let mut rows =
        vec![row("the whole FFN", b.whole, 0.0), row("the active neurons", b.active, 0.0)];
    rows.extend(
        b.policies.iter().map(|spent| row(&spent.policy, spent.asked, spent.brought_along)),
    );
    rows.push(row("bound", b.bound, 0.0));
    let header = ["", "asked for", "brought along", "read", "of the FFN %", "x bound"];
    let caption = format!(
        "KiB a token, {}, neuron cache {} of the FFN",
        study.about.card,
        percent(study.about.cache)
    );
    Section {
        id: "bytes",
        title: "Where the bytes go",
        words: "Reading less is one way to be fast, reading in longer pieces another: a policy may bring \
                bytes along that nobody asked for, because a second command would cost more than they do."
            .to_owned(),
        figures: vec![bars(study, command)],
        tables: vec![table("", &caption, &header, &rows)],
    }
}

fn bars(study: &Study, command: &str) -> String {
    let title = "Bytes a token against the bound";
    let b = &study.budget;
    let mut svg = Svg::default();
    let room = WIDTH - NAMES - AFTER;
    let read = |asked: f64, along: f64| asked + along;
    let most = b.policies.iter().map(|s| read(s.asked, s.brought_along)).fold(b.active, f64::max);
    let scale = |bytes: f64| room * bytes / most.max(1.0);
    for (row, spent) in b.policies.iter().enumerate() {
        let y = TOP + ROW * row as f64;
        svg.text("", Anchor::End, (NAMES - 8.0, y + 13.5), &spent.policy);
        let mut x = NAMES;
        for (kind, words, bytes) in
            [("fill", "asked for", spent.asked), ("pale", "brought along", spent.brought_along)]
        {
            let width = scale(bytes);
            let title = format!("{}, {words}: {} KiB", spent.policy, digits(bytes / 1024.0));
            svg.bar(&format!("{kind} {}", class(&spent.policy)), (x, y), (width, BAR), &title);
            x += width;
        }
        let text = format!("{} KiB", digits(read(spent.asked, spent.brought_along) / 1024.0));
        svg.text("value", Anchor::Start, (x + 6.0, y + 13.5), &text);
    }
    let bottom = TOP + ROW * b.policies.len() as f64;
    for (name, bytes, y) in [("bound", b.bound, 12.0), ("active", b.active, 25.0)] {
        let x = NAMES + scale(bytes);
        svg.line("mark", (x, y + 4.0), (x, bottom - 6.0));
        svg.text("tick", Anchor::Middle, (x, y), name);
    }
    Figure {
        title: title.to_owned(),
        legend: vec![
            ("asked for".to_owned(), "fill ours".to_owned()),
            ("brought along".to_owned(), "pale ours".to_owned()),
        ],
        svg: svg.inline(WIDTH, bottom, title, "A bar for each policy"),
        reading: "Full colour is what a policy had to read, pale what its reads brought along. The dashed \
                  lines are the neurons a token makes active, and what is left of them for a cache of the \
                  same size that knows the future."
            .to_owned(),
        commands: (command, bench(study)),
    }
    .html()
}
