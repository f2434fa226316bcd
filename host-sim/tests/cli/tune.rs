//! `ripple tune` and `ripple adapter` as their users meet them.

use crate::commands::{fresh, pack_demo};
use assert_cmd::Command;
use ripple_host_sim::import::demo;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A folder with an image of each family, and texts that their models do not know.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = fresh("tune");
        for name in ["story-nano", "novel-opt"] {
            pack_demo(&folder, name, name, |_| {});
        }
        // A novel's text for the model of stories.
        let novel = demo::path("novel-opt").unwrap().join("profile.txt");
        let text = std::fs::read_to_string(novel).unwrap();
        let cut = text.char_indices().nth(9000).unwrap().0;
        std::fs::write(folder.join("notes.txt"), &text[..cut]).unwrap();
        std::fs::write(folder.join("short.txt"), "A few words.").unwrap();
        folder
    })
}

fn ripple(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ripple"));
    command.current_dir(folder()).args(line.split_whitespace()).env("RUST_BACKTRACE", "0");
    command
}

fn ok(line: &str) -> String {
    let output = ripple(line).assert().success().get_output().clone();
    String::from_utf8(output.stdout).unwrap()
}

fn error(line: &str, code: i32) -> String {
    let output = ripple(line).assert().code(code).get_output().clone();
    String::from_utf8(output.stderr).unwrap().trim().to_owned()
}

fn read(file: &str) -> Vec<u8> {
    std::fs::read(folder().join(file)).unwrap()
}

/// The perplexity of each look at the held-out windows.
fn looks(json: &str) -> Vec<f64> {
    let json: Value = serde_json::from_str(json).unwrap();
    let looks = json["held_out"].as_array().unwrap();
    looks.iter().map(|look| look["perplexity"].as_f64().unwrap()).collect()
}

#[test]
fn it_learns_and_the_same_line_gives_the_same_adapter() {
    let line =
        "tune story-nano --text notes.txt --tokens 64 --rank 4 -n 40 --every 20 --windows 4 --json";
    let found = looks(&ok(&format!("{line} -o a.lora")));
    assert_eq!(found.len(), 3);
    assert!(found[2] < 0.9 * found[0], "{found:?}");
    ok(&format!("{line} -o b.lora"));
    assert_eq!(read("a.lora"), read("b.lora"));
    // What keeps more gives the same; what learns otherwise does not.
    ok(&format!("{line} --by-layer --clip 0 -o c.lora"));
    ok(&format!("{line} --map all --clip 0 -o d.lora"));
    assert_eq!(read("c.lora"), read("d.lora"));
    assert_ne!(read("a.lora"), read("c.lora"));

    let run = |more: &str| ok(&format!("run story-nano --prompt One -n 24 {more} --json"));
    let text = |json: &str| serde_json::from_str::<Value>(json).unwrap()["text"].clone();
    assert_ne!(text(&run("--adapter a.lora")), text(&run("")));
    // Passes of one token give the text that passes of many give.
    assert_eq!(text(&run("--adapter a.lora --batch 1")), text(&run("--adapter a.lora")));

    let more =
        "tune story-nano --text notes.txt --tokens 64 -n 2 --adapter a.lora -o e.lora --json";
    let on = looks(&ok(more));
    assert!(on[0] < 0.95 * found[0], "{on:?}");
    let about = "rank 4, alpha 8, of q, v in 5 layers: 4160 numbers, 42 steps\n";
    assert_eq!(ok("adapter story-nano e.lora"), about);
}

#[test]
fn peft_has_the_same_numbers() {
    for (image, names) in [
        ("story-nano", ["layers.4.self_attn.o_proj.lora_B.weight", "model.model.layers.0."]),
        (
            "novel-opt",
            ["layers.3.self_attn.out_proj.lora_B.weight", "model.model.decoder.layers.0."],
        ),
    ] {
        let (file, back, peft) =
            (format!("{image}.lora"), format!("{image}.back"), format!("{image}-peft"));
        let line = "--text notes.txt --tokens 32 --rank 2 --targets qkvo -n 2 --arm recovered";
        ok(&format!("tune {image} {line} -o {file}"));
        ok(&format!("adapter {image} {file} --export {peft}"));
        ok(&format!("adapter {image} {back} --import {peft}"));
        // All but the header, which counts steps.
        assert_eq!(read(&file)[64..], read(&back)[64..], "{image}");
        let tensors = read(&format!("{peft}/adapter_model.safetensors"));
        let tensors = String::from_utf8_lossy(&tensors);
        assert!(names.iter().all(|name| tensors.contains(name)), "{image}");
        let config = folder().join(&peft).join("adapter_config.json");
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, text.replace("\"LORA\"", "\"IA3\"")).unwrap();
        let line = format!("adapter {image} {back} --import {peft}");
        let expected =
            format!("error: {peft}/adapter_config.json: `peft_type`: expected LORA, found IA3");
        assert_eq!(error(&line, 3), expected);
        let text = text.replace("\"r\": 2", "\"r\": 2, \"use_rslora\": true");
        std::fs::write(&config, text).unwrap();
        assert!(error(&line, 3).contains("`use_rslora`: expected false, found true"));
    }
}

