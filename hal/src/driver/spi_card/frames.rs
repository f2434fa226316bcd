//! Takes the data of blocks out of the bytes a card sends in answer to a read.
//!
//! In: the bytes clocked out of the card, cut anywhere. Out: the same memory with only the data of
//! the blocks, at its front. Knows nothing of buses or commands.

use crate::BLOCK_BYTES;

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

/// The card sent this instead of data: a data error token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ErrorToken(pub(super) u8);

/// The place in the stream, carried from one piece of it to the next.
#[derive(Debug)]
pub(super) struct Frames {
    next: Next,
}

impl Frames {
    /// At the answer to a read command.
    pub(super) const fn new() -> Self {
        Self { next: Next::Start }
    }

    /// Bytes of CRC that are still to come.
    pub(super) const fn unread(&self) -> usize {
        match self.next {
            Next::Crc { left } => left,
            Next::Start | Next::Data { .. } => 0,
        }
    }

    /// Moves the data among `bytes` to their front and returns how much it is.
    ///
    /// The CRC is skipped: whatever the kernel reads carries one of its own.
    pub(super) fn compact(&mut self, bytes: &mut [u8]) -> Result<usize, ErrorToken> {
        let (mut from, mut to) = (0, 0);
        while let Some(rest) = bytes.get(from..)
            && !rest.is_empty()
        {
            match self.next {
                Next::Start => match rest.iter().position(|&byte| byte != SILENCE) {
                    None => from = bytes.len(),
                    Some(at) if rest.get(at) == Some(&START) => {
                        from += at + 1;
                        self.next = Next::Data { left: BLOCK_BYTES };
                    }
                    Some(at) => return Err(ErrorToken(rest.get(at).copied().unwrap_or(0))),
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
                Next::Crc { left } => {
                    let here = left.min(rest.len());
                    from += here;
                    let left = left - here;
                    self.next = if left > 0 { Next::Crc { left } } else { Next::Start };
                }
            }
        }
        Ok(to)
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
            sent.extend([0xAB, START]);
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
                let mut bytes = bytes.to_vec();
                let count = frames.compact(&mut bytes).unwrap();
                got.extend(&bytes[..count]);
            }
            assert!(got == data, "pieces of {piece}");
            assert_eq!((frames.unread(), frames.next), (0, Next::Start));
        }
    }

    #[test]
    fn an_error_token_is_told_from_data() {
        assert_eq!(Frames::new().compact(&mut [0xFF, 0xFF, 0x08]), Err(ErrorToken(0x08)));
        let mut frames = Frames::new();
        let (mut sent, _) = stream(&[2]);
        assert_eq!(frames.compact(&mut sent), Ok(BLOCK_BYTES));
        assert_eq!(frames.compact(&mut [0x01]), Err(ErrorToken(0x01)));
    }
}
