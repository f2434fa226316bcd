//! A signed image in RAM, which this firmware is the card of: what opening and reading cost (counted outside, by
//! `boards/count`), and what is refused.
//!
//! Regions: 1 opening; 2 a block whose digest is in a frame; 3 a block whose group of digests has to be read;
//! 4 copying a block, which 2 and 3 contain.
#![no_std]
#![no_main]

use cortex_m_rt::entry;
use ripple_hal::{BLOCK_BYTES, Block, BlockDevice, BlockIdx, Slice};
use ripple_marks::region;
use semihosting::process;

static IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/signed.image"));
/// Bytes of the image with what was signed of it.
const BYTES: usize = IMAGE.len();

#[entry]
fn main() -> ! {
    static mut CARD: [u8; BYTES] = [0; BYTES];
    region::<13>();
    CARD.copy_from_slice(IMAGE);
    let mut block = [Block::ZERO];
    region::<4>();
    let read = Slice::new(CARD).read(BlockIdx(5), &mut block);
    region::<13>();
    let right = read.is_ok() && block[0].0[..] == IMAGE[5 * BLOCK_BYTES..][..BLOCK_BYTES];
    #[cfg(feature = "signed")]
    let right = right && signed::all(CARD);
    process::exit(i32::from(!right))
}

#[cfg(feature = "signed")]
mod signed {
    use super::{BYTES, IMAGE};
    use ripple_hal::{BLOCK_BYTES, Block, BlockCount, BlockDevice, BlockIdx, Slice};
    use ripple_marks::region;
    use ripple_signed::{Room, Signed};

    static KEY: &[u8; 32] = include_bytes!(concat!(env!("OUT_DIR"), "/key.pub"));
    const BLOCKS: BlockCount = BlockCount((BYTES / BLOCK_BYTES) as u32);

    /// How opening and reading ended.
    #[cfg(feature = "said")]
    type Found = Result<
        Result<(), ripple_signed::SignedError<ripple_hal::ErrorKind>>,
        ripple_signed::OpenError<ripple_hal::ErrorKind>,
    >;

    /// Memory for one card: a block of tops, and two frames of four blocks.
    struct Lent([Block; 1], [Block; 8], [u32; 2]);

    impl Lent {
        const NEW: Self = Self([Block::ZERO; 1], [Block::ZERO; 8], [0; 2]);

        fn room(&mut self) -> Room<'_> {
            Room { tops: &mut self.0, frames: &mut self.1, held: &mut self.2 }
        }
    }

    /// Whether a signed image opens and reads as it should, and nothing else does.
    pub fn all(card: &mut [u8]) -> bool {
        let mut lent = Lent::NEW;
        region::<1>();
        let opened = Signed::open(Slice::new(card), BLOCKS, KEY, 3, lent.room());
        region::<13>();
        let Ok(mut device) = opened else { return false };
        let mut block = [Block::ZERO];
        let mut right = true;
        for at in [5, 6] {
            // The digest of the first is not there, that of the second is.
            if at == 5 {
                region::<3>()
            } else {
                region::<2>()
            }
            let read = device.read(BlockIdx(at), &mut block);
            region::<13>();
            right &= read.is_ok();
            right &= block[0].0[..] == IMAGE[at as usize * BLOCK_BYTES..][..BLOCK_BYTES];
        }
        #[cfg(feature = "said")]
        {
            semihosting::println!(
                "opened: update {}, {} blocks",
                device.counter(),
                device.shape().image.0
            );
            right &= refusals(card);
        }
        right
    }

    /// Whether what was changed is refused; says so.
    #[cfg(feature = "said")]
    fn refusals(card: &mut [u8]) -> bool {
        use ripple_signed::{OpenError, SignedError};
        let mut right = true;
        let mut refused = |what: &str, at: usize, least: u64, expected: fn(&Found) -> bool| {
            card[at] ^= 1;
            let found = look(card, least);
            card[at] ^= 1;
            let named = expected(&found);
            semihosting::println!("{what}: {}", if named { "refused" } else { "NOT REFUSED" });
            right &= named;
        };
        let end = BYTES - BLOCK_BYTES;
        refused("a changed byte", 9 * BLOCK_BYTES, 3, |found| {
            *found == Ok(Err(SignedError::Differs { block: BlockIdx(9) }))
        });
        refused("a changed digest", 1024 * BLOCK_BYTES, 3, |found| {
            matches!(found, Ok(Err(SignedError::Leaves { .. })))
        });
        refused("a changed top", (1024 + 64) * BLOCK_BYTES, 3, |found| {
            matches!(found, Err(OpenError::Tops { .. }))
        });
        refused("a changed statement", end + 20, 3, |found| *found == Err(OpenError::Signature));
        refused("a changed signature", end + 70, 3, |found| *found == Err(OpenError::Signature));
        refused("no signature", end, 3, |found| matches!(found, Err(OpenError::Unsigned { .. })));
        // Of a block that is not looked at.
        refused("an older image", BLOCK_BYTES, 4, |found| {
            *found == Err(OpenError::Older { found: 3, least: 4 })
        });
        right
    }

    /// Opens the card and reads block 9.
    #[cfg(feature = "said")]
    fn look(card: &[u8], least: u64) -> Found {
        let mut lent = Lent::NEW;
        let mut device = Signed::open(Slice::new(card), BLOCKS, KEY, least, lent.room())?;
        Ok(device.read(BlockIdx(9), &mut [Block::ZERO]))
    }
}
