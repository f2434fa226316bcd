//! Where the time of a token goes: card and core, stage by stage, on every card.

use super::figure::{Figure, Section, Source, Table};
use crate::plot::{Bar, Piece, bars, digits};
use crate::study::{PresetTime, StageTime, Study};

/// The section.
pub fn section(study: &Study) -> Section {
    let most = study.times.iter().map(busy).fold(0.0, f64::max);
    let shares = figure(
        study,
        "Shares of a token",
        busy,
        "Every bar is one card and 100 % of what card (full colour) and core (pale) are busy with for a \
         token; the number is the time a token takes in all. Full colour to the right end: the card is \
         what to improve; pale: the core is.",
    );
    let milliseconds = figure(
        study,
        "Milliseconds a token",
        |_| most,
        "The same bars as long as they take, beside the slowest card. What no faster card makes shorter \
         is the core's.",
    );
    let shown: Vec<String> = shares.drawing.legend.iter().map(|(name, _)| name.clone()).collect();
    let rows = study.times.iter().map(|preset| {
        let parts = parts(preset);
        let of =
            |name: &String| parts.iter().find(|part| part.name == *name).map_or(0.0, |p| p.value);
        let overlap = (busy(preset) - preset.ms_per_token).max(0.0);
        let numbers = std::iter::once(preset.ms_per_token).chain(shown.iter().map(of));
        let numbers = numbers.chain([overlap, preset.dense_card_ms]).map(digits);
        std::iter::once(preset.preset.clone()).chain(numbers).collect()
    });
    let header = ["card", "token"].into_iter().chain(shown.iter().map(String::as_str));
    let header = header.chain(["overlap", "all weights streamed, card"]);
    let tables = vec![Table::new("Milliseconds a token (simulated)", header, rows)];
    Section {
        id: "time",
        title: "Where the time of a token goes",
        words: format!(
            "One image, placed for {}, generates {} tokens through the kernel on every card. The card \
             works beside the core where it can, so that a token takes less than both together.",
            study.about.card, study.about.generated
        ),
        figures: vec![shares, milliseconds],
        tables,
    }
}

/// What the card does in each stage, and then the core.
fn parts(preset: &PresetTime) -> Vec<Piece> {
    let piece = |who: &str, kind: &str, stage: &StageTime, value: f64| Piece {
        name: format!("{who}: {}", stage.stage),
        class: format!("{kind} {}", stage.stage),
        value,
    };
    let card = preset.stages.iter().map(|part| piece("card", "fill", part, part.card_ms));
    let core = preset.stages.iter().map(|part| piece("core", "pale", part, part.core_ms));
    card.chain(core).collect()
}

/// Card and core together.
fn busy(preset: &PresetTime) -> f64 {
    preset.stages.iter().map(|part| part.card_ms + part.core_ms).sum()
}

/// A bar for each card; `full` is what would be as long as there is room.
fn figure(study: &Study, title: &str, full: impl Fn(&PresetTime) -> f64, reading: &str) -> Figure {
    let bar = |preset: &PresetTime| Bar {
        name: preset.preset.clone(),
        pieces: parts(preset),
        full: full(preset),
        total: format!("{} ms", digits(preset.ms_per_token)),
    };
    Figure {
        title: title.to_owned(),
        drawing: bars(&study.times.iter().map(bar).collect::<Vec<_>>(), "ms", &[]),
        reading: reading.to_owned(),
        also: "ripple run IMAGE --card CARD --speculate 0".to_owned(),
        source: Source::Simulated,
    }
}
