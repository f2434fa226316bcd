//! Rows as a chart: for each card, the card time of every policy on every model.
//!
//! In: rows, one cache size. Out: an SVG that stands by itself. Knows nothing of files.
//!
//! The axis is logarithmic, where a bar from zero has no meaning: every bar starts at the bound, so
//! that its length is the factor above the least time possible, and all panels have the same scale
//! for factors.

mod scale;

use super::columns::{digits, percent};
use super::summary::{distinct, find};
use super::table::wrapped;
use super::{BASELINE, OURS, Row};
use crate::bench::svg::{Anchor, Svg};
use crate::cost::Preset;
use scale::{Scale, scales};

/// The policies that are drawn, and their colours: Okabe and Ito's, told apart by all.
const POLICIES: [(&str, &str); 5] = [
    ("dense", "#9aa3ad"),
    (BASELINE, "#56b4e9"),
    ("frequency", "#e69f00"),
    ("ripple", "#0072b2"),
    (OURS, "#d55e00"),
];
const STYLE: &str =
    "text { font-family: 'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', sans-serif; \
fill: #1f2328; }
.page { fill: #ffffff; }
.title { font-size: 19px; font-weight: 700; }
.about { font-size: 12px; fill: #57606a; }
.legend { font-size: 12px; }
.card { font-size: 13px; font-weight: 700; }
.speed { font-size: 11px; fill: #57606a; }
.model { font-size: 12px; }
.tick { font-size: 10px; fill: #57606a; }
.times { font-size: 9px; fill: #57606a; paint-order: stroke; stroke: #ffffff; stroke-width: 2; }
.time { font-size: 10px; font-weight: 700; fill: #a34700; paint-order: stroke; stroke: #ffffff; stroke-width: 2; }
.grid { stroke: #d8dee4; stroke-width: 1; }
.fine { stroke: #eef1f4; stroke-width: 1; }
.bound { stroke: #1f2328; stroke-width: 2; }
";

const MARGIN: f64 = 24.0;
const GUTTER: f64 = 30.0;
/// Room for what is written after the longest bar.
const AFTER_BAR: f64 = 46.0;
const PLOT_WIDTH: f64 = 290.0;
const SINGLE_PLOT_WIDTH: f64 = 420.0;
const BAR: f64 = 9.0;
const BAR_PITCH: f64 = 10.5;
const GROUP_GAP: f64 = 13.0;
const PANEL_TITLE: f64 = 24.0;
const PANEL_AXIS: f64 = 36.0;
const LINE: f64 = 16.0;

/// The rows with a cache of `cache_ratio`. `about`: what was run.
pub fn chart(rows: &[Row], cache_ratio: f64, about: &str) -> String {
    let rows = rows.iter().filter(|row| row.cache_ratio == cache_ratio);
    let rows: Vec<&Row> = rows.filter(|row| colour(&row.policy).is_some()).collect();
    let chart = Chart::new(&rows);
    chart.draw(cache_ratio, about)
}

fn colour(policy: &str) -> Option<usize> {
    POLICIES.iter().position(|(name, _)| *name == policy)
}

struct Chart<'r> {
    presets: Vec<&'r str>,
    models: Vec<&'r str>,
    policies: Vec<&'r str>,
    /// The rows of each panel.
    panels: Vec<Vec<&'r Row>>,
    scales: Vec<Scale>,
    columns: usize,
    /// Left of the first panel, where the models are named.
    names: f64,
}

impl<'r> Chart<'r> {
    fn new(rows: &[&'r Row]) -> Self {
        let of = |name: fn(&Row) -> &str| distinct(rows.iter().copied(), name);
        let presets = of(|row| &row.preset);
        let models = of(|row| &row.model);
        let policies = of(|row| &row.policy);
        let panel =
            |preset: &&str| rows.iter().copied().filter(|row| row.preset == *preset).collect();
        let panels: Vec<Vec<&Row>> = presets.iter().map(panel).collect();
        let columns = presets.len().clamp(1, 2);
        let width = if columns == 1 { SINGLE_PLOT_WIDTH } else { PLOT_WIDTH };
        let ranges: Vec<(f64, f64)> = panels.iter().map(|rows| range(rows)).collect();
        let longest = models.iter().map(|model| model.chars().count()).max().unwrap_or(0);
        let names = MARGIN + 12.0 + 6.6 * longest as f64;
        let scales = scales(&ranges, width);
        Self { presets, models, policies, panels, scales, columns, names }
    }

    fn plot_width(&self) -> f64 {
        if self.columns == 1 { SINGLE_PLOT_WIDTH } else { PLOT_WIDTH }
    }

    fn width(&self) -> f64 {
        let panels = self.columns as f64 * (self.plot_width() + AFTER_BAR);
        self.names + panels + (self.columns - 1) as f64 * GUTTER + MARGIN - 12.0
    }

    fn group_height(&self) -> f64 {
        self.policies.len() as f64 * BAR_PITCH + GROUP_GAP
    }

    fn panel_height(&self) -> f64 {
        PANEL_TITLE + self.models.len() as f64 * self.group_height() + PANEL_AXIS
    }

    fn draw(&self, cache_ratio: f64, about: &str) -> String {
        let mut svg = Svg::default();
        let title = "Card time a token by policy (simulated)";
        let cache = match cache_ratio {
            0.0 => "No neuron cache.".to_owned(),
            ratio => format!("Neuron cache: {} of the FFN.", percent(ratio)),
        };
        let reading = format!(
            "{cache} Logarithmic axis; every bar starts at the bound: a cache of the same size that \
             knows the future, its misses at full bandwidth. Bold: time of {OURS}. Others: times as long as {OURS}."
        );
        let characters = ((self.width() - 2.0 * MARGIN) / 6.2) as usize;
        svg.text("title", Anchor::Start, (MARGIN, MARGIN + 16.0), title);
        let mut y = MARGIN + 38.0;
        for line in wrapped(&reading, characters).lines() {
            svg.text("about", Anchor::Start, (MARGIN, y), line);
            y += LINE;
        }
        y = self.legend(&mut svg, y + 10.0);
        for (at, preset) in self.presets.iter().enumerate() {
            let (column, row) = (at % self.columns, at / self.columns);
            let x = self.names + column as f64 * (self.plot_width() + AFTER_BAR + GUTTER);
            let top = y + row as f64 * self.panel_height();
            self.panel(&mut svg, at, preset, (x, top));
        }
        y += self.presets.len().div_ceil(self.columns) as f64 * self.panel_height();
        for line in wrapped(about, characters).lines() {
            svg.text("about", Anchor::Start, (MARGIN, y), line);
            y += LINE;
        }
        svg.finish(self.width(), y + MARGIN - LINE, &style(), title, &format!("{reading} {about}"))
    }

    /// The colours, left to right and then down; gives where the panels may begin.
    fn legend(&self, svg: &mut Svg, mut y: f64) -> f64 {
        let mut x = MARGIN;
        let names = self.policies.iter().copied().chain(["bound"]);
        for name in names {
            let width = 20.0 + 6.4 * name.chars().count() as f64 + 16.0;
            if x + width > self.width() - MARGIN && x > MARGIN {
                (x, y) = (MARGIN, y + LINE + 2.0);
            }
            match colour(name) {
                Some(colour) => svg.rect(&format!("p{colour}"), (x, y - 9.0), 14.0, BAR),
                None => svg.line("bound", (x + 7.0, y - 11.0), (x + 7.0, y + 2.0)),
            }
            svg.text("legend", Anchor::Start, (x + 20.0, y), name);
            x += width;
        }
        y + 30.0
    }

    fn panel(&self, svg: &mut Svg, at: usize, preset: &str, (x, top): (f64, f64)) {
        let scale = &self.scales[at];
        svg.text("card", Anchor::Start, (x, top + 8.0), preset);
        let speed = speed(preset);
        svg.text(
            "speed",
            Anchor::End,
            (x + self.plot_width() + AFTER_BAR - 12.0, top + 8.0),
            &speed,
        );
        let (from, to) = (top + PANEL_TITLE - 6.0, top + self.panel_height() - PANEL_AXIS);
        for tick in scale.ticks() {
            let class = if tick.label.is_some() { "grid" } else { "fine" };
            svg.line(class, (x + tick.x, from), (x + tick.x, to));
            if let Some(label) = tick.label {
                svg.text("tick", Anchor::Middle, (x + tick.x, to + 13.0), &label);
            }
        }
        for (group, model) in self.models.iter().enumerate() {
            let top = top + PANEL_TITLE + group as f64 * self.group_height();
            let height = self.policies.len() as f64 * BAR_PITCH;
            if at.is_multiple_of(self.columns) {
                let middle = (x - 10.0, top + height / 2.0 + 3.0);
                svg.text("model", Anchor::End, middle, model);
            }
            self.group(svg, &self.panels[at], model, scale, (x, top));
        }
    }

    /// The bars of one model.
    fn group(
        &self,
        svg: &mut Svg,
        rows: &[&Row],
        model: &str,
        scale: &Scale,
        (x, top): (f64, f64),
    ) {
        let ours = find(rows, model, OURS);
        let mut bound = 0.0;
        for (bar, policy) in self.policies.iter().enumerate() {
            let Some(row) = find(rows, model, policy) else { continue };
            let y = top + bar as f64 * BAR_PITCH;
            bound = row.bound_ms;
            let from = if shown(bound) { scale.x(bound) } else { 0.0 };
            let to = if shown(row.io_ms) { scale.x(row.io_ms).max(from) } else { from };
            let colour = colour(policy).unwrap_or_default();
            svg.rect(&format!("p{colour}"), (x + from, y), to - from, BAR);
            let (class, text) = match ours {
                _ if *policy == OURS => ("time", time(row.io_ms)),
                Some(ours) if shown(ours.io_ms) => ("times", times(row.io_ms / ours.io_ms)),
                _ => ("times", time(row.io_ms)),
            };
            svg.text(class, Anchor::Start, (x + to + 4.0, y + BAR - 1.0), &text);
        }
        if shown(bound) {
            let at = x + scale.x(bound);
            let end = top + (self.policies.len() - 1) as f64 * BAR_PITCH + BAR;
            svg.line("bound", (at, top - 3.0), (at, end + 3.0));
        }
    }
}

/// A time in the unit that suits it.
fn time(ms: f64) -> String {
    if 0.0 < ms && ms < 0.1 {
        format!("{} µs", digits(1e3 * ms))
    } else {
        format!("{} ms", digits(ms))
    }
}

/// How many times as long.
fn times(factor: f64) -> String {
    if factor < 9.995 { format!("{factor:.2}×") } else { format!("{}×", digits(factor)) }
}

/// Whether a time has a place on a logarithmic axis.
fn shown(ms: f64) -> bool {
    ms.is_finite() && ms > 0.0
}

/// The least and the greatest time of a panel.
fn range(rows: &[&Row]) -> (f64, f64) {
    let times = rows.iter().flat_map(|row| [row.io_ms, row.bound_ms]).filter(|ms| shown(*ms));
    times
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), ms| (least.min(ms), most.max(ms)))
}

/// What a read of `n` bytes takes on a card.
fn speed(preset: &str) -> String {
    match Preset::by_name(preset) {
        Ok(preset) if preset.table.is_empty() => format!(
            "{} µs + n / {} MB/s",
            preset.t0_ns as f64 / 1e3,
            preset.bytes_per_second as f64 / 1e6
        ),
        Ok(_) => "published table".to_owned(),
        Err(_) => String::new(),
    }
}

fn style() -> String {
    let mut style = STYLE.to_owned();
    for (at, (_, colour)) in POLICIES.iter().enumerate() {
        style += &format!(".p{at} {{ fill: {colour}; }}\n");
    }
    style
}
