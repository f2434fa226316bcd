//! Rows as a chart: for each card, the card time of every policy on every model.
//!
//! In: rows, one cache size. Out: an SVG that stands by itself. Knows nothing of files.
//!
//! The axis is logarithmic, where a bar from zero has no meaning: every bar starts at the floor, so
//! that its length is the factor above the least time possible, and all panels have the same scale
//! for factors.

use super::policy::Policy;
use super::summary::{distinct, find};
use super::table::wrapped;
use super::{OURS, Row};
use crate::cost::Preset;
use crate::plot::{Axis, Point, class, digits, file, line, percent, rect, svg, text};
use maud::{Markup, PreEscaped, html};

const STYLE: &str = include_str!("chart.css");
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
/// Least power of ten that an axis spans.
const LEAST_DECADES: f64 = 0.7;

/// The rows with a cache of `cache_ratio`. `about`: what was run.
pub fn chart(rows: &[Row], cache_ratio: f64, about: &str) -> String {
    let drawn = |row: &&Row| Policy::ALL.iter().any(|policy| policy.name == row.policy);
    let rows = rows.iter().filter(|row| row.cache_ratio == cache_ratio);
    file(Chart::new(&rows.filter(drawn).collect::<Vec<_>>()).draw(cache_ratio, about))
}

struct Chart<'r> {
    /// Each card with its axis and its rows.
    panels: Vec<(&'r str, Axis, Vec<&'r Row>)>,
    models: Vec<&'r str>,
    policies: Vec<&'r str>,
    columns: usize,
    plot_width: f64,
    /// Left of the first panel, where the models are named.
    names: f64,
}

