//! Tokenizers of every kind that is imported give the ids and the texts of `tokenizers` and `sentencepiece`.

use crate::checkpoint_common::{Gguf, Value as Entry, silu};
use crate::families_table;
use ripple_host_sim::import::import_dense;
use ripple_host_sim::import::tokenizer::read;
use ripple_host_sim::model::text::encode;
use ripple_host_sim::model::tokenizer::{Kind, TokenizerSpec};
use ripple_kernel::text::TextStream;
use ripple_kernel::text::tokenizer::{EncodeOptions, Form, Spaces, Tokenizer};
use ripple_tests::tiny::Shape;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::LazyLock;

static FIXTURE: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../fixtures/tokenizer-kinds.json")).unwrap()
});

const TEXT: EncodeOptions = EncodeOptions::TEXT;
/// Special tokens are found, and what begins a text is in front.
const WHOLE: EncodeOptions = EncodeOptions { parse_special: true, ..TEXT };

fn strings(value: &Value) -> Vec<String> {
    serde_json::from_value(value.clone()).unwrap()
}

fn numbers(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

/// The tokenizer of a kind, imported from the file that `tokenizers` has read.
pub fn kind(name: &str) -> TokenizerSpec {
    let kind = &FIXTURE["kinds"][name];
    let mut file = kind["file"].clone();
    file["model"] = FIXTURE["models"][kind["model"].as_str().unwrap()].clone();
    for (key, value) in kind["changes"].as_object().unwrap() {
        file["model"][key] = value.clone();
    }
    read_file(&file).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What is shown of a text of these tokens, one by one.
fn shown(tokenizer: Tokenizer<'_>, ids: &[u32]) -> String {
    let (mut text, mut stream) = (String::new(), TextStream::new(tokenizer).from_start());
    ids.iter().for_each(|&id| assert_eq!(stream.push(id, |piece| text.push_str(piece)), None));
    stream.finish(|piece| text.push_str(piece));
    text
}

/// The kind of tokenizer that models of a family have, by how its name begins.
const FAMILIES: [(&str, &str); 21] = [
    ("bamboo", "llama2"),
    ("bitnet", "llama3"),
    ("gemma", "gemma"),
    ("relu-falcon", "falcon"),
    ("gpt", "gpt2"),
    ("granite", "smollm"),
    ("llama", "llama2"),
    ("llama3", "llama3"),
    ("minicpm", "llama2"),
    ("mistral", "llama2-first"),
    ("nanogpt", "gpt2"),
    ("opt", "opt"),
    ("phi", "gpt2"),
    ("prosparse", "llama2"),
    ("qwen", "qwen2"),
    ("relu-llama", "llama2"),
    ("relu2-llama", "llama2"),
    ("rope", "llama2"),
    ("smollm", "smollm"),
    ("tinyllama", "llama2"),
    ("turbosparse", "llama2"),
];

fn read_file(file: &Value) -> Result<TokenizerSpec, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    std::fs::write(&path, file.to_string()).unwrap();
    read(&path).map_err(|error| format!("{error:#}"))
}

/// What differs from `tokenizers`, by text, of the tokenizer of a kind.
fn differences(name: &str) -> BTreeMap<&'static str, Vec<&'static str>> {
    let expected = &FIXTURE["kinds"][name];
    let spec = kind(name);
    let section = spec.pack().unwrap();
    let tokenizer = Tokenizer::parse(&section).unwrap();
    let mut wrong = BTreeMap::<_, Vec<_>>::new();
    for (at, text) in FIXTURE["texts"].as_array().unwrap().iter().enumerate() {
        let text = text.as_str().unwrap();
        let mut hold = |what: &'static str, same: bool| {
            if !same {
                wrong.entry(text).or_default().push(what);
            }
        };
        let ids = encode(&tokenizer, text, WHOLE).unwrap();
        hold("ids", ids == numbers(&expected["ids"][at]));
        let letters = encode(&tokenizer, text, EncodeOptions::default()).unwrap();
        let front = usize::from(tokenizer.begin().is_some());
        match &expected["letters"][at.to_string()] {
            Value::Null => hold("letters", letters == ids[front..]),
            ids => hold("letters", letters == numbers(ids)),
        }
        let decoded = expected["decoded"][at.to_string()].as_str().unwrap_or(text);
        hold("decoded", shown(tokenizer, &letters) == decoded);
        if tokenizer.form().is_none() {
            // Without memory to merge long words in.
            let mut places = vec![0; 2 * text.len() + 2];
            let count = tokenizer.encode(text, WHOLE, &mut places).unwrap();
            hold("without memory", places[..count] == ids);
        }
    }
    wrong
}

