//! Which tokens begin and end a text is what the files say, and what they do not say is not assumed.

use crate::checkpoint_common::{Gguf, Piece, Value as Entry, silu, vocabulary};
use crate::import_common::Directory;
use ripple_host_sim::import::{import, import_dense};
use ripple_host_sim::model::text::tokens;
use ripple_host_sim::model::tokenizer::TokenizerSpec;
use ripple_kernel::text::tokenizer::Words;
use ripple_tests::tiny::{Shape, tokenizer};
use serde_json::{Value, json};

/// A byte-level vocabulary as llama.cpp writes it: bytes, then what is named, of these types.
fn bytes(more: &[(&str, i32)]) -> Gguf {
    let mut file = Gguf::of(&silu(Shape::LLAMA), &[]);
    for role in ["bos", "eos"] {
        file.metadata.remove(&format!("tokenizer.ggml.{role}_token_id"));
    }
    file.metadata.remove("tokenizer.ggml.scores");
    let printable = |b: &u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..);
    let own = (0..=255u8).filter(printable).map(char::from);
    let others = (0..=255u8).filter(|b| !printable(b)).zip('\u{100}'..).map(|(_, c)| c);
    let mut texts: Vec<String> = own.chain(others).map(String::from).collect();
    texts.push("ab".to_owned());
    let mut kinds = vec![1; 257];
    for (text, kind) in more {
        texts.push((*text).to_owned());
        kinds.push(*kind);
    }
    file.set("tokenizer.ggml.model", Entry::Text("gpt2".to_owned()));
    file.set("tokenizer.ggml.pre", Entry::Text("gpt-2".to_owned()));
    file.set("tokenizer.ggml.tokens", Entry::Texts(texts));
    file.set("tokenizer.ggml.token_type", Entry::Ints(kinds));
    file.set("tokenizer.ggml.merges", Entry::Texts(vec!["a b".to_owned()]));
    file
}

fn read(file: &Gguf) -> Result<TokenizerSpec, String> {
    let folder = tempfile::tempdir().unwrap();
    let model = import_dense(&file.write(folder.path()), None);
    model.map(|model| model.tokenizer).map_err(|error| format!("{error:#}"))
}

/// The ids of "ab" as a text that is read: what is put in front of it, and the merge.
fn read_text(file: &Gguf) -> Vec<u32> {
    let folder = tempfile::tempdir().unwrap();
    tokens(&import_dense(&file.write(folder.path()), None).unwrap(), "ab").unwrap()
}

#[test]
fn a_gguf_that_says_no_bos_or_names_none_has_none() {
    let mut file = bytes(&[("<|end|>", 3)]);
    // Neither the letters with the ids 1 and 2, nor any other.
    assert_eq!(read_text(&file), [256]);
    let spec = read(&file).unwrap();
    assert_eq!((spec.bos, spec.adds_bos, spec.eos), (None, false, vec![257]));

    file.set("tokenizer.ggml.bos_token_id", Entry::U32(257));
    assert_eq!(read_text(&file), [256]);
    file.set("tokenizer.ggml.add_bos_token", Entry::Bool(true));
    assert_eq!(read_text(&file), [257, 256]);
    file.set("tokenizer.ggml.add_bos_token", Entry::Bool(false));
    assert_eq!(read_text(&file), [256]);
    // Chat templates have it all the same.
    assert_eq!(read(&file).unwrap().bos, Some(257));

    file.metadata.remove("tokenizer.ggml.add_bos_token");
    file.set("tokenizer.ggml.pre", Entry::Text("llama-bpe".to_owned()));
    let spec = read(&file).unwrap();
    assert_eq!(
        (spec.adds_bos, spec.kind),
        (true, ripple_host_sim::model::tokenizer::Kind::Bytes(Words::Llama3))
    );
}

