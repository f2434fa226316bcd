//! What a program says of itself before its steps: what its steps may not leave.
//!
//! In: numbers of a header. Out: whether a number of a step is within them.

use crate::code::kind;
use crate::error::ProgramError;
use ripple_hal::BlockCount;

/// Most words of arena, and most numbers of anything: byte places stay within 31 bits.
pub const MOST_WORDS: i32 = 1 << 28;

/// Sizes of a program.
pub struct Sizes {
    /// Words of arena.
    pub arena: usize,
    /// Blocks of the image.
    pub blocks: BlockCount,
    /// Words of constants.
    pub constants: usize,
}

/// `found` where it is `least` to `most`.
pub fn field(
    step: u32,
    what: &'static str,
    found: i32,
    least: i32,
    most: i32,
) -> Result<i32, ProgramError> {
    if (least..=most).contains(&found) {
        Ok(found)
    } else {
        Err(ProgramError::Field { step, what, found, least, most })
    }
}

impl Sizes {
    /// Checks that `numbers` of a kind from byte or constant `at` on are there.
    pub fn has(
        &self,
        step: u32,
        what: &'static str,
        at: i32,
        numbers: i32,
        kind: i32,
    ) -> Result<(), ProgramError> {
        field(step, what, at, 0, i32::MAX)?;
        let (at, numbers) = (i64::from(at), i64::from(numbers));
        let (end, room) = match kind {
            kind::SMALL => (at + numbers, self.arena as i64 * 4),
            kind::CONSTANT | kind::REAL_CONSTANT => (at + numbers, self.constants as i64),
            _ => (at + 4 * numbers, self.arena as i64 * 4),
        };
        let whole = matches!(kind, kind::CONSTANT | kind::REAL_CONSTANT) || at % 4 == 0;
        let least = if whole { numbers.min(0) } else { i64::MAX };
        if end > room || numbers < 0 || least == i64::MAX {
            let (found, most) = (end.min(i64::from(i32::MAX)) as i32, room as i32);
            return Err(ProgramError::Field { step, what, found, least: 0, most });
        }
        Ok(())
    }
}
