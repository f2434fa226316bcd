//! Sections, figures, legends and tables as HTML.
//!
//! In: words and drawings. Out: HTML that is XML too. Knows nothing of what is shown.

use crate::bench::svg::escaped;

/// A section: some words, figures side by side, tables below.
pub struct Section {
    /// Where links lead to.
    pub id: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// What it is about.
    pub words: String,
    /// Figures, as [`Figure::html`] gives them.
    pub figures: Vec<String>,
    /// Tables, as [`table`] gives them.
    pub tables: Vec<String>,
}

impl Section {
    /// The section as HTML.
    pub fn html(&self) -> String {
        let Self { id, title, words, figures, tables } = self;
        format!(
            "<section id=\"{id}\">\n<h2>{}</h2>\n<p>{}</p>\n<div class=\"figures\">\n{}</div>\n{}</section>\n",
            escaped(title),
            escaped(words),
            figures.concat(),
            tables.concat()
        )
    }
}

/// A plot, with what is needed to read it.
pub struct Figure<'a> {
    /// What it shows.
    pub title: String,
    /// Names and CSS classes of its series.
    pub legend: Vec<(String, String)>,
    /// The drawing.
    pub svg: String,
    /// How to read it.
    pub reading: String,
    /// The command that made it, and one that gives the same numbers.
    pub commands: (&'a str, String),
}

impl Figure<'_> {
    /// The figure as HTML.
    pub fn html(&self) -> String {
        let keys = self.legend.iter().map(|(name, class)| {
            format!(
                "<li><svg viewBox=\"0 0 24 12\" aria-hidden=\"true\">{}</svg>{}</li>",
                key(class),
                escaped(name)
            )
        });
        let legend = match keys.collect::<String>() {
            none if none.is_empty() => none,
            keys => format!("<ul class=\"legend\">{keys}</ul>\n"),
        };
        let (made_by, also) = &self.commands;
        let also = match also.as_str() {
            "" => String::new(),
            also => format!("; the same numbers by <code>{}</code>", escaped(also)),
        };
        format!(
            "<figure>\n<h3>{}</h3>\n{legend}{}<figcaption>\n<p>{}</p>\n\
             <p class=\"source\">Simulated. Made by <code>{}</code>{also}</p>\n</figcaption>\n</figure>\n",
            escaped(&self.title),
            self.svg,
            escaped(&self.reading),
            escaped(made_by)
        )
    }
}

/// A sample of a series: a line, or a box.
fn key(class: &str) -> String {
    if class.starts_with("line") || class == "mark" {
        format!("<line class=\"{class}\" x1=\"0\" y1=\"6\" x2=\"24\" y2=\"6\"/>")
    } else {
        format!("<rect class=\"{class}\" x=\"4\" y=\"0\" width=\"16\" height=\"12\" rx=\"2\"/>")
    }
}

/// A table: the first cell of each row is its name.
pub fn table(class: &str, caption: &str, header: &[&str], rows: &[Vec<String>]) -> String {
    let head: String =
        header.iter().map(|cell| format!("<th scope=\"col\">{}</th>", escaped(cell))).collect();
    let row = |cells: &Vec<String>| {
        let cells = cells.iter().enumerate().map(|(at, cell)| match at {
            0 => format!("<th scope=\"row\">{}</th>", escaped(cell)),
            _ => format!("<td>{}</td>", escaped(cell)),
        });
        format!("<tr>{}</tr>\n", cells.collect::<String>())
    };
    let body: String = rows.iter().map(row).collect();
    format!(
        "<div class=\"numbers\"><table class=\"{class}\">\n<caption>{}</caption>\n<thead><tr>{head}</tr></thead>\n\
         <tbody>\n{body}</tbody>\n</table></div>\n",
        escaped(caption)
    )
}

/// The CSS class of a series: its name, with hyphens for what is no letter.
pub fn class(name: &str) -> String {
    name.replace(' ', "-")
}
