//! The card's side of the model: which command it knows in which state, and what it answers.
//!
//! In: a command. Out: a response, a new state, data to send. Knows nothing of registers but the response's.

use super::{CardState, Kind, Model};

impl Model {
    /// The card's answer: the R1 status or another word, `None` if it does not know the command.
    pub(super) fn answer(&mut self, index: u8, argument: u32) -> Option<u32> {
        use CardState::*;
        let application = std::mem::take(&mut self.application);
        let emmc = self.kind == Kind::Emmc;
        let status = (self.state as u32) << 9 | 1 << 8 | std::mem::take(&mut self.status_errors);
        let ready = if self.kind == Kind::SdV1 { 1 << 31 } else { 1 << 31 | 1 << 30 };
        match (index, self.state) {
            (0, _) => (self.state, self.asked) = (Idle, 0),
            (1, Idle) if emmc => return Some(self.power_up(ready)),
            (8, Idle) if self.kind == Kind::SdHc => return Some(argument & 0xFFF),
            (55, _) if !emmc => self.application = true,
            (41, Idle) if application => return Some(self.power_up(ready)),
            (2, Ready) => self.state = Identified,
            (3, Identified) => {
                self.state = Standby;
                return Some(if emmc { status } else { 0x1234 << 16 });
            }
            (9, Standby) => self.long_response(),
            (7, Standby) => self.state = Transfer,
            (6, Transfer) if emmc || application => {}
            (16, Transfer) => assert_eq!(argument, 512),
            (13, Standby | Transfer | Data | Receive) => {}
            (13, Programming) => {
                // Asked often enough, it has stored what it held.
                self.left_to_program -= 1;
                if self.left_to_program == 0 {
                    if std::mem::take(&mut self.fails_to_program) {
                        // General error, in the answer that says that it is over.
                        self.state = Transfer;
                        self.held.clear();
                        return Some((Transfer as u32) << 9 | 1 << 8 | 1 << 19);
                    }
                    self.store(self.held.len());
                    self.state = Transfer;
                }
            }
            (12, Data) => {
                self.state = Transfer;
                self.sending = None;
            }
            (12, Receive) => {
                self.receiving = None;
                self.program();
            }
            (24 | 25, Transfer) => {
                let at = if self.kind == Kind::SdV1 { argument / 512 } else { argument };
                assert!(at < self.blocks, "write at block {at}");
                self.receive(at, index == 25);
            }
            (8, Transfer) if emmc => self.send(0, true),
            (17 | 18, Transfer) => {
                let at = if self.kind == Kind::SdV1 { argument / 512 } else { argument };
                assert!(at < self.blocks, "read at block {at}");
                self.send(at, false);
            }
            _ => {
                self.status_errors |= 1 << 22;
                return None;
            }
        }
        Some(status)
    }

    fn power_up(&mut self, ready: u32) -> u32 {
        self.asked += 1;
        if self.asked < 3 {
            return 0x00FF_8000;
        }
        self.state = CardState::Ready;
        ready | 0x00FF_8000
    }

    /// A CSD without its CRC, as the controller gives it.
    fn long_response(&mut self) {
        let csd: u128 = match self.kind {
            Kind::SdV1 => {
                // 2^(7 + 2) * 2^9 bytes for each step of C_SIZE.
                let steps = (self.blocks / 512 - 1) as u128;
                9 << 80 | steps << 62 | 7 << 47
            }
            Kind::SdHc => 1 << 126 | ((self.blocks / 1024 - 1) as u128) << 48,
            Kind::Emmc => 3 << 126 | 9 << 80 | 0xFFF << 62 | 7 << 47,
        };
        for i in 0..4 {
            self.registers[4 + i] = (csd >> (8 + 32 * i)) as u32;
        }
    }
}
