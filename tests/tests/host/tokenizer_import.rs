//! Tokenizers that cannot be imported are refused with what was found, expected and the fix.

use ripple_host_sim::import::tokenizer::read;
use ripple_host_sim::model::tokenizer::TokenizerSpec;
use ripple_kernel::text::tokenizer::{EncodeOptions, Tokenizer};
use serde_json::{Value, json};
use std::path::Path;

fn story() -> Value {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../host-sim/models/story-nano/tokenizer.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn read_text(text: &str) -> Result<TokenizerSpec, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokenizer.json");
    std::fs::write(&path, text).unwrap();
    read(&path).map_err(|error| {
        let message = format!("{error:#}");
        assert!(message.starts_with(&path.display().to_string()), "{message}");
        message
    })
}

#[track_caller]
fn assert_refused(change: impl FnOnce(&mut Value), words: &[&str]) {
    let mut file = story();
    change(&mut file);
    let message = read_text(&file.to_string()).expect_err("accepted");
    for word in words {
        assert!(message.contains(word), "{message:?} lacks {word:?}");
    }
}

#[test]
fn merges_may_be_pairs_or_words() {
    let pairs = story();
    let mut words = pairs.clone();
    for merge in words["model"]["merges"].as_array_mut().unwrap() {
        *merge = json!(format!("{} {}", merge[0].as_str().unwrap(), merge[1].as_str().unwrap()));
    }
    assert_eq!(read_text(&words.to_string()), read_text(&pairs.to_string()));
}

#[test]
fn a_spec_survives_serialisation() {
    let spec = read_text(&story().to_string()).unwrap();
    let text = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<TokenizerSpec>(&text).unwrap(), spec);
    assert_eq!(spec.len(), 512);
    assert_eq!(spec.special, [0]);
    assert_eq!(spec.tokens[0], b"<|endoftext|>");
}

#[test]
fn an_added_token_may_follow_the_vocabulary() {
    let mut file = story();
    let token = json!({"id": 512, "content": "<\u{ff5c}\u{e9}\u{ff5c}>", "special": false});
    file["added_tokens"].as_array_mut().unwrap().push(token);
    let spec = read_text(&file.to_string()).unwrap();
    assert_eq!(spec.tokens[512], "<\u{ff5c}\u{e9}\u{ff5c}>".as_bytes());
    assert_eq!((spec.special, spec.added), (vec![0], vec![512]));
}

#[test]
fn of_a_pair_listed_twice_the_last_counts() {
    let mut file = story();
    let merges = file["model"]["merges"].as_array_mut().unwrap();
    merges.push(merges[0].clone());
    let twice = read_text(&file.to_string()).unwrap();
    let mut once = read_text(&story().to_string()).unwrap();
    once.merges.rotate_left(1);
    assert_eq!(twice, once);
    assert!(twice.pack().is_ok());
}

#[test]
fn other_models_are_refused() {
    let model = |v: &mut Value, field: &str, to: Value| v["model"][field] = to;
    assert_refused(|v| model(v, "type", json!("Unigram")), &["Unigram", "expected BPE"]);
    assert_refused(|v| model(v, "type", json!("WordPiece")), &["WordPiece", "expected BPE"]);
    assert_refused(|v| model(v, "byte_fallback", json!(true)), &["byte_fallback", "ByteLevel"]);
    assert_refused(|v| model(v, "dropout", json!(0.1)), &["dropout", "0.1", "null"]);
    assert_refused(|v| model(v, "end_of_word_suffix", json!("</w>")), &["suffix", "</w>"]);
    assert_refused(|v| model(v, "unk_token", json!("<unk>")), &["unk_token", "<unk>"]);
    assert_refused(|v| model(v, "warp", json!(1)), &["`model.warp` is 1", "--allow-key"]);
}

#[test]
fn other_stages_are_refused() {
    assert_refused(|v| v["normalizer"] = json!({"type": "NFD"}), &["normalizer is NFD", "NFKC"]);
    assert_refused(|v| v["normalizer"] = json!({"type": "Lowercase"}), &["Lowercase"]);
    assert_refused(
        |v| v["pre_tokenizer"] = json!(null),
        &["pre_tokenizer is missing", "ByteLevel"],
    );
    assert_refused(|v| v["pre_tokenizer"] = json!({"type": "Punctuation"}), &["Punctuation"]);
    assert_refused(|v| v["pre_tokenizer"]["add_prefix_space"] = json!(true), &["add_prefix_space"]);
    assert_refused(|v| v["pre_tokenizer"]["use_regex"] = json!(false), &["use_regex is false"]);
    assert_refused(
        |v| v["pre_tokenizer"]["pace"] = json!(7),
        &["`pre_tokenizer.ByteLevel.pace` is 7", "--allow-key"],
    );
    assert_refused(|v| v["decoder"] = json!({"type": "WordPiece"}), &["decoder is WordPiece"]);
    let roberta = json!({"type": "RobertaProcessing"});
    assert_refused(|v| v["post_processor"] = roberta, &["RobertaProcessing", "in front"]);
    assert_refused(|v| v["warp"] = json!(true), &["`warp` is true", "--allow-key"]);
}

