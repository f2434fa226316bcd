//! Adapters as PEFT has them: a folder with `adapter_config.json` and `adapter_model.safetensors`, which
//! `transformers` loads.
//!
//! In: adapters and the shape of their model, or such a folder. Out: the other.

use crate::machine::adapter::Saved;
use crate::process::failure::bad_input;
use crate::process::output::write_whole;
use anyhow::{Context, Result, anyhow, bail, ensure};
use half::{bf16, f16};
use ripple_kernel::adapter::{AdapterShape, Target, Targets};
use ripple_kernel::{ModelConfig, Position};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Value, json};
use std::path::Path;

const CONFIG: &str = "adapter_config.json";
const TENSORS: &str = "adapter_model.safetensors";

/// What a target is called in models of the family.
fn module(config: &ModelConfig, target: Target) -> &'static str {
    match target {
        Target::Query => "q_proj",
        Target::Key => "k_proj",
        Target::Value => "v_proj",
        Target::Output if config.position == Position::Learned => "out_proj",
        Target::Output => "o_proj",
    }
}

fn tensor(config: &ModelConfig, layer: u32, target: Target, part: char) -> String {
    let decoder = if config.position == Position::Learned { "decoder." } else { "" };
    let module = module(config, target);
    format!("base_model.model.model.{decoder}layers.{layer}.self_attn.{module}.lora_{part}.weight")
}

/// Each `A` and `B` of a layer: target, letter, rows, columns, and where its numbers lie.
fn parts(
    shape: &AdapterShape,
    config: &ModelConfig,
) -> Vec<(Target, char, usize, usize, std::ops::Range<usize>)> {
    let rank = shape.rank as usize;
    let targets = Target::ALL.into_iter().filter(|target| shape.targets.has(*target));
    let both = targets.flat_map(|target| {
        let (inputs, outputs) = AdapterShape::sides(config, target);
        let (a, b) = shape.places(config, target);
        [(target, 'A', rank, inputs, a), (target, 'B', outputs, rank, b)]
    });
    both.collect()
}

/// Writes `saved`, adapters of a model of this shape, to `folder`.
///
/// # Errors
/// When the folder cannot be made or written.
pub fn export(saved: &Saved, config: &ModelConfig, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let Saved { shape, numbers, .. } = saved;
    let parts = parts(shape, config);
    let layer_numbers = shape.layer_numbers(config);
    let mut bytes = Vec::new();
    for layer in 0..config.layers {
        for (target, letter, rows, columns, range) in &parts {
            let at = layer as usize * layer_numbers;
            let numbers = &numbers[at + range.start..at + range.end];
            let data: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
            bytes.push((tensor(config, layer, *target, *letter), vec![*rows, *columns], data));
        }
    }
    let views = bytes.iter().map(|(name, shape, data)| {
        Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), data)?))
    });
    let views = views.collect::<Result<Vec<_>>>()?;
    let file = safetensors::serialize(views, None)?;
    write_whole(&folder.join(TENSORS), |out| Ok(out.write_all(&file)?))?;
    let modules: Vec<_> = Target::ALL
        .into_iter()
        .filter(|target| shape.targets.has(*target))
        .map(|target| module(config, target))
        .collect();
    let about = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": null,
        "r": shape.rank,
        "lora_alpha": shape.alpha,
        "lora_dropout": 0.0,
        "target_modules": modules,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
    });
    let text = serde_json::to_string_pretty(&about)? + "\n";
    write_whole(&folder.join(CONFIG), |out| Ok(out.write_all(text.as_bytes())?))
}

/// Reads the adapters in `folder`, of a model of this shape.
///
/// # Errors
/// When they are of another kind or of another model, or a file is damaged.
pub fn import(folder: &Path, config: &ModelConfig) -> Result<Saved> {
    let path = folder.join(CONFIG);
    let shape = read_config(&path, config)
        .with_context(|| path.display().to_string())
        .map_err(bad_input)?;
    let path = folder.join(TENSORS);
    read_tensors(&path, shape, config)
        .with_context(|| path.display().to_string())
        .map_err(bad_input)
}

