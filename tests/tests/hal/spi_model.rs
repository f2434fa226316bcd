//! A card on a SPI bus that follows the specification.
//!
//! SD Specifications, Part 1, "Physical Layer Simplified Specification" 9.00, chapter 7.

use std::collections::VecDeque;

/// What the card is asked and what it would do; shared with its test.
pub struct Sim {
    pub bytes: Vec<u8>,
    high_capacity: bool,
    random: u32,
    /// Sent next, before what a read under way adds.
    queue: VecDeque<u8>,
    /// The next block of a CMD18.
    reading: Option<u32>,
    /// The block that a write waits for or takes.
    writing: Option<Writing>,
    /// Blocks that the card holds but has not stored, with the end of its busy signal in `queue`.
    held: Vec<(u32, Vec<u8>)>,
    received: Vec<u8>,
    pub selected: bool,
    idle: bool,
    checks_crc: bool,
    pub commands: Vec<(u8, u32)>,
    pub transfers: u32,
    pub hertz: u32,
    /// Sent instead of the next block.
    pub fault: Option<u8>,
    /// A bit that the next block loses on its way, or its CRC behind it.
    pub flip: Option<usize>,
    /// The next blocks never come; what is written keeps the card busy.
    pub mute: bool,
    /// Answered to the block that this many more are written before.
    pub refusal: Option<(u32, u8)>,
    /// The second byte of the next answer to CMD13.
    pub complaint: u8,
    /// Bytes exchanged until power is lost.
    pub power: Option<u32>,
}

/// Where a write stands.
struct Writing {
    block: u32,
    many: bool,
    /// What has arrived of a block and its CRC, once it has begun.
    data: Option<Vec<u8>>,
}

impl Sim {
    pub fn new(bytes: &[u8], high_capacity: bool) -> Self {
        Self {
            bytes: bytes.to_vec(),
            high_capacity,
            random: 1,
            queue: VecDeque::new(),
            reading: None,
            writing: None,
            held: Vec::new(),
            received: Vec::new(),
            selected: false,
            idle: true,
            checks_crc: false,
            commands: Vec::new(),
            transfers: 0,
            hertz: 0,
            fault: None,
            flip: None,
            mute: false,
            refusal: None,
            complaint: 0,
            power: None,
        }
    }

    /// What the card sends while it receives `sent`.
    pub fn exchange(&mut self, sent: u8) -> u8 {
        if !self.selected {
            return 0xFF;
        }
        if let Some(left) = &mut self.power {
            let Some(less) = left.checked_sub(1) else { return 0xFF };
            *left = less;
        }
        if self.queue.is_empty()
            && let Some(block) = self.reading
        {
            self.send_block(block);
            self.reading = Some(block + 1);
        }
        let answer = self.queue.pop_front().unwrap_or(0xFF);
        if self.queue.is_empty() && !self.held.is_empty() {
            self.store();
        }
        if self.receive(sent) {
            return answer;
        }
        if !self.received.is_empty() || sent & 0xC0 == 0x40 {
            self.received.push(sent);
            if self.received.len() == 6 {
                let frame = std::mem::take(&mut self.received);
                self.command(&frame);
            }
        }
        answer
    }

    /// Power comes back: what was stored is there, what was held is gone.
    pub fn restart(&mut self) {
        self.queue.clear();
        self.received.clear();
        self.held.clear();
        (self.reading, self.writing, self.power) = (None, None, None);
        (self.idle, self.checks_crc) = (true, false);
    }

    fn send_block(&mut self, block: u32) {
        self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let silence = (self.random >> 16) as usize % 900;
        self.queue.extend(std::iter::repeat_n(0xFF, silence));
        if self.mute {
            return;
        }
        if let Some(token) = self.fault.take() {
            self.queue.push_back(token);
            return;
        }
        let at = block as usize * 512;
        match self.bytes.get(at..at + 512) {
            Some(data) => {
                let mut sent = [data, &crc16(data).to_be_bytes()].concat();
                if let Some(bit) = self.flip.take() {
                    sent[bit / 8] ^= 1 << (bit % 8);
                }
                self.queue.push_back(0xFE);
                self.queue.extend(sent);
            }
            None => self.queue.push_back(0x08),
        }
    }

    /// Takes a byte that is part of a write; whether it was.
    fn receive(&mut self, sent: u8) -> bool {
        let Some(writing) = &mut self.writing else { return false };
        let Some(data) = &mut writing.data else {
            match sent {
                0xFE if !writing.many => writing.data = Some(Vec::new()),
                0xFC if writing.many => writing.data = Some(Vec::new()),
                0xFD if writing.many => {
                    self.writing = None;
                    self.busy();
                }
                _ => return false,
            }
            return true;
        };
        data.push(sent);
        if data.len() < 514 {
            return true;
        }
        let mut data = writing.data.take().unwrap();
        let crc = data.split_off(512);
        let block = writing.block;
        writing.block += 1;
        if !writing.many {
            self.writing = None;
        }
        if crc != crc16(&data).to_be_bytes() {
            assert!(self.checks_crc, "a card that was not told to check takes anything");
            self.queue.push_back(0xEB);
            return true;
        }
        if let Some((before, answer)) = &mut self.refusal {
            if *before == 0 {
                self.queue.push_back(*answer);
                self.refusal = None;
                return true;
            }
            *before -= 1;
        }
        if (block as usize + 1) * 512 > self.bytes.len() {
            self.complaint |= 0x80;
        } else {
            self.held.push((block, data));
        }
        // The upper bits mean nothing.
        self.queue.push_back(0xE5);
        self.busy();
        true
    }

