//! Where the time of a token goes: card and core, stage by stage, on every card.

use super::axes::WIDTH;
use super::figure::{Figure, Section, table};
use crate::bench::columns::digits;
use crate::bench::svg::{Anchor, Svg};
use crate::study::{PartTime, PresetTime, Study};

const NAMES: f64 = 108.0;
const AFTER: f64 = 74.0;
const ROW: f64 = 30.0;
const BAR: f64 = 18.0;

/// The section.
pub fn section(study: &Study, command: &str) -> Section {
    let shown = shown(study);
    let mut header = vec!["card".to_owned(), "token".to_owned()];
    header.extend(shown.iter().map(|(who, stage)| format!("{}: {stage}", who.name())));
    header.extend(["overlap", "all weights streamed, card"].map(str::to_owned));
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let rows = study.parts.iter().map(|preset| {
        let mut cells = vec![preset.preset.clone(), digits(preset.ms_per_token)];
        cells.extend(shown.iter().map(|(who, stage)| {
            let part = preset.parts.iter().find(|part| part.stage == *stage);
            digits(part.map_or(0.0, |part| who.ms(part)))
        }));
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
        tables: vec![table(
            "",
            "Milliseconds a token (simulated)",
            &header,
            &rows.collect::<Vec<_>>(),
        )],
    }
}

/// Who is busy.
#[derive(Clone, Copy)]
enum Who {
    Card,
    Core,
}

impl Who {
    const BOTH: [Self; 2] = [Self::Card, Self::Core];

    fn name(self) -> &'static str {
        match self {
            Self::Card => "card",
            Self::Core => "core",
        }
    }

    /// The CSS class of its boxes.
    fn class(self) -> &'static str {
        match self {
            Self::Card => "fill",
            Self::Core => "pale",
        }
    }

    fn ms(self, part: &PartTime) -> f64 {
        match self {
            Self::Card => part.card_ms,
            Self::Core => part.core_ms,
        }
    }
}

/// The parts that take time on any card.
fn shown(study: &Study) -> Vec<(Who, &str)> {
    let stages = study.parts.first().into_iter().flat_map(|preset| &preset.parts);
    let all = Who::BOTH.into_iter().flat_map(|who| stages.clone().map(move |part| (who, part)));
    let takes_time = |who: Who, stage: &str| {
        let parts = study.parts.iter().flat_map(|preset| &preset.parts);
        parts.filter(|part| part.stage == stage).any(|part| who.ms(part) > 0.0)
    };
    all.filter(|(who, part)| takes_time(*who, &part.stage))
        .map(|(who, part)| (who, part.stage.as_str()))
        .collect()
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
        busy,
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
        let parts =
            Who::BOTH.into_iter().flat_map(|who| preset.parts.iter().map(move |p| (who, p)));
        for (who, part) in parts {
            let (ms, stage) = (who.ms(part), &part.stage);
            let width = room * ms / full(preset).max(f64::MIN_POSITIVE);
            let title = format!("{}, {}, {stage}: {} ms", preset.preset, who.name(), digits(ms));
            if width > 0.05 {
                svg.bar(&format!("{} {stage}", who.class()), (x, y), (width, BAR), &title);
            }
            x += width;
        }
        let text = format!("{} ms", digits(preset.ms_per_token));
        svg.text("value", Anchor::Start, (x + 6.0, y + 13.5), &text);
    }
    let height = 8.0 + ROW * study.parts.len() as f64;
    let key = |(who, stage): (Who, &str)| {
        (format!("{}: {stage}", who.name()), format!("{} {stage}", who.class()))
    };
    Figure {
        title: title.to_owned(),
        legend: shown(study).into_iter().map(key).collect(),
        svg: svg.inline(WIDTH, height, title, "A bar for each card"),
        reading: reading.to_owned(),
        commands: (command, "ripple run IMAGE --card CARD --speculate 0".to_owned()),
    }
    .html()
}
