//! Bars from left to right, in pieces, a name before each and a number after it.
//!
//! In: [`Bar`]s. Out: a [`Drawing`]. Knows nothing of what is shown.

use super::{Drawing, WIDTH, digits, line, rect, text};

const LEFT: f64 = 108.0;
const RIGHT: f64 = 74.0;
const PITCH: f64 = 31.0;
const THICKNESS: f64 = 18.0;
/// Room above for the names of marks.
const MARKS: f64 = 32.0;

/// One bar.
pub(crate) struct Bar {
    /// What is written before it.
    pub name: String,
    /// Its pieces, left to right.
    pub pieces: Vec<Piece>,
    /// The sum that would be as long as there is room.
    pub full: f64,
    /// What is written after it.
    pub total: String,
}

/// A piece of a bar.
pub(crate) struct Piece {
    /// Its name in the legend.
    pub name: String,
    /// The classes that give it its colour.
    pub class: String,
    /// How much it is.
    pub value: f64,
}

/// `bars`, one below the other, in `unit`; `marks` are names and values of dashed lines across bars
/// that are all as full as the first.
pub(crate) fn bars(bars: &[Bar], unit: &str, marks: &[(&str, f64)]) -> Drawing {
    let top = if marks.is_empty() { 6.0 } else { MARKS + 6.0 };
    let height = top + PITCH * bars.len() as f64;
    let mut drawing = Drawing::new(height);
    let length =
        |value: f64, full: f64| (WIDTH - LEFT - RIGHT) * value / full.max(f64::MIN_POSITIVE);
    for (row, bar) in bars.iter().enumerate() {
        let (mut x, y) = (LEFT, top + PITCH * row as f64);
        drawing.add(&text("end", (LEFT - 8.0, y + 13.5), &bar.name));
        for piece in bar.pieces.iter().filter(|piece| piece.value > 0.0) {
            let width = length(piece.value, bar.full);
            let title = format!("{}, {}: {} {unit}", bar.name, piece.name, digits(piece.value));
            drawing.add(&rect(&piece.class, (x, y), (width, THICKNESS), &title));
            drawing.key(&piece.name, piece.class.clone());
            x += width;
        }
        drawing.add(&text("value", (x + 6.0, y + 13.5), &bar.total));
    }
    let full = bars.first().map_or(1.0, |bar| bar.full);
    for (at, (name, value)) in marks.iter().enumerate() {
        let (x, y) = (LEFT + length(*value, full), 12.0 + 13.0 * at as f64);
        drawing.add(&line("mark", (x, y + 4.0), (x, height - 6.0)));
        drawing.add(&text("tick middle", (x, y), name));
    }
    drawing
}
