//! What a model needs of a board, checked before anything is linked or flashed.
//!
//! In: a board, the header of an image, how large the firmware is. Out: bytes by region, and which
//! is too small. The board's build and `ripple plan --board` both ask here.

use crate::board::Board;
use crate::memory::desk_bytes;
use core::fmt;
use ripple_hal::BLOCK_BYTES;
use ripple_kernel::MemoryPlan;
use ripple_kernel::image::{Geometry, Header, SectionKind};

/// Bytes of an image on a board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The kernel's regions.
    pub plan: MemoryPlan,
    /// The main loop's own: see [`Desk`](crate::Desk).
    pub desk: usize,
    /// Statics of drivers and libraries, as measured.
    pub drivers: usize,
    /// Code and constants, as measured, in flash.
    pub code: usize,
    /// The image's front, up to the FFN, in flash.
    pub mapped: usize,
}

/// A part of a board that is too small for a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooSmall {
    /// The board's name.
    pub board: &'static str,
    /// `ram` or `flash`.
    pub part: &'static str,
    /// Bytes it must have.
    pub needed: usize,
    /// Bytes it has.
    pub given: usize,
}

impl fmt::Display for TooSmall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { board, part, needed, given } = self;
        write!(
            f,
            "{part} of {board}: needs {needed} bytes, has {given}: {} missing",
            needed.saturating_sub(*given)
        )
    }
}

impl core::error::Error for TooSmall {}

impl Budget {
    /// What an image with `header` needs of `board`.
    pub fn of(board: &Board, header: &Header) -> Self {
        let mapped = header.section(SectionKind::Ffn).start.0 as usize * BLOCK_BYTES;
        Self::planned(board, &header.geometry, mapped)
    }

    /// The same, of an image that is only planned: its front takes `mapped` bytes.
    pub fn planned(board: &Board, geometry: &Geometry, mapped: usize) -> Self {
        Self {
            plan: MemoryPlan::for_model(geometry, &board.options),
            desk: desk_bytes(board.line),
            drivers: board.firmware.drivers as usize,
            code: board.firmware.code as usize,
            mapped,
        }
    }

    /// Bytes of statics; saturates.
    pub const fn statics(&self) -> usize {
        self.plan.bytes().saturating_add(self.desk).saturating_add(self.drivers)
    }

    /// Bytes of flash; saturates.
    pub const fn flash(&self) -> usize {
        self.mapped.saturating_add(self.code)
    }

    /// Checks it before anything is compiled. The linker checks again, with the firmware as it is now.
    ///
    /// # Errors
    /// The first part that is too small.
    pub const fn check(&self, board: &Board) -> Result<(), TooSmall> {
        let ram = self.statics().saturating_add(board.stack as usize);
        let parts = [("ram", ram, board.ram), ("flash", self.flash(), board.flash)];
        let mut rest = parts.as_slice();
        while let [(part, needed, given), more @ ..] = rest {
            let (needed, given) = (*needed, *given as usize);
            if needed > given {
                return Err(TooSmall { board: board.name, part, needed, given });
            }
            rest = more;
        }
        Ok(())
    }
}