#[test]
fn an_expression_that_is_not_known_is_shown() {
    let split = |expression: &str| {
        json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        ]})
    };
    assert_refused(
        |v| v["pre_tokenizer"] = split(r"\p{Han}+|\w+"),
        &[r"\\p{Han}+|\\w+", "Qwen 2's"],
    );
    assert_refused(
        |v| {
            v["pre_tokenizer"] = split(r"\s+");
            v["pre_tokenizer"]["pretokenizers"][0]["behavior"] = json!("Removed");
        },
        &["behavior", "Isolated"],
    );
}

#[test]
fn what_a_template_puts_in_front_begins_texts_and_nothing_may_be_behind() {
    let template = |single: Value| {
        json!({"type": "TemplateProcessing", "single": single, "pair": [],
            "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0],
            "tokens": ["<|endoftext|>"]}}})
    };
    let token = json!({"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}});
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let mut file = story();
    file["post_processor"] = template(json!([token, text]));
    let spec = read_text(&file.to_string()).unwrap();
    assert_eq!((spec.bos, spec.adds_bos), (Some(0), true));
    file["post_processor"] = template(json!([text]));
    assert!(!read_text(&file.to_string()).unwrap().adds_bos);
    assert_refused(
        |v| v["post_processor"] = template(json!([text, token])),
        &["<|endoftext|>", "behind a text", "take it out"],
    );
    assert_refused(
        |v| v["post_processor"] = template(json!([token, token, text])),
        &["2 tokens in front", "one at most"],
    );
}

#[test]
fn added_tokens_that_two_searches_would_find_otherwise_are_refused() {
    let token =
        |id, content, normalized| json!({"id": id, "content": content, "normalized": normalized});
    let add =
        |v: &mut Value, more: [Value; 2]| v["added_tokens"].as_array_mut().unwrap().extend(more);
    assert_refused(
        |v| add(v, [token(512, "<ab>", false), token(513, "b>c", true)]),
        &["512 \"<ab>\"", "513 \"b>c\"", "normalized"],
    );
    let mut file = story();
    add(&mut file, [token(512, "<ab>", false), token(513, "<c>", true)]);
    assert_eq!(read_text(&file.to_string()).unwrap().added, [512, 513]);
}

#[test]
fn vocabularies_that_do_not_fit_together_are_refused() {
    let vocab = |v: &mut Value| v["model"]["vocab"].as_object_mut().unwrap().clone();
    assert_refused(
        |v| {
            let mut vocab = vocab(v);
            vocab.insert("!".to_owned(), json!(600));
            v["model"]["vocab"] = json!(vocab);
        },
        &["no token has the id 1", "0 to 511"],
    );
    assert_refused(
        |v| {
            let mut vocab = vocab(v);
            vocab.insert("!".to_owned(), json!(2));
            v["model"]["vocab"] = json!(vocab);
        },
        &["the id 2 is both", "\"!\"", "renumber"],
    );
    assert_refused(
        |v| v["model"]["merges"].as_array_mut().unwrap().push(json!(["z", "q"])),
        &["model.merges[255]", "needs the token \"zq\""],
    );
    assert_refused(
        |v| v["model"]["merges"].as_array_mut().unwrap().push(json!("zq")),
        &["model.merges[255]", "expected two"],
    );
    assert_refused(
        |v| {
            v["added_tokens"][0]["lstrip"] = json!(true);
            v["normalizer"] = json!({"type": "NFKC"});
        },
        &["<|endoftext|>", "lstrip and a normalizer NFKC"],
    );
    // One that is looked for later ends with a space, which the first takes in.
    assert_refused(
        |v| {
            v["added_tokens"][0]["rstrip"] = json!(true);
            let later = json!({"id": 512, "content": " x ", "normalized": true});
            v["added_tokens"].as_array_mut().unwrap().push(later);
        },
        &["<|endoftext|>", "rstrip", "512 \" x \"", "normalized"],
    );
    assert_refused(|v| v["added_tokens"][0]["id"] = json!(512), &["512", "0 in model.vocab"]);
    assert_refused(|v| v["model"]["vocab"] = json!([]), &["model"]);
}

/// As `tokenizers` has it; SmolLM2 has such bytes.
#[test]
fn a_byte_without_a_token_is_left_out() {
    let mut file = story();
    let vocab = file["model"]["vocab"].as_object_mut().unwrap();
    let id = vocab.remove("~").unwrap();
    vocab.insert("zzzz".to_owned(), id);
    let spec = read_text(&file.to_string()).unwrap();
    assert_eq!(spec.byte_ids[usize::from(b'~')], None);
    let section = spec.pack().unwrap();
    let tokenizer = Tokenizer::parse(&section).unwrap();
    let encode = |text: &str| {
        let mut ids = [0; 8];
        let count = tokenizer.encode(text, EncodeOptions::default(), &mut ids).unwrap();
        ids[..count].to_vec()
    };
    assert_eq!(encode("a~b"), [encode("a"), encode("b")].concat());
}

#[test]
fn files_that_are_cut_are_refused() {
    let text = story().to_string();
    for len in [0, 1, 100, text.len() / 2, text.len() - 1] {
        let message = read_text(&text[..text.floor_char_boundary(len)]).unwrap_err();
        assert!(message.contains("not a whole tokenizer.json"), "{message}");
    }
    let missing = read(Path::new("/nowhere/tokenizer.json")).unwrap_err();
    assert!(format!("{missing:#}").contains("/nowhere/tokenizer.json: cannot be read"));
}
