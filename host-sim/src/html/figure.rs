//! Sections, figures and tables as HTML.
//!
//! In: words and drawings. Out: HTML that is XML too. Knows nothing of what is shown.

use crate::plot::{Drawing, Series, WIDTH, svg};
use maud::{Markup, html};

/// A section: some words, figures side by side, tables below.
pub struct Section {
    /// Where links lead to.
    pub id: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// What it is about.
    pub words: String,
    /// Its figures.
    pub figures: Vec<Figure>,
    /// Its tables.
    pub tables: Vec<Table>,
}

/// A plot, with what is needed to read it.
pub struct Figure {
    /// What it shows.
    pub title: String,
    /// What is drawn.
    pub drawing: Drawing,
    /// How to read it.
    pub reading: String,
    /// A command that gives the same numbers, or nothing.
    pub also: String,
    /// Where its numbers come from.
    pub source: Source,
}

/// Where numbers come from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// What the model's neurons did on the texts: counted.
    Counted,
    /// What the program itself computes: losses.
    Computed,
    /// Times, or what a cache did, of a model of card and core.
    Simulated,
}

impl Source {
    const fn words(self) -> &'static str {
        match self {
            Self::Counted => "Counted in the traces, not simulated. ",
            Self::Computed => "Computed, not simulated. ",
            Self::Simulated => "Simulated. ",
        }
    }
}

/// Numbers: the first cell of each row is its name.
pub struct Table {
    /// What they are.
    pub caption: String,
    /// The names of the columns.
    pub header: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<String>>,
}

impl Section {
    /// The section as HTML. `command`: what was typed to make the page.
    pub fn html(&self, command: &str) -> Markup {
        html! {
            section id=(self.id) {
                h2 { (self.title) }
                p { (self.words) }
                div class="figures" { @for figure in &self.figures { (figure.html(command)) } }
                @for table in &self.tables { (table.html("")) }
            }
            "\n"
        }
    }
}

impl Figure {
    fn html(&self, command: &str) -> Markup {
        let Self { title, drawing, reading, also, source } = self;
        let series: Vec<&str> = drawing.legend.iter().map(|(name, _)| name.as_str()).collect();
        html! {
            figure {
                h3 { (title) }
                @if !drawing.legend.is_empty() {
                    ul class="legend" {
                        @for (name, class) in &drawing.legend { li { (sample(class)) (name) } }
                    }
                }
                (svg((WIDTH, drawing.height), false, title, &series.join(", "), &drawing.body))
                figcaption {
                    p { (reading) }
                    p class="source" {
                        (source.words()) "Made by " code { (command) }
                        @if !also.is_empty() { "; the same numbers by " code { (also) } }
                    }
                }
            }
            "\n"
        }
    }
}

/// A sample of a series: a line, or a box.
fn sample(class: &str) -> Markup {
    html! {
        svg viewBox="0 0 24 12" aria-hidden="true" {
            @if class.starts_with("line") || class == "mark" {
                line class=(class) x1="0" y1="6" x2="24" y2="6" {}
            } @else {
                rect class=(class) x="4" y="0" width="16" height="12" rx="2" {}
            }
        }
    }
}

impl Table {
    /// The rows below their header.
    pub fn new(
        caption: impl Into<String>,
        header: impl IntoIterator<Item = impl Into<String>>,
        rows: impl IntoIterator<Item = Vec<String>>,
    ) -> Self {
        let header = header.into_iter().map(Into::into).collect();
        Self { caption: caption.into(), header, rows: rows.into_iter().collect() }
    }

    /// The values of `series`, a row each.
    pub fn of(
        caption: impl Into<String>,
        header: impl IntoIterator<Item = impl Into<String>>,
        series: &[Series],
        digits: fn(f64) -> String,
    ) -> Self {
        let rows = series.iter().map(|(name, points)| {
            let values = points.iter().map(|point| digits(point.1));
            std::iter::once(name.clone()).chain(values).collect()
        });
        Self::new(caption, header, rows)
    }

    /// The table as HTML.
    pub fn html(&self, class: &str) -> Markup {
        html! {
            div class="numbers" {
                table class=(class) {
                    caption { (self.caption) }
                    thead { tr { @for cell in &self.header { th scope="col" { (cell) } } } }
                    tbody { @for row in &self.rows { (line(row)) } }
                }
            }
            "\n"
        }
    }
}

fn line(row: &[String]) -> Markup {
    html! {
        tr {
            @if let Some((name, cells)) = row.split_first() {
                th scope="row" { (name) }
                @for cell in cells { td { (cell) } }
            }
        }
        "\n"
    }
}
