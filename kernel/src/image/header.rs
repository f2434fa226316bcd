//! The header of an image: what is in it, where, and a CRC of every section.
//!
//! In: bytes from a card. Out: a [`Header`] whose every number has been checked against the others,
//! or an [`ImageError`] that says which was wrong. Bytes never panic. [`HeaderBuilder::emit`] is
//! the way back.

use super::crc::crc32;
use super::error::ImageError;
use super::geometry::{Bundle, FourBits, Geometry, Predictor, SectionKind};
use super::{MAGIC, VERSION};
use crate::config::{Activation, Ffn, ModelConfig, Norm, Position};
use ripple_hal::{BLOCK_BYTES, BlockCount, BlockIdx};
use zerocopy::little_endian::{F32, U16, U32};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

const SECTIONS: usize = SectionKind::ALL.len();

/// Where a section is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Section {
    /// Its first block.
    pub start: BlockIdx,
    /// Blocks of one part: a layer's, or the whole.
    pub part: BlockCount,
    /// CRC-32 of all its blocks.
    pub crc: u32,
}

/// What the packer found out about a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct LayerInfo {
    /// How many of the first slots are worth holding in RAM.
    pub hot: u32,
    /// Mean active neurons a token on the profiling text.
    pub active: u32,
}

/// What the thresholds of a model with a lossy [`Activation`] cost, as measured when it was imported; all
/// 0 where nothing is lost or nothing was measured.
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

