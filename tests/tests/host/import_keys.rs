//! What a checkpoint says is honoured or refused by name, and never skipped; what it does not say is asked.

use crate::checkpoint_common::{Gguf, Piece, Value, silu, vocabulary};
use crate::import_common::Directory;
use ripple_host_sim::import::{Options, import_with};
use ripple_host_sim::model::Model;
use ripple_kernel::Activation;
use ripple_tests::tiny::{self, Shape};
use serde_json::{Value as Json, json};

fn pieces() -> Vec<Piece> {
    let piece = |text: &str, score| Piece { text: text.to_owned(), score };
    vocabulary(&[piece("\u{2581}", -9.0), piece("a", -8.0), piece("\u{2581}a", -1.0)])
}

fn gguf(file: &Gguf, options: &Options<'_>) -> Result<Model, String> {
    let folder = tempfile::tempdir().unwrap();
    import_with(&file.write(folder.path()), options).map_err(|error| format!("{error:#}"))
}

fn directory(field: &str, value: Json, options: &Options<'_>) -> Result<Model, String> {
    let mut directory = Directory::of("story-nano");
    directory.config[field] = value;
    directory.write();
    import_with(directory.path(), options).map_err(|error| format!("{error:#}"))
}

#[test]
fn a_key_that_is_not_known_is_refused_and_can_be_allowed() {
    let allowed = ["llama.new.scale".to_owned(), "residual_gain".to_owned()];
    let allow = Options { allowed: &allowed, ..Options::default() };
    let mut file = Gguf::of(&silu(Shape::LLAMA), &pieces());
    file.set("llama.new.scale", Value::F32(2.0));
    let said = gguf(&file, &Options::default()).err().unwrap();
    assert!(said.contains("model.gguf: `llama.new.scale` is 2.0"), "{said}");
    assert!(said.contains("--allow-key llama.new.scale"), "{said}");
    assert!(gguf(&file, &allow).is_ok());

    let said = directory("residual_gain", json!(2), &Options::default()).err().unwrap();
    assert!(said.contains("config.json: `residual_gain` is 2"), "{said}");
    assert!(directory("residual_gain", json!(2), &allow).is_ok());
    assert!(directory("residual_gain", json!(null), &Options::default()).is_ok());
}

/// The keys of SmolLM2's tokenizer_config.json and special_tokens_map.json, and a flag that is not followed.
#[test]
fn what_published_tokenizers_say_beside_the_vocabulary_is_known() {
    let directory = Directory::of("story-nano");
    directory.write();
    let put = |name: &str, value: &Json| {
        std::fs::write(directory.path().join(name), value.to_string()).unwrap();
    };
    let token = |lstrip: bool| {
        json!({"content": "<|endoftext|>", "lstrip": lstrip, "normalized": false, "rstrip": false,
               "single_word": false})
    };
    let mut config = json!({
        "add_prefix_space": false, "added_tokens_decoder": {"0": token(false)},
        "additional_special_tokens": ["<|endoftext|>"], "bos_token": "<|endoftext|>",
        "clean_up_tokenization_spaces": false, "eos_token": "<|endoftext|>", "extra_special_tokens": {},
        "model_max_length": 8192, "pad_token": "<|endoftext|>", "padding_side": "left",
        "tokenizer_class": "GPT2Tokenizer", "unk_token": "<|endoftext|>", "vocab_size": 49152,
    });
    config["added_tokens_decoder"]["0"]["special"] = json!(true);
    let mut map = json!({"additional_special_tokens": ["<|endoftext|>", token(false)],
        "bos_token": token(false), "eos_token": token(false), "pad_token": token(false),
        "unk_token": "<|endoftext|>"});
    let import = || import_with(directory.path(), &Options::default());
    put("tokenizer_config.json", &config);
    put("special_tokens_map.json", &map);
    import().unwrap();
    map["eos_token"] = token(true);
    put("special_tokens_map.json", &map);
    let said = format!("{:#}", import().err().unwrap());
    assert!(said.contains("special_tokens_map.json: `special_token.lstrip` is true"), "{said}");
    map["eos_token"] = json!("<|endoftext|>");
    map["new_token"] = json!("x");
    put("special_tokens_map.json", &map);
    let said = format!("{:#}", import().err().unwrap());
    assert!(said.contains("`new_token` is \"x\": a key that is not known"), "{said}");
}

