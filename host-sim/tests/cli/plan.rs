//! `ripple plan` as its users meet it: on everything that its help names, at once, and honest about what
//! does not fit.

use crate::commands::{MODELS, fresh, ok, refused, ripple, says};
use crate::gguf;
use ripple_app::board;
use serde_json::Value;
use std::path::Path;

/// A folder with story-nano in each form, under names that say nothing.
fn forms(name: &str) -> std::path::PathBuf {
    let folder = fresh(name);
    std::fs::create_dir(folder.join("checkpoint")).unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::copy(format!("{MODELS}/story-nano/{file}"), folder.join("checkpoint").join(file))
            .unwrap();
    }
    ok(&folder, &["import", "checkpoint", "-o", "imported.bin"]);
    ok(&folder, &["place", "--method", "identity", &trace(&folder), "-o", "placed"]);
    ok(&folder, &["pack", "imported.bin", "--placement", "placed", "-o", "image.gguf"]);
    gguf::write(&folder.join("gguf.img"));
    folder
}

fn trace(folder: &Path) -> String {
    let text = format!("{MODELS}/story-nano/profile.txt");
    ok(folder, &["trace", "checkpoint", "--text", &text, "--tokens", "64", "-o", "traced"]);
    "traced".to_owned()
}

#[test]
fn a_plan_of_each_form_is_the_same_plan() {
    let folder = forms("plan-forms");
    let plan = |what: &str| {
        let out = ok(&folder, &["plan", what, "--board", "pico2"]);
        out.split_once('\n').unwrap().1.to_owned()
    };
    let image = plan("image.gguf");
    assert!(image.contains("RAM") && image.contains("of 532,480"), "{image}");
    for what in ["imported.bin", "checkpoint", "story-nano"] {
        assert_eq!(plan(what), image, "{what}");
    }
    // Of a model that would be refused for running as it is, the sizes are known all the same.
    says(&plan("gguf.img"), &["flash", "of 4,194,304"]);
    let error = refused(&folder, &["plan", "gguf.img", "--board", "pico2", "--simulate"]);
    says(&error, &["tiny: its activation is Silu", "--threshold"]);
    for (what, words) in [
        ("traced", "found an activation trace"),
        ("placed", "found a placement"),
        ("nosuch", "nosuch: no such file; expected an image, a model or the name of a demo model"),
    ] {
        says(&refused(&folder, &["plan", what]), &[what, words]);
        let code = ripple(&folder, &["plan", what]).assert().get_output().status.code();
        assert_eq!(code, Some(3), "{what}");
    }
}

#[test]
fn without_a_board_all_are_listed_and_what_is_missing_is_said() {
    let out = ok(Path::new("."), &["plan", "story-nano"]);
    for board in board::ALL {
        let row = out.lines().find(|line| line.trim_start().starts_with(board.name)).unwrap();
        assert!(row.ends_with("fits"), "{row}");
    }
    let json: Value =
        serde_json::from_str(&ok(Path::new("."), &["plan", "novel-small", "--json"])).unwrap();
    let boards = json["boards"].as_array().unwrap();
    assert_eq!(boards.len(), board::ALL.len());
    let fits = |name: &str| {
        let of = boards.iter().find(|board| board["board"] == name).unwrap();
        assert_eq!(of["simulated"], Value::Null);
        of["too_small"] == Value::Null
    };
    assert!(fits("pico2") && !fits("lm3s6965evb"));
    // Every row agrees with the plan for that board.
    for board in ["pico2", "lm3s6965evb"] {
        let one = ripple(Path::new("."), &["plan", "novel-small", "--board", board, "--json"]);
        let one = { one }.output().unwrap().stdout;
        let one: Value = serde_json::from_slice(&one).unwrap();
        let listed = boards.iter().find(|listed| listed["board"] == board).unwrap();
        assert_eq!((&one["ram"], &one["flash"]), (&listed["ram"], &listed["flash"]));
    }
}

#[test]
#[ignore = "slow"]
fn seconds_are_simulated_where_asked() {
    let plan = ["plan", "story-nano", "--board", "lm3s6965evb", "--simulate", "-n", "2"];
    let slow = ok(Path::new("."), &plan);
    says(&slow, &["simulated, spi card", "s a token; a dense engine", "of profile.txt"]);
}

