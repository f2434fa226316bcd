//! A chat template is found in whatever form a model has, and goes with it into the image.

use crate::checkpoint_common::{Gguf, Value, silu, vocabulary};
use ripple_hal::BLOCK_BYTES;
use ripple_host_sim::import::chat_template::{of_image_bytes, read};
use ripple_host_sim::model::Model;
use ripple_host_sim::model::chat::ChatTemplate;
use ripple_host_sim::pack::pack;
use ripple_host_sim::placement::Placement;
use ripple_host_sim::predictor::PredictorChoice;
use ripple_kernel::image::{Header, ImageError};
use ripple_tests::tiny::{Shape, model};
use std::fs;
use std::path::Path;

fn chat(template: &str, tokens: &[(&str, &str)]) -> ChatTemplate {
    let token = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
    ChatTemplate { template: template.to_owned(), tokens: tokens.iter().map(token).collect() }
}

fn refusal(path: &Path) -> String {
    format!("{:#}", read(path).unwrap_err())
}

#[test]
fn a_folder_has_it_where_checkpoints_have_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let put = |name: &str, text: &str| fs::write(path.join(name), text).unwrap();
    let looked = "looked for chat_template.jinja, chat_template.json, tokenizer_config.json";
    assert!(refusal(path).contains(looked));
    put("tokenizer_config.json", "{}");
    assert!(refusal(path).contains(looked));
    put("tokenizer_config.json", r#"{"chat_template": null, "bos_token": "<s>"}"#);
    assert!(refusal(path).contains(looked));
    put(
        "tokenizer_config.json",
        r#"{"chat_template": "one", "bos_token": "<s>",
        "eos_token": {"content": "</s>", "lstrip": false}, "pad_token": null}"#,
    );
    let tokens = [("bos_token", "<s>"), ("eos_token", "</s>")];
    assert_eq!(read(path).unwrap(), chat("one", &tokens));
    assert_eq!(read(&path.join("tokenizer_config.json")).unwrap(), chat("one", &tokens));
    // Several by name, as a list and as an object.
    put(
        "tokenizer_config.json",
        r#"{"unk_token": "?", "chat_template":
        [{"name": "tool_use", "template": "a"}, {"name": "default", "template": "two"}]}"#,
    );
    assert_eq!(read(path).unwrap(), chat("two", &[("unk_token", "?")]));
    put("tokenizer_config.json", r#"{"chat_template": {"rag": "a", "default": "three"}}"#);
    put("special_tokens_map.json", r#"{"eos_token": "</s>", "additional_special_tokens": ["x"]}"#);
    assert_eq!(read(path).unwrap(), chat("three", &tokens[1..]));
    put("tokenizer_config.json", r#"{"chat_template": [{"name": "rag", "template": "a"}]}"#);
    assert!(refusal(path).contains("`chat_template` has rag, expected one called default"));
    put("tokenizer_config.json", r#"{"chat_template": 3}"#);
    assert!(refusal(path).contains("`chat_template` is 3, expected a text"));
    // Tokens that a model has besides; those that it has in a list have no names.
    put(
        "tokenizer_config.json",
        r#"{"chat_template": "{{ image_token }}", "image_token": "<i>", "add_bos_token": true,
        "extra_special_tokens": {"think_token": {"content": "<t>"}}}"#,
    );
    let more = [("image_token", "<i>"), ("think_token", "<t>")];
    assert_eq!(read(path).unwrap(), chat("{{ image_token }}", &more));
    let list = r#"{"chat_template": "{{ NAME }}", "additional_special_tokens": ["x"]}"#;
    for name in ["additional_special_tokens", "my_additional_special_tokens"] {
        put("tokenizer_config.json", &list.replace("NAME", name));
        let names = read(path).err().map(|error| format!("{error:#}"));
        let refused = names.is_some_and(|said| said.contains("names `additional_special_tokens`"));
        assert_eq!(refused, name == "additional_special_tokens");
    }
    // Files of its own come first.
    put("tokenizer_config.json", "{}");
    put("chat_template.json", r#"{"chat_template": "four"}"#);
    assert_eq!(read(path).unwrap().template, "four");
    put("chat_template.jinja", "five {{ x }}\n");
    assert_eq!(read(path).unwrap(), chat("five {{ x }}\n", &tokens[1..]));
}

#[test]
fn a_file_is_known_by_what_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let read_text = |text: &str| {
        fs::write(&path, text).unwrap();
        read(&path)
    };
    for jinja in ["{{ messages }}", "{% set a = {} %}", "{# note #}", "text", "{"] {
        assert_eq!(read_text(jinja).unwrap(), chat(jinja, &[]), "{jinja}");
    }
    let config = r#"{"chat_template": "a", "eos_token": "e"}"#;
    assert_eq!(read_text(config).unwrap(), chat("a", &[("eos_token", "e")]));
    assert!(read_text("{}").is_err_and(|e| e.to_string().contains("give a Jinja file")));
    let path = folder.path().join("a.json");
    fs::write(&path, "{{ messages }}").unwrap();
    assert!(refusal(&path).contains("not JSON"));
    assert!(refusal(&folder.path().join("none")).contains("no such file"));
}

#[test]
fn a_gguf_of_any_model_has_it_and_no_weight_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = Gguf::of(&silu(Shape::LLAMA), &vocabulary(&[]));
    file.tensors.clear();
    file.set("general.architecture", Value::Text("unheard-of".to_owned()));
    file.set("tokenizer.ggml.padding_token_id", Value::U32(u32::MAX));
    file.set("tokenizer.ggml.unknown_token_id", Value::U32(0));
    for key in ["seperator", "separator", "cls", "mask"] {
        let key = format!("tokenizer.ggml.{key}_token_id");
        let mut file = file.clone();
        file.set(&key, Value::U32(0));
        let path = file.write(folder.path());
        let name = key.replace("tokenizer.ggml.", "").replace("_id", "");
        let name = name.replace("separator", "sep").replace("seperator", "sep");
        assert_eq!(read(&path).unwrap().tokens[&name], "<unk>");
    }
    let path = file.write(folder.path());
    let tokens = [("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>")];
    assert_eq!(read(&path).unwrap(), chat("{{ messages }}", &tokens));
    file.metadata.remove("tokenizer.ggml.bos_token_id");
    file.write(folder.path());
    assert_eq!(read(&path).unwrap().tokens.get("bos_token"), None);
    file.metadata.remove("tokenizer.chat_template");
    file.write(folder.path());
    assert!(refusal(&path).contains("no chat template in it"));
}

#[test]
fn a_model_file_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.model");
    let mut model = model(Shape::LLAMA);
    model.write(&path).unwrap();
    assert!(refusal(&path).contains("no chat template in it"));
    for tokens in [&[][..], &[("bos_token", "<s>")]] {
        model.chat_template = Some(chat("{{ 1 }}", tokens));
        model.write(&path).unwrap();
        assert_eq!(Some(read(&path).unwrap()), model.chat_template);
        assert_eq!(Model::read(&path).unwrap().chat_template, model.chat_template);
    }
}