#[test]
fn another_architecture_is_named_before_its_keys() {
    let mut directory = Directory::of("story-nano");
    directory.config["num_layers"] = json!(8);
    for (name, why) in
        [("GPTNeoForCausalLM", "GELU without a gate"), ("NewForCausalLM", "supported: ")]
    {
        directory.config["architectures"] = json!([name]);
        directory.write();
        let said =
            format!("{:#}", import_with(directory.path(), &Options::default()).err().unwrap());
        assert!(said.contains(&format!("`architectures` is {name}")), "{said}");
        assert!(said.contains(why) && !said.contains("num_layers"), "{said}");
    }
}

#[test]
fn rotary_positions_by_the_type_of_a_layer_are_refused() {
    let full = json!({"rope_type": "linear", "factor": 4, "rope_theta": 5e5});
    let default = json!({"rope_type": "default", "rope_theta": 1e4});
    let nested = json!({"full_attention": full, "sliding_attention": default});
    let mut mixed = Directory::of("story-nano");
    let layers = mixed.config["num_hidden_layers"].as_u64().unwrap() as usize;
    for field in ["rope_parameters", "rope_scaling"] {
        mixed.config = Directory::of("story-nano").config;
        let map = mixed.config.as_object_mut().unwrap();
        ["rope_parameters", "rope_scaling"].iter().for_each(|field| drop(map.remove(*field)));
        mixed.config[field] = nested.clone();
        let mut kinds = vec!["full_attention"; layers];
        mixed.config["layer_types"] = json!(kinds);
        mixed.write();
        // Of full attention alone, all layers have the same.
        let model = import_with(mixed.path(), &Options::default()).unwrap();
        assert_eq!(model.rope_theta, 5e5);
        assert_eq!(model.rope_frequencies.unwrap()[0], 0.25);
        kinds[0] = "sliding_attention";
        mixed.config["layer_types"] = json!(kinds);
        mixed.write();
        let said = format!("{:#}", import_with(mixed.path(), &Options::default()).err().unwrap());
        assert!(said.contains(&format!("`{field}.full_attention`")), "{said}");
    }
    // A key that no rotary parameters have.
    let said = directory(
        "rope_scaling",
        json!({"type": "linear", "factor": 2, "gain": 3}),
        &Options::default(),
    );
    assert!(said.err().unwrap().contains("`rope.gain` is 3"));
}