#[test]
fn every_token_that_ends_a_text_in_a_gguf_does() {
    let mut file =
        bytes(&[("<e>", 3), ("<|eot_id|>", 3), ("<m>", 3), ("<|im_end|>", 3), ("<|end|>", 1)]);
    file.set("tokenizer.ggml.eos_token_id", Entry::U32(257));
    file.set("tokenizer.ggml.eot_token_id", Entry::U32(258));
    file.set("tokenizer.ggml.eom_token_id", Entry::U32(259));
    // By its name another control token, but no letters of that name.
    assert_eq!(read(&file).unwrap().eos, [257, 258, 259, 260]);
}

#[test]
fn what_a_gguf_has_wrong_is_refused_at_import_by_name() {
    let good = bytes(&[("<|end|>", 3)]);
    for (key, value, words) in [
        ("bos_token_id", Entry::U32(700), &["`tokenizer.ggml.bos_token_id` is 700", "258"][..]),
        ("add_bos_token", Entry::Bool(true), &["add_bos_token", "bos_token_id` is missing"]),
        ("add_bos_token", Entry::U32(1), &["add_bos_token", "true or false"]),
        ("add_eos_token", Entry::Bool(true), &["`tokenizer.ggml.add_eos_token` is true"]),
        ("token_type", Entry::Ints(vec![1]), &["token_type` has 1 entries, expected 258"]),
        ("token_type", Entry::Ints(vec![9; 258]), &["token_type` of token 0 is", "1 to 6"]),
        ("merges", Entry::Texts(vec!["a b".to_owned(), "b z".to_owned()]), &["\"bz\""]),
        ("warp_factor", Entry::U32(1), &["`tokenizer.ggml.warp_factor`"]),
    ] {
        let mut file = good.clone();
        file.set(&format!("tokenizer.ggml.{key}"), value);
        let said = read(&file).expect_err(key);
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    }
    for (tokens, words) in [
        (&[("", 4)][..], &["token 257 is empty"][..]),
        (&[("", 1)], &["token 257 is empty"]),
        (&[("ab", 1)], &["tokens 256 and 257 are both \"ab\""]),
    ] {
        let said = read(&bytes(tokens)).expect_err("accepted");
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    }
    let piece = |text: &str| Piece { text: text.to_owned(), score: 0.0 };
    let mut file = Gguf::of(&silu(Shape::LLAMA), &vocabulary(&[piece("a"), piece("")]));
    let mut kinds = vec![1; 261];
    kinds[260] = 4;
    kinds[3..259].fill(6);
    file.set("tokenizer.ggml.token_type", Entry::Ints(kinds));
    let said = read(&file).expect_err("accepted");
    assert!(said.contains("token 260 is empty and defined by a user"), "{said}");
}

/// What is written beside a demo model, and what its tokenizer is then.
fn beside(files: &[(&str, Value)], config: Value) -> Result<TokenizerSpec, String> {
    let mut directory = Directory::of("story-nano");
    for (key, value) in config.as_object().unwrap() {
        directory.config[key] = value.clone();
    }
    directory.write();
    for (name, value) in files {
        std::fs::write(directory.file(name), value.to_string()).unwrap();
    }
    import(directory.path()).map(|model| model.tokenizer).map_err(|error| format!("{error:#}"))
}

