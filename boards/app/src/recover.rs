//! What happens when the card fails: repeat, wait until it is back, or give up.
//!
//! In: the error of a pass, and the card between two attempts. Out: what to do next. A pass is repeated
//! only on the card it began on, so that a changed card never changes a text. [`Recovery`] does not wait
//! for anything, so that an async application uses the same rules; [`attempt`] is the loop of all others.

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
pub const POLL: Micros = Micros(250_000);

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

/// What a look at the card between two attempts found.
#[derive(Clone, Copy)]
pub struct Look {
    /// What is new about the card.
    pub event: Option<Event<'static>>,
    /// What to do.
    pub then: Then,
}

/// What to do after a look at the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Run the pass once more: the card answers, or has an error that the pass will meet again.
    Repeat,
    /// Look again after [`POLL`].
    Wait,
    /// Mount again: there is another card.
    GiveUp,
}

/// The attempts at one pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recovery {
    attempts: u32,
    waiting: bool,
}

impl Recovery {
    /// Takes the error of an attempt; where another may be made, [`look`](Self::look) at the card first.
    ///
    /// # Errors
    /// When the pass cannot succeed, or did not after as many attempts as are made.
    pub fn failed(&mut self, error: &StepError<ErrorKind>) -> Result<(), Failed> {
        if !matches!(error, StepError::Device { .. } | StepError::Corrupt { .. }) {
            return Err(Failed::Stop);
        }
        self.attempts += 1;
        self.waiting = false;
        if self.attempts > RETRIES { Err(Failed::Lost) } else { Ok(()) }
    }

    /// Looks whether the card of `identity` answers.
    pub fn look<D: BlockDevice>(&mut self, device: &mut D, identity: &mut Identity<'_>) -> Look {
        let was_waiting = self.waiting;
        let (event, then) = match identity.is_of(device) {
            Ok(true) => (was_waiting.then_some(Event::Back), Then::Repeat),
            Ok(false) => (Some(Event::Note("the card holds something else now")), Then::GiveUp),
            Err(error) if error.kind() == ErrorKind::NoCard || was_waiting => {
                self.waiting = true;
                ((!was_waiting).then_some(Event::Waiting), Then::Wait)
            }
            // The pass will meet the same error, and count it.
            Err(_) => (None, Then::Repeat),
        };
        Look { event, then }
    }

    /// Tells which attempt begins.
    pub fn retry(&self) -> Event<'static> {
        Event::Retry { attempt: self.attempts }
    }
}

/// Runs `pass`, and again when the card failed.
///
/// # Errors
/// As [`Recovery`].
pub fn attempt<D: BlockDevice, P: Probe, T>(
    decoder: &mut Decoder<'_, Counted<D>, P>,
    identity: &mut Identity<'_>,
    out: &mut Out<'_, impl Console, impl Clock>,
    mut pass: impl FnMut(&mut Decoder<'_, Counted<D>, P>) -> Result<T, StepError<D::Error>>,
) -> Result<T, Failed> {
    let mut recovery = Recovery::default();
    loop {
        match pass(decoder) {
            Ok(result) => return Ok(result),
            Err(error) => again(&mut recovery, error.kinds(), decoder.device_mut(), identity, out)?,
        }
    }
}

/// Returns when the pass that ended with `error` may be run once more.
///
/// Not inlined: `attempt` is a copy for each kind of pass.
#[inline(never)]
fn again<D: BlockDevice>(
    recovery: &mut Recovery,
    error: StepError<ErrorKind>,
    device: &mut D,
    identity: &mut Identity<'_>,
    out: &mut Out<'_, impl Console, impl Clock>,
) -> Result<(), Failed> {
    out.say(Event::Fault { doing: "step", error: &error });
    recovery.failed(&error)?;
    loop {
        let Look { event, then } = recovery.look(device, identity);
        if let Some(event) = event {
            out.say(event);
        }
        match then {
            Then::Repeat => break,
            Then::Wait => out.pause(POLL),
            Then::GiveUp => return Err(Failed::Lost),
        }
    }
    out.say(recovery.retry());
    Ok(())
}
