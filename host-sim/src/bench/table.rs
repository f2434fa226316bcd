//! Rows as a table to read in a terminal.
//!
//! In: rows. Out: text, one table for each card, grouped by model and cache size. Knows nothing of
//! files or of how the rows came about.

use super::columns::{HEADER, LEGEND, cells, factor};
use super::summary::{compared, distinct, find, groups, of_models};
use super::{BASELINE, OURS, Row, Summary};
use crate::plot::percent;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// The rows, card by card, each followed by its summary.
pub fn table(rows: &[Row]) -> String {
    let summaries = Summary::of(rows);
    let mut text = String::new();
    for preset in distinct(rows, |row| row.preset.as_str()) {
        let summaries: Vec<&Summary> = summaries.iter().filter(|s| s.preset == preset).collect();
        let rows = grouped(&groups(rows, preset));
        text += &format!("{preset} (simulated)\n\n{rows}\n{}\n", means(&summaries));
    }
    text + &wrapped(LEGEND, 100)
}

/// The rows of one card, each group below its title.
fn grouped(groups: &[Vec<&Row>]) -> String {
    let (mut titles, mut lines) = (Vec::new(), Vec::new());
    for group in groups {
        let Row { model, cache_ratio, .. } = group[0];
        titles.push((lines.len(), format!("{model}, cache {}", percent(*cache_ratio))));
        let baseline = find(group, model, BASELINE);
        lines.extend(group.iter().map(|row| cells(row, baseline).to_vec()));
    }
    let mut rendered = plain(&HEADER.map(str::to_owned), lines).into_iter();
    let mut text = rendered.next().unwrap_or_default();
    let mut titles = titles.into_iter().peekable();
    for (at, line) in rendered.enumerate() {
        if let Some((_, title)) = titles.next_if(|(first, _)| *first == at) {
            text += &format!("{title}\n");
        }
        text += &line;
    }
    text
}

/// The summaries of one card: a line for the floor and each policy, a column for each cache size.
fn means(summaries: &[&Summary]) -> String {
    let Some(first) = summaries.first() else { return String::new() };
    let mut header = vec![format!("io, {}", of_models(first))];
    header.extend(summaries.iter().map(|summary| percent(summary.cache_ratio)));
    let line = |name: String, of: &dyn Fn(&Summary) -> Option<f64>| {
        let numbers = summaries.iter().map(|summary| factor(of(summary)));
        [name].into_iter().chain(numbers).collect::<Vec<_>>()
    };
    let mut lines = vec![
        line(format!("best rival / {OURS}"), &|summary| summary.best_rival),
        line(format!("best rival / {OURS}, worst model"), &|summary| summary.best_rival_worst),
        line(format!("{OURS} / floor"), &|summary| summary.ours_over_floor),
    ];
    for policy in compared(summaries) {
        lines.push(line(format!("{policy} / {OURS}"), &|summary| summary.over_ours(policy)));
    }
    plain(&header, lines).concat()
}

/// Lines of a table without rules, numbers to the right, each ending where it ends.
fn plain(header: &[String], rows: Vec<Vec<String>>) -> Vec<String> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header).add_rows(rows);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.lines().map(|line| format!(" {}\n", line.trim_end())).collect()
}

/// `text` in lines of at most `width` characters.
pub(super) fn wrapped(text: &str, width: usize) -> String {
    let mut out = String::new();
    let mut used = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > width {
            out.push('\n');
            used = 0;
        }
        if used > 0 {
            out.push(' ');
            used += 1;
        }
        out += word;
        used += length;
    }
    out.push('\n');
    out
}
