//! The bytes of a header, each part with what reads and what writes it side by side.
//!
//! ```text
//! start    magic, version, entries of the section table, bytes of the header, CRC of what follows
//! model    codes, flags, dimensions, blocks of the image, what thresholds cost, the image's number;
//!          zeroes: room to grow
//! sections an entry for each section that there is, in the order of their blocks
//! layers   an entry for each layer
//! ```

use super::error::ImageError;
use super::geometry::{Bundle, Geometry, Predictor, Quants};
use super::record::RecordLayout;
use super::section::{PlannedSection, SectionKind};
use crate::config::{AttentionBias, ModelConfig, Variant};
use ripple_hal::{BLOCK_BYTES, BlockCount};
use zerocopy::little_endian::{F32, U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What a code stands for.
pub(super) fn code<T: TryFrom<u8>>(field: &'static str, found: u8) -> Result<T, ImageError> {
    T::try_from(found).map_err(|_| ImageError::Code { field, found: found.into() })
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct RawStart {
    pub magic: [u8; 8],
    pub version: U16,
    pub sections: U16,
    pub header_bytes: U32,
    pub header_crc: U32,
}

/// The part that describes the model, from the one list of its fields.
macro_rules! raw_model {
    (codes: $($code:ident),*; numbers: $($number:ident: $raw:ident),*;) => {
        #[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
        #[repr(C)]
        pub(super) struct RawModel {
            $($code: u8,)*
            predictor: u8,
            /// Its planes or its rank.
            parameter: u8,
            bundle: u8,
            flags: u8,
            $($number: $raw,)*
            page_blocks: U32,
            pub blocks: U32,
            pub lossy: [F32; 3],
            variant: RawVariant,
            pub number: U32,
            reserved: [U32; ROOM],
            /// Of the chat template: first block, bytes, CRC; zeroes where there is none.
            pub chat: [U32; 3],
        }

        impl RawModel {
            /// The model, checked, and how it is stored but for what the section table says.
            pub fn geometry(&self) -> Result<Geometry, ImageError> {
                let flag = |bit: u8| self.flags >> bit & 1 != 0;
                let geometry = Geometry {
                    config: ModelConfig {
                        $($code: code(stringify!($code), self.$code)?,)*
                        $($number: self.$number.get(),)*
                        attention_bias: AttentionBias {
                            query: flag(0),
                            key: flag(1),
                            value: flag(2),
                            output: flag(3),
                        },
                        ffn_bias: flag(4),
                        tied_head: flag(5),
                        variant: self.variant.parse()?,
                    },
                    bundle: Bundle(self.bundle),
                    predictor: parse_predictor(self.predictor, self.parameter)?,
                    quants: Quants::Q8,
                    page_blocks: BlockCount(self.page_blocks.get()),
                };
                check(&geometry)?;
                Ok(geometry)
            }

            pub fn emit(
                geometry: &Geometry,
                blocks: BlockCount,
                lossy: [f32; 3],
                chat: [u32; 3],
                number: u32,
            ) -> Self {
                let c = &geometry.config;
                let AttentionBias { query, key, value, output } = c.attention_bias;
                let flags = [query, key, value, output, c.ffn_bias, c.tied_head];
                let (predictor, parameter) = emit_predictor(geometry.predictor);
                Self {
                    $($code: c.$code as u8,)*
                    predictor,
                    parameter,
                    bundle: geometry.bundle.0,
                    flags: flags.iter().rev().fold(0, |bits, &flag| bits << 1 | u8::from(flag)),
                    $($number: c.$number.into(),)*
                    page_blocks: geometry.page_blocks.0.into(),
                    blocks: blocks.0.into(),
                    lossy: lossy.map(F32::from),
                    variant: RawVariant::emit(&c.variant),
                    number: number.into(),
                    reserved: [U32::ZERO; ROOM],
                    chat: chat.map(U32::from),
                }
            }
        }
    };
}

/// Words for what later packers have to say, written as zeroes; a reader that does not know them need
/// not.
const ROOM: usize = 3;

/// What a layer has that neither Llama's nor OPT's have.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct RawVariant {
    order: u8,
    head_norm: u8,
    sub_norm: u8,
    reserved: u8,
    attention_cap: F32,
    logit_cap: F32,
}

impl RawVariant {
    fn parse(&self) -> Result<Variant, ImageError> {
        if !cfg!(feature = "variants") {
            let none = self.as_bytes().iter().all(|byte| *byte == 0);
            let missing = ImageError::Feature { feature: "variants" };
            return if none { Ok(Variant::NONE) } else { Err(missing) };
        }
        Ok(Variant {
            order: code("order", self.order)?,
            head_norm: self.head_norm != 0,
            sub_norm: self.sub_norm != 0,
            attention_cap: self.attention_cap.get(),
            logit_cap: self.logit_cap.get(),
        })
    }

    fn emit(variant: &Variant) -> Self {
        Self {
            order: variant.order as u8,
            head_norm: variant.head_norm.into(),
            sub_norm: variant.sub_norm.into(),
            reserved: 0,
            attention_cap: variant.attention_cap.into(),
            logit_cap: variant.logit_cap.into(),
        }
    }
}

raw_model! {
    codes: norm, position, ffn, activation;
    numbers: dim: U32, layers: U32, neurons: U32, heads: U32, kv_heads: U32, head_dim: U32,
        vocab: U32, context: U32, norm_eps: F32, threshold: F32;
}

fn parse_predictor(code: u8, parameter: u8) -> Result<Predictor, ImageError> {
    match (code, parameter) {
        (0, 0) => Ok(Predictor::Exact),
        (1, planes @ 1..=7) => Ok(Predictor::Signs { planes: planes.into() }),
        (2, _) if !cfg!(feature = "low-rank") => Err(ImageError::Feature { feature: "low-rank" }),
        (2, rank) if rank > 0 && rank.is_multiple_of(4) => {
            Ok(Predictor::LowRank { rank: rank.into() })
        }
        _ => Err(ImageError::Code { field: "predictor", found: code.into() }),
    }
}

fn emit_predictor(predictor: Predictor) -> (u8, u8) {
    match predictor {
        Predictor::Exact => (0, 0),
        Predictor::Signs { planes } => (1, planes as u8),
        Predictor::LowRank { rank } => (2, rank as u8),
    }
}

/// Refuses a model that this build cannot run.
fn check(geometry: &Geometry) -> Result<(), ImageError> {
    geometry.config.check().map_err(ImageError::Config)?;
    if let Some(feature) = geometry.config.missing_feature() {
        return Err(ImageError::Feature { feature });
    }
    if !geometry.holds_all_rows() {
        return Err(ImageError::Code { field: "bundle", found: geometry.bundle.0.into() });
    }
    Ok(())
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct RawSection {
    /// Four bytes: kind, number format, rows of a record, whether it has a bias.
    pub form: U32,
    pub cols: U32,
    /// Of a part.
    pub records: U32,
    pub start: U32,
    pub part: U32,
    pub crc: U32,
}

impl RawSection {
    pub const fn form(kind: SectionKind, layout: Option<&RecordLayout>) -> u32 {
        let Some(layout) = layout else { return kind as u32 };
        kind as u32 | (layout.quant as u32) << 8 | layout.rows << 16 | (layout.bias as u32) << 24
    }

    pub fn emit(section: &PlannedSection, crc: u32) -> Self {
        let PlannedSection { kind, records, layout, start, part } = section;
        Self {
            form: Self::form(*kind, layout.as_ref()).into(),
            cols: layout.map_or(0, |layout| layout.cols).into(),
            records: (*records).into(),
            start: start.0.into(),
            part: part.0.into(),
            crc: crc.into(),
        }
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct RawLayer {
    pub hot: U32,
    pub active: U32,
}

/// Bytes in front of the section table.
pub(super) const SECTIONS_AT: usize = size_of::<RawStart>() + size_of::<RawModel>();

/// Bytes in front of the layer table.
pub(super) const fn layers_at(sections: u16) -> usize {
    SECTIONS_AT + sections as usize * size_of::<RawSection>()
}

// What tools that edit a header count on; and small models' headers take one block, with all sections.
const _: () = assert!(SECTIONS_AT == 128 && size_of::<RawSection>() == 24);
const _: () = assert!(layers_at(13) + 8 * size_of::<RawLayer>() <= BLOCK_BYTES);
const _: () = assert!(SectionKind::ALL.len() <= 13);