/// A `tokenizer.json` with a template that puts `<|endoftext|>` in front.
fn with_template() -> Value {
    let path = ripple_host_sim::import::demo::path("story-nano").unwrap().join("tokenizer.json");
    let mut file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let name = "<|endoftext|>";
    file["post_processor"] = json!({"type": "TemplateProcessing", "pair": [],
        "single": [{"SpecialToken": {"id": name, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "special_tokens": {name: {"id": name, "ids": [0], "tokens": [name]}}});
    file
}

#[test]
fn a_bos_is_in_front_where_a_hugging_face_directory_says_so() {
    let config = |more: Value| {
        let mut all = json!({"tokenizer_class": "GPT2Tokenizer", "bos_token": "<|endoftext|>"});
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ("tokenizer_config.json", all)
    };
    let template = ("tokenizer.json", with_template());
    for (files, adds) in [
        // As config.json names one, and nothing says otherwise.
        (vec![], true),
        (vec![config(json!({}))], false),
        (vec![config(json!({"add_bos_token": true}))], true),
        (vec![config(json!({"add_bos_token": false}))], false),
        (vec![config(json!({"tokenizer_class": "LlamaTokenizer"}))], true),
        (
            vec![config(json!({"tokenizer_class": "LlamaTokenizerFast", "add_bos_token": false}))],
            false,
        ),
        (vec![template.clone()], true),
        (vec![template.clone(), config(json!({}))], true),
        (
            vec![
                template.clone(),
                config(json!({"tokenizer_class": "LlamaTokenizer", "add_bos_token": false})),
            ],
            false,
        ),
    ] {
        let spec = beside(&files, json!({})).unwrap();
        assert_eq!((spec.adds_bos, spec.bos), (adds, Some(0)), "{files:?}");
    }
    let none = beside(&[], json!({"bos_token_id": null})).unwrap();
    assert_eq!((none.adds_bos, none.bos), (false, None));
    let none = beside(&[config(json!({"bos_token": null}))], json!({})).unwrap();
    assert_eq!((none.adds_bos, none.bos), (false, None));
    for (files, words) in [
        (
            vec![template.clone(), config(json!({"add_bos_token": false}))],
            &["add_bos_token is false", "<|endoftext|>"][..],
        ),
        (
            vec![config(json!({"bos_token": "<s>"}))],
            &["bos_token is \"<s>\"", "tokenizer_config.json"],
        ),
        (
            vec![template, config(json!({"bos_token": "a"}))],
            &["token 0 \"<|endoftext|>\"", "expected one token"],
        ),
        (vec![config(json!({"add_eos_token": true}))], &["`add_eos_token` is true"]),
        (vec![config(json!({"add_prefix_space": true}))], &["add_prefix_space is true"]),
        (vec![config(json!({"do_lower_case": true}))], &["`do_lower_case` is true"]),
        (vec![config(json!({"warp": true}))], &["`warp` is true", "--allow-key warp"]),
    ] {
        let said = beside(&files, json!({})).expect_err("accepted");
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    }
}

#[test]
fn all_tokens_that_end_a_text_in_either_file_do() {
    let generation = ("generation_config.json", json!({"eos_token_id": [7, 5, 9]}));
    let spec = beside(std::slice::from_ref(&generation), json!({"eos_token_id": [5, 6]})).unwrap();
    assert_eq!(spec.eos, [5, 6, 7, 9]);
    // What the tokenizer calls so comes first: chat templates have it.
    let config = ("tokenizer_config.json", json!({"eos_token": {"content": "<|endoftext|>"}}));
    let spec = beside(&[generation, config], json!({"eos_token_id": 5})).unwrap();
    assert_eq!(spec.eos, [0, 5, 7, 9]);
    assert!(beside(&[], json!({"eos_token_id": null})).unwrap().eos.is_empty());
}

/// As GPT-2 and OPT were published.
#[test]
fn a_vocabulary_and_merges_are_a_tokenizer() {
    let mut directory = Directory::of("story-nano");
    directory.config["bos_token_id"] = json!(0);
    directory.write();
    let whole = std::fs::read(directory.file("tokenizer.json")).unwrap();
    let whole: Value = serde_json::from_slice(&whole).unwrap();
    std::fs::remove_file(directory.file("tokenizer.json")).unwrap();
    let said = format!("{:#}", import(directory.path()).err().unwrap());
    assert!(said.contains("vocab.json"), "{said}");
    std::fs::write(directory.file("vocab.json"), whole["model"]["vocab"].to_string()).unwrap();
    let merges = whole["model"]["merges"].as_array().unwrap().iter();
    let lines =
        merges.map(|pair| format!("{} {}\n", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()));
    let text = "#version: 0.2\n".to_owned() + &lines.collect::<String>();
    std::fs::write(directory.file("merges.txt"), text).unwrap();
    let config = json!({"tokenizer_class": "GPT2Tokenizer", "add_bos_token": true,
        "bos_token": {"content": "<|endoftext|>", "__type": "AddedToken"}, "errors": "replace"});
    std::fs::write(directory.file("tokenizer_config.json"), config.to_string()).unwrap();
    let found = import(directory.path()).unwrap().tokenizer;
    assert_eq!(found, *tokenizer());
}
