//! The same checkpoints as llama.cpp's converter writes them: architectures whose tensors it names and orders
//! in its own way, and whose metadata say less.

use crate::checkpoint_common::{Gguf, Tensor, Value, vocabulary};
use crate::families_table::folder;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use half::bf16;
use ripple_host_sim::import::{Options, import_with};
use ripple_host_sim::model::reference::Reference;
use ripple_kernel::Activation;
use ripple_tests::tiny::{self, Shape};
use safetensors::SafeTensors;
use serde_json::Value as Json;

/// The file's name for a tensor of a checkpoint.
fn translated(name: &str, sandwich: bool) -> String {
    if name == "lm_head.weight" {
        return "output.weight".to_owned();
    }
    let parts: Vec<&str> = name.strip_prefix("model.").unwrap().split('.').collect();
    let [layer, rest @ ..] = &parts[1..] else { panic!("{name}") };
    if parts[0] != "layers" {
        return match parts[0] {
            "norm" => "output_norm.weight".to_owned(),
            _ => "token_embd.weight".to_owned(),
        };
    }
    let (kind, path) = rest.split_last().unwrap();
    let part = match path.join(".").as_str() {
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "self_attn.o_proj" => "attn_output",
        "self_attn.q_norm" => "attn_q_norm",
        "self_attn.k_norm" => "attn_k_norm",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" => "ffn_up",
        "mlp.down_proj" => "ffn_down",
        "input_layernorm" => "attn_norm",
        "post_attention_layernorm" if sandwich => "post_attention_norm",
        "post_attention_layernorm" | "pre_feedforward_layernorm" => "ffn_norm",
        "post_feedforward_layernorm" => "post_ffw_norm",
        other => panic!("{other}"),
    };
    format!("blk.{layer}.{part}.{kind}")
}

/// Rows of heads with the two numbers that rotary positions turn next to each other.
fn neighbours(values: &[f32], head_dim: usize, cols: usize) -> Vec<f32> {
    let row = |head: usize, r: usize| (head * head_dim + r % 2 * (head_dim / 2) + r / 2) * cols;
    (0..values.len() / cols)
        .flat_map(|i| values[row(i / head_dim, i % head_dim)..][..cols].to_vec())
        .collect()
}

/// The file of a family, as `architecture`.
fn file(family: &str, architecture: &str) -> (Gguf, Json) {
    let folder = folder().join(family);
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let config: Json = serde_json::from_slice(&read("config.json")).unwrap();
    let golden: Json = serde_json::from_slice(&read("golden.json")).unwrap();
    let mut file = Gguf::of(&tiny::model(Shape::LLAMA), &vocabulary(&[]));
    file.metadata.retain(|key, _| !key.starts_with("llama."));
    file.tensors.clear();
    file.set("general.architecture", Value::Text(architecture.to_owned()));
    let whole = |field: &str| config[field].as_u64().unwrap() as u32;
    let head_dim = config["head_dim"]
        .as_u64()
        .map_or(whole("hidden_size") / whole("num_attention_heads"), |n| n as u32);
    for (key, n) in [
        ("embedding_length", whole("hidden_size")),
        ("block_count", whole("num_hidden_layers")),
        ("feed_forward_length", whole("intermediate_size")),
        ("attention.head_count", whole("num_attention_heads")),
        ("attention.head_count_kv", whole("num_key_value_heads")),
        ("attention.key_length", head_dim),
        ("attention.value_length", head_dim),
        ("context_length", whole("max_position_embeddings")),
    ] {
        file.set(&format!("{architecture}.{key}"), Value::U32(n));
    }
    let number = |file: &mut Gguf, key: &str, value: &Json| {
        if let Some(number) = value.as_f64() {
            file.set(&format!("{architecture}.{key}"), Value::F32(number as f32));
        }
    };
    number(&mut file, "attention.layer_norm_rms_epsilon", &config["rms_norm_eps"]);
    number(&mut file, "rope.freq_base", &config["rope_theta"]);
    number(&mut file, "rope.freq_base", &config["rope_parameters"]["rope_theta"]);
    number(&mut file, "attn_logit_softcapping", &config["attn_logit_softcapping"]);
    number(&mut file, "final_logit_softcapping", &config["final_logit_softcapping"]);
    if let Some(window) = config["sliding_window"].as_u64() {
        file.set(&format!("{architecture}.attention.sliding_window"), Value::U32(window as u32));
    }
    let gemma = architecture.starts_with("gemma");
    let bytes = read("model.safetensors");
    for (name, view) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
        let mut values: Vec<f32> = view
            .data()
            .chunks_exact(2)
            .map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32())
            .collect();
        // The converter adds Gemma's 1.
        if gemma && name.ends_with("norm.weight") {
            values.iter_mut().for_each(|value| *value += 1.0);
        }
        let name = translated(&name, architecture == "gemma2");
        if architecture == "llama" && (name.contains("attn_q.") || name.contains("attn_k.")) {
            let cols = view.shape().get(1).copied().unwrap_or(1);
            values = neighbours(&values, head_dim as usize, cols);
        }
        file.tensors.insert(name, Tensor::f32(view.shape(), &values));
    }
    (file, golden)
}

