//! The plan of an image: which sections, in which order, where. On a host.
//!
//! In: a model and how it is to be stored. Out: where the packer puts each section, and the header that
//! says so. What [`Header::parse`] will check is checked here, by the same code.

use super::check::check;
use super::crc::crc32;
use super::error::ImageError;
use super::geometry::Geometry;
use super::header::{Header, LayerInfo, Lossy};
use super::raw::{RawLayer, RawModel, RawSection, RawStart};
use super::section::{PlannedSection, Section, SectionFault, SectionKind};
use super::{MAGIC, VERSION};
use core::ops::Range;
use ripple_hal::{BLOCK_BYTES, BlockCount, BlockIdx};
use zerocopy::IntoBytes;

/// Where everything in an image goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ImagePlan {
    geometry: Geometry,
    sections: [PlannedSection; SectionKind::ALL.len()],
    count: usize,
    blocks: BlockCount,
    lossy: Lossy,
    number: u32,
    /// Bytes of the chat template, in the last blocks.
    chat: u32,
}

impl ImagePlan {
    /// The sections in their standard order, one right after the other.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn standard(geometry: &Geometry, tokenizer_bytes: u32) -> Result<Self, ImageError> {
        Self::in_order(geometry, tokenizer_bytes, &SectionKind::ALL)
    }

    /// The sections in `order`, one right after the other. Those that the model does not need are left
    /// out.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn in_order(
        geometry: &Geometry,
        tokenizer_bytes: u32,
        order: &[SectionKind],
    ) -> Result<Self, ImageError> {
        let parts = |kind: SectionKind| {
            if kind.per_layer() { geometry.config.layers } else { 1 }
        };
        let blocks = |kind| match kind {
            SectionKind::Tokenizer => BlockCount::for_bytes(tokenizer_bytes.into()),
            _ => geometry.table_blocks(kind),
        };
        let none = PlannedSection {
            kind: SectionKind::Tokenizer,
            records: 0,
            layout: None,
            start: BlockIdx(0),
            part: BlockCount(0),
        };
        let mut plan = Self {
            geometry: *geometry,
            sections: [none; SectionKind::ALL.len()],
            count: 0,
            blocks: BlockCount(0),
            lossy: Lossy::default(),
            number: 0,
            chat: 0,
        };
        let there = || order.iter().copied().filter(|kind| blocks(*kind).0 > 0);
        let header = Header::bytes_of(there().count() as u16, geometry.config.layers);
        let mut at = BlockCount::for_bytes(header.into()).0;
        for kind in there() {
            let Some(section) = plan.sections.get_mut(plan.count) else {
                let (fault, found, expected) = (SectionFault::Entries, 2, 1);
                return Err(ImageError::Section { kind, fault, found, expected });
            };
            let (records, layout) = match geometry.table(kind) {
                Some((records, layout)) => (records, Some(layout)),
                None => (0, None),
            };
            let part = blocks(kind);
            *section = PlannedSection { kind, records, layout, start: BlockIdx(at), part };
            plan.count += 1;
            at = at.saturating_add(part.0.saturating_mul(parts(kind)));
        }
        plan.blocks = BlockCount(at);
        plan.check()?;
        Ok(plan)
    }

    /// Says what the model's thresholds cost.
    #[must_use]
    pub fn with_lossy(self, lossy: Lossy) -> Self {
        Self { lossy, ..self }
    }

    /// Gives the image a number: all its records must have been sealed with it.
    #[must_use]
    pub fn with_number(self, number: u32) -> Self {
        Self { number, ..self }
    }

    /// Makes room for a chat template of so many bytes, behind all sections.
    ///
    /// # Errors
    /// When the image would have more blocks than can be addressed.
    pub fn with_chat(self, bytes: u32) -> Result<Self, ImageError> {
        let sections = self.blocks.0.saturating_sub(BlockCount::for_bytes(self.chat.into()).0);
        let blocks = sections.saturating_add(BlockCount::for_bytes(bytes.into()).0);
        let plan = Self { chat: bytes, blocks: BlockCount(blocks), ..self };
        plan.check()?;
        Ok(plan)
    }

    /// Bytes of the image that the chat template takes; nothing, where there is none.
    pub fn chat_range(&self) -> Range<usize> {
        let start = self.chat_start().0 as usize * BLOCK_BYTES;
        start..start + self.chat as usize
    }

    fn chat_start(&self) -> BlockIdx {
        BlockIdx(self.blocks.0.saturating_sub(BlockCount::for_bytes(self.chat.into()).0))
    }

    /// The sections, in the order of their blocks.
    pub fn sections(&self) -> &[PlannedSection] {
        self.sections.get(..self.count).unwrap_or(&[])
    }

    /// The same, to be moved or reshaped: [`check`](Self::check) again.
    pub fn sections_mut(&mut self) -> &mut [PlannedSection] {
        self.sections.get_mut(..self.count).unwrap_or_default()
    }

    /// What the image holds.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Blocks of the whole image.
    pub fn blocks(&self) -> BlockCount {
        self.blocks
    }

    /// Refuses a plan whose image would not open: a model that cannot be run; sections that overlap, go
    /// beyond the image, are missing, or do not have the shape that the model needs.
    ///
    /// # Errors
    /// What [`Header::parse`] would say.
    pub fn check(&self) -> Result<(), ImageError> {
        if let Some(feature) = self.geometry.quants.missing_feature() {
            return Err(ImageError::Feature { feature });
        }
        let mut geometry = self.model(0).geometry()?;
        let mut entries = self.sections.map(|section| RawSection::emit(&section, 0));
        let entries = entries.get_mut(..self.count).unwrap_or_default();
        let header = BlockCount::for_bytes(self.header_bytes().into());
        check(
            &mut geometry,
            entries,
            header,
            self.blocks,
            &mut [Section::NONE; SectionKind::ALL.len()],
        )
    }

    fn header_bytes(&self) -> u32 {
        Header::bytes_of(self.count as u16, self.geometry.config.layers)
    }

    fn model(&self, chat_crc: u32) -> RawModel {
        let Lossy { activity, dense, sparse } = self.lossy;
        let chat = [self.chat_start().0, self.chat, chat_crc];
        let chat = if self.chat > 0 { chat } else { [0; 3] };
        RawModel::emit(&self.geometry, self.blocks, [activity, dense, sparse], chat, self.number)
    }

    /// Bytes of the image that `kind` takes: first, and one past the last. Nothing, where it is not there.
    pub fn range(&self, kind: SectionKind) -> Range<usize> {
        let Some(section) = self.sections().iter().find(|section| section.kind == kind) else {
            return 0..0;
        };
        let parts = if kind.per_layer() { self.geometry.config.layers } else { 1 };
        let (start, part) = (section.start.0 as usize, section.part.0 as usize);
        start * BLOCK_BYTES..(start + part * parts as usize) * BLOCK_BYTES
    }

    /// Writes the header at the front of `image`, with the CRC of the sections that stand in it.
    ///
    /// `layers`: one entry a layer.
    ///
    /// # Panics
    /// When `image` or `layers` do not have the sizes planned: the packer's bug.
    pub fn emit(&self, layers: &[LayerInfo], image: &mut [u8]) {
        assert_eq!(layers.len(), self.geometry.config.layers as usize, "layers of the table");
        assert_eq!(image.len() as u64, self.blocks.bytes(), "bytes of the image");
        let crc = |kind| crc32(image.get(self.range(kind)).unwrap_or(&[]));
        let chat_crc = crc32(image.get(self.chat_range()).unwrap_or(&[]));
        let entries = self.sections.map(|section| RawSection::emit(&section, crc(section.kind)));
        let bytes = self.header_bytes() as usize;
        let (start, body) = image.split_at_mut(size_of::<RawStart>());
        let body = body.get_mut(..bytes - size_of::<RawStart>()).unwrap_or_default();
        let mut out = body.iter_mut();
        let mut put = |bytes: &[u8]| bytes.iter().zip(&mut out).for_each(|(b, out)| *out = *b);
        put(self.model(chat_crc).as_bytes());
        put(entries.get(..self.count).unwrap_or(&[]).as_bytes());
        for layer in layers {
            put(RawLayer { hot: layer.hot.into(), active: layer.active.into() }.as_bytes());
        }
        let raw = RawStart {
            magic: MAGIC,
            version: VERSION.into(),
            sections: (self.count as u16).into(),
            header_bytes: (bytes as u32).into(),
            header_crc: crc32(body).into(),
        };
        start.iter_mut().zip(raw.as_bytes()).for_each(|(out, b)| *out = *b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Activation, AttentionBias, Ffn, ModelConfig, Norm, Position, Variant};
    use crate::image::raw::layers_at;
    use crate::image::{Bundle, Predictor, Quant, Quants};
    extern crate std;
    use std::vec;

    /// The header of a small image with one byte changed, and its CRC made right again.
    fn changed(plan: &ImagePlan, at: usize, byte: u8) -> Result<Header, ImageError> {
        let mut image = vec![0; plan.blocks().bytes() as usize];
        plan.emit(&[LayerInfo::default()], &mut image);
        image[at] = byte;
        let body = size_of::<RawStart>()..plan.header_bytes() as usize;
        let crc = crc32(&image[body]).to_le_bytes();
        image[16..20].copy_from_slice(&crc);
        Header::parse(&image)
    }

    #[test]
    fn what_is_not_compiled_in_is_refused_by_name() {
        let llama = cfg!(feature = "llama");
        let config = ModelConfig {
            dim: 32,
            layers: 1,
            neurons: 400,
            heads: 2,
            kv_heads: 1,
            head_dim: 4,
            vocab: 10,
            context: 16,
            norm: if llama { Norm::Rms } else { Norm::Layer },
            norm_eps: 1e-5,
            position: if llama { Position::Rope } else { Position::Learned },
            ffn: if llama { Ffn::Gated } else { Ffn::Plain },
            activation: Activation::Relu,
            variant: Variant::NONE,
            attention_bias: AttentionBias::NONE,
            ffn_bias: false,
            tied_head: true,
            threshold: 0.0,
        };
        let geometry = Geometry {
            config,
            bundle: Bundle::whole(config.ffn),
            predictor: Predictor::Exact,
            quants: Quants::Q8,
            page_blocks: BlockCount(0),
        };
        let Ok(plan) = ImagePlan::standard(&geometry, 0) else { return };
        for (format, feature, there) in [
            (Quant::Q4, "q4", cfg!(feature = "q4")),
            (Quant::Q8G, "grouped", cfg!(feature = "grouped")),
        ] {
            let quants = Quants::Q8.with(&[SectionKind::Ffn], format);
            let missing = ImageError::Feature { feature };
            let planned = ImagePlan::standard(&Geometry { quants, ..geometry }, 0);
            if let (true, Ok(plan)) = (there, planned) {
                let mut image = vec![0; plan.blocks().bytes() as usize];
                plan.emit(&[LayerInfo::default()], &mut image);
                let read = Header::parse(&image);
                assert_eq!(read.map(|header| header.geometry.quants), Ok(quants));
            } else {
                // The header says so: of the last section, the bundles, and so of no others.
                let quant = layers_at(plan.count as u16) - size_of::<RawSection>() + 1;
                let read = changed(&plan, quant, format as u8);
                assert_eq!((planned, read), (Err(missing), Err(missing)));
            }
        }
        // And a low-rank predictor.
        let error = changed(&plan, size_of::<RawStart>() + 4, 2).unwrap_err();
        let missing = ImageError::Feature { feature: "low-rank" };
        assert_eq!(error == missing, !cfg!(feature = "low-rank"), "{error}");
    }
}
