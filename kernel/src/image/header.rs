//! The header of an image: what is in it, where, and a CRC of every section.
//!
//! In: bytes from a card. Out: a [`Header`] whose every number has been checked against the others,
//! or an [`ImageError`] that says which was wrong. Bytes never panic. [`ImagePlan`](super::ImagePlan)
//! is the way back.

use super::check::{Sections, check};
use super::crc::crc32;
use super::error::ImageError;
use super::geometry::Geometry;
use super::raw::{RawLayer, RawModel, RawSection, RawStart, layers_at};
use super::section::{Section, SectionKind};
use super::{MAGIC, VERSION};
use ripple_hal::{BlockCount, BlockIdx};
use zerocopy::FromBytes;

/// What the packer found out about a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct LayerInfo {
    /// How many of the first slots are worth holding in RAM.
    pub hot: u32,
    /// Mean active neurons a token on the profiling text.
    pub active: u32,
}

/// What the thresholds of a model with a lossy activation cost, as measured when it was imported; all 0
/// where nothing is lost or nothing was measured.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Lossy {
    /// Share of the neurons that the thresholds were to leave active.
    pub activity: f32,
    /// Perplexity of a text with all neurons.
    pub dense: f32,
    /// Perplexity of the same text with the active neurons.
    pub sparse: f32,
}

/// Where the chat template of an image is: text for hosts, behind all sections. A board does not read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ChatText {
    /// Its first block.
    pub start: BlockIdx,
    /// How long it is; the rest of its last block is zeroes.
    pub bytes: u32,
    /// CRC-32 of it.
    pub crc: u32,
}

/// A checked header.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Header {
    /// What the image holds.
    pub geometry: Geometry,
    /// Bytes of the header.
    pub bytes: u32,
    /// Blocks of the whole image.
    pub blocks: BlockCount,
    /// Which image it is: goes into the check of every record.
    pub number: u32,
    /// CRC-32 of the header, in which are those of all sections: which image it is.
    #[cfg(feature = "adapters")]
    pub crc: u32,
    sections: Sections,
}

impl Header {
    /// Most bytes that the header of a model of `layers` layers takes.
    pub const fn most_bytes(layers: u32) -> u32 {
        Self::bytes_of(SectionKind::ALL.len() as u16, layers)
    }

    pub(super) const fn bytes_of(sections: u16, layers: u32) -> u32 {
        (layers_at(sections) as u32).saturating_add(layers * size_of::<RawLayer>() as u32)
    }

    /// Reads and checks a header.
    ///
    /// `bytes`: the first blocks of a device, at least [`Header::most_bytes`] of them or all.
    ///
    /// # Errors
    /// Whatever is wrong, the first thing found, in the order of [`ImageError`]'s variants.
    pub fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        let short = |needed: u32| ImageError::HeaderLength { needed, found: bytes.len() as u32 };
        let (start, _) =
            RawStart::ref_from_prefix(bytes).map_err(|_| short(size_of::<RawStart>() as u32))?;
        if start.magic != MAGIC {
            return Err(ImageError::Magic { found: start.magic });
        }
        if start.version.get() != VERSION {
            return Err(ImageError::Version { found: start.version.get() });
        }
        let header_bytes = start.header_bytes.get();
        let body = bytes
            .get(size_of::<RawStart>()..header_bytes as usize)
            .ok_or_else(|| short(header_bytes))?;
        let expected = crc32(body);
        let found = start.header_crc.get();
        if expected != found {
            return Err(ImageError::HeaderCrc { expected, found });
        }
        let (raw, rest) =
            RawModel::ref_from_prefix(body).map_err(|_| short(layers_at(0) as u32))?;
        let geometry = raw.geometry()?;
        let count = start.sections.get();
        let needed = Self::bytes_of(count, geometry.config.layers);
        if header_bytes != needed {
            return Err(ImageError::HeaderLength { needed, found: header_bytes });
        }
        let (entries, _) = <[RawSection]>::ref_from_prefix_with_elems(rest, count.into())
            .map_err(|_| short(needed))?;
        let (blocks, sections) =
            (BlockCount(raw.blocks.get()), [Section::NONE; SectionKind::ALL.len()]);
        let mut header = Self {
            geometry,
            bytes: header_bytes,
            blocks,
            number: raw.number.get(),
            #[cfg(feature = "adapters")]
            crc: found,
            sections,
        };
        let front = BlockCount::for_bytes(header_bytes.into());
        check(&mut header.geometry, entries, front, blocks, &mut header.sections)?;
        Ok(header)
    }

    /// `layer`'s entry in the layer table of the `bytes` that were parsed.
    pub fn layer_info(bytes: &[u8], layer: u32) -> LayerInfo {
        let entry = || {
            let (start, _) = RawStart::ref_from_prefix(bytes).ok()?;
            let at = layers_at(start.sections.get()) + layer as usize * size_of::<RawLayer>();
            let (raw, _) = RawLayer::ref_from_prefix(bytes.get(at..)?).ok()?;
            Some(LayerInfo { hot: raw.hot.get(), active: raw.active.get() })
        };
        entry().unwrap_or_default()
    }

    /// What the thresholds cost, in the `bytes` that were parsed.
    pub fn lossy(bytes: &[u8]) -> Lossy {
        let body = bytes.get(size_of::<RawStart>()..).unwrap_or(&[]);
        match RawModel::ref_from_prefix(body) {
            Ok((RawModel { lossy, .. }, _)) => {
                let [activity, dense, sparse] = lossy.map(|number| number.get());
                Lossy { activity, dense, sparse }
            }
            Err(_) => Lossy::default(),
        }
    }

    /// Where the chat template is, in the `bytes` that were parsed; `None` where the model has none. What
    /// it says of itself has not been checked.
    pub fn chat(bytes: &[u8]) -> Option<ChatText> {
        let (raw, _) = RawModel::ref_from_prefix(bytes.get(size_of::<RawStart>()..)?).ok()?;
        let [start, bytes, crc] = raw.chat.map(|number| number.get());
        (bytes > 0).then_some(ChatText { start: BlockIdx(start), bytes, crc })
    }

    /// Writes into the front of an image that it has `blocks` blocks: what was put behind it, digests and a
    /// signature say, is part of it then. For tools on a host.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), of the header as it was and as it is now.
    pub fn lengthen(bytes: &mut [u8], blocks: BlockCount) -> Result<Self, ImageError> {
        let end = Self::parse(bytes)?.bytes as usize;
        let (start, body) = bytes.split_at_mut_checked(size_of::<RawStart>()).unwrap_or_default();
        let body = body.get_mut(..end.saturating_sub(size_of::<RawStart>())).unwrap_or_default();
        if let Ok((model, _)) = RawModel::mut_from_prefix(body) {
            model.blocks = blocks.0.into();
        }
        let crc = crc32(body);
        if let Ok((start, _)) = RawStart::mut_from_prefix(start) {
            start.header_crc = crc.into();
        }
        Self::parse(bytes)
    }

    /// Where a section is.
    pub fn section(&self, kind: SectionKind) -> Section {
        self.sections.get(kind.index()).copied().unwrap_or(Section::NONE)
    }

    /// How many parts a section has.
    pub const fn parts(&self, kind: SectionKind) -> u32 {
        if kind.per_layer() { self.geometry.config.layers } else { 1 }
    }
}