/// A checked header.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Header {
    /// What the image holds.
    pub geometry: Geometry,
    /// Bytes of the tokenizer section that mean something.
    pub tokenizer_bytes: u32,
    /// Blocks of the whole image.
    pub blocks: BlockCount,
    sections: [Section; SECTIONS],
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawStart {
    magic: [u8; 8],
    version: U16,
    reserved: U16,
    header_bytes: U32,
    header_crc: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawGeometry {
    norm: u8,
    position: u8,
    ffn: u8,
    flags: u8,
    quant: u8,
    bundle: u8,
    predictor: u8,
    planes: u8,
    dim: U32,
    layers: U32,
    neurons: U32,
    heads: U32,
    kv_heads: U32,
    head_dim: U32,
    vocab: U32,
    context: U32,
    norm_eps: F32,
    threshold: F32,
    bos: U32,
    eos: U32,
    tokenizer_bytes: U32,
    page_blocks: U32,
    blocks: U32,
    lossy: RawLossy,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawLossy {
    activity: F32,
    dense: F32,
    sparse: F32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawSection {
    start: U32,
    part: U32,
    crc: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawLayer {
    hot: U32,
    active: U32,
}

const LAYERS_AT: usize =
    size_of::<RawStart>() + size_of::<RawGeometry>() + SECTIONS * size_of::<RawSection>();

const ATTENTION_BIAS: u8 = 1;
const FFN_BIAS: u8 = 2;
const TIED_HEAD: u8 = 4;
/// At most one of these two.
const SILU: u8 = 8;
const GELU_TANH: u8 = 16;
/// Rows of integers with `f16` scales, of 8 bits; with these added, some of 4 bits.
const QUANT: u8 = 1;
const ATTENTION_Q4: u8 = 2;
const FFN_Q4: u8 = 4;
const HEAD_Q4: u8 = 8;
/// The code of a low-rank predictor, whose rank stands where a sign predictor has its planes.
const LOW_RANK: u8 = 2;
/// Without the feature, the compiler drops what is for 4 bits.
const Q4: bool = cfg!(feature = "q4");

impl Header {
    /// Bytes of the header of a model of `layers` layers.
    pub const fn bytes(layers: u32) -> u32 {
        LAYERS_AT as u32 + layers * size_of::<RawLayer>() as u32
    }

    /// Reads and checks a header.
    ///
    /// `bytes`: the first blocks of a device, at least [`Header::bytes`] of them.
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
        if start.reserved.get() != 0 {
            return Err(ImageError::Code { field: "reserved", found: start.reserved.get().into() });
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
            RawGeometry::ref_from_prefix(body).map_err(|_| short(LAYERS_AT as u32))?;
        let geometry = raw.geometry()?;
        let needed = Self::bytes(geometry.config.layers);
        if header_bytes != needed {
            return Err(ImageError::HeaderLength { needed, found: header_bytes });
        }
        let (raw_sections, _) = <[RawSection]>::ref_from_prefix_with_elems(rest, SECTIONS)
            .map_err(|_| short(needed))?;
        let plan = Plan::new(&geometry, raw.tokenizer_bytes.get())
            .ok_or(ImageError::Code { field: "size", found: u32::MAX })?;
        let mut sections = plan.sections;
        for ((kind, section), raw) in SectionKind::ALL.iter().zip(&mut sections).zip(raw_sections) {
            let expected = (section.start.0, section.part.0);
            let found = (raw.start.get(), raw.part.get());
            if expected != found {
                return Err(ImageError::Section { kind: *kind, expected, found });
            }
            section.crc = raw.crc.get();
        }
        if raw.blocks.get() != plan.blocks.0 {
            return Err(ImageError::Code { field: "blocks", found: raw.blocks.get() });
        }
        Ok(Self {
            geometry,
            tokenizer_bytes: raw.tokenizer_bytes.get(),
            blocks: plan.blocks,
            sections,
        })
    }

    /// The bytes of `layer`'s entry in the layer table, in the `bytes` that were parsed.
    pub fn layer_info(bytes: &[u8], layer: u32) -> LayerInfo {
        let at = LAYERS_AT + layer as usize * size_of::<RawLayer>();
        match bytes.get(at..).and_then(|bytes| RawLayer::ref_from_prefix(bytes).ok()) {
            Some((raw, _)) => LayerInfo { hot: raw.hot.get(), active: raw.active.get() },
            None => LayerInfo::default(),
        }
    }

    /// What the thresholds cost, in the `bytes` that were parsed.
    pub fn lossy(bytes: &[u8]) -> Lossy {
        let body = bytes.get(size_of::<RawStart>()..).unwrap_or(&[]);
        match RawGeometry::ref_from_prefix(body) {
            Ok((RawGeometry { lossy, .. }, _)) => Lossy {
                activity: lossy.activity.get(),
                dense: lossy.dense.get(),
                sparse: lossy.sparse.get(),
            },
            Err(_) => Lossy::default(),
        }
    }

    /// Where a section is.
    pub fn section(&self, kind: SectionKind) -> Section {
        self.sections.get(kind.index()).copied().unwrap_or(Section {
            start: BlockIdx(0),
            part: BlockCount(0),
            crc: 0,
        })
    }

    /// How many parts a section has.
    pub const fn parts(&self, kind: SectionKind) -> u32 {
        if kind.per_layer() { self.geometry.config.layers } else { 1 }
    }
}

/// Where the sections of an image go: decided by its geometry alone.
struct Plan {
    sections: [Section; SECTIONS],
    blocks: BlockCount,
}

impl Plan {
    /// `None` when the image would not fit 2 TiB, or a table 4 GiB.
    fn new(geometry: &Geometry, tokenizer_bytes: u32) -> Option<Self> {
        let layers = geometry.config.layers;
        let mut at = BlockCount::for_bytes(Header::bytes(layers).into()).0;
        let mut sections = [Section { start: BlockIdx(0), part: BlockCount(0), crc: 0 }; SECTIONS];
        for (kind, section) in SectionKind::ALL.into_iter().zip(&mut sections) {
            let part = match kind {
                SectionKind::Tokenizer => BlockCount::for_bytes(tokenizer_bytes.into()),
                _ => geometry.table_blocks(kind),
            };
            // Pages are addressed by block alone.
            if part.bytes() > u32::MAX.into() && kind != SectionKind::Pages {
                return None;
            }
            *section = Section { start: BlockIdx(at), part, crc: 0 };
            at =
                at.checked_add(part.0.checked_mul(if kind.per_layer() { layers } else { 1 })?)?;
        }
        Some(Self { sections, blocks: BlockCount(at) })
    }
}

/// Refuses a model that this build cannot run.
fn check(config: &ModelConfig) -> Result<(), ImageError> {
    config.check().map_err(ImageError::Config)?;
    match config.missing_feature() {
        Some(feature) => Err(ImageError::Family { feature }),
        None => Ok(()),
    }
}

impl RawGeometry {
    fn geometry(&self) -> Result<Geometry, ImageError> {
        fn code<T>(field: &'static str, found: u8, value: Option<T>) -> Result<T, ImageError> {
            value.ok_or(ImageError::Code { field, found: found.into() })
        }
        let norm = match self.norm {
            0 => Some(Norm::Rms),
            1 => Some(Norm::Layer),
            _ => None,
        };
        let position = match self.position {
            0 => Some(Position::Rope),
            1 => Some(Position::Learned),
            _ => None,
        };
        let ffn = match self.ffn {
            0 => Some(Ffn::Gated),
            1 => Some(Ffn::Plain),
            _ => None,
        };
        let predictor = match (self.predictor, self.planes) {
            (0, 0) => Some(Predictor::Exact),
            (1, planes @ 1..=7) => Some(Predictor::Signs { planes: planes.into() }),
            #[cfg(feature = "low-rank")]
            (LOW_RANK, rank) if rank > 0 && rank.is_multiple_of(4) => {
                Some(Predictor::LowRank { rank: rank.into() })
            }
            #[cfg(not(feature = "low-rank"))]
            (LOW_RANK, _) => return Err(ImageError::Family { feature: "low-rank" }),
            _ => None,
        };
        let bundle = match (self.bundle, predictor) {
            (0, _) => Some(Bundle::Full),
            (1, Some(Predictor::Exact)) => Some(Bundle::Rest),
            _ => None,
        };
        let flags = self.flags;
        let activation = match flags & !(ATTENTION_BIAS | FFN_BIAS | TIED_HEAD) {
            0 => Some(Activation::Relu),
            // Not a variant that is refused later: a build without it then has no code for it.
            SILU | GELU_TANH if !cfg!(feature = "gated") => {
                return Err(ImageError::Family { feature: "gated" });
            }
            SILU => Some(Activation::Silu),
            GELU_TANH => Some(Activation::GeluTanh),
            _ => None,
        };
        let activation = code("flags", flags, activation)?;
        let quant = self.quant;
        let known = quant & !(ATTENTION_Q4 | FFN_Q4 | HEAD_Q4) == QUANT;
        code("quant", quant, known.then_some(()))?;
        if quant != QUANT && !Q4 {
            return Err(ImageError::Family { feature: "q4" });
        }
        let four_bits = FourBits {
            attention: Q4 && quant & ATTENTION_Q4 != 0,
            ffn: Q4 && quant & FFN_Q4 != 0,
            head: Q4 && quant & HEAD_Q4 != 0,
        };
        let config = ModelConfig {
            dim: self.dim.get(),
            layers: self.layers.get(),
            neurons: self.neurons.get(),
            heads: self.heads.get(),
            kv_heads: self.kv_heads.get(),
            head_dim: self.head_dim.get(),
            vocab: self.vocab.get(),
            context: self.context.get(),
            norm: code("norm", self.norm, norm)?,
            norm_eps: self.norm_eps.get(),
            position: code("position", self.position, position)?,
            ffn: code("ffn", self.ffn, ffn)?,
            activation,
            attention_bias: flags & ATTENTION_BIAS != 0,
            ffn_bias: flags & FFN_BIAS != 0,
            tied_head: flags & TIED_HEAD != 0,
            threshold: self.threshold.get(),
            bos: self.bos.get(),
            eos: self.eos.get(),
        };
        check(&config)?;
        Ok(Geometry {
            config,
            bundle: code("bundle", self.bundle, bundle)?,
            predictor: code("predictor", self.predictor, predictor)?,
            four_bits,
            page_blocks: BlockCount(self.page_blocks.get()),
        })
    }
}

/// Builds a header: says where each section goes, then writes itself once their CRCs are known.
pub struct HeaderBuilder {
    geometry: Geometry,
    tokenizer_bytes: u32,
    plan: Plan,
    lossy: Lossy,
}

impl HeaderBuilder {
    /// Plans an image.
    ///
    /// # Errors
    /// A model that cannot be run, or an image beyond 2 TiB (4 GiB a table).
    pub fn new(geometry: Geometry, tokenizer_bytes: u32) -> Result<Self, ImageError> {
        check(&geometry.config)?;
        if geometry.four_bits != FourBits::NONE && !Q4 {
            return Err(ImageError::Family { feature: "q4" });
        }
        let plan = Plan::new(&geometry, tokenizer_bytes)
            .ok_or(ImageError::Code { field: "size", found: u32::MAX })?;
        Ok(Self { geometry, tokenizer_bytes, plan, lossy: Lossy::default() })
    }

    /// Says what the model's thresholds cost.
    #[must_use]
    pub fn with_lossy(self, lossy: Lossy) -> Self {
        Self { lossy, ..self }
    }

    /// Blocks of the whole image.
    pub fn blocks(&self) -> BlockCount {
        self.plan.blocks
    }

    /// Bytes of the image that `kind` takes: first, and one past the last.
    pub fn range(&self, kind: SectionKind) -> core::ops::Range<usize> {
        let parts = if kind.per_layer() { self.geometry.config.layers } else { 1 };
        let (start, part) = self
            .plan
            .sections
            .get(kind.index())
            .map_or((0, 0), |section| (section.start.0 as usize, section.part.0 as usize));
        start * BLOCK_BYTES..(start + part * parts as usize) * BLOCK_BYTES
    }

    /// Writes the header at the front of `image`, with the CRC of the sections that stand in it.
    ///
    /// `layers`: one entry a layer.
    ///
    /// # Panics
    /// When `image` or `layers` do not have the sizes planned: the packer's bug.
    pub fn emit(&self, layers: &[LayerInfo], image: &mut [u8]) {
        let c = &self.geometry.config;
        assert_eq!(layers.len(), c.layers as usize, "layers of the table");
        assert_eq!(image.len() as u64, self.plan.blocks.bytes(), "bytes of the image");
        let mut sections =
            [const { RawSection { start: U32::ZERO, part: U32::ZERO, crc: U32::ZERO } }; SECTIONS];
        for ((kind, raw), section) in
            SectionKind::ALL.into_iter().zip(&mut sections).zip(&self.plan.sections)
        {
            let crc = crc32(image.get(self.range(kind)).unwrap_or(&[]));
            *raw = RawSection {
                start: section.start.0.into(),
                part: section.part.0.into(),
                crc: crc.into(),
            };
        }
        let flag = |bit, set| if set { bit } else { 0 };
        let (predictor, planes) = match self.geometry.predictor {
            Predictor::Exact => (0, 0),
            Predictor::Signs { planes } => (1, planes as u8),
            #[cfg(feature = "low-rank")]
            Predictor::LowRank { rank } => (LOW_RANK, rank as u8),
        };
        let geometry = RawGeometry {
            norm: c.norm as u8,
            position: c.position as u8,
            ffn: c.ffn as u8,
            flags: flag(ATTENTION_BIAS, c.attention_bias)
                | flag(FFN_BIAS, c.ffn_bias)
                | flag(TIED_HEAD, c.tied_head)
                | flag(SILU, c.activation == Activation::Silu)
                | flag(GELU_TANH, c.activation == Activation::GeluTanh),
            quant: QUANT
                | flag(ATTENTION_Q4, self.geometry.four_bits.attention)
                | flag(FFN_Q4, self.geometry.four_bits.ffn)
                | flag(HEAD_Q4, self.geometry.four_bits.head),
            bundle: self.geometry.bundle as u8,
            predictor,
            planes,
            dim: c.dim.into(),
            layers: c.layers.into(),
            neurons: c.neurons.into(),
            heads: c.heads.into(),
            kv_heads: c.kv_heads.into(),
            head_dim: c.head_dim.into(),
            vocab: c.vocab.into(),
            context: c.context.into(),
            norm_eps: c.norm_eps.into(),
            threshold: c.threshold.into(),
            bos: c.bos.into(),
            eos: c.eos.into(),
            tokenizer_bytes: self.tokenizer_bytes.into(),
            page_blocks: self.geometry.page_blocks.0.into(),
            blocks: self.plan.blocks.0.into(),
            lossy: RawLossy {
                activity: self.lossy.activity.into(),
                dense: self.lossy.dense.into(),
                sparse: self.lossy.sparse.into(),
            },
        };
        let bytes = Header::bytes(c.layers) as usize;
        let (start, body) = image.split_at_mut(size_of::<RawStart>());
        let body = body.get_mut(..bytes - size_of::<RawStart>()).unwrap_or_default();
        let mut out = body.iter_mut();
        let mut put = |bytes: &[u8]| bytes.iter().zip(&mut out).for_each(|(b, out)| *out = *b);
        put(geometry.as_bytes());
        put(sections.as_bytes());
        for layer in layers {
            put(RawLayer { hot: layer.hot.into(), active: layer.active.into() }.as_bytes());
        }
        let raw = RawStart {
            magic: MAGIC,
            version: VERSION.into(),
            reserved: U16::new_zeroed(),
            header_bytes: (bytes as u32).into(),
            header_crc: crc32(body).into(),
        };
        start.iter_mut().zip(raw.as_bytes()).for_each(|(out, b)| *out = *b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec;

    #[test]
    fn rows_in_4_bits_need_the_feature() {
        let config = ModelConfig {
            dim: 32,
            layers: 1,
            neurons: 400,
            heads: 2,
            kv_heads: 1,
            head_dim: 4,
            vocab: 10,
            context: 16,
            norm: if cfg!(feature = "llama") { Norm::Rms } else { Norm::Layer },
            norm_eps: 1e-5,
            position: if cfg!(feature = "llama") { Position::Rope } else { Position::Learned },
            ffn: if cfg!(feature = "llama") { Ffn::Gated } else { Ffn::Plain },
            activation: Activation::Relu,
            attention_bias: false,
            ffn_bias: false,
            tied_head: true,
            threshold: 0.0,
            bos: 0,
            eos: 1,
        };
        let geometry = Geometry {
            config,
            bundle: Bundle::Full,
            predictor: Predictor::Exact,
            four_bits: FourBits::NONE,
            page_blocks: BlockCount(0),
        };
        let four = FourBits { ffn: true, ..FourBits::NONE };
        let missing = ImageError::Family { feature: "q4" };
        let Ok(builder) = HeaderBuilder::new(geometry, 0) else { return };
        let mut image = vec![0; builder.blocks().bytes() as usize];
        builder.emit(&[LayerInfo::default()], &mut image);
        let there = HeaderBuilder::new(Geometry { four_bits: four, ..geometry }, 0);
        assert_eq!(there.is_ok(), Q4);

        // The header says 4 bits, the sections are those of 8.
        image[size_of::<RawStart>() + 4] |= FFN_Q4;
        let body = size_of::<RawStart>()..Header::bytes(1) as usize;
        let crc = crc32(&image[body]).to_le_bytes();
        image[16..20].copy_from_slice(&crc);
        let error = Header::parse(&image).unwrap_err();
        assert!(if Q4 { matches!(error, ImageError::Section { .. }) } else { error == missing });
    }
}
