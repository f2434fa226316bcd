//! Takes the data of blocks out of the bytes a card sends in answer to a read.
//!
//! In: the bytes clocked out of the card, cut anywhere. Out: the same memory with only the data of
//! the blocks, each checked against the CRC behind it. Knows nothing of buses or commands.

use crate::BLOCK_BYTES;
use embedded_sdmmc::embedded_sdmmc_types::sdcard::crc16;

/// Begins the data of a block.
const START: u8 = 0xFE;

/// What the card sends while it has nothing to say.
const SILENCE: u8 = 0xFF;

/// Where in the stream the next byte lies: silence, `START`, 512 bytes, two of CRC, and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Start,
    Data { left: usize },
    Crc { left: usize },
}

/// Why a block did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameFault {
    /// The card sent this instead of data: a data error token.
    Token(u8),
    /// Its data are not those that the CRC behind them is of.
    Crc { expected: u16, found: u16 },
}

/// The place in the stream, carried from one piece of it to the next.
#[derive(Debug)]
pub(super) struct Frames {
    next: Next,
    /// What of the CRC arrived, in the lower bits.
    crc: u16,
}

impl Frames {
    /// At the answer to a read command.
    pub(super) const fn new() -> Self {
        Self { next: Next::Start, crc: 0 }
    }

    /// Bytes of CRC that are still to come.
    pub(super) const fn unread(&self) -> usize {
        match self.next {
            Next::Crc { left } => left,
            Next::Start | Next::Data { .. } => 0,
        }
    }

    /// Moves the data among `bytes[filled..]`, which just arrived, to where they begin, behind the data that
    /// arrived before; returns how many bytes are data now.
    ///
    /// # Errors
    /// When the card sends an error token, or a block is damaged.
    pub(super) fn compact(&mut self, bytes: &mut [u8], filled: usize) -> Result<usize, FrameFault> {
        let (mut from, mut to) = (filled, filled);
        while let Some(rest) = bytes.get(from..)
            && let Some(&first) = rest.first()
        {
            match self.next {
                Next::Start => match rest.iter().position(|&byte| byte != SILENCE) {
                    None => from = bytes.len(),
                    Some(at) if rest.get(at) == Some(&START) => {
                        from += at + 1;
                        self.next = Next::Data { left: BLOCK_BYTES };
                    }
                    Some(at) => {
                        return Err(FrameFault::Token(rest.get(at).copied().unwrap_or(0)));
                    }
                },
                Next::Data { left } => {
                    let here = left.min(rest.len());
                    // `to` is never beyond `from`: what is between goes to the end.
                    if let Some(moved) = bytes.get_mut(to..from + here)
                        && let Some(gap) = moved.len().checked_sub(here)
                    {
                        moved.copy_within(gap.., 0);
                    }
                    from += here;
                    to += here;
                    let left = left - here;
                    self.next = if left > 0 { Next::Data { left } } else { Next::Crc { left: 2 } };
                }
                Next::Crc { .. } => {
                    from += 1;
                    self.crc(first, bytes.get(..to).unwrap_or(&[]))?;
                }
            }
        }
        Ok(to)
    }

    /// Takes the next byte of the CRC of the block that `data` end with.
    ///
    /// # Errors
    /// When it is the last one, and the block is damaged.
    pub(super) fn crc(&mut self, byte: u8, data: &[u8]) -> Result<(), FrameFault> {
        self.crc = self.crc << 8 | u16::from(byte);
        self.next = match self.next {
            Next::Crc { left: 2 } => Next::Crc { left: 1 },
            _ => Next::Start,
        };
        if self.next != Next::Start {
            return Ok(());
        }
        let block = data.len().checked_sub(BLOCK_BYTES).and_then(|start| data.get(start..));
        match (self.crc, crc16(block.unwrap_or(&[]))) {
            (expected, found) if expected != found => Err(FrameFault::Crc { expected, found }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// `blocks` blocks after silences of the lengths given, and the data in them.
    fn stream(silences: &[usize]) -> (Vec<u8>, Vec<u8>) {
        let (mut sent, mut data) = (Vec::<u8>::new(), Vec::<u8>::new());
        for (block, &silence) in silences.iter().enumerate() {
            sent.extend(std::iter::repeat_n(SILENCE, silence));
            sent.push(START);
            // Holds START and SILENCE too.
            let bytes: Vec<u8> = (0..BLOCK_BYTES).map(|i| (i * 7 + block * 31) as u8).collect();
            sent.extend(&bytes);
            sent.extend(crc16(&bytes).to_be_bytes());
            data.extend(bytes);
        }
        (sent, data)
    }

    #[test]
    fn a_stream_cut_anywhere_gives_the_same_data() {
        let (sent, data) = stream(&[0, 1, 700, 3]);
        for piece in [1, 2, 3, 511, 512, 513, 514, 515, 516, 1000, sent.len()] {
            let mut frames = Frames::new();
            let mut got = Vec::<u8>::new();
            for bytes in sent.chunks(piece) {
                let filled = got.len();
                got.extend(bytes);
                let filled = frames.compact(&mut got, filled).unwrap();
                got.truncate(filled);
            }
            assert!(got == data, "pieces of {piece}");
            assert_eq!((frames.unread(), frames.next), (0, Next::Start));
        }
    }

    #[test]
    fn an_error_token_is_told_from_data() {
        let token = Err(FrameFault::Token(0x08));
        assert_eq!(Frames::new().compact(&mut [0xFF, 0xFF, 0x08], 0), token);
        let mut frames = Frames::new();
        let (mut sent, _) = stream(&[2]);
        assert_eq!(frames.compact(&mut sent, 0), Ok(BLOCK_BYTES));
        assert_eq!(frames.compact(&mut [0x01], 0), Err(FrameFault::Token(0x01)));
    }

    #[test]
    fn every_flipped_bit_is_noticed_where_the_block_ends() {
        let (sent, _) = stream(&[1, 0]);
        let data = 2..2 + BLOCK_BYTES + 2;
        // Miri takes minutes for all of them.
        let step = if cfg!(miri) { 331 } else { 1 };
        let bits = data.flat_map(|at| (0..8).map(move |bit| (at, 1 << bit)));
        for bit in bits.step_by(step) {
            let mut bad = sent.clone();
            bad[bit.0] ^= bit.1;
            let found = Frames::new().compact(&mut bad, 0);
            assert!(matches!(found, Err(FrameFault::Crc { .. })), "{bit:?}: {found:?}");
        }
        // The CRC of the last block may have to be fetched.
        let (whole, crc) = sent.split_at(sent.len() - 2);
        for wrong in [0, 1] {
            let (mut frames, mut bytes) = (Frames::new(), whole.to_vec());
            let filled = frames.compact(&mut bytes, 0).unwrap();
            assert_eq!((filled, frames.unread()), (2 * BLOCK_BYTES, 2));
            frames.crc(crc[0], &bytes[..filled]).unwrap();
            let last = frames.crc(crc[1] ^ wrong, &bytes[..filled]);
            assert_eq!(last.is_err(), wrong != 0);
        }
    }
}
