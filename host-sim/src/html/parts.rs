//! Where the time of a token goes: card and core, stage by stage, on every card.

use super::axes::WIDTH;
use super::figure::{Figure, Section, table};
use crate::bench::columns::digits;
use crate::study::{PresetTime, Study};
use crate::svg::{Anchor, Svg};

const NAMES: f64 = 108.0;
const AFTER: f64 = 66.0;
const ROW: f64 = 30.0;
const BAR: f64 = 18.0;

/// The section.
pub fn section(study: &Study, command: &str) -> Section {
    let stages: Vec<&str> = study.parts.first().map_or_else(Vec::new, |preset| {
        preset.parts.iter().map(|part| part.stage.as_str()).collect()
    });
    let mut header = vec!["card".to_owned(), "token".to_owned()];
    header.extend(stages.iter().map(|stage| format!("card: {stage}")));
    header.extend(stages.iter().map(|stage| format!("core: {stage}")));
    header.extend(["overlap", "all weights streamed, card"].map(str::to_owned));
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let rows = study.parts.iter().map(|preset| {
        let mut cells = vec![preset.preset.clone(), digits(preset.ms_per_token)];
        cells.extend(preset.parts.iter().map(|part| digits(part.card_ms)));
        cells.extend(preset.parts.iter().map(|part| digits(part.core_ms)));
        cells.push(digits((busy(preset) - preset.ms_per_token).max(0.0)));
        cells.push(digits(preset.dense_card_ms));
        cells
    });
    Section {
        id: "time",
        title: "Where the time of a token goes",
        words: format!(
            "One image, placed for {}, generates {} tokens through the kernel on every card. The card \
             works beside the core where it can, so that a token takes less than both together.",
            study.about.card, study.about.generated
        ),
        figures: vec![shares(study, command), milliseconds(study, command)],
        three: false,
        tables: vec![table(
            "",
            "Milliseconds a token (simulated)",
            &header,
            &rows.collect::<Vec<_>>(),
        )],
    }
}

/// Card and core together.
fn busy(preset: &PresetTime) -> f64 {
    preset.parts.iter().map(|part| part.card_ms + part.core_ms).sum()
}

/// A bar for each card, all as long: shares of what card and core do.
fn shares(study: &Study, command: &str) -> String {
    let title = "Shares of a token";
    bars(
        study,
        command,
        title,
        |preset| busy(preset),
        "Every bar is one card and 100 % of what card (full \
        colour) and core (pale) are busy with for a token; the number is the time a token takes in all. Full \
        colour to the right end: the card is what to improve; pale: the core is.",
    )
}

/// The same, as long as they take, beside the longest.
fn milliseconds(study: &Study, command: &str) -> String {
    let title = "Milliseconds a token";
    let most = study.parts.iter().map(busy).fold(0.0, f64::max);
    bars(
        study,
        command,
        title,
        |_| most,
        "The same bars as long as they take, beside the slowest card. What \
        no faster card makes shorter is the core's.",
    )
}

fn bars(
    study: &Study,
    command: &str,
    title: &str,
    full: impl Fn(&PresetTime) -> f64,
    reading: &str,
) -> String {
    let mut svg = Svg::default();
    let room = WIDTH - NAMES - AFTER;
    for (row, preset) in study.parts.iter().enumerate() {
        let y = 6.0 + ROW * row as f64;
        svg.text("", Anchor::End, (NAMES - 8.0, y + 13.5), &preset.preset);
        let mut x = NAMES;
        let mut part = |class: &str, who: &str, stage: &str, ms: f64| {
            let width = room * ms / full(preset).max(f64::MIN_POSITIVE);
            let title = format!("{}, {who}, {stage}: {} ms", preset.preset, digits(ms));
            if width > 0.05 {
                svg.bar(&format!("{class} {stage}"), (x, y), (width, BAR), &title);
            }
            x += width;
        };
        for stage in &preset.parts {
            part("fill", "card", &stage.stage, stage.card_ms);
        }
        for stage in &preset.parts {
            part("pale", "core", &stage.stage, stage.core_ms);
        }
        let text = format!("{} ms", digits(preset.ms_per_token));
        svg.text("value", Anchor::Start, (x + 6.0, y + 13.5), &text);
    }
    let height = 8.0 + ROW * study.parts.len() as f64;
    let mut legend = Vec::new();
    for (who, class, of) in [
        ("card", "fill", (|part| part.card_ms) as fn(&crate::study::PartTime) -> f64),
        ("core", "pale", |part| part.core_ms),
    ] {
        let first = study.parts.first().into_iter().flat_map(|preset| &preset.parts);
        for part in first.filter(|part| of(part) > 0.0) {
            legend.push((format!("{who}: {}", part.stage), format!("{class} {}", part.stage)));
        }
    }
    Figure {
        title: title.to_owned(),
        legend,
        svg: svg.inline(WIDTH, height, title, "A bar for each card"),
        reading: reading.to_owned(),
        commands: (command, "ripple run IMAGE --card CARD --speculate 0".to_owned()),
    }
    .html()
}