    fn busy(&mut self) {
        self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let bytes = if self.mute { 3_000_000 } else { (self.random >> 16) as usize % 40 };
        // The byte after an end token says nothing yet.
        if self.writing.is_none() && self.queue.is_empty() {
            self.queue.push_back(0xFF);
        }
        self.queue.extend(std::iter::repeat_n(0, bytes));
    }

    /// Is not busy any more: a write that is over is stored, and of one that goes on some blocks are.
    fn store(&mut self) {
        let all = self.writing.is_none();
        let bytes = &mut self.bytes;
        let mut random = self.random;
        self.held.retain(|(block, data)| {
            random = random.rotate_left(7).wrapping_mul(5);
            let now = all || random & 1 == 0;
            if now {
                bytes[*block as usize * 512..][..512].copy_from_slice(data);
            }
            !now
        });
    }

    fn command(&mut self, frame: &[u8]) {
        let (command, crc) = (frame[0] & 0x3F, frame[5]);
        let argument = u32::from_be_bytes(frame[1..5].try_into().unwrap());
        assert_eq!(crc, crc7(&frame[..5]) << 1 | 1, "CMD{command}");
        assert!(self.hertz <= 400_000 || !self.idle, "a card is woken slowly");
        self.commands.push((command, argument));
        self.queue.clear();
        (self.reading, self.writing) = (None, None);
        // What starts a card anew is heard while it is busy.
        assert!(command == 0 || self.held.is_empty(), "CMD{command} to a busy card");
        self.store();
        // Ncr, and the stuff byte of CMD12.
        self.queue.extend([0xFF, 0xFF]);
        let block = if self.high_capacity { argument } else { argument / 512 };
        match command {
            0 => {
                self.idle = true;
                self.queue.push_back(0x01);
            }
            8 => self.queue.extend([0x01, 0, 0, 1, 0xAA]),
            59 => {
                self.checks_crc = argument == 1;
                self.queue.push_back(0x01);
            }
            55 => self.queue.push_back(0x01),
            41 => {
                self.idle = false;
                self.queue.push_back(0x00);
            }
            58 => {
                self.queue.extend([0x00, if self.high_capacity { 0xC0 } else { 0x80 }, 0, 0, 0]);
            }
            9 => {
                let csd = self.csd();
                self.queue.extend([0x00, 0xFF, 0xFE]);
                self.queue.extend(csd);
                self.queue.extend(crc16(&csd).to_be_bytes());
            }
            17 => {
                self.queue.push_back(0x00);
                self.send_block(block);
            }
            18 => {
                self.queue.push_back(0x00);
                self.reading = Some(block);
            }
            24 | 25 => {
                self.queue.push_back(0x00);
                self.writing = Some(Writing { block, many: command == 25, data: None });
            }
            13 => self.queue.extend([0x00, std::mem::take(&mut self.complaint)]),
            // Busy for a while.
            12 => self.queue.extend([0x00, 0x00, 0x00, 0x00]),
            _ => self.queue.push_back(0x04),
        }
    }

    fn csd(&self) -> [u8; 16] {
        let mut csd = [0; 16];
        let blocks = self.bytes.len() as u32 / 512;
        if self.high_capacity {
            csd[0] = 0x40;
            let size = blocks / 1024 - 1;
            csd[7..10].copy_from_slice(&size.to_be_bytes()[1..]);
        } else {
            // READ_BL_LEN 9, C_SIZE_MULT 0: (C_SIZE + 1) * 4 blocks.
            let size = blocks / 4 - 1;
            csd[5] = 9;
            csd[6] = (size >> 10) as u8;
            csd[7] = (size >> 2) as u8;
            csd[8] = (size << 6) as u8;
        }
        csd[15] = crc7(&csd[..15]) << 1 | 1;
        csd
    }
}

fn crc7(bytes: &[u8]) -> u8 {
    bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).fold(
        0,
        |crc, bit| {
            let shifted = crc << 1;
            (if (crc >> 6 & 1) ^ bit == 1 { shifted ^ 0x09 } else { shifted }) & 0x7F
        },
    )
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).fold(
        0,
        |crc, bit| {
            let shifted = crc << 1;
            if (crc >> 15) as u8 ^ bit == 1 { shifted ^ 0x1021 } else { shifted }
        },
    )
}
