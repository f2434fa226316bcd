//! The UART as an async console: other tasks run while it waits.
//!
//! In: embassy's buffered UART. Out: [`Console`]: lines in, text out.

use core::fmt;
use embassy_rp::uart::BufferedUart;
use embedded_io_async::{Read, Write};
use heapless::String;
use ripple_app::{ERASE, Event, Input, Line, Typed};

/// A terminal at the other end of a UART.
pub struct Console(BufferedUart);

impl Console {
    /// A console on `uart`.
    pub const fn new(uart: BufferedUart) -> Self {
        Self(uart)
    }

    /// Writes text.
    pub async fn write(&mut self, text: &[u8]) {
        // A UART has nobody to report to.
        _ = self.0.write_all(text).await;
    }

    /// Tells `event` in at most 256 bytes, on a line of its own; a longer one is cut.
    pub async fn say(&mut self, event: Event<'_>) {
        let mut text = String::<256>::new();
        _ = fmt::write(&mut text, format_args!("{event}"));
        self.write(text.as_bytes()).await;
        self.write(b"\r\n").await;
    }

    /// Reads one line into `line`, echoing it, and says what it is.
    pub async fn line<'l>(&mut self, line: &'l mut [u8]) -> Input<'l> {
        let mut line = Line::new(line);
        loop {
            let mut byte = [0];
            // Noise on the line is passed over.
            if self.0.read(&mut byte).await.is_err() {
                continue;
            }
            let [got] = byte;
            match line.push(got) {
                Typed::Kept(byte) => self.write(&[byte]).await,
                Typed::Erased => self.write(ERASE).await,
                Typed::Ignored => {}
                Typed::Whole => break,
                Typed::End => return Input::End,
            }
        }
        self.write(b"\r\n").await;
        line.finish()
    }
}
