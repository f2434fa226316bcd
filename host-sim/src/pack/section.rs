//! The records of the sections that hold weights.
//!
//! In: a model, a section, a layer. Out: its records. Knows nothing of where they lie.

use crate::model::{Layer, Matrix, Model, NormWeights};
use crate::placement::Order;
use crate::predictor::PredictorChoice;
use anyhow::{Context, Result, bail, ensure};
use ripple_kernel::Ffn;
use ripple_kernel::image::{RecordLayout, SectionKind};

/// Writes records of one table.
pub(super) struct Writer<'a> {
    pub layout: RecordLayout,
    pub identity: u32,
    /// Told of bytes that were written.
    pub done: &'a (dyn Fn(u64) + Sync),
}

impl Writer<'_> {
    /// Writes a record. A number that the format cannot hold is refused: it would come back infinite.
    fn put(&self, part: &mut [u8], slot: usize, rows: &[&[f32]], bias: f32) -> Result<()> {
        let most = self.layout.quant.largest();
        let beyond = |x: &&f32| !x.is_finite() || x.abs() > most;
        let wrong = rows.iter().flat_map(|row| row.iter()).find(beyond);
        ensure!(
            wrong.is_none(),
            "record {slot}: {} does not fit, expected a number of at most {most}; the checkpoint is damaged, or \
             was stored in another scale",
            wrong.unwrap_or(&0.0)
        );
        ensure!(
            bias.abs() <= 65_504.0,
            "record {slot}: a bias of {bias} does not fit, expected a number of at most 65504; the checkpoint is \
             damaged, or was stored in another scale"
        );
        self.put_bits(part, slot, rows, bias);
        (self.done)(self.layout.stride().into());
        Ok(())
    }

    /// The same of numbers that stand for bits, and may be anything.
    pub fn put_bits(&self, part: &mut [u8], slot: usize, rows: &[&[f32]], bias: f32) {
        let stride = self.layout.stride() as usize;
        let out = &mut part[slot * stride..(slot + 1) * stride];
        self.layout.emit(rows, bias, self.identity ^ slot as u32, out);
    }
}

/// Writes the records of section `kind`, of `layer`, to `part`.
pub(super) fn write_part(
    model: &Model,
    kind: SectionKind,
    layer: usize,
    order: &Order,
    predictor: &PredictorChoice,
    writer: &Writer<'_>,
    part: &mut [u8],
) -> Result<()> {
    let rows = |part: &mut [u8], matrix: &Matrix| {
        (0..matrix.rows).try_for_each(|i| writer.put(part, i, &[&matrix.row(i)], 0.0))
    };
    let weights = &model.layers[layer];
    match kind {
        SectionKind::Tokenizer | SectionKind::PageIndex | SectionKind::Pages => {}
        SectionKind::LayerVectors => {
            let mut floats = vectors(&weights.attention_norm);
            floats.extend(vectors(&weights.ffn_norm));
            let extra = &weights.extra;
            let behind = [&extra.attention_out_norm, &extra.ffn_out_norm];
            behind.into_iter().flatten().for_each(|norm| floats.extend(vectors(norm)));
            if model.config.ffn_bias {
                floats.extend(weights.down.bias.as_deref().context("FFN output bias")?);
            }
            let heads = [&extra.query_norm, &extra.key_norm];
            heads.into_iter().flatten().for_each(|norm| floats.extend(norm));
            let lossy = model.config.activation.lossy();
            // The layout has room for them where bundles are in groups.
            if writer.layout.cols as usize > floats.len() + usize::from(lossy) {
                floats.extend(output_scales(&weights.down.weight));
            }
            if lossy {
                floats.push(model.threshold(layer));
            }
            writer.put(part, 0, &[&floats], 0.0)?;
        }
        SectionKind::FinalVectors => {
            let mut floats = vectors(&model.final_norm);
            // Where the last layer's norm is the last, none is read.
            let norm = writer.layout.cols as usize - rotary(model);
            floats.resize(norm, 0.0);
            if model.positions.is_none() {
                match &model.rope_frequencies {
                    Some(frequencies) => floats.extend(frequencies),
                    None => floats.extend(frequencies(model.rope_theta, model.config.head_dim)),
                }
            }
            writer.put(part, 0, &[&floats], 0.0)?;
        }
        SectionKind::Projection => {
            if let PredictorChoice::LowRank(trained) = predictor {
                rows(part, &trained.layers[layer].projection)?;
            }
        }
        SectionKind::Predictor => {
            let first = weights.gate.as_ref().unwrap_or(&weights.up);
            for (slot, &neuron) in order.neurons().iter().enumerate() {
                let neuron = usize::from(neuron);
                let (row, bias) = match predictor {
                    PredictorChoice::Signs(t) => {
                        (first.weight.row(neuron), t.layers[layer][neuron])
                    }
                    PredictorChoice::LowRank(t) => {
                        (t.layers[layer].rows.row(neuron), -t.thresholds[layer][neuron])
                    }
                    PredictorChoice::Exact | PredictorChoice::ExactFullBundles => (
                        first.weight.row(neuron),
                        first.bias.as_ref().map_or(0.0, |bias| bias[neuron]),
                    ),
                };
                writer.put(part, slot, &[&row], bias)?;
            }
        }
        SectionKind::Qkv => {
            let mut slot = 0;
            for linear in [&weights.query, &weights.key, &weights.value] {
                for i in 0..linear.weight.rows {
                    let bias = linear.bias.as_ref().map_or(0.0, |bias| bias[i]);
                    writer.put(part, slot, &[&linear.weight.row(i)], bias)?;
                    slot += 1;
                }
            }
        }
        SectionKind::Output => {
            for i in 0..weights.output.weight.rows {
                let bias = weights.output.bias.as_ref().map_or(0.0, |bias| bias[i]);
                writer.put(part, i, &[&weights.output.weight.row(i)], bias)?;
            }
        }
        SectionKind::Embedding => rows(part, &model.embed)?,
        SectionKind::Positions => rows(part, model.positions.as_ref().context("positions")?)?,
        SectionKind::Head => rows(part, model.head.as_ref().context("head")?)?,
        SectionKind::Ffn => write_bundles(model, weights, order, writer, part)?,
        other => bail!("section `{other}` is not known to the packer"),
    }
    Ok(())
}

