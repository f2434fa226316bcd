//! What happens when the card fails: repeat, wait until it is back, or give up.
//!
//! In: a decoder, a pass to run. Out: what the pass gave, however often it had to be repeated.
//! A pass is repeated only on the card it began on, so that a changed card never changes a text.

use crate::console::Console;
use crate::counted::Counted;
use crate::event::Event;
use crate::session::Out;
use ripple_hal::{Block, BlockDevice, BlockIdx, Clock, DeviceError, ErrorKind, Micros};
use ripple_kernel::image::Crc32;
use ripple_kernel::{Decoder, Probe, StepError};

/// How often a failed pass is repeated.
const RETRIES: u32 = 3;
/// How often a card that is gone is looked for.
const POLL: Micros = Micros(250_000);

/// Why a pass could not be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// The text cannot go on; the decoder can.
    Stop,
    /// The card does not hold what it did: mount it again.
    Lost,
}

/// The front of the image, to tell whether a card is the same: block 0 holds the CRC of the header,
/// and the header that of every section.
pub struct Identity<'m> {
    crc: u32,
    block: &'m mut [Block; 1],
}

impl<'m> Identity<'m> {
    /// Reads it.
    ///
    /// # Errors
    /// The device's.
    pub fn of<D: BlockDevice>(device: &mut D, block: &'m mut [Block; 1]) -> Result<Self, D::Error> {
        device.read(BlockIdx(0), block)?;
        let crc = crc32(Block::bytes(block));
        Ok(Self { crc, block })
    }

    fn is_of<D: BlockDevice>(&mut self, device: &mut D) -> Result<bool, D::Error> {
        device.read(BlockIdx(0), self.block)?;
        Ok(crc32(Block::bytes(self.block)) == self.crc)
    }
}

/// The checksum of `bytes`.
pub fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = Crc32::new();
    crc.update(bytes);
    crc.finish()
}

/// Runs `pass`, and again when the card failed.
///
/// # Errors
/// When it cannot succeed, or did not after as many attempts as are made.
pub fn attempt<D: BlockDevice, P: Probe, T>(
    decoder: &mut Decoder<'_, Counted<D>, P>,
    identity: &mut Identity<'_>,
    out: &mut Out<'_, impl Console, impl Clock>,
    mut pass: impl FnMut(&mut Decoder<'_, Counted<D>, P>) -> Result<T, StepError<D::Error>>,
) -> Result<T, Failed> {
    let mut attempts = 0;
    loop {
        let error = match pass(decoder) {
            Ok(result) => return Ok(result),
            Err(error) => error.kinds(),
        };
        out.say(Event::Fault { doing: "step", error: &error });
        if !matches!(error, StepError::Device { .. } | StepError::Corrupt { .. }) {
            return Err(Failed::Stop);
        }
        attempts += 1;
        if attempts > RETRIES {
            return Err(Failed::Lost);
        }
        await_card(decoder.device_mut(), identity, out)?;
        out.say(Event::Retry { attempt: attempts });
    }
}

/// Returns when the card of `identity` answers.
fn await_card<D: BlockDevice>(
    device: &mut D,
    identity: &mut Identity<'_>,
    out: &mut Out<'_, impl Console, impl Clock>,
) -> Result<(), Failed> {
    let mut waiting = false;
    loop {
        match identity.is_of(device) {
            Ok(true) => {
                if waiting {
                    out.say(Event::Back);
                }
                return Ok(());
            }
            Ok(false) => {
                out.say(Event::Note("the card holds something else now"));
                return Err(Failed::Lost);
            }
            Err(error) if error.kind() == ErrorKind::NoCard || waiting => {
                if !waiting {
                    out.say(Event::Waiting);
                }
                waiting = true;
                out.pause(POLL);
            }
            // The pass will meet the same error, and count it.
            Err(_) => return Ok(()),
        }
    }
}
