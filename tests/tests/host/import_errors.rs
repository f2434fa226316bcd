//! Every bad checkpoint is refused in words that name the file, what is wrong, and the fix.

use crate::import_common::Directory;
use ripple_host_sim::import::{import, import_dense};
use ripple_host_sim::model::Model;
use safetensors::tensor::Dtype;
use serde_json::json;

const GATE: &str = "model.layers.0.mlp.gate_proj.weight";

/// The error of importing `directory`, asserted to name `file` and hold every one of `words`.
fn assert_refused(directory: &Directory, file: &str, words: &[&str]) {
    let error = match import(directory.path()) {
        Ok(_) => panic!("imported, but should be refused with {words:?}"),
        Err(error) => format!("{error:#}"),
    };
    assert!(error.contains(&directory.file(file).display().to_string()), "{file}: {error}");
    for word in words {
        assert!(error.contains(word), "{word} is not in: {error}");
    }
}

#[test]
fn missing_files_are_named_with_what_belongs_there() {
    let missing: [(&str, &[&str]); 3] = [
        ("config.json", &["not readable", "Hugging Face"]),
        ("model.safetensors", &["not found", "model.safetensors.index.json"]),
        ("tokenizer.json", &[]),
    ];
    for (file, words) in missing {
        let directory = Directory::of("story-nano");
        directory.write();
        std::fs::remove_file(directory.file(file)).unwrap();
        assert_refused(&directory, file, words);
    }
}

#[test]
fn a_file_that_torch_did_not_save_is_refused_with_the_conversion() {
    let directory = Directory::of("story-nano");
    directory.write_config();
    std::fs::write(directory.file("pytorch_model.bin"), b"pickle").unwrap();
    assert_refused(&directory, "pytorch_model.bin", &["too short"]);
    std::fs::write(directory.file("pytorch_model.bin"), [7; 4000]).unwrap();
    assert_refused(&directory, "pytorch_model.bin", &["torch.save", "save_pretrained"]);
}

#[test]
fn truncated_weights_are_refused_at_every_length() {
    let directory = Directory::of("story-nano");
    directory.write();
    let whole = std::fs::read(directory.file("model.safetensors")).unwrap();
    for length in [0, 7, 8, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(directory.file("model.safetensors"), &whole[..length]).unwrap();
        let bytes = format!("{length} bytes");
        assert_refused(&directory, "model.safetensors", &[&bytes, "download it again"]);
    }
    std::fs::write(directory.file("model.safetensors"), b"version https://git-lfs.github.com/spec")
        .unwrap();
    assert_refused(&directory, "model.safetensors", &["git lfs pull"]);
}

#[test]
fn garbage_weights_are_refused() {
    let directory = Directory::of("story-nano");
    directory.write();
    let mut bytes = std::fs::read(directory.file("model.safetensors")).unwrap();
    bytes[20] = 0xff;
    std::fs::write(directory.file("model.safetensors"), &bytes).unwrap();
    assert_refused(&directory, "model.safetensors", &["damaged", "download it again"]);
}

#[test]
fn a_wrong_shape_is_shown_beside_the_expected_one() {
    let mut directory = Directory::of("story-nano");
    directory.tensor(GATE).shape = vec![128, 128];
    directory.write();
    assert_refused(&directory, "model.safetensors", &[GATE, "[128, 128]", "[256, 64]"]);
}

#[test]
fn missing_and_left_over_tensors_are_named() {
    let mut directory = Directory::of("story-nano");
    directory.tensors.remove(GATE);
    directory.write();
    assert_refused(&directory, "model.safetensors", &[GATE, "missing", "[256, 64]"]);

    let mut directory = Directory::of("story-nano");
    directory.config["num_hidden_layers"] = json!(4);
    directory.write();
    assert_refused(&directory, "model.safetensors", &["model.layers.4.", "num_hidden_layers"]);

    let mut directory = Directory::of("story-nano");
    directory.config["tie_word_embeddings"] = json!(false);
    directory.write();
    assert_refused(&directory, "model.safetensors", &["lm_head.weight", "missing", "[512, 64]"]);
}

#[test]
fn a_stored_head_that_contradicts_tying_is_refused() {
    let mut directory = Directory::of("story-nano");
    let mut head = directory.tensor("model.embed_tokens.weight").clone();
    directory.tensors.insert("lm_head.weight".into(), head.clone());
    directory.write();
    assert!(import(directory.path()).is_ok());
    head.bytes[0] ^= 1;
    directory.tensors.insert("lm_head.weight".into(), head);
    directory.write();
    assert_refused(&directory, "model.safetensors", &["lm_head.weight", "tie_word_embeddings"]);
}