/// Says that the weights of a section are not needed soon.
pub(super) fn let_go(model: &Model, kind: SectionKind, layer: usize) {
    let layer = &model.layers[layer];
    let matrices = match kind {
        SectionKind::Predictor => vec![&layer.gate.as_ref().unwrap_or(&layer.up).weight],
        SectionKind::Qkv => vec![&layer.query.weight, &layer.key.weight, &layer.value.weight],
        SectionKind::Output => vec![&layer.output.weight],
        SectionKind::Ffn => {
            let gate = layer.gate.iter().map(|gate| &gate.weight);
            gate.chain([&layer.up.weight, &layer.down.weight]).collect()
        }
        SectionKind::Embedding => vec![&model.embed],
        SectionKind::Head => model.head.iter().collect(),
        _ => Vec::new(),
    };
    matrices.into_iter().for_each(|matrix| matrix.release(0..matrix.rows));
}

fn write_bundles(
    model: &Model,
    weights: &Layer,
    order: &Order,
    writer: &Writer<'_>,
    part: &mut [u8],
) -> Result<()> {
    let down = weights.down.weight.transposed();
    let grouped = writer.layout.quant.is_grouped();
    let scales = if grouped { output_scales(&weights.down.weight) } else { Vec::new() };
    for (slot, &neuron) in order.neurons().iter().enumerate() {
        let neuron = usize::from(neuron);
        let gate = match model.config.ffn {
            Ffn::Gated => Some(weights.gate.as_ref().context("gate")?.weight.row(neuron)),
            _ => None,
        };
        let (up, mut down) = (weights.up.weight.row(neuron), down.row(neuron).to_vec());
        down.iter_mut().zip(&scales).for_each(|(w, scale)| *w /= scale);
        let rows: Vec<&[f32]> = gate.iter().map(|row| &**row).chain([&*up, &*down]).collect();
        // Where the predictor holds the first row, the bundle leaves it out.
        let rows = &rows[rows.len() - writer.layout.rows as usize..];
        let bias = match model.config.ffn {
            Ffn::Plain => weights.up.bias.as_ref().map_or(0.0, |bias| bias[neuron]),
            _ => 0.0,
        };
        writer.put(part, slot, rows, bias)?;
    }
    Ok(())
}

/// How many rotary frequencies a model has.
fn rotary(model: &Model) -> usize {
    if model.positions.is_some() { 0 } else { model.config.head_dim as usize / 2 }
}

fn vectors(norm: &NormWeights) -> Vec<f32> {
    norm.weight.iter().chain(norm.bias.iter().flatten()).copied().collect()
}

/// `theta^(-2i / head_dim)`, rounded once; `libm`, so that an image has the same bytes everywhere.
fn frequencies(theta: f32, head_dim: u32) -> impl Iterator<Item = f32> {
    (0..head_dim / 2)
        .map(move |i| libm::pow(f64::from(theta), -2.0 * f64::from(i) / f64::from(head_dim)) as f32)
}

/// The largest magnitude of each row of an FFN's output, which the groups of its columns leave out.
fn output_scales(down: &Matrix) -> Vec<f32> {
    let largest = |i| down.row(i).iter().fold(0.0f32, |most, w| most.max(w.abs()));
    let scale = |i| Some(largest(i)).filter(|most| *most > f32::MIN_POSITIVE && most.is_finite());
    (0..down.rows).map(|i| scale(i).unwrap_or(1.0)).collect()
}