#[test]
fn every_arm_learns_and_those_that_lose_something_say_how_much() {
    let line = "tune story-nano --text notes.txt --tokens 32 --targets qkvo -n 2 --windows 1";
    let notes = |more: &str| {
        let output = ripple(&format!("{line} {more}")).assert().success().get_output().clone();
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(!notes("-o exact.lora").contains("cosine"));
    for arm in ["tiled", "again", "layer", "spill"] {
        assert!(!notes(&format!("--arm {arm} -o {arm}.lora")).contains("cosine"), "{arm}");
        assert_eq!(read(&format!("{arm}.lora")), read("exact.lora"), "{arm}");
    }
    let cosine = |arm: &str, more: &str| {
        let notes = notes(&format!("--arm {arm} {more} -o {arm}.lora"));
        let (_, rest) =
            notes.split_once("the cosine of its gradient to the exact one is ").unwrap();
        assert_ne!(read(&format!("{arm}.lora")), read("exact.lora"), "{arm}");
        let (cosine, rest) = rest.split_once(' ').unwrap();
        let cosine: f64 = cosine.parse().unwrap();
        let worth = if cosine >= 0.9 { "yes)" } else { "no)" };
        assert!(rest.starts_with(&format!("(0.9 is worth trying: {worth}")), "{arm}: {rest}");
        cosine
    };
    for arm in ["lean", "half", "eights", "fused", "fused-again", "fused-lean"] {
        assert!(cosine(arm, "") > 0.95, "{arm}");
    }
    let some = [
        "columns",
        "columns-again",
        "released",
        "scored",
        "position",
        "predicted",
        "threshold",
        "ahead",
        "key-length",
        "before",
        "recency",
        "random",
    ];
    for arm in some {
        let cosine = cosine(arm, "");
        assert!(cosine > 0.0 && cosine <= 1.0, "{arm}: {cosine}");
    }
    assert!(cosine("mezo", "").abs() < 0.3);
}

#[test]
fn a_predictor_of_blocks_is_judged_beside_what_costs_less() {
    let line = "tune story-nano --text notes.txt --tokens 128 --train-predictor --windows 4 -o x";
    let found: Value = serde_json::from_str(&ok(&format!("{line} --arm scored --json"))).unwrap();
    let of_50 = |by: &str| {
        let row = found["recalls"].as_array().unwrap().iter().find(|row| row["by"] == by);
        row.unwrap_or_else(|| panic!("{by}"))["of_50"].as_f64().unwrap()
    };
    assert!(of_50("position") > of_50("chance"), "{found}");
    assert!(of_50("predictor") > of_50("chance"), "{found}");
    assert!(error(line, 2).contains("--arm exact leaves no blocks out"));
    assert!(!folder().join("x").exists());
}

/// A predictor that finds no more blocks than the table of places is left out: what is learnt is then what the
/// table gives.
#[test]
fn what_finds_more_of_the_blocks_is_used() {
    let line = "tune story-nano --text notes.txt --tokens 128 -n 2 --windows 4";
    for keep in ["30", "50"] {
        let line = format!("{line} --keep {keep}");
        ok(&format!("{line} --arm position -o by-place.lora"));
        let guessed = ripple(&format!("{line} --arm predicted -o guessed.lora"));
        let output = { guessed }.assert().success().get_output().clone();
        let notes = String::from_utf8(output.stderr).unwrap();
        let (_, rest) = notes.split_once("the predictor finds ").unwrap();
        let (predictor, rest) = rest.split_once(", the table of places ").unwrap();
        let (table, used) = rest.split_once(": ").unwrap();
        let (predictor, table): (f64, f64) = (predictor.parse().unwrap(), table.parse().unwrap());
        let same = read("guessed.lora") == read("by-place.lora");
        assert_eq!(used.starts_with("the table is used"), same, "{notes}");
        assert!(if same { predictor <= table } else { predictor >= table }, "{notes}");
    }
    let none = error(&format!("{line} --keep 50 -o x"), 2);
    assert!(none.contains("--keep: --arm exact leaves no blocks out"), "{none}");
}

/// Where the arena is short of a text that is asked for, gradients are held by layer, and that is said.
#[test]
fn what_the_arena_asks_for_is_chosen_and_said() {
    let line = "tune story-nano --text notes.txt --arena 512K --arm lean -n 1 --windows 1";
    let notes = |more: &str| {
        let output = ripple(&format!("{line} {more}")).assert().success().get_output().clone();
        String::from_utf8(output.stderr).unwrap()
    };
    let found = notes("--tokens 190 -o fits.lora");
    assert!(found.contains("to fit the arena: --by-layer --staging 16"), "{found}");
    notes("--tokens 190 --by-layer --staging 16 -o said.lora");
    assert_eq!(read("fits.lora"), read("said.lora"));
    assert!(!notes("--tokens 128 -o fits.lora").contains("to fit the arena"));
    // Gradients of several texts are those of all layers.
    let whole = error(&format!("{line} --tokens 190 --texts 2 -o x"), 2);
    assert!(whole.contains(": 190 tokens need "), "{whole}");
}

#[test]
fn what_cannot_be_is_said_with_what_is_needed() {
    let short = error("tune story-nano --text short.txt --tokens 64 -o x.lora", 3);
    assert!(short.starts_with("error: short.txt: "), "{short}");
    assert!(short.ends_with("a step takes 65; give a longer text or fewer --tokens"), "{short}");
    let small = error("tune story-nano --text notes.txt --arena 4K -o x.lora", 2);
    assert!(small.starts_with("error: --arena 4096: a text of one token needs "), "{small}");
    let many = error("tune story-nano --text notes.txt --arena 256K --tokens 200 -o x.lora", 2);
    assert!(many.contains(": 200 tokens need ") && many.contains("; it holds "), "{many}");
    assert!(
        error("tune story-nano --text notes.txt --tokens 257 -o x.lora", 2).contains("at most 256")
    );
    ok("tune story-nano --text notes.txt --tokens 16 -n 1 -o story.lora");
    let other = error("run novel-opt --adapter story.lora -n 1", 3);
    assert!(other.starts_with("error: story.lora: the adapter was trained on image "), "{other}");
    let what = error("run story-nano --adapter notes.txt -n 1", 3);
    assert!(what.starts_with("error: notes.txt: not an adapter: it begins with "), "{what}");
    let cut = read("story.lora");
    std::fs::write(folder().join("cut.lora"), &cut[..cut.len() - 2]).unwrap();
    assert!(error("run story-nano --adapter cut.lora -n 1", 3).contains("bytes, expected "));
    assert!(!folder().join("x.lora").exists());
}

/// The perplexity of each row of `ripple perplexity`'s lossless table.
fn rows(json: &str) -> Vec<(String, f64)> {
    let json: Value = serde_json::from_str(json).unwrap();
    let rows = json["lossless"].as_array().unwrap().iter();
    rows.map(|row| (row["name"].as_str().unwrap().to_owned(), row["perplexity"].as_f64().unwrap()))
        .collect()
}

#[test]
fn perplexity_is_measured_with_an_adapter_of_one_of_its_images() {
    ok("tune story-nano --text notes.txt --tokens 64 -n 20 --windows 1 -o p.lora");
    let model = demo::path("story-nano").unwrap();
    let line = |more: &str| {
        format!("perplexity {} --text notes.txt --windows 2 --json {more}", model.display())
    };
    let found = rows(&ok(&line("--image story-nano --adapter p.lora")));
    let [reference, packed, image, adapted] = &found[..] else { panic!("{found:?}") };
    assert_eq!((&*image.0, &*adapted.0), ("story-nano", "story-nano + p.lora"));
    assert_eq!(image.1, packed.1);
    assert!((image.1 / reference.1 - 1.0).abs() < 0.01, "{found:?}");
    assert!(adapted.1 < 0.95 * image.1, "{found:?}");
    let other = error(&line("--image novel-opt --adapter p.lora"), 3);
    assert!(other.starts_with("error: p.lora: the adapter was trained on image "), "{other}");
    error(&line("--adapter p.lora"), 2);
}

/// A model that joins the residual stream in another way is not trained, and takes no adapter.
#[test]
fn adapters_are_refused_by_other_variants() {
    pack_demo(folder(), "story-nano", "parallel", |model| {
        model.config.variant.order = ripple_kernel::Order::Parallel;
    });
    let line = "tune parallel --text notes.txt --tokens 16 -n 1 -o v.lora";
    let found = error(line, 1);
    assert!(found.contains("`model.variant` is "), "{found}");
    assert!(!folder().join("v.lora").exists());
}

#[test]
fn a_report_shows_every_arm() {
    let line = "tune story-nano --text notes.txt --tokens 32 -n 4 --every 2 --windows 2";
    // In an arena that plain LoRA does not fit: what is compared takes what it takes.
    let line = format!("{line} --arena 300K");
    ok(&format!("{line} -o r.lora --report r.html --beside plain --beside lean"));
    let page = String::from_utf8(read("r.html")).unwrap();
    for what in
        ["story-nano learns from notes.txt", "Training loss", "Held-out loss", "KiB by region"]
    {
        assert!(page.contains(what), "{what}");
    }
    // A curve of each arm in both figures, and its rows.
    let count = |what: &str| page.matches(what).count();
    for arm in ["exact", "plain", "lean"] {
        assert_eq!(count(&format!("<polyline class=\"line {arm}\"")), 2, "{arm}");
        assert_eq!(count(&format!("<th scope=\"row\">{arm}</th>")), 2, "{arm}");
    }
    // What the page shows is what is learnt without it.
    ok(&format!("{line} -o s.lora"));
    assert_eq!(read("r.lora"), read("s.lora"));
    error(&format!("{line} -o s.lora --beside plain"), 2);
}
