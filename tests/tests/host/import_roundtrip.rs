//! However a checkpoint is stored, the same weights come out of it, bit for bit.

use crate::import_common::{Directory, Tensor};
use ripple_host_sim::import::demo;
use ripple_host_sim::import::import;
use ripple_host_sim::model::Model;
use ripple_host_sim::model::reference::Reference;
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde_json::json;

fn assert_same(a: &Model, b: &Model) {
    assert_eq!(a.config, b.config);
    assert_eq!(a.rope_theta.to_bits(), b.rope_theta.to_bits());
    assert_eq!(a.embed, b.embed);
    assert_eq!(a.positions, b.positions);
    assert_eq!(a.head, b.head);
    assert_eq!(a.final_norm, b.final_norm);
    assert!(a.layers == b.layers);
    let json = |model: &Model| serde_json::to_string(&model.tokenizer).unwrap();
    assert!(json(a) == json(b), "the tokenizers differ");
}

fn dtypes(file: &std::path::Path) -> Vec<Dtype> {
    let bytes = std::fs::read(file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    tensors.iter().map(|(_, view)| view.dtype()).collect()
}

#[test]
fn model_files_give_back_every_demo_model() {
    let folder = tempfile::tempdir().unwrap();
    for name in demo::list() {
        let model = Model::load(&demo::path(name).unwrap()).unwrap();
        assert_eq!(model.name, *name);
        let (first, second) = (folder.path().join("first"), folder.path().join("second"));
        model.write(&first).unwrap();
        let again = Model::load(&first).unwrap();
        assert_eq!(again.name, *name);
        assert_same(&model, &again);
        assert!(dtypes(&first).iter().all(|&dtype| dtype == Dtype::F16), "{name}");
        again.write(&second).unwrap();
        assert!(std::fs::read(&first).unwrap() == std::fs::read(&second).unwrap(), "{name}");
    }
}

#[test]
fn shards_and_one_file_are_the_same_model() {
    for name in ["story-nano", "novel-opt"] {
        let directory = Directory::of(name);
        directory.write_sharded();
        let whole = Model::load(&demo::path(name).unwrap()).unwrap();
        assert_same(&import(directory.path()).unwrap(), &whole);
    }
}

#[test]
fn float32_checkpoints_are_taken_exactly() {
    let mut directory = Directory::of("story-nano");
    directory.convert(Dtype::F32, |value| value.to_f32().to_le_bytes().to_vec());
    directory.write();
    let model = import(directory.path()).unwrap();
    assert_same(&model, &Model::load(&demo::path("story-nano").unwrap()).unwrap());

    // A value that float16 cannot hold keeps its tensor, and no other, in float32.
    directory.tensor("model.norm.weight").bytes[..4].copy_from_slice(&0.1_f32.to_le_bytes());
    directory.write();
    let model = import(directory.path()).unwrap();
    let file = directory.file("model.ripple");
    model.write(&file).unwrap();
    assert_eq!(dtypes(&file).iter().filter(|&&dtype| dtype == Dtype::F32).count(), 1);
    let again = Model::read(&file).unwrap();
    assert_eq!(again.final_norm.weight[0].to_bits(), 0.1_f32.to_bits());
    assert_same(&model, &again);
}

#[test]
fn bfloat16_checkpoints_are_taken_exactly() {
    let mut directory = Directory::of("story-nano");
    directory
        .convert(Dtype::BF16, |value| half::bf16::from_f32(value.to_f32()).to_le_bytes().to_vec());
    directory.write();
    let model = import(directory.path()).unwrap();
    let full = Model::load(&demo::path("story-nano").unwrap()).unwrap();
    for (found, exact) in model.embed.values().iter().zip(&*full.embed.values()) {
        assert_eq!(*found, half::bf16::from_f32(*exact).to_f32());
    }
    let file = directory.file("model.ripple");
    model.write(&file).unwrap();
    assert_same(&model, &Model::read(&file).unwrap());
}

#[test]
fn names_with_and_without_the_outer_prefix_are_the_same_model() {
    for (name, prefix) in [("story-nano", "model."), ("novel-opt", "model.")] {
        let mut directory = Directory::of(name);
        let strip = |(name, tensor): (String, Tensor)| {
            (name.strip_prefix(prefix).unwrap().to_owned(), tensor)
        };
        directory.tensors = std::mem::take(&mut directory.tensors).into_iter().map(strip).collect();
        directory.write();
        let whole = Model::load(&demo::path(name).unwrap()).unwrap();
        assert_same(&import(directory.path()).unwrap(), &whole);
    }
}

#[test]
fn opt_positions_lose_their_two_unused_rows() {
    let mut directory = Directory::of("novel-opt");
    let positions = directory.tensor("model.decoder.embed_positions.weight").clone();
    directory.write();
    let model = import(directory.path()).unwrap();
    let found = model.positions.unwrap();
    assert_eq!((found.rows, found.cols), (256, 128));
    let third = &positions.bytes[2 * 128 * 2..][..2];
    assert_eq!(found.row(0)[0], half::f16::from_le_bytes([third[0], third[1]]).to_f32());
}

#[test]
fn an_untied_head_is_used() {
    let mut directory = Directory::of("story-nano");
    let mut head = directory.tensor("model.embed_tokens.weight").clone();
    head.bytes.fill(0);
    directory.tensors.insert("lm_head.weight".into(), head);
    directory.config["tie_word_embeddings"] = json!(false);
    directory.write();
    let file = directory.file("model.ripple");
    import(directory.path()).unwrap().write(&file).unwrap();
    let model = Model::read(&file).unwrap();
    assert!(model.head.is_some());
    assert!(Reference::new(&model).forward(0).iter().all(|&logit| logit == 0.0));
}

/// Older configurations: `rope_theta` at the top, no `head_dim`, several `eos_token_id`.
#[test]
fn older_configurations_are_understood() {
    let mut directory = Directory::of("story-nano");
    let config = directory.config.as_object_mut().unwrap();
    for field in ["rope_parameters", "head_dim", "mlp_bias", "attention_bias"] {
        config.remove(field);
    }
    config.insert("rope_theta".into(), json!(5000.0));
    config.insert("eos_token_id".into(), json!([3, 4]));
    config.insert("rope_scaling".into(), json!(null));
    directory.write();
    let model = import(directory.path()).unwrap();
    assert_eq!((model.rope_theta, model.config.head_dim), (5000.0, 16));
    assert_eq!(model.tokenizer.eos, [3, 4]);
}

#[test]
fn fatrelu_raises_the_threshold() {
    let mut directory = Directory::of("story-nano");
    directory.config["hidden_act"] = json!("fatrelu");
    directory.config["hidden_act_param"] = json!(1000.0);
    directory.write();
    let file = directory.file("model.ripple");
    import(directory.path()).unwrap().write(&file).unwrap();
    let mut model = Model::read(&file).unwrap();
    assert_eq!(model.config.threshold, 1000.0);
    // No neuron reaches it: as if the FFN were not there.
    let silent = Reference::new(&model).forward(5).to_vec();
    model.config.threshold = 0.0;
    for layer in &mut model.layers {
        layer.down.weight.values_mut().fill(0.0);
    }
    assert_eq!(Reference::new(&model).forward(5), silent);
}