#[test]
fn texts_have_the_ids_of_tokenizers_by_family() {
    let texts = strings(&FIXTURE["texts"]).len();
    let cells = families_table::families().into_iter().filter_map(|family| {
        let fitting = FAMILIES.iter().filter(|(name, _)| family.starts_with(name));
        let (_, kind) = fitting.max_by_key(|(name, _)| name.len())?;
        Some((family, format!("{} of {texts} ({kind})", texts - differences(kind).len())))
    });
    families_table::hold("tokens", &cells.collect());
}

#[test]
fn ids_and_texts_are_those_of_tokenizers() {
    let mut kinds = 0;
    for name in FIXTURE["kinds"].as_object().unwrap().keys() {
        let wrong = differences(name);
        assert!(wrong.is_empty(), "{name}: {wrong:#?}");
        kinds += 1;
    }
    assert_eq!(kinds, 29);
    assert_eq!(kind("gemma").kind, Kind::Characters(Spaces::Nowhere));
    assert_eq!(kind("llama2").kind, Kind::Characters(Spaces::Before));
    assert_eq!((kind("qwen2").form, kind("nfkc").form), (Some(Form::Nfc), Some(Form::Nfkc)));
    assert!(!kind("llama3-whole").whole.is_empty());
}

/// Stages that are nearly Falcon's cut elsewhere.
#[test]
fn what_is_not_cut_as_falcon_does_is_refused() {
    for (stage, key, value) in [
        (0, "behavior", json!("Isolated")),
        (1, "add_prefix_space", json!(true)),
        (2, "individual_digits", json!(true)),
        (3, "pattern", json!({"Regex": "[0-9][0-9]"})),
        (3, "invert", json!(true)),
    ] {
        let mut file = FIXTURE["kinds"]["falcon"]["file"].clone();
        file["model"] = FIXTURE["models"]["bytes"].clone();
        assert_eq!(read_file(&file).err(), None);
        file["pre_tokenizer"]["pretokenizers"][stage][key] = value;
        let said = read_file(&file).err().unwrap();
        assert!(said.contains(&format!("pre_tokenizer.pretokenizers[{stage}].")), "{said}");
    }
}

#[test]
fn ids_are_those_of_sentencepiece() {
    let texts = strings(&FIXTURE["plain"]);
    let folder = tempfile::tempdir().unwrap();
    for (name, expected) in FIXTURE["sentencepiece"].as_object().unwrap() {
        let model =
            silu(Shape { dim: 8, layers: 1, neurons: 2, kv_heads: 1, head_dim: 4, ..Shape::LLAMA });
        let mut file = Gguf::of(&model, &[]);
        let pieces = expected["pieces"].as_array().unwrap();
        let texts_of = pieces.iter().map(|piece| piece[0].as_str().unwrap().to_owned());
        file.set("tokenizer.ggml.tokens", Entry::Texts(texts_of.collect()));
        let scores = pieces.iter().map(|piece| piece[1].as_f64().unwrap() as f32);
        file.set("tokenizer.ggml.scores", Entry::Floats(scores.collect()));
        let kinds = pieces.iter().map(|piece| piece[2].as_i64().unwrap() as i32);
        file.set("tokenizer.ggml.token_type", Entry::Ints(kinds.collect()));
        let spec = import_dense(&file.write(folder.path()), None).unwrap().tokenizer;
        let crossing = Kind::Characters(Spaces::Nowhere);
        assert_eq!(spec.kind == crossing, name == "crossing", "{name}");
        let section = spec.pack().unwrap();
        let tokenizer = Tokenizer::parse(&section).unwrap();
        for (at, text) in texts.iter().enumerate() {
            let ids = encode(&tokenizer, text, EncodeOptions::default()).unwrap();
            assert_eq!(ids, numbers(&expected["ids"][at]), "{name}, {text:?}");
        }
    }
}

/// The parts of a text that is gone on with are the text.
#[test]
fn what_goes_on_has_no_space_in_front() {
    for name in ["llama2", "metaspace-always", "llama2-first"] {
        let section = kind(name).pack().unwrap();
        let tokenizer = Tokenizer::parse(&section).unwrap();
        let later = EncodeOptions { continues: true, ..EncodeOptions::default() };
        let whole = encode(&tokenizer, "the\nmat", EncodeOptions::default()).unwrap();
        let parts = [
            encode(&tokenizer, "the", EncodeOptions::default()).unwrap(),
            encode(&tokenizer, "\nmat", later).unwrap(),
        ];
        assert_eq!(parts.concat(), whole, "{name}");
    }
}

