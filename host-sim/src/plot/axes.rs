//! Two axes, a grid, and curves and bars between them.
//!
//! In: axes, series by name. Out: a [`Drawing`] that fits a telephone. Knows nothing of what is plotted.

use super::{Axis, Drawing, Series, WIDTH, class, digits, line, picture, px, rect, text};
use maud::html;

const LEFT: f64 = 60.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 42.0;
/// How much of its place a group of bars takes.
const BARS: f64 = 0.8;
/// A curve of more points has no dots.
const FEW_POINTS: usize = 12;

/// A plot with axes.
pub(crate) struct Plot {
    drawing: Drawing,
    x: Axis,
    y: Axis,
}

impl Plot {
    /// The axes and the grid.
    pub fn new(x: Axis, y: Axis) -> Self {
        Self::high(270.0, x, y)
    }

    /// The same, and as high as it is wide between the axes.
    pub fn square(x: Axis, y: Axis) -> Self {
        Self::high(WIDTH - LEFT - RIGHT + TOP + BOTTOM, x, y)
    }

    fn high(height: f64, x: Axis, y: Axis) -> Self {
        let mut plot = Self { drawing: Drawing::new(height), x, y };
        let (right, bottom) = (WIDTH - RIGHT, height - BOTTOM);
        let (middle, centre) = ((LEFT + right) / 2.0, (TOP + bottom) / 2.0);
        plot.drawing.body = html! {
            @for (value, name) in &plot.y.ticks {
                @let y = plot.y(*value);
                (line(if name.is_empty() { "fine" } else { "grid" }, (LEFT, y), (right, y)))
                (text("tick end", (LEFT - 6.0, y + 4.0), name))
            }
            @for (value, name) in &plot.x.ticks {
                @let x = plot.x(*value);
                (line("axis", (x, bottom), (x, bottom + 4.0)))
                (text("tick middle", (x, bottom + 17.0), name))
            }
            (line("axis", (LEFT, bottom), (right, bottom)))
            (text("label middle", (middle, height - 6.0), &plot.x.label))
            text class="label middle" transform={ "translate(13 " (px(centre)) ") rotate(-90)" } {
                (plot.y.label)
            }
            "\n"
        };
        plot
    }

    /// Where a value is, to the right.
    fn x(&self, value: f64) -> f64 {
        LEFT + self.x.place(value) * (WIDTH - RIGHT - LEFT)
    }

    /// Where a value is, downwards.
    fn y(&self, value: f64) -> f64 {
        let bottom = self.drawing.height - BOTTOM;
        bottom - self.y.place(value) * (bottom - TOP)
    }

    /// A curve for each series.
    pub fn curves(x: Axis, y: Axis, series: &[Series]) -> Self {
        let mut plot = Self::new(x, y);
        series.iter().for_each(|series| plot.curve(series));
        plot
    }

    /// A curve with a dot at each point where there are few.
    fn curve(&mut self, (name, points): &Series) {
        let class = class(name);
        let points = || points.iter().filter(|(_, value)| value.is_finite());
        let path = points().map(|&(at, value)| format!("{:.1},{:.1}", self.x(at), self.y(value)));
        let path: Vec<String> = path.collect();
        self.drawing.add(&html! {
            polyline class={ "line " (class) } points=(path.join(" ")) {} "\n"
            @for &(at, value) in points().filter(|_| path.len() <= FEW_POINTS) {
                circle class={ "dot " (class) } cx=(px(self.x(at))) cy=(px(self.y(value))) r="3" {
                    title { (name) ": " (digits(value)) " at " (digits(at)) }
                }
                "\n"
            }
        });
        self.drawing.key(name, format!("line {class}"));
    }

    /// Bars from the bottom, those of one place side by side.
    pub fn bars(x: Axis, y: Axis, series: &[Series]) -> Self {
        let mut plot = Self::new(x, y);
        let places: Vec<f64> = series.iter().flat_map(|(_, points)| points).map(|p| p.0).collect();
        let mut drawn = Vec::new();
        for (name, points) in series {
            let class = format!("fill {}", class(name));
            for &(place, value) in points {
                let share =
                    |counted: &[f64]| counted.iter().filter(|at| **at == place).count() as f64;
                let (width, before) = (BARS / share(&places), share(&drawn));
                let left = plot.x(place - BARS / 2.0 + before * width);
                let right = plot.x(place - BARS / 2.0 + (before + 1.0) * width);
                let (top, bottom) = (plot.y(value), plot.drawing.height - BOTTOM);
                let size = ((right - left - 1.0).max(0.5), bottom - top);
                let title = format!("{name}: {}", digits(value));
                plot.drawing.add(&rect(&class, (left, top), size, &title));
                drawn.push(place);
            }
            plot.drawing.key(name, class);
        }
        plot
    }

    /// A dashed line across, at `y`.
    pub fn level(&mut self, name: &str, y: f64) {
        let y = self.y(y);
        self.drawing.add(&line("mark", (LEFT, y), (WIDTH - RIGHT, y)));
        self.drawing.key(name, "mark".to_owned());
    }

    /// A picture from axis to axis, every pixel a rectangle.
    pub fn picture(&mut self, source: &str) {
        let (width, height) = (WIDTH - RIGHT - LEFT, self.drawing.height - BOTTOM - TOP);
        self.drawing.add(&picture((LEFT, TOP), (width, height), source));
    }

    /// The drawing, with a scale of colours below: a picture, and what its ends mean.
    pub fn with_scale(mut self, source: &str, [least, most]: [&str; 2]) -> Drawing {
        let (top, width) = (self.drawing.height + 8.0, WIDTH - RIGHT - LEFT);
        self.drawing.add(&html! {
            (picture((LEFT, top), (width, 10.0), source))
            (text("tick", (LEFT, top + 24.0), least))
            (text("tick end", (LEFT + width, top + 24.0), most))
        });
        Drawing { height: top + 32.0, ..self.drawing }
    }

    /// The drawing.
    pub fn finish(self) -> Drawing {
        self.drawing
    }
}