#[test]
fn a_key_or_a_tensor_that_is_there_twice_is_named() {
    let file = Gguf::of(&silu(Shape::LLAMA), &pieces());
    let folder = tempfile::tempdir().unwrap();
    let path = file.write(folder.path());
    let bytes = std::fs::read(&path).unwrap();
    // The same length: the one is renamed to the other.
    for (from, to) in [
        ("llama.attention.value_lengt", "llama.attention.key_length"),
        ("blk.0.attn_v.weight", "blk.0.attn_k.weight"),
    ] {
        let mut file = file.clone();
        if from.starts_with("llama") {
            file.set("llama.attention.vey_length", Value::U32(8));
        }
        let from = from.replace("value_lengt", "vey_length");
        let mut bytes = if from.starts_with("llama") { file.bytes() } else { bytes.clone() };
        let at = bytes.windows(from.len()).position(|found| found == from.as_bytes()).unwrap();
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        std::fs::write(&path, bytes).unwrap();
        let said = import_with(&path, &Options::default()).err().unwrap();
        assert!(format!("{said:#}").contains(&format!("`{to}` is there twice")), "{said:#}");
    }

    let mut directory = Directory::of("story-nano");
    directory.write();
    let whole = directory.config.to_string();
    let twice = format!("{{\"hidden_act\": \"silu\",{}", &whole[1..]);
    std::fs::write(directory.file("config.json"), twice).unwrap();
    let said = format!("{:#}", import_with(directory.path(), &Options::default()).err().unwrap());
    assert!(said.contains("config.json") && said.contains("`hidden_act` is there twice"), "{said}");

    // In the list of one file, and in two files.
    directory.config = serde_json::from_str(&whole).unwrap();
    directory.write();
    let path = directory.file("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let (from, to) = (b"layers.0.self_attn.q_proj", b"layers.0.self_attn.k_proj");
    let at = bytes.windows(from.len()).position(|found| found == from).unwrap();
    bytes[at..at + to.len()].copy_from_slice(to);
    std::fs::write(&path, bytes).unwrap();
    let said = format!("{:#}", import_with(directory.path(), &Options::default()).err().unwrap());
    assert!(said.contains("k_proj.weight` is there twice"), "{said}");

    let sharded = Directory::of("story-nano");
    sharded.write_sharded();
    sharded.write_shard("model-00002-of-00002.safetensors", |_| true);
    let said = format!("{:#}", import_with(sharded.path(), &Options::default()).err().unwrap());
    assert!(said.contains("is in another shard too"), "{said}");
}

#[test]
fn a_long_context_is_imported_within_fewer_positions() {
    let mut file = Gguf::of(&silu(Shape::LLAMA), &pieces());
    file.set("llama.context_length", Value::U32(131_072));
    let said = gguf(&file, &Options::default()).err().unwrap();
    assert!(said.contains("`llama.context_length` is 131072"), "{said}");
    assert!(said.contains("--context"), "{said}");
    let within = |context| Options { context: Some(context), ..Options::default() };
    assert_eq!(gguf(&file, &within(256)).unwrap().config.context, 256);
    let said = gguf(&file, &within(131_073)).err().unwrap();
    assert!(said.contains("--context 131073: expected 1 to 131072"), "{said}");
    let options = within(64);
    let field = "max_position_embeddings";
    assert_eq!(directory(field, json!(131_072), &options).unwrap().config.context, 64);

    // Learned positions are cut at import.
    let opt = Directory::of("novel-opt");
    opt.write();
    let (whole, cut) = (Options::default(), within(16));
    let [whole, cut] = [whole, cut].map(|options| import_with(opt.path(), &options).unwrap());
    let (whole, cut) = (whole.positions.unwrap(), cut.positions.unwrap());
    assert_eq!((cut.rows, cut.values()), (16, whole.rows(0..16)));
}

#[test]
fn an_activation_that_the_file_does_not_say_is_asked_for() {
    let mut file = Gguf::of(&tiny::model(Shape::LLAMA), &pieces());
    assert_eq!(gguf(&file, &Options::default()).unwrap().config.activation, Activation::Relu);
    file.metadata.remove("llama.hidden_activation");
    let said = gguf(&file, &Options::default()).err().unwrap();
    assert!(said.contains("`llama.hidden_activation` is missing"), "{said}");
    assert!(said.contains("--activation silu") && said.contains("ReluLLaMA"), "{said}");
    let with = |name: &str| {
        let activation = ripple_host_sim::import::activation(name);
        Options { activation: Some(activation.unwrap()), ..Options::default() }
    };
    for (name, activation, threshold) in [
        ("relu", Activation::Relu, 0.0),
        ("silu", Activation::Silu, 0.0),
        ("fatrelu=0.01", Activation::Relu, 0.01),
        ("gelu_pytorch_tanh", Activation::GeluTanh, 0.0),
    ] {
        let config = gguf(&file, &with(name)).unwrap().config;
        assert_eq!((config.activation, config.threshold), (activation, threshold), "{name}");
    }
    for wrong in ["", "fatrelu", "fatrelu=-1", "fatrelu=x", "fatrelu=inf", "mish"] {
        assert!(ripple_host_sim::import::activation(wrong).is_err(), "{wrong}");
    }

    // What the file says counts; a contradiction is none to be settled silently.
    let said = directory("hidden_act", json!("relu"), &with("silu")).err().unwrap();
    assert!(said.contains("`hidden_act` is relu, --activation silu"), "{said}");
    assert!(directory("hidden_act", json!("relu"), &with("relu")).is_ok());
    assert_eq!(
        directory("hidden_act", json!(null), &with("silu")).unwrap().config.activation,
        Activation::Silu
    );
}