#[test]
fn a_text_that_may_be_in_another_form_is_refused_where_it_is() {
    use ripple_kernel::text::tokenizer::EncodeError;
    let (nfc, nfkc) = (kind("qwen2").pack().unwrap(), kind("nfkc").pack().unwrap());
    let refused = |section: &[u8], text: &str, in_form| {
        let options = EncodeOptions { in_form, ..EncodeOptions::default() };
        Tokenizer::parse(section).unwrap().encode(text, options, &mut [0; 64]).err()
    };
    assert_eq!(refused(&nfc, "caf\u{e9}", false), None);
    assert_eq!(refused(&nfc, "cafe\u{301}", false), Some(EncodeError::Form { at: 4 }));
    assert_eq!(refused(&nfkc, "caf\u{e9}", false), Some(EncodeError::Form { at: 3 }));
    assert_eq!(refused(&nfc, "cafe\u{301}", true), None);
}

/// Where a token is looked for, in a text or in its normal form, is of no matter, or refused: at import, or
/// with the text.
#[test]
fn tokens_that_composing_makes_or_spoils_are_refused() {
    let file = |form: &str, content: &str, more: Value| {
        let mut file = FIXTURE["kinds"]["qwen2"]["file"].clone();
        file["model"] = FIXTURE["models"]["bytes"].clone();
        file["normalizer"]["type"] = json!(form);
        file["added_tokens"][4] = json!({"id": 460, "content": content, "special": false});
        file["added_tokens"][4].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        file
    };
    let normalized = json!({"normalized": true});
    let word = json!({"normalized": true, "single_word": true});
    for form in ["NFC", "NFKC"] {
        for (content, more) in [("hi,", &normalized), ("  ", &normalized), ("mad", &json!({}))] {
            assert_eq!(read_file(&file(form, content, more.clone())).err(), None, "{content}");
        }
        // `>` and U+0338 compose, as do `d` and U+0323, a jamo and the next, e and the mark in front.
        for content in ["|eot>", "mad", "\u{1100}", "\u{301}b", "be\u{301}", "b\u{e9}"] {
            let said = read_file(&file(form, content, normalized.clone())).err().unwrap();
            assert!(said.contains("added token 460") && said.contains("`normalized`"), "{said}");
        }
    }
    // A mark is of a word, so that no word is beside it.
    assert_eq!(read_file(&file("NFC", "mad", word)).err(), None);
    let said = read_file(&file("NFKC", "\u{ff01}", normalized)).err().unwrap();
    assert!(said.contains("writes it otherwise"), "{said}");

    // Tokens that only the form of a text has: the Kelvin sign is a K there, a wide `<` is a `<`.
    let wide = "\u{ff1c}s\u{ff1e}";
    for (form, content, text) in [("NFC", "<|K|>", "a<|\u{212a}|>"), ("NFKC", "hi,", wide)] {
        let section = read_file(&file(form, content, json!({}))).unwrap().pack().unwrap();
        let tokenizer = Tokenizer::parse(&section).unwrap();
        let said = encode(&tokenizer, text, WHOLE).unwrap_err().to_string();
        assert!(said.contains("has an added token that it does not have"), "{said}");
    }
    // What a user types names no special token, whatever its form.
    let section = read_file(&file("NFKC", "hi,", json!({}))).unwrap().pack().unwrap();
    let tokenizer = Tokenizer::parse(&section).unwrap();
    let letters = encode(&tokenizer, wide, EncodeOptions::default()).unwrap();
    assert_eq!(letters, encode(&tokenizer, "<s>", EncodeOptions::default()).unwrap());
}

/// One word of a megabyte: what took minutes is a matter of seconds, in a build that is not optimised too.
#[test]
fn a_word_of_a_megabyte_is_merged() {
    let section = kind("gpt2").pack().unwrap();
    let tokenizer = Tokenizer::parse(&section).unwrap();
    let mut state = 1u32;
    let letters = (0..1 << 20).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'a' + (state >> 24) as u8 % 26)
    });
    let word: String = letters.collect();
    let started = std::time::Instant::now();
    let ids = encode(&tokenizer, &word, EncodeOptions::default()).unwrap();
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
    let bytes: Vec<u8> = ids.iter().flat_map(|&id| tokenizer.bytes(id).unwrap().to_vec()).collect();
    assert_eq!(bytes, word.as_bytes());
}