fn read_config(path: &Path, config: &ModelConfig) -> Result<AdapterShape> {
    let text = std::fs::read_to_string(path).context("cannot be read")?;
    let about: Value = serde_json::from_str(&text).context("expected JSON")?;
    let kind = about.get("peft_type").and_then(Value::as_str).unwrap_or("nothing");
    ensure!(kind == "LORA", "`peft_type`: expected LORA, found {kind}");
    // What changes the product, and is not computed here.
    for field in ["use_rslora", "use_dora", "fan_in_fan_out", "lora_bias"] {
        let set = about.get(field).and_then(Value::as_bool).unwrap_or(false);
        ensure!(
            !set,
            "`{field}`: expected false, found true; merge such an adapter into its model"
        );
    }
    for field in [
        "rank_pattern",
        "alpha_pattern",
        "modules_to_save",
        "layers_to_transform",
        "layer_replication",
    ] {
        let value = about.get(field).unwrap_or(&Value::Null);
        let empty = match value {
            Value::Null => true,
            Value::Object(map) => map.is_empty(),
            Value::Array(list) => list.is_empty(),
            _ => false,
        };
        ensure!(
            empty,
            "`{field}`: expected none, found {value}; all layers have the same adapters here"
        );
    }
    let bias = about.get("bias").and_then(Value::as_str).unwrap_or("none");
    ensure!(bias == "none", "`bias`: expected none, found {bias}");
    let rank = about.get("r").and_then(Value::as_u64).unwrap_or(0);
    ensure!((1..=256).contains(&rank), "`r`: expected 1 to 256, found {rank}");
    let alpha = about.get("lora_alpha").and_then(Value::as_f64).context("no `lora_alpha`")?;
    let named = about.get("target_modules").and_then(Value::as_array);
    let named = named.context("`target_modules`: expected a list of names")?;
    let mut targets = Vec::new();
    for name in named {
        let name = name.as_str().unwrap_or_default();
        let target = Target::ALL.into_iter().find(|target| module(config, *target) == name);
        let Some(target) = target else {
            bail!(
                "`target_modules`: expected queries, keys, values and outputs of attention, found `{name}`"
            );
        };
        targets.push(target);
    }
    ensure!(!targets.is_empty(), "`target_modules`: expected at least one name");
    Ok(AdapterShape { rank: rank as u32, alpha: alpha as f32, targets: Targets::of(&targets) })
}

fn read_tensors(path: &Path, shape: AdapterShape, config: &ModelConfig) -> Result<Saved> {
    let bytes = std::fs::read(path).context("cannot be read")?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| anyhow!("damaged: {e}"))?;
    let parts = parts(&shape, config);
    let mut numbers = Vec::with_capacity(shape.numbers(config));
    for layer in 0..config.layers {
        for (target, letter, rows, columns, _) in &parts {
            let name = tensor(config, layer, *target, *letter);
            let view = file.tensor(&name).map_err(|_| anyhow!("no tensor `{name}`"))?;
            ensure!(
                view.shape() == [*rows, *columns],
                "`{name}`: expected {rows} x {columns}, found {:?}; it is of another model",
                view.shape()
            );
            numbers.extend(floats(&view).with_context(|| name)?);
        }
    }
    let expected = parts.len() * config.layers as usize;
    ensure!(
        file.len() == expected,
        "expected {expected} tensors, found {}: there are adapters of matrices that have none here",
        file.len()
    );
    ensure!(numbers.iter().all(|x| x.is_finite()), "expected finite numbers");
    Ok(Saved { shape, steps: 0, numbers })
}

fn floats(view: &TensorView<'_>) -> Result<Vec<f32>> {
    let data = view.data();
    Ok(match view.dtype() {
        Dtype::F32 => data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Dtype::F16 => data.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
        Dtype::BF16 => {
            data.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect()
        }
        other => bail!("expected F32, F16 or BF16, found {other:?}"),
    })
}
