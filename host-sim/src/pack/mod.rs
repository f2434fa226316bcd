//! Packs a model into an image: neurons in their placed order, rows in 8 or 4 bits, CRCs over all.
//!
//! In: a model, a placement, the packer's choices. Out: the bytes of an image. Knows nothing of
//! traces or devices. The format itself is [`ripple_kernel::image`].

mod number;
pub mod sign;

use crate::model::{Layer, Model, NormWeights};
use crate::placement::{Order, Pages, Placement};
use crate::predictor::{Format, PredictorChoice};
use anyhow::{Context, Result, anyhow, bail, ensure};
use rayon::prelude::*;
use ripple_hal::{BLOCK_BYTES, BlockCount, BlockIdx};
use ripple_kernel::Ffn;
use ripple_kernel::image::record::identity;
use ripple_kernel::image::{ImagePlan, LayerInfo, Page, Quants, RecordLayout, SectionKind};

/// Packs `model`, all rows in 8 bits: see [`pack_as`].
///
/// # Errors
/// As [`pack_as`].
pub fn pack(
    model: &Model,
    placement: &Placement,
    predictor: &PredictorChoice,
    active: &[f64],
) -> Result<Vec<u8>> {
    pack_as(Format::new(predictor, Quants::Q8), model, placement, active)
}

/// Packs `model` in a `format`.
///
/// `active`: mean active neurons a token of each layer, for reports; may be empty.
///
/// # Errors
/// When the placement is not one of this model, or the model cannot be stored.
pub fn pack_as(
    format: Format<'_>,
    model: &Model,
    placement: &Placement,
    active: &[f64],
) -> Result<Vec<u8>> {
    let predictor = format.predictor;
    let config = &model.config;
    let (layers, neurons) = (config.layers as usize, config.neurons as usize);
    ensure!(
        placement.layers().len() == layers && placement.neurons() == neurons,
        "the placement is for {} layers of {} neurons, the model `{}` has {layers} of {neurons}; \
         place a trace of this model",
        placement.layers().len(),
        placement.neurons(),
        model.name,
    );
    let tokenizer = model.tokenizer.pack()?;
    let plan = plan(format, model, tokenizer.len(), placement.pages())?;
    let chat = model.chat_template.as_ref().map_or(Ok(Vec::new()), serde_json::to_vec)?;
    let plan = plan
        .with_chat(u32::try_from(chat.len()).context("the chat template")?)
        .map_err(|e| anyhow!("{}: cannot be stored: {e}", model.name))?;
    let bytes = usize::try_from(plan.blocks().bytes())?;
    let mut image = vec![0u8; bytes];

    let at = plan.range(SectionKind::Tokenizer).start;
    image[at..at + tokenizer.len()].copy_from_slice(&tokenizer);
    image[plan.chat_range()].copy_from_slice(&chat);
    for section in plan.sections() {
        let (kind, Some(layout)) = (section.kind, section.layout) else { continue };
        let part = usize::try_from(section.part.bytes())?;
        image[plan.range(kind)]
            .par_chunks_mut(part)
            .enumerate()
            .try_for_each(|(layer, part)| {
                let writer = Writer { layout, identity: identity(0, kind as u32, layer as u32, 0) };
                let order = &placement.layers()[layer];
                write_part(model, kind, layer, order, predictor, &writer, part)
                    .with_context(|| format!("section `{kind}`, layer {layer}"))
            })
            .with_context(|| model.name.clone())?;
    }
    // The chat template is no part of what a board computes with.
    let number = number::number(placement, &image[..plan.chat_range().start]);
    let plan = plan.with_number(number);
    number::seal(&plan, number, &mut image);
    // Where no page would save anything, all are empty and there is no section of them.
    if let Some(pages) = placement.pages().filter(|_| plan.geometry().page_blocks.0 > 0) {
        write_pages(pages, placement, &plan, number, &mut image);
    }
    let info: Vec<_> = (0..layers)
        .map(|layer| LayerInfo {
            hot: placement.hot()[layer] as u32,
            active: active.get(layer).copied().unwrap_or(0.0).round() as u32,
        })
        .collect();
    plan.emit(&info, &mut image);
    Ok(image)
}

/// Where everything of the image of `model` goes, in a `format`, with a tokenizer of so many bytes.
///
/// # Errors
/// When the pages are not of this model, or it cannot be stored.
pub fn plan(
    format: Format<'_>,
    model: &Model,
    tokenizer_bytes: usize,
    pages: Option<&Pages>,
) -> Result<ImagePlan> {
    let mut geometry = format.geometry(model);
    if let Some(pages) = pages {
        ensure!(
            pages.tokens() <= model.config.vocab as usize,
            "the placement has pages for {} tokens, the model `{}` has {}; place again with a trace \
             of this model",
            pages.tokens(),
            model.name,
            model.config.vocab
        );
        let blocks = pages.blocks(geometry.bundle_layout().stride());
        geometry.page_blocks = BlockCount(u32::try_from(blocks).context("pages beyond 2 TiB")?);
    }
    let plan = ImagePlan::in_order(&geometry, u32::try_from(tokenizer_bytes)?, format.order)
        .map_err(|e| anyhow!("{}: cannot be stored: {e}", model.name))?;
    Ok(match &model.sparsity {
        Some(sparsity) => plan.with_lossy(sparsity.cost),
        None => plan,
    })
}

