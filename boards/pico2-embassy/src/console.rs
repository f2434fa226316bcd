//! The UART as an async console: other tasks run while it waits.
//!
//! In: embassy's buffered UART. Out: [`Console`]: lines in, text out.

use core::fmt;
use embassy_rp::uart::BufferedUart;
use embedded_io_async::{Read, Write};
use heapless::String;

/// A terminal at the other end of a UART.
pub struct Console(BufferedUart);

impl Console {
    /// A console on `uart`.
    pub const fn new(uart: BufferedUart) -> Self {
        Self(uart)
    }

    /// Writes text.
    pub async fn write(&mut self, text: &str) {
        // A UART has nobody to report to.
        _ = self.0.write_all(text.as_bytes()).await;
    }

    /// Writes a message of at most 256 bytes; a longer one is cut.
    pub async fn say(&mut self, message: fmt::Arguments<'_>) {
        let mut text = String::<256>::new();
        _ = fmt::write(&mut text, message);
        self.write(&text).await;
    }

    /// Reads one line, echoing it. What is not UTF-8 or does not fit is an empty one.
    pub async fn line<'l>(&mut self, line: &'l mut [u8]) -> &'l str {
        let mut len = 0;
        loop {
            let mut byte = [0];
            // Noise on the line is passed over.
            if self.0.read(&mut byte).await.is_err() {
                continue;
            }
            let [got] = byte;
            if got == b'\r' || got == b'\n' {
                break;
            }
            if let Some(place) = line.get_mut(len) {
                *place = got;
            }
            len += 1;
            _ = self.0.write_all(&[got]).await;
        }
        self.write("\r\n").await;
        let line: &'l [u8] = line;
        line.get(..len).and_then(|text| core::str::from_utf8(text).ok()).unwrap_or_default()
    }
}