#[test]
fn seconds_are_not_simulated_unasked_or_where_it_does_not_fit() {
    let plan = ["plan", "story-nano", "--board", "lm3s6965evb"];
    let quick = ok(Path::new("."), &plan);
    assert!(!quick.contains("s a token;") && quick.contains("--simulate"), "{quick}");

    let large = ["plan", "novel-small", "--board", "lm3s6965evb", "--simulate"];
    let output = ripple(Path::new("."), &large).assert().code(1).get_output().clone();
    let (out, error) = (String::from_utf8(output.stdout), String::from_utf8(output.stderr));
    assert!(!out.unwrap().contains("s a token"));
    says(&error.unwrap(), &["ram of lm3s6965evb: needs", "no board runs it so: not simulated"]);
}

#[test]
fn an_image_is_not_stored_in_another_way() {
    let folder = forms("plan-rows");
    let error = refused(&folder, &["plan", "image.gguf", "--ffn", "q4"]);
    says(&error, &["image.gguf: an image, whose rows are as they are"]);
    let sizes = |more: &[&str]| {
        let out = ok(&folder, &[&["plan", "imported.bin", "--json"], more].concat());
        serde_json::from_str::<Value>(&out).unwrap()["boards"][0]["flash"]["mapped"].as_u64()
    };
    assert!(sizes(&["--head", "q4"]) < sizes(&[]));
}

/// Tokens by arm in an arena, and over plain LoRA's.
fn fits(folder: &Path, what: &str, arena: &str, arm: &str) -> (u64, f64) {
    let more = ["--tune", "--json", "--arena", arena];
    let json: Value =
        serde_json::from_str(&ok(folder, &[&["plan", what][..], &more].concat())).unwrap();
    let arms = json["arenas"][0]["arms"].as_array().unwrap();
    let fits = arms.iter().find(|fits| fits["arm"] == arm).unwrap();
    (fits["tokens"].as_u64().unwrap(), fits["times_plain"].as_f64().unwrap_or(f64::INFINITY))
}

/// What the README says: rank 4 of q and v, AdamW, before anything is built.
#[test]
fn the_longest_text_that_is_learnt_from_is_planned() {
    let folder = fresh("plan-tune");
    for (what, arena, tokens) in [
        ("story-nano", "512K", 192),
        ("story-nano", "1M", 256),
        ("novel-small", "512K", 42),
        ("novel-small", "1M", 114),
    ] {
        assert_eq!(fits(&folder, what, arena, "lean").0, tokens, "{what}, {arena}");
    }
    // At least twice plain LoRA's, though nothing is approximated.
    for (what, arenas) in
        [("story-nano", ["256K", "512K", "1M"]), ("novel-small", ["512K", "1M", "8M"])]
    {
        for arena in arenas {
            let (tokens, times) = fits(&folder, what, arena, "exact");
            assert!(tokens > 0 && times >= 2.0, "{what}, {arena}: {tokens}, {times}x");
        }
    }
    let plan = ["plan", "story-nano", "--tune", "--arena", "512K", "--arm", "lean"];
    let text = ok(&folder, &plan);
    // Where that fits more, gradients are held by layer and staging is small, and it says so.
    assert!(text.contains("192 tokens with --arm lean --by-layer --staging 16 take "), "{text}");
    // With all gradients 176 fit. Those of four layers of five, 4 * 832 numbers, are 13 KiB, which hold 5 tokens more,
    // of 2.3 KiB each; 48 blocks of staging are 24 KiB more, or 11.
    let said = ok(&folder, &[&plan[..], &["--staging", "64"]].concat());
    assert!(said.contains("181 tokens with --arm lean --by-layer take "), "{said}");
    assert!(text.contains("tape: layer inputs"), "{text}");
    assert!(ok(&folder, &plan[..3]).contains("8192.0 KiB"));
    // What is not planned is said.
    let small = refused(&folder, &["plan", "story-nano", "--tune", "--arena", "4K"]);
    assert!(small.contains("--arena 4096: a text of one token needs "), "{small}");
    let alone = refused(&folder, &["plan", "story-nano", "--arena", "512K"]);
    assert!(alone.contains("with --tune alone"), "{alone}");
}