fn image(model: &Model) -> Vec<u8> {
    let c = &model.config;
    let placement = Placement::identity("tiny", c.layers as usize, c.neurons as usize);
    pack(model, &placement, &PredictorChoice::Exact, &[]).unwrap()
}

#[test]
fn an_image_has_it_behind_all_that_a_board_reads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    let mut model = model(Shape::LLAMA);
    let plain = image(&model);
    assert_eq!((Header::chat(&plain), of_image_bytes(&plain).unwrap()), (None, None));
    fs::write(&path, &plain).unwrap();
    assert!(refusal(&path).contains("no chat template in it"));
    for length in [1, 400, 511, 512, 3000] {
        let template = chat(&"x".repeat(length), &[("eos_token", "</s>")]);
        model.chat_template = Some(template.clone());
        let with = image(&model);
        assert_eq!(of_image_bytes(&with).unwrap(), Some(template.clone()));
        fs::write(&path, &with).unwrap();
        assert_eq!(read(&path).unwrap(), template);
        // The header says where it is; nothing else is another.
        let (before, header) = (Header::parse(&plain).unwrap(), Header::parse(&with).unwrap());
        assert_eq!(header.geometry, before.geometry);
        assert_eq!(with.len() as u64, header.blocks.bytes());
        assert_eq!(Header::chat(&with).unwrap().start.0 as usize * BLOCK_BYTES, plain.len());
        let behind = (header.bytes as usize).next_multiple_of(BLOCK_BYTES);
        assert!(with[behind..plain.len()] == plain[behind..]);
        // Damaged, or cut off.
        let mut damaged = with.clone();
        damaged[plain.len()] ^= 1;
        for wrong in [&damaged[..], &with[..plain.len()], &with[..plain.len() + 10]] {
            assert!(of_image_bytes(wrong).unwrap_err().to_string().contains("damaged"));
            fs::write(&path, wrong).unwrap();
            assert!(refusal(&path).contains("the chat template in the image is damaged"));
        }
    }
}

#[test]
fn what_a_header_says_of_a_template_may_be_anything() {
    let mut model = model(Shape::LLAMA);
    model.chat_template = Some(chat("abc", &[]));
    let good = image(&model);
    // The last twelve bytes in front of the section table.
    for at in 116..128 {
        for value in [0, 1, 0x7F, 0xFF] {
            let mut bytes = good.clone();
            bytes[at] = value;
            let parsed = Header::parse(&bytes);
            assert!(bytes == good || matches!(parsed, Err(ImageError::HeaderCrc { .. })));
            let _ = of_image_bytes(&bytes);
        }
    }
    assert_eq!(Header::chat(&good[..100]), None);
}
