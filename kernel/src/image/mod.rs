//! The image: one self-describing file that holds a model for the board.
//!
//! ```text
//! block 0      header: magic, version, CRC, geometry, section table, layer table
//! then, each section on a block boundary, in the order of how badly it wants to be near:
//!              tokenizer | vectors | predictor | attention | embedding, positions, head | page index |
//!              FFN layers | pages
//! ```
//!
//! Everything but the tokenizer and the pages is a table of records of one stride ([`record`]): rows of a matrix,
//! neuron bundles, norm vectors. All numbers are little-endian. `parse` and `emit` of each part
//! live together in [`header`] and [`record`].

mod crc;
mod error;
pub mod geometry;
pub mod header;
mod page;
pub mod record;
pub(crate) mod row;
mod view;

pub use crc::Crc32;
pub use error::ImageError;
pub use geometry::{Bundle, FourBits, Geometry, Predictor, SectionKind};
pub use header::{Header, HeaderBuilder, LayerInfo, Lossy, Section};
pub use page::Page;
pub use record::{Quant, Record, RecordLayout};
pub use view::{Image, Table};

/// The first bytes of every image.
pub const MAGIC: [u8; 8] = *b"RIPPLE\r\n";
/// The format this code reads and writes; any change of the format changes it.
pub const VERSION: u16 = 3;

/// What the image is called on a card with a file system: a name that FAT stores as it is.
pub const FILE_NAME: &str = "RIPPLE.IMG";
