//! The UART as a blocking console.
//!
//! In: embassy's buffered UART, which is async only. Out: [`Console`], which waits.

use embassy_futures::block_on;
use embassy_nrf::buffered_uarte::{BufferedUarte, Error};
use embedded_io::{ErrorType, Read, Write};

/// A UART that is waited for.
pub struct Console(pub BufferedUarte<'static>);

impl ErrorType for Console {
    type Error = Error;
}

impl Read for Console {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Error> {
        block_on(self.0.read(bytes))
    }
}

impl Write for Console {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        block_on(self.0.write(bytes))
    }

    fn flush(&mut self) -> Result<(), Error> {
        block_on(self.0.flush())
    }
}