#[test]
fn integer_weights_are_refused() {
    let mut directory = Directory::of("story-nano");
    let tensor = directory.tensor(GATE);
    tensor.dtype = Dtype::I8;
    tensor.bytes.truncate(256 * 64);
    directory.write();
    assert_refused(&directory, "model.safetensors", &[GATE, "I8", "F16", "original weights"]);
}

#[test]
fn values_that_are_not_finite_are_located() {
    for (bits, shown) in [(0x7e00_u16, "NaN"), (0x7c00, "inf"), (0xfc00, "-inf")] {
        let mut directory = Directory::of("story-nano");
        directory.tensor(GATE).bytes[200..202].copy_from_slice(&bits.to_le_bytes());
        directory.write();
        let words = [GATE, shown, "element 100 of 16384", "F16"];
        assert_refused(&directory, "model.safetensors", &words);
    }
}

#[test]
fn shards_must_be_there_and_hold_what_the_index_says() {
    let directory = Directory::of("story-nano");
    directory.write_sharded();
    let shard = "model-00002-of-00002.safetensors";
    std::fs::remove_file(directory.file(shard)).unwrap();
    assert_refused(&directory, shard, &["shard not found", "download all shards"]);

    directory.write_shard(shard, |_| false);
    assert_refused(&directory, shard, &["is missing", "index", "together"]);

    let index = "model.safetensors.index.json";
    let outside = json!({"weight_map": {GATE: "../elsewhere.safetensors"}});
    std::fs::write(directory.file(index), outside.to_string()).unwrap();
    assert_refused(&directory, index, &["../elsewhere", "same directory"]);

    std::fs::write(directory.file(index), "{}").unwrap();
    assert_refused(&directory, index, &["not an index", "weight_map"]);
}

#[test]
fn activations_without_zeros_are_refused_with_the_way_out() {
    let mut directory = Directory::of("story-nano");
    for name in ["silu", "gelu_new", "gelu_pytorch_tanh"] {
        directory.config["hidden_act"] = json!(name);
        directory.write();
        let said = import(directory.path()).err().unwrap().to_string();
        for word in
            ["never exactly zero", "--threshold", "ReLU", &directory.path().to_string_lossy()]
        {
            assert!(said.contains(word), "{word} is not in: {said}");
        }
        let dense = import_dense(directory.path(), None).unwrap();
        assert!(dense.config.activation.lossy());
    }
    directory.config["hidden_act"] = json!("gelu");
    directory.write();
    assert_refused(&directory, "config.json", &["`hidden_act` is gelu", "gelu_pytorch_tanh"]);
    directory.config["architectures"] = json!(["Gemma3ForCausalLM"]);
    directory.write();
    assert_refused(&directory, "config.json", &["Gemma3ForCausalLM", "take a Gemma 2"]);

    let mut directory = Directory::of("novel-opt");
    directory.config["activation_function"] = json!("silu");
    directory.write();
    assert_refused(
        &directory,
        "config.json",
        &["activation_function", "relu: neurons without a gate"],
    );
}

#[test]
fn fields_the_kernel_cannot_follow_are_refused() {
    let refused: [(&str, &str, serde_json::Value, &[&str]); 29] = [
        ("story-nano", "architectures", json!(["GPT2LMHeadModel"]), &["GPT2", "take an OPT"]),
        ("story-nano", "architectures", json!(["MixtralForCausalLM"]), &["experts", "dense"]),
        ("story-nano", "hidden_act", json!("mish"), &["mish", "supported: relu, fatrelu"]),
        (
            "story-nano",
            "scale_depth",
            json!(1.4),
            &["LlamaForCausalLM does not have", "--allow-key"],
        ),
        ("story-nano", "hidden_act", json!("fatrelu"), &["hidden_act_param", "missing"]),
        ("story-nano", "hidden_act", json!(null), &["missing"]),
        ("story-nano", "mlp_bias", json!(true), &["true", "expected false"]),
        ("story-nano", "hidden_size", json!(null), &["missing", "a whole number"]),
        ("story-nano", "hidden_size", json!("64"), &["\"64\"", "a whole number"]),
        ("story-nano", "hidden_size", json!(66), &["66", "multiple of 4"]),
        ("story-nano", "num_hidden_layers", json!(0), &["0", "1 to 256"]),
        ("story-nano", "num_key_value_heads", json!(3), &["3", "a divisor"]),
        ("story-nano", "num_attention_heads", json!(-4), &["-4", "a whole number"]),
        ("story-nano", "rms_norm_eps", json!(0.0), &["0", "between 0 and 1"]),
        ("story-nano", "bos_token_id", json!(512), &["token 512", "has 512 tokens"]),
        ("story-nano", "eos_token_id", json!("</s>"), &["</s>", "id of a token"]),
        ("story-nano", "tie_word_embeddings", json!(1), &["true or false"]),
        ("story-nano", "rope_parameters", json!({"type": "su", "factor": 2}), &["\"su\"", "yarn"]),
        ("story-nano", "rope_scaling", json!({"type": "linear", "factor": 2}), &["the same as"]),
        ("story-nano", "rope_parameters", json!({"type": "linear"}), &["factor", "missing"]),
        ("story-nano", "rope_parameters", json!({"factor": 2}), &["rope_type", "null"]),
        ("story-nano", "rope_parameters", json!({"rope_type": "yarn"}), &["factor", "missing"]),
        ("story-nano", "rope_parameters", json!({"rope_theta": "x"}), &["rope_theta", "number"]),
        ("story-nano", "sliding_window", json!(128), &["128", "not supported", "--context 128"]),
        ("story-nano", "layer_types", json!(["chunked_attention"]), &["full_attention"]),
        ("story-nano", "quantization_config", json!({}), &["original"]),
        ("novel-opt", "_remove_final_layer_norm", json!(true), &["expected false"]),
        ("novel-opt", "num_attention_heads", json!(3), &["3", "divisor", "128"]),
        ("novel-opt", "ffn_dim", json!(70000), &["70000", "65535"]),
    ];
    for (model, field, value, words) in refused {
        let mut directory = Directory::of(model);
        directory.config[field] = value;
        directory.write();
        assert_refused(&directory, "config.json", &[&[field], words].concat());
    }
}

