//! Packs a model into an image: neurons in their placed order, rows in 8 or 4 bits, CRCs over all.
//!
//! In: a model, a placement, the packer's choices. Out: the bytes of an image. Knows nothing of
//! traces or devices. The format itself is [`ripple_kernel::image`].

mod number;
mod room;
mod section;
pub mod sign;

pub use room::Room;

use crate::model::Model;
use crate::placement::{Order, Pages, Placement};
use crate::predictor::{Format, PredictorChoice};
use anyhow::{Context, Result, anyhow, ensure};
use ripple_hal::{BLOCK_BYTES, BlockCount, BlockIdx};
use ripple_kernel::image::record::identity;
use ripple_kernel::image::{ImagePlan, LayerInfo, Page, Quants, SectionKind};
use section::{Writer, let_go, write_part};
use std::fs::File;

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
    let packing = Packing::new(format, model, placement)?;
    let mut image = vec![0; packing.bytes()];
    packing.write(&mut image, active, &|_| ())?;
    Ok(image)
}

/// An image that is planned, and can be written.
pub struct Packing<'a> {
    format: Format<'a>,
    model: &'a Model,
    placement: &'a Placement,
    plan: ImagePlan,
    tokenizer: Vec<u8>,
    chat: Vec<u8>,
    bytes: usize,
}

impl<'a> Packing<'a> {
    /// Plans the image of `model` in a `format`.
    ///
    /// # Errors
    /// As [`pack_as`].
    pub fn new(format: Format<'a>, model: &'a Model, placement: &'a Placement) -> Result<Self> {
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
        Ok(Self { format, model, placement, plan, tokenizer, chat, bytes })
    }

    /// Bytes of the image.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of its pages.
    pub fn page_bytes(&self) -> u64 {
        self.plan.geometry().page_blocks.bytes()
    }

    /// Writes the image to `file`, which is empty. Little of it is in memory at a time.
    ///
    /// # Errors
    /// As [`write`](Self::write), and when there is no room.
    pub fn write_file(
        &self,
        file: &File,
        active: &[f64],
        done: &(dyn Fn(u64) + Sync),
    ) -> Result<()> {
        room::with_file(file, self.bytes, |room| self.write(room, active, done))
    }

