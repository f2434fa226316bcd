//! Rows as Markdown, for a page that is read on GitHub.
//!
//! In: rows, and what they are of. Out: a summary table and a section for each card. Knows nothing
//! of files or of how the rows came about.

use super::columns::{HEADER, LEGEND, cells, factor};
use super::summary::{compared, distinct, find, groups, of_models};
use super::{BASELINE, OURS, Row, Summary};
use crate::cost::Preset;
use crate::plot::percent;

/// The whole page. `about`: what was run, and how to run it again.
pub fn markdown(rows: &[Row], about: &str) -> String {
    let mut page = format!("# Policies side by side, simulated\n\n{about}\n\n{LEGEND}\n");
    page += &summary(&Summary::of(rows).iter().collect::<Vec<_>>());
    for preset in distinct(rows, |row| row.preset.as_str()) {
        page += &section(preset, rows);
    }
    page
}

/// Card times over that of ours: a line for each card and cache size, a column for each policy.
fn summary(summaries: &[&Summary]) -> String {
    let Some(first) = summaries.first() else { return String::new() };
    let policies = compared(summaries);
    let mut header = vec!["card".to_owned(), "cache".to_owned()];
    header.push(format!("best rival / {OURS}"));
    header.push(format!("best rival / {OURS}, worst model"));
    header.push(format!("{OURS} / floor"));
    header.extend(policies.iter().map(|policy| format!("{policy} / {OURS}")));
    let lines = summaries.iter().map(|summary| {
        let mut line = vec![summary.preset.clone(), percent(summary.cache_ratio)];
        let first = [summary.best_rival, summary.best_rival_worst, summary.ours_over_floor];
        line.extend(first.map(factor));
        line.extend(policies.iter().map(|policy| factor(summary.over_ours(policy))));
        line
    });
    let of = of_models(first);
    format!("\n## Summary\n\nRatios of card time (io), {of}.\n\n{}", table(&header, 1, lines))
}

/// One card.
fn section(preset: &str, rows: &[Row]) -> String {
    let source =
        Preset::by_name(preset).map_or_else(|_| String::new(), |p| format!("{}.\n\n", p.source));
    let mut header = vec!["model".to_owned(), "cache".to_owned()];
    header.extend(HEADER.map(str::to_owned));
    let groups = groups(rows, preset);
    let lines = groups.iter().flat_map(|group| {
        group.iter().map(|row| {
            let mut line = vec![row.model.clone(), percent(row.cache_ratio)];
            line.extend(cells(row, find(group, &row.model, BASELINE)));
            line
        })
    });
    format!("\n## {preset}\n\n{source}{}", table(&header, 3, lines))
}

/// A table in GitHub's form, all but the first `names` columns to the right.
fn table(header: &[String], names: usize, lines: impl Iterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let rule = (0..header.len()).map(|at| if at < names { "---" } else { "--:" });
    let mut text = line(header) + &format!("|{}|\n", rule.collect::<Vec<_>>().join("|"));
    lines.for_each(|cells| text += &line(&cells));
    text
}