impl<'r> Chart<'r> {
    fn new(rows: &[&'r Row]) -> Self {
        let of = |name: fn(&Row) -> &str| distinct(rows.iter().copied(), name);
        let (presets, models, policies) =
            (of(|row| &row.preset), of(|row| &row.model), of(|row| &row.policy));
        let panels = presets.into_iter().map(|preset| {
            let rows = rows.iter().copied().filter(|row| row.preset == preset).collect::<Vec<_>>();
            (preset, range(&rows), rows)
        });
        let panels: Vec<_> = panels.collect();
        let decades = panels.iter().map(|(_, (least, most), _)| (most / least).log10());
        let widest = decades.fold(LEAST_DECADES, f64::max);
        let panels = panels.into_iter().map(|(preset, (least, _), rows)| {
            // A little air before the first bar.
            let (from, to) = (least * 10_f64.powf(-0.02 * widest), least * 10_f64.powf(widest));
            (preset, Axis::time("", from, to), rows)
        });
        let panels: Vec<_> = panels.collect();
        let longest = models.iter().map(|model| model.chars().count()).max().unwrap_or(0);
        let columns = panels.len().clamp(1, 2);
        let plot_width = if columns == 1 { SINGLE_PLOT_WIDTH } else { PLOT_WIDTH };
        let names = MARGIN + 12.0 + 6.6 * longest as f64;
        Self { panels, models, policies, columns, plot_width, names }
    }

    fn width(&self) -> f64 {
        let panels = self.columns as f64 * (self.plot_width + AFTER_BAR);
        self.names + panels + (self.columns - 1) as f64 * GUTTER + MARGIN - 12.0
    }

    fn group_height(&self) -> f64 {
        self.policies.len() as f64 * BAR_PITCH + GROUP_GAP
    }

    fn panel_height(&self) -> f64 {
        PANEL_TITLE + self.models.len() as f64 * self.group_height() + PANEL_AXIS
    }

    fn draw(&self, cache_ratio: f64, about: &str) -> Markup {
        let title = "Card time a token by policy (simulated)";
        let cache = match cache_ratio {
            0.0 => "No neuron cache.".to_owned(),
            ratio => format!("Neuron cache: {} of the FFN.", percent(ratio)),
        };
        let reading = format!(
            "{cache} Logarithmic axis; every bar starts at the floor, below which no policy with \
             such a cache gets. Bold: time of {OURS}. Others: times as long as {OURS}."
        );
        let (reading_lines, legend_at) = self.paragraph(&reading, MARGIN + 38.0);
        let (legend, top) = self.legend(legend_at + 10.0);
        let rows = self.panels.len().div_ceil(self.columns);
        let (about_lines, end) = self.paragraph(about, top + rows as f64 * self.panel_height());
        let body = html! {
            style { "\n" (PreEscaped(STYLE)) } "\n"
            rect class="page" width="100%" height="100%" {} "\n"
            (text("title", (MARGIN, MARGIN + 16.0), title))
            (reading_lines) (legend)
            @for at in 0..self.panels.len() { (self.panel(at, top)) }
            (about_lines)
        };
        let size = (self.width(), end + MARGIN - LINE);
        svg(size, true, title, &format!("{reading} {about}"), &body)
    }

    /// `words` in lines from `y` down; gives where the next one may be.
    fn paragraph(&self, words: &str, y: f64) -> (Markup, f64) {
        let characters = ((self.width() - 2.0 * MARGIN) / 6.2) as usize;
        let lines = wrapped(words, characters);
        let at = |line: usize| y + LINE * line as f64;
        let drawn = html! {
            @for (row, line) in lines.lines().enumerate() { (text("about", (MARGIN, at(row)), line)) }
        };
        (drawn, at(lines.lines().count()))
    }

    /// The colours, left to right and then down; gives where the panels may begin.
    fn legend(&self, mut y: f64) -> (Markup, f64) {
        let (mut x, mut keys) = (MARGIN, String::new());
        for name in self.policies.iter().copied().chain(["floor"]) {
            let width = 20.0 + 6.4 * name.chars().count() as f64 + 16.0;
            if x + width > self.width() - MARGIN && x > MARGIN {
                (x, y) = (MARGIN, y + LINE + 2.0);
            }
            keys += &match name {
                "floor" => line("floor", (x + 7.0, y - 11.0), (x + 7.0, y + 2.0)),
                policy => rect(&bar(policy), (x, y - 9.0), (14.0, BAR), ""),
            }
            .0;
            keys += &text("legend", (x + 20.0, y), name).0;
            x += width;
        }
        (PreEscaped(keys), y + 30.0)
    }

    fn panel(&self, at: usize, top: f64) -> Markup {
        let (preset, axis, rows) = &self.panels[at];
        let (column, row) = (at % self.columns, at / self.columns);
        let x = self.names + column as f64 * (self.plot_width + AFTER_BAR + GUTTER);
        let top = top + row as f64 * self.panel_height();
        let (from, to) = (top + PANEL_TITLE - 6.0, top + self.panel_height() - PANEL_AXIS);
        let right = x + self.plot_width + AFTER_BAR - 12.0;
        let speed = Preset::by_name(preset).map_or_else(|_| String::new(), Preset::speed);
        html! {
            (text("card", (x, top + 8.0), preset))
            (text("speed end", (right, top + 8.0), &speed))
            @for (value, name) in &axis.ticks {
                @let x = x + self.plot_width * axis.place(*value);
                (line(if name.is_empty() { "fine" } else { "grid" }, (x, from), (x, to)))
                (text("tick middle", (x, to + 13.0), name))
            }
            @for (group, model) in self.models.iter().enumerate() {
                @let top = top + PANEL_TITLE + group as f64 * self.group_height();
                @if column == 0 {
                    @let middle = top + self.policies.len() as f64 * BAR_PITCH / 2.0 + 3.0;
                    (text("model end", (x - 10.0, middle), model))
                }
                (self.group(rows, model, axis, (x, top)))
            }
        }
    }

    /// The bars of one model.
    fn group(&self, rows: &[&Row], model: &str, axis: &Axis, (x, top): Point) -> Markup {
        let ours = find(rows, model, OURS).map(|row| row.io_ms);
        let place = |ms: f64| if shown(ms) { self.plot_width * axis.place(ms) } else { 0.0 };
        let bars = self.policies.iter().enumerate();
        let bars = bars.filter_map(|(at, policy)| {
            Some((top + at as f64 * BAR_PITCH, find(rows, model, policy)?))
        });
        let bars: Vec<_> = bars.collect();
        let floor = bars.last().map(|(_, row)| row.floor_ms).filter(|floor| shown(*floor));
        html! {
            @for (y, row) in &bars {
                @let (from, to) = (place(row.floor_ms), place(row.io_ms).max(place(row.floor_ms)));
                (rect(&bar(&row.policy), (x + from, *y), (to - from, BAR), ""))
                @let (class, words) = match ours {
                    _ if row.policy == OURS => ("time", time(row.io_ms)),
                    Some(ours) if shown(ours) => ("times", times(row.io_ms / ours)),
                    _ => ("times", time(row.io_ms)),
                };
                (text(class, (x + to + 4.0, y + BAR - 1.0), &words))
            }
            @if let Some(floor) = floor {
                @let x = x + place(floor);
                @let end = top + (self.policies.len() - 1) as f64 * BAR_PITCH + BAR;
                (line("floor", (x, top - 3.0), (x, end + 3.0)))
            }
        }
    }
}

/// The classes of the bars of a policy.
fn bar(policy: &str) -> String {
    format!("bar {}", class(policy))
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
    let times = rows.iter().flat_map(|row| [row.io_ms, row.floor_ms]).filter(|ms| shown(*ms));
    times
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), ms| (least.min(ms), most.max(ms)))
}