    /// Writes the image to `room`, of [`bytes`](Self::bytes) zeros. `active` is as in [`pack_as`]; `done` is told
    /// of bytes of records that are written.
    ///
    /// # Errors
    /// When a number cannot be stored.
    pub fn write(
        &self,
        room: &mut dyn Room,
        active: &[f64],
        done: &(dyn Fn(u64) + Sync),
    ) -> Result<()> {
        let Self { format, model, placement, ref plan, .. } = *self;
        let layers = model.config.layers as usize;
        let at = plan.range(SectionKind::Tokenizer).start;
        room.bytes()[at..at + self.tokenizer.len()].copy_from_slice(&self.tokenizer);
        room.bytes()[plan.chat_range()].copy_from_slice(&self.chat);
        for section in plan.sections() {
            let (kind, Some(layout)) = (section.kind, section.layout) else { continue };
            let write = |layer: usize, part: &mut [u8]| {
                let identity = identity(0, kind as u32, layer as u32, 0);
                let writer = Writer { layout, identity, done };
                let order = &placement.layers()[layer];
                write_part(model, kind, layer, order, format.predictor, &writer, part)
                    .with_context(|| format!("section `{kind}`, layer {layer}"))
                    .with_context(|| model.name.clone())?;
                let_go(model, kind, layer);
                Ok(())
            };
            let part = usize::try_from(section.part.bytes())?;
            room::each_part(room, plan.range(kind), part, write)?;
        }
        // The chat template is no part of what a board computes with.
        let number = number::number(placement, room, plan.chat_range().start);
        let plan = plan.with_number(number);
        number::seal(&plan, number, room)?;
        // Where no page would save anything, all are empty and there is no section of them.
        if let Some(pages) = placement.pages().filter(|_| plan.geometry().page_blocks.0 > 0) {
            write_pages(pages, placement, &plan, number, room);
        }
        let info: Vec<_> = (0..layers)
            .map(|layer| LayerInfo {
                hot: placement.hot()[layer] as u32,
                active: active.get(layer).copied().unwrap_or(0.0).round() as u32,
            })
            .collect();
        plan.emit(&info, room.bytes());
        Ok(())
    }
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

/// Writes the pages, copied from the FFN section, and their index.
fn write_pages(
    pages: &Pages,
    placement: &Placement,
    plan: &ImagePlan,
    number: u32,
    room: &mut dyn Room,
) {
    let geometry = plan.geometry();
    let Some((_, layout)) = geometry.table(SectionKind::PageIndex) else { return };
    let identity = identity(number, SectionKind::PageIndex as u32, 0, 0);
    let writer = Writer { layout, identity, done: &|_| () };
    let stride = geometry.bundle_layout().stride();
    let layer_bytes = geometry.table_blocks(SectionKind::Ffn).bytes() as usize;
    let slots: Vec<_> = placement.layers().iter().map(Order::slots).collect();
    let (index, ffn) = (plan.range(SectionKind::PageIndex), plan.range(SectionKind::Ffn));
    let section = plan.range(SectionKind::Pages).start;
    let mut records = vec![0; index.len()];
    let (mut at, mut written) = (0, 0);
    for token in 0..geometry.config.vocab as usize {
        if at - written >= room::PART {
            room.release(section + written..section + at);
            room.release(ffn.clone());
            written = at;
        }
        // Pages stand behind the bundles that they copy.
        let (tables, out) = room.bytes().split_at_mut(section);
        let mut words = vec![0; layout.cols as usize];
        words[0] = (at / BLOCK_BYTES) as u32;
        let bytes = |blocks: u64| blocks as usize * BLOCK_BYTES;
        let (kept_pages, apart) = (pages.of(token), pages.apart(token, stride));
        let (mut front, mut rest) = (at, at);
        for (layer, kept) in kept_pages.iter().enumerate() {
            words[1 + layer] =
                Page::index_word(kept.neurons.len() as u16, kept.ahead, apart[layer]);
            if layer == 0 || apart[layer] {
                // The rests of a group are behind its fronts, and the next group behind them.
                let group = kept_pages[layer..].iter().zip(&apart[layer..]).enumerate();
                let group = group.take_while(|(at, (_, apart))| *at == 0 || !**apart);
                front = rest;
                rest += bytes(group.map(|(_, (kept, _))| kept.front_blocks(stride)).sum());
            }
            let held: Vec<u16> =
                kept.neurons.iter().map(|&neuron| slots[layer][usize::from(neuron)]).collect();
            if held.is_empty() {
                continue;
            }
            let directory = Page::directory_strides(held.len() as u16, stride) * stride;
            let page = Page {
                start: BlockIdx(0),
                rest: BlockIdx(0),
                bundles: held.len() as u16,
                ahead: kept.ahead,
                together: BlockCount(0),
                identity: Page::identity(number, layer as u32),
            };
            page.emit_directory(&held, &mut out[front..]);
            let stride_bytes = stride as usize;
            for (place, &slot) in held.iter().enumerate() {
                let to = match place.checked_sub(kept.ahead.into()) {
                    None => front + directory as usize + place * stride_bytes,
                    Some(behind) => rest + behind * stride_bytes,
                };
                let from = ffn.start + layer * layer_bytes + usize::from(slot) * stride_bytes;
                out[to..to + stride_bytes].copy_from_slice(&tables[from..from + stride_bytes]);
            }
            front += bytes(kept.front_blocks(stride));
            rest += bytes(kept.rest_blocks(stride));
        }
        at = rest;
        // The bits of integers, in a record of floats.
        let words: Vec<f32> = words.into_iter().map(f32::from_bits).collect();
        writer.put_bits(&mut records, token, &[&words], 0.0);
    }
    room.bytes()[index].copy_from_slice(&records);
}
