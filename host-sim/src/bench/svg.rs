//! The little of SVG that charts and plots need.
//!
//! In: positions in pixels, words. Out: elements, always well-formed, numbers always with one
//! decimal. Knows nothing of charts.

use std::fmt::Write;

/// A drawing, element by element.
#[derive(Default)]
pub(crate) struct Svg {
    body: String,
}

/// Where a text is held.
#[derive(Clone, Copy)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    /// `width` and `height` of a box at `(x, y)`, with corners of radius 1.
    pub fn rect(&mut self, class: &str, (x, y): (f64, f64), width: f64, height: f64) {
        self.element(format_args!(
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" rx="1"/>"#
        ));
    }

    /// A straight line.
    pub fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.element(format_args!(
            r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#
        ));
    }

    /// A box that says `title` when it is pointed at.
    pub fn bar(&mut self, class: &str, (x, y): (f64, f64), size: (f64, f64), title: &str) {
        let (title, (width, height)) = (escaped(title), size);
        self.element(format_args!(
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}"><title>{title}</title></rect>"#
        ));
    }

    /// A point that says `title` when it is pointed at.
    pub fn dot(&mut self, class: &str, (x, y): (f64, f64), title: &str) {
        let title = escaped(title);
        self.element(format_args!(
            r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="3"><title>{title}</title></circle>"#
        ));
    }

    /// Straight lines from point to point.
    pub fn polyline(&mut self, class: &str, points: impl IntoIterator<Item = (f64, f64)>) {
        let points: Vec<String> =
            points.into_iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let points = points.join(" ");
        self.element(format_args!(r#"<polyline class="{class}" points="{points}"/>"#));
    }

    /// A picture, every pixel a square.
    pub fn image(&mut self, (x, y): (f64, f64), width: f64, height: f64, source: &str) {
        self.element(format_args!(
            r#"<image class="pixels" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" preserveAspectRatio="none" href="{source}"/>"#
        ));
    }

    /// One line of text upwards, held in the middle, its baseline at `x`.
    pub fn upright(&mut self, class: &str, (x, y): (f64, f64), text: &str) {
        let text = escaped(text);
        self.element(format_args!(
            r#"<text class="{class}" transform="translate({x:.1} {y:.1}) rotate(-90)" text-anchor="middle">{text}</text>"#
        ));
    }

    /// One line of text on the baseline `y`.
    pub fn text(&mut self, class: &str, anchor: Anchor, (x, y): (f64, f64), text: &str) {
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => r#" text-anchor="middle""#,
            Anchor::End => r#" text-anchor="end""#,
        };
        let text = escaped(text);
        self.element(format_args!(
            r#"<text class="{class}" x="{x:.1}" y="{y:.1}"{anchor}>{text}</text>"#
        ));
    }

    /// The file: a white page of `width` by `height`, for those who see it and those who hear it.
    pub fn finish(self, width: f64, height: f64, style: &str, title: &str, about: &str) -> String {
        let (title, about) = (escaped(title), escaped(about));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\">\n<title>{title}</title>\n\
             <desc>{about}</desc>\n<style>\n{style}</style>\n\
             <rect class=\"page\" width=\"100%\" height=\"100%\"/>\n{}</svg>\n",
            self.body
        )
    }

    /// A part of a page, which has the style; as wide as there is room.
    pub fn inline(self, width: f64, height: f64, title: &str, about: &str) -> String {
        let (title, about) = (escaped(title), escaped(about));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
             role=\"img\">\n<title>{title}</title>\n<desc>{about}</desc>\n{}</svg>\n",
            self.body
        )
    }

    fn element(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.body, "{element}");
    }
}

/// `text` as XML and HTML may hold it; characters that they may not are left out.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\n' | '\t' => out.push(' '),
            c if c < ' ' || matches!(c, '\u{fffe}' | '\u{ffff}') => (),
            c => out.push(c),
        }
    }
    out
}
