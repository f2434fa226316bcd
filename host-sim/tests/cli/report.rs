//! `ripple report`: the page is sound, says where its numbers come from, and they are those of other
//! commands.

use assert_cmd::Command;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

const ARGUMENTS: [&str; 12] = [
    "report",
    "story-nano",
    "--profile-tokens",
    "512",
    "--tokens",
    "128",
    "--generate",
    "8",
    "-o",
    "story.html",
    "--json",
    "story.json",
];

fn ripple(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::cargo_bin("ripple").unwrap();
    let output = command.current_dir(folder).args(arguments).assert().success();
    String::from_utf8(output.get_output().stdout.clone()).unwrap()
}

fn fresh(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report").join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// A folder with the page and its numbers.
fn reported() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = fresh("once");
        ripple(&folder, &ARGUMENTS);
        folder
    })
}

fn read(folder: &Path, file: &str) -> String {
    std::fs::read_to_string(folder.join(file)).unwrap()
}

fn numbers() -> Value {
    serde_json::from_str(&read(reported(), "story.json")).unwrap()
}

fn close(a: &Value, b: &Value) -> bool {
    let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

/// The words of an element and of all below it.
fn words(node: roxmltree::Node<'_, '_>) -> String {
    node.descendants().filter_map(|node| node.text().filter(|_| node.is_text())).collect()
}

#[test]
fn the_page_is_sound_and_needs_nothing_else() {
    let page = read(reported(), "story.html");
    assert!(page.starts_with("<!DOCTYPE html>\n"));
    assert!(page.len() < 2_000_000, "{}", page.len());
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    let document = roxmltree::Document::parse_with_options(&page, options).unwrap();
    let all = || document.descendants().filter(roxmltree::Node::is_element);
    assert!(all().all(|node| !["script", "link", "iframe"].contains(&node.tag_name().name())));
    for node in all() {
        for attribute in node.attributes().filter(|a| ["src", "href"].contains(&a.name())) {
            let to = attribute.value();
            assert!(to.starts_with('#') || to.starts_with("data:image/png;base64,"), "{to}");
        }
    }
    let ids: Vec<_> = all().filter_map(|node| node.attribute("id")).collect();
    for link in all().filter(|node| node.has_tag_name(("http://www.w3.org/1999/xhtml", "a"))) {
        assert!(ids.contains(&link.attribute("href").unwrap().trim_start_matches('#')));
    }
    let figures: Vec<_> = all().filter(|node| node.tag_name().name() == "figure").collect();
    assert_eq!(figures.len(), 13);
    let by = |source: &str| {
        let made = format!("{source} Made by ripple report story-nano");
        figures.iter().filter(|figure| words(**figure).contains(&made)).count()
    };
    // Activations are the model's own; times, and what caches do, are simulated.
    let counted = by("Counted in the traces, not simulated.");
    assert!(counted >= 7 && counted + by("Simulated.") == figures.len(), "{counted}");
    for figure in figures {
        let said = words(figure);
        let caption = figure.descendants().find(|node| node.tag_name().name() == "figcaption");
        assert!(words(caption.unwrap()).len() > 80, "{said}");
        let svg = figure.children().find(|node| node.tag_name().name() == "svg").unwrap();
        assert!(svg.children().any(|node| node.tag_name().name() == "title"));
        assert!(!svg.descendants().any(|node| {
            let places = node.attributes().filter(|a| a.name() != "href");
            places.into_iter().any(|a| a.value().contains("NaN") || a.value().contains("inf"))
        }));
    }
}

#[test]
#[ignore = "slow"]
fn two_runs_are_equal_byte_for_byte() {
    let again = fresh("again");
    ripple(&again, &ARGUMENTS);
    for file in ["story.html", "story.json"] {
        assert!(read(reported(), file) == read(&again, file), "{file}");
    }
}

#[test]
#[ignore = "slow"]
fn the_cache_curve_is_the_bench() {
    let folder = fresh("bench");
    let arguments = "bench story-nano --preset uhs-sdr104 --cache 0,0.05,0.1,0.2,0.4 \
                     --profile-tokens 512 --tokens 128 --json bench.json";
    ripple(&folder, &arguments.split_whitespace().collect::<Vec<_>>());
    let bench: Value = serde_json::from_str(&read(&folder, "bench.json")).unwrap();
    assert_eq!(numbers()["cache"], bench["rows"]);
    // The page shows them: the row of ours, card time by cache size.
    let page = read(reported(), "story.html");
    let ours = bench["rows"].as_array().unwrap().iter().filter(|row| row["policy"] == "ours");
    let cells: String =
        ours.map(|row| format!("<td>{:.2}</td>", row["io_ms"].as_f64().unwrap())).collect();
    assert!(page.contains(&format!("<th scope=\"row\">ours</th>{cells}</tr>")), "{cells}");
}

#[test]
fn the_runs_are_those_of_orders() {
    let folder = fresh("orders");
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/models/story-nano");
    for (text, tokens) in [("profile", "512"), ("held-out", "128")] {
        let file = format!("{model}/{text}.txt");
        let trace = format!("{text}.trace");
        ripple(&folder, &["trace", model, "--text", &file, "--tokens", tokens, "-o", &trace]);
    }
    let orders = ripple(&folder, &["orders", "profile.trace", "held-out.trace", "--json"]);
    let orders: Value = serde_json::from_str(&orders).unwrap();
    let numbers = numbers();
    for (name, method) in
        [("checkpoint", "identity"), ("frequency", "frequency"), ("co-activation", "coactivation")]
    {
        let found = |rows: &Value, key: &str, name: &str| {
            rows.as_array().unwrap().iter().find(|row| row[key] == *name).unwrap().clone()
        };
        let ours = found(&numbers["orders"], "order", name);
        let replay = found(&orders["rows"], "method", method)["replays"][0].clone();
        let layers = replay["layers"].as_array().unwrap();
        let sum = |field: &str| layers.iter().map(|l| l[field].as_u64().unwrap()).sum::<u64>();
        let (reads, bundles) = (sum("reads"), sum("bundles"));
        assert!(close(&ours["reads_per_token"], &Value::from(reads as f64 / 128.0)));
        assert!(close(&ours["mean_run"], &Value::from(bundles as f64 / reads as f64)));
        let bins = ours["histogram"].as_array().unwrap().iter();
        let all: f64 = bins.map(|reads| reads.as_f64().unwrap()).sum();
        assert!(close(&Value::from(all), &ours["reads_per_token"]));
    }
}

#[test]
fn the_parts_add_up_to_what_card_and_core_do() {
    let numbers = numbers();
    let presets = numbers["times"].as_array().unwrap();
    assert_eq!(presets.len(), 8);
    for preset in presets {
        let sum = |field: &str| -> f64 {
            preset["stages"].as_array().unwrap().iter().map(|p| p[field].as_f64().unwrap()).sum()
        };
        let (card, core) = (sum("card_ms"), sum("core_ms"));
        let token = preset["ms_per_token"].as_f64().unwrap();
        assert!(token <= card + core + 1e-6 && token + 1e-6 >= card.max(core), "{preset}");
    }
}

#[test]
#[ignore = "slow"]
fn traces_alone_make_a_page_without_times_by_part() {
    let folder = fresh("traces");
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/models/novel-nano");
    let text = format!("{model}/profile.txt");
    ripple(&folder, &["trace", model, "--text", &text, "--tokens", "600", "-o", "t"]);
    let arguments = "report --profile-trace t --test-trace t --cache 0.15 --layer 0 -o t.html";
    ripple(&folder, &arguments.split_whitespace().collect::<Vec<_>>());
    let page = read(&folder, "t.html");
    assert!(page.contains("15 %") && !page.contains("id=\"time\""));
    let mut wrong = Command::cargo_bin("ripple").unwrap();
    wrong
        .current_dir(&folder)
        .args("report --profile-trace t --test-trace t -o x --layer 9".split(' '));
    let output = wrong.assert().failure();
    let error = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
    assert!(error.contains("--layer 9: expected less than 4"), "{error}");
}
