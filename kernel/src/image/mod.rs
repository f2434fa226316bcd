//! The image: one self-describing file that holds a model for the board.
//!
//! ```text
//! block 0      header: magic, version, CRC, the model, section table, layer table
//! then, each section on a block boundary, as the section table says; by standard, in the order of how
//! badly it wants to be near:
//!              tokenizer | vectors | predictor | attention | embedding, positions, head | page index |
//!              FFN layers | pages
//! at the end   the chat template, for hosts: text, where the model has one
//! ```
//!
//! Everything but the tokenizer and the pages is a table of records of one stride ([`record`]): rows of
//! a matrix, neuron bundles, norm vectors. All numbers are little-endian. The section table says where
//! each section is, in which number format and shape; what the model needs is checked against it. A host
//! decides with an [`ImagePlan`].
//!
//! Every image has a number, made of its contents. It goes into the check of each record: a card that is half
//! updated holds records of two images, and those of the other one are refused.

mod check;
mod crc;
mod error;
pub mod geometry;
pub mod header;
mod page;
mod plan;
mod quant;
mod raw;
pub mod record;
mod remainder;
pub(crate) mod row;
mod section;
mod view;

pub use crc::Crc32;
pub use error::ImageError;
pub use geometry::{Bundle, Geometry, Predictor, Quants};
pub use header::{ChatText, Header, LayerInfo, Lossy};
pub use page::Page;
pub use plan::ImagePlan;
pub use quant::Quant;
pub use record::{Record, RecordLayout};
pub use section::{PlannedSection, Section, SectionFault, SectionKind};
pub use view::{Image, Table};

/// The first bytes of every image.
pub const MAGIC: [u8; 8] = *b"RIPPLE\r\n";
/// The format this code reads and writes; any change of the format changes it.
pub const VERSION: u16 = 7;

/// What the image is called on a card with a file system: a name that FAT stores as it is.
pub const FILE_NAME: &str = "RIPPLE.IMG";
