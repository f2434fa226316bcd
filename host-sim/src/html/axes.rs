//! Two axes and a grid, for plots that fit a telephone.
//!
//! In: ranges, labels. Out: [`Plot`], where values have places. Knows nothing of what is plotted.

use crate::bench::columns::digits;
use crate::bench::svg::{Anchor, Svg};

/// Width of every plot; pages scale it.
pub const WIDTH: f64 = 440.0;
const HEIGHT: f64 = 270.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 22.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 42.0;

/// One axis: where its values are, from 0 to 1, and what is written at it.
pub struct Axis {
    label: String,
    ticks: Vec<(f64, String)>,
    from: f64,
    to: f64,
    logarithmic: bool,
}

impl Axis {
    /// From 0 to a little above `most`; ticks at multiples of 1, 2 or 5.
    pub fn linear(label: &str, most: f64, unit: &str) -> Self {
        let most = if most > 0.0 && most.is_finite() { most } else { 1.0 };
        let rough = most / 4.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|s| s * power >= rough * 0.999);
        let step = step.unwrap_or(10.0) * power;
        let count = (most / step - 1e-9).ceil();
        let ticks = (0..=count as usize).map(|at| {
            let value = at as f64 * step;
            let decimals = (-step.log10().floor()).clamp(0.0, 6.0) as usize;
            (value, format!("{value:.decimals$}{unit}"))
        });
        let ticks = ticks.collect();
        Self { label: label.to_owned(), ticks, from: 0.0, to: count * step, logarithmic: false }
    }

    /// From a little below `least` to a little above `most`; ticks at 1, 2 and 5 of each power of
    /// ten, or at powers only.
    pub fn logarithmic(label: &str, least: f64, most: f64) -> Self {
        let sound = least > 0.0 && most >= least && most.is_finite();
        let (least, most) = if sound { (least, most) } else { (0.1, 1.0) };
        let (from, to) = (least.log10() - 0.05, most.log10() + 0.05);
        let all = to - from < 2.2;
        let powers = (from.floor() as i32)..=(to.ceil() as i32);
        let digit = move |power: i32| {
            let digits: &[f64] = if all { &[1.0, 2.0, 5.0] } else { &[1.0] };
            digits.iter().map(move |digit| digit * 10_f64.powi(power))
        };
        let values = powers.flat_map(digit).filter(|value| (from..=to).contains(&value.log10()));
        let ticks = values.map(|value| (value, short(value))).collect();
        Self { label: label.to_owned(), ticks, from, to, logarithmic: true }
    }

    /// One place for each name, from 0.5 on.
    pub fn names(label: &str, names: impl IntoIterator<Item = String>) -> Self {
        let ticks: Vec<_> =
            names.into_iter().enumerate().map(|(at, name)| (at as f64 + 0.5, name)).collect();
        let to = ticks.len().max(1) as f64;
        Self { label: label.to_owned(), ticks, from: 0.0, to, logarithmic: false }
    }

    /// Other ticks.
    pub fn with_ticks(self, ticks: Vec<(f64, String)>) -> Self {
        Self { ticks, ..self }
    }

    fn place(&self, value: f64) -> f64 {
        let value = if self.logarithmic { value.log10() } else { value };
        ((value - self.from) / (self.to - self.from)).clamp(0.0, 1.0)
    }
}

/// A tick of a logarithmic axis, without needless zeros.
fn short(value: f64) -> String {
    if value >= 1.0 {
        format!("{value:.0}")
    } else {
        digits(value).trim_end_matches('0').to_owned()
    }
}

/// A plot with axes.
pub struct Plot {
    svg: Svg,
    x: Axis,
    y: Axis,
}

impl Plot {
    /// The axes and the grid.
    pub fn new(x: Axis, y: Axis) -> Self {
        let mut plot = Self { svg: Svg::default(), x, y };
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (value, text) in std::mem::take(&mut plot.y.ticks) {
            let y = plot.y(value);
            plot.svg.line("grid", (LEFT, y), (right, y));
            plot.svg.text("tick", Anchor::End, (LEFT - 6.0, y + 4.0), &text);
        }
        for (value, text) in std::mem::take(&mut plot.x.ticks) {
            let x = plot.x(value);
            plot.svg.line("axis", (x, bottom), (x, bottom + 4.0));
            plot.svg.text("tick", Anchor::Middle, (x, bottom + 17.0), &text);
        }
        plot.svg.line("axis", (LEFT, bottom), (right, bottom));
        let middle = LEFT + (right - LEFT) / 2.0;
        plot.svg.text("label", Anchor::Middle, (middle, HEIGHT - 6.0), &plot.x.label);
        plot.svg.upright("label", (13.0, TOP + (bottom - TOP) / 2.0), &plot.y.label);
        plot
    }

    /// Where a value is, to the right.
    pub fn x(&self, value: f64) -> f64 {
        LEFT + self.x.place(value) * (WIDTH - RIGHT - LEFT)
    }

    /// Where a value is, downwards.
    pub fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.place(value) * (HEIGHT - BOTTOM - TOP)
    }

    /// A line through `points`, with a dot at each where there are few; `name` is said at the dots.
    pub fn line(&mut self, class: &str, name: &str, points: &[(f64, f64)]) {
        let at: Vec<_> = points.iter().map(|&(x, y)| (self.x(x), self.y(y))).collect();
        self.svg.polyline(&format!("line {class}"), at.iter().copied());
        if points.len() <= 12 {
            for (place, (x, y)) in at.into_iter().zip(points) {
                let title = format!("{name}: {} at {}", digits(*y), digits(*x));
                self.svg.dot(&format!("dot {class}"), place, &title);
            }
        }
    }

    /// A bar from the bottom, `width` of the axis wide from `x` on.
    pub fn bar(&mut self, class: &str, x: f64, width: f64, y: f64, title: &str) {
        let (left, right, top) = (self.x(x), self.x(x + width), self.y(y));
        let size = ((right - left - 1.0).max(0.5), HEIGHT - BOTTOM - top);
        self.svg.bar(&format!("fill {class}"), (left, top), size, title);
    }

    /// A dashed line across, at `y`.
    pub fn level(&mut self, y: f64) {
        let y = self.y(y);
        self.svg.line("mark", (LEFT, y), (WIDTH - RIGHT, y));
    }

    /// The drawing.
    pub fn finish(self, title: &str, about: &str) -> String {
        self.svg.inline(WIDTH, HEIGHT, title, about)
    }
}
