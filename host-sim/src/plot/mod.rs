//! Plots as SVG.
//!
//! In: places in pixels, words, classes. Out: markup that is XML too. Knows nothing of colours: what a
//! class looks like is for the style of the page or the chart to say.

mod axes;
mod axis;
mod bars;
mod number;

pub(crate) use axes::Plot;
pub(crate) use axis::Axis;
pub(crate) use bars::{Bar, Piece, bars};
pub(crate) use number::{digits, percent};

use maud::{Markup, html};

/// Width of every drawing of a page, which scales it.
pub(crate) const WIDTH: f64 = 440.0;

/// A place in pixels: to the right and downwards.
pub(crate) type Point = (f64, f64);

/// A curve: its name, and values with their places.
pub(crate) type Series = (String, Vec<(f64, f64)>);

/// A value with the place that [`Axis::names`] gives it.
pub(crate) fn middle((at, value): (usize, f64)) -> (f64, f64) {
    (at as f64 + 0.5, value)
}

/// The least value of all series above 0, and the greatest.
pub(crate) fn range(series: &[Series]) -> (f64, f64) {
    let values = series.iter().flat_map(|(_, points)| points).map(|point| point.1);
    let shown = values.filter(|value| value.is_finite() && *value > 0.0);
    shown.fold((f64::INFINITY, 0.0), |(least, most), y| (least.min(y), most.max(y)))
}

/// A drawing of a page, [`WIDTH`] wide.
pub(crate) struct Drawing {
    /// What is drawn.
    pub body: Markup,
    /// How high it is.
    pub height: f64,
    /// Names of the series, each with the classes of its sample.
    pub legend: Vec<(String, String)>,
}

impl Drawing {
    fn new(height: f64) -> Self {
        Self { body: html! {}, height, legend: Vec::new() }
    }

    fn add(&mut self, what: &Markup) {
        self.body.0 += &what.0;
    }

    /// Adds a series to the legend, unless it is there.
    fn key(&mut self, name: &str, class: String) {
        if !self.legend.iter().any(|(known, _)| known == name) {
            self.legend.push((name.to_owned(), class));
        }
    }
}

/// A length with one decimal.
fn px(length: f64) -> String {
    format!("{length:.1}")
}

/// A straight line.
pub(crate) fn line(class: &str, (x1, y1): Point, (x2, y2): Point) -> Markup {
    html! { line class=(class) x1=(px(x1)) y1=(px(y1)) x2=(px(x2)) y2=(px(y2)) {} "\n" }
}

/// A box that says `title` when it is pointed at.
pub(crate) fn rect(class: &str, (x, y): Point, (width, height): Point, title: &str) -> Markup {
    html! {
        rect class=(class) x=(px(x)) y=(px(y)) width=(px(width)) height=(px(height)) {
            @if !title.is_empty() { title { (title) } }
        }
        "\n"
    }
}

/// One line of text on the baseline of `at`; held at its beginning where `class` does not say otherwise.
pub(crate) fn text(class: &str, (x, y): Point, words: &str) -> Markup {
    html! { text class=(class) x=(px(x)) y=(px(y)) { (words) } "\n" }
}

/// A picture, every pixel of it a rectangle.
fn picture((x, y): Point, (width, height): Point, source: &str) -> Markup {
    html! {
        image class="pixels" x=(px(x)) y=(px(y)) width=(px(width)) height=(px(height))
            preserveAspectRatio="none" href=(source) {}
        "\n"
    }
}

/// A drawing for those who see it and those who hear it: `fixed` in size, or as wide as there is room.
pub(crate) fn svg(size: Point, fixed: bool, title: &str, about: &str, body: &Markup) -> Markup {
    let (width, height) = (size.0.round(), size.1.round());
    html! {
        svg xmlns="http://www.w3.org/2000/svg" width=[fixed.then_some(width)]
            height=[fixed.then_some(height)] viewBox={ "0 0 " (width) " " (height) } role="img" {
            "\n" title { (title) } "\n" desc { (about) } "\n" (body)
        }
        "\n"
    }
}

/// The CSS class of a series: its name, with hyphens for blanks.
pub(crate) fn class(name: &str) -> String {
    name.replace(' ', "-")
}

/// `markup` as a file: without the characters that no XML may hold.
pub(crate) fn file(markup: Markup) -> String {
    let mut text = markup.into_string();
    text.retain(|c| c == '\n' || !(c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}')));
    text
}
