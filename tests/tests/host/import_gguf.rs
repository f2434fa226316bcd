//! GGUF files come in whole, in every number format, or say what is wrong; damage never panics.

use crate::checkpoint_common::{Gguf, Piece, Tensor, Value, silu, vocabulary};
use ripple_host_sim::import::import_dense;
use ripple_host_sim::model::Model;
use ripple_host_sim::model::tokenizer::Kind;
use ripple_kernel::Activation;
use ripple_kernel::text::tokenizer::{Prefix, Spaces, Words};
use ripple_tests::tiny::{Shape, tokenizer};
use std::path::Path;

fn pieces() -> Vec<Piece> {
    let piece = |text: &str, score| Piece { text: text.to_owned(), score };
    vocabulary(&[piece("\u{2581}", -9.0), piece("a", -8.0), piece("\u{2581}a", -1.0)])
}

fn read(file: &Gguf) -> Result<Model, String> {
    let folder = tempfile::tempdir().unwrap();
    import_dense(&file.write(folder.path()), None).map_err(|error| format!("{error:#}"))
}

#[test]
fn a_model_comes_back() {
    for (kv_heads, tied_head) in [(1, true), (3, false)] {
        let model = silu(Shape { kv_heads, tied_head, ..Shape::LLAMA });
        let found = read(&Gguf::of(&model, &pieces())).unwrap();
        assert_eq!(found.layers, model.layers);
        assert_eq!((&found.embed, &found.head), (&model.embed, &model.head));
        assert_eq!(found.final_norm, model.final_norm);
        assert_eq!(found.rope_theta, model.rope_theta);
        assert_eq!(found.name, "tiny");
        let chat = found.chat_template.unwrap();
        assert_eq!(chat.template, "{{ messages }}");
        let tokens = [("bos_token", "<s>"), ("eos_token", "</s>")];
        assert!(chat.tokens.iter().map(|(k, v)| (k.as_str(), v.as_str())).eq(tokens));
        assert_eq!(found.config, model.config);
        let spec = &found.tokenizer;
        assert_eq!(spec.kind, Kind::Characters(Spaces::Before));
        assert_eq!((spec.prefix, spec.bos, spec.adds_bos), (Prefix::Always, Some(1), true));
        assert_eq!(spec.eos, [2]);
    }
}

#[test]
fn biases_are_turned_too_and_each_projection_has_its_own() {
    let model = silu(Shape::LLAMA);
    let mut file = Gguf::of(&model, &pieces());
    let rows = model.config.query_dim() as usize;
    let bias: Vec<f32> = (0..rows).map(|i| i as f32).collect();
    for layer in 0..model.layers.len() {
        file.tensors.insert(format!("blk.{layer}.attn_q.bias"), Tensor::f32(&[rows], &bias));
    }
    let found = read(&file).unwrap();
    let half = model.config.head_dim as usize / 2;
    let query = found.layers[0].query.bias.as_deref().unwrap();
    assert_eq!((query[0], query[1], query[half]), (0.0, 2.0, 1.0));
    assert!(found.layers[0].output.bias.is_none());
}

#[test]
fn a_byte_level_vocabulary_comes_back() {
    let spec = tokenizer();
    let mut file = Gguf::of(&silu(Shape::LLAMA), &pieces());
    // GPT-2's characters for bytes, as `bytes_to_unicode` has them.
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..);
    let others: Vec<u8> = (0..=255).filter(|&b| !printable(b)).collect();
    let char_of = |b: u8| match others.iter().position(|&other| other == b) {
        Some(at) => char::from_u32(256 + at as u32).unwrap(),
        None => char::from(b),
    };
    let named = |id: u32| spec.special.contains(&id) || spec.added.contains(&id);
    let written = |id: u32| -> String {
        let bytes = &spec.tokens[id as usize];
        match named(id) {
            true => String::from_utf8(bytes.clone()).unwrap(),
            false => bytes.iter().map(|&b| char_of(b)).collect(),
        }
    };
    let ids = 0..spec.len() as u32;
    file.set("tokenizer.ggml.model", Value::Text("gpt2".to_owned()));
    file.set("tokenizer.ggml.tokens", Value::Texts(ids.clone().map(written).collect()));
    let kinds = ids.map(|id| if named(id) { 3 } else { 1 }).collect();
    file.set("tokenizer.ggml.token_type", Value::Ints(kinds));
    let merges = spec.merges.iter().map(|&(l, r, _)| format!("{} {}", written(l), written(r)));
    file.set("tokenizer.ggml.merges", Value::Texts(merges.collect()));
    for (pre, words) in
        [("gpt-2", Words::Gpt2), ("smollm", Words::Gpt2Digits), ("llama-bpe", Words::Llama3)]
    {
        file.set("tokenizer.ggml.pre", Value::Text(pre.to_owned()));
        let found = read(&file).unwrap().tokenizer;
        assert_eq!(found.kind, Kind::Bytes(words));
        assert_eq!((&found.tokens, &found.byte_ids), (&spec.tokens, &spec.byte_ids));
        assert_eq!((&found.merges, &found.special), (&spec.merges, &spec.special));
    }
    file.set("tokenizer.ggml.pre", Value::Text("tekken".to_owned()));
    let said = read(&file).err().unwrap();
    assert!(said.contains("`tokenizer.ggml.pre` is tekken") && said.contains("smollm"), "{said}");
}