/// Writes records of one table.
struct Writer {
    layout: RecordLayout,
    identity: u32,
}

impl Writer {
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
        Ok(())
    }

    /// The same of numbers that stand for bits, and may be anything.
    fn put_bits(&self, part: &mut [u8], slot: usize, rows: &[&[f32]], bias: f32) {
        let stride = self.layout.stride() as usize;
        let out = &mut part[slot * stride..(slot + 1) * stride];
        self.layout.emit(rows, bias, self.identity ^ slot as u32, out);
    }
}

fn write_part(
    model: &Model,
    kind: SectionKind,
    layer: usize,
    order: &Order,
    predictor: &PredictorChoice,
    writer: &Writer,
    part: &mut [u8],
) -> Result<()> {
    let rows = |part: &mut [u8], matrix: &crate::model::Matrix| {
        (0..matrix.rows).try_for_each(|i| writer.put(part, i, &[matrix.row(i)], 0.0))
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
            if model.config.activation.lossy() {
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
                writer.put(part, slot, &[row], bias)?;
            }
        }
        SectionKind::Qkv => {
            let mut slot = 0;
            for linear in [&weights.query, &weights.key, &weights.value] {
                for i in 0..linear.weight.rows {
                    let bias = linear.bias.as_ref().map_or(0.0, |bias| bias[i]);
                    writer.put(part, slot, &[linear.weight.row(i)], bias)?;
                    slot += 1;
                }
            }
        }
        SectionKind::Output => {
            for i in 0..weights.output.weight.rows {
                let bias = weights.output.bias.as_ref().map_or(0.0, |bias| bias[i]);
                writer.put(part, i, &[weights.output.weight.row(i)], bias)?;
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

/// Writes the pages, copied from the FFN section, and their index.
fn write_pages(
    pages: &Pages,
    placement: &Placement,
    plan: &ImagePlan,
    number: u32,
    image: &mut [u8],
) {
    let geometry = plan.geometry();
    let Some((_, layout)) = geometry.table(SectionKind::PageIndex) else { return };
    let writer = Writer { layout, identity: identity(number, SectionKind::PageIndex as u32, 0, 0) };
    let stride = geometry.bundle_layout().stride();
    let layer_bytes = geometry.table_blocks(SectionKind::Ffn).bytes() as usize;
    let slots: Vec<_> = placement.layers().iter().map(Order::slots).collect();
    let (index, ffn) = (plan.range(SectionKind::PageIndex), plan.range(SectionKind::Ffn));
    let section = plan.range(SectionKind::Pages).start;
    let mut records = vec![0; index.len()];
    // Pages stand behind the bundles that they copy.
    let (tables, out) = image.split_at_mut(section);
    let mut at = 0;
    for token in 0..geometry.config.vocab as usize {
        let mut words = vec![0; layout.cols as usize];
        words[0] = (at / BLOCK_BYTES) as u32;
        for (layer, kept) in pages.of(token).iter().enumerate() {
            words[1 + layer] = Page::index_word(kept.neurons.len() as u16, kept.ahead);
            let page = &mut out[at..at + kept.blocks(stride) as usize * BLOCK_BYTES];
            at += page.len();
            let held: Vec<u16> =
                kept.neurons.iter().map(|&neuron| slots[layer][usize::from(neuron)]).collect();
            if held.is_empty() {
                continue;
            }
            let bundles = Page::directory_strides(held.len() as u16, stride) * stride;
            let (directory, bundles) = page.split_at_mut(bundles as usize);
            let page = Page {
                start: BlockIdx(0),
                bundles: held.len() as u16,
                ahead: kept.ahead,
                identity: Page::identity(number, layer as u32),
            };
            page.emit_directory(&held, directory);
            for (out, &slot) in bundles.chunks_exact_mut(stride as usize).zip(&held) {
                let from = ffn.start + layer * layer_bytes + usize::from(slot) * stride as usize;
                out.copy_from_slice(&tables[from..from + stride as usize]);
            }
        }
        // The bits of integers, in a record of floats.
        let words: Vec<f32> = words.into_iter().map(f32::from_bits).collect();
        writer.put_bits(&mut records, token, &[&words], 0.0);
    }
    image[index].copy_from_slice(&records);
}

fn write_bundles(
    model: &Model,
    weights: &Layer,
    order: &Order,
    writer: &Writer,
    part: &mut [u8],
) -> Result<()> {
    let down = weights.down.weight.transposed();
    for (slot, &neuron) in order.neurons().iter().enumerate() {
        let neuron = usize::from(neuron);
        let mut rows: Vec<&[f32]> = match model.config.ffn {
            Ffn::Gated => {
                vec![weights.gate.as_ref().context("gate")?.weight.row(neuron)]
            }
            _ => Vec::new(),
        };
        rows.push(weights.up.weight.row(neuron));
        rows.push(down.row(neuron));
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
