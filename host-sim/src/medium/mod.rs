//! Writing a card: what it is to hold, the order it is written in, and what is on it already.
//!
//! In: an image, a file or a block device. Out: a card that firmware opens, verified, or one that it
//! does not open at all. Knows nothing of what an image holds but its first block. The simulated
//! card is [`SimCard`](crate::machine::SimCard).
//!
//! [`CardBlocks`] is the card as it is to be, [`write()`] puts it on a [`Medium`], [`Disk`] is what the
//! system says about a device, [`contents`] what can be read from it.

mod blocks;
mod contents;
mod disk;
mod fat;
mod file;
mod layout;
pub mod on_card;
mod write;

pub use contents::{Contents, contents};
pub use disk::{Disk, DiskError, Use};
pub use file::FileMedium;
pub use layout::{CardBlocks, Layout, LayoutError};
pub use write::{Medium, Phase, WriteError, Written, write};
