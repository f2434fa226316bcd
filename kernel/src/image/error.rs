//! Why bytes are not an image this code can run.

use super::section::{SectionFault, SectionKind};
use super::{MAGIC, VERSION};
use crate::config::ConfigError;
use ripple_hal::BlockCount;

/// Why bytes are not an image this code can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ImageError {
    /// The first bytes are not [`MAGIC`]: not an image, or the wrong block.
    #[error("not a Ripple image: it begins with \"{}\", expected \"{}\"", found.escape_ascii(), MAGIC.escape_ascii())]
    Magic {
        /// What stands there.
        found: [u8; 8],
    },
    /// An image of another format version; pack it again.
    #[error("image format version {found}, expected {VERSION}; pack the model again")]
    Version {
        /// Its version.
        found: u16,
    },
    /// The header ends early: cut short, or more blocks are needed to read it.
    #[error("the header needs {needed} bytes, found {found}")]
    HeaderLength {
        /// Bytes a header of this model has.
        needed: u32,
        /// Bytes there are.
        found: u32,
    },
    /// The header's checksum is wrong.
    #[error(
        "header checksum {found:#010x}, expected {expected:#010x}: the image is damaged, copy it again"
    )]
    HeaderCrc {
        /// As computed.
        expected: u32,
        /// As stored.
        found: u32,
    },
    /// A code that stands for nothing.
    #[error("header field `{field}` holds {found}, which stands for nothing")]
    Code {
        /// The field.
        field: &'static str,
        /// The code.
        found: u32,
    },
    /// A model that cannot be run.
    #[error("{0}")]
    Config(ConfigError),
    /// What the image needs and this build has not compiled in: a family, a number format, a predictor.
    #[error("the model needs the feature `{feature}` of ripple-kernel, which this build lacks")]
    Feature {
        /// The feature.
        feature: &'static str,
    },
    /// The section table does not fit the model, or itself.
    #[error("section `{kind}`: {fault} {expected}, found {found}")]
    Section {
        /// The section.
        kind: SectionKind,
        /// What of it is wrong.
        fault: SectionFault,
        /// What the table says.
        found: u32,
        /// What the model, or the table before it, needs.
        expected: u32,
    },
    /// The device ends before the image does.
    #[error("the image is cut short: it needs {} blocks, the device has {}; copy it again", needed.0, found.0)]
    Truncated {
        /// Blocks of the image.
        needed: BlockCount,
        /// Blocks of the device.
        found: BlockCount,
    },
    /// A record is damaged, in a section of which only a part is mapped.
    #[error(
        "record {slot} of layer {layer} of section `{kind}` is damaged in the mapped prefix: copy the image again"
    )]
    Record {
        /// Which section.
        kind: SectionKind,
        /// Which part of it.
        layer: u32,
        /// Which record of the part.
        slot: u32,
    },
    /// The checksum of a section is wrong.
    #[error(
        "section `{kind}` has checksum {found:#010x}, expected {expected:#010x}: the image is damaged, copy it again"
    )]
    SectionCrc {
        /// Which.
        kind: SectionKind,
        /// As computed.
        expected: u32,
        /// As stored.
        found: u32,
    },
}