#[test]
fn every_number_format_gives_the_values_of_the_reference() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/gguf-blocks.json");
    let blocks: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(fixture).unwrap()).unwrap();
    let shape = Shape { dim: 256, layers: 1, neurons: 1, ..Shape::LLAMA };
    let mut file = Gguf::of(&silu(shape), &pieces());
    let blocks = blocks.as_array().unwrap();
    assert_eq!(blocks.len(), 12);
    for block in blocks {
        let hex = block["bytes"].as_str().unwrap();
        let bytes =
            (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap());
        let kind = block["type"].as_u64().unwrap() as u32;
        let tensor = Tensor { kind, shape: vec![1, 256], bytes: bytes.collect() };
        file.tensors.insert("blk.0.ffn_up.weight".to_owned(), tensor);
        let model = read(&file).unwrap();
        let bits = block["bits"].as_array().unwrap().iter().map(|b| b.as_u64().unwrap() as u32);
        let expected: Vec<f32> = bits.map(f32::from_bits).collect();
        let found = model.layers[0].up.weight.values();
        // All bits but the sign of a zero.
        assert_eq!(*found, expected, "{}", block["name"]);
    }
}

#[test]
fn what_is_not_supported_is_said() {
    let good = Gguf::of(&silu(Shape::LLAMA), &pieces());
    let text = |text: &str| Value::Text(text.to_owned());
    for (key, value, expected) in [
        ("general.architecture", text("bloom"), "`general.architecture` is bloom"),
        ("llama.rope.scaling.type", text("linear"), "expected `llama.rope.scaling.factor`"),
        ("llama.rope.scaling.type", text("longrope"), "`llama.rope.scaling.type` is longrope"),
        ("llama.expert_count", Value::U32(8), "mixtures of experts"),
        ("llama.rope.dimension_count", Value::U32(4), "a part of each head"),
        (
            "llama.block_count",
            text("two"),
            "`llama.block_count` is Text(\"two\"), expected a whole number",
        ),
        ("llama.embedding_length", Value::U32(24), "has shape [520, 20], expected [520, 24]"),
        ("llama.block_count", Value::U32(4), "`blk.3.attn_norm.weight` is missing"),
        ("llama.block_count", Value::U32(2), "`blk.2.attn_k.weight` has no place"),
        ("llama.hidden_activation", text("mish"), "`llama.hidden_activation` is mish"),
        ("tokenizer.ggml.model", text("bert"), "`tokenizer.ggml.model` is bert"),
        ("tokenizer.ggml.scores", Value::Floats(vec![0.0]), "has 1 entries, expected 262"),
    ] {
        let mut file = good.clone();
        file.set(key, value);
        let said = read(&file).err().unwrap();
        assert!(said.contains(expected) && said.contains("model.gguf"), "{said}");
    }
    let mut file = good.clone();
    file.tensors.get_mut("output_norm.weight").unwrap().kind = 22;
    let said = read(&file).err().unwrap();
    assert!(said.contains("is of type 22, expected F32"), "{said}");
    let mut file = good;
    file.set("llama.hidden_activation", text("gelu_pytorch_tanh"));
    assert_eq!(read(&file).unwrap().config.activation, Activation::GeluTanh);
}

#[test]
fn a_file_cut_or_changed_anywhere_never_panics() {
    let shape = Shape { dim: 4, layers: 1, neurons: 2, head_dim: 4, ..Shape::LLAMA };
    let bytes = Gguf::of(&silu(shape), &pieces()).bytes();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let header = bytes.len() - 12_000;
    for end in (4..bytes.len()).step_by(97) {
        std::fs::write(&path, &bytes[..end]).unwrap();
        let said = import_dense(&path, None).err().map(|error| format!("{error:#}"));
        assert!(said.is_some_and(|said| said.contains("model.gguf")), "{end}");
    }
    let mut changed = bytes.clone();
    for at in (4..header).step_by(13) {
        let old = changed[at];
        changed[at] ^= 0xFF;
        std::fs::write(&path, &changed).unwrap();
        let _ = import_dense(&path, None);
        changed[at] = old;
    }
}

#[test]
fn tensors_that_share_bytes_are_refused_by_name() {
    let mut bytes = Gguf::of(&silu(Shape::LLAMA), &pieces()).bytes();
    let name = b"output_norm.weight";
    let at = bytes.windows(name.len()).position(|found| found == name).unwrap() + name.len();
    // Behind its name: dimensions, one length, type.
    let offset = at + 4 + 8 + 4;
    bytes[offset..offset + 8].fill(0);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, &bytes).unwrap();
    let said = import_dense(&path, None).err().map(|error| format!("{error:#}")).unwrap();
    assert!(said.contains("`output_norm.weight`") && said.contains("share bytes"), "{said}");
}