/// The largest difference of a logit from `transformers`'.
fn difference(file: &Gguf, golden: &Json, activation: Option<Activation>) -> f32 {
    let folder = tempfile::tempdir().unwrap();
    let activation = activation.map(|activation| (activation, 0.0));
    let options = Options { activation, ..Options::default() };
    let model =
        import_with(&file.write(folder.path()), &options).unwrap_or_else(|e| panic!("{e:#}"));
    let expected = STANDARD.decode(golden["logits"].as_str().unwrap()).unwrap();
    let expected: Vec<f32> =
        expected.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    let vocab = model.config.vocab as usize;
    let mut expected = expected.chunks_exact(vocab);
    let mut reference = Reference::new(&model);
    let mut worst = 0.0_f32;
    for (at, token) in golden["ids"].as_array().unwrap().iter().enumerate() {
        let found = reference.forward(token.as_u64().unwrap() as u32);
        if golden["kept"].as_array().unwrap().iter().any(|kept| *kept == at) {
            let off = found.iter().zip(expected.next().unwrap()).map(|(a, b)| (a - b).abs());
            worst = off.fold(worst, f32::max);
        }
    }
    assert!(expected.next().is_none());
    worst
}

#[test]
fn architectures_compute_what_transformers_does() {
    let silu = Some(Activation::Silu);
    for (family, architecture, activation) in [
        ("smollm2", "llama", silu),
        ("relu-llama", "llama", Some(Activation::Relu)),
        ("qwen2", "qwen2", silu),
        ("qwen3", "qwen3", silu),
        ("gemma", "gemma", None),
    ] {
        let (file, golden) = file(family, architecture);
        let worst = difference(&file, &golden, activation);
        assert!(worst < 1e-4, "{family}: logits are off by {worst}");
    }
}

#[test]
fn the_scale_of_gemma_2_scores_is_that_of_its_size() {
    // The file does not have `query_pre_attn_scalar`, 12 here: as llama.cpp, it is the width of a head.
    let (mut file, golden) = file("gemma2", "gemma2");
    let ratio = (12.0f32 / 8.0).sqrt().recip();
    for layer in 0..2 {
        let query = file.tensors.get_mut(&format!("blk.{layer}.attn_q.weight")).unwrap();
        let values: Vec<f32> = query
            .bytes
            .chunks_exact(4)
            .map(|b| ratio * f32::from_le_bytes(b.try_into().unwrap()))
            .collect();
        *query = Tensor::f32(&query.shape, &values);
    }
    let worst = difference(&file, &golden, None);
    assert!(worst < 1e-4, "logits are off by {worst}");
}

#[test]
fn factors_of_rotary_frequencies_are_a_tensor() {
    let (mut file, golden) = file("llama3-v5", "llama");
    // As the converter computes them for Llama 3: what each frequency is divided by.
    let factors: Vec<f32> = (0..4)
        .map(|i| {
            let plain = 500_000f64.powf(-f64::from(i) / 4.0);
            let turns = 24.0 * plain / std::f64::consts::TAU;
            let kept = ((turns - 1.0) / 3.0).clamp(0.0, 1.0);
            (1.0 / (kept + (1.0 - kept) / 4.0)) as f32
        })
        .collect();
    file.tensors.insert("rope_freqs.weight".to_owned(), Tensor::f32(&[4], &factors));
    let worst = difference(&file, &golden, Some(Activation::Silu));
    assert!(worst < 1e-4, "logits are off by {worst}");
    file.tensors.remove("rope_freqs.weight");
    assert!(difference(&file, &golden, Some(Activation::Silu)) > 1e-3);
}