#[test]
fn a_config_that_is_not_json_is_refused() {
    let directory = Directory::of("story-nano");
    directory.write();
    std::fs::write(directory.file("config.json"), "[1]").unwrap();
    assert_refused(&directory, "config.json", &["not a JSON object"]);
}

#[test]
fn mistral_is_taken_only_without_a_window() {
    let mut directory = Directory::of("story-nano");
    directory.config["architectures"] = json!(["MistralForCausalLM"]);
    directory.config["sliding_window"] = json!(null);
    directory.write();
    assert!(import(directory.path()).is_ok());
    directory.config.as_object_mut().unwrap().remove("sliding_window");
    directory.config["max_position_embeddings"] = json!(8192);
    directory.write();
    assert_refused(&directory, "config.json", &["sliding_window", "4096", "8192"]);
}

#[test]
fn a_tokenizer_larger_than_the_embedding_is_refused() {
    let directory = Directory::of("story-nano");
    directory.write();
    let larger = ripple_host_sim::import::demo::path("novel-nano").unwrap().join("tokenizer.json");
    std::fs::copy(larger, directory.file("tokenizer.json")).unwrap();
    assert_refused(&directory, "tokenizer.json", &["1024 tokens", "`vocab_size`", "512"]);
}

#[test]
fn model_files_are_told_from_other_files() {
    let directory = Directory::of("story-nano");
    directory.write();
    let message = |path: &str| match Model::load(&directory.file(path)) {
        Ok(_) => panic!("{path} was read"),
        Err(error) => format!("{error:#}"),
    };
    assert!(message("model.safetensors").contains("give its directory"));
    assert!(message("config.json").contains("safetensors"));
    assert!(message("nothing").contains("nothing: no such file"));
    assert!(message("nothing").contains("story-nano"));

    let file = directory.file("model.ripple");
    import(directory.path()).unwrap().write(&file).unwrap();
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() - 2]).unwrap();
    assert!(message("model.ripple").contains("truncated"));
    let text = br#"{\"version\":4,"#;
    let at = whole.windows(text.len()).position(|window| window == text).unwrap();
    let mut newer = whole;
    newer[at + text.len() - 2] = b'9';
    std::fs::write(&file, newer).unwrap();
    assert!(message("model.ripple").contains("version 9, expected 4"));
}

/// What stands at the output's place stays there, and nothing is left beside it.
#[test]
fn a_failed_write_leaves_the_old_file() {
    let directory = Directory::of("story-nano");
    directory.write();
    let model = import(directory.path()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let occupied = folder.path().join("model.ripple");
    std::fs::create_dir(&occupied).unwrap();
    std::fs::write(occupied.join("old"), "old").unwrap();
    assert!(model.write(&occupied).is_err());
    assert_eq!(std::fs::read_to_string(occupied.join("old")).unwrap(), "old");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);

    let missing = folder.path().join("nowhere/model.ripple");
    let error = format!("{:#}", model.write(&missing).unwrap_err());
    assert!(error.contains("nowhere") && error.contains("cannot be written"), "{error}");
}

/// A checkpoint that turns out bad is refused before its output is touched.
#[test]
fn a_failed_import_does_not_replace_an_existing_file() {
    let mut directory = Directory::of("story-nano");
    let output = directory.file("model.ripple");
    std::fs::write(&output, "old").unwrap();
    directory.tensors.remove(GATE);
    directory.write();
    let result = import(directory.path()).and_then(|model| model.write(&output));
    assert!(result.is_err());
    assert_eq!(std::fs::read_to_string(&output).unwrap(), "old");
}
