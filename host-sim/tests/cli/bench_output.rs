//! Rows as people and programs get them: tables, CSV, JSON, the chart.
//!
//! The rows are made by hand, from a model simple enough to check on paper; no policy was run.

use ripple_host_sim::bench::{BASELINE, OURS, Row, Summary, chart, csv, json, markdown, table};
use ripple_host_sim::cost::Preset;
use std::path::Path;

/// Name, active bundles a token, bytes of each.
const MODELS: [(&str, f64, f64); 5] = [
    ("novel-nano", 90.0, 388.0),
    ("story-nano", 215.0, 388.0),
    ("novel-opt", 420.0, 516.0),
    ("novel-wide", 640.0, 1028.0),
    ("novel-small", 1120.0, 772.0),
];
/// Name, missed bundles a read, bytes read for each missed, share of the misses that a cache spares.
const POLICIES: [(&str, f64, f64, f64); 5] = [
    ("dense", 400.0, 12.0, 0.1),
    ("llm-in-a-flash", 1.06, 1.0, 0.8),
    ("frequency", 1.9, 1.05, 0.9),
    ("ripple", 3.1, 1.3, 0.95),
    ("ours", 4.2, 1.4, 1.0),
];

fn row(preset: &Preset, model: usize, policy: (&str, f64, f64, f64), cache_ratio: f64) -> Row {
    let (model, active, stride) = MODELS[model];
    let (policy, run, amplification, share) = policy;
    let timing = preset.timing();
    let hit_rate = (cache_ratio.sqrt() * share).min(1.0);
    let missed = active * (1.0 - hit_rate);
    let reads = missed / run;
    let bytes = missed * stride * amplification;
    let cost = |bytes: f64| timing.cost_ps(bytes as u64) as f64 * 1e-9;
    let io_ms = if reads > 0.0 { reads * cost(bytes / reads) } else { 0.0 };
    let least = active * (1.0 - cache_ratio.sqrt());
    let floor_ms = if least > 0.0 { 5.0 * cost(least * stride / 5.0) } else { 0.0 };
    Row {
        model: model.to_owned(),
        preset: preset.name.to_owned(),
        cache_ratio,
        policy: policy.to_owned(),
        ms_per_token: io_ms + 0.8,
        io_ms,
        compute_ms: 1.0,
        reads_per_token: reads,
        bytes_per_token: bytes,
        mean_run_bundles: run,
        read_amplification: amplification,
        hit_rate,
        p99_ms: 1.7 * io_ms + 0.8,
        floor_ms: floor_ms.min(io_ms),
        ffn_bytes: 1_000_000,
        page_bytes: if policy == "ours" { 233_000_000 } else { 0 },
        index_bytes: if policy == "ours" { 12_288 } else { 0 },
    }
}

/// Every policy on these models and cards.
fn rows(models: &[usize], presets: &[Preset], ratios: &[f64]) -> Vec<Row> {
    let mut rows = Vec::new();
    for &model in models {
        for &ratio in ratios {
            for preset in presets {
                rows.extend(POLICIES.map(|policy| row(preset, model, policy, ratio)));
            }
        }
    }
    rows
}

fn few() -> Vec<Row> {
    let mut rows = rows(&[1, 4], &[Preset::ALL[3]], &[0.0, 0.05]);
    let ablation = ("ours, no collapse", 1.6, 1.0, 1.0);
    rows.extend([1, 4].map(|model| row(&Preset::ALL[3], model, ablation, 0.05)));
    rows
}

const ABOUT: &str = "Made by hand, to show how it looks: no policy was run.";

#[test]
fn the_table_is_grouped_by_model_and_cache() {
    let text = table(&few());
    assert!(text.lines().all(|line| line.chars().count() <= 118), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn the_page_has_a_summary_and_a_section_for_each_card() {
    insta::assert_snapshot!(markdown(&few(), ABOUT));
}

#[test]
fn nothing_is_divided_by_zero() {
    // All of the FFN is held: no reads, no card time, no floor.
    let rows = rows(&[0, 1], &Preset::ALL, &[1.0]);
    let full = table(&rows) + &markdown(&rows, ABOUT) + &chart(&rows, 1.0, ABOUT);
    let empty = table(&[]) + &markdown(&[], ABOUT) + &chart(&[], 0.1, ABOUT);
    for text in [full, empty] {
        let mut words = text.split(|c: char| !c.is_alphanumeric());
        assert!(!words.any(|word| ["NaN", "inf"].contains(&word)), "{text}");
    }
}

#[test]
fn a_summary_is_the_geometric_mean_over_models() {
    let mut rows = rows(&[0, 1], &[Preset::ALL[0]], &[0.1]);
    let io = |rows: &mut [Row], model: &str, policy: &str, io_ms: f64| {
        let row = rows.iter_mut().find(|row| row.model == model && row.policy == policy);
        let row = row.unwrap();
        (row.io_ms, row.floor_ms) = (io_ms, 0.5);
    };
    for (model, ours, baseline) in [("novel-nano", 1.0, 2.0), ("story-nano", 4.0, 32.0)] {
        io(&mut rows, model, OURS, ours);
        io(&mut rows, model, BASELINE, baseline);
        for rival in ["dense", "frequency", "ripple"] {
            io(&mut rows, model, rival, 40.0);
        }
    }
    io(&mut rows, "story-nano", "dense", 6.0);
    let summary = Summary::of(&rows).remove(0);
    assert_eq!((summary.models, summary.cache_ratio), (2, 0.1));
    let near = |found: Option<f64>, expected: f64| (found.unwrap() - expected).abs() < 1e-12;
    assert!(near(summary.over_ours(BASELINE), 4.0));
    assert!(near(summary.ours_over_floor, 4.0));
    // The best rival is not the same on both models: 2 and 1.5 times as long.
    assert!(near(summary.best_rival, 3.0_f64.sqrt()));
    assert!(near(summary.best_rival_worst, 1.5));
    // Not run on one of the models: no mean.
    rows.retain(|row| (row.model.as_str(), row.policy.as_str()) != ("novel-nano", "ripple"));
    let summary = Summary::of(&rows).remove(0);
    assert_eq!(summary.over_ours("ripple"), None);
    assert!(summary.over_ours("dense").is_some());
}

#[test]
fn csv_and_json_give_the_rows_back() {
    let mut rows = few();
    rows[0].model = "a \"b\", c\nd".to_owned();
    rows[1].io_ms = 0.1 + 0.2;
    let text = csv(&rows).unwrap();
    let header = "model,preset,cache_ratio,policy,ms_per_token,io_ms,compute_ms,reads_per_token,\
                  bytes_per_token,mean_run_bundles,read_amplification,hit_rate,p99_ms,floor_ms,ffn_bytes,\
                  page_bytes,index_bytes";
    assert_eq!(text.lines().next(), Some(header));
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    assert_eq!(reader.deserialize().collect::<Result<Vec<Row>, _>>().unwrap(), rows);
    let read: serde_json::Value = serde_json::from_str(&json(&rows).unwrap()).unwrap();
    assert_eq!(read["version"], 3);
    assert_eq!(serde_json::from_value::<Vec<Row>>(read["rows"].clone()).unwrap(), rows);
}

/// Elements of a class.
fn count(svg: &roxmltree::Document<'_>, class: impl Fn(&str) -> bool) -> usize {
    svg.descendants().filter(|node| node.attribute("class").is_some_and(&class)).count()
}

/// Leaves the chart in the target folder, to be looked at.
fn draw(name: &str, rows: &[Row], ratio: f64) -> String {
    let text = chart(rows, ratio, ABOUT);
    std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name), &text).unwrap();
    text
}

#[test]
fn the_chart_has_a_bar_for_each_row_and_a_bound_for_each_group() {
    let rows = rows(&[0, 1, 2, 3, 4], &Preset::ALL, &[0.0, 0.1]);
    let text = draw("bench-5x8.svg", &rows, 0.1);
    let svg = roxmltree::Document::parse(&text).unwrap();
    // One more of each in the legend.
    let is_bar = |class: &str| class.starts_with("bar ");
    assert_eq!(count(&svg, is_bar), 5 * 5 * 8 + 5);
    assert_eq!(count(&svg, |class| class == "floor"), 5 * 8 + 1);
    assert_eq!(count(&svg, |class| class == "card"), 8);
    assert!(text.contains("simulated"));
}

#[test]
fn the_chart_stays_on_its_page() {
    for (name, models, cards) in [("5x8", 0..5, 0..8), ("1x1", 1..2, 3..4), ("2x3", 0..2, 2..5)] {
        let rows = rows(&models.collect::<Vec<_>>(), &Preset::ALL[cards], &[0.1]);
        let text = draw(&format!("bench-{name}.svg"), &rows, 0.1);
        let svg = roxmltree::Document::parse(&text).unwrap();
        let number = |node: &roxmltree::Node<'_, '_>, name: &str| {
            node.attribute(name).and_then(|value| value.parse::<f64>().ok()).unwrap_or(0.0)
        };
        let page = (number(&svg.root_element(), "width"), number(&svg.root_element(), "height"));
        for node in svg.descendants() {
            let right = number(&node, "x") + number(&node, "width");
            assert!(right <= page.0 && number(&node, "y") < page.1, "{name}: {node:?}");
            assert!(number(&node, "x") >= 0.0 && number(&node, "width") >= 0.0, "{name}: {node:?}");
        }
    }
}

#[test]
fn names_from_a_trace_cannot_break_a_file() {
    let mut rows = rows(&[1], &[Preset::ALL[0]], &[0.1]);
    for row in &mut rows {
        row.model = "</text><script>\u{1} & \"|\" </svg>".to_owned();
    }
    let text = chart(&rows, 0.1, "<&>");
    let svg = roxmltree::Document::parse(&text).unwrap();
    assert!(!svg.descendants().any(|node| node.tag_name().name() == "script"));
    assert!(markdown(&rows, ABOUT).contains("\\|"));
}

#[test]
fn two_runs_give_the_same_bytes() {
    let all = || {
        let rows = rows(&[0, 1, 2, 3, 4], &Preset::ALL, &[0.0, 0.05, 0.1, 0.2]);
        let tables = table(&rows) + &markdown(&rows, ABOUT) + &chart(&rows, 0.05, ABOUT);
        tables + &csv(&rows).unwrap() + &json(&rows).unwrap()
    };
    assert_eq!(all(), all());
}
